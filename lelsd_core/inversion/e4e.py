"""e4e's encoder: IR-SE50, three sizes of its features, one small network for each row of W+.

    view (B, 3, 256, 256)  --body-->  features at 1/4, 1/8, 1/16  --styles-->  base row, offsets  -->  (B, L, 512)

Sources: Tov et al., "Designing an Encoder for StyleGAN Image Manipulation" (2021), state-dict layout of
omertov/encoder4editing; Deng et al., "ArcFace" (2019) for IR-50; Hu et al., "Squeeze-and-Excitation Networks" (2018).
Each BatchNorm after a convolution is folded into it; the one before a padded convolution cannot be.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.folding import EPS, fold

UNITS = (3, 4, 14, 3)  # residual units of each stage; the first one of a stage halves the size
TAPPED = (6, 20, 23)  # units whose features are read
FIRST_OF_SIZE = (3, 7)  # the first style that reads features twice, and four times as large
MARKER = "encoder.input_layer.0.weight"
Tensors = dict[str, Tensor]


class E4EEncoder(nn.Module):
    """Encoder4Editing, all offsets on.

    Args:
        tensors: the state dict below "encoder."; its larger part is taken out of it, so that it is not held twice.
    """

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        self.input = fold(tensors, "input_layer.0", "input_layer.1")
        self.register_buffer("input_slope", tensors["input_layer.2.weight"].float())
        strides = [stride for count in UNITS for stride in (2, *[1] * (count - 1))]
        self.body = nn.ModuleList(Unit(taken(tensors, f"body.{i}"), stride) for i, stride in enumerate(strides))
        self.lateral = nn.ModuleList(fold(tensors, f"latlayer{i}") for i in (1, 2))
        count = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("styles."))
        self.styles = nn.ModuleList(Style(taken(tensors, f"styles.{i}")) for i in range(count))

    def forward(self, view: Tensor) -> Tensor:
        """(B, 3, h, w) in [-1, 1] → (B, L, 512), to which the mean W is still to be added."""
        x = view.contiguous(memory_format=torch.channels_last)
        x = F.prelu(self.input(x), self.input_slope)
        tapped = []
        for i, unit in enumerate(self.body):
            x = unit(x)
            if i in TAPPED:
                tapped.append(x)
        fine, middle, features = tapped
        base = self.styles[0](features)
        rows = [base]
        for i, style in enumerate(self.styles[1:], 1):
            if i in FIRST_OF_SIZE:
                larger, lateral = ((middle, self.lateral[0]), (fine, self.lateral[1]))[FIRST_OF_SIZE.index(i)]
                features = enlarged(features, larger) + lateral(larger)
            rows.append(base + style(features))
        return torch.stack(rows, 1)


class Unit(nn.Module):
    """BatchNorm, convolution, PReLU, strided convolution, squeeze and excitation, added to a shortcut.

    Args:
        tensors: one "body.N" of the state dict.
        stride: of the second convolution and the shortcut.
    """

    def __init__(self, tensors: Tensors, stride: int) -> None:
        super().__init__()
        self.stride = stride
        scale = tensors["res_layer.0.weight"].float() * (tensors["res_layer.0.running_var"].float() + EPS).rsqrt()
        self.register_buffer("scale", scale[:, None, None])
        shift = tensors["res_layer.0.bias"].float() - tensors["res_layer.0.running_mean"].float() * scale
        self.register_buffer("shift", shift[:, None, None])
        self.first = fold(tensors, "res_layer.1")
        self.register_buffer("slope", tensors["res_layer.2.weight"].float())
        self.second = fold(tensors, "res_layer.3", "res_layer.4", stride=stride)
        self.squeeze = fold(tensors, "res_layer.5.fc1")
        self.excite = fold(tensors, "res_layer.5.fc2")
        changes = "shortcut_layer.0.weight" in tensors
        self.shortcut = fold(tensors, "shortcut_layer.0", "shortcut_layer.1", stride=stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) → (B, O, H / stride, W / stride)."""
        y = F.prelu(self.first(torch.addcmul(self.shift, x, self.scale)), self.slope)
        y = self.second(y)
        gate = self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        beside = x[..., :: self.stride, :: self.stride] if self.shortcut is None else self.shortcut(x)
        return torch.addcmul(beside, y, gate)


class Style(nn.Module):
    """Strided convolutions down to one pixel, then a linear map: features (B, 512, h, w) → a row (B, 512)."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        numbers = sorted(int(name.split(".")[1]) for name in tensors if re.fullmatch(r"convs\.\d+\.weight", name))
        self.convolutions = nn.ModuleList(fold(tensors, f"convs.{number}", stride=2) for number in numbers)
        weight = tensors["linear.weight"].float()  # stored under equalised learning rate
        self.register_buffer("weight", weight * weight.shape[1] ** -0.5)
        self.register_buffer("bias", tensors["linear.bias"].float())

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = F.leaky_relu_(convolution(x), 0.01)
        return F.linear(x.flatten(1), self.weight, self.bias)


def taken(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors below a prefix, which is cut off; they are taken out of where they were."""
    names = [name for name in tensors if name.startswith(f"{prefix}.")]
    return {name[len(prefix) + 1 :]: tensors.pop(name) for name in names}


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    """x at the size of another map, corners on corners."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)
