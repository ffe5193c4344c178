"""The slider range of a direction: how far it can go while the face stays a face.

    direction --amounts tried to both sides on held-out samples--> sign, low, high, held-out score, slider scale

An end is the largest amount at which, on average, neither the whole picture nor what lies outside the part changes too
much, and the pixels outside the part are still read as what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lelsd_core.directions import Direction
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import HELD_OUT, HeldOut, evaluate_one, held_out, measure, with_scores
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters import Segmenter, part_mask

TRAINED = 4.0  # largest amount of a search in a space where the steps below fit; elsewhere they are stretched
STEP = 0.5  # amounts are given in these units
STRIDES = (4 * STEP, STEP)  # and tried in these, one after the other
SCALE_ON = 32  # of the held-out samples
RANGE_ON = 96  # of the held-out samples; the figures come from all of them
LIMIT = 16.0  # no slider goes further
MOST_CHANGE = 0.14  # root mean square over the picture, in [-1, 1] units
MOST_OUTSIDE = 0.06  # the same outside the part
LEAST_KEPT = 0.9  # share of the pixels outside the part that stay what they were


def calibrate(
    generator: Generator, segmenter: Segmenter, direction: Direction, seeds: Sequence[int] = HELD_OUT
) -> Direction:
    """The direction with its range, held-out figures and scale, turned so that its high end is the brighter one.

    Raises:
        UserError: no sample shows the direction's parts.
    """
    samples = held_out(generator, segmenter, direction.space, seeds)
    some = samples.first(RANGE_ON)
    if not part_mask(samples.probabilities, segmenter.parts, direction.parts).any():
        parts = " or ".join(direction.parts)
        raise UserError(f"None of {len(samples.codes)} samples of {generator.name} shows {parts}; choose another part.")
    if measure(generator, segmenter, direction, some, 2 * STEP * stretch(direction)).brightening.mean() < 0:
        direction = replace(direction, vector=-direction.vector)
    low, high = (reach(generator, segmenter, direction, some, sign) for sign in (-1, 1))
    direction = replace(direction, low=low, high=high)
    facts = dict(direction.facts) | {"scale": equal_steps(generator, segmenter, direction, some.first(SCALE_ON))}
    direction = replace(direction, facts=facts)
    return with_scores(direction, evaluate_one(generator, segmenter, direction, samples))


def equal_steps(
    generator: Generator, segmenter: Segmenter, direction: Direction, samples: HeldOut, steps: int = 4
) -> tuple[float, ...]:
    """Amounts at the slider positions −1 … 0 … 1 in 2·steps equal steps, each of which changes the picture equally.

    Changes are mean root mean square changes from the untouched picture, read at even amounts, straight lines between.
    """
    sides = []
    for end in (direction.low, direction.high):
        tried = [end * i / steps for i in range(steps + 1)]
        changes = [0.0]
        for amount in tried[1:]:
            effect = measure(generator, segmenter, direction, samples, amount)
            changes.append(max(float(effect.change.mean()), changes[-1]))
        wanted = [changes[-1] * i / steps for i in range(1, steps)]
        sides.append([*(crossing(tried, changes, change) for change in wanted), end])
    return (*reversed(sides[0]), 0.0, *sides[1])


def crossing(amounts: Sequence[float], changes: Sequence[float], wanted: float) -> float:
    """The amount at which changes, which never fall, first reach what is wanted; straight lines between."""
    for i in range(1, len(amounts)):
        if changes[i] >= wanted and changes[i] > changes[i - 1]:
            share = (wanted - changes[i - 1]) / (changes[i] - changes[i - 1])
            return amounts[i - 1] + share * (amounts[i] - amounts[i - 1])
    return amounts[-1]


def reach(generator: Generator, segmenter: Segmenter, direction: Direction, samples: HeldOut, sign: int) -> float:
    """The largest believable amount to one side, a multiple of the stretched `STEP` and at least two of them."""
    unit = sign * stretch(direction)

    def believable(amount: float) -> bool:
        effect = measure(generator, segmenter, direction, samples, unit * amount)
        changes = effect.change.mean() <= MOST_CHANGE and effect.outside.mean() <= MOST_OUTSIDE
        return bool(changes and effect.kept.mean() >= LEAST_KEPT)

    reached = 2 * STEP
    for stride in STRIDES:
        while reached + stride <= LIMIT and believable(reached + stride):
            reached += stride
    return unit * reached


def stretch(direction: Direction) -> float:
    """How much longer the amounts of a direction's space are than those that `STEP` and `LIMIT` are given for."""
    return direction.facts.get("amounts", (0.0, TRAINED))[1] / TRAINED
