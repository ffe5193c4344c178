"""The encoder that ships with digiface-64: one pass from a small picture to codes, close to the prior's centre.

picture (B, 3, 64, 64)  --convolutions, one linear map-->  codes (B, D) of the finest space
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lelsd_core.formats.weights import fill


class FaceEncoder(nn.Module):
    """Picture (B, 3, 64, 64) in [-1, 1] -> codes (B, D): z and offsets of S around a learned mean code.

    Args:
        space: the space of the codes; one linear map reads them off the last features.
        centre, spread: (D,) scale of the codes.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),
            block(12, 64),  # 32 × 32
            block(64, 128, stride=2),
            block(128, 128),  # 16 × 16
            block(128, 256, stride=2),
            block(256, 256),  # 8 × 8
            block(256, 288, stride=2),
            block(288, 288),  # 4 × 4
            nn.Conv2d(288, 64, 1),
            nn.Flatten(),
        )
        self.head = nn.Linear(64 * 16, width)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def forward(self, image: Tensor) -> Tensor:
        return self.centre + self.spread * self.head(self.trunk(image))


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3×3 convolution and leaky ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.LeakyReLU(0.2, inplace=True))


def build_encoder(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> FaceEncoder:
    """The encoder of an `encoder` file. UserError if its tensors do not fit."""
    return fill(FaceEncoder(tensors["centre"].numel() if "centre" in tensors else 1), tensors, "an encoder")
