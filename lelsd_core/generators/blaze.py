"""BlazeStyleGAN in plain PyTorch: Z, W, W+ and S; faces at 256 pixels from a generator distilled for phones.

    z  --Gaussian prior-->  W (three codes of 512)  --each four times-->  W+ (12 × 512)  --affine maps-->  S (3,456)
    S  -->  4.conv, 8.conv0, 8.conv1, ..., 128.conv1, 256.conv  --tanh-->  picture

Source: the decoder in MediaPipe's Face Stylizer (`face_stylizer.tflite`); Karras et al., "A Style-Based Generator
Architecture for GANs" (CVPR 2019) for the idea. It differs from StyleGAN2: convolutions are depthwise-separable, a
style is a gain on the input of a layer without demodulation, and there is one RGB head, at the end. The file has no
mapping network; z is drawn through a Gaussian prior, and W holds a code each for the coarse, middle and fine rows of
W+, as the file's own encoder makes them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.generators.base import Layer, State, Step, below, channels_last, check_sizes
from lelsd_core.generators.style import SLOPE, StyleGenerator, fixed_noise
from lelsd_core.generators.stylegan2 import key, size_of
from lelsd_core.latents import LatentSpace, Slot
from lelsd_core.networks import sharing, with_submodule

GROUPS = ("coarse", "middle", "fine")
PIXELS = 1024  # that are enlarged at a time, on a CPU and where no gradient is wanted


class BlazeStyleGAN(StyleGenerator):
    """A BlazeStyleGAN generator in spaces Z, W, W+ and S.

    Args:
        weights: "const" (C, 4, 4); for each layer such as "8.conv0" the tensors of its module below, under its name;
            "to_rgb.weight" (3, C) and "to_rgb.bias" (3,); "prior.mean" and "prior.factor", see `GaussianPrior`.
        noise: "stored" (fixed noise from seed 0, as the file holds none), "random" or "off", see `fixed_noise`.
        noise_seed: for random noise.
    """

    curved = ()
    load_options = ("noise", "noise_seed")

    def __init__(self, weights: Mapping[str, Tensor], *, noise: str = "stored", noise_seed: int = 0) -> None:
        ending = ".style.weight"
        names = [name.removesuffix(ending) for name in weights if name.endswith(ending)]
        names.sort(key=lambda name: (size_of(name), name))
        check_sizes(size_of(name) for name in names)
        parts = {name: below(weights, name) for name in names}
        prior = GaussianPrior(weights["prior.mean"], weights["prior.factor"])
        width = len(prior.mean) // len(GROUPS)
        styles = {  # stored as they are used; the base class scales them by width ** -0.5
            name: (part["style.weight"].float() * width**0.5, part["style.bias"]) for name, part in parts.items()
        }
        super().__init__(prior, prior.mean, styles, range(len(names)))
        self.repeats = len(names) // len(GROUPS)
        self.spaces = (
            self.spaces[0],
            LatentSpace("W", tuple(Slot(group, width) for group in GROUPS)),
            LatentSpace("W+", tuple(Slot(f"w{i}", width) for i in range(len(names)))),
            self.spaces[3],
        )
        self.register_buffer("const", weights["const"].float()[None])
        self.to_rgb = DenseConv(weights["to_rgb.weight"][:, :, None, None], weights["to_rgb.bias"])
        self.parts = nn.ModuleDict()
        for i, (name, part) in enumerate(parts.items()):
            if "dense.weight" in part:
                self.parts[key(name)] = LastConv(part)
            else:
                self.parts[key(name)] = StyledSeparableConv(
                    part, fixed_noise(noise, None, size_of(name), i, noise_seed)
                )
        layers = [Layer(name, self.parts[key(name)].channels, size_of(name)) for name in names]
        self.layers = {layer.name: layer for layer in layers}
        self.resolution = layers[-1].size
        self._lay_out()

    def _lay_out(self) -> None:
        self.steps = tuple(self._step(i, layer) for i, layer in enumerate(self.layers.values()))

    def _step(self, index: int, layer: Layer) -> Step:
        part = self.parts[key(layer.name)]

        def run(state: State | None, slots: tuple[Tensor, ...]) -> State:
            x = self.const.expand(len(slots[0]), -1, -1, -1) if state is None else state.x
            return State(part(x, slots[0]))

        return Step(layer, (index,), run)

    def lift_once(self, codes: Tensor, space: LatentSpace) -> Tensor:
        if space.name != "W":
            return super().lift_once(codes, space)
        return codes.unflatten(1, (len(GROUPS), -1)).repeat_interleave(self.repeats, 1).flatten(1)

    def slot_of(self, index: int, space: str) -> int:
        return index // self.repeats if space == "W" else super().slot_of(index, space)

    def truncate(self, codes: Tensor, amount: float) -> Tensor:
        """Codes of W (B, 3·512) or W+ (B, 12·512) pulled towards the mean W; 1 leaves them, 0 is the mean."""
        mean = self.mean[None]
        if codes.shape[1] != mean.shape[1]:
            mean = self.lift_once(mean, self.space("W"))
        return mean.lerp(codes, amount)

    def finish(self, state: State) -> Tensor:
        return self.to_rgb(state.x).float().tanh()

    def tunable_parts(self) -> dict[str, DenseConv]:
        """All dense convolutions, by their path: "parts.8_conv0.pointwise", "to_rgb"."""
        return {path: module for path, module in self.named_modules() if isinstance(module, DenseConv)}

    def with_parts(self, parts: Mapping[str, nn.Module]) -> BlazeStyleGAN:
        twin = self
        for path, part in parts.items():
            twin = with_submodule(twin, path, part)
        twin._lay_out()
        return twin


class DenseConv(nn.Module):
    """A convolution over all channels, which can be tuned to a person; its output is as large as its input.

    Args:
        weight: (O, I, k, k), k odd.
        bias: (O,).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight_shape = tuple(weight.shape)
        self.register_buffer("weight", channels_last(weight.float()))
        self.register_buffer("bias", bias.float())

    def forward(self, x: Tensor) -> Tensor:
        """x (B, I, h, w) → (B, O, h, w)."""
        return F.conv2d(x, self.weight, self.bias.to(x.dtype), padding=self.weight_shape[-1] // 2)

    def changed(self, weight: Tensor, bias: Tensor) -> DenseConv:
        """A copy with changes (O, I, k, k) of the weight and (O,) of the bias added."""
        return sharing(self, weight=self.weight + weight.to(self.weight.dtype), bias=self.bias + bias)


class GaussianPrior(nn.Module):
    """z (B, K), standard normal → W (B, 3·512), normally distributed; takes the place of a mapping network.

    Args:
        mean: (3·512,) mean of W.
        factor: (3·512, K), W = mean + factor · z.
    """

    def __init__(self, mean: Tensor, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("weight0", factor.float())  # as the first weight of a mapping network

    def forward(self, z: Tensor) -> Tensor:
        return F.linear(z, self.weight0, self.mean)


class Enlarge(nn.Module):
    """Doubles the size: nearest neighbour, depthwise 3×3, leaky ReLU, 1×1 to fewer channels.

    The enlarged map with all its channels is never in memory at once: each of the four pixels that become of one reads
    2×2 pixels of the small map, and a few rows are computed at a time, so that they stay in the processor's cache.

    Args:
        part: "up.depthwise" (C, 1, 3, 3), "up.depthwise_bias" (C,), "up.pointwise" (O, C, 1, 1),
            "up.pointwise_bias" (O,).
    """

    def __init__(self, part: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.register_buffer("depthwise_bias", part["up.depthwise_bias"].float())
        self.pointwise = DenseConv(part["up.pointwise"], part["up.pointwise_bias"])
        sums = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])  # first or second pixel, tap, 3×3's tap
        kernels = torch.einsum("ati,bsj,coij->abcots", sums, sums, part["up.depthwise"].float())
        self.register_buffer("kernels", kernels.flatten(0, 2).contiguous())  # (4·C, 1, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, h, w) → (B, O, 2h, 2w)."""
        batch, _, height, width = x.shape
        x = channels_last(F.pad(x, (1, 1, 1, 1)))
        size = batch, self.pointwise.weight_shape[0], 2 * height, 2 * width
        if x.requires_grad:
            quarters = [self._quarter(x, i).permute(0, 2, 3, 1) for i in range(4)]  # (B, h, w, O)
            x = torch.stack(quarters).unflatten(0, (2, 2)).permute(2, 3, 0, 4, 1, 5)  # (B, h, 2, w, 2, O)
            return x.reshape(batch, *size[2:], -1).permute(0, 3, 1, 2)
        out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        rows = max(1, PIXELS // width) if x.device.type == "cpu" else height
        for first in range(0, height, rows):
            band = x[:, :, first : first + rows + 2]
            for i in range(4):
                top, left = divmod(i, 2)
                out[:, :, 2 * first + top : 2 * (first + rows) : 2, left::2] = self._quarter(band, i)
        return out

    def _quarter(self, x: Tensor, index: int) -> Tensor:
        """x (B, C, h + 2, w + 2), with a border → one of the four pixels that become of each, (B, O, h, w)."""
        top, left = divmod(index, 2)
        height, width = x.shape[2] - 2, x.shape[3] - 2
        x = x[:, :, top : top + height + 1, left : left + width + 1]
        kernel = self.kernels.chunk(4)[index]
        x = F.conv2d(x, kernel, self.depthwise_bias.to(x.dtype), groups=len(kernel))
        return self.pointwise(F.leaky_relu_(x, SLOPE))


class StyledSeparableConv(nn.Module):
    """Depthwise-separable convolution whose input channels are scaled by a style; noise, bias and leaky ReLU.

    Args:
        part: "depthwise" (C, 1, 3, 3), "pointwise" (O, C, 1, 1), "bias" (O,), "noise_strength" (), and what `Enlarge`
            takes where the layer doubles the size.
        noise: (1, 1, H, W) or None.
    """

    def __init__(self, part: Mapping[str, Tensor], noise: Tensor | None) -> None:
        super().__init__()
        self.enlarge = Enlarge(part) if "up.depthwise" in part else nn.Identity()
        self.register_buffer("depthwise", part["depthwise"].float())
        self.pointwise = DenseConv(part["pointwise"], part["bias"])
        self.channels = len(part["bias"])
        self.register_buffer("noise", None if noise is None else noise * part["noise_strength"].float())

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x (B, I, h, w), style (B, C) → (B, O, H, W)."""
        x, style = self.enlarge(x), style[:, :, None, None].to(x.dtype)
        kernel = self.depthwise
        if len(x) > 1:
            x = x * style
        else:  # fewer numbers to scale
            kernel = kernel * style.transpose(0, 1)
        x = self.pointwise(F.conv2d(channels_last(x), kernel, padding=1, groups=len(kernel)))
        if self.noise is not None:
            x.add_(self.noise)
        return F.leaky_relu_(x, SLOPE)


class LastConv(nn.Module):
    """Doubles the size, a dense 3×3 convolution with leaky ReLUs around it, then the style of the RGB head.

    Args:
        part: "dense.weight" (O, C, 3, 3), "dense.bias" (O,), and what `Enlarge` takes.
    """

    def __init__(self, part: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.enlarge = Enlarge(part)
        self.dense = DenseConv(part["dense.weight"], part["dense.bias"])
        self.channels = len(part["dense.bias"])

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x (B, I, h, w), style (B, O) → (B, O, 2h, 2w), which a linear map turns into the picture before tanh."""
        x = F.leaky_relu_(self.enlarge(x), SLOPE)
        x = F.leaky_relu_(self.dense(x), SLOPE)
        return x * style[:, :, None, None].to(x.dtype)
