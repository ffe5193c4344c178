"""Evaluation and calibration on a generator whose true directions are known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.errors import UserError
from lelsd_core.evaluation import calibration
from lelsd_core.evaluation.calibration import SHARES, STEP, calibrate, changes, largest_amount
from lelsd_core.evaluation.heldout import Evaluator, clustered_mean, evaluate, held_out, stripes
from lelsd_core.generators import Synthesis
from lelsd_core.segmenters import Parts, segment_synthesis
from tests.bench.ablation import SETTINGS, ablate
from tests.test_generators_contract import load
from tests.toy import Blind, Halves, Painter, PictureHalves

SEEDS = range(16)


def direction(*factors: int) -> Direction:
    """The painter's true direction of one factor, or the diagonal of several."""
    vector = Painter().factors(*factors).sum(0)
    return Direction("d", "painter", "a" * 64, "Z", vector / vector.norm(), ("left",), low=-2.0, high=2.0)


def test_a_true_direction_scores_one_and_changes_only_its_half():
    row = next(evaluate(Painter(), Halves(), [direction(0)], SEEDS))
    assert row.score == pytest.approx(1, abs=1e-4)
    assert row.area == pytest.approx(0.5)
    pattern = Painter().patterns[0]
    assert row.change == pytest.approx((2 * float(pattern.square().mean().sqrt()),) * 2, rel=1e-4)


def test_a_direction_of_the_other_half_scores_zero():
    assert next(evaluate(Painter(), Halves(), [direction(2)], SEEDS)).score == pytest.approx(0, abs=1e-4)


def test_a_mixture_scores_its_share_of_the_squared_change():
    left, right = (Painter().patterns[i].square().sum() for i in (0, 2))
    row = next(evaluate(Painter(), Halves(), [direction(0, 2)], SEEDS))
    assert row.score == pytest.approx(float(left / (left + right)), abs=1e-3)


def test_brightening_tells_the_sign():
    samples = held_out(Painter(), Halves(), SEEDS)
    up, down = (samples.effect(direction(0), a).brightening for a in (1.0, -1.0))
    torch.testing.assert_close(up, -down)
    torch.testing.assert_close(up, (Painter().patterns[0].mean() * torch.ones(16)), atol=1e-5, rtol=1e-3)


def test_a_range_ends_before_the_picture_changes_too_much():
    samples = held_out(Painter(), Halves(), SEEDS)
    high = largest_amount(samples, direction(0), 1)
    assert passes(samples, direction(0), high)
    assert not passes(samples, direction(0), high + STEP)


def passes(samples, direction, amount: float) -> bool:
    """Whether an amount changes no more than the shares of what samples differ by, both measured here."""
    usual, now = changes(samples, direction, None), changes(samples, direction, amount)
    return all(now[name] <= max(SHARES[name] * usual[name], 0.0068 * (name == "stripes")) for name in usual)


@pytest.mark.parametrize("architecture", ["stylegan2", "stylegan3", "biggan"])
def test_ranges_of_other_generators_are_sane(architecture, tmp_path):
    """Small files with untrained weights, whose pictures differ by 2.4, 0.2 and 0.1 from one sample to the next."""
    generator = load(architecture, tmp_path)
    space = generator.spaces[-1]
    vector = torch.randn(space.width, generator=torch.Generator().manual_seed(0))
    found = Direction("d", generator.name, "", space.name, vector / vector.norm(), ("left",))
    samples = held_out(generator, HalfPictures(), range(6))
    for unit in (-1, 1):
        end = largest_amount(samples, found, unit)
        assert STEP / 10 < end * unit < calibration.LIMIT
        assert passes(samples, found, end)


class HalfPictures(PictureHalves):
    parts = Parts(("left", "right"))


@pytest.mark.parametrize("scale", [0.01, 1, 100])
def test_ranges_do_not_depend_on_the_contrast_of_the_pictures(scale):
    painter = Painter()
    painter.patterns *= scale
    samples = held_out(painter, Halves(), SEEDS)
    usual = largest_amount(held_out(Painter(), Halves(), SEEDS), direction(0), 1)
    assert largest_amount(samples, direction(0), 1) == usual < calibration.LIMIT


