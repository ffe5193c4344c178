"""Reads NVIDIA's `.pkl` networks as data, with an allow-list of names.

    file  -->  {"G_ema": module record, ...}  -->  tensors by name, plain attributes by module

NVIDIA's own loader runs source code from the file. This one builds records (class name, parameters, buffers,
attributes) and tensors, imports nothing, calls only the stand-ins below, and refuses all other names.
Format: `torch_utils/persistence.py` of StyleGAN2-ADA and StyleGAN3, as described in their public sources.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from lelsd_core.weights.torchfile import Bounded, RefusedError, fits, read_torch

NUMBER = re.compile(r"[<>|=]?[biuf?][1248]?")
UNUSED = (  # opcodes that make objects and that these files do not use
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX),
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID),
)
DEEPEST = 32  # levels of modules in modules


class Array:
    """A numpy array or dtype while it is unpickled; `value` is complete once its state was read."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def take(self, state: Any) -> None:
        """The state of an array (version, shape, dtype, order, bytes) or of a dtype (version, byte order, ...)."""
        if isinstance(self.value, np.dtype):
            self.value = self.value.newbyteorder(state[1]) if state[1] in ("<", ">") else self.value
            return
        _, shape, kind, fortran, data = state
        flat = np.frombuffer(data, kind.value)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def tensor(source: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A tensor that is a view of a storage."""
    numbers = source._untyped_storage  # the public attribute warns; these files hold typed storages
    fits(numbers.nbytes() // source.dtype.itemsize, offset, size, stride)
    return torch.tensor([], dtype=source.dtype).set_(numbers, offset, size, stride)


def dtype(code: str, *_: Any) -> Array:
    """A numpy dtype of plain numbers."""
    if not NUMBER.fullmatch(code):
        raise RefusedError(f"it holds numpy data of type {code!r}")
    return Array(np.dtype(code))


STAND_INS: dict[str, Callable[..., Any]] = {  # for every name that a file may use
    "torch_utils.persistence _reconstruct_persistent_obj": lambda meta: {"state": meta["state"]},  # no source code
    "torch.storage _load_from_bytes": lambda data: read_torch(io.BytesIO(data), len(data)),
    "torch._utils _rebuild_tensor_v2": tensor,
    "torch._utils _rebuild_parameter": lambda data, *_: data,
    "collections OrderedDict": OrderedDict,
    "dnnlib.util EasyDict": dict,
    "builtins set": set,
    "numpy dtype": dtype,
    "numpy ndarray": Array,
    "numpy.core.multiarray _reconstruct": lambda *_: Array(),
    "numpy.core.multiarray scalar": lambda kind, data: np.frombuffer(data, kind.value, count=1)[0].item(),
}


class Reader(pickle._Unpickler):  # the C unpickler allocates memory for any memo index in a file
    """Unpickles NVIDIA's networks and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("dnnlib.tflib"):
            raise RefusedError("it is a TensorFlow network of NVIDIA's, which its legacy.py turns into a PyTorch one")
        full_name = f"{module.replace('numpy._core.', 'numpy.core.')} {name}"  # numpy 2 and before
        if full_name not in STAND_INS:
            raise RefusedError(f"it names {module}.{name}, which no PyTorch network of NVIDIA's does")
        return STAND_INS[full_name]

    def reduce(self) -> None:
        """REDUCE: call one of the stand-ins."""
        arguments, function = self.stack.pop(), self.stack[-1]
        if not any(function is stand_in for stand_in in STAND_INS.values()):
            raise RefusedError("it calls something that is not a part of a network")
        self.stack[-1] = function(*arguments)

    def new(self) -> None:
        """NEWOBJ: an empty dict, OrderedDict or set."""
        arguments = self.stack.pop()
        if arguments or not any(self.stack[-1] is kind for kind in (dict, OrderedDict, set)):
            raise RefusedError("it makes an object that is not a part of a network")
        self.stack[-1] = self.stack[-1]()

    def build(self) -> None:
        """BUILD: the state of a numpy array or dtype; of nothing else."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Array):
            raise RefusedError("it sets the state of something that is not a part of a network")
        self.stack[-1].take(state)

    def refuse(self) -> None:
        """All other opcodes that make objects."""
        raise RefusedError("it makes objects in a way that no network of NVIDIA's does")

    dispatch = {  # noqa: RUF012, the standard library's own table
        **pickle._Unpickler.dispatch,
        **dict.fromkeys((code[0] for code in UNUSED), refuse),
        pickle.REDUCE[0]: reduce,
        pickle.NEWOBJ[0]: new,
        pickle.BUILD[0]: build,
    }


def read_nvidia(file: BinaryIO, length: int) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Tensors by name and attributes by module of the network "G_ema". Refused if the file is something else."""
    content = Reader(Bounded(file, length)).load()
    if not isinstance(content, dict) or not isinstance(content.get("G_ema"), dict) or "state" not in content["G_ema"]:
        raise RefusedError("it holds no network named G_ema")
    tensors: dict[str, Tensor] = {}
    attributes: dict[str, dict[str, Any]] = {}

    def collect(module: dict[str, Any], prefix: str, depth: int) -> None:
        if depth > DEEPEST:
            raise RefusedError("its modules are nested too deeply")
        state = module["state"]
        numbers = {**state["_parameters"], **state["_buffers"]}
        tensors.update({prefix + name: value for name, value in numbers.items() if isinstance(value, Tensor)})
        plain = {name: value for name, value in state.items() if not name.startswith("_")}
        plain = {name: value.value if isinstance(value, Array) else value for name, value in plain.items()}
        attributes[prefix.removesuffix(".")] = plain
        for name, inner in state["_modules"].items():
            collect(inner, f"{prefix}{name}.", depth + 1)

    collect(content["G_ema"], "", 0)
    return tensors, attributes
