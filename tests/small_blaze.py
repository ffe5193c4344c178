"""A small BlazeStyleGAN in this project's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lelsd_core.weights.safetensors import write_safetensors
from tests.data.golden.golden import values

SMALL = {"4.conv": 8, "8.conv0": 8, "8.conv1": 12, "16.conv0": 8, "16.conv1": 12, "32.conv": 8}  # width of each style


def small_weights() -> dict[str, torch.Tensor]:
    """Random weights of a BlazeStyleGAN for 32 pixels, with codes of 16 numbers."""
    shapes: dict[str, tuple[int, ...]] = {"const": (8, 4, 4), "to_rgb.weight": (3, 8), "to_rgb.bias": (3,)}
    channels = 8
    for name, width in SMALL.items():
        shapes |= {f"{name}.style.weight": (width, 16), f"{name}.style.bias": (width,)}
        if name.endswith(("conv0", "32.conv")):
            shapes |= {f"{name}.up.depthwise": (channels, 1, 3, 3), f"{name}.up.depthwise_bias": (channels,)}
            shapes |= {f"{name}.up.pointwise": (8, channels, 1, 1), f"{name}.up.pointwise_bias": (8,)}
        if name == "32.conv":
            shapes |= {f"{name}.dense.weight": (8, 8, 3, 3), f"{name}.dense.bias": (8,)}
            continue
        channels = 12
        shapes |= {f"{name}.depthwise": (width, 1, 3, 3), f"{name}.pointwise": (channels, width, 1, 1)}
        shapes |= {f"{name}.bias": (channels,), f"{name}.noise_strength": ()}
    shapes |= {"prior.mean": (48,), "prior.factor": (48, 10)}
    scale = {name: max(1, int(np.prod(shape[1:]))) ** -0.5 for name, shape in shapes.items()}
    return {name: torch.tensor(scale[name] * values(name, shape, 0)) for name, shape in shapes.items()}


def small(folder: Path, **changes: torch.Tensor | None) -> Path:
    """A generator file of `small_weights`, some of which are others or left out."""
    tensors = {name: t for name, t in (small_weights() | changes).items() if t is not None}
    write_safetensors(folder / "small.safetensors", tensors, {"kind": "generator", "architecture": "blaze"})
    return folder / "small.safetensors"
