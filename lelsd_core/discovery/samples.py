"""Untouched samples of a search: rendered and segmented once, shared by its directions and by later searches.

    seeds --> codes --> pictures or feature maps, and part labels --> `Batch`;  two batches --> localization scores

Only what is needed is rendered: with gradients up to the last scored map, and a picture only if one is read.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from lelsd_core.device import first_that_fits, free_bytes, gradient, how_many, peak_bytes, placed_like
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator, State, Synthesis
from lelsd_core.local import EditedCodes, LocalMove, patches_of
from lelsd_core.localization import NO_CHANGE, change_inside, combined_mask
from lelsd_core.seeds import EARLY_STOPPING, TRAINING
from lelsd_core.segmenters import Parts, Segmenter, part_mask, segment_synthesis

PIXELS = 2**20  # rendered at a time with gradients, where a sample's memory is not measured
USABLE = 0.7  # share of a GPU's free memory that is filled with gradients; the rest is for fragments
CACHED_SHARE, MOST_CACHED = 0.25, 2**32  # of the free memory, and bytes; further batches are rendered again when used
CACHED_BLINDLY = 2**30  # bytes, where nobody knows how much memory is free
STOPPING_BATCH, STOPPING_PIXELS = 32, 2**21  # rendered at a time, without gradients, for the held-out score


@dataclass(frozen=True, eq=False)
class Batch:
    """Rendered and segmented samples."""

    codes: Tensor  # (B, D)
    maps: tuple[Tensor, ...]  # what the score compares: the pictures, or feature maps (B, C, H, W)
    segmentation: Tensor  # part labels (B, h, w); for soft masks, probabilities (B, P, h, w)
    local: State | None = None  # at the layer of a local move, which goes on from there

    def rows(self, rows: slice) -> Batch:
        """Some of the samples."""
        x, rgb = (self.local.x, self.local.rgb) if self.local else (None, None)
        local = None if x is None else State(x[rows], None if rgb is None else rgb[rows])
        return Batch(self.codes[rows], tuple(m[rows] for m in self.maps), self.segmentation[rows], local)

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """Several batches as one."""

        maps = tuple(torch.cat(maps) for maps in zip(*(batch.maps for batch in batches), strict=True))
        codes, segmentation = (torch.cat([getattr(b, name) for b in batches]) for name in ("codes", "segmentation"))
        local = None
        if (first := batches[0].local) is not None:
            rgb = None if first.rgb is None else torch.cat([batch.local.rgb for batch in batches])
            local = State(torch.cat([batch.local.x for batch in batches]), rgb)
        return cls(codes, maps, segmentation, local)

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        local = (self.local.x, self.local.rgb) if self.local else ()
        return sum(t.nbytes for t in (self.codes, *self.maps, self.segmentation, *local) if t is not None)


class Samples:
    """Batches of untouched samples, rendered on first use and cached as far as memory allows; safe across threads.

    Args:
        generator, segmenter: the networks.
        config: checked; its space, truncation, layers, view, edges and batch size count. Its parts do not, so that
            searches for other parts can share the samples.
        first_seed: of the first sample; the others follow.
    """

    def __init__(
        self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig, first_seed: int = TRAINING.start
    ) -> None:
        self.generator, self.segmenter, self.config, self.first_seed = generator, segmenter, config, first_seed
        self.batches = max(1, config.samples // config.batch)  # number of different ones
        self.cache: dict[int, Batch] = {}
        self.lock = threading.Lock()

    def fits(self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> bool:
        """Whether a search with these networks and this checked config can use these samples."""
        fields = ("space", "truncation", "local", "layers", "view", "edges", "batch", "samples")
        same = all(getattr(self.config, name) == getattr(config, name) for name in fields)
        return same and generator is self.generator and segmenter is self.segmenter

    @cached_property
    def micro(self) -> int:
        """Samples rendered at a time with gradients: the config's, else as many as a CUDA device has memory for.

        One sample is measured for that. Elsewhere they have at most `PIXELS`.
        """
        config, device = self.config, self.generator.device
        if config.micro:
            return min(config.micro, config.batch)
        if device.type != "cuda" or free_bytes(device) is None:
            return how_many(PIXELS, self.generator.resolution**2, config.batch)
        each = peak_bytes(device, self._train_on_one)
        return how_many(USABLE * free_bytes(device), each, config.batch)

    def _train_on_one(self) -> None:
        """Render the first sample with its gradient, as a step of a search does."""
        codes = self._codes(range(self.first_seed, self.first_seed + 1)).detach().requires_grad_()
        with torch.enable_grad():
            gradient(sum(each.square().mean() for each in self.render(codes).maps), codes)

    def _codes(self, seeds: range) -> Tensor:
        """The codes (B, D) of seeds in the config's space."""
        return self.generator.sample_in(self.config.space, seeds, truncation=self.config.truncation)

    @torch.no_grad()
    def batch(self, number: int) -> Batch:
        """Batch `number`, counted round the available ones; rendered one by one if memory is short."""
        number %= self.batches
        with self.lock:
            if number not in self.cache:
                held = sum(batch.nbytes for batch in self.cache.values())
                if held and held > cache_room(free_bytes(self.generator.device), held):
                    self.cache.popitem()  # the newest: all are used in turn, so that others are needed sooner
                first = self.first_seed + number * self.config.batch
                codes, sizes = self._codes(range(first, first + self.config.batch)), (self.micro, 1)
                parts = first_that_fits(*(lambda n=n: [self.render(rows) for rows in codes.split(n)] for n in sizes))
                self.cache[number] = Batch.joined(parts)
            return self.cache[number]

    def render(self, codes: Tensor) -> Batch:
        """Render and segment codes (B, D); the maps are differentiable. UserError for a view without a running RGB."""
        synthesis = self._synthesize(*codes_to_render(self.generator, self.config, codes), kept=self.config.local)
        return replace(self._segmented(codes, synthesis), local=synthesis.states.get(self.config.local))

    def move(self, before: Batch, codes: Tensor, config: DiscoverConfig) -> Batch:
        """Untouched samples moved to codes (B, D), as `render`; a local move is let in around the config's parts."""
        place = LocalMove.of(config)
        if place is None:
            return self.render(codes)
        generator, finest = self.generator, self.generator.space_names[-1]
        still, moved = (
            generator.lift(*codes_to_render(generator, config, each), finest) for each in (before.codes, codes)
        )
        mask_of = partial(mask_in, before.segmentation, self.segmenter.parts, config)
        patches = patches_of(generator, EditedCodes(still, ((place, moved),)), lambda _: place.mask(mask_of))
        synthesis = self._synthesize(still, finest, patches=patches, resume=(place.layer, before.local))
        return self._segmented(codes, synthesis)

    def _segmented(self, codes: Tensor, synthesis: Synthesis) -> Batch:
        """The batch of a synthesis."""
        config = self.config
        if config.view:
            synthesis = replace(synthesis, image=synthesis.states[config.view].rgb)
            if synthesis.image is None:
                raise UserError(
                    f"{config.view} has no running RGB; only networks that add up a picture have one. Leave view empty."
                )
        image = None if synthesis.image is None else synthesis.image.detach()
        with torch.no_grad():
            segmentation = segment_synthesis(self.segmenter, replace(synthesis, image=image))
        if config.edges == "binary":
            segmentation = segmentation.argmax(1).to(torch.uint8 if segmentation.shape[1] <= 256 else torch.int64)
        maps = tuple(synthesis.features(name) for name in config.layers) or (synthesis.image,)
        return Batch(codes, maps, segmentation)

    def _synthesize(self, codes: Tensor, space: str, kept: str = "", **options: Any) -> Synthesis:
        """All that is needed of the codes, and a layer to be kept; without a graph after the last scored map.

        `options`: `resume` and `patches` of `Generator.synthesize`.
        """
        config, generator, names = self.config, self.generator, list(self.generator.layers)
        needed = {*config.layers, *self.segmenter.needs, config.view, kept}
        layers = [name for name in names if name in needed]
        image = not config.view and (not config.layers or self.segmenter.needs_picture)
        if "resume" in options and layers and names.index(layers[0]) < names.index(options["resume"][0]):
            del options["resume"]  # an earlier map is read
        if not config.layers or not torch.is_grad_enabled():
            return generator.synthesize(codes, space, keep=layers, image=image, **options)
        scored = layers[: layers.index(max(config.layers, key=names.index)) + 1]
        rest = layers[len(scored) :]
        lower = generator.synthesize(codes, space, keep=scored, image=False, **options)
        if not (image or rest):
            return lower
        last = lower.states[scored[-1]]
        resume = (scored[-1], State(last.x.detach(), None if last.rgb is None else last.rgb.detach()))
        with torch.no_grad():
            upper = generator.synthesize(codes.detach(), space, keep=rest, resume=resume, image=image)
        return replace(upper, states={**lower.states, **upper.states})

    def score(self, before: Batch, after: Batch, config: DiscoverConfig) -> tuple[Tensor, Tensor]:
        """Localization scores of moved samples.

        Args:
            before, after: B untouched samples, and the same ones moved.
            config: parts, masks, difference and weights of the maps.

        Returns:
            Scores (B,) in [0, 1], weighted means over the maps; and (B,) 1 for each sample that counts, whose mask is
            not empty and one of whose maps changes. All others get 0 and score 0.
        """
        masks = [mask_in(batch.segmentation, self.segmenter.parts, config, config.parts) for batch in (before, after)]
        mask = combined_mask(*masks, masks=config.masks, region=config.region)
        counted = (mask.sum((1, 2, 3)) > 0) & ((masks[0] + masks[1]).sum((1, 2, 3)) > 0)
        weights = config.weights or (1.0,) * len(before.maps)
        score, changed = torch.zeros_like(mask[:, 0, 0, 0]), torch.zeros_like(counted)
        for weight, map_before, map_after in zip(weights, before.maps, after.maps, strict=True):
            inside, total = change_inside(map_before, map_after, mask, difference=config.difference)
            changed = changed | (total.detach() > NO_CHANGE)
            score = score + weight * (inside / (total + 1e-8))
        return score / sum(weights), placed_like(counted & changed, mask)


