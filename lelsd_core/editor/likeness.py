"""How much each pixel of a face matters for recognising the person."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.generators.base import Synthesis
from lelsd_core.segmenters import Segmenter

PARTS = ("brows", "eyes", "nose", "mouth")  # that make a person; they count more in an inversion
WEIGHT = 3.0


@torch.no_grad()
def likeness_weights(segmenter: Segmenter, face: Tensor) -> Tensor | None:
    """Weights (1, 1, R, R) with mean 1 of a face (1, 3, R, R); None from a segmenter that knows no such parts."""
    wanted = [i for i, name in enumerate(segmenter.parts) if name in PARTS]
    if not wanted or segmenter.needs:
        return None
    matters = segmenter.segment(Synthesis(face))[:, wanted].sum(1, keepdim=True)
    weights = 1 + (WEIGHT - 1) * F.interpolate(matters, face.shape[-2:], mode="area")
    return weights / weights.mean()
