"""e4e's encoder: an IR-SE50 body, and one small network per row of W+ that reads its features at three sizes.

    view (B, 3, 256, 256)  --body-->  features at 1/4, 1/8, 1/16  --styles-->  base row + offsets (B, L, 512)

Sources: Tov et al., "Designing an Encoder for StyleGAN Image Manipulation" (2021), state-dict layout of
omertov/encoder4editing; Deng et al., "ArcFace" (2019) for IR-50; Hu et al., "Squeeze-and-Excitation Networks" (2018).
Each BatchNorm after a convolution is folded into it; the one before a padded convolution cannot be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import RefusedError, printable, reading
from lelsd_core.generators import Generator
from lelsd_core.generators.base import below
from lelsd_core.networks import EPS, fold, owned, run_on_shapes
from lelsd_core.weights.checkpoints import Options, build_generator, to_checkpoint
from lelsd_core.weights.layouts import describe_foreign, fields_of, find_network
from lelsd_core.weights.pickles import read_pickled

UNITS = (3, 4, 14, 3)  # residual units of each stage; the first unit of a stage halves the size
TAPPED = (6, 20, 23)  # units whose outputs the styles read
FIRST_OF_SIZE = (3, 7)  # the first style that reads features of twice, and of four times the size
MARKER = "encoder.input_layer.0.weight"
Tensors = dict[str, Tensor]


class E4EEncoder(nn.Module):
    """Encoder4Editing with all offsets, from the state dict below "encoder."."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        self.input = fold(tensors, "input_layer.0", "input_layer.1")
        self.register_buffer("input_slope", tensors["input_layer.2.weight"].float())
        strides = [stride for count in UNITS for stride in (2, *[1] * (count - 1))]
        self.body = nn.ModuleList(Unit(below(tensors, f"body.{i}"), stride) for i, stride in enumerate(strides))
        self.lateral = nn.ModuleList(fold(tensors, f"latlayer{i}") for i in (1, 2))
        count = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("styles."))
        self.styles = nn.ModuleList(Style(below(tensors, f"styles.{i}")) for i in range(count))

    def forward(self, view: Tensor) -> Tensor:
        """(B, 3, h, w) in [-1, 1] → (B, L, 512), offsets from the mean W."""
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
                size = larger.shape[-2:]
                features = F.interpolate(features, size, mode="bilinear", align_corners=True) + lateral(larger)
            rows.append(base + style(features))
        return torch.stack(rows, 1)


class Unit(nn.Module):
    """Residual unit: BatchNorm, convolution, PReLU, strided convolution, squeeze and excitation, plus a shortcut.

    `tensors` are one "body.N" of the state dict; `stride` is that of the second convolution and the shortcut.
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
        has_layer = "shortcut_layer.0.weight" in tensors
        self.shortcut = fold(tensors, "shortcut_layer.0", "shortcut_layer.1", stride=stride) if has_layer else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) → (B, O, H / stride, W / stride)."""
        y = F.prelu(self.first(torch.addcmul(self.shift, x, self.scale)), self.slope)
        y = self.second(y)
        gate = self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        shortcut = x[..., :: self.stride, :: self.stride] if self.shortcut is None else self.shortcut(x)
        return torch.addcmul(shortcut, y, gate)


class Style(nn.Module):
    """Strided convolutions down to one pixel, then a linear map: features (B, 512, h, w) → a row (B, 512)."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        numbers = sorted(int(name.split(".")[1]) for name in tensors if re.fullmatch(r"convs\.\d+\.weight", name))
        self.convolutions = nn.ModuleList(fold(tensors, f"convs.{number}", stride=2) for number in numbers)
        weight = tensors["linear.weight"].float()  # stored for an equalised learning rate
        self.register_buffer("weight", weight * weight.shape[1] ** -0.5)
        self.register_buffer("bias", tensors["linear.bias"].float())

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = F.leaky_relu_(convolution(x), 0.01)
        return F.linear(x.flatten(1), self.weight, self.bias)


EXPECTED = "an e4e file was expected, such as e4e_ffhq_encode.pt"
SQUARE, CAR = (256, 256), (192, 256)  # height and width of the pictures that the encoders were trained with
CAR_ROWS = 16  # rows of W+ in the published encoder for cars, should its file not say what it was trained with


@dataclass(frozen=True, eq=False)
class E4EFile:
    """What an e4e file holds."""

    encoder: E4EEncoder  # in eval mode, on the CPU
    mean: Tensor  # (L, 512), to be added to the encoder's rows
    view: tuple[int, int]  # height and width of the pictures that it expects
    generator: Generator | None  # the StyleGAN2 in the file, without a name; None if it was not requested


def read_e4e(path: Path, *, generator: bool = True) -> E4EFile:
    """Read a file of encoder4editing, with or without the generator in it; memory stays near the file's size.

    Raises:
        UserError: damaged, foreign, another kind of encoder, or tensors that do not fit together.
    """
    with reading(path.name, EXPECTED):
        content = read_pickled(path)
        found = find_network(content, [MARKER])
        if found is None:
            raise RefusedError(describe_foreign(content, "encoder"))
        fields = fields_of(content)
        options, mean = fields_of(fields.get("opts")), fields.get("latent_avg")
        kind = options.get("encoder_type", "Encoder4Editing")  # pSp's and ReStyle's have tensors of the same names
        if kind != "Encoder4Editing":
            raise RefusedError(f"its encoder is a {printable(kind)}, not e4e's Encoder4Editing")
        network = owned(E4EEncoder(below(found.tensors, "encoder")).eval())
        decoder = build_generator(to_checkpoint(content, path), Options()) if generator else None
        rows, domain = len(network.styles), options.get("dataset_type")
        view = CAR if (rows == CAR_ROWS if domain is None else "car" in str(domain)) else SQUARE
        run_on_shapes(network, 1, 3, *view)
        if not isinstance(mean, Tensor) and decoder is not None:
            mean = decoder.mean
        if not isinstance(mean, Tensor):
            raise RefusedError("it holds no latent_avg")
        mean = mean.float().reshape(-1, mean.shape[-1])
        if len(mean) not in (1, rows):
            raise RefusedError(f"its mean W is of another shape, {tuple(mean.shape)}, than its encoder's {rows} rows")
        return E4EFile(network, mean.expand(rows, -1).clone(), view, decoder)
