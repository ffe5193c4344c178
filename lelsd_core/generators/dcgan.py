"""DCGAN in plain PyTorch, with a style space S.

    Z (100)  -->  S: z, then one gain and one bias for each channel of each layer  -->  picture

Sources: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", ICLR 2016; state-dict layout of the PyTorch DCGAN tutorial (`main.0.weight` ...).
S is defined by this project: y = BatchNorm(x)·(1 + gain) + bias, before the ReLU, so that zeros change nothing.
BatchNorm uses its stored statistics and is folded into the convolutions.

Local moves are let in before the ReLU, where a layer is linear: there, the maps of all moves are mixed before the
convolution instead of behind it, so that eight of them cost as much as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.generators.base import (
    Generator,
    Layer,
    Patch,
    State,
    Step,
    channels_last,
    check_sizes,
    normal_rows,
    repeated,
    scaled,
)
from lelsd_core.latents import LatentSpace, Slot

TAPS = (((0, 1), (-1, 3)), ((0, 2), (1, 0)))  # of even and odd rows behind a convolution: row before it, kernel's row
EPS = 1e-5  # torch's default for BatchNorm2d, which the tutorial uses


class DCGAN(Generator):
    """A DCGAN generator in spaces Z and S.

    Args:
        weights: tutorial state dict, `main.0.weight` to the last convolution, BatchNorm statistics included.
        prior: samples are prior · N(0, I); below 1 trades variety for fewer broken pictures.
    """

    def __init__(self, weights: Mapping[str, Tensor], *, prior: float = 1.0) -> None:
        super().__init__()
        self.prior = prior
        names = [name for name, tensor in weights.items() if name.endswith(".weight") and tensor.ndim == 4]
        *inner, last = sorted(int(name.split(".")[1]) for name in names)
        layers = []
        for i, number in enumerate(inner):
            weight, bias = fold_batch_norm(weights, number)
            layers.append(Layer(f"{4 * 2**i}.conv", weight.shape[1], 4 * 2**i))
            if i == 0:  # a 1×1 input: one matrix, its columns ordered so that the result is channels-last
                weight = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)  # (z, 4·4·C)
            self.register_buffer(f"weight{i}", channels_last(weight) if i else weight.contiguous())
            self.register_buffer(f"bias{i}", bias)
            if i:
                self.register_buffer(f"taps{i}", taps_of(weight), persistent=False)
        check_sizes(layer.size for layer in layers)
        self.register_buffer("to_rgb", channels_last(weights[f"main.{last}.weight"].float()))
        self.resolution = 2 * layers[-1].size
        self.layers = {layer.name: layer for layer in layers}
        self.steps = tuple(self._step(i, layer) for i, layer in enumerate(layers))
        width = len(self.weight0)
        pairs = [Slot(f"{layer.size}.{kind}", layer.channels) for layer in layers for kind in ("gain", "bias")]
        self.spaces = (
            LatentSpace("Z", (Slot("z", width),)),
            LatentSpace("S", (Slot("z", width, movable=False), *pairs)),
        )

    def sample(self, seeds: Sequence[int]) -> Tensor:
        return (self.prior * normal_rows(seeds, self.spaces[0].width)).to(self.device)

    def lift_once(self, codes: Tensor, space: LatentSpace) -> Tensor:
        return F.pad(codes, (0, self.spaces[1].width - space.width))

    def entry_weights(self) -> dict[str, Tensor]:
        """The first transposed convolution, whose input is one pixel."""
        return {next(iter(self.layers)): self.weight0.T}

    def finish(self, state: State) -> Tensor:
        return F.conv_transpose2d(state.x, self.to_rgb, stride=2, padding=1).tanh().float()

    def let_in(
        self,
        layer: str,
        codes: Tensor,
        moved: Sequence[Tensor],
        masks: Sequence[Tensor],
        before: Sequence[Patch] = (),
    ) -> list[Patch]:
        i, finest = list(self.layers).index(layer), self.spaces[-1]
        styles = [finest.split(each)[2 * i + 1 : 2 * i + 3] for each in (codes, *moved)]  # gain and bias of the layer
        alike = all(torch.equal(*pair) for style in styles[1:] for pair in zip(styles[0], style, strict=True))
        if i == 0 or not alike:
            return super().let_in(layer, codes, moved, masks, before)
        last, size = list(self.layers)[i - 1], self.layers[layer].size
        patches = [repeated(patch, 1 + len(moved)) for patch in before]
        options = {"keep": (last,), "patches": patches, "image": False}
        maps = self.synthesize(torch.cat([codes, *moved]), finest.name, **options).states[last].x
        still, *others = maps.split(len(codes))
        sized = [F.interpolate(mask, (size, size), mode="bilinear", antialias=True).to(maps.dtype) for mask in masks]
        shares = torch.stack([mask.expand(len(codes), -1, -1, -1) for mask in sized])
        x = mixed_convolution(still, torch.stack(others) - still, shares, getattr(self, f"taps{i}"))
        state = State(styled(x + getattr(self, f"bias{i}")[:, None, None].to(x.dtype), *styles[0]))
        return [Patch({layer: state}, torch.ones(1, 1, 1, 1, device=codes.device))]

    def _step(self, i: int, layer: Layer) -> Step:
        def first(_: State | None, slots: tuple[Tensor, ...]) -> State:
            z, gain, shift = slots
            x = (z @ self.weight0).view(len(z), 4, 4, layer.channels) + self.bias0
            return State(styled(x.permute(0, 3, 1, 2).to(self.to_rgb.dtype), gain, shift))

        def later(state: State | None, slots: tuple[Tensor, ...]) -> State:
            weight, bias = getattr(self, f"weight{i}"), getattr(self, f"bias{i}")
            x = F.conv_transpose2d(state.x, weight, bias.to(weight.dtype), stride=2, padding=1)
            return State(styled(x, *slots))

        return Step(layer, (2 * i + 1, 2 * i + 2), later) if i else Step(layer, (0, 1, 2), first)


def styled(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """ReLU of x (B, C, H, W) under a gain and a bias (B, C) for each channel, both 0 for no change."""
    return scaled(x, 1 + gain.to(x.dtype), shift).relu_()


def taps_of(weight: Tensor) -> Tensor:
    """The weight (C, O, 4, 4) of a transposed convolution, stride 2, as what each of its four kinds of pixels reads.

    (4, 4C, O): for even and odd rows, even and odd columns, the four pixels before it.
    """
    kinds = product(TAPS, repeat=2)
    return torch.stack([torch.cat([weight[..., r, c] for (_, r), (_, c) in product(*kind)]) for kind in kinds])


def mixed_convolution(still: Tensor, changes: Tensor, masks: Tensor, taps: Tensor) -> Tensor:
    """Transposed convolution (stride 2, padding 1) of still + Σ mask · change, mixed anew for each pixel behind it.

    Args:
        still: (B, C, h, w).
        changes: (K, B, C, h, w).
        masks: (K, B, 1, 2h, 2w), of the output.
        taps: its `taps_of`.

    Returns:
        (B, O, 2h, 2w), without bias: the mean, weighted by the masks, of what each map becomes.
    """
    batch, channels, height, width = still.shape
    still = F.pad(still, (1,) * 4).permute(0, 2, 3, 1)  # (B, h + 2, w + 2, C)
    changes = F.pad(changes, (1,) * 4).permute(1, 3, 4, 0, 2).contiguous()  # (B, h + 2, w + 2, K, C)
    masks, taps = masks[:, :, 0].permute(1, 2, 3, 0), taps.to(still.dtype)  # (B, 2h, 2w, K)
    quarters = []  # even and odd rows, even and odd columns
    for (p, rows), (q, columns) in product(enumerate(TAPS), repeat=2):
        shares, mixed = masks[:, p::2, q::2].reshape(-1, 1, masks.shape[-1]), []
        for (down, _), (right, _) in product(rows, columns):
            window = (slice(None), slice(1 + down, 1 + down + height), slice(1 + right, 1 + right + width))
            change = shares @ changes[window].reshape(-1, *changes.shape[-2:])  # (B h w, 1, C)
            mixed.append(still[window].reshape(-1, channels) + change[:, 0])
        quarters.append(torch.cat(mixed, 1) @ taps[2 * p + q])
    pixels = torch.stack(quarters, -1).view(batch, height, width, -1, 2, 2)
    return pixels.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def fold_batch_norm(weights: Mapping[str, Tensor], number: int) -> tuple[Tensor, Tensor]:
    """Convolution `number` with the BatchNorm behind it folded in: weight (I, O, 4, 4) and bias (O,), float32."""
    norm = f"main.{number + 1}"
    mean, var, gamma, beta = (
        weights[f"{norm}.{key}"].float() for key in ("running_mean", "running_var", "weight", "bias")
    )
    scale = gamma / (var + EPS).sqrt()
    return weights[f"main.{number}.weight"].float() * scale[:, None, None], beta - mean * scale
