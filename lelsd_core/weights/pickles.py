"""Reads everything that is pickled as data: both formats of `torch.save`, NVIDIA's networks, arrays of numpy.

    file  --mapped into memory-->  Reader  -->  dicts, lists, numbers, text, Tensor, Array, and Unknown for all else

A pickle is a program that names functions and calls them. Here no name is looked up and nothing is imported: the names
of `BUILDERS` stand for functions below, which rebuild tensors, arrays and dicts after checking their sizes. All other
names stand for themselves, and calling one yields an `Unknown`, which keeps what the file says of the object and does
nothing. So options, optimizers and whole networks of any class may lie beside the tensors, and none of them acts.

Formats: the standard library's pickletools; torch's serialization.py; torch_utils/persistence.py of StyleGAN2-ADA.
"""

from __future__ import annotations

import math
import mmap
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from lelsd_core.errors import RefusedError

ZIP = b"PK\x03\x04"
LEGACY = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")  # a pickled number: files of torch before 1.6 begin with it
PICKLE = re.compile(rb"\x80[\x02-\x05]|\([ld]p\d*\n|[]}]q|c[\w.]+\n\w+\n")  # protocols before 2 have no mark
LARGE = 2**16  # bytes from which a stretch of a file is a view of it instead of a copy
NUMBER = re.compile(r"[<>|=]?[biuf?][1248]?")  # numpy's types of plain numbers
TYPES = {  # by the name of a storage's class, without "Storage"
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "Untyped": torch.uint8,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "QInt8": torch.int8,
    "QUInt8": torch.uint8,
    "QInt32": torch.int32,
}


class Unknown:
    """An object of a class that is not imported, or the class itself: a record of what the file says of it."""

    def __init__(self, name: str, arguments: Any = ()) -> None:
        self.name = name  # "argparse.Namespace"
        self.arguments = arguments  # that it would be made with
        self.state: Any = None  # its attributes, as a rule
        self.items: dict[Any, Any] = {}  # where it is a kind of dict

    def __repr__(self) -> str:
        return f"<unknown {self.name}>"

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, value: Any) -> None:
        """Nothing: the elements of unknown lists and sets are not kept."""

    add = extend = append


class Array:
    """A numpy array, or its dtype; `value` is whole once its state was read, and None for arrays of other things."""

    def __init__(self, value: np.ndarray | np.dtype | None = None) -> None:
        self.value = value

    def take(self, state: Any) -> None:
        """The state of an array (version, shape, dtype, order, bytes) or of a dtype (version, byte order, ...)."""
        if isinstance(self.value, np.dtype):
            self.value = self.value.newbyteorder(state[1]) if state[1] in ("<", ">") else self.value
        else:
            _, shape, kind, fortran, data = state
            self.value = array(data, kind, shape, "F" if fortran else "C").value


@dataclass(frozen=True, eq=False)
class Storage:
    """The numbers that tensors are views of (N,)."""

    numbers: Tensor

    @classmethod
    def of(cls, content: Tensor, kind: torch.dtype) -> Storage:
        """Bytes (N · size,) uint8 as numbers of a type; they are copied only if they begin at an odd place."""
        return cls((content.clone() if content.data_ptr() % kind.itemsize else content).view(kind))


def tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor | Unknown:
    """A view of a storage. Refused if it reaches past its storage or repeats it."""
    if not isinstance(storage, Storage):
        return Unknown("torch.Tensor")
    length, numbers = len(storage.numbers), (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > 8 or not all(type(n) is int and n >= 0 for n in numbers):
        raise RefusedError("a tensor has an impossible shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > length or (math.prod(size) and last >= length):
        raise RefusedError(f"a tensor of shape {tuple(size)} is declared, and the file holds fewer numbers")
    return torch.empty(0, dtype=storage.numbers.dtype).set_(storage.numbers.untyped_storage(), offset, size, stride)


def first(value: Any, *_: Any) -> Any:
    """A parameter is its tensor."""
    return value


def subclassed(build: Any, _: Any, arguments: Any, *__: Any) -> Any:
    """A tensor with attributes, or of a subclass, without them."""
    return build(*arguments) if build is tensor else Unknown("torch.Tensor")


def dtype(code: str, *_: Any) -> Array | Unknown:
    """A numpy dtype of plain numbers."""
    return Array(np.dtype(code)) if NUMBER.fullmatch(code) else Unknown("numpy.dtype")


def array(data: Any, kind: Any, shape: Any, order: str = "C") -> Array:
    """A numpy array of plain numbers; others, as of objects, hold none."""
    if not isinstance(kind, Array):
        return Array()
    return Array(np.frombuffer(raw(data), kind.value).reshape(shape, order=order))


def scalar(kind: Any, data: Any = b"") -> Any:
    """A numpy scalar as a number of Python's."""
    if not isinstance(kind, Array):
        return Unknown("numpy.generic")
    return np.frombuffer(raw(data), kind.value, count=1)[0].item()


def raw(data: Any) -> Any:
    """Bytes, which Python 2 wrote as text."""
    return data.encode("latin1") if isinstance(data, str) else data


def persistent(meta: Mapping[str, Any]) -> Unknown:
    """One of NVIDIA's persistent objects, without the source code that comes with it."""
    found = Unknown(str(meta.get("class_name")))
    found.state = meta["state"]
    return found


def plain_dict(pairs: Any = ()) -> dict[Any, Any]:
    """An ordinary dict in place of an ordered one."""
    return dict(pairs)


BUILDERS: dict[str, Callable[..., Any]] = {  # what a file may call, by the name that it has there
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_parameter": first,
    "torch._utils._rebuild_parameter_with_state": first,
    "torch._tensor._rebuild_from_type_v2": subclassed,
    "torch.storage._load_from_bytes": lambda data: read_stream(memoryview(data)),
    "torch_utils.persistence._reconstruct_persistent_obj": persistent,
    "collections.OrderedDict": plain_dict,
    "dnnlib.util.EasyDict": plain_dict,
    "easydict.EasyDict": plain_dict,
    "builtins.set": lambda values=(): set(values),
    "_codecs.encode": lambda text, *_: raw(text),
    "numpy.dtype": dtype,
    "numpy.ndarray": lambda *_: Array(),
    "numpy.core.multiarray._reconstruct": lambda *_: Array(),
    "numpy.core.multiarray.scalar": scalar,
    "numpy.core.numeric._frombuffer": array,
}


class Buffer:
    """A file for an unpickler; long stretches of it are views, which take no memory, whatever length is declared."""

    def __init__(self, content: memoryview) -> None:
        self.content, self.place = content, 0

    def read(self, count: int) -> bytes | memoryview:
        """The next bytes, at most as many as there are."""
        found = self.content[self.place : self.place + count]
        self.place += len(found)
        return found if len(found) > LARGE else bytes(found)

    def readline(self) -> bytes:
        """The rest of the line, with its end."""
        size = 128
        while not (end := bytes(self.content[self.place : self.place + size]).find(b"\n") + 1):
            if self.place + size >= len(self.content):
                break
            size *= 2
        return bytes(self.read(end or size))


class Reader(pickle._Unpickler):  # the C unpickler allocates memory for any memo index in a file; this one does not
    """Unpickles data.

    Args:
        file: the pickle.
        storage: (key, type, count) → the numbers of a tensor, which torch keeps outside of the pickle.
    """

    def __init__(self, file: Buffer, storage: Callable[[str, torch.dtype, int], Storage] | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        kind = name.removesuffix("Storage")
        if module.partition(".")[0] == "torch" and kind != name and kind in TYPES:
            return TYPES[kind]
        module = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        return BUILDERS.get(f"{module}.{name}") or Unknown(f"{module}.{name}")

    def persistent_load(self, key: Any) -> Any:
        if not isinstance(key, tuple) or key[0] != "storage" or not isinstance(key[1], torch.dtype) or not self.storage:
            return Unknown("persistent object")
        _, kind, name, _, count, *view = key
        if not isinstance(count, int) or count < 0 or any(view):
            raise RefusedError("it names a storage of an unknown kind")
        return self.storage(str(name), kind, count)

    def call(self, function: Any, arguments: Any) -> Any:
        """One of `BUILDERS` is called; everything else becomes a record."""
        if isinstance(function, FunctionType):  # nothing but `find_class` puts functions on the stack
            return function(*arguments)
        return Unknown(function.name if isinstance(function, Unknown) else "unknown", arguments)

    def reduce(self) -> None:
        """REDUCE, NEWOBJ: function, arguments → object."""
        arguments = self.stack.pop()
        self.stack[-1] = self.call(self.stack[-1], arguments)

    def reduce_with_keywords(self) -> None:
        """NEWOBJ_EX: function, arguments, keywords → object; keywords are left out."""
        self.stack.pop()
        self.reduce()

    def _instantiate(self, function: Any, arguments: Any) -> None:  # INST and OBJ
        self.append(self.call(function, arguments))

    def build(self) -> None:
        """BUILD: object, state → object. Attributes are set on nothing."""
        state, found = self.stack.pop(), self.stack[-1]
        if isinstance(found, Unknown):
            found.state = state
        elif isinstance(found, Array):
            found.take(state)

    def byte_array(self) -> None:
        """BYTEARRAY8: as many bytes as there are, where the original allocates as many as are declared."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def get_extension(self, code: int) -> None:  # EXT1, EXT2, EXT4: names that a program has registered
        self.append(Unknown(f"extension {code}"))

    def _decode_string(self, value: bytes | memoryview) -> str:
        return bytes(value).decode("latin1")

    dispatch = {  # noqa: RUF012, the standard library's own table
        **pickle._Unpickler.dispatch,
        pickle.REDUCE[0]: reduce,
        pickle.NEWOBJ[0]: reduce,
        pickle.NEWOBJ_EX[0]: reduce_with_keywords,
        pickle.BUILD[0]: build,
        pickle.BYTEARRAY8[0]: byte_array,
    }


STARTS = {  # how files begin, and what they are
    b"": "an empty file",
    b"<": "a web page, perhaps of a failed download",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"\x89HDF": "a Keras or HDF5 file",
    b"\x93NUMPY": "a numpy array",
    b"GGUF": "a language model",
    b"\x08": "an ONNX model",
    ZIP: "a file of torch.save, or another archive",
    b"\x80": "a pickled file, as of torch.save",
}


def describe_start(path: Path) -> str:
    """What kind of file begins as this one does."""
    with open(path, "rb") as file:
        start = file.read(32)
    kinds = (kind for magic, kind in STARTS.items() if (start.startswith(magic) if magic else not start))
    return next(kinds, "a file of an unknown kind")


def read_pickled(path: Path) -> Any:
    """What a file holds, as data: dicts, lists, numbers, text, tensors, `Array` and `Unknown`.

    Tensors are views of the file, read when they are used; those that outlive it must be copied.

    Raises:
        RefusedError: it is not pickled, or it declares more than it holds.
        Exception: of any kind, if it is damaged.
    """
    with open(path, "rb") as file:
        start = file.read(512)
        if not (start.startswith(ZIP) or PICKLE.match(start)):
            raise RefusedError(f"it is {describe_start(path)}")
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        return read_zip(file, content) if content[:4] == ZIP else read_stream(content)


def read_zip(file: BinaryIO, content: memoryview) -> Any:
    """What `torch.save` has written since torch 1.6: an archive of a pickle and the storages, uncompressed."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.split("/")[1:] == ["data.pkl"]]
    if any(name.split("/")[1:2] == ["code"] for name in entries):
        raise RefusedError("it is a TorchScript program, not weights")
    if len(pickles) != 1:
        raise RefusedError("it is an archive, but not of weights")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise RefusedError("its parts are compressed, which torch.save never does")
    folder = pickles[0].removesuffix("data.pkl") + "data/"

    def part(name: str) -> memoryview:
        start, size = entries[name].header_offset + 30, entries[name].file_size
        start += sum(int.from_bytes(content[start - at : start - at + 2], "little") for at in (4, 2))  # name, extra
        return content[start : start + size]

    def storage(key: str, kind: torch.dtype, count: int) -> Storage:
        found, needed = part(folder + key) if folder + key in entries else b"", count * kind.itemsize
        if needed > len(found):
            raise RefusedError(f"a tensor of {needed} bytes is declared, and the file holds fewer")
        if not needed:
            return Storage(torch.empty(0, dtype=kind))
        return Storage.of(torch.frombuffer(found[:needed], dtype=torch.uint8), kind)

    return Reader(Buffer(part(pickles[0])), storage).load()


def read_stream(content: memoryview) -> Any:
    """A pickle, or what `torch.save` wrote before torch 1.6: five pickles, then the storages."""
    file, storages, total = Buffer(content), {}, 0
    found = Reader(file).load()
    if LEGACY not in bytes(content[:32]):
        return found

    def storage(key: str, kind: torch.dtype, count: int) -> Storage:
        nonlocal total
        if key not in storages:
            total += count * kind.itemsize
            if total > len(content):
                raise RefusedError(f"tensors of {total} bytes are declared, and the file holds fewer")
            storages[key] = Storage(torch.empty(count, dtype=kind))
        return storages[key]

    for _ in range(2):  # version of the protocol, facts of the system
        Reader(file).load()
    found = Reader(file, storage).load()
    keys = Reader(file).load()
    if set(keys) != set(storages):
        raise RefusedError("it lacks some of its tensors' numbers")
    for key in keys:
        numbers = storages[key].numbers
        file.read(8)  # their count, once more
        numbers.view(torch.uint8).numpy()[:] = np.frombuffer(file.read(numbers.nbytes), np.uint8)
    return found
