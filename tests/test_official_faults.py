"""The eleven faults of the paper's own code (IVRL/LELSD), each as a test that this one has not got it; its recipe."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from lelsd_core import seeds
from lelsd_core.cli import official
from lelsd_core.directions import Direction, move
from lelsd_core.discovery.config import PAPER, DiscoverConfig
from lelsd_core.discovery.samples import EarlyStopping, Samples
from lelsd_core.discovery.search import UnitSphere, discover
from lelsd_core.generators import Generator
from lelsd_core.generators.biggan import BigGAN
from lelsd_core.generators.dcgan import DCGAN
from lelsd_core.generators.stylegan1 import StyleGAN1
from lelsd_core.generators.stylegan2 import StyleGAN2
from lelsd_core.generators.stylegan3 import StyleGAN3
from lelsd_core.localization import localization_score
from lelsd_core.seeds import EARLY_STOPPING
from lelsd_core.weights.safetensors import read_safetensors
from tests.test_discovery_options import Pair
from tests.test_generators_contract import gradient_by_hand
from tests.toy import SIZE, Halves, OnDevice, Painter, PictureHalves

QUICK = DiscoverConfig(parts=("left",), steps=5, batch=4, samples=16, least=1.0, most=4.0)


def test_1_a_move_in_z_goes_along_the_direction_not_along_the_code():
    codes = torch.tensor([[3.0, 0, 0, 0, 0, 0]])
    along = Direction("d", "painter", "a" * 64, "Z", torch.eye(6)[1])
    assert move(codes, [along], [2.0]).tolist() == [[3, 2, 0, 0, 0, 0]]
    seen: list[torch.Tensor] = []
    painter = Painter()
    painter.paint, paint = lambda z: seen.append(z.detach()) or paint(z), painter.paint
    first = next(discover(painter, Halves(), replace(QUICK, layers=("8.paint",), slots=("z",), lr=0.0)))
    steps = seen[-1] - painter.sample(range(1_000_000, 1_000_004))  # chosen layers and Z together
    along = F.cosine_similarity(steps, first.directions[0].vector.expand(4, -1)).abs()
    torch.testing.assert_close(along, torch.ones(4), atol=1e-5, rtol=0)


def test_2_vectors_are_normalised_over_columns_from_the_start_to_the_end():
    for norm, lengths in (("whole", [1.0]), ("slot", [1.0, 1.0])):
        for progress in discover(Pair(), Halves(), replace(QUICK, norm=norm, lr=0.3)):
            vector = progress.directions[0].vector
            parts = [vector] if norm == "whole" else vector.split(3)
            assert [float(part.norm()) for part in parts] == pytest.approx(lengths, abs=1e-5)


def test_3_unit_norm_works_in_s(editor):
    config = replace(QUICK, parts=("hair",), space="S", norm="slot", slots=("*.gain",), steps=1, batch=1)
    space = editor.generator.space("S")
    *_, last = discover(editor.generator, editor.segmenter, config)
    for slot, part in zip(space.slots, space.split(last.directions[0].vector), strict=True):
        assert float(part.norm()) == pytest.approx(float(slot.name.endswith("gain")), abs=1e-5)


def test_4_the_default_config_is_accepted_by_its_own_check():
    checked = replace(DiscoverConfig(), parts=("left",)).check(Painter(), Halves())
    assert checked.difference == "l2"


def test_5_widths_of_s_come_from_the_network_not_from_a_table(editor):
    for generator in (editor.generator, Pair()):
        space = generator.spaces[-1]
        sphere = UnitSphere(space, replace(QUICK, space=space.name), torch.zeros(0, space.width))
        assert sphere.project(torch.randn(1, space.width)).shape == (1, space.width)


def test_6_every_map_gets_its_mask_from_the_segmenters_own_output():
    mask = (torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    change = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    once = F.interpolate(mask, (32, 32), mode="bilinear", antialias=True)
    by_hand = float((change.square() * once).sum() / change.square().sum())
    for _ in ("after a 4-pixel map", "after an 8-pixel map"):
        localization_score(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), mask)
        score = float(localization_score(torch.zeros_like(change), change, mask))
        assert score == pytest.approx(by_hand, rel=1e-4)
    sizes: list[int] = []
    segmenter = Halves()
    segmenter.segment, segment = lambda *given: sizes.append(SIZE) or segment(*given), segmenter.segment
    next(discover(Pair(), segmenter, replace(QUICK, layers=("8.first", "8.second"))))
    assert len(sizes) == 2, "segmented once before and once after, however many maps are scored"


class PlainHalves:
    """A segmenter of no class that the project knows: a name, parts, and a function of pictures."""

    name, parts, needs = "plain", ("left", "right"), ()
    segment = Halves.segment


def test_7_the_search_does_not_depend_on_the_classes_of_its_networks():
    ours, plain = (next(discover(Painter(), segmenter, QUICK)) for segmenter in (Halves(), PlainHalves()))
    assert torch.equal(ours.directions[0].vector, plain.directions[0].vector)
    assert plain.directions[0].facts["segmenter"] == "plain"


def test_8_there_is_one_synthesis_loop():
    for kind in (DCGAN, BigGAN, StyleGAN1, StyleGAN2, StyleGAN3):
        assert kind.synthesize is Generator.synthesize


def test_9_a_step_never_leaves_the_device(monkeypatch):
    """Steps of two directions on a simulated GPU: no tensor of them may be on the CPU."""
    graphs, devices = [], []

    def by_hand(output: torch.Tensor, source: torch.Tensor) -> tuple[torch.Tensor]:
        graphs.append(output.device.type)
        return (gradient_by_hand(output, source),)

    def render(samples: Samples, codes: torch.Tensor, original=Samples.render):
        batch = original(samples, codes)
        devices.append({t.device.type for t in (batch.codes, *batch.maps, batch.segmentation)})
        return batch

    painter, segmenter = OnDevice(), PictureHalves()
    config = replace(QUICK, count=2, batch=2, samples=4, layers=("8.paint",), norm="slot", patience=1, look=1)
    monkeypatch.setattr(torch.autograd, "grad", by_hand)
    monkeypatch.setattr(Samples, "render", render)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda _: 1.0)  # a simulated tensor has no numbers to read
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for name, buffer in list(painter.named_buffers()):
            setattr(painter, name, mode.from_tensor(buffer).to("cuda"))
        run = discover(painter, segmenter, config)
        assert [next(run).step, next(run).step] == [1, 2]
    assert graphs == ["cuda"] * 4, "in each step the score's graph and the one that keeps directions apart"
    assert all(used == {"cuda"} for used in devices)
    assert len(devices) > 2 + 2, "untouched, moved and held-out samples"


def test_10_a_saved_direction_is_numbers_and_facts(tmp_path):
    *_, last = discover(Painter(), Halves(), QUICK)
    last.directions[0].save(tmp_path / "d.safetensors")
    tensors, facts = read_safetensors(tmp_path / "d.safetensors", "direction")
    assert list(tensors) == ["vector"]
    assert facts["facts"]["segmenter"] == "halves"


def test_11_two_users_with_one_seed_share_nothing(editor):
    mine, yours = editor.random_face(3), editor.random_face(3)
    mine.codes.add_(1.0)
    assert not torch.equal(mine.codes, yours.codes)
    assert torch.equal(yours.codes, editor.random_face(3).codes)


def test_the_official_recipe_draws_fresh_seeds_of_its_own():
    used: list[int] = []

    class Counting(Painter):
        def sample(self, seeds):
            used.extend(seeds)
            return super().sample(seeds)

        def __deepcopy__(self, _memo):
            return self

    config = DiscoverConfig.paper(Painter(), parts="left", steps=3, batch=2).check(Painter(), Halves())
    assert len(list(official.official_loop(Counting(), Halves(), config))) == 3
    assert used == list(seeds.OFFICIAL[:6])


def test_the_official_recipe_is_compared_on_every_part_and_seed(monkeypatch, capsys):
    monkeypatch.setattr(official, "PARTS", ("hair",))
    monkeypatch.setattr(official, "SEEDS", (0, 1))
    monkeypatch.setitem(PAPER, "steps", 2)
    spec = official.generator_spec("digiface-64")
    quick = replace(spec, search={**spec.search, "steps": 10, "samples": 40})
    monkeypatch.setattr("lelsd_core.discovery.samples.EARLY_STOPPING", EARLY_STOPPING[:8])
    monkeypatch.setattr(official, "generator_spec", lambda _: quick)
    result = official.official("digiface-64")
    assert [(row["part"], row["seed"]) for row in result["races"]] == [("hair", 0), ("hair", 1)]
    for row in result["races"]:
        for key in ("", "maps_"):
            assert 0 < row[f"official_{key}score"] < 1
            reached = row.get(f"{key}seconds", float("inf"))
            assert row[f"{key}ratio"] == reached / row["official_s"]
        assert row["official_score"] < row["score"], "two steps against ten"
        assert row["seconds"] <= row["whole_s"]
    assert result["worst_ratio"] == max(row["ratio"] for row in result["races"]) > 0
    assert capsys.readouterr().out.count("official") == 3


def test_the_race_is_run_by_the_whole_published_recipe(monkeypatch):
    loops, checks = [], []

    def loop(_generator, _segmenter, config):
        loops.append(config)
        yield torch.eye(6)[0]

    class Measure(EarlyStopping):
        def mean_score(self, vectors):
            checks.append((self.config.layers, self.config.least, self.config.most))
            return 0.5

    monkeypatch.setattr(official, "official_loop", loop)
    monkeypatch.setattr(official, "EarlyStopping", Measure)
    published = DiscoverConfig.paper(Painter(), parts="left").check(Painter(), Halves())
    row = official.race(Painter(), Halves(), published, replace(QUICK, steps=20).check(Painter(), Halves()))
    assert loops == [published]
    assert checks[:2] == [((), 0.0, 1.0), (("8.paint",), 0.0, 1.0)], "each recipe at its own amounts"
    assert checks[2:4] == [((), 1.0, 4.0), (("8.paint",), 1.0, 4.0)]
    assert len(checks) == 2 + 2 + 2, "ours: when the scores are reached, and at the end"
    assert row["seconds"] < row["whole_s"]