def cache_room(free: int | None, held: int) -> int:
    """Bytes of samples that may be cached: a share of what is free without them, `MOST_CACHED` at most.

    `free`: bytes that are free now, None = not known; `held`: bytes of the samples that are cached now.
    """
    return CACHED_BLINDLY if free is None else min(MOST_CACHED, int(CACHED_SHARE * (free + held)))


def mask_in(segmentation: Tensor, parts: Parts, config: DiscoverConfig, chosen: Sequence[str]) -> Tensor:
    """The mask (B, 1, h, w) of chosen parts in a batch's segmentation; binary or soft, as the config has it."""
    if config.edges == "binary":
        return label_mask(segmentation, parts, chosen)
    return part_mask(segmentation, parts, chosen, soft=True)


def codes_to_render(generator: Generator, config: DiscoverConfig, codes: Tensor) -> tuple[Tensor, str]:
    """Codes (B, D) of a checked config's space, moved or not, as they are rendered, and the space they are in then.

    Codes of the first space can be truncated only behind the mapping network, once they are moved; others already are.
    """
    first, finest = generator.space_names[0], generator.space_names[-1]
    if config.truncation is None or config.space != first:
        return codes, config.space
    return generator.lift(codes, first, finest, truncation=config.truncation), finest


def label_mask(labels: Tensor, parts: Sequence[str], chosen: str | Sequence[str]) -> Tensor:
    """The mask (B, 1, h, w) of chosen parts or groups, 1 where one of them is the label (B, h, w), which is binary."""
    parts = Parts(parts)
    channels = torch.tensor([parts.index(name) for name in parts.expand(chosen)], device=labels.device)
    return torch.isin(labels.long(), channels).float()[:, None]


