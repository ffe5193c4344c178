"""A generator's gallery: one direction for each part that it paints, searched on a quick budget, kept in the cache.

    untouched samples --parts that occur--> search, calibrate --> CACHE/directions/FINGERPRINT/PART.safetensors

A part that gets no direction leaves PART.txt, which says why; delete it to try again. A search that is cut off begins
again: it takes seconds. Files appear whole or not at all and depend on nothing but their inputs, so that several
processes may fill one folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lelsd_core.directions import Direction, load_directions, named_apart
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import FIRST_SEED, Samples
from lelsd_core.discovery.search import discover
from lelsd_core.errors import UserError
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.evaluation.heldout import HELD_OUT
from lelsd_core.galleries.hub import fetch_folder, is_repository
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters import Parts, Segmenter
from lelsd_core.weights.safetensors import write_text

QUICK = DiscoverConfig(steps=100, batch=4, samples=64)
MEASURED_ON = HELD_OUT[:16]
MOST_PARTS = 32  # segmenters that tell more apart are asked for groups
LOOKS = 16  # samples that tell which parts occur
LEAST_AREA = 0.001  # of a picture, for a part to be seen in it
LEAST_SEEN = 0.25  # share of the samples
MOST_AREA = 0.95  # a part of nearly the whole picture is not local
REACH = 0.25  # largest amount, in mean distances between two samples' codes
PIXELS = 2**20  # rendered with gradients at a time


@dataclass(frozen=True, eq=False)
class GalleryProgress:
    """What happened while a gallery was filled.

    Args:
        part: the part at hand.
        done, total: parts dealt with so far, and all.
        share: of this part's search, 0 to 1; 1 once it has its direction or its words.
        direction: the measured direction, once it is there.
        words: why there is none, or why it was not saved; "" if there is nothing to say.
    """

    part: str
    done: int
    total: int
    share: float
    direction: Direction | None = None
    words: str = ""


def gallery_folder(fingerprint: str) -> Path:
    """Where a generator's own gallery is kept: below `LELSD_CACHE`, or lelsd in `XDG_CACHE_HOME` or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.gallery_folder() / ".cache"
    cache = os.environ.get("LELSD_CACHE") or Path(base, "lelsd")
    return Path(cache).expanduser() / "directions" / fingerprint


def fill_gallery(
    generator: Generator,
    segmenter: Segmenter,
    folder: Path,
    parts: Sequence[str] | None = None,
    config: DiscoverConfig | None = None,
) -> Iterator[GalleryProgress]:
    """Give a generator one direction for each part.

    Args:
        generator, segmenter: what renders and what tells the parts.
        folder: where directions are kept; those that are there already come first and are not searched again.
        parts: parts or groups; None = `usual_parts`.
        config: the budget, its parts do not matter; None = `QUICK`.

    Yields:
        News, several for each part; close the iterator to stop.

    Raises:
        UserError: the config does not fit the generator, or the segmenter does not know a part.
    """
    wanted = tuple(usual_parts(segmenter) if parts is None else parts)
    config = replace(fitted(config or QUICK, generator), parts=wanted).check(generator, segmenter)
    done, left = 0, []
    for part in wanted:
        direction, words = kept(path_of(folder, part), generator), reason_of(folder, part)
        if direction or words:
            done += 1
            yield GalleryProgress(part, done, len(wanted), 1.0, direction, "" if direction else words)
        else:
            left.append(part)
    samples = Samples(generator, segmenter, config)
    for part in left:
        if words := unseen(part, samples):
            done += 1
            yield GalleryProgress(part, done, len(wanted), 1.0, words=write_words(folder, part, words))
            continue
        for share, direction, words in search(generator, segmenter, folder, replace(config, parts=(part,)), samples):
            done += share == 1
            yield GalleryProgress(part, done, len(wanted), share, direction, words)


def search(
    generator: Generator, segmenter: Segmenter, folder: Path, config: DiscoverConfig, samples: Samples
) -> Iterator[tuple[float, Direction | None, str]]:
    """The share of a part's search that is done; with 1.0, its direction, or words why there is none."""
    (part,) = config.parts
    try:
        for progress in discover(generator, segmenter, config, samples=samples):
            yield 0.9 * progress.step / progress.total, None, ""
        found = replace(progress.directions[0], name=part)
        found = calibrate(generator, segmenter, found, MEASURED_ON)
    except UserError as problem:  # no sample shows the part in a way that a move changes
        yield 1.0, None, write_words(folder, part, str(problem))
        return
    try:
        found.save(path_of(folder, part))
        words = ""
    except OSError as problem:
        words = not_kept(part, problem)
    yield 1.0, found, words


def read_gallery(source: str | Path) -> tuple[Direction, ...]:
    """Somebody's directions, of whatever generator.

    Args:
        source: a folder, one file, or OWNER/NAME of a repository on the Hub.

    Raises:
        UserError: no such place, nothing in it, or a damaged file.
    """
    place = Path(source).expanduser()
    if not place.exists():
        if not is_repository(str(source)):
            raise UserError(
                f"There is no folder {source}; give a folder with directions, one file, or OWNER/NAME on the Hub."
            )
        place = fetch_folder(str(source))
    return load_directions(place)


