"""What the training scripts of this folder share: labels, random affine views, photo-like recolouring."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HERE = Path(__file__).resolve().parents[1]


def load_labels(paths: list[str]) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, s, s) and part numbers (N, s, s) of files made by `labels.py`, uint8."""
    files = [np.load(path) for path in paths]
    images = np.concatenate([file["images"] for file in files])
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(np.concatenate([f["labels"] for f in files]))


def recipe(options: argparse.Namespace, **more: object) -> dict[str, object]:
    """The options of a training, files by name alone: what a weights file's header says about how it was made."""

    def bare(value: object) -> object:
        if isinstance(value, list):
            return [bare(item) for item in value]
        return Path(value).name if isinstance(value, str) else value

    return {name: bare(value) for name, value in vars(options).items()} | {"seed": 0} | more


def affine(
    count: int, random: torch.Generator, *, turn: float, scale: tuple[float, float], shift: float, side: int = 64
) -> Tensor:
    """Sampling grids (count, side, side, 2): turn in ± degrees, scale log-uniform, shift in ± half widths."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=random)

    angle = uniform(-turn, turn) * math.pi / 180
    size = uniform(math.log(scale[0]), math.log(scale[1])).exp()
    cos, sin = angle.cos() / size, angle.sin() / size
    rows = torch.stack([cos, -sin, uniform(-shift, shift), sin, cos, uniform(-shift, shift)], 1)
    return F.affine_grid(rows.view(count, 2, 3), (count, 3, side, side), align_corners=False)


def recolour(images: Tensor, random: torch.Generator) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] under random light: exposure, contrast, tint, saturation, blur, noise."""

    def draw(spread: float, channels: int = 1) -> Tensor:
        return spread * torch.randn(len(images), channels, 1, 1, generator=random)

    x = (images + 1) / 2
    x = x.clamp_min(1e-4) ** (draw(0.3).exp())
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (draw(0.35).exp() * (torch.rand(len(x), 1, 1, 1, generator=random) > 0.05))
    x = x * draw(0.25).exp() * draw(0.08, 3).exp() + draw(0.06)
    ramp = torch.linspace(-1, 1, x.shape[-1])
    x = x * (1 + draw(0.12) * ramp + draw(0.12) * ramp[:, None])  # light from one side
    blurred = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear")
    mix = torch.rand(len(x), 1, 1, 1, generator=random)
    mix = torch.where(mix < 0.5, torch.zeros_like(mix), 1.5 - 2 * mix)  # half stay, others from sharpened to blurred
    x = x + mix * (blurred - x)
    x = x + draw(0.02).abs() * torch.randn(x.shape, generator=random)
    return (2 * x - 1).clamp(-1, 1)
