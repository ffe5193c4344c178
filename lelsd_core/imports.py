"""Imports directions that others have published: their files → `Direction`s of one generator.

    file  --read as data, told by its content-->  `Entry`s  --shapes checked against the spaces-->  directions

| file | what it holds |
|---|---|
| encoder4editing's age, smile and pose `.pt` | a vector (1, 512) of W, or (1, 18, 512) of W+ |
| InterFaceGAN's boundaries `.npy` | vectors (1, 512) of Z, of W with "_w_" in the name |
| GANSpace's components (encoder4editing's `*_pca.pt`) | "comp" (K, 1, 512) of W, with "std" (K,) |
| SeFa's factor `.pt` (rosinality) | "eigvec" (512, 512), in columns, of W |
| LELSD's `model.pth`, a whole pickled object | "latent_dirs" of its "latent_space": Z, W, W+ or S |
| StyleSpace's `semantic_top_32` | for each layer of S how often a channel is about a region (C, 11) |
| a vector of S, as of StyleCLIP and StyleMC | one array for each layer, all in one, or rows filled up with zeros |

Only shapes and finiteness can be checked: a vector does not say whose weights it belongs to. A range is measured by
`calibrate`; until then it is where pictures change as much as that would let them. Sources: Tov et al. 2021
(e4e); Shen et al. 2020 (InterFaceGAN); Härkönen et al. 2020 (GANSpace); Shen, Zhou 2021 (SeFa); Wu et al. 2021
(StyleSpace); Patashnik et al. 2021 (StyleCLIP); Kocasari et al. 2022 (StyleMC); their public repositories' files.
"""

from __future__ import annotations

import datetime
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lelsd_core
from lelsd_core.device import placed_like
from lelsd_core.directions import Direction, named_apart
from lelsd_core.discovery.config import LEAST, MOST
from lelsd_core.errors import RefusedError, UserError, reading, unknown_name
from lelsd_core.evaluation.calibration import SHARES
from lelsd_core.generators.base import Generator
from lelsd_core.methods.candidates import PROBES, STRIDE, TRIES, usual_amount
from lelsd_core.seeds import TRAINING
from lelsd_core.weights.cache import sha256_of
from lelsd_core.weights.layouts import fields_of, listed
from lelsd_core.weights.pickles import ZIP, Array, read_pickled

EXPECTED = "directions were expected: of InterFaceGAN, encoder4editing, GANSpace, SeFa, LELSD, StyleSpace or StyleCLIP"
FIRST = 10  # entries that are imported where a file holds more and none is picked
CHANNEL = re.compile(r"(\d+)[_:](\d+)")  # a channel of S, as StyleSpace writes it: layer_channel
REGIONS = ("others", "background", "skin", "brows", "eyes", "ears", "nose", "mouth", "neck", "clothes", "hair")
RANKS = 3  # channels of each region
LARGEST_ARRAYS = 2**28  # bytes of a .npz, unpacked
E4E = {  # published uses of encoder4editing's components for faces: component, first row, end, sign
    "eye_openness": (54, 7, 8, 1),
    "trimmed_beard": (58, 7, 9, 1),
    "white_hair": (57, 7, 10, -1),
    "lipstick": (34, 10, 11, 1),
}


@dataclass(frozen=True, eq=False)
class Entry:
    """One direction of a file."""

    label: str  # within the file; "" if it holds one
    vector: Tensor | Sequence[Tensor]  # (D,), (rows, D), or one (C,) for each layer of S
    space: str = ""  # that the file says it is of; "" = told by its shape
    rows: tuple[int, int] | None = None  # of W+ that a vector of W moves: first, and the one after the last
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Foreign:
    """A file of directions, or a channel of S."""

    name: str  # of the file
    about: str  # what kind of file it is
    entries: tuple[Entry, ...]
    sha256: str = ""

    def pick(self, labels: Sequence[str] = ()) -> tuple[Entry, ...]:
        """Some entries; without labels the first `FIRST`. UserError for an unknown label."""
        if not labels:
            return tuple(entry for entry in self.entries if entry.label not in E4E)[:FIRST]
        by_label = {entry.label: entry for entry in self.entries}
        for label in labels:
            if label not in by_label:
                raise UserError(unknown_name(f"direction in {self.name}", label, by_label))
        return tuple(by_label[label] for label in labels)