def test_what_changes_from_sample_to_sample_is_measured_on_the_samples_themselves():
    samples = held_out(Painter(), Halves(), SEEDS)
    pairs = samples.pictures - samples.pictures.roll(1, 0)
    usual = changes(samples, direction(0), None)
    assert usual["change"] == pytest.approx(float(pairs.square().mean((1, 2, 3)).sqrt().mean()))
    assert usual["outside"] == pytest.approx(float(pairs[..., 4:].square().mean((1, 2, 3)).sqrt().mean()))
    assert "lpips" not in usual, "these pictures are smaller than anything that LPIPS was made for"


def test_a_step_that_is_too_large_is_halved_until_it_passes():
    strong = replace(direction(0), vector=direction(0).vector * 20)
    samples = held_out(Painter(), Halves(), SEEDS)
    low = largest_amount(samples, strong, -1)
    assert -STEP < low < 0
    assert passes(samples, strong, low)
    assert not passes(samples, strong, 2 * low)


def test_a_direction_without_a_plausible_amount_is_refused():
    wild = replace(direction(0), vector=direction(0).vector * 1e6)
    with pytest.raises(UserError, match=r"'d' cannot be used: even 0.0005 of it .* painter"):
        calibrate(Painter(), Halves(), wild, SEEDS)


def test_stripes_are_told_from_texture_and_light_and_only_outside_the_part():
    rows = (-1.0) ** torch.arange(32)
    nowhere = torch.zeros(1, 1, 32, 32)
    striped, chequered = rows[:, None].expand(1, 3, 32, 32), (rows * rows[:, None]).expand(1, 3, 32, 32)
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for pattern in (striped, striped.mT, chequered):
        assert float(stripes(pattern, nowhere)) == pytest.approx(3**0.5)
    assert float(stripes(noise, nowhere)) < 0.3 * 3**0.5
    assert float(stripes(torch.ones(1, 3, 32, 32), nowhere)) == 0
    part = nowhere.clone()
    part[..., :16] = 1
    assert float(stripes(striped * part, part)) == 0
    assert float(stripes(striped, nowhere + 1)) == 0


@pytest.mark.parametrize(("part", "end"), [("mouth", 5.5), ("eyes", -6.0)])
def test_striped_ends_of_the_shipped_generator_are_seen(editor, part, end):
    """These ends were shipped, and showed rows (mouth) and a grid (eyes) on the background."""
    found = next(d for d in editor.directions if d.name == part)
    samples = held_out(editor.generator, editor.segmenter, range(500_000, 500_032))
    usual = changes(samples, found, None)["stripes"]
    assert changes(samples, found, end)["stripes"] > SHARES["stripes"] * usual
    for kept in (found.low, found.high):
        assert changes(samples, found, kept)["stripes"] < 1.1 * SHARES["stripes"] * usual


def test_a_segmenter_sees_no_picture_beyond_its_range():
    class Witness(Halves):
        def segment(self, image, features=None):
            assert image.abs().max() <= 1
            return super().segment(image)

    segment_synthesis(Witness(), Synthesis(torch.full((1, 3, 8, 8), 1.5)))


def test_a_range_that_was_chosen_by_eye_is_kept_and_measured():
    measured = calibrate(Painter(), Halves(), direction(0), SEEDS, limits=(-0.5, 1.5))
    assert (measured.low, measured.high) == (-0.5, 1.5)
    assert measured.score == pytest.approx(1, abs=1e-4)


def test_ranges_of_large_pictures_are_found_on_fewer_samples():
    sizes = {16: 96, 64: 96, 128: 64, 256: 16, 1024: 16}
    for size, count in sizes.items():
        assert calibration.range_samples(SimpleNamespace(resolution=size)) == count


def test_a_range_never_passes_its_limit():
    faint = replace(direction(0), vector=direction(0).vector * 1e-3)
    assert largest_amount(held_out(Painter(), Halves(), SEEDS), faint, -1) == -calibration.LIMIT


