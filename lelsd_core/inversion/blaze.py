"""The encoder of MediaPipe's Face Stylizer: a photo of a face → W+ of BlazeStyleGAN.

    face (B, 3, 256, 256)  --MobileNetV2-->  features at 1/2, 1/4, 1/8, 1/16  --pyramid, coarse to fine-->
    three codes (B, 512), coarse, middle and fine  --each four times, plus the mean W-->  W+ (B, 12·512)

Sources: the encoder in MediaPipe's `face_stylizer.tflite`; Sandler et al., "MobileNetV2" (CVPR 2018). Its BatchNorms
use the statistics of the picture at hand, as in training: for each picture alone they are instance normalisation.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-3
SLOPE = 0.2
STEEP = 0.3  # slope of the convolutions that shrink features down to a code
SIZE = 256
WIDTH = 512  # of a code, and of 4 × 4 × 32 features
REPEATS = 4  # rows of W+ for each code
BLOCKS = (  # inputs, expanded channels, outputs, stride
    (64, 0, 32, 1),
    (32, 192, 48, 2),
    (48, 288, 48, 1),
    (48, 288, 64, 2),
    *[(64, 384, 64, 1)] * 2,
    (64, 384, 128, 2),
    *[(128, 768, 128, 1)] * 3,
    (128, 768, 192, 1),
    *[(192, 1152, 192, 1)] * 2,
)
TAPPED = (0, 2, 5, 12)  # blocks whose features are read, at 1/2, 1/4, 1/8 and 1/16 of the picture


class BlazeEncoder(nn.Module):
    """Face Stylizer's encoder, (B, 3, 256, 256) in [-1, 1] → W+ (B, 12·512)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 64, stride=2)
        self.blocks = nn.ModuleList(Block(*sizes) for sizes in BLOCKS)
        self.dilated = nn.ModuleList(Separable(192, 192, dilation=d) for d in (4, 2, 1))
        self.fused = Separable(3 * 192, 192)
        self.merges = nn.ModuleList([Merge(192, 64), Merge(64, 48), Merge(48, 32)])
        self.coarse = to_code(192, 32)
        self.middle = to_code(64, 64, 32)
        self.fine = to_code(32, 48, 64, 64, 32)
        self.register_buffer("mean", torch.zeros(WIDTH))

    def forward(self, face: Tensor) -> Tensor:
        if face.shape[-2:] != (SIZE, SIZE):
            raise ValueError(f"the encoder reads pictures of {SIZE} × {SIZE} pixels, got {tuple(face.shape)}.")
        x = self.stem(face.contiguous(memory_format=torch.channels_last))
        tapped = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in TAPPED:
                tapped.append(x)
        half, quarter, eighth, sixteenth = tapped
        x = torch.cat([leaky(branch(sixteenth)) for branch in self.dilated], 1)
        x = leaky(self.fused(x) + sixteenth)
        coarse = self.coarse(x)
        x = self.merges[0](x, eighth)
        middle = self.middle(x)
        x = self.merges[2](self.merges[1](x, quarter), half)
        codes = torch.stack([coarse, middle, self.fine(x)], 1) + self.mean
        return codes.repeat_interleave(REPEATS, 1).flatten(1)


class Convolution(nn.Sequential):
    """Convolution, normalisation with each picture's own statistics, and ReLU6 unless it is linear."""

    def __init__(
        self, inputs: int, outputs: int, size: int = 3, *, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        padding = size // 2 if stride == 1 else 0
        super().__init__(
            nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 else nn.Identity(),
            nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False),
            nn.InstanceNorm2d(outputs, EPS, affine=True),
            nn.Identity() if linear else nn.ReLU6(),
        )


class Block(nn.Module):
    """MobileNetV2's inverted residual: 1×1 to more channels, depthwise 3×3, 1×1 to fewer, added to the input."""

    def __init__(self, inputs: int, expanded: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = expanded or inputs
        self.expand = Convolution(inputs, expanded, 1) if expanded else nn.Identity()
        self.depthwise = Convolution(inner, inner, stride=stride, groups=inner)
        self.project = Convolution(inner, outputs, 1, linear=True)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class Separable(nn.Sequential):
    """Depthwise 3×3 and 1×1 convolution; a stride of 2 reads one pixel more on the right and below."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation if stride == 1 else 0
        super().__init__(
            nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 else nn.Identity(),
            nn.Conv2d(inputs, inputs, 3, stride, padding, dilation, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1),
        )


class Merge(nn.Module):
    """Coarse features (B, I, h, w) enlarged and added to the backbone's features (B, O, 2h, 2w) of the next size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.lateral = Separable(outputs, outputs)
        self.first = Separable(inputs, outputs)
        self.second = Separable(outputs, outputs)

    def forward(self, coarse: Tensor, features: Tensor) -> Tensor:
        x = F.interpolate(coarse, scale_factor=2, mode="bilinear")
        return leaky(self.second(leaky(self.first(x))) + self.lateral(features))


class ChannelsInnermost(nn.Module):
    """(B, C, H, W) → (B, H·W·C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def to_code(*channels: int) -> nn.Sequential:
    """Features with channels[0] channels, halved until they are 4 × 4 × 32, then one linear map to a code (B, 512)."""
    widths = (*channels, 32)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [Separable(inputs, outputs, stride=2), nn.LeakyReLU(STEEP)]
    return nn.Sequential(*layers, ChannelsInnermost(), nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(SLOPE))


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU."""
    return F.leaky_relu(x, SLOPE)
