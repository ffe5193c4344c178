"""Reads generators from files; the format is recognised by the first bytes and by the names of the tensors.

file or folder  --read as data-->  Checkpoint (architecture, config, tensors)  --Options-->  Generator
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lelsd_core.device import AUTO
from lelsd_core.errors import RefusedError, UserError, printable, reading, unknown_name
from lelsd_core.generators import ARCHITECTURES, Generator
from lelsd_core.networks import run_on_shapes
from lelsd_core.weights.cache import add_to_record, read_record, sha256_at, sha256_of
from lelsd_core.weights.classes import Choice, class_names, class_weights
from lelsd_core.weights.layouts import find_generator
from lelsd_core.weights.pickles import read_pickled
from lelsd_core.weights.safetensors import (
    is_safetensors,
    read_any_safetensors,
    read_safetensors,
    unpacked,
    write_safetensors,
)

FORMATS = "rosinality .pt, NVIDIA .pkl, StyleGAN1 .pt, a BigGAN folder, a DCGAN, or .safetensors"
WEIGHTS_IN_FOLDER = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin")
NO_WEIGHTS = ("noise_const", "w_avg", "resample_filter")  # differ between files of one generator; move no direction
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": None}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A generator as data."""

    architecture: str
    config: dict[str, Any]  # JSON
    tensors: dict[str, Tensor]
    about: str  # the kind of file it came in
    relatives: tuple[str, ...] = ()  # fingerprints and files' SHA-256 of its base and of its own earlier files

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights by name, in float16: the same from any file of the generator, in any precision."""
        digest = hashlib.sha256(self.architecture.encode())
        for name in sorted(name for name in self.tensors if not name.endswith(NO_WEIGHTS)):
            tensor = self.tensors[name]
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.half().contiguous().numpy())
        return digest.hexdigest()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of a conditional model's classes, their numbers where the file has no names; none for others."""
        embedding = self.tensors.get("embeddings.weight", self.tensors.get("mapping.embed.weight"))
        return () if embedding is None else class_names(embedding.shape[1], self.config.get("class_names") or {})


@dataclass(frozen=True)
class Options:
    """What is fixed when a generator is loaded."""

    noise: str = "stored"  # StyleGAN: "stored", "random" (another fixed one, from `noise_seed`) or "off"
    noise_seed: int = 0
    class_index: Choice | None = None  # of a conditional model: number, name, or {number or name: share} to interpolate
    truncation: float | None = None  # BigGAN: 0 to 1, less variety for better pictures
    dtype: str | None = None  # "float16", "bfloat16" or "auto", see `device.dtype_on`; the CPU computes in float32


def read_checkpoint(path: Path) -> Checkpoint:
    """A generator file as data, from any official format. UserError with one sentence if it is something else."""
    with reading(path.name, f"a generator was expected: {FORMATS}"):
        if not is_safetensors(path):
            return to_checkpoint(read_pickled(path), path)
        tensors, facts = read_any_safetensors(path)
        if facts is None:  # such as a BigGAN's, beside its config.json
            return to_checkpoint(tensors, path)
        tensors, facts = read_safetensors(path, "generator")
        architecture, config = facts.get("architecture"), facts.get("config", {})
        if architecture not in ARCHITECTURES or not isinstance(config, dict):
            raise UserError(unknown_name("generator architecture", architecture, ARCHITECTURES))
        base = read_base(path, facts["base"]) if "base" in facts else None
        tensors = unpacked(tensors, base.tensors) if base else tensors
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}  # aligned: sums come out the same
        relatives = (base.fingerprint, str(facts["base"]["sha256"])) if base else ()
        relatives += tuple(map(str, facts.get("formerly", ())))
        return Checkpoint(architecture, config, tensors, str(facts.get("source", path.name)), relatives)


def read_base(path: Path, facts: Any) -> Checkpoint:
    """The generator in the same folder that a file is a variant of, as `facts` say: "file" and "sha256".

    UserError if it is not there, or is another version.
    """
    name, expected = Path(str(facts["file"])).name, str(facts["sha256"])
    base = path.with_name(name)
    if not base.is_file():
        raise UserError(f"{path.name} is a variant of {name}, which is not beside it; put both files into one folder.")
    actual = sha256_of(base)
    if actual != expected:
        raise UserError(
            f"{path.name} is a variant of another version of {name}: the one with SHA-256 {expected[:8]}… was "
            f"expected beside it, this is {actual[:8]}…."
        )
    return read_checkpoint(base)


def to_checkpoint(content: Any, path: Path) -> Checkpoint:
    """The generator in a file's content, renamed from the official layout that it is in.

    Args:
        content: from `read_pickled`, or a dict of tensors.
        path: of the file.

    Raises:
        RefusedError: there is no generator in it.
    """
    layout, config, tensors = find_generator(content, path.parent)
    if sum(tensor.nbytes for tensor in tensors.values()) > 2 * path.stat().st_size:
        raise RefusedError("its tensors repeat the same numbers over and over")
    del content
    for name in tensors:  # they outlive the file; what was read is freed one by one
        tensors[name] = tensors[name].clone()
    return Checkpoint(layout.architecture, config, tensors, layout.about)


