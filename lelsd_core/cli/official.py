"""The paper's official recipe as published against this project's, on the same networks: held-out scores and seconds.

    official recipe, as published  -->  its held-out scores, its seconds
    this project's recipe with the same batch  -->  its held-out scores, seconds until they are as high

The official recipe is `DiscoverConfig.paper`, and in its loop: 4 fresh samples in each step, untouched and moved
picture both rendered and segmented, masks resized without antialiasing, the learning rate halved a step early, a graph
through all of it and gradients for all weights. Both recipes are measured twice on the same held-out seeds, each at the
middle of its own amounts: on the picture of untruncated samples, and as the official recipe scores itself.
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

from lelsd_core.device import placed_like
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import EarlyStopping, codes_to_render
from lelsd_core.discovery.search import UnitSphere, discover, draw_amounts
from lelsd_core.generators.base import Generator
from lelsd_core.localization import combined_mask, localization_score
from lelsd_core.registry import load_generator, load_segmenter
from lelsd_core.seeds import OFFICIAL
from lelsd_core.segmenters import Segmenter, part_mask, segment_synthesis
from lelsd_core.weights.catalogue import generator_spec, segmenter_of

PARTS, SEEDS = ("eyes", "mouth", "hair"), (0, 1, 2)
CHECK_EVERY = 10  # steps of this project's recipe between two held-out scores


def official(name: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Compare both recipes on every part with every seed: the comparisons, and the median and largest ratio of seconds.

    `name` is a generator with a segmenter. Each recipe renders its own samples. A ratio is infinite if this project's
    score never was as high; "ratio" is of the score on the picture, "maps_ratio" of the official measure.
    """
    settings = generator_spec(name).discover
    segmenter, generator = load_segmenter(segmenter_of(name), device), load_generator(name, device)
    rows = []
    for part, seed in product(PARTS, SEEDS):
        published = DiscoverConfig.paper(generator, parts=part, seed=seed, micro=settings.micro)
        ours = replace(settings, parts=part, seed=seed, batch=published.batch)
        row = race(generator, segmenter, *(config.check(generator, segmenter) for config in (published, ours)))
        rows.append({"part": part, "seed": seed, **row})
        print(
            f"{part} seed {seed}: official {row['official_score']:.4f} on the picture, "
            f"{row['official_maps_score']:.4f} on all maps, in {row['official_s']:.2f} s; "
            f"ours {row['score']:.4f}, {row['maps_score']:.4f} in {row['whole_s']:.2f} s; "
            f"ratios to equal scores {row['ratio']:.3f}, {row['maps_ratio']:.3f}",
            flush=True,
        )
    ratios, maps_ratios = ([row[key] for row in rows] for key in ("ratio", "maps_ratio"))
    print(f"ours takes {statistics.median(ratios):.3f} of the official recipe's time (worst {max(ratios):.3f})")
    result = {"generator": name, "races": rows, "ratio": statistics.median(ratios), "worst_ratio": max(ratios)}
    return result | {"maps_ratio": statistics.median(maps_ratios)}


def race(
    generator: Generator, segmenter: Segmenter, published: DiscoverConfig, ours: DiscoverConfig
) -> dict[str, float]:
    """Scores and seconds of the official recipe and of this project's, both configs checked; keys as in `official`."""

    def measures(config: DiscoverConfig) -> dict[str, EarlyStopping]:
        on_picture = replace(config, layers=(), weights=(), truncation=None)
        on_maps = replace(config, layers=published.layers, weights=(), truncation=published.truncation)
        return {key: EarlyStopping(generator, segmenter, each) for key, each in (("", on_picture), ("maps_", on_maps))}

    began = time.perf_counter()
    *_, vector = official_loop(generator, segmenter, published)
    row = {"official_s": time.perf_counter() - began}
    row |= {f"official_{key}score": each.mean_score(vector[None]) for key, each in measures(published).items()}
    held_out, seconds, began = measures(ours), 0.0, time.perf_counter()
    for progress in discover(generator, segmenter, ours):
        is_last = progress.step == progress.total
        if progress.step % CHECK_EVERY and not is_last:
            continue
        seconds += time.perf_counter() - began
        for key, each in held_out.items():
            if f"{key}seconds" not in row or is_last:
                row[f"{key}score"] = score = each.mean_score(progress.directions[0].vector[None])
                if score >= row[f"official_{key}score"]:
                    row.setdefault(f"{key}seconds", seconds)
        began = time.perf_counter()
    ratios = {f"{key}ratio": row.get(f"{key}seconds", float("inf")) / row["official_s"] for key in held_out}
    return row | ratios | {"whole_s": seconds}


def official_loop(generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> Iterator[Tensor]:
    """The direction (D,) after each step of the official recipe with a checked config of one direction."""
    generator, segmenter = copy.deepcopy(generator), copy.deepcopy(segmenter)
    for tensor in (*generator.parameters(), *generator.buffers(), *segmenter.parameters(), *segmenter.buffers()):
        if tensor.is_floating_point():
            tensor.requires_grad_()  # for all weights, as in the official loop
    space, random = generator.space(config.space), torch.Generator().manual_seed(config.seed)
    sphere = UnitSphere(space, config, torch.zeros(0, space.width, device=generator.device))
    start = torch.randn(1, space.width, generator=random).to(generator.device)
    vector = sphere.project(start, unit=True).requires_grad_()  # (1, D)
    optimizer = torch.optim.Adam([vector], config.lr)
    early = [config.steps // 4 * i - 1 for i in (1, 2, 3, 4)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, early, 0.5)
    for step in range(config.steps):
        seeds = OFFICIAL[step * config.batch : (step + 1) * config.batch]
        codes = generator.sample_in(config.space, seeds, truncation=config.truncation).detach()
        moved = codes + placed_like(draw_amounts(config, random), codes) * sphere.project(vector)
        rendered = [codes_to_render(generator, config, each) for each in (codes, moved)]
        before, after = (generator.synthesize(*each, keep=config.layers) for each in rendered)
        with torch.no_grad():
            segmented = [segment_synthesis(segmenter, synthesis) for synthesis in (before, after)]
        masks = [part_mask(probabilities, segmenter.parts, config.parts) for probabilities in segmented]
        mask, scores = combined_mask(*masks, masks=config.masks), []
        for layer in config.layers:
            pair = before.features(layer).detach(), after.features(layer)
            scores.append(localization_score(*pair, published_mask(mask, pair[0].shape[-1]), eps=1e-6).mean())
        loss = -torch.stack(scores).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield vector[0].detach().clone()


def published_mask(mask: Tensor, size: int) -> Tensor:
    """A mask (B, 1, h, h) at another size as the official code has it: halved until it fits, corner on corner."""
    while mask.shape[-1] != size:
        closer = max(size, mask.shape[-1] // 2)
        mask = F.interpolate(mask, (closer, closer), mode="bilinear", align_corners=True)
    return mask
