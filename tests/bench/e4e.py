"""Speed of e4e's encoder against a plain network with the same random weights and the published module names.

plain network  separate BatchNorm, PReLU and gate modules, and channels-first memory layout
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.cli.bench import interleaved
from lelsd_core.inversion.e4e import FIRST_OF_SIZE, TAPPED, UNITS, E4EEncoder

WIDTHS = (64, 128, 256, 512)
POOLINGS = (4, 5, 6)  # number of strided convolutions of a style on a map of 16, 32 or 64 pixels


def e4e(repeats: int, styles: int = 18) -> dict[str, float]:
    """Seconds of both encoders at batch 1, and their ratio."""
    plain = PlainEncoder(styles).eval()
    ours = E4EEncoder(plain.state_dict()).eval()
    view = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    with torch.inference_mode():
        rows, expected = ours(view), plain(view)
        times = interleaved({"e4e_s": lambda: ours(view), "e4e_plain_s": lambda: plain(view)}, repeats, warm=1)
    difference = float((rows - expected).abs().max() / expected.abs().max())
    ratio = times["e4e_s"] / times["e4e_plain_s"]
    print(f"e4e's encoder takes {ratio:.2f} of the plain network's time (they differ by {difference:.0e})")
    return times | {"e4e_over_plain": ratio}


class PlainEncoder(nn.Module):
    """Encoder4Editing with random weights and the published names.

    Args:
        styles: rows of W+.
    """

    def __init__(self, styles: int) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        widths = [64, *(width for width, count in zip(WIDTHS, UNITS, strict=True) for _ in range(count))]
        strides = [stride for count in UNITS for stride in (2, *[1] * (count - 1))]
        self.body = nn.ModuleList(map(PlainUnit, widths[:-1], widths[1:], strides))
        sizes = [sum(i >= first for first in FIRST_OF_SIZE) for i in range(styles)]
        self.styles = nn.ModuleList(PlainStyle(POOLINGS[size]) for size in sizes)
        self.latlayer1, self.latlayer2 = nn.Conv2d(256, 512, 1), nn.Conv2d(128, 512, 1)

    def forward(self, view: Tensor) -> Tensor:
        """(B, 3, 256, 256) → (B, L, 512)."""
        x, tapped = self.input_layer(view), []
        for i, unit in enumerate(self.body):
            x = unit(x)
            tapped += [x] if i in TAPPED else []
        fine, middle, coarse = tapped
        middle = PlainEncoder.summed(coarse, self.latlayer1(middle))
        fine = PlainEncoder.summed(middle, self.latlayer2(fine))
        rows = [self.styles[0](coarse)]
        for i, style in enumerate(self.styles[1:], 1):
            rows.append(rows[0] + style((coarse, middle, fine)[sum(i >= first for first in FIRST_OF_SIZE)]))
        return torch.stack(rows, 1)

    @staticmethod
    def summed(small: Tensor, large: Tensor) -> Tensor:
        """Sum of two maps, the smaller one enlarged."""
        return F.interpolate(small, large.shape[-2:], mode="bilinear", align_corners=True) + large


class PlainUnit(nn.Module):
    """One residual unit of IR-SE50."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            PlainGate(outputs),
        )
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class PlainGate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))).sigmoid()


class PlainStyle(nn.Module):
    """One row of W+."""

    def __init__(self, poolings: int) -> None:
        super().__init__()
        pairs = [(nn.Conv2d(512, 512, 3, 2, 1), nn.LeakyReLU()) for _ in range(poolings)]
        self.convs = nn.Sequential(*(module for pair in pairs for module in pair))
        self.linear = PlainLinear()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


class PlainLinear(nn.Module):
    """A linear map with equalised learning rate."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(512, 512)), nn.Parameter(torch.zeros(512))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight / math.sqrt(512), self.bias)


if __name__ == "__main__":
    e4e(5)
