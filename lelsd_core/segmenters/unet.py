"""The segmenter that comes with the project: a small U-Net for the parts of a face.

    picture (B, 3, 64, 64)  --2×2 pixels to channels-->  32² --> 16² --> 8² --> 16² --> 32²  -->  (B, P, 64, 64)

Source: Ronneberger et al., "U-Net", MICCAI 2015. Few pixels and many channels suit a CPU. The stored weights have
BatchNorm folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.segmenters.base import Parts, Segmenter
from lelsd_core.weights.safetensors import load_tensors

FINE, MIDDLE, COARSE = 64, 128, 192  # channels at 32, 16 and 8 pixels
SIZE = 64


class UNet(nn.Module):
    """Picture (B, 3, 64, 64) in [-1, 1] → logits (B, P, 64, 64)."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(conv(12, FINE), conv(FINE, FINE))
        self.down1 = nn.Sequential(conv(FINE, MIDDLE, stride=2), conv(MIDDLE, MIDDLE))
        self.down2 = nn.Sequential(conv(MIDDLE, COARSE, stride=2), conv(COARSE, COARSE), conv(COARSE, COARSE))
        self.up1, self.join1 = nn.Conv2d(COARSE, MIDDLE, 1), conv(MIDDLE, MIDDLE)
        self.up2, self.join2 = nn.Conv2d(MIDDLE, FINE, 1), conv(FINE, FINE)
        self.head = nn.Conv2d(FINE, 4 * parts, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.pixel_unshuffle(image.contiguous(memory_format=torch.channels_last), 2)
        fine = self.enter(x)  # (B, 64, 32, 32)
        middle = self.down1(fine)
        coarse = self.down2(middle)
        middle = self.join1(middle + F.interpolate(self.up1(coarse), scale_factor=2.0))
        fine = self.join2(fine + F.interpolate(self.up2(middle), scale_factor=2.0))
        return F.pixel_shuffle(self.head(fine), 2)


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3×3 convolution and ReLU; the training script inserts a BatchNorm between them."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.ReLU(inplace=True))


class UNetSegmenter(Segmenter):
    """Segmenter of 64-pixel faces in digiface-64's frame, from one of this project's files; other sizes are resized."""

    def __init__(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.parts = Parts(facts.get("parts", ()))
        self.network = load_tensors(UNet(len(self.parts)), tensors, "a segmenter")

    def segment(self, image: Tensor, features: Mapping[str, Tensor] | None = None) -> Tensor:
        if image.shape[-2:] != (SIZE, SIZE):
            image = F.interpolate(image, (SIZE, SIZE), mode="bilinear", antialias=True)
        return self.network(image).softmax(1)
