"""A StyleGAN2 whose weights are set, so that known style channels move two blobs, one in each half of the picture.

    4.conv1   two channels show a blob high and low: their styles set its place          (coarse)
    8.conv1   two channels show it as it is and spread: their styles set its size        (middle)
    16.conv1  two channels carry its red and its blue: their styles set its colour       (fine)

Each half has a blob and such channels of its own. One more pair of channels of the first layer shifts a green wash over
both halves, so that not everything is local; all other weights are 0. The styles of a layer are a rotation of its row
of W+, so that no column of a code is one factor, and W, which all layers share, moves several at once. Demodulation,
upsampling and the mapping network are this project's StyleGAN2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lelsd_core.generators.style import MEAN_SAMPLES, MappingNetwork
from lelsd_core.generators.stylegan2 import StyleGAN2

SIDES, KINDS = ("left", "right"), ("place", "size", "colour")
LAYERS = {"place": "4.conv1", "size": "8.conv1", "colour": "16.conv1", "wash": "4.conv1"}
WIDTH, CHANNELS = 24, 12  # numbers of a w; channels of each layer
EMPTY = 11  # a channel without a map; demodulation divides by its style, too
SPREAD = 0.4  # standard deviation of a style, whose mean is 1
BRIGHTNESS = 0.15  # of the first layer's blobs, so that pictures are about [-1, 1]
SIZE = 16


@dataclass(frozen=True)
class Factor:
    """What the generator varies: its kind, the half that it is in, and the channels whose styles vary it."""

    kind: str
    side: str
    channels: tuple[int, int]

    @property
    def slot(self) -> str:
        """The slot of S with these styles."""
        return LAYERS[self.kind]


FACTORS = (
    *(Factor(kind, side, (2 * i, 2 * i + 1)) for kind in KINDS for i, side in enumerate(SIDES)),
    Factor("wash", "both", (4, 5)),
)


def planted() -> StyleGAN2:
    """The generator, 16 pixels wide."""
    random = torch.Generator().manual_seed(0)
    kernel = torch.tensor([1.0, 3, 3, 1])
    weights = {"synthesis.resample_filter": kernel[:, None] * kernel / 64, "synthesis.b4.const": first_maps()}
    for i in range(2):
        weights[f"mapping.fc{i}.weight"] = torch.randn(WIDTH, WIDTH, generator=random)
        weights[f"mapping.fc{i}.bias"] = torch.zeros(WIDTH)
    mapping = MappingNetwork({name.removeprefix("mapping."): t for name, t in weights.items() if "fc" in name}, 1.0)
    mean = mapping(torch.randn(MEAN_SAMPLES, WIDTH, generator=random)).mean(0)
    weights["mapping.w_avg"] = mean
    for name, weight in (convolutions() | colours()).items():
        rotation = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=random))[0][:CHANNELS]
        affine = (0.0 if name.endswith("torgb") else SPREAD) * rotation
        weights |= {
            f"synthesis.{name}.weight": weight * weight[0].numel() ** 0.5,
            f"synthesis.{name}.bias": torch.zeros(len(weight)),
            f"synthesis.{name}.affine.weight": affine * WIDTH**0.5,
            f"synthesis.{name}.affine.bias": 1 - affine @ mean,
        }
        if not name.endswith("torgb"):
            weights[f"synthesis.{name}.noise_strength"] = torch.zeros(())
    generator = StyleGAN2(weights, rate=1.0, noise="off").eval().requires_grad_(False)
    generator.name, generator.fingerprint = "planted", "p" * 64
    return generator


def first_maps() -> Tensor:
    """(C, 4, 4): each half's blob high and low, and a wash that is brighter above or below."""
    maps = torch.zeros(CHANNELS, 4, 4)
    for i, column in enumerate((0, 3)):
        maps[2 * i, 1, column] = maps[2 * i + 1, 2, column] = BRIGHTNESS
    maps[4, :2], maps[5, 2:] = 0.3 * BRIGHTNESS, 0.3 * BRIGHTNESS
    return maps


def convolutions() -> dict[str, Tensor]:
    """The weights (C, C, 3, 3) by layer: what each output channel reads, and whether it spreads it."""
    still = torch.zeros(CHANNELS, CHANNELS, 3, 3)
    still[range(5), range(5), 1, 1] = 1  # each map as it is
    place, size, colour = torch.zeros_like(still), still.clone(), still.clone()
    for first in (0, 2):  # the channels of a half; both outputs are the same, for the next factor to choose from
        place[first : first + 2, first : first + 2, 1, 1] = 1
        size[first : first + 2, first, 1, 1] = 1
        size[first : first + 2, first + 1] = 1 / 4
        size[first + 1, first + 1], size[first + 1, first] = size[first, first + 1], size[first, first]
        colour[first : first + 2, EMPTY, 1, 1] = 1  # without it, demodulation would undo a single style
    place[4, 4:6, 1, 1] = 1
    return {"b4.conv1": place, "b8.conv0": still, "b8.conv1": size, "b16.conv0": still, "b16.conv1": colour}


def colours() -> dict[str, Tensor]:
    """The weights (3, C, 1, 1) of the toRGB layers: red and blue for a half's two channels, green for the wash."""
    none, shown = torch.zeros(3, CHANNELS, 1, 1), torch.zeros(3, CHANNELS, 1, 1)
    shown[0, [0, 2]] = shown[2, [1, 3]] = shown[1, 4] = 1
    return {"b4.torgb": none, "b8.torgb": none, "b16.torgb": shown}


def measured(pictures: Tensor) -> Tensor:
    """Pictures (B, 3, 16, 16) → (B, 7), in the order of `FACTORS`: heights and widths in pixels, shares of red."""
    rows, columns = torch.arange(SIZE).float()[:, None], torch.arange(SIZE // 2).float()
    halves = [pictures[..., : SIZE // 2], pictures[..., SIZE // 2 :]]
    places, sizes, shares = [], [], []
    for half in halves:
        red, blue = half[:, 0], half[:, 2]
        light = (red + blue).clamp_min(0)
        total = light.sum((1, 2))
        places.append((light * rows).sum((1, 2)) / total)
        middle = (light * columns).sum((1, 2), keepdim=True) / total[:, None, None]
        sizes.append(((light * (columns - middle).square()).sum((1, 2)) / total).sqrt())
        shares.append(red.sum((1, 2)) / total)
    green = pictures[:, 1]
    wash = (green * rows).sum((1, 2)) / green.sum((1, 2))
    return torch.stack([*places, *sizes, *shares, wash], 1)