@dataclass(frozen=True)
class Choices:
    """What a person says about a file that it does not say itself."""

    name: str = ""  # of the direction, before "-LABEL" where there are several; "" = the file's
    pick: tuple[str, ...] = ()  # labels of entries, see `Foreign.pick`
    parts: tuple[str, ...] = ()  # that they change
    space: str = ""  # where the numbers fit several
    rows: tuple[int, int] | None = None  # of W+ that vectors of W move
    shorten: bool = False  # whether a larger generator's rows of W+ are cut to the first ones


def import_directions(file: Foreign, generator: Generator, choices: Choices | None = None) -> list[Direction]:
    """The directions of a file, for a generator that they are taken to belong to.

    Their vectors have length 1, their range is that of `usual_range`, and their facts say where they came from and have
    "amounts" for `calibrate`. UserError if their numbers do not fit the generator.
    """
    choices = choices or Choices()
    stem = choices.name or re.sub(r"[^\w-]+", "-", Path(file.name).stem).strip("-") or "imported"
    origin = {"method": "imported", "source": file.about, "source_file": file.name, "source_sha256": file.sha256}
    origin |= {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "version": lelsd_core.__version__}
    entries, directions = file.pick(choices.pick), []
    for entry in entries:
        space, vector = fitted(replace(entry, rows=choices.rows or entry.rows), generator, choices, file.name)
        length = float(vector.norm())
        if not vector.isfinite().all() or not length:
            raise UserError(f"{file.name} holds numbers that are not finite, or all 0; it is no usable direction.")
        most = usual_range(generator, space, vector / length, file.name)
        found = {"entry": entry.label, "length": length, "amounts": (most * LEAST / MOST, most)}
        directions.append(
            Direction(
                name=stem if len(entries) == 1 else f"{stem}-{entry.label}",
                generator=generator.name,
                fingerprint=generator.fingerprint,
                space=space,
                vector=vector / length,
                parts=choices.parts,
                low=-most,
                high=most,
                facts={**origin, **entry.facts, **found},
            )
        )
    return list(named_apart(directions))


def read_foreign(source: str | Path) -> Foreign:
    """The directions of a file, or of a channel of S: "6_113" is channel 113 of layer 6, toRGB layers counted.

    UserError if there is no such file, or it is one of another kind.
    """
    path = Path(source)
    if not path.is_file():
        if match := CHANNEL.fullmatch(str(source)):
            place = torch.tensor([int(number) for number in match.groups()])
            return Foreign(str(source), "a channel of StyleSpace", (Entry("", place, "channel"),))
        raise UserError(f"There is no file {path}, nor is it a channel of S, as 6_113 is.")
    with reading(path.name, EXPECTED):
        entries, about = entries_of(read_numbers(path), path)
        return Foreign(path.name, about, tuple(entries), sha256_of(path))


def read_numbers(path: Path) -> Any:
    """What a file holds, as data; numpy's own formats are recognised, too."""
    with open(path, "rb") as file:
        start = file.read(8)
    if start.startswith(b"\x93NUMPY"):
        return Array(np.array(np.load(path, mmap_mode="r", allow_pickle=False)))  # mapped: no size is trusted
    if start.startswith(ZIP):
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        if entries and all(entry.filename.endswith(".npy") for entry in entries):
            if sum(entry.file_size for entry in entries) > LARGEST_ARRAYS:
                raise RefusedError(f"its arrays would take more than {LARGEST_ARRAYS >> 20} MB")
            with np.load(path, allow_pickle=False) as arrays:
                return {name: Array(arrays[name]) for name in arrays.files}
    return read_pickled(path)