class EarlyStopping(Samples):
    """Held-out samples of a search with a checked config, whose maps and masks score directions on them."""

    def __init__(self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> None:
        rows = how_many(STOPPING_PIXELS, generator.resolution**2, min(config.micro or STOPPING_BATCH, STOPPING_BATCH))
        config = replace(config, batch=rows, samples=len(EARLY_STOPPING), micro=rows)
        super().__init__(generator, segmenter, config, EARLY_STOPPING.start)

    @torch.no_grad()
    def mean_score(self, vectors: Tensor) -> float:
        """Mean score of directions (K, D) at the middle amount, over both signs and all samples that count."""
        total = counted = 0.0
        amount = (self.config.least + self.config.most) / 2
        for before in map(self.batch, range(self.batches)):
            for vector, signed in product(placed_like(vectors, before.codes), (-amount, amount)):
                scores, shown = self.score(
                    before, self.move(before, before.codes + signed * vector, self.config), self.config
                )
                total, counted = total + float((scores * shown).sum()), counted + float(shown.sum())
        return total / max(counted, 1.0)


class LatestSamples:
    """Keeps the samples of the latest search for the next one that can use them; safe across threads."""

    def __init__(self) -> None:
        self.samples: Samples | None = None
        self.lock = threading.Lock()

    def fitting(self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> Samples:
        """Samples for a checked config: the latest ones if they fit, else new ones, which become the latest."""
        with self.lock:
            if self.samples is None or not self.samples.fits(generator, segmenter, config):
                self.samples = Samples(generator, segmenter, config)
            return self.samples
