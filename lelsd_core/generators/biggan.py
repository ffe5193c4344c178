"""BigGAN-deep in plain PyTorch: Z, and Z+ with one z per block; class and truncation are fixed at construction.

    Z+ (z0, z1, ...)  -->  4.input  -->  4.block0, 4.block1, 8.block2, ...  -->  picture

Sources: Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis" (ICLR 2019),
appendix B; state-dict layout and configuration of Hugging Face's pytorch-pretrained-BigGAN. Spectral norms, batch
statistics and the class embedding's part of every conditional gain and bias are constants, and folded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator, Layer, State, Step, below, channels_last, check_sizes, scaled
from lelsd_core.latents import LatentSpace, Slot


class BigGAN(Generator):
    """A BigGAN-deep generator in spaces Z and Z+.

    Args:
        weights: state dict in Hugging Face's layout, spectral norms unfolded.
        z_dim: columns of z.
        layers: one (upsamples, channels in, channels out) for each block, in units of `channel_width`.
        attention_layer_position: the block that self-attention comes before.
        eps: of every batch normalisation.
        channel_width: see `layers`.
        label: weights (classes,) of the classes, one 1 for a single class.
        truncation: scale of the samples, and which of the stored batch statistics are used; 0 to 1, 0.4 if None.
    """

    load_options = ("class_index", "truncation")

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        z_dim: int,
        layers: Sequence[tuple[bool, int, int]],
        attention_layer_position: int,
        eps: float,
        channel_width: int,
        label: Tensor,
        truncation: float | None = None,
    ) -> None:
        super().__init__()
        self.truncation = 0.4 if truncation is None else truncation
        if not 0 <= self.truncation <= 1:
            raise UserError(f"truncation of a BigGAN is between 0 and 1, got {truncation}.")
        weights = fold_spectral_norms(below(weights, "generator") | {"embeddings": weights["embeddings.weight"]})
        embedding = weights["embeddings"] @ label
        first = weights["gen_z.weight"]
        self.register_buffer("first", first[:, :z_dim].contiguous())
        self.register_buffer("first_bias", weights["gen_z.bias"] + first[:, z_dim:] @ embedding)
        self.attention_at = attention_layer_position
        attends = self.attention_at < len(layers)
        self.attention = Attention(below(weights, f"layers.{self.attention_at}")) if attends else None
        self.blocks = nn.ModuleList()
        size, maps = 4, [Layer("4.input", int(layers[0][1]) * int(channel_width), 4)]
        for i, (up, _, channels) in enumerate(layers):
            part = below(weights, f"layers.{i + (i >= self.attention_at)}")  # the official list counts attention too
            self.blocks.append(Block(part, bool(up), embedding, self.truncation, eps))
            size *= 2 if up else 1
            maps.append(Layer(f"{size}.block{i}", int(channels) * int(channel_width), size))
        check_sizes([size])
        gain, shift = folded_norm(below(weights, "bn"), self.truncation, eps)
        self.register_buffer("gain", gain * weights["bn.weight"])
        self.register_buffer("shift", shift * weights["bn.weight"] + weights["bn.bias"])
        self.register_buffer("to_rgb", channels_last(weights["conv_to_rgb.weight"][:3]))
        self.register_buffer("rgb_bias", weights["conv_to_rgb.bias"][:3])
        self.resolution = size
        self.layers = {layer.name: layer for layer in maps}
        self.steps = tuple(self._step(i, layer) for i, layer in enumerate(maps))
        slots = tuple(Slot(f"z{i}", z_dim) for i in range(len(maps)))
        self.spaces = (LatentSpace("Z", (Slot("z", z_dim),)), LatentSpace("Z+", slots))

    def sample(self, seeds: Sequence[int]) -> Tensor:
        within = math.erf(2 / math.sqrt(2))  # share of N(0, 1) between -2 and 2
        rows = []
        for seed in seeds:  # N(0, 1) cut off at ±2, by the inverse of its distribution
            generator = torch.Generator().manual_seed(int(seed))
            uniform = torch.rand(self.spaces[0].width, generator=generator, dtype=torch.float64)
            rows.append((math.sqrt(2) * torch.special.erfinv((2 * uniform - 1) * within)).float())
        return (self.truncation * torch.stack(rows)).to(self.device)

    def lift_once(self, codes: Tensor, space: LatentSpace) -> Tensor:
        return codes.repeat(1, len(self.spaces[1].slots))

    def entry_weights(self) -> dict[str, Tensor]:
        """The first matrix, and the conditional gains and biases of each block."""
        blocks = [torch.cat([getattr(block, f"style{i}") for i in range(4)]) for block in self.blocks]
        return dict(zip(self.layers, (self.first, *blocks), strict=True))

    def finish(self, state: State) -> Tensor:
        x = F.relu(scaled(state.x, self.gain[None], self.shift[None]))
        return F.conv2d(x, self.to_rgb, self.rgb_bias.to(x.dtype), padding=1).tanh().float()

    def _step(self, i: int, layer: Layer) -> Step:
        def begin(_: State | None, slots: tuple[Tensor, ...]) -> State:
            x = F.linear(slots[0], self.first, self.first_bias).unflatten(1, (4, 4, -1))  # (B, 4, 4, C)
            return State(x.permute(0, 3, 1, 2).to(self.to_rgb.dtype))

        def run(state: State, slots: tuple[Tensor, ...]) -> State:
            x = self.attention(state.x) if i - 1 == self.attention_at else state.x
            return State(self.blocks[i - 1](x, slots[0]))

        return Step(layer, (i,), run if i else begin)


class Block(nn.Module):
    """A residual block: 1×1, 3×3, 3×3, 1×1 convolutions, each after a conditional batch norm and a ReLU.

    Args:
        part: tensors "bn_0.running_means", "bn_0.scale.weight", "conv_0.weight", ...
        up: whether it doubles the size.
        embedding: of the class, (E,).
        truncation, eps: see `folded_norm`.
    """

    def __init__(self, part: Mapping[str, Tensor], up: bool, embedding: Tensor, truncation: float, eps: float) -> None:
        super().__init__()
        self.up, self.channels = up, len(part["conv_3.bias"])
        for i in range(4):
            gain, shift = folded_norm(below(part, f"bn_{i}"), truncation, eps)
            scale, offset = part[f"bn_{i}.scale.weight"], part[f"bn_{i}.offset.weight"]  # (C, Z + E)
            width = scale.shape[1] - len(embedding)
            own, own_offset = scale[:, width:] @ embedding + 1, offset[:, width:] @ embedding
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
            x = F.relu(scaled(x, *style.chunk(2, dim=1)))
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


def folded_norm(part: Mapping[str, Tensor], truncation: float, eps: float) -> tuple[Tensor, Tensor]:
    """Gain and shift (C,) of a batch norm's stored statistics at a truncation, before its own gain and bias."""
    means, variances = (statistic(part[f"running_{name}"], truncation) for name in ("means", "vars"))
    gain = (variances + eps).rsqrt()
    return gain, -means * gain


def statistic(stored: Tensor, truncation: float) -> Tensor:
    """The stored statistics (steps, C) at a truncation.

    Between two steps the official code gives the lower one the weight of the upper one; its pictures are wanted.
    """
    part, index = math.modf(truncation / (1 / (len(stored) - 1)))
    lower = stored[int(index)]
    return lower if part == 0 else lower * part + stored[int(index) + 1] * (1 - part)


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
