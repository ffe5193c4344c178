"""A generator's gallery: one direction for each part, found by short searches and cached on disk.

    untouched samples --parts that occur--> search, calibrate --> CACHE/directions/FINGERPRINT/PART.safetensors

A part without a direction gets PART.txt, which says why; delete it to search again. Files appear whole or not at all
and depend on nothing but their inputs, so that several processes may fill one folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lelsd_core.directions import Direction, load_directions
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import Samples, label_mask
from lelsd_core.discovery.search import discover
from lelsd_core.errors import UserError
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.galleries.hub import fetch_folder, is_repository
from lelsd_core.generators.base import Generator
from lelsd_core.seeds import HELD_OUT
from lelsd_core.segmenters import Segmenter, adapt
from lelsd_core.weights.safetensors import write_text

if TYPE_CHECKING:
    from lelsd_core.faces import FaceAligner

QUICK = DiscoverConfig(steps=100, batch=4, samples=64)
CALIBRATION_SEEDS = HELD_OUT[:16]
MAX_PARTS = 32  # a segmenter with more parts is asked for groups of them
PRESENCE_SAMPLES = 16  # samples that show whether a part occurs
MIN_AREA = 0.001  # of a picture, for a part to count as present in it
MIN_PRESENCE = 0.25  # share of the samples
MAX_AREA = 0.95  # a part of nearly the whole picture is not local


@dataclass(frozen=True, eq=False)
class GalleryProgress:
    """What `fill_gallery` has reached."""

    part: str  # the current one
    done: int  # parts finished so far
    total: int  # all parts
    share: float  # of this part's search that is done, 0 to 1; 1 once it has its direction or its message
    direction: Direction | None = None  # calibrated, once it is found
    words: str = ""  # message why there is no direction, or why it was not saved


def gallery_folder(fingerprint: str, sha256: str = "") -> Path:
    """Where a generator's directions are cached: below `LELSD_CACHE`, or lelsd in `XDG_CACHE_HOME` or ~/.cache.

    A folder that was once made for the SHA-256 of the generator's file is used on.
    """
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lelsd")
    cache = os.environ.get("LELSD_CACHE") or usual
    folder = Path(cache).expanduser() / "directions"
    return folder / (sha256 if sha256 and (folder / sha256).is_dir() else fingerprint)


def fill_gallery(
    generator: Generator,
    segmenter: Segmenter,
    folder: Path,
    parts: str | Sequence[str] | None = None,
    config: DiscoverConfig | None = None,
    aligner: FaceAligner | None = None,
) -> Iterator[GalleryProgress]:
    """Find one direction for each part.

    Args:
        generator, segmenter: the networks.
        folder: cache of directions; the parts in it come first and are not searched again.
        parts: names of parts or groups; None = `usual_parts`.
        config: settings of each search, its parts do not matter; None = `QUICK`.
        aligner: of the generator's pictures, if they are faces, for the words at the ends of the sliders.

    Yields:
        `GalleryProgress`, several times for each part; close the iterator to stop.

    Raises:
        UserError: the config does not fit the generator, or the segmenter does not know a part.
    """
    segmenter = adapt(segmenter)
    parts = usual_parts(segmenter) if parts is None else parts
    config = replace(config or QUICK, parts=parts).check(generator, segmenter)
    samples, total = Samples(generator, segmenter, config), len(config.parts)
    cached = {part: read_cache(folder, part, generator) for part in config.parts}
    for done, part in enumerate(sorted(config.parts, key=lambda part: not any(cached[part]))):
        direction, words = cached[part]
        try:
            if not direction and not words:
                check_presence(part, samples)
                for progress in discover(generator, segmenter, replace(config, parts=part), samples=samples):
                    yield GalleryProgress(part, done, total, 0.9 * progress.step / progress.total)
                direction = replace(progress.directions[0], name=part)
                direction = calibrate(generator, segmenter, direction, CALIBRATION_SEEDS, aligner=aligner)
                direction.save(direction_path(folder, part))
        except UserError as problem:  # no sample shows the part in a way that a move changes
            direction, words = None, str(problem)
            with suppress(OSError):  # if the message cannot be saved, the next run finds out again
                write_text(direction_path(folder, part, ".txt"), f"{words}\n")
        except OSError as problem:
            words = f"{part} could not be saved ({problem.strerror or problem}); it can be used until the program ends."
        yield GalleryProgress(part, done + 1, total, 1.0, direction, words)


def check_presence(part: str, samples: Samples) -> None:
    """UserError if the first samples show that no search for a part makes sense."""
    batches = map(samples.batch, range(max(1, PRESENCE_SAMPLES // samples.config.batch)))
    soft = samples.config.edges == "soft"
    labels = torch.cat([batch.segmentation.argmax(1) if soft else batch.segmentation for batch in batches])
    area, name = label_mask(labels, samples.segmenter.parts, part).mean((1, 2, 3)), samples.generator.name
    present = int((area >= MIN_AREA).sum())
    if present < MIN_PRESENCE * len(area):
        raise UserError(f"{part}: seen on {present} of {len(area)} samples of {name}, too few to learn from.")
    if area.mean() > MAX_AREA:
        raise UserError(f"{part}: covers nearly the whole picture of {name}; no change of it would be local.")


def usual_parts(segmenter: Segmenter) -> tuple[str, ...]:
    """The parts worth a slider: all parts, background last; or groups of parts where there are very many parts."""
    parts = segmenter.parts
    names: Sequence[str] = parts
    if len(parts) > MAX_PARTS:
        names = [name for name, members in parts.groups.items() if not any(m in parts.groups for m in members)]
    return tuple(sorted(names, key=lambda name: name == "background"))


def read_gallery(source: str | Path) -> tuple[Direction, ...]:
    """The directions in a folder, one file, or OWNER/NAME on the Hub. UserError if there are none or one is damaged."""
    path = Path(source).expanduser()
    if not path.exists():
        if not is_repository(str(source)):
            raise UserError(
                f"There is no folder {source}; give a folder of directions, a file, or OWNER/NAME on the Hub."
            )
        path = fetch_folder(str(source))
    return load_directions(path)


def cached_directions(generator: Generator, segmenter: Segmenter) -> tuple[Direction, ...]:
    """The directions that `fill_gallery` found for a generator in earlier runs; damaged files are left out."""
    folder = gallery_folder(generator.fingerprint, generator.sha256)
    cached = [read_cache(folder, part, generator) for part in usual_parts(segmenter)]
    return tuple(direction for direction, _ in cached if direction)


def direction_path(folder: Path, part: str, ending: str = ".safetensors") -> Path:
    """The file of a part's direction; with ".txt", of the message why there is none."""
    return folder / ("".join(c if c.isalnum() else "-" for c in part) + ending)


def read_cache(folder: Path, part: str, generator: Generator) -> tuple[Direction | None, str]:
    """A part's cached direction, or the saved message why it has none; neither if it has to be searched (again)."""
    with suppress(UserError):  # missing, damaged, or another generator's
        direction = Direction.load(direction_path(folder, part))
        direction.check(generator)
        return direction, ""
    with suppress(OSError, UnicodeDecodeError):
        return None, direction_path(folder, part, ".txt").read_text(encoding="utf-8").strip()
    return None, ""
