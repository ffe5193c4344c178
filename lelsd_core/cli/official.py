"""The official recipe and ours on the same networks, in one run: seconds to the same held-out score.

    official loop, as published  -->  its final held-out score, its seconds
    ours, the generator's recipe with the same batch  -->  seconds until its held-out score is as high

The official loop: 200 steps of 4 samples, Adam 0.001 halved at each quarter, fresh samples in each step, untouched and
moved picture both rendered and segmented, a graph through all of it and gradients for all weights. Space, slots,
amounts, masks and where the score is read are the same for both. Scores are looked at off the clock.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.search import EarlyStopping, discover, draw_amounts
from lelsd_core.generators.base import Generator
from lelsd_core.localization import combined_mask, localization_score
from lelsd_core.registry import load_generator, load_segmenter
from lelsd_core.segmenters import Segmenter, part_mask, segment_synthesis
from lelsd_core.specs import generator_spec, segmenter_of

PARTS, SEEDS = ("eyes", "mouth", "hair"), (0, 1, 2)
OFFICIAL = {"steps": 200, "batch": 4, "lr": 0.001, "schedule": "halving"}
LOOK = 5  # steps of ours between two looks at the held-out score


@dataclass(frozen=True)
class Race:
    """One part and seed.

    Args:
        part, seed: what was looked for.
        official_score, official_s: held-out score and seconds at the end of the official recipe.
        score, seconds: ours, when first as good; or at its end, if it never was.
        ratio: our seconds over theirs; infinite if ours never was as good.
    """

    part: str
    seed: int
    official_score: float
    official_s: float
    score: float
    seconds: float
    ratio: float


def official(
    name: str, device: torch.device | str = "cpu", parts: Sequence[str] = PARTS, seeds: Sequence[int] = SEEDS
) -> dict[str, Any]:
    """Race all parts and seeds; every time is printed, the worst ratio counts."""
    spec = generator_spec(name)
    segmenter, generator = load_segmenter(segmenter_of(name), device), load_generator(name, device)
    races = []
    for part in parts:
        for seed in seeds:
            config = replace(spec.discover, parts=(part,), seed=seed).check(generator, segmenter)
            races.append(race(generator, segmenter, config))
            print(
                f"{part} seed {seed}: official {races[-1].official_score:.4f} in {races[-1].official_s:.2f} s, "
                f"ours {races[-1].score:.4f} in {races[-1].seconds:.2f} s, ratio {races[-1].ratio:.3f}",
                flush=True,
            )
    ratios = [one.ratio for one in races]
    print(f"ours takes {statistics.median(ratios):.3f} of the official recipe's time (worst {max(ratios):.3f})")
    rows = [vars(one) for one in races]
    return {"generator": name, "races": rows, "ratio": statistics.median(ratios), "worst_ratio": max(ratios)}


def race(generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> Race:
    """The official recipe to its end, then ours until it is as good; each makes its own samples on its own clock."""
    stopping = EarlyStopping(generator, segmenter, config)
    began = time.perf_counter()
    *_, vector = official_loop(generator, segmenter, replace(config, **OFFICIAL))
    official_s = time.perf_counter() - began
    wanted = stopping.score(vector[None])
    seconds, score, began = 0.0, 0.0, time.perf_counter()
    for progress in discover(generator, segmenter, replace(config, batch=OFFICIAL["batch"])):
        if progress.step % LOOK and progress.step < progress.total:
            continue
        seconds += time.perf_counter() - began
        score = stopping.score(progress.directions[0].vector[None])
        if score >= wanted:
            break
        began = time.perf_counter()
    ratio = seconds / official_s if score >= wanted else float("inf")
    return Race(config.parts[0], config.seed, wanted, official_s, score, seconds, ratio)


def official_loop(generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> Iterator[Tensor]:
    """The direction (D,) after each step of the official recipe."""
    generator, segmenter = trainable(generator), trainable(segmenter)
    space, random = generator.space(config.space), torch.Generator().manual_seed(config.seed)
    writable = space.column_mask(config.slots)
    start = torch.randn(space.width, generator=random) * writable
    vector = space.unit(start).requires_grad_()
    optimizer = torch.optim.Adam([vector], config.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [config.steps * i // 4 for i in (1, 2, 3)], 0.5)
    for step in range(config.steps):
        seeds = range(2_000_000 + step * config.batch, 2_000_000 + (step + 1) * config.batch)
        codes = generator.lift(generator.sample(seeds), generator.space_names[0], config.space)
        moved = codes + draw_amounts(config, random) * (vector * writable)
        before, after = (generator.synthesize(c, config.space) for c in (codes, moved))
        with torch.no_grad():
            masks = [
                part_mask(segment_synthesis(segmenter, synthesis), segmenter.parts, config.parts)
                for synthesis in (before, after)
            ]
        mask = combined_mask(*masks, masks=config.masks)
        loss = -localization_score(before.image, after.image, mask).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            vector.copy_(space.unit(vector * writable))
        yield vector.detach().clone()


def trainable(network: Any) -> Any:
    """A copy whose weights all take gradients, as the official loop leaves them."""
    if not isinstance(network, nn.Module):
        return network
    network = copy.deepcopy(network)
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            tensor.requires_grad_()
    return network
