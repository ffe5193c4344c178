"""Measures at equal distance, on pictures and a generator whose figures are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lelsd_core.comparison import measures
from lelsd_core.comparison.measures import (
    DISTANCES,
    FEW,
    REACH,
    EqualDistance,
    Untouched,
    check_steps,
    choose_distance,
    f1_locality,
    unevenness,
)
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import held_out
from tests.test_evaluation import direction
from tests.toy import Blind, Halves, Painter

SEEDS = range(6)
RMS = DISTANCES["rms"]


class Saturated(Painter):
    """A painter whose pictures stay within ±0.1, so that they cannot change by more than 0.2."""

    def finish(self, state):
        return state.x.clamp(-0.1, 0.1)


def bench(generator=None, segmenter=None, distance=RMS, steps=None, **more) -> EqualDistance:
    return EqualDistance(held_out(generator or Painter(), segmenter or Halves(), SEEDS), distance, steps, **more)


@pytest.fixture
def no_lpips(monkeypatch):
    """A machine without the network of LPIPS."""
    monkeypatch.setattr(measures, "local", lambda name: None)


def test_f1_is_the_share_of_the_part_among_as_many_pixels_that_change_most():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :2] = 1  # four pixels
    change = torch.zeros(1, 1, 4, 4)
    change[0, 0, 0, 0], change[0, 0, 0, 1], change[0, 0, 1, 0] = 4.0, 3.0, 2.0  # three of them
    change[0, 0, 3, 3], change[0, 0, 1, 1] = 1.0, 0.5  # and one outside, before the fourth
    assert float(f1_locality(change, mask)) == pytest.approx(3 / 4)
    assert float(f1_locality(mask, mask)) == 1
    assert float(f1_locality(1 - mask, mask)) == 0
    assert float(f1_locality(change, torch.zeros(1, 1, 4, 4))) == 0, "without a part there is nothing to find"
    assert f1_locality(torch.cat([change, mask]), torch.cat([mask, mask])).tolist() == pytest.approx([0.75, 1.0])


def test_f1_counts_a_part_that_moves_by_half():
    mask = torch.full((1, 1, 2, 2), 0.5)  # there before or after, so that two pixels of four count
    change = torch.tensor([[[[4.0, 3.0], [2.0, 1.0]]]])
    assert float(f1_locality(change, mask)) == pytest.approx(2 * (0.5 + 0.5) / (2 + 2))


def test_unevenness_is_the_spread_of_the_strides_over_their_mean():
    assert unevenness(torch.tensor([[1.0, 0.0], [1.0, 2.0]])).tolist() == [0.0, 1.0]
    assert unevenness(torch.zeros(3, 1)).tolist() == [0.0]


@pytest.mark.usefixtures("no_lpips")
def test_amounts_make_the_distance_sample_by_sample_and_both_ways():
    """The painter is linear: an amount changes every picture by as many root mean squares of the pattern."""
    unit = float(Painter().patterns[0].square().mean().sqrt())
    found = bench().at_steps(direction(0)).amounts
    assert found.shape == (2, 4, len(SEEDS))
    expected = torch.tensor([-1.0, 1.0])[:, None, None] * torch.tensor(RMS.steps)[:, None] / unit
    torch.testing.assert_close(found, expected.expand_as(found), rtol=1e-3, atol=0)


@pytest.mark.usefixtures("no_lpips")
@pytest.mark.parametrize("scale", [1e-2, 1e3])
def test_the_range_of_a_slider_only_says_where_to_begin(scale):
    usual = bench().at_steps(direction(0)).amounts
    other = replace(direction(0), low=-2 * scale, high=2 * scale)
    found = bench(steps=(0.05,)).at_steps(other).amounts[:, 0]
    if scale < 1:
        assert found.isnan().all(), f"{REACH} times 0.02 is too little"
    else:
        torch.testing.assert_close(found, usual[:, 0], rtol=1e-3, atol=0)


@pytest.mark.usefixtures("no_lpips")
def test_a_true_direction_leaves_the_other_half_alone_and_a_mixture_its_share():
    left, right = (float(Painter().patterns[i].square().sum()) for i in (0, 2))
    measured = bench(parts=("left", "right"))(direction(0))
    assert [cell.step for cell in measured.cells] == list(RMS.steps)
    for cell in measured.cells:
        assert (cell.reached, cell.of) == (12, 12)
        assert cell.score == pytest.approx(1, abs=1e-4)
        assert cell.change == pytest.approx(cell.step, rel=1e-3)
        assert cell.area == pytest.approx(0.5)
        assert list(cell.shares.values()) == pytest.approx([1, 0], abs=1e-4)
    assert measured.uneven == pytest.approx(0, abs=1e-3), "a linear generator changes as much in every stride"
    cell = bench(parts=("left", "right"))(direction(0, 2)).cells[0]
    share = left / (left + right)
    assert (cell.score, cell.shares["right"]) == pytest.approx((share, 1 - share), abs=1e-3)
    assert cell.gain == pytest.approx(share / (1 - share), rel=1e-2)
    assert cell.low <= cell.score <= cell.high


@pytest.mark.usefixtures("no_lpips")
def test_a_distance_out_of_reach_is_counted_and_has_no_figures():
    measured = bench(Saturated(), steps=(0.01, 0.05, 0.5))(direction(0))
    near, _, far = measured.cells
    assert near.reached == near.of == 12
    assert (far.reached, far.of) == (0, 12)
    assert (far.score, far.low, far.gain, far.change, far.shares) == (None, None, None, None, {})
    assert measured.uneven > 0.1, "a picture that saturates changes less and less"


@pytest.mark.usefixtures("no_lpips")
def test_samples_that_fall_short_do_not_count_in_the_mean_of_the_others():
    class Half(Painter):
        """The first samples do not move at all."""

        def paint(self, codes):
            still = (codes @ self.turn)[:, 5] > 100
            return super().paint(codes) * ~still[:, None, None, None]

    samples = held_out(Half(), Halves(), SEEDS)
    samples.codes = samples.codes.clone()
    samples.codes[:2] += 1000 * Painter().factors(5)
    cell = EqualDistance(samples, RMS)(direction(0, 2)).cells[0]
    usual = bench()(direction(0, 2)).cells[0]
    assert (cell.reached, usual.reached) == (8, 12)
    assert (cell.score, cell.low) == pytest.approx((usual.score, usual.low), abs=1e-3)


@pytest.mark.usefixtures("no_lpips")
def test_a_part_that_is_not_seen_gives_no_score():
    cell = bench(segmenter=Blind())(direction(0)).cells[0]
    assert (cell.reached, cell.score, cell.area) == (12, None, None)


@pytest.mark.usefixtures("no_lpips")
def test_scores_are_read_at_feature_maps_too_and_the_painter_s_map_is_its_picture():
    cell = bench(layers=("8.paint",))(direction(0, 2)).cells[1]
    assert cell.features == pytest.approx(cell.score, abs=1e-5)
    with pytest.raises(UserError, match=r"no layer named '9\.paint'"):
        bench(layers=("9.paint",))


@pytest.mark.usefixtures("no_lpips")
def test_identity_is_that_of_the_first_samples():
    asked = []

    def likeness(before, after) -> float:
        asked.append(float((after - before).square().mean().sqrt()))
        return 0.75

    cell = bench(identity=likeness, steps=(0.1,))(direction(0)).cells[0]
    assert cell.identity == 0.75
    assert asked == pytest.approx([0.1] * 2 * FEW, rel=1e-2)


@pytest.mark.usefixtures("no_lpips")
def test_without_its_network_lpips_is_not_replaced_in_silence():
    assert choose_distance() is DISTANCES["rms"]
    assert choose_distance("rms").name == "RMS change"
    with pytest.raises(UserError, match="lpips-alex"):
        choose_distance("lpips")
    cell = bench()(direction(0)).cells[0]
    assert (cell.lpips, cell.outside, cell.f1) == (None, None, None)


def test_lpips_is_measured_where_its_network_is(editor):
    assert choose_distance() is DISTANCES["lpips"]
    with pytest.raises(UserError, match=r"no distance named 'lpip'; did you mean lpips\?"):
        choose_distance("lpip")
    samples = held_out(editor.generator, editor.segmenter, range(500_000, 500_002))
    hair = next(each for each in editor.directions if each.name == "hair")
    (cell,) = EqualDistance(samples, choose_distance(), (0.1,), parts=("hair", "mouth"))(hair).cells
    assert cell.lpips == pytest.approx(0.1, rel=0.05)
    assert 0 < cell.outside < 0.7 * cell.lpips
    assert cell.f1 > 2 * cell.area, "chance would give the area"
    assert cell.shares["hair"] == pytest.approx(cell.score)
    assert cell.shares["mouth"] < 0.1 * cell.score


def test_the_change_map_of_lpips_adds_up_to_it_and_targets_can_be_chosen(editor):
    pictures = held_out(editor.generator, editor.segmenter, range(500_000, 500_003)).pictures
    target, rows = Untouched(pictures).target, torch.tensor([2, 0])
    each = DISTANCES["lpips"].between(Untouched(pictures), rows, pictures[rows].flip(0))
    assert each[0] == pytest.approx(float(each[1]), rel=1e-4), "it is symmetric"
    assert float(each[0]) > 0.2
    maps = target.of(rows).maps(measures.resized(pictures[rows]))
    assert len(maps) == 5
    assert all(float(one.abs().max()) < 1e-6 for one in maps), "equal pictures"


@pytest.mark.parametrize(("steps", "told"), [((0.2, 0.1), "0.2 0.1"), ((0.0, 0.1), "0 0.1"), ((), "none")])
def test_distances_must_rise(steps, told):
    with pytest.raises(UserError, match=f"The distances are {told}; they must be positive"):
        check_steps(steps)


def test_a_direction_of_another_generator_is_refused():
    with pytest.raises(UserError, match="was made for the generator"):
        bench()(replace(direction(0), fingerprint="b" * 64))
