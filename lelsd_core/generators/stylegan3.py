"""StyleGAN3, -t and -r, in plain PyTorch: Z, W, W+ and S.

    S  -->  input (Fourier features)  -->  L0_36_1024 ... L13_1024_32  -->  L14_1024_3, the picture

Every layer's map has a margin around the picture; its leaky ReLU runs at a higher sampling rate, between two low-pass
filters, which are read from the file. Sources: Karras et al., "Alias-Free Generative Adversarial Networks"
(NeurIPS 2021); state-dict layout and layer names of NVIDIA's StyleGAN3. As in `stylegan2`, styles scale the
activations instead of one set of weights per picture, and gains are folded into constants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.generators.base import Layer, State, Step, below, channels_last, check_sizes, per_channel, scaled
from lelsd_core.generators.style import SLOPE, SQRT2, MappingNetwork, StyleGenerator

EPS = 1e-8


@dataclass(frozen=True)
class Sampling:
    """One layer's sizes: the map it makes, its sampling rate, and the factors around its leaky ReLU."""

    name: str  # the file's, "L2_52_1024"
    size: int  # pixels of its map, margin included
    rate: int  # pixels across the picture
    up: int  # upsampling before the leaky ReLU; 1 for the picture itself
    down: int  # downsampling after it; 1 for the picture itself


