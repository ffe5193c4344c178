"""Ablation of a search: ways to combine masks, and scores read at the picture or at feature maps, side by side.

    settings × parts × seeds --> short searches --> held-out score on the picture, variety among the seeds

The paper says that the method is robust to how masks are combined, and that scores read at feature maps give more
variety than scores read at the picture.

    python -m tests.bench.ablation [--generator NAME] [--parts PART ...] [--seeds SEED ...] [--steps N]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.directions import Direction
from lelsd_core.discovery.config import MASKS, DiscoverConfig
from lelsd_core.discovery.samples import Samples
from lelsd_core.discovery.search import discover
from lelsd_core.evaluation.heldout import HeldOut, held_out
from lelsd_core.generators.base import Generator
from lelsd_core.registry import load_generator, load_segmenter
from lelsd_core.seeds import HELD_OUT
from lelsd_core.segmenters import Segmenter
from lelsd_core.weights.catalogue import segmenter_of, spec_of

SETTINGS = (*((masks, "picture") for masks in MASKS), ("average", "features"))  # masks, where the score is read
STEPS, BATCH = 40, 4  # of each search; enough to tell settings apart


@dataclass(frozen=True)
class AblationRow:
    """One setting and part."""

    masks: str  # how they are combined
    read: str  # where the search reads its score: "picture" or "features"
    part: str
    score: float  # mean held-out score on the picture over seeds
    spread: float  # standard deviation of the seeds' scores
    variety: float  # mean of 1 − |cosine| between what two seeds' directions change in a picture; 0 = all the same


def ablate(
    generator: Generator,
    segmenter: Segmenter,
    config: DiscoverConfig,
    parts: Sequence[str],
    seeds: Sequence[int],
    held_out_seeds: Sequence[int] = HELD_OUT[:32],
) -> Iterator[AblationRow]:
    """Search with every setting, for every part.

    Args:
        generator, segmenter: the networks.
        config: of each search; masks, layers, part and seed are replaced.
        parts: names of parts.
        seeds: of the searches.
        held_out_seeds: samples that the directions are evaluated on.
    """
    config = config.check(generator, segmenter)
    samples: dict[str, Samples] = {}  # shared by all settings that read the score at the same place
    evaluated_on = held_out(generator, segmenter, held_out_seeds)
    for masks, read in SETTINGS:
        layers = tuple(generator.layers) if read == "features" else ()
        for part in parts:
            setting = replace(config, parts=part, masks=masks, layers=layers, weights=()).check(generator, segmenter)
            shared = samples.setdefault(read, Samples(generator, segmenter, setting))
            directions = []
            for seed in seeds:
                *_, last = discover(generator, segmenter, replace(setting, seed=seed), samples=shared)
                direction = last.directions[0]
                directions.append(replace(direction, low=direction.low / 2, high=direction.high / 2))
            scores = [evaluated_on.evaluate(direction).score for direction in directions]
            spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
            variety = mean_variety(generator, directions, evaluated_on)
            yield AblationRow(masks, read, part, statistics.mean(scores), spread, variety)


@torch.inference_mode()
def mean_variety(generator: Generator, directions: Sequence[Direction], samples: HeldOut) -> float:
    """Mean of 1 − |cosine| between the changes that two directions make, over samples and pairs; 0 for one alone."""

    def change(direction: Direction) -> Tensor:
        moved = samples.codes + direction.high * direction.vector.to(samples.codes)
        return (generator.synthesize(moved, direction.space).image - samples.pictures).flatten(1)

    pairs = combinations(map(change, directions), 2)
    differences = [float(1 - F.cosine_similarity(a, b).abs().mean()) for a, b in pairs]
    return statistics.mean(differences) if differences else 0.0


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="digiface-64", help="registry name [%(default)s]")
    parser.add_argument("--parts", nargs="+", default=["eyes", "mouth", "hair"], help="[%(default)s]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the searches [%(default)s]")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each search [%(default)s]")
    options = parser.parse_args(arguments)
    generator = load_generator(options.generator)
    segmenter = load_segmenter(segmenter_of(options.generator), generator=generator)
    config = replace(spec_of(options.generator).discover, steps=options.steps, batch=BATCH, parts=options.parts)
    print(f"{'masks':14} {'read at':10} {'part':12} {'score':>6} {'spread':>7} {'variety':>8}")
    for row in ablate(generator, segmenter, config, options.parts, options.seeds):
        print(
            f"{row.masks:14} {row.read:10} {row.part:12} {row.score:6.3f} {row.spread:7.3f} {row.variety:8.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
