"""Reads files of `torch.save` as data: sizes are checked first, then `torch.load(weights_only=True)`.

    file  --container and declared sizes checked, nothing built-->  torch.load  -->  plain objects, tensors

`weights_only` executes nothing from a file, but it trusts the sizes that a file declares. The dry run here reads the
same pickle with inert stand-ins and compares every declared storage and tensor with the bytes of the file.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from lelsd_core.errors import UserError

LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")  # a pickled number: files of torch before 1.6 begin with it
ITEM_SIZES = {
    f"{name}Storage": size
    for size, names in {1: "Byte Char Bool Untyped", 2: "Half BFloat16 Short", 4: "Float Int", 8: "Double Long"}.items()
    for name in names.split()
}


class RefusedError(Exception):
    """A file that is not read; the text says why."""


@contextmanager
def as_user_error(name: str, expected: str) -> Iterator[None]:
    """Turn every exception while a file is read into a UserError with its name and what was expected."""
    try:
        yield
    except UserError:
        raise
    except RefusedError as problem:
        raise UserError(f"{name} was refused because {problem}; {expected}.") from None
    except Exception as problem:  # a damaged file can break a reader anywhere
        reason = " ".join(str(problem).split())[:120]
        kind = type(problem).__name__
        raise UserError(f"{name} is damaged, incomplete or foreign ({kind}: {reason}); {expected}.") from None


def run_on_shapes(network: Callable[[torch.Tensor], Any], *size: int) -> Any:
    """Run a network once with shapes only: tensors that do not fit together raise, at no cost in memory."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # loads a good part of torch; shipped files need it not

    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        return network(torch.zeros(size))


def is_torch_file(start: bytes) -> bool:
    """Whether a file that starts with these bytes was written by `torch.save`."""
    return start.startswith(b"PK\x03\x04") or LEGACY_MAGIC in start[:32]


def read_torch(file: BinaryIO, length: int, *, mapped: Path | None = None) -> Any:
    """The object in a file that `torch.save` wrote.

    Args:
        file: file or buffer.
        length: its bytes.
        mapped: path of the same file, to map its tensors instead of reading them: only those that are used take memory,
            and those that outlive the file must be copied. Files of torch before 1.6 are always read as a whole.

    Raises:
        RefusedError: sizes or types are wrong.
    """
    file.seek(0)
    legacy = not file.read(4).startswith(b"PK\x03\x04")
    file.seek(0)
    (measure_legacy if legacy else measure_zip)(file, length)
    file.seek(0)
    if mapped is not None and not legacy:
        return torch.load(mapped, map_location="cpu", weights_only=True, mmap=True)
    return torch.load(file, map_location="cpu", weights_only=True)


def measure_zip(file: BinaryIO, length: int) -> None:
    """Refuse compressed archives, TorchScript, and storages or tensors larger than their bytes."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1 or any(name.split("/")[1:2] == ["code"] for name in entries):
            raise RefusedError("it is an archive, but not of weights")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise RefusedError("its parts are compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries.values()) > length:
            raise RefusedError("its parts are larger than the file")
        folder = pickles[0].removesuffix("data.pkl") + "data/"

        def bytes_of(key: str) -> int:
            return entries[folder + key].file_size if folder + key in entries else 0

        DryRun(io.BytesIO(archive.read(pickles[0])), bytes_of).load()


def measure_legacy(file: BinaryIO, length: int) -> None:
    """Refuse a pre-1.6 file whose storages or tensors are larger than the file."""
    run = DryRun(Bounded(file, length), lambda _: length)
    for _ in range(4):  # magic number, protocol, system, content
        run.load()
    if run.total > length:
        raise RefusedError("its tensors are larger than the file")


class Bounded:
    """A file for an unpickler that allocates no more memory than the file has bytes, whatever a pickle declares."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self.file, self.length = file, length
        self.readline = file.readline

    def read(self, count: int = -1) -> bytes:
        """At most the bytes of the file."""
        return self.file.read(min(count, self.length))


class DryRun(pickle._Unpickler):  # the C unpickler allocates memory for any memo index in a file; this one does not
    """Reads a pickle with inert stand-ins and checks the sizes that it declares."""

    def __init__(self, file: BinaryIO | Bounded, bytes_of: Callable[[str], int]) -> None:
        super().__init__(file)
        self.bytes_of = bytes_of  # bytes that the file holds for a storage's key
        self.total = 0

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return check_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if module in ("torch", "torch.storage") and name in ITEM_SIZES:
            return name
        return type("Inert", (Inert,), {})  # a fresh class each time, so that a file can change none of ours

    def ignore_state(self) -> None:
        """BUILD: no state is set on anything."""
        self.stack.pop()

    dispatch = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: ignore_state}  # noqa: RUF012, as in the parent

    def persistent_load(self, pid: Any) -> Inert:
        kind, storage, key, _, count = pid[:5]
        if kind != "storage" or storage not in ITEM_SIZES or not isinstance(count, int) or count < 0:
            raise RefusedError("it names a storage of an unknown kind")
        needed = count * ITEM_SIZES[storage]
        if needed > self.bytes_of(str(key)):
            raise RefusedError(f"a tensor of {needed} bytes is declared, and the file holds fewer")
        self.total += needed
        return Inert(count)


class Inert(dict):
    """Stands in for any object: ignores every argument, but for the length of a storage."""

    def __init__(self, *arguments: Any, **_: Any) -> None:
        super().__init__()
        self.length = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], int) else 0

    def append(self, _: Any) -> None:
        """Nothing."""

    add = append

    def extend(self, _: Any) -> None:
        """Nothing."""


def check_tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Inert:
    """Refuse a tensor that reaches past its storage or repeats it."""
    fits(getattr(storage, "length", 0), offset, size, stride)
    return Inert()


def fits(length: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
    """Refuse a view (size, stride) from `offset` that reaches past `length` numbers or holds more than those."""
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > 8 or not all(type(n) is int and n >= 0 for n in numbers):
        raise RefusedError("a tensor has an impossible shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > length or (math.prod(size) and last >= length):
        raise RefusedError(f"a tensor of shape {tuple(size)} is declared, and the file holds fewer numbers")
