"""The paper's official training recipe against this project's, on the same networks: seconds to the same score.

    official loop, as published  -->  its final held-out score, its seconds
    this project's recipe with the same batch  -->  seconds until its held-out score is as high

The official loop: 200 steps of 4 samples, Adam 0.001 halved at each quarter, fresh samples in each step, untouched and
moved picture both rendered and segmented, a graph through all of it and gradients for all weights. Space, slots,
amounts, masks and where the score is read are the same for both. Computing held-out scores is not timed.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.search import EarlyStopping, discover, draw_amounts
from lelsd_core.generators.base import Generator
from lelsd_core.localization import combined_mask, localization_score
from lelsd_core.registry import load_generator, load_segmenter
from lelsd_core.seeds import OFFICIAL
from lelsd_core.segmenters import Segmenter, part_mask, segment_synthesis
from lelsd_core.specs import generator_spec, segmenter_of

PARTS, SEEDS = ("eyes", "mouth", "hair"), (0, 1, 2)
RECIPE = {"steps": 200, "batch": 4, "lr": 0.001, "schedule": "halving"}
CHECK_EVERY = 5  # steps of this project's recipe between two held-out scores


@dataclass(frozen=True)
class Comparison:
    """Both recipes on one part with one seed.

    Args:
        part, seed: of the search.
        official_score, official_s: held-out score and seconds at the end of the official recipe.
        score, seconds: of this project's recipe when its score is first as high; else at its end.
        ratio: seconds over official_s; infinite if the score never was as high.
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
    """Compare both recipes on every part with every seed, and print each comparison.

    Args:
        name: a named generator with a segmenter.
        device: where both run.
        parts: names of parts.
        seeds: of the searches.

    Returns:
        The comparisons, and the median and the largest ratio.
    """
    spec = generator_spec(name)
    segmenter, generator = load_segmenter(segmenter_of(name), device), load_generator(name, device)
    comparisons = []
    for part in parts:
        for seed in seeds:
            config = replace(spec.discover, parts=part, seed=seed).check(generator, segmenter)
            comparisons.append(result := compare(generator, segmenter, config))
            print(
                f"{part} seed {seed}: official {result.official_score:.4f} in {result.official_s:.2f} s, "
                f"ours {result.score:.4f} in {result.seconds:.2f} s, ratio {result.ratio:.3f}",
                flush=True,
            )
    ratios = [result.ratio for result in comparisons]
    print(f"ours takes {statistics.median(ratios):.3f} of the official recipe's time (worst {max(ratios):.3f})")
    rows = [asdict(result) for result in comparisons]
    return {"generator": name, "races": rows, "ratio": statistics.median(ratios), "worst_ratio": max(ratios)}


def compare(generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> Comparison:
    """The official recipe to its end, then this project's until its score is as high; each renders its own samples."""
    stopping = EarlyStopping(generator, segmenter, config)
    began = time.perf_counter()
    *_, vector = official_loop(generator, segmenter, replace(config, **RECIPE))
    official_s = time.perf_counter() - began
    target = stopping.score(vector[None])
    seconds, score, began = 0.0, 0.0, time.perf_counter()
    for progress in discover(generator, segmenter, replace(config, batch=RECIPE["batch"])):
        if progress.step % CHECK_EVERY and progress.step < progress.total:
            continue
        seconds += time.perf_counter() - began
        score = stopping.score(progress.directions[0].vector[None])
        if score >= target:
            break
        began = time.perf_counter()
    ratio = seconds / official_s if score >= target else float("inf")
    return Comparison(config.parts[0], config.seed, target, official_s, score, seconds, ratio)


def official_loop(generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> Iterator[Tensor]:
    """The direction (D,) after each step of the official recipe with a checked config."""
    generator, segmenter = trainable(generator), trainable(segmenter)
    space, random = generator.space(config.space), torch.Generator().manual_seed(config.seed)
    writable = space.column_mask(config.slots)
    start = torch.randn(space.width, generator=random) * writable
    vector = space.unit(start).requires_grad_()
    optimizer = torch.optim.Adam([vector], config.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [config.steps * i // 4 for i in (1, 2, 3)], 0.5)
    for step in range(config.steps):
        seeds = OFFICIAL[step * config.batch : (step + 1) * config.batch]
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
    """A copy whose weights all take gradients, as in the official loop."""
    if not isinstance(network, nn.Module):
        return network
    network = copy.deepcopy(network)
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            tensor.requires_grad_()
    return network
