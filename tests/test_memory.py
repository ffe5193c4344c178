"""What happens when memory is short: one by one, smaller, and in the end one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lelsd_core import device as devices
from lelsd_core.__main__ import main
from lelsd_core.device import by_rows, first_that_fits, free_bytes, how_many, peak_bytes, report_out_of_memory
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import MOST_CACHED, Samples, cache_room
from lelsd_core.discovery.search import discover
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import HeldOut
from lelsd_core.local import EditedCodes
from lelsd_core.registry import load_generator
from tests import official
from tests.toy import Halves, Painter, PictureHalves, toy_editor

CUDA_SHORT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
MPS_SHORT = RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)")
CPU_SHORT = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")


class Tight:
    """Memory that is short the first few times that it is asked for."""

    def __init__(self, network, times: int, problem: Exception = CUDA_SHORT) -> None:
        self.network, self.left, self.problem = network, times, problem
        self.batches: list[int] = []

    def __call__(self, codes, *arguments, **options):
        self.batches.append(len(codes))
        if self.left > 0:
            self.left -= 1
            raise self.problem
        return self.network(codes, *arguments, **options)


@pytest.mark.parametrize("problem", [CUDA_SHORT, MPS_SHORT, CPU_SHORT, MemoryError()])
def test_the_first_way_that_fits_is_taken_and_memory_is_given_back_before(problem, monkeypatch):
    freed = []
    monkeypatch.setattr(devices, "free_memory", lambda: freed.append(True))
    assert first_that_fits(lambda: 1, lambda: 2) == 1
    assert freed == []
    way = Tight(lambda codes: "whole", 1, problem)
    assert first_that_fits(lambda: way("both"), lambda: "smaller") == "smaller"
    assert freed == [True]
    with pytest.raises(type(problem)):
        first_that_fits(lambda: Tight(len, 1, problem)("x"), lambda: Tight(len, 1, problem)("x"))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    way = Tight(len, 1, RuntimeError("expected scalar type Half"))
    with pytest.raises(RuntimeError, match="Half"):
        first_that_fits(lambda: way("x"), lambda: 2)
    with pytest.raises(RuntimeError, match="Half"), report_out_of_memory():
        raise RuntimeError("expected scalar type Half")


def test_rows_are_made_one_by_one_where_a_batch_is_too_much():
    network = Tight(lambda codes: (codes, 2 * codes), 1)
    codes = torch.arange(6.0).view(3, 2)
    same, double = by_rows(network, codes)
    assert network.batches == [3, 1, 1, 1]
    assert torch.equal(same, codes)
    assert torch.equal(double, 2 * codes)


def test_memory_that_is_freed_is_really_free(monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append("cuda"))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append("mps"))
    devices.free_memory()
    assert emptied == ["cuda", "mps"]


@pytest.mark.parametrize(
    ("room", "each", "wanted", "number"),
    [(70, 10, 8, 7), (79.9, 10, 8, 7), (80, 10, 8, 8), (1e12, 10, 8, 8), (9, 10, 8, 1), (0, 10, 8, 1), (50, 0, 8, 8)],
)
def test_as_many_samples_as_fit_are_rendered_at_a_time(room, each, wanted, number):
    assert how_many(room, each, wanted) == number


def test_a_quarter_of_the_memory_that_is_free_without_them_holds_samples():
    assert cache_room(800, 0) == 200
    assert cache_room(600, 200) == 200, "samples that are held were free memory before"
    assert cache_room(0, 0) == 0
    assert cache_room(10**15, 0) == MOST_CACHED
    assert cache_room(None, 0) == 2**30


class OnGpu(Painter):
    """A painter that says that it is on a GPU."""

    device = torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch) -> dict[str, int]:
    """What torch.cuda says of its memory, in bytes."""
    told = {"memory_reserved": 500, "memory_allocated": 300, "max_memory_allocated": 1300}
    for name, value in told.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (told["free"], 10**12))
    return told


@pytest.mark.parametrize(("free", "number"), [(4800, 3), (5600, 4), (10**6, 4), (100, 1)])
def test_a_gpu_renders_as_many_samples_as_its_free_memory_holds(gpu, free, number):
    gpu["free"] = free  # beside 200 in torch's own cache; one sample takes 1000 at its peak
    assert free_bytes(OnGpu.device) == free + 200
    assert peak_bytes(OnGpu.device, lambda: None) == 1000
    rendered, painter = [], OnGpu()
    painter.paint, paint = lambda codes: rendered.append(codes.requires_grad) or paint(codes), painter.paint
    config = DiscoverConfig(parts="left", space="Z", batch=4)
    assert Samples(painter, Halves(), config).micro == number
    assert rendered == [True], "one sample is measured, with its gradient"
    assert Samples(painter, Halves(), replace(config, micro=2)).micro == 2
    assert rendered == [True], "nothing is measured where the number is given"


def test_a_gpu_that_is_lent_to_another_process_is_not_asked():
    large = OnGpu()
    large.resolution = 512
    assert free_bytes(OnGpu.device) is None
    assert Samples(large, Halves(), DiscoverConfig(parts="left", space="Z", batch=8)).micro == 4
    assert len(Samples(OnGpu(), Halves(), DiscoverConfig(parts="left", space="Z")).batch(0).codes) == 8


def test_free_memory_of_a_cpu_is_the_systems_and_of_others_unknown(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(devices, "MEMORY", tmp_path / "meminfo")
    assert free_bytes(torch.device("cpu")) is None, "not Linux"
    devices.MEMORY.write_text("MemTotal: 8000 kB\nMemAvailable: 6000 kB\n")
    assert free_bytes(torch.device("cpu")) == 6000 * 1024
    assert free_bytes(torch.device("mps")) is None


def tight_editor(generator, segmenter, monkeypatch) -> tuple[Editor, Tight]:
    """An editor, and what can make its generator short of memory."""
    tight = Tight(generator.synthesize, 0)
    monkeypatch.setattr(generator, "synthesize", tight)
    return toy_editor(generator, segmenter), tight


def test_an_edit_of_a_face_whose_picture_does_not_fit_is_measured_all_the_same(monkeypatch, tmp_path: Path):
    editor, tight = tight_editor(load_generator(official.rosinality(tmp_path)), PictureHalves(), monkeypatch)
    session = editor.random_face(1)
    tight.left, tight.batches = 1, []
    assert editor.edit(session, {"left": 2.0}).locality is not None
    assert tight.batches == [1, 1, 1], "unedited, and at a quarter of the side; edited"


def test_a_network_without_small_pictures_ends_in_words(monkeypatch):
    editor, tight = tight_editor(Painter(), Halves(), monkeypatch)
    session = editor.random_face(1)
    tight.left = 99
    with pytest.raises(UserError, match=r"not enough memory for this model; .*--device cpu"), report_out_of_memory():
        editor.edit(session, {"left": 2.0})


def test_a_stylegan2_paints_a_smaller_picture_before_it_gives_up(monkeypatch, tmp_path: Path):
    generator = load_generator(official.rosinality(tmp_path))
    editor, tight = tight_editor(generator, PictureHalves(), monkeypatch)
    session = editor.random_face(1)
    exact = editor.edit(session, {"left": 2.0})
    tight.left, tight.batches = 1, []
    preview = editor.edit(session, {"left": 2.0})
    assert tight.batches == [1, 1, 1], "edited, and both at a quarter of the side"
    assert preview.picture.size == exact.picture.size
    assert preview.locality is not None
    assert editor.synthesize(session.codes, session.space).shape[-1] == generator.resolution
    editor.segmenter.needs = tuple(generator.layers)[:1]
    tight.left = 2
    with pytest.raises(UserError, match="not enough memory"), report_out_of_memory():
        editor.edit(session, {"left": 2.0})


def test_held_out_figures_fall_back_to_single_pictures(monkeypatch):
    painter, halves = Painter(), Halves()
    codes = painter.sample(range(3))
    samples = HeldOut(painter, halves, "Z", codes)
    tight = Tight(painter.synthesize, 1)
    monkeypatch.setattr(painter, "synthesize", tight)
    torch.testing.assert_close(samples.render(EditedCodes(codes)), (samples.pictures, samples.probabilities))
    assert tight.batches == [3, 1, 1, 1]


def test_untouched_samples_of_a_discovery_fall_back_too(monkeypatch):
    painter, halves = Painter(), Halves()
    tight = Tight(painter.synthesize, 1)
    monkeypatch.setattr(painter, "synthesize", tight)
    progress = next(discover(painter, halves, DiscoverConfig(parts="left", batch=4, samples=4)))
    assert tight.batches == [4, 1, 1, 1, 1, 4]
    assert progress.step == 1


def test_the_shell_tells_a_lack_of_memory_in_one_sentence(monkeypatch, capsys):
    def short(_options):
        raise CUDA_SHORT

    monkeypatch.setattr("lelsd_core.cli.evaluate.run", short)
    assert main(["evaluate"]) == 1
    told = capsys.readouterr().err
    assert "not enough memory" in told
    assert told.count("\n") == 1
