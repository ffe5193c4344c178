"""A small network that reads the parts of a face from the picture alone.

    picture (B, 3, 64, 64)  --2×2 pixels to channels-->  32² --> 16² --> 8² --> 16² --> 32²  -->  (B, P, 64, 64)

A U-Net (Ronneberger et al., 2015) with few pixels and many channels, which a CPU likes best; BatchNorm is folded
into the convolutions before the weights are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import UserError
from lelsd_core.generators.base import Synthesis

WIDTHS = (64, 128, 192)  # channels at 32, 16 and 8 pixels


class PartsNetwork(nn.Module):
    """Picture (B, 3, 64, 64) in [-1, 1] -> logits (B, P, 64, 64)."""

    def __init__(self, parts: int, widths: tuple[int, int, int] = WIDTHS) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.enter = nn.Sequential(conv(12, fine), conv(fine, fine))
        self.down1 = nn.Sequential(conv(fine, middle, stride=2), conv(middle, middle))
        self.down2 = nn.Sequential(conv(middle, coarse, stride=2), conv(coarse, coarse), conv(coarse, coarse))
        self.up1, self.join1 = nn.Conv2d(coarse, middle, 1), conv(middle, middle)
        self.up2, self.join2 = nn.Conv2d(middle, fine, 1), conv(fine, fine)
        self.head = nn.Conv2d(fine, 4 * parts, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.pixel_unshuffle(image.contiguous(memory_format=torch.channels_last), 2)
        fine = self.enter(x)  # (B, 64, 32, 32)
        middle = self.down1(fine)
        coarse = self.down2(middle)
        middle = self.join1(middle + F.interpolate(self.up1(coarse), scale_factor=2.0))
        fine = self.join2(fine + F.interpolate(self.up2(middle), scale_factor=2.0))
        return F.pixel_shuffle(self.head(fine), 2)


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3×3 convolution and ReLU; training puts a BatchNorm between them."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.ReLU(inplace=True))


class PartsSegmenter(nn.Module):
    """Face parts of 64-pixel pictures in digiface-64's frame.

    Args:
        network: picture (B, 3, 64, 64) -> logits (B, P, 64, 64).
        parts: names of its channels.
    """

    needs: tuple[str, ...] = ()
    size = 64

    def __init__(self, network: PartsNetwork, parts: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.parts = network, parts
        self.name = self.fingerprint = ""

    def segment(self, synthesis: Synthesis) -> Tensor:
        """Probabilities (B, P, 64, 64) that sum to 1 over the parts, read from the picture."""
        return self.segment_image(synthesis.image)

    def segment_image(self, image: Tensor) -> Tensor:
        """The same for any picture (B, 3, H, W) in [-1, 1]."""
        if image.shape[-2:] != (self.size, self.size):
            image = F.interpolate(image, (self.size, self.size), mode="bilinear", antialias=True)
        return self.network(image).softmax(1)


def build_parts_segmenter(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> PartsSegmenter:
    """The segmenter of a `segmenter` file. UserError if its tensors do not fit."""
    parts = tuple(facts.get("parts", ()))
    network = PartsNetwork(len(parts))
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError:
        raise UserError("These weights are a segmenter of another shape than this version's.") from None
    return PartsSegmenter(network.to(memory_format=torch.channels_last), parts)
