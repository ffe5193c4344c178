"""Untouched samples of a discovery: rendered and segmented once, shared by its directions and by later discoveries.

    seeds --> codes --> View: maps to compare, and what the segmenter says  -->  `Batch`

Only what is needed is rendered: up to the last map for gradients, the rest of the picture without them, and no picture
at all where neither the score nor the segmenter looks at one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.device import first_that_fits
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator, State, Synthesis
from lelsd_core.localization import NOTHING, change_inside, combined_mask
from lelsd_core.segmenters import Segmenter, part_mask, segment_synthesis

FIRST_SEED = 1_000_000  # samples to learn from; held-out seeds of `measure` and `plateau` are below
MOST_BYTES = 2**30  # of samples kept; more are rendered again when their turn comes


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples: codes (B, D), maps to compare, and labels (B, h, w) or, for soft masks, probabilities (B, P, h, w)."""

    codes: Tensor
    maps: tuple[Tensor, ...]
    answer: Tensor

    def rows(self, chosen: slice) -> Batch:
        """Some of the samples."""
        return Batch(self.codes[chosen], tuple(m[chosen] for m in self.maps), self.answer[chosen])

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(t.numel() * t.element_size() for t in (self.codes, *self.maps, self.answer))


class View:
    """What a discovery sees of codes: maps to compare and where the parts are.

    Args:
        generator, segmenter: what renders and what tells the parts.
        config: which space, layers, picture and masks; checked.
    """

    def __init__(self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> None:
        self.generator, self.segmenter, self.config = generator, segmenter, config
        self.maps = config.layers or ("picture",)
        names = list(generator.layers)
        needed = [*config.layers, *segmenter.needs, *filter(None, [config.view])]
        self.keep = tuple(name for name in names if name in needed)
        self.pictured = "picture" in self.maps or getattr(segmenter, "needs_picture", True)
        self.last_scored = max((names.index(name) for name in config.layers), default=len(names))

    def render(self, codes: Tensor) -> Batch:
        """Maps with their graph, answer without. UserError if the view's layer has no running RGB."""
        synthesis = self.synthesize(codes)
        if self.config.view:
            synthesis = replace(synthesis, image=running_rgb(synthesis, self.config.view))
        with torch.no_grad():
            answer = segment_synthesis(self.segmenter, detached(synthesis))
        maps = tuple(synthesis.image if name == "picture" else synthesis.features(name) for name in self.maps)
        return Batch(codes, maps, answer if self.config.edges == "soft" else labels(answer))

    def synthesize(self, codes: Tensor) -> Synthesis:
        """Everything needed of the codes; without a graph after the last map that is scored."""
        whole = self.pictured and not self.config.view
        if "picture" in self.maps or not torch.is_grad_enabled():
            return self.generator.synthesize(codes, self.config.space, keep=self.keep, image=whole)
        scored = self.generator.synthesize(codes, self.config.space, keep=self.keep[: self.scored_kept], image=False)
        rest = self.keep[self.scored_kept :]
        if not (whole or rest):
            return scored
        last = list(scored.states)[-1]
        state = State(*(None if t is None else t.detach() for t in (scored.states[last].x, scored.states[last].rgb)))
        with torch.no_grad():
            later = self.generator.synthesize(
                codes.detach(), self.config.space, keep=rest, resume=(last, state), image=whole
            )
        return replace(later, states={**scored.states, **later.states})

    @property
    def scored_kept(self) -> int:
        """How many of the kept layers come up to the last scored one."""
        names = list(self.generator.layers)
        return sum(names.index(name) <= self.last_scored for name in self.keep)

    def mask(self, batch: Batch) -> Tensor:
        """The mask (B, 1, h, w) of the config's parts."""
        soft = self.config.edges == "soft"
        parts = self.segmenter.parts
        answer = batch.answer if soft else one_hot(batch.answer, len(parts))
        return part_mask(answer, parts, self.config.parts, soft=soft)

    def scores(self, before: Batch, after: Batch) -> tuple[Tensor, Tensor]:
        """Localization score (B,), the weighted mean over maps, and 1 for each sample that counts, else 0.

        A sample counts if its mask is not empty and every map changes; one that does not scores 0.
        """
        masks = self.mask(before), self.mask(after)
        mask = combined_mask(*masks, masks=self.config.masks, region=self.config.region)
        counted = (mask.sum((1, 2, 3)) > 0) & ((masks[0] + masks[1]).sum((1, 2, 3)) > 0)
        weights = self.config.weights or (1.0,) * len(self.maps)
        score: Tensor | float = 0.0
        for weight, a, b in zip(weights, before.maps, after.maps, strict=True):
            inside, total = change_inside(a, b, mask, difference=self.config.difference)
            counted = counted & (total.detach() > NOTHING)
            score = score + weight * (inside / (total + 1e-8))
        return score / sum(weights), counted.to(mask)


class Samples:
    """Untouched samples, made as they are first needed, and kept as far as memory allows; threads may share them.

    Args:
        generator, segmenter: what renders and what tells the parts.
        config: which space, maps, picture and batch; its parts do not matter, so other parts can share the samples.
        first: the first seed.
    """

    def __init__(
        self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig, first: int = FIRST_SEED
    ) -> None:
        self.view, self.config, self.first = View(generator, segmenter, config), config, first
        self.kept: dict[int, Batch] = {}
        self.bytes, self.lock = 0, threading.Lock()

    def fits(self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> bool:
        """Whether a discovery with this config can use these samples."""
        same = all(
            getattr(self.config, name) == getattr(config, name)
            for name in ("space", "layers", "view", "edges", "batch", "samples")
        )
        return same and generator is self.view.generator and segmenter is self.view.segmenter

    def batch(self, number: int) -> Batch:
        """Batch `number`; the batches come round again."""
        number %= max(1, self.config.samples // self.config.batch)
        with self.lock:
            if number not in self.kept:
                if self.bytes > MOST_BYTES:
                    number_dropped = next(reversed(self.kept))
                    self.bytes -= self.kept.pop(number_dropped).size
                first = self.first + number * self.config.batch
                self.kept[number] = self.render(range(first, first + self.config.batch))
                self.bytes += self.kept[number].size
            return self.kept[number]

    @torch.no_grad()
    def render(self, seeds: Sequence[int]) -> Batch:
        """The batch of some seeds, as many at a time as the config's micro-batches hold."""
        generator, size = self.view.generator, self.config.micro or len(seeds)
        codes = generator.lift(generator.sample(seeds), generator.space_names[0], self.config.space)
        parts = first_that_fits(*(lambda n=n: [self.view.render(some) for some in codes.split(n)] for n in (size, 1)))
        maps = tuple(torch.cat(maps) for maps in zip(*(part.maps for part in parts), strict=True))
        return Batch(codes, maps, torch.cat([part.answer for part in parts])) if len(parts) > 1 else parts[0]


class LatestSamples:
    """The samples of the latest discovery, for the next one that can use them; threads may share it."""

    def __init__(self) -> None:
        self.samples: Samples | None = None
        self.lock = threading.Lock()

    def fitting(self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> Samples:
        """Samples for a checked config: those that are there if they fit, else new ones in their place."""
        with self.lock:
            if self.samples is None or not self.samples.fits(generator, segmenter, config):
                self.samples = Samples(generator, segmenter, config)
            return self.samples


def running_rgb(synthesis: Synthesis, layer: str) -> Tensor:
    """The running RGB after a layer. UserError for an architecture without one."""
    rgb = synthesis.states[layer].rgb
    if rgb is None:
        raise UserError(f"{layer} has no running RGB; only networks that add up a picture have one. Leave view empty.")
    return rgb


def detached(synthesis: Synthesis) -> Synthesis:
    """The same synthesis without its graph, for a segmenter: masks carry no gradient."""
    image = None if synthesis.image is None else synthesis.image.detach()
    return replace(synthesis, image=image)


def labels(probabilities: Tensor) -> Tensor:
    """The likeliest part of each pixel, (B, h, w), as small as it can be kept."""
    return probabilities.argmax(1).to(torch.uint8 if probabilities.shape[1] <= 256 else torch.int64)


def one_hot(answer: Tensor, parts: int) -> Tensor:
    """Labels (B, h, w) as probabilities (B, P, h, w) of 0 and 1."""
    return F.one_hot(answer.long(), parts).permute(0, 3, 1, 2).float()
