"""StyleGAN3, -t and -r, in plain PyTorch: Z, W, W+ and S.

    S  -->  input (Fourier features)  -->  L0_36_1024 ... L13_1024_32  -->  L14_1024_3, the picture

Every layer's map has a margin around the picture; its leaky ReLU runs at a higher sampling rate, between two low-pass
filters, which are read from the file. Sources: Karras et al., "Alias-Free Generative Adversarial Networks"
(NeurIPS 2021); state-dict layout and layer names of NVIDIA's StyleGAN3. As in `stylegan2`, styles scale the
activations instead of one set of weights per picture, and gains are folded into constants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.generators.base import Layer, State, Step, check_sizes
from lelsd_core.generators.style import SLOPE, SQRT2, MappingNetwork, StyleGenerator, below, spread
from lelsd_core.latents import Slot

EPS = 1e-8


@dataclass(frozen=True)
class Sampling:
    """Sizes of one layer: its map, sampling rate, and the resampling factors around its leaky ReLU.

    Args:
        name: in the file, "L2_52_1024".
        size: height and width of its map, margin included, in pixels.
        rate: height and width of the picture in it, in pixels.
        up, down: upsampling before the leaky ReLU and downsampling after it; 1 and 1 for the picture itself.
    """

    name: str
    size: int
    rate: int
    up: int
    down: int


@dataclass(frozen=True)
class StyleGAN3Config:
    """Settings that are not in the weights.

    Args:
        input_size, input_rate, bandwidth: of the Fourier features, as in `Sampling`.
        layers: sizes of each layer; the last one is the picture.
        output_scale: factor from the last layer to the picture.
        clamp: bound of the activations after each layer.
        rate: learning-rate multiplier of the mapping network.
    """

    input_size: int
    input_rate: float
    bandwidth: float
    layers: tuple[Sampling, ...]
    output_scale: float = 0.25
    clamp: float = 256.0
    rate: float = 0.01

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> StyleGAN3Config:
        """Builds it from the JSON of a safetensors header."""
        return cls(**{**facts, "layers": tuple(Sampling(**layer) for layer in facts["layers"])})


class StyleGAN3(StyleGenerator):
    """A StyleGAN3 generator in spaces Z, W, W+ and S; the slot of the input's rotation and shift is not movable.

    Args:
        config: settings that are not in the weights.
        weights: state dict in NVIDIA's layout.
        label: weights (classes,) of the classes of a conditional model.
    """

    def __init__(self, config: StyleGAN3Config, weights: Mapping[str, Tensor], *, label: Tensor | None = None) -> None:
        sizes = [config.input_size, *(layer.size for layer in config.layers)]
        check_sizes((*sizes, *(layer.up * layer.down for layer in config.layers)))
        names = ["input", *(layer.name for layer in config.layers)]
        parts = [below(weights, f"synthesis.{name}") for name in names]
        slots = [
            Slot(name, part["affine.weight"].shape[0], movable=name != "input")
            for name, part in zip(names, parts, strict=True)
        ]
        mapping = MappingNetwork(below(weights, "mapping"), config.rate, label)
        super().__init__(mapping, weights.get("mapping.w_avg"), range(len(names)), slots)
        self.config = config
        for i, part in enumerate(parts):
            self.add_affine(i, part["affine.weight"], part["affine.bias"])
        self.fourier = FourierInput(parts[0], config)
        self.convolutions = nn.ModuleList(
            FilteredConv(part, size, layer, config.clamp)
            for part, size, layer in zip(parts[1:], sizes, config.layers, strict=False)
        )
        first = Layer("input", self.fourier.weight.shape[0], *inner(config.input_size, int(config.input_rate)))
        layers = [
            Layer(sampling.name, conv.channels, *inner(sampling.size, sampling.rate))
            for sampling, conv in zip(config.layers, self.convolutions, strict=True)
        ]
        self.resolution = layers[-1].size
        self.layers = {layer.name: layer for layer in (first, *layers)}
        self.steps = (
            Step(first, (0,), lambda _, slots: State(self.fourier(slots[0]))),
            *(self._step(i, layer) for i, layer in enumerate(layers)),
        )

    def _step(self, i: int, layer: Layer) -> Step:
        return Step(layer, (i + 1,), lambda state, slots: State(self.convolutions[i](state.x, slots[0])))

    def finish(self, state: State) -> Tensor:
        return state.x.float() * self.config.output_scale


class FourierInput(nn.Module):
    """Fourier features: sines of fixed frequencies on a plane that the style rotates and shifts, mixed by one matrix.

    Args:
        part: "freqs" (C, 2), "phases" (C,), "weight" (C, C), "transform" (3, 3).
        config: size, sampling rate and bandwidth.
    """

    def __init__(self, part: Mapping[str, Tensor], config: StyleGAN3Config) -> None:
        super().__init__()
        self.bandwidth, self.fade = config.bandwidth, config.input_rate / 2 - config.bandwidth
        for name in ("freqs", "phases", "transform"):
            self.register_buffer(name, part[name].float())
        self.register_buffer("weight", part["weight"].float() * len(part["weight"]) ** -0.5)
        line = (torch.arange(config.input_size) + 0.5 - config.input_size / 2) / config.input_rate
        y, x = torch.meshgrid(line, line, indexing="ij")
        self.register_buffer("grid", torch.stack([x, y], dim=-1))  # (S, S, 2)

    def forward(self, style: Tensor) -> Tensor:
        """style (B, 4): cosine, sine, shift right, shift down → (B, C, S, S)."""
        cosine, sine, right, down = (style / style[:, :2].norm(dim=1, keepdim=True)).unbind(dim=1)
        turn = torch.stack([cosine, -sine, sine, cosine], dim=1).unflatten(1, (2, 2))  # (B, 2, 2)
        shift = -turn @ torch.stack([right, down], dim=1)[:, :, None]  # (B, 2, 1)
        turn, shift = turn @ self.transform[:2, :2], shift + turn @ self.transform[:2, 2:]
        phases = self.phases + (self.freqs @ shift).squeeze(2)  # (B, C)
        freqs = self.freqs @ turn  # (B, C, 2)
        amplitudes = (1 - (freqs.norm(dim=2) - self.bandwidth) / self.fade).clamp(0, 1)  # (B, C)
        waves = torch.einsum("hwi,bci->bhwc", self.grid, freqs) + phases[:, None, None]
        waves = (waves * (2 * math.pi)).sin() * amplitudes[:, None, None]
        return (waves @ self.weight.T).permute(0, 3, 1, 2)


class FilteredConv(nn.Module):
    """Modulated convolution, bias, then a leaky ReLU between up- and downsampling; toRGB has no ReLU and no resampling.

    Args:
        part: "weight" (O, I, k, k), "bias" (O,), "magnitude_ema" (), "up_filter" (t,), "down_filter" (t,) or (t, t).
        size: height and width of its input, margin included, in pixels.
        sampling: the layer's sizes.
        clamp: bound of the activations.
    """

    def __init__(self, part: Mapping[str, Tensor], size: int, sampling: Sampling, clamp: float) -> None:
        super().__init__()
        weight = part["weight"].float()
        self.channels, self.kernel = weight.shape[0], weight.shape[-1]
        self.up, self.down, self.plain = sampling.up, sampling.down, "up_filter" not in part
        gain = part["magnitude_ema"].float().rsqrt()
        if self.plain:
            self.register_buffer("energy", None)
            weight = weight * (gain * weight[0].numel() ** -0.5)
        else:
            weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt() * weight[0].numel() ** -0.5
            self.register_buffer("energy", weight.square().sum(dim=(2, 3)).T / gain.square())  # (I, O)
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", part["bias"].float())
        self.clamp = clamp if self.plain else clamp / SQRT2  # √2 of the leaky ReLU is in the filter after it
        if not self.plain:
            self._add_filters(part["up_filter"].float() * self.up, part["down_filter"].float(), size, sampling)

    def _add_filters(self, up: Tensor, down: Tensor, size: int, sampling: Sampling) -> None:
        """Sets the filters, one copy per channel, and the range of the upsampled map that is used."""
        taps = down.shape[-1]
        self.wanted = (sampling.size - 1) * self.down + taps  # pixels that the downsampling reads
        padding = self.wanted - (size + self.kernel - 1) * self.up + len(up) - 1
        self.first = len(up) - 1 - (padding - 1 + self.up) // 2  # the odd pixel of padding goes in front
        self.separable = down.ndim == 1
        down = down.flip(tuple(range(down.ndim))) * SQRT2 ** (1 / (3 - down.ndim))  # PyTorch correlates
        self.register_buffer("up_filter", up.expand(self.channels, 1, 1, len(up)).contiguous())
        self.register_buffer("down_filter", down.reshape(-1, taps).expand(self.channels, 1, -1, taps).contiguous())

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x (B, I, h, w), style (B, I) → (B, O, H, W)."""
        if self.weight.dtype == torch.float16 and not self.plain:  # demodulation undoes any scale of the style
            style = style / style.abs().amax(dim=1, keepdim=True)
        x = F.conv2d(x.to(self.weight.dtype) * spread(style, self.weight), self.weight, padding=self.kernel - 1)
        if self.plain:
            return (x.float() + self.bias[:, None, None]).clamp(-self.clamp, self.clamp)
        scale = (style.square() @ self.energy + EPS).rsqrt()  # (B, O)
        x = torch.addcmul(spread(self.bias[None], x), x, spread(scale, x))
        x = self.upsample(self.upsample(x, 3), 2)
        x = F.leaky_relu_(x, SLOPE).clamp(-self.clamp, self.clamp)
        if not self.separable:
            return F.conv2d(x, self.down_filter, stride=self.down, groups=self.channels)
        x = F.conv2d(x, self.down_filter, stride=(1, self.down), groups=self.channels)
        return F.conv2d(x, self.down_filter.transpose(2, 3), stride=(self.down, 1), groups=self.channels)

    def upsample(self, x: Tensor, dim: int) -> Tensor:
        """Upsamples x along one of its last two dimensions: zero insertion, filter, and a crop to the range used."""
        taps, across = self.up_filter.shape[-1], dim == 3
        end = (x.shape[dim] - 1) * self.up + taps - self.first - self.wanted  # pixels too many behind
        crop = max(0, min(self.first, end))
        kernel = self.up_filter if across else self.up_filter.transpose(2, 3)
        stride, padding = ((1, self.up), (0, crop)) if across else ((self.up, 1), (crop, 0))
        x = F.conv_transpose2d(x, kernel, stride=stride, padding=padding, groups=self.channels)
        return x.narrow(dim, self.first - crop, self.wanted)


def inner(size: int, rate: int) -> tuple[int, int]:
    """Size of the picture in a map, and of the margin on each side, in pixels."""
    margin = max(0, (size - rate) // 2)
    return size - 2 * margin, margin
