"""DCGAN in plain PyTorch, with a style space S.

    Z (100)  -->  S: z, then one gain and one bias for each channel of each layer  -->  picture

Sources: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", ICLR 2016; state-dict layout of the PyTorch DCGAN tutorial (`main.0.weight` ...).
S is defined by this project: y = BatchNorm(x)·(1 + gain) + bias, before the ReLU, so that zeros change nothing.
BatchNorm uses its stored statistics and is folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from lelsd_core.generators.base import Generator, Layer, State, Step, channels_last, check_sizes, normal_rows, scaled
from lelsd_core.latents import LatentSpace, Slot

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
    """ReLU of x (B, C, H, W) under a gain and a bias (B, C) for each channel, both 0 for no change."""
    return scaled(x, 1 + gain.to(x.dtype), shift).relu_()


def fold_batch_norm(weights: Mapping[str, Tensor], number: int) -> tuple[Tensor, Tensor]:
    """Convolution `number` with the BatchNorm behind it folded in: weight (I, O, 4, 4) and bias (O,), float32."""
    norm = f"main.{number + 1}"
    mean, var, gamma, beta = (
        weights[f"{norm}.{key}"].float() for key in ("running_mean", "running_var", "weight", "bias")
    )
    scale = gamma / (var + EPS).sqrt()
    return weights[f"main.{number}.weight"].float() * scale[:, None, None], beta - mean * scale
