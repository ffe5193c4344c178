"""Building blocks for inference: folded convolutions, input normalisation, and copies that share their tensors.

{"a.conv.weight", "a.bn.weight", "a.bn.running_mean" ...}  --fold-->  one nn.Conv2d, equal to float precision
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lelsd_core.errors import RefusedError

EPS = 1e-5  # torch's default for BatchNorm2d, which all networks in this project use
Module = TypeVar("Module", bound=nn.Module)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def fold(
    tensors: Mapping[str, Tensor], conv: str, norm: str | None = None, *, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """Builds a convolution with "same" padding from a state dict, with the BatchNorm after it folded in.

    Args:
        tensors: the state dict.
        conv: name of the convolution in it.
        norm: name of the BatchNorm after it, if there is one.
        stride, dilation: in pixels; a state dict does not hold them.

    Raises:
        KeyError: a tensor is missing.
        RefusedError: the weight is not that of a 2D convolution.
    """
    weight, bias = tensors[f"{conv}.weight"].float(), tensors.get(f"{conv}.bias")
    if weight.ndim != 4:
        raise RefusedError(f"its tensor {conv}.weight has shape {tuple(weight.shape)}")
    if norm is not None:
        scale = tensors[f"{norm}.weight"].float() * (tensors[f"{norm}.running_var"].float() + EPS).rsqrt()
        shift = tensors[f"{norm}.bias"].float() - tensors[f"{norm}.running_mean"].float() * scale
        weight = weight * scale[:, None, None, None]
        bias = shift if bias is None else bias.float() * scale + shift
    outputs, inputs, size, _ = weight.shape
    with torch.device("meta"):  # skips the random initialisation
        layer = nn.Conv2d(inputs, outputs, size, stride, dilation * (size // 2), dilation, bias=bias is not None)
    layer.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.float(), requires_grad=False)
    return layer


class Normalise(nn.Module):
    """Resizes pictures (B, 3, H, W) in [-1, 1] to a network's input size and normalises them.

    Args:
        size: height and width of the input, in pixels.
        mean, std: of each channel, for pictures in [0, 1].
        flip: whether the network expects the channels as blue, green, red.
    """

    def __init__(self, size: int, mean: tuple[float, ...], std: tuple[float, ...], *, flip: bool = False) -> None:
        super().__init__()
        self.size, self.flip = size, flip
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[-2:] != (self.size, self.size):
            image = nn.functional.interpolate(image, (self.size, self.size), mode="bilinear", antialias=True)
        x = ((image + 1) / 2 - self.mean) / self.std
        return (x.flip(1) if self.flip else x).contiguous(memory_format=torch.channels_last)


def run_on_shapes(network: Callable[[Tensor], Any], *size: int) -> Any:
    """Run a network once with shapes only: tensors that do not fit together raise, at no cost in memory."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # loads a good part of torch; shipped files need it not

    logging.getLogger(FakeTensorMode.__module__).disabled = True  # it writes a traceback before it raises
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        return network(torch.zeros(size))


def owned(module: Module) -> Module:
    """The module with copies of its tensors, made one by one: they outlive the file that they may be views of."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.clone()
    return module


def sharing(module: Module, **buffers: Tensor) -> Module:
    """A copy of a module that shares its tensors and submodules, except for the buffers passed here."""
    twin = copy.copy(module)
    twin._modules, twin._buffers = dict(module._modules), {**module._buffers, **buffers}
    return twin


def with_submodule(module: Module, path: str, part: nn.Module) -> Module:
    """A copy of a module with another submodule at a path such as "parts.8_conv0"; it shares all others."""
    twin = sharing(module)
    name, _, rest = path.partition(".")
    twin._modules[name] = with_submodule(module._modules[name], rest, part) if rest else part
    return twin
