"""The paper's official training recipe against this project's, on the same networks: seconds to the same score.

    official loop, as published  -->  its final held-out score, its seconds
    this project's recipe with the same batch  -->  seconds until its held-out score is as high

The official loop: 200 steps of 4 fresh samples, Adam 0.001 halved at each quarter, untouched and moved picture both
rendered and segmented, a graph through all of it and gradients for all weights. All else is the same for both.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import EarlyStopping
from lelsd_core.discovery.search import discover, draw_amounts
from lelsd_core.generators.base import Generator
from lelsd_core.localization import combined_mask, localization_score
from lelsd_core.registry import load_generator, load_segmenter
from lelsd_core.seeds import OFFICIAL
from lelsd_core.segmenters import Segmenter, part_mask, segment_synthesis
from lelsd_core.weights.catalogue import generator_spec, segmenter_of

PARTS, SEEDS = ("eyes", "mouth", "hair"), (0, 1, 2)
RECIPE = {"steps": 200, "batch": 4, "lr": 0.001, "schedule": "halving"}
CHECK_EVERY = 5  # steps of this project's recipe between two held-out scores


def official(name: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Compare both recipes on every part with every seed: the comparisons, and the median and largest ratio of seconds.

    `name` is a generator with a segmenter. Each recipe renders its own samples. A ratio is infinite if this project's
    score never was as high.
    """
    settings = generator_spec(name).discover
    segmenter, generator = load_segmenter(segmenter_of(name), device), load_generator(name, device)
    rows = []
    for part, seed in product(PARTS, SEEDS):
        config = replace(settings, parts=part, seed=seed).check(generator, segmenter)
        stopping = EarlyStopping(generator, segmenter, config)
        began = time.perf_counter()
        *_, vector = official_loop(generator, segmenter, replace(config, **RECIPE))
        official_s = time.perf_counter() - began
        target = stopping.mean_score(vector[None])
        seconds, score, began = 0.0, 0.0, time.perf_counter()
        for progress in discover(generator, segmenter, replace(config, batch=RECIPE["batch"])):
            if progress.step % CHECK_EVERY and progress.step < progress.total:
                continue
            seconds += time.perf_counter() - began
            score = stopping.mean_score(progress.directions[0].vector[None])
            if score >= target:
                break
            began = time.perf_counter()
        ratio = seconds / official_s if score >= target else float("inf")
        row = {"part": part, "seed": seed, "official_score": target, "official_s": official_s}
        rows.append(row | {"score": score, "seconds": seconds, "ratio": ratio})
        print(
            f"{part} seed {seed}: official {target:.4f} in {official_s:.2f} s, "
            f"ours {score:.4f} in {seconds:.2f} s, ratio {ratio:.3f}",
            flush=True,
        )
    ratios = [row["ratio"] for row in rows]
    print(f"ours takes {statistics.median(ratios):.3f} of the official recipe's time (worst {max(ratios):.3f})")
    return {"generator": name, "races": rows, "ratio": statistics.median(ratios), "worst_ratio": max(ratios)}


def official_loop(generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> Iterator[Tensor]:
    """The direction (D,) after each step of the official recipe with a checked config."""
    generator, segmenter = copy.deepcopy(generator), copy.deepcopy(segmenter)
    for tensor in (*generator.parameters(), *generator.buffers(), *segmenter.parameters(), *segmenter.buffers()):
        if tensor.is_floating_point():
            tensor.requires_grad_()  # for all weights, as in the official loop
    space, random = generator.space(config.space), torch.Generator().manual_seed(config.seed)
    writable = space.column_mask(config.slots)
    vector = F.normalize(torch.randn(space.width, generator=random) * writable, dim=0).requires_grad_()
    optimizer = torch.optim.Adam([vector], config.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [config.steps * i // 4 for i in (1, 2, 3)], 0.5)
    for step in range(config.steps):
        seeds = OFFICIAL[step * config.batch : (step + 1) * config.batch]
        codes = generator.lift(generator.sample(seeds), generator.space_names[0], config.space)
        moved = codes + draw_amounts(config, random) * (vector * writable)
        before, after = generator.synthesize(codes, config.space), generator.synthesize(moved, config.space)
        with torch.no_grad():
            segmented = [segment_synthesis(segmenter, synthesis) for synthesis in (before, after)]
        masks = [part_mask(probabilities, segmenter.parts, config.parts) for probabilities in segmented]
        mask = combined_mask(*masks, masks=config.masks)
        loss = -localization_score(before.image, after.image, mask).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            vector.copy_(F.normalize(vector * writable, dim=0))
        yield vector.detach().clone()
