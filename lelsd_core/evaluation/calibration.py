"""Calibration: how far a slider can go while the face stays a face.

    direction --amounts tried to both sides on held-out samples--> sign, low, high, held-out score

An end is the largest amount at which, on average, neither the whole picture nor what lies outside the part changes too
much, and the pixels outside the part keep their labels. "Too much" is a root mean square, not LPIPS: stored ranges stay
what they are, and the part's outside, which LPIPS cannot see alone, has a bound of its own. `Row` tells both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lelsd_core.directions import Direction
from lelsd_core.discovery.config import MOST
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import HeldOut, held_out
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters import Segmenter, adapt, part_mask

STEP = 0.5  # resolution of a slider's ends, for amounts up to `MOST`; stretched where a search used others
STRIDES = (4 * STEP, STEP)  # tried one after the other
LIMIT = 16.0  # no slider goes further
RANGE_SAMPLES = (16, 96)  # the first held-out samples find the ends, fewer of large pictures; figures come from all
RANGE_PIXELS = 2**20
MAX_CHANGE = 0.14  # root mean square over the picture, in [-1, 1] units
MAX_OUTSIDE = 0.06  # the same outside the part
MIN_UNCHANGED = 0.9  # share of the pixels outside the part that keep their labels


def calibrate(
    generator: Generator,
    segmenter: Segmenter,
    direction: Direction,
    seeds: Sequence[int] | None = None,
    *,
    limits: tuple[float, float] | None = None,
) -> Direction:
    """The direction with its range and held-out figures, turned so that its high end is the brighter one.

    Args:
        generator, segmenter: the networks.
        direction: as a search found it.
        seeds: of the held-out samples; None = `lelsd_core.seeds.HELD_OUT`.
        limits: the range, low < 0 < high, where it was chosen by eye; None = as far as the figures allow.

    Raises:
        UserError: no sample shows the direction's parts.
    """
    segmenter = adapt(segmenter)
    samples = held_out(generator, segmenter, seeds)
    if not part_mask(samples.probabilities, segmenter.parts, direction.parts).any():
        parts = " or ".join(direction.parts)
        raise UserError(f"None of {len(samples.codes)} samples of {generator.name} shows {parts}; choose another part.")
    unit = direction.facts.get("amounts", (0.0, MOST))[1] / MOST  # searches with larger amounts stretch all steps
    if samples.effect(direction, 2 * STEP * unit, range_samples(generator)).brightening.mean() < 0:
        direction = replace(direction, vector=-direction.vector)
    low, high = limits or (largest_amount(samples, direction, signed) for signed in (-unit, unit))
    direction = replace(direction, low=low, high=high)
    row = samples.evaluate(direction, lpips=False)
    facts = {**direction.facts, "interval": row.interval, "left_out": row.left_out}
    return replace(direction, score=row.score, area=row.area, gain=row.gain, facts=facts)


def range_samples(generator: Generator) -> int:
    """Number of samples that find the ends of a slider."""
    least, most = RANGE_SAMPLES
    return min(max(RANGE_PIXELS // generator.resolution**2, least), most)


def largest_amount(samples: HeldOut, direction: Direction, unit: float) -> float:
    """The largest plausible amount with the sign of `unit`: a multiple of `unit * STEP`, at least two of them."""

    def plausible(amount: float) -> bool:
        effect = samples.effect(direction, unit * amount, range_samples(samples.generator))
        small = effect.change.mean() <= MAX_CHANGE and effect.outside.mean() <= MAX_OUTSIDE
        return bool(small and effect.unchanged.mean() >= MIN_UNCHANGED)

    largest = 2 * STEP
    for stride in STRIDES:
        while largest + stride <= LIMIT and plausible(largest + stride):
            largest += stride
    return unit * largest
