"""Discover, measure and name the directions of digiface-64, and draw their contact sheets.

    python checkpoints/digiface-64/make/make_directions.py [PART ...] [--measure]

One direction for each part, with the generator's own recipe (its `discover` in the catalogue), the exceptions of
`RECIPES`, and seed 0. Ranges and scores come from the held-out seeds of `lelsd_core.seeds`; the words for the
ends were given after looking at the sheets. `--measure` keeps the vectors that are there; it measures, names and draws
them again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image
from tqdm import tqdm

from lelsd_core import seeds
from lelsd_core.directions import Direction, move
from lelsd_core.discovery.search import discover
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.generators.base import Generator
from lelsd_core.images import enlarge, grid, to_pil
from lelsd_core.registry import load_generator, load_segmenter
from lelsd_core.segmenters import UNetSegmenter
from lelsd_core.weights.catalogue import CHECKPOINTS, generator_spec

ENDS = {  # part -> what the low and the high end do
    "background": ("darker", "brighter"),
    "brows": ("fuller", "fainter"),
    "clothes": ("darker", "brighter"),
    "eyes": ("darker", "brighter"),
    "hair": ("darker", "brighter"),
    "mouth": ("redder", "paler"),
    "nose": ("flatter", "shinier"),
    "skin": ("darker", "brighter"),
}
RECIPES = {"clothes": {"slots": (), "steps": 500}}  # gains only multiply: a black collar needs biases to get brighter
SHOWN = 6  # held-out samples on a contact sheet
SIDE = 128


def contact_sheet(generator: Generator, direction: Direction) -> Image.Image:
    """One row for each of `SHOWN` held-out samples: low end, half way, untouched, half way, high end."""
    amounts = [direction.low, direction.low / 2, 0.0, direction.high / 2, direction.high]
    codes = generator.lift(generator.sample(seeds.HELD_OUT[:SHOWN]), generator.space_names[0], direction.space)
    columns = [generator.synthesize(move(codes, [direction], [amount]), direction.space).image for amount in amounts]
    return grid([[enlarge(to_pil(column[row : row + 1]), SIDE) for column in columns] for row in range(SHOWN)])


def found_direction(generator: Generator, segmenter: UNetSegmenter, part: str, recipe: Mapping[str, Any]) -> Direction:
    """What a discovery of a part ends with, with the generator's settings and those of a recipe."""
    config = replace(generator_spec(generator.name).discover, parts=(part,), **recipe)
    for progress in tqdm(discover(generator, segmenter, config), part, config.steps, mininterval=5):
        found = progress.directions[0]
    return found


def make(
    name: str,
    ends: Mapping[str, tuple[str, str]],
    recipes: Mapping[str, Mapping[str, Any]],
    samples: Sequence[int],
    about: str | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Make the directions that are named on the command line.

    Args:
        name: of the generator.
        ends: for each part, what the low and the high end do.
        recipes: settings of the search by part, where they are not the generator's.
        samples: seeds of the held-out samples.
        limits: range of a slider, where the figures allow more than the eye.
        about: help text.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(ends), metavar="PART")
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    generator, segmenter = load_generator(name), load_segmenter(generator_spec(name).segmenter)
    folder = CHECKPOINTS / name / "directions"
    folder.mkdir(exist_ok=True)
    print("| direction | score | area | gain | low | high |\n|---|---|---|---|---|---|")
    for part in options.parts:
        path, recipe = folder / f"{part}.safetensors", recipes.get(part, {})
        found = Direction.load(path) if options.measure else found_direction(generator, segmenter, part, recipe)
        limit = (limits or {}).get(part)
        found = replace(calibrate(generator, segmenter, found, samples, limits=limit), ends=ends[part])
        found.save(path)
        contact_sheet(generator, found).save(path.with_suffix(".jpg"), quality=90)
        figures = f"{found.score:.3f} | {found.area:.3f} | {found.gain:.1f} | {found.low} | {found.high}"
        print(f"| {found.title} | {figures} |", flush=True)


if __name__ == "__main__":
    make("digiface-64", ENDS, RECIPES, seeds.HELD_OUT, __doc__)
