"""Discover, measure and name the directions of digiface-64, and draw their contact sheets.

    python checkpoints/digiface-64/make/make_directions.py [PART ...] [--measure]

One direction for each part, with the generator's own recipe (its `discover` in the catalogue), the exceptions of
`RECIPES`, and seed 0. Ranges and scores come from the held-out seeds of `lelsd_core.seeds`; the words for the
ends were given after looking at the sheets. `--measure` keeps the vectors that are there; it measures, names and draws
them again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from checkpoints_make import HERE  # beside this file
from PIL import Image
from tqdm import tqdm

from lelsd_core import seeds
from lelsd_core.directions import Direction, move
from lelsd_core.discovery.search import discover
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.evaluation.heldout import evaluate
from lelsd_core.generators.base import Generator
from lelsd_core.images import enlarge, grid, to_pil
from lelsd_core.registry import load_generator, load_segmenter
from lelsd_core.segmenters import UNetSegmenter
from lelsd_core.weights.catalogue import GENERATORS

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


def found_direction(generator: Generator, segmenter: UNetSegmenter, part: str) -> Direction:
    """What a discovery of a part ends with."""
    config = replace(GENERATORS["digiface-64"].discover, parts=(part,), **RECIPES.get(part, {}))
    for progress in tqdm(discover(generator, segmenter, config), part, config.steps, mininterval=5):
        found = progress.directions[0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(ENDS), metavar="PART")
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    generator, segmenter = load_generator("digiface-64"), load_segmenter(GENERATORS["digiface-64"].segmenter)
    made = []
    for part in options.parts:
        path = HERE / "directions" / f"{part}.safetensors"
        found = Direction.load(path) if options.measure else found_direction(generator, segmenter, part)
        found = replace(calibrate(generator, segmenter, found), ends=ENDS[part])
        found.save(path)
        contact_sheet(generator, found).save(path.with_suffix(".jpg"), quality=90)
        made.append(found)
    print("| direction | score | area | gain | low | high | RMS change |\n|---|---|---|---|---|---|---|")
    for row, found in zip(evaluate(generator, segmenter, made), made, strict=True):
        change = " / ".join(f"{end:.3f}" for end in row.change)
        print(
            f"| {found.title} | {row.score:.3f} | {row.area:.3f} | {row.gain:.1f} | {row.low} | {row.high} | {change} |"
        )


if __name__ == "__main__":
    main()
