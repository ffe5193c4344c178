"""Speed of blaze-256 against its convolutions alone, and of StyleGAN2 against its plain formulation; peak memory.

convolutions alone  those of one picture, back to back on the maps that they read: the floor of a picture
plain formulation  weights modulated and demodulated per picture and call, in grouped convolutions, and filters on
                   zero-padded maps, as the official networks do on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.cli.bench import interleaved, peak_gb, random_stylegan2
from lelsd_core.generators.base import State
from lelsd_core.generators.style import SLOPE, SQRT2
from lelsd_core.generators.stylegan2 import EPS, StyledConv, StyleGAN2, ToRGB, key
from lelsd_core.registry import load_generator

FILTER = torch.tensor([1.0, 3.0, 3.0, 1.0])
BATCHES = (1, 4)
ONE_PICTURE = """
import torch
from lelsd_core.cli.bench import random_stylegan2
generator = random_stylegan2(1024)
with torch.inference_mode():
    image = generator.synthesize(generator.sample([0]), "Z").image
assert image.shape == (1, 3, 1024, 1024)
"""


def generator(repeats: int) -> dict[str, Any]:
    """StyleGAN2 config-f at 256 over its plain formulation, and the peak memory of one picture at 1024."""
    network = random_stylegan2(256)
    result: dict[str, Any] = {}
    for batch in BATCHES:
        styles = network.lift(network.sample(range(batch)), "Z", "S")
        ours, plain = passes(network, styles)
        difference = float((ours() - plain()).abs().max() / plain().abs().max())
        times = interleaved({f"forward_s_batch{batch}": ours, f"plain_s_batch{batch}": plain}, repeats, warm=1)
        ratio = times[f"forward_s_batch{batch}"] / times[f"plain_s_batch{batch}"]
        print(f"StyleGAN2 at 256, batch {batch}: {ratio:.2f} of the plain one's time (they differ by {difference:.0e})")
        result |= times | {f"forward_over_plain_batch{batch}": ratio}
    result["peak_gb_1024"] = peak_gb(ONE_PICTURE)
    print(f"StyleGAN2 at 1024, batch 1: {result['peak_gb_1024']:.2f} GB of memory at its peak")
    return result


@torch.inference_mode()
def blaze(repeats: int) -> dict[str, float]:
    """One picture of blaze-256 over its convolutions alone."""
    network = load_generator("blaze-256")
    styles = network.lift(network.sample([0]), "Z", "S")
    calls: list[tuple[tuple[Tensor, ...], dict[str, Any]]] = []

    def noted(*tensors: Tensor, **options: Any) -> Tensor:
        calls.append((tuple(tensor.clone() for tensor in tensors), options))
        return convolve(*tensors, **options)

    convolve, F.conv2d = F.conv2d, noted
    try:
        network.synthesize(styles, "S")
    finally:
        F.conv2d = convolve

    def bare() -> None:
        for tensors, options in calls:
            convolve(*tensors, **options)

    times = interleaved({"picture_s": lambda: network.synthesize(styles, "S"), "convolutions_s": bare}, repeats)
    times["picture_over_convolutions"] = times["picture_s"] / times["convolutions_s"]
    print(f"blaze-256: {times['picture_over_convolutions']:.2f} of its convolutions' time")
    return times


def passes(network: StyleGAN2, styles: Tensor) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """This project's forward pass from S, and the plain one."""

    @torch.inference_mode()
    def ours() -> Tensor:
        return network.synthesize(styles, "S").image

    @torch.inference_mode()
    def plain() -> Tensor:
        return plain_synthesis(network, styles)

    return ours, plain


def plain_synthesis(network: StyleGAN2, styles: Tensor) -> Tensor:
    """The picture of styles (B, D) by the plain formulation, from the same weights."""
    space = network.spaces[-1]
    x, rgb = network.const.expand(len(styles), -1, -1, -1), None
    for slot, style in zip(space.slots, space.split(styles), strict=True):
        part = network.parts[key(slot.name)]
        if isinstance(part, ToRGB):
            new = plain_rgb(part, x, style)
            rgb = new if rgb is None else new + filtered(doubled(rgb), (2, 1))
        else:
            x = plain_conv(part, x, style)
    return network.finish(State(x, rgb))


def plain_conv(part: StyledConv, x: Tensor, style: Tensor) -> Tensor:
    """A styled convolution: weights (B, O, I, 3, 3), modulated and demodulated, in B groups; noise, bias, ReLU."""
    weight = part.weight.transpose(0, 1) if part.up else part.weight
    weight = weight[None] * style[:, None, :, None, None]
    weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + EPS).rsqrt()
    batch, joined = len(x), x.reshape(1, -1, *x.shape[2:])
    if part.up:
        joined = F.conv_transpose2d(joined, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=batch)
        x = filtered(joined.unflatten(1, (batch, -1))[0], (1, 1))
    else:
        x = F.conv2d(joined, weight.flatten(0, 1), padding=1, groups=batch).unflatten(1, (batch, -1))[0]
    x = x + part.noise / SQRT2 + part.bias[:, None, None] / SQRT2
    return F.leaky_relu(x, SLOPE) * SQRT2


def plain_rgb(part: ToRGB, x: Tensor, style: Tensor) -> Tensor:
    """A toRGB: modulated weights (B, 3, C, 1, 1) in B groups."""
    weight = part.weight[None, :, :, None, None] * style[:, None, :, None, None]
    rgb = F.conv2d(x.reshape(1, -1, *x.shape[2:]), weight.flatten(0, 1), groups=len(x))
    return rgb.unflatten(1, (len(x), -1))[0] + part.bias[:, None, None]


def doubled(x: Tensor) -> Tensor:
    """Inserts a zero after every pixel, (B, C, H, W) → (B, C, 2H, 2W)."""
    x = F.pad(x[:, :, :, None, :, None], (0, 1, 0, 0, 0, 1))
    return x.flatten(4, 5).flatten(2, 3)


def filtered(x: Tensor, padding: tuple[int, int]) -> Tensor:
    """x padded before and after, low-pass filtered with a gain of 4."""
    kernel = (torch.outer(FILTER, FILTER) / 16).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, padding * 2), kernel, groups=x.shape[1])


if __name__ == "__main__":
    blaze(21)
    generator(5)
