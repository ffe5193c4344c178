"""DCGAN in plain PyTorch, with a style space S.

    Z (100)  -->  S: z, then one gain and one bias for each channel of each layer  -->  picture

Sources: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", ICLR 2016; state-dict layout of the PyTorch DCGAN tutorial (`main.0.weight` ...).
S is defined by this project: y = BatchNorm(x)·(1 + gain) + bias, before the ReLU, so that zeros change nothing.
BatchNorm uses its stored statistics and is folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.generators.base import Generator, Layer, State, Step, check_sizes
from lelsd_core.latents import LatentSpace, Slot

EPS = 1e-5  # torch's default for BatchNorm2d, which the tutorial uses


@dataclass(frozen=True)
class DCGANConfig:
    """Sizes of a DCGAN; all but `prior` are inferred from its weights.

    Args:
        code_width: columns of z.
        channels: channels of each layer, coarse to fine; the first layer is 4×4, each next one twice as large.
        prior: standard deviation of the samples; below 1 gives less variety and fewer broken pictures.
    """

    code_width: int = 100
    channels: tuple[int, ...] = (512, 256, 128, 64)
    prior: float = 1.0

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], prior: float = 1.0) -> DCGANConfig:
        """Infers the sizes from a state dict of the tutorial."""
        convolutions = [weights[name] for name in convolution_names(weights)]
        return cls(convolutions[0].shape[0], tuple(w.shape[1] for w in convolutions[:-1]), prior)


def convolution_names(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the transposed convolutions' weights, coarse to fine."""
    names = [name for name, tensor in weights.items() if name.endswith(".weight") and tensor.ndim == 4]
    return sorted(names, key=lambda name: int(name.split(".")[1]))


class DCGAN(Generator):
    """A DCGAN generator in spaces Z and S.

    Args:
        config: sizes of the network.
        weights: state dict of the tutorial, with the statistics of BatchNorm.
    """

    def __init__(self, config: DCGANConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        sizes = [4 * 2**i for i in range(len(config.channels))]
        check_sizes(sizes)
        names = convolution_names(weights)
        for i, name in enumerate(names[:-1]):
            weight, bias = fold_batch_norm(weights, name)
            if i == 0:  # a 1×1 input: one matrix, its columns ordered so that the result is channels-last
                weight = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)  # (z, 4·4·C)
            else:
                weight = weight.contiguous(memory_format=torch.channels_last)
            self.register_buffer(f"weight{i}", weight.contiguous() if i == 0 else weight)
            self.register_buffer(f"bias{i}", bias)
        last = weights[names[-1]].float()
        self.register_buffer("to_rgb", last.contiguous(memory_format=torch.channels_last))
        layers = [Layer(f"{size}.conv", c, size) for size, c in zip(sizes, config.channels, strict=True)]
        self.resolution = 2 * sizes[-1]
        self.layers = {layer.name: layer for layer in layers}
        self.spaces = (LatentSpace("Z", (Slot("z", config.code_width),)), style_space(config, sizes))
        self.steps = tuple(self._step(i, layer) for i, layer in enumerate(layers))

    def sample(self, seeds: Sequence[int]) -> Tensor:
        rows = [torch.randn(self.config.code_width, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return (self.config.prior * torch.stack(rows)).to(self.device)

    def lift_once(self, codes: Tensor, space: LatentSpace) -> Tensor:
        return F.pad(codes, (0, self.spaces[1].width - space.width))

    def finish(self, state: State) -> Tensor:
        return F.conv_transpose2d(state.x, self.to_rgb, stride=2, padding=1).tanh().float()

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
    """ReLU of x (B, C, H, W) · (1 + gain) + shift, each (B, C)."""
    gain, shift = 1 + gain.to(x.dtype), shift.to(x.dtype)
    return torch.addcmul(shift[:, :, None, None], x, gain[:, :, None, None]).relu_()


def style_space(config: DCGANConfig, sizes: Sequence[int]) -> LatentSpace:
    """S: z, which is not movable, then a gain and a bias for each channel of each layer."""
    pairs = [
        Slot(f"{size}.{kind}", channels)
        for size, channels in zip(sizes, config.channels, strict=True)
        for kind in ("gain", "bias")
    ]
    return LatentSpace("S", (Slot("z", config.code_width, movable=False), *pairs))


def fold_batch_norm(weights: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """The convolution `name` with the BatchNorm after it folded in: weight (I, O, 4, 4) and bias (O,), float32."""
    norm = f"main.{int(name.split('.')[1]) + 1}"
    mean, var, gamma, beta = (
        weights[f"{norm}.{key}"].float() for key in ("running_mean", "running_var", "weight", "bias")
    )
    scale = gamma / (var + EPS).sqrt()
    return weights[name].float() * scale[:, None, None], beta - mean * scale
