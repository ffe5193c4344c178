"""Score the directions of digiface-64 with MediaPipe's masks, so that the shipped segmenter does not grade itself.

    pip install torch==2.13.0 safetensors mediapipe==0.10.14        (tools for making, not requirements)
    python checkpoints/digiface-64/make/check_directions.py

64 seeds that nothing else uses. A sample counts if MediaPipe finds its face untouched and at both ends.
"""

from __future__ import annotations

import torch
from checkpoints_make import HERE  # beside this file
from labels import PARTS, Labeller  # beside this file
from torch import Tensor

from lelsd_core.directions import Direction, load_directions
from lelsd_core.generators.base import Generator
from lelsd_core.images import to_uint8
from lelsd_core.localization import COMBINE, locality_gain, localization_score
from lelsd_core.registry import load_generator

SEEDS = range(600_000, 600_064)


def masks(pictures: Tensor, direction: Direction, labeller: Labeller) -> list[Tensor | None]:
    """The mask (1, 1, 64, 64) of the direction's parts in each picture, None where no face is found."""
    found = [labeller(picture) for picture in to_uint8(pictures)]
    numbers = torch.tensor([PARTS.index(part) for part in direction.parts])
    return [None if f is None else torch.isin(torch.from_numpy(f[0]), numbers).float()[None, None] for f in found]


@torch.inference_mode()
def check(generator: Generator, direction: Direction, labeller: Labeller) -> tuple[float, float, int]:
    """Mean score and mean area over both ends, and how many samples counted."""
    codes = generator.lift(generator.sample(SEEDS), generator.space_names[0], direction.space)
    pictures = [
        generator.synthesize(codes + amount * direction.vector, direction.space).image
        for amount in (0.0, direction.low, direction.high)
    ]
    before, *ends = [masks(batch, direction, labeller) for batch in pictures]
    scores, areas, counted = [], [], 0
    for i in range(len(SEEDS)):
        if before[i] is None or any(end[i] is None for end in ends):
            continue
        counted += 1
        for picture, end in zip(pictures[1:], ends, strict=True):
            mask = COMBINE["average"](before[i], end[i])
            if mask.any():
                scores.append(float(localization_score(pictures[0][i : i + 1], picture[i : i + 1], mask)))
                areas.append(float(mask.mean()))
    return sum(scores) / len(scores), sum(areas) / len(areas), counted


def main() -> None:
    torch.set_num_threads(1)
    generator, labeller = load_generator("digiface-64"), Labeller()
    print("| direction | score | area | gain | samples |\n|---|---|---|---|---|")
    for direction in load_directions(HERE / "directions"):
        score, area, counted = check(generator, direction, labeller)
        print(f"| {direction.name} | {score:.3f} | {area:.3f} | {locality_gain(score, area):.1f} | {counted} |")


if __name__ == "__main__":
    main()