def entries_of(content: Any, path: Path) -> tuple[list[Entry], str]:
    """The entries of a file's content, and what kind of file it is. RefusedError if it is none of directions."""
    fields = fields_of(content)
    if "latent_dirs" in fields:
        return official_lelsd(fields), "LELSD's official code"
    if "eigvec" in fields:
        return [Entry(str(i), vector, "W") for i, vector in enumerate(numbers(fields["eigvec"]).T)], "SeFa"
    if "comp" in fields:
        return ganspace(numbers(fields["comp"]), numbers(fields["std"])), "GANSpace"
    if "X_comp" in fields:
        raise RefusedError("its components are of W behind one more nonlinearity, which is no space of a generator")
    if len(fields) == 1:  # such as StyleMC's {"s": ...}
        (content,) = fields.values()
    elif fields:
        raise RefusedError(f"what it holds ({listed(fields)}) are no directions known here")
    if isinstance(content, list | tuple):
        layers = [numbers(each) for each in content]
        if layers and all(each.ndim == 2 and each.shape[1] == len(REGIONS) for each in layers):
            return stylespace(layers), "StyleSpace"
        return [Entry("", [each.reshape(-1) for each in layers], "S")], "a vector of S"
    vectors = numbers(content)
    vectors = vectors.reshape([size for size in vectors.shape if size > 1] or [-1])
    if vectors.ndim == 2 and vectors.shape[1] == 512 and len(vectors) > 1000:
        raise RefusedError("it is StyleCLIP's table of all channels; multiply it by the difference of two texts first")
    if vectors.ndim > 2:
        return [Entry(str(i), vector) for i, vector in enumerate(vectors)], "vectors of W+"
    space = "W" if path.suffix in (".pt", ".pth") or "_w_" in f"_{path.stem}_" else ""
    return [Entry("", vectors, space)], "a vector"


def numbers(value: Any) -> Tensor:
    """A tensor or array as float32. RefusedError for anything else."""
    value = value.value if isinstance(value, Array) else value
    value = torch.from_numpy(value.astype(np.float32)) if isinstance(value, np.ndarray) else value
    if not isinstance(value, Tensor) or value.is_complex() or not value.numel():
        raise RefusedError(f"a {type(value).__name__} stands where the numbers of a direction were expected")
    return value.detach().float().clone()


def official_lelsd(fields: Mapping[str, Any]) -> list[Entry]:
    """The K directions of LELSD's pickled object; of S, only the layers that it applies."""
    space, stored = str(fields.get("latent_space")), fields["latent_dirs"]
    facts = {"semantic_parts": [str(part) for part in fields.get("semantic_parts") or ()]}
    if not space.startswith("S"):
        return [Entry(str(i), vector, space, facts=facts) for i, vector in enumerate(numbers(stored))]
    layers, applied = [numbers(each) for each in stored], fields.get("s_layers_to_apply")
    used = [each if applied is None or i in applied else 0 * each for i, each in enumerate(layers)]
    return [Entry(str(i), [each[i] for each in used], "S", facts=facts) for i in range(len(layers[0]))]


def ganspace(components: Tensor, deviations: Tensor) -> list[Entry]:
    """Components (K, 1, D), with the published uses of encoder4editing's by name."""
    entries = [
        Entry(str(i), vector, "W", facts={"deviation": float(deviation)})
        for i, (vector, deviation) in enumerate(zip(components.flatten(1), deviations, strict=True))
    ]
    published = {name: use for name, use in E4E.items() if use[0] < len(entries)}
    return entries + [
        replace(entries[component], label=name, vector=sign * entries[component].vector, rows=(first, end))
        for name, (component, first, end, sign) in published.items()
    ]


