"""The slider range of a direction: how far it can go while the face stays a face.

    direction --amounts tried to both sides on held-out samples--> sign, low, high, held-out score

An end is the largest amount at which the mean change of the whole picture stays below `MOST_CHANGE`, the pixels
outside the part stay what they were, and the score keeps most of what it is for a small move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lelsd_core.directions import Direction
from lelsd_core.evaluation import HELD_OUT, HeldOut, evaluate_one, held_out, measure, with_scores
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters import Segmenter

STEP = 0.5  # amounts are tried and given in these units
LIMIT = 16.0  # no slider goes further
MOST_CHANGE = 0.14  # root mean square over the picture, in [-1, 1] units
LEAST_KEPT = 0.9  # share of the pixels outside the part that stay what they were
LEAST_SCORE = 0.8  # of the score of a small move


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
    small = float(measure(generator, segmenter, direction, samples, sign * 2 * STEP).score.mean())
    reached = 2 * STEP
    while reached < LIMIT:
        effect = measure(generator, segmenter, direction, samples, sign * (reached + STEP))
        if (
            effect.change.mean() > MOST_CHANGE
            or effect.kept.mean() < LEAST_KEPT
            or effect.score.mean() < LEAST_SCORE * small
        ):
            break
        reached += STEP
    return sign * reached
