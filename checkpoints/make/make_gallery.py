"""Makes the gallery of a shipped generator: finds its directions, measures them, and draws their contact sheets.

    PYTHONPATH=. python checkpoints/make/make_gallery.py digiface-64 [NAME ...] [--measure] [--out FOLDER]

    `GALLERY` --LELSD, from a named start if there is one--> vectors --held-out samples--> ranges, figures, motion

Each entry holds the fields of its search, on top of the generator's own for looks or for shapes, and what was chosen by
eye on sheets and photos: the words for the ends, a range narrower than the figures allow, which of several directions
that were found at once, and a smaller box to let it in. `--measure` keeps the vectors that are there.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.search import discover
from lelsd_core.discovery.starts import Measured, in_words, starts_of
from lelsd_core.evaluation.calibration import calibrate, range_samples
from lelsd_core.evaluation.heldout import HeldOut, held_out
from lelsd_core.evaluation.naming import motion
from lelsd_core.images import enlarge, grid, to_pil
from lelsd_core.local import LocalMove
from lelsd_core.registry import build_frame, load_aligner, load_generator, load_segmenter
from lelsd_core.seeds import HELD_OUT
from lelsd_core.weights.catalogue import segmenter_of, spec_of


def look(part: str, low: str, high: str, limits: tuple[float, float] | None = None, **fields: Any) -> dict[str, Any]:
    """An entry of `GALLERY` for a global move of a part."""
    return {"parts": part, "ends": (low, high), "limits": limits, **fields}


def shape(part: str, start: str, limits: tuple[float, float] | None = None, **fields: Any) -> dict[str, Any]:
    """An entry of `GALLERY` for a local move of a part, from a named start, or anywhere if that is ""."""
    return {"preset": "shape", "parts": part, "start": start or (), "limits": limits, **fields}


FRINGE = {"box": (10 / 64, 0.0, 54 / 64, 26 / 64), "dilate": 0.0}  # the forehead and the hair above it
HAIR = {  # three local moves at once, of hair and forehead
    "box": (8 / 64, 0.0, 56 / 64, 26 / 64),
    "dilate": 0.0,
    "feather": 0.1,
    "count": 3,
    "compare": "changes",
    "steps": 120,
    "truncation": None,
    "least": None,
    "most": None,
}
FOREHEAD = (16 / 64, 8 / 64, 48 / 64, 24 / 64)  # without the outline of the hair
GALLERY: dict[str, dict[str, dict[str, Any]]] = {
    "digiface-64": {
        "background": look("background", "darker", "brighter"),
        "brows": look("brows", "fuller", "fainter"),
        "clothes": look("clothes", "darker", "brighter", slots=(), steps=500),  # gains alone leave a black collar black
        "eyes": look("eyes", "darker", "brighter"),
        "hair": look("hair", "darker", "brighter"),
        "mouth": look("mouth", "redder", "paler"),
        "nose": look("nose", "flatter", "shinier"),
        "skin": look("skin", "darker", "brighter"),
        "mouth-open": shape("mouth", "mouth-open", (-2.8, 2.0)),
        "smile": shape("mouth", "smile", (-2.4, 2.4)),
        "brows-height": shape("brows", "brows", (-1.8, 2.6)),
        "nose-length": shape("nose", "nose-length", (-2.0, 2.4)),
        "gaze": shape("eyes", "gaze", (-2.0, 2.0)),
        "fringe": shape("hair", "fringe", (-1.2, 1.0), **FRINGE),
    },
    "blaze-256": {
        "background": look("background", "darker", "brighter"),
        "brows": look("brows", "thicker", "thinner", (-15.0, 20.0)),
        "clothes": look("clothes", "darker", "bluer"),
        "eyes": look("eyes", "darker", "wider", (-12.5, 12.5)),
        "hair": look("hair", "darker", "lighter"),
        "mouth": look("mouth", "redder", "paler", (-15.0, 15.0)),
        "nose": look("nose", "darker", "brighter", (-10.0, 20.0)),
        "skin": look("skin", "darker", "brighter"),
        "mouth-open": shape("mouth", "mouth-open", (-6.0, 5.0), hold=0.4),
        "mouth-width": shape("mouth", "mouth-width"),
        "smile": shape("mouth", "smile"),
        "brows-height": shape("brows", "brows", (-4.0, 6.0), hold=0.4),
        "nose-length": shape("nose", "nose-length", (-3.0, 4.0), hold=0.4),
        "parting": shape("hair", "", (-6.0, 2.0), ends=("side parting", "swept back"), inside=FOREHEAD, **HAIR),
        "curls": shape("hair", "", (-4.0, 6.0), ends=("smooth", "curly"), take=2, **HAIR),
    },
}
SEEDS = {"digiface-64": HELD_OUT, "blaze-256": HELD_OUT[:64]}  # that their sliders are measured on
SHOWN = 6  # held-out samples on a contact sheet
SIDE = 128


class Maker:
    """Finds, measures and draws directions of one generator."""

    def __init__(self, name: str) -> None:
        self.spec, self.generator = spec_of(name), load_generator(name)
        self.segmenter = load_segmenter(segmenter_of(name), generator=self.generator)
        self.aligner = load_aligner(build_frame(self.spec, self.generator.resolution))
        self.measured = Measured.load(self.spec.measured, self.generator)
        self.samples = held_out(self.generator, self.segmenter, HELD_OUT[: range_samples(self.generator)])
        self.found: dict[DiscoverConfig, list[Direction]] = {}

    def find(self, preset: str = "look", take: int = 0, **fields: Any) -> Direction:
        """The direction that a search ends with; one search serves all entries with the same fields."""
        usual = self.spec.shapes(self.generator) if preset == "shape" else self.spec.discover
        config = usual.with_values(**fields).check(self.generator, self.segmenter)
        if config not in self.found:
            starts = starts_of(config, self.generator, self.segmenter, self.aligner, self.measured)
            given = [start.vector for start in starts]
            *_, last = discover(self.generator, self.segmenter, config, starts=given)
            self.found[config] = in_words(last.directions, starts)
        return self.found[config][take]

    def measure(self, direction: Direction, limits: tuple[float, float] | None) -> Direction:
        """The direction with its range, its figures, and the motion of its landmarks."""
        seeds = SEEDS[self.generator.name]
        direction = calibrate(self.generator, self.segmenter, direction, seeds, limits=limits, aligner=self.aligner)
        if not direction.local:
            return direction
        return replace(direction, facts=direction.facts | {"motion": motion(self.samples, direction, self.aligner)})


def contact_sheet(samples: HeldOut, direction: Direction) -> Image.Image:
    """One row for each of `SHOWN` held-out samples: low end, half way, untouched, half way, high end."""
    amounts = [direction.low, direction.low / 2, 0.0, direction.high / 2, direction.high]
    columns = [samples.moved(direction, amount, slice(0, SHOWN))[0] for amount in amounts]
    return grid([[enlarge(to_pil(column[row : row + 1]), SIDE) for column in columns] for row in range(SHOWN)])


def main() -> None:
    """Make all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", choices=GALLERY)
    parser.add_argument("names", nargs="*", metavar="NAME", help="[all]")
    parser.add_argument("--measure", action="store_true", help="keep the vectors that are there")
    parser.add_argument("--out", type=Path, help="another folder than the generator's, to look at them first")
    options = parser.parse_args()
    maker = Maker(options.generator)
    folder = options.out or Path(maker.spec.directions)
    folder.mkdir(exist_ok=True)
    print("| direction | score | area | gain | low | high | motion |\n|---|---|---|---|---|---|---|")
    gallery = GALLERY[options.generator]
    for name in options.names or gallery:
        path, fields, began = folder / f"{name}.safetensors", dict(gallery[name]), time.perf_counter()
        limits, ends, inside = (fields.pop(key, None) for key in ("limits", "ends", "inside"))
        found = Direction.load(path) if options.measure else maker.find(**fields)
        found = replace(found, name=name, ends=ends or found.ends)
        if inside:
            old = found.local
            place = LocalMove.in_box(old.layer, inside, dilate=old.dilate, feather=old.feather)
            found = replace(found, local=place)
        made = maker.measure(found, limits)
        made.save(path)
        contact_sheet(maker.samples, made).save(path.with_suffix(".jpg"), quality=90)
        figures = f"{made.score:.3f} | {made.area:.3f} | {made.gain:.1f} | {made.low:g} | {made.high:g}"
        motions = made.facts.get("motion", {}).items()
        moved = "; ".join(f"{each} {low:+.1f}, {high:+.1f}" for each, (low, high) in motions)
        print(f"| {made.title} | {figures} | {moved} | {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
