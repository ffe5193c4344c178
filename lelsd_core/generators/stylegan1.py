"""StyleGAN (1) in plain PyTorch: Z, W, W+ and S, here the scale and bias of each adaptive instance normalisation.

    S  -->  4.conv0, 4.conv1, 8.conv0, 8.conv1, ...  -->  one toRGB after the last layer

Sources: Karras, Laine, Aila, "A Style-Based Generator Architecture for GANs" (CVPR 2019); state-dict layout of the
PyTorch port in LELSD's code (`g_mapping.dense0.weight`, `g_synthesis.blocks.8x8.conv0_up.weight`,
`g_style.style_layers.8x8_0.lin.weight`, `truncation.avg_latent`). Truncation applies to the first 8 rows of W+.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.generators.base import Layer, State, Step, below, channels_last, check_sizes, scaled
from lelsd_core.generators.style import SLOPE, SQRT2, MappingNetwork, StyleGenerator, fixed_noise

EPS = 1e-5  # torch's default for InstanceNorm2d
FUSED = 128  # from this size on, the official network upsamples in a transposed convolution, with a flipped kernel
RATE = 0.01  # learning-rate multiplier of the mapping network


class StyleGAN1(StyleGenerator):
    """A StyleGAN generator in spaces Z, W, W+ and S.

    Args:
        weights: state dict of the PyTorch port.
        noise: "stored" (these files have none: fixed noise from seed 0), "random" or "off".
        noise_seed: for random noise.
    """

    truncated_rows = 8
    load_options = ("noise", "noise_seed")

    def __init__(self, weights: Mapping[str, Tensor], *, noise: str = "stored", noise_seed: int = 0) -> None:
        blocks = "g_synthesis.blocks."
        sizes = {int(name.removeprefix(blocks).split("x")[0]) for name in weights if name.startswith(blocks)}
        check_sizes(sizes)
        places = [(size, i) for size in sorted(sizes) for i in (0, 1)]
        styles: dict[str, tuple[Tensor, Tensor]] = {}
        for size, i in places:
            style = below(weights, f"g_style.style_layers.{size}x{size}_{i}.lin")
            halves = zip(style["weight"].chunk(2), style["bias"].chunk(2), strict=True)
            styles |= zip((f"{size}.conv{i}.gain", f"{size}.conv{i}.bias"), halves, strict=True)
        mapping = {  # as `MappingNetwork` takes it, whose gain of √2 reaches the biases too
            name.replace("dense", "fc"): tensor / SQRT2 if name.endswith("bias") else tensor
            for name, tensor in below(weights, "g_mapping").items()
        }
        rows = [i // 2 for i in range(len(styles))]
        super().__init__(MappingNetwork(mapping, RATE), weights.get("truncation.avg_latent"), styles, rows)
        self.convolutions = nn.ModuleList()
        for number, (size, _) in enumerate(places):
            block = below(weights, f"{blocks}{size}x{size}")
            fixed = fixed_noise(noise, None, size, number, noise_seed)
            self.convolutions.append(NormalisedConv(block, number, size, fixed))
        self.register_buffer("const", weights["g_synthesis.blocks.4x4.const"].float())
        to_rgb = weights["g_synthesis.torgb.weight"].float()
        self.register_buffer("to_rgb", to_rgb * to_rgb.shape[1] ** -0.5)
        self.register_buffer("rgb_bias", weights["g_synthesis.torgb.bias"].float())
        widths = self.spaces[-1].widths[::2]
        layers = [Layer(f"{size}.conv{i}", c, size) for (size, i), c in zip(places, widths, strict=True)]
        self.layers = {layer.name: layer for layer in layers}
        self.resolution = layers[-1].size
        self.steps = tuple(self._step(number, layer) for number, layer in enumerate(layers))

    def _step(self, number: int, layer: Layer) -> Step:
        def run(state: State | None, slots: tuple[Tensor, ...]) -> State:
            x = state.x if state else self.const.expand(len(slots[0]), -1, -1, -1)
            return State(self.convolutions[number](x, *slots))

        return Step(layer, (2 * number, 2 * number + 1), run)

    def finish(self, state: State) -> Tensor:
        return F.conv2d(state.x, self.to_rgb, self.rgb_bias.to(self.to_rgb.dtype)).float()


class NormalisedConv(nn.Module):
    """Convolution, bias, noise, leaky ReLU, adaptive instance normalisation; the first one has no convolution.

    Args:
        block: tensors of its block.
        number: its index in the network; even ones start a block, and upsample except in the first block.
        size: height and width of its output, in pixels.
        noise: (1, 1, size, size) or None.
    """

    def __init__(self, block: Mapping[str, Tensor], number: int, size: int, noise: Tensor | None) -> None:
        super().__init__()
        self.opens = number % 2 == 0
        self.fused, self.blurs = self.opens and size >= FUSED, self.opens and number > 0
        part = {0: "", 1: "conv."}.get(number, "conv0_up." if self.opens else "conv1.")
        weight = block[part + "weight"].float() if part else None
        if weight is not None:
            weight = weight * SQRT2 * weight[0].numel() ** -0.5
            weight = channels_last(doubling_kernel(weight) if self.fused else weight)
        self.register_buffer("weight", weight)
        if self.blurs:
            kernel = block[part + "intermediate.kernel"].float()
            self.register_buffer("blur", kernel.expand(weight.shape[1 if self.fused else 0], 1, 3, 3).contiguous())
        self.register_buffer("bias", block[part + "bias"].float())
        strength = block[f"epi{1 if self.opens else 2}.top_epi.noise.weight"].float()
        self.register_buffer("noise", None if noise is None else noise.flatten(1))  # (1, H·W)
        self.register_buffer("strength", strength)

    def forward(self, x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        """x (B, I, h, w), gain and shift (B, O) → (B, O, H, W)."""
        x = self.convolve(x)
        x = x + self.bias[:, None, None].to(x.dtype)
        if self.noise is not None:
            x = x + (self.strength[:, None] * self.noise).unflatten(1, x.shape[2:]).to(x.dtype)
        x = F.instance_norm(F.leaky_relu_(x, SLOPE), eps=EPS)
        return scaled(x, 1 + gain, shift)

    def convolve(self, x: Tensor) -> Tensor:
        """The convolution without its bias, upsampling and blur included."""
        if self.weight is None:
            return x
        x = x.to(self.weight.dtype)
        if self.fused:
            x = F.conv_transpose2d(x, self.weight, stride=2, padding=1)
        else:
            x = F.conv2d(F.interpolate(x, scale_factor=2.0) if self.blurs else x, self.weight, padding=1)
        return F.conv2d(x, self.blur, padding=1, groups=x.shape[1]) if self.blurs else x


def doubling_kernel(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) → (I, O, 4, 4): nearest-neighbour upsampling and convolution as one transposed convolution."""
    wide = F.pad(weight.transpose(0, 1), (1, 1, 1, 1))
    return wide[..., 1:, 1:] + wide[..., :-1, 1:] + wide[..., 1:, :-1] + wide[..., :-1, :-1]