def weights_file(path: Path) -> Path:
    """The weights file in a folder with a config.json; for a file, the file. UserError if the folder has none."""
    if not path.is_dir():
        return path
    for name in WEIGHTS_IN_FOLDER:
        if (path / name).is_file():
            return path / name
    raise UserError(f"The folder {path} holds no weights; expected config.json and {' or '.join(WEIGHTS_IN_FOLDER)}.")


def build_generator(checkpoint: Checkpoint, options: Options, *, known: bool = False) -> Generator:
    """The network of a checkpoint, on the CPU.

    Args:
        checkpoint: from `read_checkpoint`.
        options: what is fixed when it is loaded.
        known: whether the file is known to be right, so that the check of its shapes (2 s) is left out.

    Raises:
        UserError: options that the network does not take, or tensors that do not fit together.
    """
    architecture = ARCHITECTURES[checkpoint.architecture]
    try:
        if options.class_index is not None and not checkpoint.classes:
            raise UserError(f"This {checkpoint.architecture} has no classes; leave the class out.")
        check_options(options, checkpoint.architecture)
        arguments = {name: getattr(options, name) for name in architecture.load_options}
        config, classes = dict(checkpoint.config), checkpoint.classes
        config.pop("class_names", None)
        kept = config.pop("class_index", None)  # by `convert_checkpoint`
        if "class_index" in arguments:
            chosen = kept if arguments.pop("class_index") is None else options.class_index
            arguments["label"] = class_weights(chosen, classes) if classes else None
        generator = architecture(checkpoint.tensors, **config, **arguments)
        if not known:
            first, side = generator.spaces[0], generator.resolution
            image = run_on_shapes(lambda codes: generator.synthesize(codes, first.name).image, 1, first.width)
            if image.shape != (1, 3, side, side):
                raise RefusedError(f"its pictures would be {tuple(image.shape[1:])}")
    except UserError:
        raise
    except Exception as problem:  # missing tensors, wrong shapes, absurd sizes: all are faults of the file
        looks = f"The weights look like {checkpoint.architecture} ({checkpoint.about}), but"
        if isinstance(problem, RefusedError):
            raise UserError(f"{looks} cannot be used because {problem}.") from None
        if isinstance(problem, KeyError):
            raise UserError(f"{looks} are incomplete: {printable(problem.args[0])!r} is missing.") from None
        raise UserError(f"{looks} their tensors do not fit together.") from None
    generator.fingerprint, generator.relatives = checkpoint.fingerprint, checkpoint.relatives
    generator.classes = checkpoint.classes
    return generator


def fingerprint_at(path: Path) -> str:
    """`Checkpoint.fingerprint` of a generator's file, which is read only if it has not been recorded."""
    sha256 = sha256_at(path)
    known = read_record().get("fingerprints", {}).get(sha256)
    if known is None:
        known = read_checkpoint(path).fingerprint
        add_to_record("fingerprints", {sha256: known})
    return known


def check_options(options: Options, architecture: str) -> None:
    """UserError for an unknown value, or an option that this architecture does not take."""
    takes = ARCHITECTURES[architecture].load_options
    if options.noise not in ("stored", "random", "off"):
        raise UserError(unknown_name("noise", options.noise, ("stored", "random", "off")))
    if options.dtype not in (None, AUTO) and str(options.dtype).removeprefix("torch.") not in HALF:
        raise UserError(unknown_name("dtype", options.dtype, (AUTO, *HALF)))
    for option in fields(options):
        if option.name not in (*takes, "dtype") and getattr(options, option.name) != option.default:
            raise UserError(f"A {architecture} takes no {option.name}; it takes {', '.join(takes) or 'none'}.")


def use_half(generator: Generator, dtype: str | None) -> None:
    """Convolutions and feature maps in half precision and channels-last. Codes and pictures stay float32."""
    half = None if dtype is None else HALF[str(dtype).removeprefix("torch.")]
    for module in generator.modules() if half else ():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.ndim == 4:
                setattr(module, name, buffer.to(half, memory_format=torch.channels_last))


def convert_checkpoint(source: Path, target: Path, sha256: str, class_index: Choice | None = None) -> dict[str, Any]:
    """Write a generator file as this project's safetensors; the facts in its header.

    `class_index` is the class of a conditional model that is used where nobody chooses another; None = there is none.
    """
    checkpoint = read_checkpoint(source)
    chosen = 0 if checkpoint.classes and class_index is None else class_index
    generator = build_generator(checkpoint, Options(class_index=chosen))
    kept = {} if class_index is None else {"class_index": class_index}
    facts = {
        "kind": "generator",
        "architecture": checkpoint.architecture,
        "config": checkpoint.config | kept,
        "name": target.stem,
        "resolution": generator.resolution,
        "spaces": {space.name: space.width for space in generator.spaces},
        "layers": list(generator.layers),
        "classes": len(checkpoint.classes),
        "source": checkpoint.about,
        "source_file": source.name,
        "source_sha256": sha256,
    }
    write_safetensors(target, {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}, facts)
    return facts