class StyleGAN3(StyleGenerator):
    """A StyleGAN3 generator in spaces Z, W, W+ and S; the slot of the input's rotation and shift is not movable.

    Args:
        weights: state dict in NVIDIA's layout.
        input_size, input_rate: pixels of the Fourier features' map, margin included, and across the picture.
        bandwidth: of the Fourier features.
        layers: fields of `Sampling` for each layer, the picture last.
        output_scale: the picture is the last layer times this.
        clamp: bound of the activations after each layer.
        rate: learning-rate multiplier of the mapping network.
        label: weights (classes,) of the classes of a conditional model.
    """

    load_options = ("class_index",)

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        input_size: int,
        input_rate: float,
        bandwidth: float,
        layers: Sequence[Mapping[str, Any]],
        output_scale: float = 0.25,
        clamp: float = 256.0,
        rate: float = 0.01,
        label: Tensor | None = None,
    ) -> None:
        samplings = [Sampling(**layer) for layer in layers]
        sizes = [input_size, *(sampling.size for sampling in samplings)]
        check_sizes((*sizes, *(sampling.up * sampling.down for sampling in samplings)))
        parts = {name: below(weights, f"synthesis.{name}") for name in ("input", *(each.name for each in samplings))}
        styles = {name: (part["affine.weight"], part["affine.bias"]) for name, part in parts.items()}
        mapping = MappingNetwork(below(weights, "mapping"), rate, label)
        super().__init__(mapping, weights.get("mapping.w_avg"), styles, range(len(parts)), held=("input",))
        self.output_scale = output_scale
        self.fourier = FourierInput(parts.pop("input"), input_size, input_rate, bandwidth)
        self.convolutions = nn.ModuleList(
            FilteredConv(part, size, sampling, clamp)
            for part, size, sampling in zip(parts.values(), sizes, samplings, strict=False)
        )
        maps = [("input", len(self.fourier.weight), input_size, int(input_rate))]
        for sampling, convolution in zip(samplings, self.convolutions, strict=True):
            maps.append((sampling.name, convolution.channels, sampling.size, sampling.rate))
        self.layers = {}
        for name, channels, size, across in maps:
            margin = max(0, (size - across) // 2)
            self.layers[name] = Layer(name, channels, size - 2 * margin, margin)
        self.steps = tuple(self._step(i, layer) for i, layer in enumerate(self.layers.values()))
        self.resolution = self.steps[-1].layer.size

    def _step(self, i: int, layer: Layer) -> Step:
        def run(state: State | None, slots: tuple[Tensor, ...]) -> State:
            return State(self.convolutions[i - 1](state.x, slots[0]) if i else self.fourier(slots[0]))

        return Step(layer, (i,), run)

    def finish(self, state: State) -> Tensor:
        return state.x.float() * self.output_scale


class FourierInput(nn.Module):
    """Fourier features: sines of fixed frequencies on a plane that the style rotates and shifts, mixed by one matrix.

    Args:
        part: "freqs" (C, 2), "phases" (C,), "weight" (C, C), "transform" (3, 3).
        size, rate, bandwidth: of the map, as `StyleGAN3` takes them.
    """

    def __init__(self, part: Mapping[str, Tensor], size: int, rate: float, bandwidth: float) -> None:
        super().__init__()
        self.bandwidth, self.fade = bandwidth, rate / 2 - bandwidth
        for name in ("freqs", "phases", "transform"):
            self.register_buffer(name, part[name].float())
        self.register_buffer("weight", part["weight"].float() * len(part["weight"]) ** -0.5)
        line = (torch.arange(size) + 0.5 - size / 2) / rate
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
        self.clamp = clamp if self.plain else clamp / SQRT2  # √2 of the leaky ReLU is in the filter after it
        self.register_buffer("bias", part["bias"].float())
        if self.plain:
            self.register_buffer("weight", channels_last(weight * (gain * weight[0].numel() ** -0.5)))
            return
        weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt() * weight[0].numel() ** -0.5
        self.register_buffer("energy", weight.square().sum(dim=(2, 3)).T / gain.square())  # (I, O)
        self.register_buffer("weight", channels_last(weight))
        up, down = part["up_filter"].float() * self.up, part["down_filter"].float()
        taps, self.separable = down.shape[-1], down.ndim == 1
        self.span = (sampling.size - 1) * self.down + taps  # upsampled pixels that the downsampling reads
        padding = self.span - (size + self.kernel - 1) * self.up + len(up) - 1
        self.first = len(up) - 1 - (padding - 1 + self.up) // 2  # the odd pixel of padding goes in front
        down = down.flip(tuple(range(down.ndim))) * SQRT2 ** (1 / (3 - down.ndim))  # PyTorch correlates
        self.register_buffer("up_filter", up.expand(self.channels, 1, 1, len(up)).contiguous())
        self.register_buffer("down_filter", down.reshape(-1, taps).expand(self.channels, 1, -1, taps).contiguous())

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x (B, I, h, w), style (B, I) → (B, O, H, W)."""
        if self.weight.dtype == torch.float16 and not self.plain:  # demodulation undoes any scale of the style
            style = style / style.abs().amax(dim=1, keepdim=True)
        x = F.conv2d(x.to(self.weight.dtype) * per_channel(style, self.weight), self.weight, padding=self.kernel - 1)
        if self.plain:
            return (x.float() + self.bias[:, None, None]).clamp(-self.clamp, self.clamp)
        scale = (style.square() @ self.energy + EPS).rsqrt()  # (B, O)
        x = scaled(x, scale, self.bias[None])
        x = self.upsample(self.upsample(x, 3), 2)
        x = F.leaky_relu_(x, SLOPE).clamp(-self.clamp, self.clamp)
        if not self.separable:
            return F.conv2d(x, self.down_filter, stride=self.down, groups=self.channels)
        x = F.conv2d(x, self.down_filter, stride=(1, self.down), groups=self.channels)
        return F.conv2d(x, self.down_filter.transpose(2, 3), stride=(self.down, 1), groups=self.channels)

    def upsample(self, x: Tensor, dim: int) -> Tensor:
        """x between zeros, filtered, along one of its last two dimensions; the stretch that the downsampling reads."""
        taps, across = self.up_filter.shape[-1], dim == 3
        end = (x.shape[dim] - 1) * self.up + taps - self.first - self.span  # pixels too many behind
        crop = max(0, min(self.first, end))
        kernel = self.up_filter if across else self.up_filter.transpose(2, 3)
        stride, padding = ((1, self.up), (0, crop)) if across else ((self.up, 1), (crop, 0))
        x = F.conv_transpose2d(x, kernel, stride=stride, padding=padding, groups=self.channels)
        return x.narrow(dim, self.first - crop, self.span)
