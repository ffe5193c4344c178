"""A generator's gallery: for each part a global and a local move, found by short searches and cached on disk.

    untouched samples --parts that occur--> search, calibrate --> CACHE/directions/FINGERPRINT/NAME.safetensors

NAME is PART for its look, PART-shape for its shape. Where there is no direction, NAME.txt says why; delete it to search
again. Files appear whole or not at all
and depend on nothing but their inputs, so that several processes may fill one folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import Samples, label_mask
from lelsd_core.discovery.search import discover
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.seeds import HELD_OUT
from lelsd_core.segmenters import Segmenter, adapt
from lelsd_core.weights.safetensors import write_text

if TYPE_CHECKING:
    from lelsd_core.faces import FaceAligner

QUICK = DiscoverConfig(steps=60, batch=4, samples=64)
QUICK_SHAPE = {"steps": 40, "batch": 4, "samples": 64}  # of a local move, which is found sooner
ENDINGS = {"look": "", "shape": "-shape"}  # kind of a move -> what follows its part in its name
CALIBRATION_SEEDS = HELD_OUT[:16]
MAX_PARTS = 32  # a segmenter with more parts is asked for groups of them
PRESENCE_SAMPLES = 16  # samples that show whether a part occurs
MIN_AREA = 0.001  # of a picture, for a part to count as present in it
MIN_PRESENCE = 0.25  # share of the samples
MAX_AREA = 0.95  # a part of nearly the whole picture is not local


@dataclass(frozen=True, eq=False)
class GalleryProgress:
    """What `fill_gallery` has reached."""

    name: str  # of the current direction
    done: int  # directions finished so far, with those that were not found
    total: int  # all of them
    share: float  # of this search that is done, 0 to 1; 1 once there is a direction or a message
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
    configs: Mapping[str, DiscoverConfig] | None = None,
    aligner: FaceAligner | None = None,
) -> Iterator[GalleryProgress]:
    """Find the directions of each part.

    Args:
        generator, segmenter: the networks.
        folder: cache of directions; the parts in it come first and are not searched again.
        parts: names of parts or groups; None = `usual_parts`.
        configs: settings of the searches by kind, "look" or "shape", their parts do not matter; None = `quick_configs`.
        aligner: of the generator's pictures, if they are faces, for the words at the ends of the sliders.

    Yields:
        `GalleryProgress`, several times for each direction; close the iterator to stop.

    Raises:
        UserError: a config does not fit the generator, or the segmenter does not know a part.
    """
    from lelsd_core.evaluation.calibration import calibrate  # loads OpenCV, which a generator does not need

    segmenter = adapt(segmenter)
    parts = usual_parts(segmenter) if parts is None else parts
    configs = configs or quick_configs(generator)
    checked = {kind: replace(config, parts=parts).check(generator, segmenter) for kind, config in configs.items()}
    samples = {kind: Samples(generator, segmenter, config) for kind, config in checked.items()}
    wanted = [(kind, part, part + ENDINGS[kind]) for part in next(iter(checked.values())).parts for kind in checked]
    cached = {name: read_cache(folder, name, generator) for _, _, name in wanted}
    for done, (kind, part, name) in enumerate(sorted(wanted, key=lambda each: not any(cached[each[-1]]))):
        (direction, words), total = cached[name], len(wanted)
        try:
            if not direction and not words:
                check_presence(part, samples[kind])
                config = replace(checked[kind], parts=part)
                for progress in discover(generator, segmenter, config, samples=samples[kind]):
                    yield GalleryProgress(name, done, total, 0.9 * progress.step / progress.total)
                direction = replace(progress.directions[0], name=name)
                direction = calibrate(generator, segmenter, direction, CALIBRATION_SEEDS, aligner=aligner)
                direction.save(direction_path(folder, name))
        except UserError as problem:  # no sample shows the part in a way that a move changes
            direction, words = None, str(problem)
            with suppress(OSError):  # if the message cannot be saved, the next run finds out again
                write_text(direction_path(folder, name, ".txt"), f"{words}\n")
        except OSError as problem:
            words = f"{name} could not be saved ({problem.strerror or problem}); it can be used until the program ends."
        yield GalleryProgress(name, done + 1, total, 1.0, direction, words)


def quick_configs(generator: Generator) -> dict[str, DiscoverConfig]:
    """Short searches, one of each kind."""
    return {"look": QUICK, "shape": DiscoverConfig.shapes(generator, **QUICK_SHAPE)}


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


def cached_directions(generator: Generator, segmenter: Segmenter) -> tuple[Direction, ...]:
    """The directions that `fill_gallery` found for a generator in earlier runs; damaged files are left out."""
    folder = gallery_folder(generator.fingerprint, generator.sha256)
    names = [part + ending for part in usual_parts(segmenter) for ending in ENDINGS.values()]
    cached = [read_cache(folder, name, generator) for name in names]
    return tuple(direction for direction, _ in cached if direction)


def direction_path(folder: Path, name: str, ending: str = ".safetensors") -> Path:
    """The file of a direction; with ".txt", of the message why there is none."""
    return folder / ("".join(c if c.isalnum() else "-" for c in name) + ending)


def read_cache(folder: Path, name: str, generator: Generator) -> tuple[Direction | None, str]:
    """A cached direction, or the saved message why there is none; neither if it has to be searched (again)."""
    with suppress(UserError):  # missing, damaged, or another generator's
        direction = Direction.load(direction_path(folder, name))
        direction.check(generator)
        return direction, ""
    with suppress(OSError, UnicodeDecodeError):
        return None, direction_path(folder, name, ".txt").read_text(encoding="utf-8").strip()
    return None, ""