def stylespace(layers: Sequence[Tensor]) -> list[Entry]:
    """The channels (C,) of S that are most often about each region, from their rates (C, regions) in each layer."""
    places = [(layer, channel) for layer, rates in enumerate(layers) for channel in range(len(rates))]
    best = torch.cat(list(layers)).topk(RANKS, dim=0)
    entries = []
    for rank in range(RANKS):
        for region, name in list(enumerate(REGIONS))[1:]:
            layer, channel = places[int(best.indices[rank, region])]
            vector = [torch.zeros(len(rates)) for rates in layers]
            vector[layer][channel] = 1
            facts = {"channel": f"{layer}_{channel}", "rate": float(best.values[rank, region])}
            entries.append(Entry(name if rank == 0 else f"{name}-{rank + 1}", vector, "S", facts=facts))
    return entries


def fitted(entry: Entry, generator: Generator, choices: Choices, file: str) -> tuple[str, Tensor]:
    """The space that an entry is of, and its vector (D,) there. UserError if it fits none, or several."""
    if entry.space == "channel":
        return "S", channel_vector(entry.vector.tolist(), generator)
    if not isinstance(entry.vector, Tensor):
        return "S", style_vector(list(entry.vector), generator, file)
    names = generator.space_names
    if choices.space:
        generator.space(choices.space)
    if entry.vector.ndim == 2:
        styles = len(generator.space("S").slots) if "S" in names else 0
        if len(entry.vector) == styles:  # each filled up with zeros, as StyleMC does
            return "S", style_vector(list(entry.vector), generator, file)
        return "W+", row_vector(entry.vector, generator, choices, file)
    if entry.rows:
        return "W+", in_rows(entry.vector, entry.rows, generator, file)
    if len(entry.vector) == sum(convolution_widths(generator)):
        return "S", style_vector(list(entry.vector.split(convolution_widths(generator))), generator, file)
    fitting = [name for name in names if generator.space(name).width == len(entry.vector)]
    space = choices.space or (entry.space if entry.space in fitting else "")
    if not space and len(fitting) == 1:
        (space,) = fitting
    if space in fitting:
        return space, entry.vector
    if fitting and not space:
        raise UserError(
            f"{file} holds {len(entry.vector)} numbers, which fit {' and '.join(fitting)} of {generator.name}; choose "
            "with --space."
        )
    widths = ", ".join(f"{name} {generator.space(name).width}" for name in names)
    raise UserError(
        f"{file} holds {len(entry.vector)} numbers; the spaces of {generator.name} have {widths}. It was made for "
        "another generator or another space."
    )


def row_vector(rows: Tensor, generator: Generator, choices: Choices, file: str) -> Tensor:
    """Rows (R, D) of W+ as a vector. UserError if the generator takes others."""
    expected = plus_shape(generator, file)
    if choices.shorten and len(rows) > expected[0]:
        rows = rows[: expected[0]]
    if rows.shape != expected:
        more = len(rows) > expected[0] and rows.shape[1] == expected[1]
        raise UserError(
            f"{file} holds {len(rows)} rows of {rows.shape[1]} numbers; W+ of {generator.name} has {expected[0]} of "
            f"{expected[1]}. It was made for another generator"
            + (f"; --shorten takes its first {expected[0]} rows." if more else ".")
        )
    return rows.reshape(-1)


def in_rows(vector: Tensor, rows: tuple[int, int], generator: Generator, file: str) -> Tensor:
    """A vector of W in some rows of W+, 0 elsewhere. UserError if there are no such rows, or of another width."""
    count, width = plus_shape(generator, file)
    first, end = rows
    if not 0 <= first < end <= count:
        raise UserError(f"Rows {first} to {end} are not in W+ of {generator.name}; it has rows 0 to {count - 1}.")
    if len(vector) != width:
        raise UserError(f"{file} holds {len(vector)} numbers; a row of W+ of {generator.name} has {width}.")
    whole = torch.zeros(count, width)
    whole[first:end] = vector
    return whole.reshape(-1)


