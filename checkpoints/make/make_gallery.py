"""Makes the gallery of a shipped generator: finds its directions, measures them, and draws their contact sheets.

    PYTHONPATH=. python checkpoints/make/make_gallery.py digiface-64 [NAME ...] [--measure] [--out FOLDER]

    `GALLERY` --LELSD, from a named start if there is one--> vectors --held-out samples--> ranges, figures, motion

Each entry holds the fields of its search, on top of the generator's own for looks or for shapes, and what was chosen by
eye on sheets and photos: the words for the ends, a range narrower than the figures allow, which of several directions
that were found at once, and a smaller box to let it in. `--measure` keeps the vectors that are there. The order of the
sliders, and recipes that combine them, stand in `gallery.toml` beside them; `--recipes` draws the recipes' pictures.
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
from lelsd_core.evaluation.naming import about, motion
from lelsd_core.galleries.shelf import PICTURES
from lelsd_core.images import enlarge, grid, to_pil
from lelsd_core.local import LocalMove
from lelsd_core.registry import build_frame, load_aligner, load_editor, load_generator, load_segmenter
from lelsd_core.seeds import HELD_OUT
from lelsd_core.weights.catalogue import segmenter_of, spec_of


def look(part: str, low: str, high: str, limits: tuple[float, float] | None = None, **fields: Any) -> dict[str, Any]:
    """An entry of `GALLERY` for a global move of a part."""
    return {"parts": part, "ends": (low, high), "limits": limits, **fields}


def shape(part: str, start: str, limits: tuple[float, float] | None = None, **fields: Any) -> dict[str, Any]:
    """An entry of `GALLERY` for a local move of a part, from a named start, or anywhere if that is ""."""
    return {"preset": "shape", "parts": part, "start": start or (), "limits": limits, **fields}


def named(
    start: str, parts: str | tuple[str, ...], layer: str, low: float, high: float, **fields: Any
) -> dict[str, Any]:
    """An entry of `GALLERY` for a named start as it is, let in around some parts at a layer."""
    return shape(parts, start, (low, high), local=layer, **{"steps": 0, **fields})


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
FACE, BARE = ("skin", "brows", "eyes", "nose", "mouth"), ("skin", "nose", "ears", "neck")
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
        "collar": named("collar", "clothes", "16.conv", -2, 2),
        "lip-colour": named("lip-colour", "mouth", "16.conv", -1.7, 1.7, dilate=0.0),
        "light": named("light", ("skin", "nose"), "16.conv", -1.4, 1.4, dilate=0.0),
        "hair-length": named("hair-length", "hair", "16.conv", -1.6, 1.6, dilate=0.0),
        "hair-blond": named("hair-blond", "hair", "16.conv", -1.4, 1.2, dilate=0.0),
    },
    "blaze-256": {
        "smile": named("smile", "mouth", "32.conv1", -5.5, 5.5),
        "mouth-open": named("mouth-open", "mouth", "32.conv1", -7.5, 8.5),
        "lips": named("lips", "mouth", "32.conv1", -8, 7),
        "lip-colour": named("lip-colour", "mouth", "128.conv1", -6, 6, dilate=0.0),
        "brows-height": named("brows", "brows", "16.conv1", -8, 8),
        "brow-tilt": named("brow-tilt", "brows", "32.conv1", -5, 5),
        "brows-light": named("brows-light", "brows", "64.conv1", -5, 6),
        "brows": look("brows", "thicker", "thinner", (-15.0, 20.0)),
        "eyes": look("eyes", "darker", "wider", (-12.5, 12.5), about="eyes-light"),
        "eye-shadow": named("eye-shadow", "eyes", "64.conv1", -4, 8),
        "glasses": named("glasses", "eyes", "16.conv1", -6, 8),
        "nose-length": named("nose-length", "nose", "32.conv1", -3.5, 6),
        "age": named(
            "face-length", FACE, "16.conv1", -5, 4, ends=("childlike", "grown-up"), dilate=0.0, feather=1 / 32
        ),
        "skin-tone": named("skin-light", BARE, "128.conv1", -3, 3.5, dilate=0.0, feather=1 / 64),
        "light": named("light", ("skin", "nose"), "128.conv1", -6, 6, dilate=0.0, feather=1 / 64),
        "hair-length": named("hair-length", "hair", "16.conv1", -8, 8, dilate=0.0, feather=3 / 64),
        "fringe": named("fringe", "hair", "16.conv1", -7, 5, dilate=0.0, feather=1 / 32),
        "parting": shape("hair", "", (-6.0, 2.0), ends=("side parting", "swept back"), inside=FOREHEAD, **HAIR),
        "curls": shape("hair", "", (-4.0, 6.0), ends=("smooth", "curly"), take=2, **HAIR),
        "hair-blond": named("hair-blond", "hair", "128.conv1", -5, 5, dilate=0.0, feather=1 / 64),
        "hair": look("hair", "darker", "lighter", about="hair-light"),
        "collar": named("collar", "clothes", "16.conv1", -4, 8),
        "clothes-light": named("clothes-light", "clothes", "32.conv1", -8, 8),
        "background": look("background", "darker", "brighter", about="background-light"),
        "background-blue": named("background-blue", "background", "128.conv1", -4, 8, dilate=0.0, feather=1 / 64),
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


def draw_recipes(name: str) -> None:
    """The pictures of a gallery's recipes, on the face that the page opens with."""
    spec = spec_of(name)
    editor = load_editor(name)
    session, folder = editor.random_face(spec.first_seed), Path(spec.directions) / PICTURES
    folder.mkdir(exist_ok=True)
    for recipe, each in editor.recipes.items():
        picture = editor.render(session, each.amounts).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        picture.save(folder / f"{recipe}.jpg", quality=90)


def main() -> None:
    """Make all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", choices=GALLERY)
    parser.add_argument("names", nargs="*", metavar="NAME", help="[all]")
    parser.add_argument("--measure", action="store_true", help="keep the vectors that are there")
    parser.add_argument("--recipes", action="store_true", help="only draw the pictures of the gallery's recipes")
    parser.add_argument("--out", type=Path, help="another folder than the generator's, to look at them first")
    options = parser.parse_args()
    if options.recipes:
        draw_recipes(options.generator)
        return
    maker = Maker(options.generator)
    folder = options.out or Path(maker.spec.directions)
    folder.mkdir(exist_ok=True)
    print("| direction | score | area | gain | low | high | motion |\n|---|---|---|---|---|---|---|")
    gallery = GALLERY[options.generator]
    for name in options.names or gallery:
        path, fields, began = folder / f"{name}.safetensors", dict(gallery[name]), time.perf_counter()
        limits, ends, inside, tells = (fields.pop(key, None) for key in ("limits", "ends", "inside", "about"))
        found = Direction.load(path) if options.measure else maker.find(**fields)
        found = replace(found, name=name, ends=ends or found.ends)
        if tells:
            found = replace(found, facts=found.facts | {"about": tells})
        if inside:
            old = found.local
            place = LocalMove.in_box(old.layer, inside, dilate=old.dilate, feather=old.feather)
            found = replace(found, local=place)
        made = maker.measure(found, limits)
        made.save(path)
        contact_sheet(maker.samples, made).save(path.with_suffix(".jpg"), quality=90)
        figures = f"{made.score:.3f} | {made.area:.3f} | {made.gain:.1f} | {made.low:g} | {made.high:g}"
        moves = made.facts.get("motion", {})
        name = about(made, moves)
        moved = "{} {:+.1f}, {:+.1f}".format(name, *moves[name]) if name else ""
        print(f"| {made.title} | {figures} | {moved} | {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
