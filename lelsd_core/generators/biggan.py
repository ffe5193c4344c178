"""BigGAN-deep in plain PyTorch: Z, and Z+ with one z per block; class and truncation are fixed at construction.

    Z+ (z0, z1, ...)  -->  4.input  -->  4.block0, 4.block1, 8.block2, ...  -->  picture

Sources: Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis" (ICLR 2019),
appendix B; state-dict layout and configuration of Hugging Face's pytorch-pretrained-BigGAN. Spectral norms, batch
statistics and the class embedding's part of every conditional gain and bias are constants, and folded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.generators.base import Generator, Layer, State, Step, check_sizes
from lelsd_core.generators.style import below, channels_last, spread
from lelsd_core.latents import LatentSpace, Slot


@dataclass(frozen=True)
class BigGANConfig:
    """The fields of the model's config.json that are used.

    Args:
        z_dim: columns of z.
        layers: (upsamples, channels in, channels out) of each block, channels in units of `channel_width`.
        attention_layer_position: the block that self-attention comes before.
        eps: of every batch normalisation.
        channel_width: see `layers`.
    """

    z_dim: int
    layers: tuple[tuple[bool, int, int], ...]
    attention_layer_position: int
    eps: float
    channel_width: int

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> BigGANConfig:
        """Builds it from config.json, ignoring other fields."""
        known = {field.name: facts[field.name] for field in fields(cls)}
        return cls(**{**known, "layers": tuple((bool(up), int(a), int(b)) for up, a, b in known["layers"])})


class BigGAN(Generator):
    """A BigGAN-deep generator in spaces Z and Z+.

    Args:
        config: sizes of the network.
        weights: state dict in Hugging Face's layout, with spectral norms.
        label: weights (classes,) of the classes; one-hot for a single class.
        truncation: scale of the samples, which also selects the stored batch statistics; in [0, 1].
    """

    def __init__(
        self, config: BigGANConfig, weights: Mapping[str, Tensor], *, label: Tensor, truncation: float = 0.4
    ) -> None:
        super().__init__()
        self.config, self.truncation = config, truncation
        weights = fold_spectral_norms(below(weights, "generator") | {"embeddings": weights["embeddings.weight"]})
        given = Given(weights["embeddings"].float() @ label, truncation, config.eps)
        z_dim = config.z_dim
        first = weights["gen_z.weight"]
        self.register_buffer("first", first[:, :z_dim].contiguous())
        self.register_buffer("first_bias", weights["gen_z.bias"].float() + first[:, z_dim:] @ given.embedding)
        self.blocks = nn.ModuleList()
        for i, number in enumerate(block_numbers(weights)):
            self.blocks.append(Block(below(weights, f"layers.{number}"), config.layers[i][0], given))
        position = config.attention_layer_position
        self.attention = Attention(below(weights, f"layers.{position}")) if position < len(config.layers) else None
        gain, shift = given.normalisation(below(weights, "bn"))
        self.register_buffer("gain", gain * weights["bn.weight"].float())
        self.register_buffer("shift", shift * weights["bn.weight"].float() + weights["bn.bias"].float())
        self.register_buffer("to_rgb", channels_last(weights["conv_to_rgb.weight"][:3]))
        self.register_buffer("rgb_bias", weights["conv_to_rgb.bias"].float()[:3])
        self._lay_out(config)

    def _lay_out(self, config: BigGANConfig) -> None:
        size, layers = 4, [Layer("4.input", config.layers[0][1] * config.channel_width, 4)]
        for i, (up, _, channels) in enumerate(config.layers):
            size *= 2 if up else 1
            layers.append(Layer(f"{size}.block{i}", channels * config.channel_width, size))
        check_sizes([size])
        self.resolution = size
        self.layers = {layer.name: layer for layer in layers}
        self.spaces = (
            LatentSpace("Z", (Slot("z", config.z_dim),)),
            LatentSpace("Z+", tuple(Slot(f"z{i}", config.z_dim) for i in range(len(layers)))),
        )
        self.steps = (Step(layers[0], (0,), self._begin), *(self._step(i, layer) for i, layer in enumerate(layers[1:])))

    def sample(self, seeds: Sequence[int]) -> Tensor:
        rows = [truncated_normal(self.config.z_dim, int(seed)) for seed in seeds]
        return (self.truncation * torch.stack(rows)).to(self.device)

    def lift_once(self, codes: Tensor, space: LatentSpace) -> Tensor:
        return codes.repeat(1, len(self.spaces[1].slots))

    def finish(self, state: State) -> Tensor:
        x = F.relu(normalised(state.x, self.gain[None], self.shift[None]))
        return F.conv2d(x, self.to_rgb, self.rgb_bias.to(x.dtype), padding=1).tanh().float()

    def _begin(self, _: State | None, slots: tuple[Tensor, ...]) -> State:
        x = F.linear(slots[0], self.first, self.first_bias).unflatten(1, (4, 4, -1))  # (B, 4, 4, C)
        return State(x.permute(0, 3, 1, 2).to(self.to_rgb.dtype))

    def _step(self, i: int, layer: Layer) -> Step:
        def run(state: State, slots: tuple[Tensor, ...]) -> State:
            attends = self.attention is not None and i == self.config.attention_layer_position
            return State(self.blocks[i](self.attention(state.x) if attends else state.x, slots[0]))

        return Step(layer, (i + 1,), run)


@dataclass(frozen=True, eq=False)
class Given:
    """Constants of the construction: the class's embedding (E,), the truncation, and eps of the batch norms."""

    embedding: Tensor
    truncation: float
    eps: float

    def normalisation(self, part: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Gain and shift (C,) equal to a batch normalisation with stored statistics, before its own gain and bias."""
        means, variances = (self.statistic(part[f"running_{name}"].float()) for name in ("means", "vars"))
        gain = (variances + self.eps).rsqrt()
        return gain, -means * gain

    def statistic(self, stored: Tensor) -> Tensor:
        """The stored statistics (steps, C), interpolated at the truncation.

        As in the official code, the two neighbouring steps have each other's weights.
        """
        part, index = math.modf(self.truncation / (1 / (len(stored) - 1)))
        lower = stored[int(index)]
        return lower if part == 0 else lower * part + stored[int(index) + 1] * (1 - part)


class Block(nn.Module):
    """A residual block: 1×1, 3×3, 3×3, 1×1 convolutions, each after a conditional batch norm and a ReLU.

    Args:
        part: tensors "bn_0.running_means", "bn_0.scale.weight", "conv_0.weight", ...
        up: whether it doubles the size.
        given: constants of the construction.
    """

    def __init__(self, part: Mapping[str, Tensor], up: bool, given: Given) -> None:
        super().__init__()
        self.up, self.channels = up, len(part["conv_3.bias"])
        for i in range(4):
            gain, shift = given.normalisation(below(part, f"bn_{i}"))
            scale, offset = part[f"bn_{i}.scale.weight"], part[f"bn_{i}.offset.weight"]  # (C, Z + E)
            width = scale.shape[1] - len(given.embedding)
            own, own_offset = scale[:, width:] @ given.embedding + 1, offset[:, width:] @ given.embedding
            columns = [gain[:, None] * scale[:, :width], shift[:, None] * scale[:, :width] + offset[:, :width]]
            self.register_buffer(f"style{i}", torch.cat(columns))  # (2C, Z)
            self.register_buffer(f"style_bias{i}", torch.cat([gain * own, shift * own + own_offset]))
            self.register_buffer(f"weight{i}", channels_last(part[f"conv_{i}.weight"]))
            self.register_buffer(f"bias{i}", part[f"conv_{i}.bias"].float())

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """x (B, I, h, w), z (B, Z) → (B, O, H, W)."""
        straight = x[:, : self.channels]
        for i in range(4):
            style = F.linear(z, getattr(self, f"style{i}"), getattr(self, f"style_bias{i}"))
            x = F.relu(normalised(x, *style.chunk(2, dim=1)))
            if self.up and i == 1:
                x = F.interpolate(x, scale_factor=2.0)
            weight, bias = getattr(self, f"weight{i}"), getattr(self, f"bias{i}")
            x = F.conv2d(x, weight, bias.to(x.dtype), padding=weight.shape[-1] // 2)
        return x + (F.interpolate(straight, scale_factor=2.0) if self.up else straight)


class Attention(nn.Module):
    """Self-attention over a feature map; keys and values are pooled to half its size."""

    def __init__(self, part: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in ("theta", "phi", "g"):
            self.register_buffer(name, part[f"snconv1x1_{name}.weight"])
        self.register_buffer("out", part["snconv1x1_o_conv.weight"] * part["gamma"].float())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        queries = F.conv2d(x, self.theta).flatten(2).transpose(1, 2)  # (B, N, C/8)
        keys = F.max_pool2d(F.conv2d(x, self.phi), 2).flatten(2).transpose(1, 2)  # (B, N/4, C/8)
        values = F.max_pool2d(F.conv2d(x, self.g), 2).flatten(2).transpose(1, 2)  # (B, N/4, C/2)
        seen = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)  # (B, N, C/2)
        return x + F.conv2d(seen.transpose(1, 2).unflatten(2, x.shape[2:]), self.out)


def normalised(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """x (B, C, H, W) · gain (B, C) + shift (B, C)."""
    return torch.addcmul(spread(shift, x), x, spread(gain, x))


def fold_spectral_norms(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replaces weight_orig, weight_u and weight_v by weight = weight_orig / (uᵀ W v)."""
    normed = ("weight_orig", "weight_u", "weight_v")
    folded = {name: tensor.float() for name, tensor in weights.items() if not name.endswith(normed)}
    for name, weight in weights.items():
        if name.endswith("weight_orig"):
            stem, weight = name.removesuffix("_orig"), weight.float()
            sigma = weights[stem + "_u"].float() @ weight.flatten(1) @ weights[stem + "_v"].float()
            folded[stem] = weight / sigma
    return folded


def block_numbers(weights: Mapping[str, Tensor]) -> list[int]:
    """Indices of the residual blocks in the official module list, which also contains the attention."""
    return sorted({int(name.split(".")[1]) for name in weights if name.startswith("layers.") and ".conv_0." in name})


def truncated_normal(width: int, seed: int) -> Tensor:
    """A seeded sample (width,) of N(0, 1) truncated at ±2, by the inverse of its distribution function."""
    uniform = torch.rand(width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inside = math.erf(2 / math.sqrt(2))  # share of N(0, 1) within ±2
    return (math.sqrt(2) * torch.special.erfinv((2 * uniform - 1) * inside)).float()
