"""The slider range of a direction: how far it can go while the face stays a face.

    direction --amounts tried to both sides on held-out samples--> sign, low, high, held-out score

An end is the largest amount at which, on average, neither the whole picture nor what lies outside the part changes too
much, and the pixels outside the part are still read as what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lelsd_core.directions import Direction
from lelsd_core.evaluation import HELD_OUT, HeldOut, evaluate_one, held_out, measure, with_scores
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters import Segmenter

STEP = 0.5  # amounts are given in these units
STRIDES = (4 * STEP, STEP)  # and tried in these, one after the other
LIMIT = 16.0  # no slider goes further
MOST_CHANGE = 0.14  # root mean square over the picture, in [-1, 1] units
MOST_OUTSIDE = 0.06  # the same outside the part
LEAST_KEPT = 0.9  # share of the pixels outside the part that stay what they were


def calibrate(
    generator: Generator, segmenter: Segmenter, direction: Direction, seeds: Sequence[int] = HELD_OUT
) -> Direction:
    """The direction with its range and held-out figures, turned so that its high end is the brighter one."""
    samples = held_out(generator, segmenter, direction.space, seeds)
    if measure(generator, segmenter, direction, samples, 2 * STEP).brightening.mean() < 0:
        direction = replace(direction, vector=-direction.vector)
    low, high = (reach(generator, segmenter, direction, samples, sign) for sign in (-1, 1))
    direction = replace(direction, low=low, high=high)
    return with_scores(direction, evaluate_one(generator, segmenter, direction, samples))


def reach(generator: Generator, segmenter: Segmenter, direction: Direction, samples: HeldOut, sign: int) -> float:
    """The largest believable amount to one side, a multiple of `STEP` and at least two of them."""

    def believable(amount: float) -> bool:
        effect = measure(generator, segmenter, direction, samples, sign * amount)
        changes = effect.change.mean() <= MOST_CHANGE and effect.outside.mean() <= MOST_OUTSIDE
        return bool(changes and effect.kept.mean() >= LEAST_KEPT)

    reached = 2 * STEP
    for stride in STRIDES:
        while reached + stride <= LIMIT and believable(reached + stride):
            reached += stride
    return sign * reached
