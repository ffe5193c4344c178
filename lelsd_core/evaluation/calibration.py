"""Calibration: how far a slider can go while the face stays a face.

    direction --amounts tried to both sides on held-out samples--> sign, low, high, held-out score

An end is the largest amount at which, on average, the whole picture and what lies outside the part, its labels and
its plain surfaces, change by no more than a share of what they do from one sample to the next (`SHARES`). So each
generator's size, contrast and subject give it limits of its own. An amount that fails is never granted. A local move
goes no further than its search did: a mouth that is opened too far tears, which none of these figures tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lelsd_core.directions import NO_WORDS, Direction
from lelsd_core.discovery.config import MOST
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import HeldOut, held_out
from lelsd_core.evaluation.naming import name_ends
from lelsd_core.evaluation.perceptual import SIDES
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters import Segmenter, adapt

if TYPE_CHECKING:
    from lelsd_core.faces import FaceAligner

STEP = 0.5  # resolution of a slider's ends, for amounts up to `MOST`; stretched where a search used others
STRIDES = (4 * STEP, STEP)  # tried one after the other
LIMIT = 16.0  # no slider goes further
RANGE_SAMPLES = (16, 96)  # the first held-out samples find the ends, fewer of large pictures; figures come from all
RANGE_PIXELS = 2**20
HALVINGS = 10  # of a step that is too large, before a direction is given up
SHARES = {  # field of `Effect` -> how much an end may change it, over how much the next sample does
    "change": 0.29,
    "lpips": 0.15,
    "outside": 0.11,
    "relabelled": 0.2,
    "stripes": 0.2,
}
UNSEEN = {"stripes": 3**0.5 / 255}  # granted whatever samples do: half a level of 255 in three channels


def calibrate(
    generator: Generator,
    segmenter: Segmenter,
    direction: Direction,
    seeds: Sequence[int] | None = None,
    *,
    limits: tuple[float, float] | None = None,
    aligner: FaceAligner | None = None,
) -> Direction:
    """The direction with its range, held-out figures, and words; a global move's high end is its brighter one.

    Ends that have no words of their own yet get those of `name_ends`.

    Args:
        generator, segmenter: the networks.
        direction: as a search found it.
        seeds: of the held-out samples; None = `lelsd_core.seeds.HELD_OUT`.
        limits: the range, low < 0 < high, where it was chosen by eye; None = as far as the figures allow.
        aligner: of the generator's pictures, if they are faces, whose motions have names, too.

    Raises:
        UserError: fewer than two samples, none that shows the direction's parts, or a smallest amount that changes too
            much already.
    """
    segmenter = adapt(segmenter)
    samples = held_out(generator, segmenter, seeds)
    if len(samples.codes) < 2:
        raise UserError("A range is found by what differs between samples; give at least two seeds.")
    samples.check_shows(direction.parts)
    unit = direction.facts.get("amounts", (0.0, MOST))[1] / MOST  # searches with larger amounts stretch all steps
    if not direction.local:
        effect = samples.effect(direction, 2 * STEP * unit, range_samples(generator))
        direction = direction if effect.brightening.mean() >= 0 else replace(direction, vector=-direction.vector)
    low, high = limits or (largest_amount(samples, direction, signed) for signed in (-unit, unit))
    direction = replace(direction, low=low, high=high)
    if direction.ends == NO_WORDS:
        direction = replace(direction, ends=name_ends(samples, direction, range_samples(generator), aligner))
    row = samples.evaluate(direction, lpips=False)
    facts = {**direction.facts, "interval": row.interval, "left_out": row.left_out}
    return replace(direction, score=row.score, area=row.area, gain=row.gain, facts=facts)


def range_samples(generator: Generator) -> int:
    """Number of samples that find the ends of a slider."""
    least, most = RANGE_SAMPLES
    return min(max(RANGE_PIXELS // generator.resolution**2, least), most)


def largest_amount(samples: HeldOut, direction: Direction, unit: float) -> float:
    """The largest plausible amount with the sign of `unit`: a multiple of `unit * STEP`, or its half, quarter ...

    UserError if not even a thousandth of that is plausible.
    """
    usual, limit = changes(samples, direction, None), MOST if direction.local else LIMIT

    def plausible(amount: float) -> bool:
        effect = changes(samples, direction, unit * amount)
        return all(effect[name] <= max(SHARES[name] * usual[name], UNSEEN.get(name, 0.0)) for name in usual)

    largest = 0.0
    for stride in STRIDES:
        while largest + stride <= limit and plausible(largest + stride):
            largest += stride
    if largest:
        return unit * largest
    for halving in range(1, HALVINGS + 1):
        if plausible(STEP / 2**halving):
            return unit * STEP / 2**halving
    raise UserError(
        f"The direction {direction.name!r} cannot be used: even {abs(unit) * STEP / 2**HALVINGS:.1g} of it changes the "
        f"picture more than {samples.generator.name}'s samples allow."
    )


def changes(samples: HeldOut, direction: Direction, amount: float | None) -> dict[str, float]:
    """Means of an `Effect`, for the names of `SHARES`; None instead of an amount: from one sample to the next.

    LPIPS only where pictures are large enough for its network.
    """
    lpips = samples.generator.resolution >= SIDES[0]
    effect = samples.effect(direction, amount, range_samples(samples.generator), lpips=lpips)
    return {name: float(getattr(effect, name).mean()) for name in SHARES if name != "lpips" or lpips}
