"""Names for both ends of a slider, from what it is measured to do: "darker – brighter", "smaller – larger".

    held-out samples at the low and the high end --mean look of the part--> the strongest of `WORDS`, or "less – more"

The look of a part is the mean of its pixels' luma, colours and chroma, and its area, each in the part as it is at that
end. Colours are differences of channels, as in opponent colours: red against green, blue against yellow. Where the
pictures are faces, the measures of `faces.measures` tell how eyes, brows, nose, mouth and hair move.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lelsd_core.directions import Direction
from lelsd_core.evaluation.heldout import HeldOut
from lelsd_core.faces.measures import LUMA, MEASURES, Measure, measure, see
from lelsd_core.localization import resized_mask
from lelsd_core.segmenters import part_mask

if TYPE_CHECKING:
    from lelsd_core.faces import FaceAligner

WORDS = (  # low end, high end, and the least difference between both ends for which they are used
    ("darker", "brighter", 0.08),  # luma; this and the next three as shares of the range from black to white
    ("greener", "redder", 0.05),  # red less green
    ("yellower", "bluer", 0.05),  # blue less the mean of red and green
    ("paler", "more colourful", 0.06),  # the largest less the smallest of the three channels
    ("smaller", "larger", math.log(1.25)),  # logarithm of the area
)
CERTAIN = 3.0  # standard errors by which a mean difference must be away from 0


@torch.inference_mode()
def name_ends(
    samples: HeldOut, direction: Direction, count: int | None = None, aligner: FaceAligner | None = None
) -> tuple[str, str]:
    """The words for both ends of a direction, measured on the first `count` samples.

    The pair of `WORDS`, and of the `MEASURES` of its parts, is chosen that exceeds its least difference by the largest
    factor, for a local move one of `MEASURES` first; if none does, the ends stay as they are. Samples that do not show
    the part, or a face, at both ends are left out. `aligner`: of the generator's pictures, if they are faces.
    """
    looks, motions = [], motions_of(direction, aligner)
    words = [*WORDS, *((spec.low, spec.high, spec.least) for spec in motions.values())]
    for amount in (direction.low, direction.high):
        rendered = [samples.moved(direction, amount, rows) for rows in samples.rows(count)]
        rows = torch.cat([look(samples, direction, *each) for each in rendered])
        if motions:
            seen = [measure(see(aligner, *each, samples.segmenter.parts), motions) for each in rendered]
            rows = torch.cat([rows, torch.cat(seen).to(rows)], 1)
        looks.append(rows)
    found = []
    for i, ((low, high, least), rise) in enumerate(zip(words, (looks[1] - looks[0]).unbind(1), strict=True)):
        rise = rise[rise.isfinite()]
        error = rise.std() / len(rise) ** 0.5 if len(rise) > 1 else math.inf
        if (strength := abs(float(mean := rise.mean())) / least) >= 1 and abs(mean) > CERTAIN * error:
            motion_of_shape = direction.local is not None and i >= len(WORDS)
            found.append((motion_of_shape, strength, (low, high) if mean > 0 else (high, low)))
    return max(found, key=lambda each: each[:2])[2] if found else direction.ends


def motions_of(direction: Direction, aligner: FaceAligner | None) -> dict[str, Measure]:
    """Those of `MEASURES` that tell of a direction's parts; none where pictures are not faces."""
    if aligner is None or not aligner.frame.faces:
        return {}
    return {name: spec for name, spec in MEASURES.items() if {*spec.parts} & {*direction.parts}}


@torch.inference_mode()
def motion(
    samples: HeldOut, direction: Direction, aligner: FaceAligner, count: int | None = None
) -> dict[str, tuple[float, float]]:
    """How far the first `count` samples move at the low and the high end: each of `MEASURES`, as a mean over faces.

    In % of the distance between the outer corners of the eyes, areas in % of its square, colours in % of the range from
    black to white; NaN where no face, or not the part, is seen. Nothing where pictures are not faces.
    """
    if not aligner.frame.faces:
        return {}

    def numbers(pictures: Tensor, probabilities: Tensor) -> Tensor:
        return measure(see(aligner, pictures, probabilities, samples.segmenter.parts))

    rows = samples.rows(count)
    if len(samples.numbers) < len(samples.codes[:count]):  # the same for all directions
        samples.numbers = torch.cat([numbers(samples.pictures[r], samples.probabilities[r]) for r in rows])
    ends = []
    for amount in (direction.low, direction.high):
        moved = torch.cat([numbers(*samples.moved(direction, amount, r)) for r in rows])
        ends.append((100 * (moved - samples.numbers[: len(moved)]).nanmean(0)).tolist())
    return {name: (low, high) for name, low, high in zip(MEASURES, *ends, strict=True)}


def about(direction: Direction, moved: Mapping[str, tuple[float, float]]) -> str:
    """The one of `MEASURES` that a direction is about: that of its start, or the strongest of its parts; "" if none.

    `moved`: from `motion`. A measure's strength is its difference between both ends over the least one worth a word.
    """
    if (name := direction.facts.get("about")) in moved:
        return name
    own = [name for name in moved if {*MEASURES[name].parts} & {*direction.parts}]
    strengths = {name: abs(moved[name][1] - moved[name][0]) / MEASURES[name].least for name in own}
    return max((name for name in own if strengths[name] == strengths[name]), key=strengths.get, default="")


def look(samples: HeldOut, direction: Direction, pictures: Tensor, probabilities: Tensor) -> Tensor:
    """What `WORDS` speak of (B, words), for pictures (B, 3, R, R) with part probabilities (B, P, h, w).

    Not finite where the part is missing.
    """
    mask = resized_mask(part_mask(probabilities, samples.segmenter.parts, direction.parts), pictures.shape[-2:])
    pixels = (pictures.clamp(-1, 1) + 1) / 2
    red, green, blue = pixels.unbind(1)
    luma = sum(weight * channel for weight, channel in zip(LUMA, (red, green, blue), strict=True))
    chroma = pixels.amax(1) - pixels.amin(1)
    values = torch.stack([luma, red - green, blue - (red + green) / 2, chroma], 1)  # (B, 4, R, R)
    means = (values * mask).sum((2, 3)) / mask.sum((2, 3))
    return torch.cat([means, mask.mean((2, 3)).log()], 1)
