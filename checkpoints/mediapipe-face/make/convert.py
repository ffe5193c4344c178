"""Make detector.safetensors and mesh.safetensors from the wheel of PyPI's mediapipe 0.10.14.

    pip install flatbuffers tflite        (tools for making, not requirements)
    pip download --no-deps --only-binary :all: --platform manylinux2014_x86_64 --python-version 3.11 mediapipe==0.10.14
    python checkpoints/mediapipe-face/make/convert.py mediapipe-0.10.14-*.whl

The wheel's two files are read as data (flatbuffers) and checked against their SHA-256. A layer's weights are found by
walking back from each output of the graph to its input: the order of the network's own parameters.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import tflite
import torch
from flatbuffers import flexbuffers
from torch import Tensor, nn

from lelsd_core.faces.blaze import BlazeFace
from lelsd_core.faces.landmarks import FaceMesh
from lelsd_core.weights.safetensors import write_safetensors

HERE = Path(__file__).resolve().parents[1]
DETECTOR = "mediapipe/modules/face_detection/face_detection_short_range.tflite"
MESH = "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite"
SHA256 = {
    DETECTOR: "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    MESH: "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
}
TRAINING_DATA = {
    "detector": "66,000 photos of Google's, not published",
    "mesh": "about 30,000 photos of Google's from mobile cameras, not published",
}
OPERATORS = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}


class Graph:
    """A file's operators, and the constants among its tensors."""

    def __init__(self, content: bytes) -> None:
        self.model = tflite.Model.GetRootAsModel(content, 0)
        self.graph = self.model.Subgraphs(0)
        operators = [self.graph.Operators(i) for i in range(self.graph.OperatorsLength())]
        self.maker = {out: operator for operator in operators for out in operator.OutputsAsNumpy()}
        self.outputs = {self.graph.Tensors(i).Name().decode(): i for i in self.graph.OutputsAsNumpy()}

    def kind(self, tensor: int) -> str:
        """The name of the operator that makes a tensor, "" for what comes in."""
        if tensor not in self.maker:
            return ""
        code = self.model.OperatorCodes(self.maker[tensor].OpcodeIndex())
        return (code.CustomCode() or OPERATORS[code.DeprecatedBuiltinCode()].encode()).decode()

    def constant(self, tensor: int) -> np.ndarray:
        """Weights (float16 in the file) in PyTorch's order: outputs, inputs, height, width."""
        stored = self.graph.Tensors(self.maker[tensor].Inputs(0))
        numbers = np.frombuffer(self.model.Buffers(stored.Buffer()).DataAsNumpy().tobytes(), np.float16)
        return numbers.reshape(stored.ShapeAsNumpy())

    def layers(self, tensor: int) -> tuple[list[np.ndarray], int]:
        """Weights of all layers before a tensor, first to last, along the convolutions; and where they start."""
        found: list[np.ndarray] = []
        while (kind := self.kind(tensor)) not in ("", "TransformTensorBilinear"):
            inputs = self.maker[tensor].InputsAsNumpy()
            tensor = inputs[0]
            if kind == "CONV_2D":
                found[:0] = [self.constant(inputs[1]).transpose(0, 3, 1, 2), self.constant(inputs[2])]
            elif kind == "DEPTHWISE_CONV_2D":
                found[:0] = [self.constant(inputs[1]).transpose(3, 0, 1, 2), self.constant(inputs[2])]
            elif kind == "PRELU":
                found[:0] = [self.constant(inputs[1]).ravel()]
            elif kind == "ADD":
                tensor = next(i for i in inputs if self.kind(i) == "CONV_2D")
        return found, tensor

    def region(self, start: int) -> dict[str, object]:
        """What the region that starts at a tensor is cut out around."""
        matrix = self.maker[self.maker[start].Inputs(1)]
        return flexbuffers.Loads(matrix.CustomOptionsAsNumpy().tobytes())


def fill(modules: list[nn.Module], layers: list[np.ndarray]) -> None:
    """Put layers into the parameters of modules, in their order."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    for parameter, layer in zip(parameters, layers, strict=True):
        assert parameter.shape == layer.shape, (parameter.shape, layer.shape)
        parameter.data = torch.from_numpy(layer.astype(np.float32))


def detector(graph: Graph) -> BlazeFace:
    """The detector's network."""
    network = BlazeFace()
    for output, heads in (
        ("classificators", (network.near_scores, network.far_scores)),
        ("regressors", (network.near_guesses, network.far_guesses)),
    ):
        near, far = graph.maker[graph.outputs[output]].InputsAsNumpy()
        fill([network.enter, network.near, heads[0]], graph.layers(near)[0])
        fill([network.enter, network.near, network.far, heads[1]], graph.layers(far)[0])
    return network


def mesh(graph: Graph) -> FaceMesh:
    """The network of the points."""
    network = FaceMesh()
    body = [network.enter, network.early, network.body, network.neck]
    fill([*body, network.head], graph.layers(graph.outputs["output_mesh_identity"])[0])
    fill([*body, network.sure], graph.layers(graph.outputs["conv_faceflag"])[0])
    for name in ("lips", "left_iris", "right_iris"):
        region = getattr(network, name)
        layers, start = graph.layers(graph.outputs[f"output_{name}"])
        fill([region.body, region.neck, region.head], layers)
        options = graph.region(start)
        region.around.copy_(torch.tensor(options["subset_idxs"]))
        region.ends.copy_(torch.tensor([options["left_rotation_idx"], options["right_rotation_idx"]]))
    return network


def stored(network: nn.Module) -> dict[str, Tensor]:
    """Its tensors as they came: float16, and whole numbers."""
    return {k: v.half() if v.is_floating_point() else v.short() for k, v in network.state_dict().items()}


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in SHA256}
    for name, content in files.items():
        if (found := hashlib.sha256(content).hexdigest()) != SHA256[name]:
            raise SystemExit(f"{name} has SHA-256 {found}, expected {SHA256[name]}")
    for file, network, name in (("detector", detector, DETECTOR), ("mesh", mesh, MESH)):
        facts = {
            "kind": f"face-{file}",
            "source": f"PyPI mediapipe 0.10.14, {name}",
            "source_sha256": SHA256[name],
            "licence": "Apache-2.0, The MediaPipe Authors",
            "training_data": TRAINING_DATA[file],
        }
        write_safetensors(HERE / f"{file}.safetensors", stored(network(Graph(files[name]))), facts)


if __name__ == "__main__":
    main(sys.argv[1])