def plus_shape(generator: Generator, file: str) -> tuple[int, int]:
    """Rows of W+, and the numbers of each. UserError if the generator has no W+."""
    if "W+" not in generator.space_names:
        raise UserError(f"{file} moves rows of W+; {generator.name} has {', '.join(generator.space_names)}.")
    slots = generator.space("W+").slots
    return len(slots), slots[0].width


def style_slots(generator: Generator) -> tuple[tuple[str, int], ...]:
    """Names and widths of S as StyleSpace defines it; () for generators without W+, whose S is another."""
    spaces = generator.space_names
    return tuple((slot.name, slot.width) for slot in generator.space("S").slots) if "W+" in spaces else ()


def convolution_widths(generator: Generator) -> list[int]:
    """Widths of S without its toRGB layers."""
    return [width for name, width in style_slots(generator) if not name.endswith("torgb")]


def style_vector(layers: list[Tensor], generator: Generator, file: str) -> Tensor:
    """One array for each layer of S, or for each of its convolutions, as a vector. UserError if they do not fit.

    Arrays may be filled up with zeros; LELSD's official files have one more, which is not used.
    """
    slots = style_slots(generator)
    layers = layers[: len(slots)] if len(layers) == len(slots) + 1 else layers
    given = iter(layers)
    if len(layers) == len(convolution_widths(generator)):
        layers = [torch.zeros(width) if name.endswith("torgb") else next(given) for name, width in slots]
    if not slots or len(layers) != len(slots):
        raise UserError(f"{file} holds styles of {len(layers)} layers; {generator.name} has {len(slots)}.")
    for layer, (name, width) in zip(layers, slots, strict=True):
        if len(layer) < width or layer[width:].any():
            raise UserError(f"{file} holds {len(layer)} styles for {name}; {generator.name} has {width} there.")
    return torch.cat([layer[:width] for layer, (_, width) in zip(layers, slots, strict=True)])


def channel_vector(place: Sequence[int], generator: Generator) -> Tensor:
    """The vector of one channel of S: layer, channel. UserError if there is none."""
    (layer, channel), slots = place, style_slots(generator)
    if layer >= len(slots) or channel >= slots[layer][1]:
        last = f"layers 0 to {len(slots) - 1}, this one with {slots[layer][1] if layer < len(slots) else 0} channels"
        raise UserError(f"There is no channel {layer}_{channel} in S of {generator.name}: {last if slots else 'no S'}.")
    vector = [torch.zeros(width) for _, width in slots]
    vector[layer][channel] = 1
    return torch.cat(vector)


@torch.inference_mode()
def usual_range(generator: Generator, space: str, vector: Tensor, file: str) -> float:
    """The amount that changes pictures by the share of what they differ by that `calibrate` allows; no part is known.

    It is found by secants through 0, as changes grow almost in proportion. UserError if no picture changes.
    """
    codes = generator.sample_in(space, TRAINING[:PROBES])
    pictures = generator.synthesize(codes, space).image
    allowed = SHARES["change"] * float((pictures - pictures.flip(0)).square().mean().sqrt())
    amount, step = usual_amount(generator, space), placed_like(vector, codes)
    for _ in range(TRIES):
        moved = [generator.synthesize(codes + signed * step, space).image for signed in (-amount, amount)]
        change = float(torch.stack([each - pictures for each in moved]).square().mean().sqrt())
        if change < 1e-6:
            raise UserError(f"{file} holds a direction that changes no picture of {generator.name}.")
        factor = allowed / change
        amount *= min(max(factor, 1 / STRIDE), STRIDE)
        if abs(factor - 1) < 0.1:
            break
    return amount


def kept_sign(measured: Direction, imported: Direction) -> Direction:
    """A calibrated direction with the sign that it was published with: its high end is what its name says."""
    if torch.dot(measured.vector, imported.vector) >= 0:
        return measured
    turned = {"vector": -measured.vector, "low": -measured.high, "high": -measured.low}
    return replace(measured, ends=measured.ends[::-1], **turned)
