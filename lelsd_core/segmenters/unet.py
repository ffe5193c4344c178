"""The segmenters that come with the project: a small U-Net for the parts of a face.

    picture (B, 3, s, s)  --2×2 pixels to channels-->  s/2 --> s/4 --> ... --> s/4 --> s/2  -->  (B, P, s, s)

Source: Ronneberger et al., "U-Net", MICCAI 2015. Few pixels and many channels suit a CPU. The stored weights have
BatchNorm folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.segmenters.base import Parts, Segmenter
from lelsd_core.weights.safetensors import load_tensors

SIZE, WIDTHS = 64, (64, 128, 192)  # of a file whose header names none


class UNet(nn.Module):
    """Picture (B, 3, s, s) in [-1, 1] → logits (B, P, s, s).

    Args:
        parts: P.
        widths: channels at s/2, s/4, ... pixels; s is a multiple of 2 to the power of their number.
    """

    def __init__(self, parts: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        fine, last = widths[0], len(widths) - 1
        self.levels = range(1, len(widths))
        self.enter = nn.Sequential(conv(12, fine), conv(fine, fine))
        for i in self.levels:
            above, width = widths[i - 1], widths[i]
            more = [conv(width, width) for _ in range(2 if i == last else 1)]
            self.add_module(f"down{i}", nn.Sequential(conv(above, width, stride=2), *more))
        for i in self.levels:  # from the coarsest
            below, width = widths[last - i + 1], widths[last - i]
            self.add_module(f"up{i}", nn.Conv2d(below, width, 1))
            self.add_module(f"join{i}", conv(width, width))
        self.head = nn.Conv2d(fine, 4 * parts, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.enter(F.pixel_unshuffle(image.contiguous(memory_format=torch.channels_last), 2))
        finer = []
        for i in self.levels:
            finer.append(x)
            x = self.get_submodule(f"down{i}")(x)
        for i in self.levels:
            up, join = self.get_submodule(f"up{i}"), self.get_submodule(f"join{i}")
            x = join(finer.pop() + F.interpolate(up(x), scale_factor=2.0))
        return F.pixel_shuffle(self.head(x), 2)


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3×3 convolution and ReLU; the training script inserts a BatchNorm between them."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.ReLU(inplace=True))


class UNetSegmenter(Segmenter):
    """Segmenter of faces in the frame of its generator, from one of this project's files; pictures are resized.

    The facts name its "parts", and the "size" of the pictures and "widths" of the network where they are not the
    defaults.
    """

    def __init__(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.parts, self.size = Parts(facts.get("parts", ())), int(facts.get("size", SIZE))
        self.network = load_tensors(UNet(len(self.parts), facts.get("widths", WIDTHS)), tensors, "a segmenter")

    def segment(self, image: Tensor, features: Mapping[str, Tensor] | None = None) -> Tensor:
        if image.shape[-2:] != (self.size, self.size):
            image = F.interpolate(image, (self.size, self.size), mode="bilinear", antialias=True)
        return self.network(image).softmax(1)