def checked(directions: Sequence[Direction], generator: Generator) -> tuple[Direction, ...]:
    """The directions, each with a name of its own. UserError if one was made for another generator."""
    for direction in directions:
        direction.check(generator)
    return named_apart(directions)


def own_gallery(generator: Generator, segmenter: Segmenter) -> tuple[Direction, ...]:
    """What `fill_gallery` found for a generator in earlier runs; what is damaged is left out, and searched again next time."""
    folder = gallery_folder(generator.fingerprint)
    found = [kept(path_of(folder, part), generator) for part in usual_parts(segmenter)]
    return tuple(direction for direction in found if direction)


def usual_parts(segmenter: Segmenter) -> tuple[str, ...]:
    """The parts worth a slider: all parts, background last; or groups of parts where there are very many parts."""
    known = Parts(segmenter.parts)
    names: Sequence[str] = known
    if len(known) > MOST_PARTS:
        names = [name for name, members in known.groups.items() if not any(m in known.groups for m in members)]
    return tuple(sorted(names, key=lambda name: name == "background"))


def fitted(config: DiscoverConfig, generator: Generator) -> DiscoverConfig:
    """The config with the slots, amounts and micro-batches that suit a generator.

    Slots that feed a toRGB are left out: they recolour the whole picture. Amounts are stretched to the distance
    between codes, so that they mean as much in any space; spaces in which samples do not differ keep the config's. A
    config that makes no sense comes back as it is, for its `check` to tell why.
    """
    name = config.space or generator.space_names[-1]
    if name not in generator.space_names or config.most <= 0:
        return config
    space = generator.space(name)
    slots = config.slots
    if not slots and any(slot.name.endswith("torgb") for slot in space.slots):
        slots = tuple(slot.name for slot in space.slots if slot.movable and not slot.name.endswith("torgb"))
    with torch.no_grad():
        seeds = range(FIRST_SEED, FIRST_SEED + 64)
        codes = generator.lift(generator.sample(seeds), generator.space_names[0], space.name)
        writable = space.column_mask(generator.expand_groups(slots, space.name)).to(codes)
        distance = float(((codes[::2] - codes[1::2]) * writable).norm(dim=1).mean())
    stretch = REACH * distance / config.most if distance > 1e-3 else 1.0
    fits = max(1, PIXELS // generator.resolution**2)
    micro = config.micro or (fits if fits < config.batch else 0)
    return replace(config, slots=slots, least=config.least * stretch, most=config.most * stretch, micro=micro)


def unseen(part: str, samples: Samples) -> str:
    """Why a part is not worth a search, from the first samples; "" if it is."""
    areas = torch.cat([area(part, samples, number) for number in range(max(1, LOOKS // samples.config.batch))])
    name, count = samples.view.generator.name, len(areas)
    seen = int((areas >= LEAST_AREA).sum())
    if seen < LEAST_SEEN * count:
        return f"{part}: seen on {seen} of {count} samples of {name}, too few to learn from."
    if areas.mean() > MOST_AREA:
        return f"{part}: covers nearly the whole picture of {name}; no change of it would be local."
    return ""


def area(part: str, samples: Samples, number: int) -> Tensor:
    """Share of each picture (B,) of a batch of untouched samples that a part covers."""
    view = samples.view
    known = Parts(view.segmenter.parts)
    wanted = torch.tensor([known.index(name) for name in known.expand([part])])
    answer = samples.batch(number).answer
    labels = answer.argmax(1) if view.config.edges == "soft" else answer
    return torch.isin(labels.long(), wanted.to(labels.device)).float().mean((1, 2))


def path_of(folder: Path, part: str, ending: str = ".safetensors") -> Path:
    """Where a part's direction is, or with ".txt" the words why there is none."""
    return folder / ("".join(c if c.isalnum() else "-" for c in part) + ending)


def kept(path: Path, generator: Generator) -> Direction | None:
    """The direction of a file of the cache; None if it is not there or of no use: it is searched, and written anew."""
    try:
        direction = Direction.load(path)
        direction.check(generator)
    except UserError:
        return None
    return direction


def reason_of(folder: Path, part: str) -> str:
    """Why a part has no direction; "" if that is not known."""
    try:
        return path_of(folder, part, ".txt").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def write_words(folder: Path, part: str, words: str) -> str:
    """Keep why a part has no direction, where that can be written; the words."""
    with suppress(OSError):  # next time it is found out again
        write_text(path_of(folder, part, ".txt"), words + "\n")
    return words


def not_kept(part: str, problem: OSError) -> str:
    """That a direction lives as long as this program."""
    return f"{part} could not be saved ({problem.strerror or problem}); it is there until the program ends."
