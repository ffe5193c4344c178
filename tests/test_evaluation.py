"""What directions do is measured rightly, and ranges end where pictures break."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lelsd_core import calibration
from lelsd_core.calibration import MOST_CHANGE, STEP, calibrate, reach
from lelsd_core.directions import Direction
from lelsd_core.evaluation import evaluate, held_out, measure
from tests.toy import Halves, Painter

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
    samples = held_out(Painter(), Halves(), "Z", SEEDS)
    up, down = (measure(Painter(), Halves(), direction(0), samples, a).brightening for a in (1.0, -1.0))
    torch.testing.assert_close(up, -down)
    torch.testing.assert_close(up, (Painter().patterns[0].mean() * torch.ones(16)), atol=1e-5, rtol=1e-3)


def test_a_range_ends_before_the_picture_changes_too_much():
    samples = held_out(Painter(), Halves(), "Z", SEEDS)
    high = reach(Painter(), Halves(), direction(0), samples, 1)
    assert measure(Painter(), Halves(), direction(0), samples, high).change.mean() <= MOST_CHANGE
    assert measure(Painter(), Halves(), direction(0), samples, high + STEP).change.mean() > MOST_CHANGE


def test_a_range_never_passes_its_limit():
    faint = replace(direction(0), vector=direction(0).vector * 1e-3)
    assert reach(Painter(), Halves(), faint, held_out(Painter(), Halves(), "Z", SEEDS), -1) == -calibration.LIMIT


@pytest.mark.parametrize("sign", [1, -1])
def test_the_high_end_is_the_brighter_one_whatever_the_sign_was(sign):
    given = replace(direction(0), vector=sign * direction(0).vector)
    measured = calibrate(Painter(), Halves(), given, SEEDS)
    assert measured.low < 0 < measured.high
    assert measured.score == pytest.approx(1, abs=1e-4)
    brighter = 1 if Painter().patterns[0].mean() > 0 else -1
    torch.testing.assert_close(measured.vector, brighter * direction(0).vector)
