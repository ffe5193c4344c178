"""Localization score: the share of a change that stays inside the part it was meant for.

    feature maps before and after (B, C, H, W), mask (B, 1, h, w)  ->  score (B,) in [0, 1]

    LS(u) = Σ_ij m_ij · |r − r_edit(u)|²_ij / Σ_ij |r − r_edit(u)|²_ij                                  (Eq. 2)

Source: Pajouheshgar, Zhang, Süsstrunk, "Optimizing Latent Space Directions for GAN-based Local Image Editing",
ICASSP 2022 (arXiv:2111.12583). Masks are resized with antialiasing, so that lips survive 8×8 maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor

COMBINE: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "average": lambda a, b: (a + b) / 2,
    "union": lambda a, b: a + b - a * b,
    "intersection": lambda a, b: a * b,
}


def localization_score(before: Tensor, after: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    """Share of the squared change that falls inside the mask.

    Args:
        before: feature maps or pictures (B, C, H, W) of the untouched codes.
        after: the same of the moved codes.
        mask: (B, 1, h, w) in [0, 1], 1 where change is wanted; resized to (H, W) here.
        eps: added to the total change, so that no change scores 0.

    Returns:
        (B,) in [0, 1]: 1 if all change is inside, 0 if none is or nothing changed.

    Raises:
        ValueError: the maps differ in shape, or `mask` is not (B, 1, h, w).
    """
    if before.shape != after.shape:
        raise ValueError(f"feature maps differ in shape: {tuple(before.shape)} before, {tuple(after.shape)} after")
    if mask.ndim != 4 or mask.shape[:2] != (len(before), 1):
        raise ValueError(f"mask must be ({len(before)}, 1, h, w), got {tuple(mask.shape)}")
    change = (after - before).square().mean(1)  # (B, H, W)
    inside = mask
    if mask.shape[-2:] != change.shape[-2:]:
        inside = F.interpolate(mask, change.shape[-2:], mode="bilinear", antialias=True)
    return (change * inside[:, 0]).sum((1, 2)) / (change.sum((1, 2)) + eps)


def locality_gain(score: float, area: float) -> float:
    """Odds of a score over odds of the area it was reached on; compares parts of different size.

    Args:
        score: share of the change inside the part, in [0, 1).
        area: share of the picture that the part covers, in (0, 1).
    """
    return (score / max(1 - score, 1e-9)) / (max(area, 1e-9) / max(1 - area, 1e-9))
