"""Numbers of a part that any segmenter gives, for methods that follow a score where nobody names one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lelsd_core.faces.measures import BLUE, LUMA, RED, mean_colour
from lelsd_core.generators.base import Synthesis
from lelsd_core.localization import resized_mask
from lelsd_core.segmenters import Segmenter, part_mask, segment_synthesis

COLOURS: Mapping[str, tuple[float, float, float]] = {"light": LUMA, "red": RED, "blue": BLUE}


@torch.no_grad()
def region(segmenter: Segmenter, synthesis: Synthesis, parts: Sequence[str]) -> Tensor:
    """The mask (B, 1, H, W) of parts in the pictures of a synthesis, as large as these."""
    mask = part_mask(segment_synthesis(segmenter, synthesis), segmenter.parts, parts)
    return resized_mask(mask, synthesis.image.shape[-2:])


def colour(image: Tensor, mask: Tensor, name: str) -> Tensor:
    """One of `COLOURS` (B,) inside a mask (B, 1, H, W) of pictures (B, 3, H, W); NaN where the part is not seen."""
    return mean_colour((image + 1) / 2, mask, COLOURS[name])
