"""Names for both ends of a slider, from what it is measured to do: "darker – brighter", "smaller – larger".

    held-out samples at the low and the high end --mean look of the part--> the strongest of `WORDS`, or "less – more"

The look of a part is the mean of its pixels' luma, colours and chroma, and its area, each in the part as it is at that
end. Colours are differences of channels, as in opponent colours: red against green, blue against yellow. Where the
pictures are faces, distances between points of MediaPipe's face mesh tell how eyes, brows, nose and mouth move.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lelsd_core.directions import Direction
from lelsd_core.evaluation.heldout import HeldOut
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
UNIT = (33, 263)  # points of the mesh: the outer corners of both eyes, whose distance is the unit of all others
MOTIONS = (  # low end, high end, least difference, pairs of points whose mean distance it is, and parts it is said of
    ("closed", "open", 0.06, ((13, 14),), ("mouth", "inner mouth", "lips", "upper lip", "lower lip")),
    ("narrower", "wider", 0.06, ((61, 291),), ("mouth", "inner mouth", "lips", "upper lip", "lower lip")),
    ("closed", "open", 0.03, ((159, 145), (386, 374)), ("eyes", "left eye", "right eye")),
    ("lower", "higher", 0.04, ((105, 159), (334, 386)), ("brows", "left brow", "right brow")),
    ("narrower", "wider", 0.04, ((48, 278),), ("nose",)),
)
CERTAIN = 3.0  # standard errors by which a mean difference must be away from 0


@torch.inference_mode()
def name_ends(
    samples: HeldOut, direction: Direction, count: int | None = None, aligner: FaceAligner | None = None
) -> tuple[str, str]:
    """The words for both ends of a direction, measured on the first `count` samples.

    The pair of `WORDS`, and of the `MOTIONS` of its parts, is chosen that exceeds its least difference by the largest
    factor; if none does, the direction's ends stay as they are. Samples that do not show the part, or a face, at both
    ends are left out. `aligner`: of the generator's pictures, if they are faces.
    """
    looks = []
    motions = [m for m in MOTIONS if aligner and aligner.frame.faces and {*m[-1]} & {*direction.parts}]
    words = [*WORDS, *(motion[:3] for motion in motions)]
    for amount in (direction.low, direction.high):
        rendered = [samples.moved(direction, amount, rows) for rows in samples.rows(count)]
        rows = torch.cat([look(samples, direction, *each) for each in rendered])
        if motions:
            pictures = [picture for each, _ in rendered for picture in each.split(1)]
            rows = torch.cat([rows, torch.stack([distances(aligner, p, motions) for p in pictures]).to(rows)], 1)
        looks.append(rows)
    best, ends = 1.0, direction.ends
    for (low, high, least), rise in zip(words, (looks[1] - looks[0]).unbind(1), strict=True):
        rise = rise[rise.isfinite()]
        error = rise.std() / len(rise) ** 0.5 if len(rise) > 1 else math.inf
        if (strength := abs(float(mean := rise.mean())) / least) >= best and abs(mean) > CERTAIN * error:
            best, ends = strength, (low, high) if mean > 0 else (high, low)
    return ends


def distances(aligner: FaceAligner, picture: Tensor, motions: list[tuple]) -> Tensor:
    """Mean distances (M,) that motions speak of, in a picture (1, 3, R, R) of a face; NaN where no face is seen."""
    points = aligner.mesh(picture)
    if points is None:
        return torch.full((len(motions),), torch.nan)

    def between(pairs: tuple) -> float:
        return float(np.mean([np.hypot(*(points[a] - points[b])) for a, b in pairs]))

    return torch.tensor([between(pairs) / between((UNIT,)) for *_, pairs, _ in motions])


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
