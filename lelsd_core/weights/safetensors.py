"""Reading and writing weights as data: safetensors with a self-describing header, nothing executed.

{name: Tensor} + {fact: value}  <-->  FILE.safetensors   (facts as JSON under the header key "lelsd")
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lelsd_core.errors import UserError, printable
from lelsd_core.weights.pickles import describe_start

Network = TypeVar("Network", bound=nn.Module)
HEADER = "lelsd"
HINTS = {"direction": "; others' directions are imported with: python -m lelsd_core directions import"}
LONGEST_HEADER = 4 * 2**20  # bytes; the largest of these files, a StyleGAN3, needs 10 kB


def read_safetensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of one of this project's files.

    Args:
        path: the file.
        kind: what the file must say it is: "generator", "segmenter", "encoder", "face-detector",
            "face-mesh", "face-identity", "direction".

    Returns:
        Tensors by name, on the CPU, and the facts of the header. Those of a variant, which names a base, are as they
        are stored, see `unpacked`.

    Raises:
        UserError: missing, unreadable or truncated file, or a file of another kind.
    """
    path, expected = Path(path), with_article(kind)
    if not path.is_file():
        found = f"{path} is a folder" if path.is_dir() else f"There is no file {path}"
        raise UserError(f"{found}; {expected} in safetensors format was expected.")
    if not is_safetensors(path):
        raise UserError(f"{path.name} is {describe_start(path)}, not {expected} of this project{HINTS.get(kind, '')}.")
    try:
        tensors, facts = read_any_safetensors(path)
        if facts and "base" not in facts:
            tensors = unpacked(tensors, {})
    except (SafetensorError, OSError, json.JSONDecodeError, RecursionError, KeyError, RuntimeError):
        raise UserError(
            f"{path.name} is damaged or cut short; {expected} in safetensors format was expected."
        ) from None
    if facts is None:
        raise UserError(f"{path.name} is a safetensors file of another project, not {expected} of this one.")
    if facts.get("kind") != kind:
        actual = with_article(printable(facts.get("kind")))
        raise UserError(f"{path.name} is {actual} of this project, not {expected}.")
    return tensors, facts


def read_any_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Tensors by name of any safetensors file, and the facts in its header if it is one of this project's."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(LONGEST_HEADER, path.stat().st_size - 8):  # checked before it is read
        raise UserError(f"{path.name} is damaged or cut short: its header would be {length} bytes long.")
    with safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {}).get(HEADER, "null"))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    return tensors, facts if isinstance(facts, dict) else None


def unpacked(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of a network.

    Args:
        tensors: as they are, or as "NAME.change" (whole numbers) and "NAME.scale" (rows, 1, ...): their product is the
            tensor, or its difference from the base's.
        base: tensors of the network that it is a variant of, or none.
    """
    whole = dict(base)
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        if kind == "change":
            change = tensor.float() * tensors[f"{stem}.scale"]
            whole[stem] = whole[stem].float() + change if base else change
        elif f"{stem}.change" not in tensors:
            whole[name] = tensor
    return whole


def with_article(noun: str) -> str:
    """ "a generator", "an encoder"."""
    return f"{'an' if noun[:1] in set('aeiou') else 'a'} {noun}"


def load_tensors(network: Network, tensors: Mapping[str, Tensor], what: str) -> Network:
    """A network with a file's tensors, in channels-last order. UserError if their shapes do not fit."""
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError:
        raise UserError(f"These weights are {what} of another shape than this version's.") from None
    return network.to(memory_format=torch.channels_last)


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as a safetensors file does."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def write_safetensors(path: str | Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors with their facts, which hold "kind"; a write that fails leaves no file."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as partial:
        try:
            save_file(contiguous, partial, {HEADER: json.dumps(dict(facts), ensure_ascii=False)})
        except SafetensorError as problem:  # such as a full disk
            raise OSError(str(problem)) from None


def write_text(path: str | Path, text: str) -> None:
    """Write a text file; a write that fails leaves no file."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary file that is renamed to `path` once it is written; the folder is made. OSError if that fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