@pytest.mark.parametrize("sign", [1, -1])
def test_the_high_end_is_the_brighter_one_whatever_the_sign_was(sign):
    given = replace(direction(0), vector=sign * direction(0).vector)
    measured = calibrate(Painter(), Halves(), given, SEEDS)
    assert measured.low < 0 < measured.high
    assert measured.score == pytest.approx(1, abs=1e-4)
    brighter = 1 if Painter().patterns[0].mean() > 0 else -1
    torch.testing.assert_close(measured.vector, brighter * direction(0).vector)


def test_a_mean_knows_its_error_and_that_both_ends_of_a_sample_are_one_draw():
    values = torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    once, error = clustered_mean(values, torch.ones(1, 4, dtype=torch.bool))
    assert (once, error) == (0.5, pytest.approx(float(values.std()) / 4**0.5))
    twice = clustered_mean(values.repeat(2, 1), torch.ones(2, 4, dtype=torch.bool))
    assert twice == (0.5, pytest.approx(error)), "the same numbers twice are not more samples"
    assert clustered_mean(values, torch.tensor([[False, True, False, True]])) == (1, 0)
    assert clustered_mean(values, torch.zeros(1, 4, dtype=torch.bool)) == (0, 0)


def test_the_interval_holds_the_score_and_narrows_with_samples():
    few, many = (next(evaluate(Painter(), Halves(), [direction(0, 2)], range(n))) for n in (4, 64))
    for row in (few, many):
        assert row.interval[0] <= row.score <= row.interval[1]
    assert next(evaluate(Painter(), Halves(), [direction(0)], SEEDS)).left_out == 0


def test_a_part_that_is_never_seen_is_counted_and_gives_no_nan():
    row = next(evaluate(Painter(), Blind(), [direction(0)], SEEDS))
    assert (row.score, row.area, row.gain, row.left_out) == (0, 0, 0, 32)
    with pytest.raises(UserError, match=r"16 samples of painter .*left"):
        calibrate(Painter(), Blind(), direction(0), SEEDS)


def test_a_direction_that_changes_nothing_is_left_out():
    still = replace(direction(0), vector=torch.zeros(6))
    row = next(evaluate(Painter(), Halves(), [still], SEEDS))
    assert (row.score, row.left_out) == (0, 32)


def test_the_facts_are_saved_with_the_direction(tmp_path):
    calibrate(Painter(), Halves(), direction(0), SEEDS).save(tmp_path / "d.safetensors")
    again = Direction.load(tmp_path / "d.safetensors")
    low, high = again.facts["interval"]
    assert low <= again.score <= high
    assert again.facts["left_out"] == 0


def test_held_out_seeds_are_those_of_the_module_unless_given(monkeypatch):
    monkeypatch.setattr("lelsd_core.seeds.HELD_OUT", range(3))
    assert len(held_out(Painter(), Halves()).codes) == 3
    assert calibrate(Painter(), Halves(), direction(0)).score == pytest.approx(1, abs=1e-4)


def test_an_ablation_has_a_row_for_every_setting_and_part():
    config = DiscoverConfig(parts="left", steps=15, batch=4, samples=16, lr=0.3, least=1.0, most=4.0)
    rows = list(ablate(Painter(), Halves(), config, ["left", "right"], seeds=(0, 1), held_out_seeds=range(8)))
    assert [(row.masks, row.read, row.part) for row in rows] == [
        (*setting, part) for setting in SETTINGS for part in ("left", "right")
    ]
    assert ("average", "features") in SETTINGS
    for row in rows:
        assert row.score > 0.7
        assert 0 <= row.variety <= 1


def test_an_evaluator_renders_its_samples_once(editor, monkeypatch):
    evaluator = Evaluator(editor.generator, editor.segmenter, seeds=range(500_000, 500_002))
    first, second = editor.directions[:2]
    row = evaluator(first)
    monkeypatch.setattr("lelsd_core.evaluation.heldout.held_out", None)
    assert evaluator(first) == row
    assert evaluator(second).direction == second.name


def test_one_sample_tells_no_range():
    with pytest.raises(UserError, match="at least two seeds"):
        calibrate(Painter(), Halves(), direction(0), SEEDS[:1])
