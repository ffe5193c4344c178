"""What a discovery's choices matter: ways to combine masks, and where the score is read, side by side.

settings × parts × seeds --> short discoveries --> held-out score on the picture, variety among the seeds

The paper says that the method is robust to how masks are combined, and that scores read at feature maps give more
variety than scores read at the picture.
"""

from __future__ import annotations

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
from lelsd_core.evaluation.heldout import HELD_OUT, HeldOut, evaluate_one, held_out
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters import Segmenter

SAMPLES = HELD_OUT[:32]
SEEDS = (0, 1, 2)
STEPS, BATCH = 40, 4  # of each discovery; enough to tell settings apart


@dataclass(frozen=True)
class Setting:
    """One line of the table: masks, and "picture" or "features"."""

    masks: str
    read: str


@dataclass(frozen=True)
class Finding:
    """What a setting found for a part.

    Args:
        masks, read: the setting.
        part: the part.
        score: mean held-out score on the picture over seeds, whatever the search itself was scored on.
        spread: standard deviation of the seeds' scores.
        variety: mean of 1 − |cosine| between what two seeds' directions change in a picture; 0 = all the same.
    """

    masks: str
    read: str
    part: str
    score: float
    spread: float
    variety: float


SETTINGS = (*(Setting(masks, "picture") for masks in MASKS), Setting("average", "features"))


def ablate(
    generator: Generator,
    segmenter: Segmenter,
    config: DiscoverConfig,
    parts: Sequence[str],
    seeds: Sequence[int] = SEEDS,
    settings: Sequence[Setting] = SETTINGS,
) -> Iterator[Finding]:
    """One `Finding` for each setting and part; untouched samples are shared by all that can share them."""
    samples: dict[str, Samples] = {}
    measured_on: HeldOut | None = None
    for setting in settings:
        layers = tuple(generator.layers) if setting.read == "features" else ()
        for part in parts:
            wanted = replace(config, parts=(part,), masks=setting.masks, layers=layers, weights=())
            wanted = wanted.check(generator, segmenter)
            shared = samples.setdefault(setting.read, Samples(generator, segmenter, wanted))
            measured_on = measured_on or held_out(generator, segmenter, wanted.space, SAMPLES)
            found = []
            for seed in seeds:
                *_, last = discover(generator, segmenter, replace(wanted, seed=seed), samples=shared)
                found.append(last.directions[0])
            yield finding(generator, segmenter, found, measured_on, setting)


def finding(
    generator: Generator, segmenter: Segmenter, found: Sequence[Direction], samples: HeldOut, setting: Setting
) -> Finding:
    """The figures of one setting's directions for one part, one of each seed."""
    middle = [replace(d, low=d.low / 2, high=d.high / 2) for d in found]
    scores = [evaluate_one(generator, segmenter, direction, samples).score for direction in middle]
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    part = " ".join(found[0].parts)
    return Finding(
        setting.masks, setting.read, part, statistics.mean(scores), spread, variety(generator, middle, samples)
    )


@torch.inference_mode()
def variety(generator: Generator, directions: Sequence[Direction], samples: HeldOut) -> float:
    """Mean of 1 − |cosine| between the changes that two directions make, over samples and pairs; 0 for one alone."""
    changes = [change(generator, direction, samples) for direction in directions]
    pairs = [float(1 - F.cosine_similarity(a, b).abs().mean()) for a, b in combinations(changes, 2)]
    return statistics.mean(pairs) if pairs else 0.0


def change(generator: Generator, direction: Direction, samples: HeldOut) -> Tensor:
    """What the high end of a direction changes in each picture, (N, 3·H·W)."""
    moved = samples.codes + direction.high * direction.vector.to(samples.codes)
    return (generator.synthesize(moved, direction.space).image - samples.pictures).flatten(1)
