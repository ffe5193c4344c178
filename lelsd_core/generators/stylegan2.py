"""StyleGAN2 in plain PyTorch: Z, W, W+ and S of StyleSpace; any resolution, widths and mapping depth.

    S  -->  4.conv1, 8.conv0, 8.conv1, 16.conv0, ...   each R.conv1 adds to a running picture that grows with the layers

Sources: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020); state-dict layout of
NVIDIA's StyleGAN2-ADA (`mapping.fc0.weight`, `synthesis.b8.conv0.weight`); all other files are renamed to it.
One departure, equal in exact arithmetic: styles scale the activations instead of one set of weights per picture, and
demodulation follows the convolution, so that a batch shares one dense convolution. Gains are folded into constants.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import RefusedError
from lelsd_core.generators.base import Layer, State, Step, below, channels_last, check_sizes, per_channel, scaled
from lelsd_core.generators.style import SLOPE, SQRT2, MappingNetwork, StyleGenerator, fixed_noise
from lelsd_core.networks import sharing

EPS = 1e-8


class StyleGAN2(StyleGenerator):
    """A StyleGAN2 generator in spaces Z, W, W+ and S.

    Args:
        weights: state dict in StyleGAN2-ADA's layout.
        clamp: bound of the activations after each layer, None for none (files trained in half precision have 256).
        rate: learning-rate multiplier of the mapping network.
        noise: "stored", "random" or "off", see `fixed_noise`.
        noise_seed: for random noise.
        label: weights (classes,) of the classes of a conditional model.
    """

    load_options = ("noise", "noise_seed", "class_index")

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        clamp: float | None = None,
        rate: float = 0.01,
        noise: str = "stored",
        noise_seed: int = 0,
        label: Tensor | None = None,
    ) -> None:
        ending = ".affine.weight"
        prefixes = [name.removesuffix(ending) for name in weights if name.endswith(ending)]
        unsorted = {prefix.removeprefix("synthesis.b"): below(weights, prefix) for prefix in prefixes}
        parts = {name: unsorted[name] for name in sorted(unsorted, key=lambda name: (size_of(name), name))}
        check_sizes(size_of(name) for name in parts)
        check_parts(parts, weights["synthesis.b4.const"])
        rows = [0]  # of W+ that each part reads: a toRGB shares its row with the convolution after it
        for name in parts:
            rows.append(rows[-1] + (not name.endswith("torgb")))
        styles = {name: (part["affine.weight"], part["affine.bias"]) for name, part in parts.items()}
        mapping = MappingNetwork(below(weights, "mapping"), rate, label)
        super().__init__(mapping, weights.get("mapping.w_avg"), styles, rows[:-1])
        kernel = weights["synthesis.resample_filter"].float() * 4
        self.register_buffer("up_kernel", kernel.expand(3, 1, 4, 4).contiguous())
        self.register_buffer("const", weights["synthesis.b4.const"].float()[None])
        self.parts = nn.ModuleDict()
        for i, (name, part) in enumerate(parts.items()):
            if name.endswith("torgb"):
                self.parts[key(name)] = ToRGB(part, clamp)
                continue
            stored = fixed_noise(noise, part.get("noise_const"), size_of(name), i, noise_seed)
            self.parts[key(name)] = StyledConv(part, stored, kernel if name.endswith("conv0") else None, clamp)
        self._lay_out()

    def _lay_out(self) -> None:
        names = [slot.name for slot in self.spaces[-1].slots]
        convolutions = [name for name in names if not name.endswith("torgb")]
        layers = [Layer(name, self.parts[key(name)].weight_out, size_of(name)) for name in convolutions]
        self.layers = {layer.name: layer for layer in layers}
        self.resolution = layers[-1].size
        self.steps = tuple(self._step(layer, names) for layer in layers)

    def _step(self, layer: Layer, names: list[str]) -> Step:
        index, paints = names.index(layer.name), layer.name.endswith("conv1")
        convolution, to_rgb = self.parts[key(layer.name)], self.parts[key(names[index + 1])] if paints else None

        def run(state: State | None, slots: tuple[Tensor, ...]) -> State:
            state = state or State(self.const.expand(len(slots[0]), -1, -1, -1))
            x, rgb = convolution(state.x, slots[0]), state.rgb
            if to_rgb is not None:
                rgb = to_rgb(x, slots[1])
                if state.rgb is not None:
                    rgb = rgb + F.conv_transpose2d(state.rgb, self.up_kernel.float(), stride=2, padding=1, groups=3)
            return State(x, rgb)

        return Step(layer, (index, index + 1) if paints else (index,), run)

    def finish(self, state: State) -> Tensor:
        return state.rgb

    def running_layer(self, side: int) -> str | None:
        painting = [name for name in self.layers if name.endswith("conv1")]
        return max((n for n in painting if size_of(n) <= side < self.resolution), key=size_of, default=None)

    def tunable_parts(self) -> dict[str, StyledConv | ToRGB]:
        """All styled layers, by the name of their slot: "8.conv0", "8.torgb"."""
        return dict(zip((slot.name for slot in self.spaces[-1].slots), self.parts.values(), strict=True))

    def with_parts(self, parts: Mapping[str, nn.Module]) -> StyleGAN2:
        twin = sharing(self)
        twin.parts = nn.ModuleDict({**self.parts, **{key(name): part for name, part in parts.items()}})
        twin._lay_out()
        return twin


def check_parts(parts: Mapping[str, Mapping[str, Tensor]], const: Tensor) -> None:
    """RefusedError unless all layers are there, and pictures are square and have three channels."""
    largest, layers = max(map(size_of, parts)), ["4.conv1", "4.torgb"]
    for power in range(3, largest.bit_length()):
        layers += [f"{2**power}.{name}" for name in ("conv0", "conv1", "torgb")]
    missing = [name for name in layers if name not in parts]
    for name in parts:
        needed = ("weight", "bias", "affine.bias", *["noise_strength"] * (not name.endswith("torgb")))
        missing += [f"{name}.{tensor}" for tensor in needed if tensor not in parts[name]]
    if missing:
        raise RefusedError(f"it lacks {', '.join(missing[:6])} among its layers up to {largest} pixels")
    if const.shape[-2] != const.shape[-1]:
        raise RefusedError(f"its pictures are not square: they grow from {const.shape[-2]} × {const.shape[-1]} pixels")
    if (channels := len(parts["4.torgb"]["weight"])) != 3:
        raise RefusedError(f"the number of its pictures' channels is {channels}, not 3 for red, green and blue")


class StyledConv(nn.Module):
    """Modulated and demodulated convolution, then noise, bias and leaky ReLU.

    Args:
        part: "weight" (O, I, 3, 3), "bias" (O,), "noise_strength" ().
        noise: (1, 1, H, W) or None.
        up: resampling kernel (4, 4) with sum 4 if the convolution doubles the size, else None.
        clamp: bound of the output.
    """

    def __init__(
        self, part: Mapping[str, Tensor], noise: Tensor | None, up: Tensor | None, clamp: float | None
    ) -> None:
        super().__init__()
        weight = part["weight"].float()
        self.weight_out, self.weight_shape, self.clamp = weight.shape[0], tuple(weight.shape), clamp
        weight = weight * weight[0].numel() ** -0.5  # near 1 after the sum, so that half precision does not overflow
        self.register_buffer("energy", energy(weight))
        self.register_buffer("bias", part["bias"].float() * SQRT2)
        strength = part["noise_strength"].float().reshape(())
        self.register_buffer("noise", None if noise is None else noise * (strength * SQRT2))
        self.up = up is not None
        self.register_buffer("weight", channels_last(weight.transpose(0, 1) if self.up else weight))
        if up is not None:  # filters of `upfirdn` are convolved: flipped for PyTorch, which correlates
            self.register_buffer("blur", up.flip(0, 1).expand(self.weight_out, 1, 4, 4).contiguous())

    def changed(self, weight: Tensor, bias: Tensor) -> StyledConv:
        """A copy with changes (O, I, 3, 3) of the weight and (O,) of the bias added, both in this module's scale."""
        own = self.weight.transpose(0, 1) if self.up else self.weight
        new = own.float() + weight
        laid = channels_last(new.transpose(0, 1) if self.up else new).to(self.weight.dtype)
        return sharing(self, weight=laid, energy=energy(new), bias=self.bias + bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x (B, I, h, w), style (B, I) → (B, O, H, W)."""
        if self.weight.dtype == torch.float16:  # demodulation undoes any scale of the style
            style = style / style.abs().amax(dim=1, keepdim=True)
        scale = (style.square() @ self.energy + EPS / 2).rsqrt()  # (B, O)
        x = channels_last(x.to(self.weight.dtype) * per_channel(style, self.weight))
        if self.up:
            x = F.conv_transpose2d(x, self.weight, stride=2)
            x = F.conv2d(x, self.blur, padding=1, groups=self.weight_out)
        else:
            x = F.conv2d(x, self.weight, padding=1)
        x = scaled(x, scale, self.bias[None])
        if self.noise is not None:
            x.add_(self.noise)
        x = F.leaky_relu_(x, SLOPE)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class ToRGB(nn.Module):
    """Modulated 1×1 convolution to a picture, not demodulated; always float32."""

    def __init__(self, part: Mapping[str, Tensor], clamp: float | None) -> None:
        super().__init__()
        weight = part["weight"].float().flatten(1)  # (3, C)
        self.weight_shape, self.clamp = tuple(weight.shape), clamp
        self.register_buffer("weight", weight * weight.shape[1] ** -0.5)
        self.register_buffer("bias", part["bias"].float().reshape(3))

    def changed(self, weight: Tensor, bias: Tensor) -> ToRGB:
        """A copy with changes (3, C) of the weight and (3,) of the bias added."""
        return sharing(self, weight=self.weight + weight, bias=self.bias + bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x (B, C, H, W), style (B, C) → (B, 3, H, W)."""
        weight = (self.weight * style[:, None]).transpose(1, 2)  # (B, C, 3)
        pixels = x.float().permute(0, 2, 3, 1).flatten(1, 2)  # (B, H·W, C)
        rgb = torch.baddbmm(self.bias, pixels, weight).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)


def energy(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) → (I, O): each input channel's part of the square that demodulation divides by; halved for √2."""
    return weight.square().sum(dim=(2, 3)).T.contiguous() / 2


def size_of(name: str) -> int:
    """ "64.conv1" → 64."""
    return int(name.split(".")[0])


def key(name: str) -> str:
    """A layer's name without dots, as a module name."""
    return name.replace(".", "_")
