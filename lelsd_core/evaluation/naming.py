"""Names for both ends of a slider, from what it is measured to do: "darker – brighter", "smaller – larger".

    held-out samples at the low and the high end --mean look of the part--> the strongest of `WORDS`, or "less – more"

The look of a part is the mean of its pixels' luma, colours and chroma, and its area, each in the part as it is at that
end. Colours are differences of channels, as in opponent colours: red against green, blue against yellow. Where the
pictures are faces, the measures of `faces.measures` tell how eyes, brows, nose, mouth and hair move.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lelsd_core.directions import Direction
from lelsd_core.evaluation.heldout import HeldOut
from lelsd_core.faces.measures import MEASURES, Measure, measure, see
from lelsd_core.localization import resized_mask
from lelsd_core.segmenters import part_mask

if TYPE_CHECKING:
    from lelsd_core.faces import FaceAligner

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601
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
    """How far the first `count` samples move at the low and the high end: each of `motions_of`, as a mean over faces.

    In % of the distance between the outer corners of the eyes, areas in % of its square; NaN where no face is seen.
    """
    motions = motions_of(direction, aligner)
    parts, moved = samples.segmenter.parts, {name: [] for name in motions}
    for amount in (direction.low, direction.high) if motions else ():
        changes = []
        for rows in samples.rows(count):
            still = measure(see(aligner, samples.pictures[rows], samples.probabilities[rows], parts), motions)
            changes.append(measure(see(aligner, *samples.moved(direction, amount, rows), parts), motions) - still)
        for name, mean in zip(motions, (100 * torch.cat(changes).nanmean(0)).tolist(), strict=True):
            moved[name].append(mean)
    return {name: (low, high) for name, (low, high) in moved.items()}


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
