"""Localization score: the share of a change that stays inside the part it was meant for.

    feature maps before and after (B, C, H, W), mask (B, 1, h, w)  ->  score (B,) in [0, 1]

    LS(u) = Σ_ij m_ij · |r − r_edit(u)|²_ij / Σ_ij |r − r_edit(u)|²_ij                                  (Eq. 2)

|·|² can also be the sum of absolute differences (L1) or one minus the cosine of a pixel's two feature vectors.

Source: Pajouheshgar, Zhang, Süsstrunk, "Optimizing Latent Space Directions for GAN-based Local Image Editing",
ICASSP 2022 (arXiv:2111.12583). Masks are resized with antialiasing, so that lips survive 8×8 maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor


def cosine_distance(before: Tensor, after: Tensor) -> Tensor:
    """One minus the cosine between the feature vectors of each pixel, (B, C, H, W) -> (B, H, W) in [0, 2].

    It is 0 where both are zero. Half the squared distance of the unit vectors, without the rounding error of 1 − 1.
    """
    return (F.normalize(after, dim=1, eps=1e-6) - F.normalize(before, dim=1, eps=1e-6)).square().sum(1) / 2


COMBINE: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "average": lambda a, b: (a + b) / 2,
    "union": lambda a, b: a + b - a * b,
    "intersection": lambda a, b: a * b,
}
DIFFERENCES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {  # maps (B, C, H, W) -> change (B, H, W), 0 or more
    "l2": lambda before, after: (after - before).square().mean(1),
    "l1": lambda before, after: (after - before).abs().mean(1),
    "cosine": cosine_distance,
}
NO_CHANGE = 1e-12  # a total change up to this counts as none


def localization_score(
    before: Tensor, after: Tensor, mask: Tensor, *, difference: str = "l2", eps: float = 1e-8
) -> Tensor:
    """Share of the change that falls inside the mask.

    Args:
        before: feature maps or pictures (B, C, H, W) of the untouched codes.
        after: the same of the moved codes.
        mask: (B, 1, h, w) in [0, 1], 1 where change is wanted; resized to (H, W).
        difference: key of `DIFFERENCES`: what counts as change; "l2" is the paper's.
        eps: added to the total change, so that no change scores 0.

    Returns:
        (B,) in [0, 1]: 1 if all change is inside, 0 if none is or nothing changed.

    Raises:
        ValueError: the maps differ in shape, or `mask` is not (B, 1, h, w).
    """
    inside, total = change_inside(before, after, mask, difference=difference)
    return inside / (total + eps)


def change_inside(before: Tensor, after: Tensor, mask: Tensor, *, difference: str = "l2") -> tuple[Tensor, Tensor]:
    """Change inside the mask, and total change, (B,) each; arguments and errors as for `localization_score`."""
    if before.shape != after.shape:
        raise ValueError(f"feature maps differ in shape: {tuple(before.shape)} before, {tuple(after.shape)} after")
    if mask.ndim != 4 or mask.shape[:2] != (len(before), 1):
        raise ValueError(f"mask must be ({len(before)}, 1, h, w), got {tuple(mask.shape)}")
    change = DIFFERENCES[difference](before, after)  # (B, H, W)
    inside = resized_mask(mask, change.shape[-2:])
    return (change * inside[:, 0]).sum((1, 2)), change.sum((1, 2))


def resized_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask (B, 1, h, w) at another size (H, W)."""
    return mask if mask.shape[-2:] == size else F.interpolate(mask, size, mode="bilinear", antialias=True)


def combined_mask(before: Tensor, after: Tensor, *, masks: str = "average", region: str = "foreground") -> Tensor:
    """The mask m of Eq. 2, (B, 1, h, w).

    Args:
        before, after: masks of the part, (B, 1, h, w) in [0, 1].
        masks: key of `COMBINE`.
        region: "foreground" is the part; "background" is all the rest, taken before the two are combined.
    """
    if region == "background":
        before, after = 1 - before, 1 - after
    return COMBINE[masks](before, after)


def locality_gain(score: float, area: float) -> float:
    """Odds of a score over odds of the part's area, both shares from 0 to 1; it compares parts of different size."""
    return (score / max(1 - score, 1e-9)) / (max(area, 1e-9) / max(1 - area, 1e-9))
