"""Where networks run, half precision, and what happens when memory is short."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lelsd_core import device as devices
from lelsd_core.__main__ import main
from lelsd_core.device import (
    by_rows,
    choose_device,
    describe,
    dtype_on,
    first_that_fits,
    gradient,
    on_device,
    told_when_short,
)
from lelsd_core.directions import Direction, move
from lelsd_core.discover_config import DiscoverConfig
from lelsd_core.discovery import Search, View, start
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError
from lelsd_core.evaluation import render
from lelsd_core.generators import Synthesis
from lelsd_core.plateau import Judge
from lelsd_core.registry import load_generator
from lelsd_core.samples import Samples
from lelsd_core.sphere import Sphere
from tests import official
from tests.toy import Halves, Painter

CUDA_SHORT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
MPS_SHORT = RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)")
CPU_SHORT = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_the_best_device_is_chosen(monkeypatch, two_gpus):
    monkeypatch.delenv("LELSD_DEVICE", raising=False)
    assert choose_device() == choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("CPU ") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("mps")


def test_the_environment_forces_a_device_and_a_flag_wins_over_it(monkeypatch, two_gpus):
    monkeypatch.setenv("LELSD_DEVICE", "cuda:1")
    assert choose_device() == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there_is_told_with_those_that_are(wanted, no_gpu):
    with pytest.raises(UserError, match=rf"This machine has no {wanted} that torch .* can use; it has cpu\."):
        choose_device(wanted)


def test_a_gpu_too_far_is_told(two_gpus):
    with pytest.raises(UserError, match=r"no cuda:2 that torch .*; it has cuda:0 and cuda:1 and cpu"):
        choose_device("cuda:2")


@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:x", "cpu:0", "tpu"])
def test_an_unknown_device_is_told(wanted):
    with pytest.raises(UserError, match="There is no device named"):
        choose_device(wanted)


def test_devices_have_names(monkeypatch):
    facts = type("Facts", (), {"name": "NVIDIA T4", "total_memory": 15_600_000_000})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    assert describe(torch.device("cuda")) == "NVIDIA T4, 16 GB"
    assert "no GPU" in describe(torch.device("cpu"))
    assert "Apple" in describe(torch.device("mps"))


def test_half_precision_is_for_networks_that_were_trained_in_it():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert dtype_on(cuda, {"clamp": 256.0}, "auto") == "float16"
    for config in ({}, {"clamp": None}, {"clamp": math.inf}):
        assert dtype_on(cuda, config, "auto") is None
    for place in (cpu, torch.device("mps")):
        assert dtype_on(place, {"clamp": 256.0}, "auto") is None
    assert dtype_on(cuda, {}, "bfloat16") == "bfloat16"
    assert dtype_on(cuda, {"clamp": 256.0}, None) is None


def test_small_gradients_survive_half_precision_and_others_keep_their_bits():
    source = torch.tensor([1.5, -2.0], requires_grad=True)
    plain = torch.autograd.grad((source**3).sum(), source)[0]
    assert torch.equal(gradient((source**3).sum(), source), plain)
    tiny = 2.0**-27  # of a 1024-pixel picture's share in a mean; float16 ends at 2**-24
    assert torch.autograd.grad(tiny * source.half().float().sum(), source)[0].eq(0).all()
    assert gradient(tiny * source.half().float().sum(), source).eq(tiny).all()


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
    with pytest.raises(RuntimeError, match="Half"), told_when_short():
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


def editor_of(generator, segmenter, monkeypatch, times: int) -> tuple[Editor, Tight]:
    """An editor whose generator is short of memory the first few times, and what counts them."""
    direction = Direction("left", generator.name, generator.fingerprint, generator.space_names[-1], torch.ones(1))
    space = generator.space(direction.space)
    vector = torch.nn.functional.normalize(torch.randn(space.width, generator=torch.Generator().manual_seed(0)), dim=0)
    direction = Direction(**{**vars(direction), "vector": vector, "parts": ("left",), "low": -3.0, "high": 3.0})
    editor = Editor(generator, None, segmenter, None, [direction])
    tight = Tight(generator.synthesize, times)
    monkeypatch.setattr(generator, "synthesize", tight)
    return editor, tight


def test_an_edit_renders_one_by_one_where_two_do_not_fit(monkeypatch):
    editor, tight = editor_of(Painter(), Halves(), monkeypatch, 0)
    session = editor.random_face(1)
    easy = editor.edit(session, {"left": 2.0})
    tight.left, tight.batches = 1, []
    hard = editor.edit(session, {"left": 2.0})
    assert tight.batches == [2, 1, 1]
    assert np.array_equal(np.asarray(hard.picture), np.asarray(easy.picture))
    assert hard.locality.score == pytest.approx(easy.locality.score)


def test_a_network_without_small_pictures_ends_in_words(monkeypatch):
    editor, tight = editor_of(Painter(), Halves(), monkeypatch, 0)
    session = editor.random_face(1)
    tight.left = 99
    with pytest.raises(UserError, match=r"not enough memory for this model; .*--device cpu"), told_when_short():
        editor.edit(session, {"left": 2.0})


class PictureHalves(Halves):
    """Left half and right half of a picture of any size."""

    def segment(self, synthesis: Synthesis) -> torch.Tensor:
        image = synthesis.image
        left = torch.arange(image.shape[-1], device=image.device) < image.shape[-1] // 2
        return torch.stack([left, ~left]).float()[None, :, None, :].expand(len(image), 2, *image.shape[-2:])


def test_a_stylegan2_paints_a_smaller_picture_before_it_gives_up(monkeypatch, tmp_path: Path):
    generator = load_generator(official.rosinality(tmp_path))
    editor, tight = editor_of(generator, PictureHalves(), monkeypatch, 0)
    session = editor.random_face(1)
    exact = editor.edit(session, {"left": 2.0})
    tight.left, tight.batches = 2, []
    preview = editor.edit(session, {"left": 2.0})
    assert tight.batches == [2, 1, 2], "together, one by one, both at a quarter of the side"
    assert preview.picture.size == exact.picture.size
    assert preview.locality is not None
    tight.left = 1
    assert editor.synthesize(session.codes, session.space).shape[-1] == generator.resolution
    editor.segmenter.needs = tuple(generator.layers)[:1]
    tight.left = 2
    with pytest.raises(UserError, match="not enough memory"), told_when_short():
        editor.edit(session, {"left": 2.0})


def test_held_out_figures_fall_back_to_single_pictures(monkeypatch):
    painter, halves = Painter(), Halves()
    codes = painter.sample(range(3))
    whole = render(painter, halves, codes, "Z")
    tight = Tight(painter.synthesize, 1)
    monkeypatch.setattr(painter, "synthesize", tight)
    torch.testing.assert_close(render(painter, halves, codes, "Z"), whole)
    assert tight.batches == [3, 1, 1, 1]


def test_untouched_samples_of_a_discovery_fall_back_too(monkeypatch):
    painter, halves = Painter(), Halves()
    config = DiscoverConfig(parts=("left",), batch=4, samples=4).check(painter, halves)
    tight = Tight(painter.synthesize, 1)
    monkeypatch.setattr(painter, "synthesize", tight)
    search = Search(
        Samples(painter, halves, config),
        View(painter, halves, config),
        sphere := Sphere(painter.spaces[0], config, torch.zeros(0, 6)),
        Judge(painter, halves, config, 4),
    )
    run = start(sphere, config)
    search.step(run)
    assert tight.batches == [4, 1, 1, 1, 1, 4]
    assert run.step == 1


def test_the_shell_tells_a_lack_of_memory_in_one_sentence(monkeypatch, capsys):
    def short(_options):
        raise CUDA_SHORT

    monkeypatch.setattr("lelsd_core.commands.evaluate.run", short)
    assert main(["evaluate"]) == 1
    told = capsys.readouterr().err
    assert "not enough memory" in told
    assert told.count("\n") == 1


def test_networks_answer_where_the_asker_is():
    seen = []

    def network(picture):
        seen.append(picture.device.type)
        return picture

    with FakeTensorMode():
        assert on_device(network, "cuda")(torch.zeros(2)).device.type == "cpu"
    assert seen == ["cuda"]


class OnDevice(Painter):
    """A painter whose samples are drawn where its weights are, as the contract wants."""

    def sample(self, seeds):
        return super().sample(seeds).to(self.device)


def test_an_edit_runs_on_a_pretended_gpu_and_its_session_stays_on_the_cpu(monkeypatch):
    painter = OnDevice()
    editor, _ = editor_of(painter, PictureHalves(), monkeypatch, 0)
    monkeypatch.setattr("lelsd_core.editor.to_pil", lambda picture: picture)
    monkeypatch.setattr("lelsd_core.editor.move", lambda codes, along, _: move(codes, along, torch.zeros(1)))
    monkeypatch.setattr(torch.Tensor, "__float__", lambda _: 1.0)  # a pretended tensor has no numbers to read
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for name, buffer in list(painter.named_buffers()):
            setattr(painter, name, mode.from_tensor(buffer).to("cuda"))
        session = editor.random_face(1)
        assert session.codes.device.type == "cpu"
        assert session.original.device.type == "cuda"
        edit = Editor.edit.__wrapped__(editor, session, {"left": 2.0})  # pretending does without inference mode
        assert edit.picture.device.type == "cuda"
