"""LELSD: find directions in a latent space that change one part of the picture and leave the rest alone.

    untouched samples (codes, pictures, masks; made once)  --move by amount · u-->  pictures  -->  localization score
    J = Σ_k LS(u_k) + c·R,   R = −½ ‖Corr(u_1..u_K) − I_K‖_F                                        (Eq. 3)

`discover` is an iterator: the shell wraps it in a progress bar, the page yields from it, closing it stops it.
Source: Pajouheshgar, Zhang, Süsstrunk, ICASSP 2022 (arXiv:2111.12583), sections 3 and 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import lelsd_core
from lelsd_core.directions import Direction
from lelsd_core.discover_config import DiscoverConfig
from lelsd_core.generators.base import Generator, Synthesis
from lelsd_core.localization import COMBINE, localization_score
from lelsd_core.segmenters import Segmenter, part_mask

FIRST_SEED = 1_000_000  # samples to learn from; held-out seeds of `evaluation` are below


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a discovery stands.

    Args:
        step, total: steps done and to do, over all directions.
        score: mean localization score of this step's samples, in [0, 1].
        directions: the directions as they are now; the last progress holds the result.
    """

    step: int
    total: int
    score: float
    directions: tuple[Direction, ...]


class Samples:
    """Untouched samples, rendered and segmented once, as they are first needed, and shared from then on.

    Args:
        generator, segmenter, config: what to render, how to segment, and which space, parts and layers matter.
    """

    def __init__(self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> None:
        self.generator, self.segmenter, self.config = generator, segmenter, config
        self.maps = config.layers or ("picture",)
        self.chunks: list[tuple[Tensor, tuple[Tensor, ...], Tensor]] = []

    def batch(self, number: int) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Codes (B, D), maps to compare and mask (B, 1, h, w) of batch `number`; the batches come round again."""
        number %= max(1, self.config.samples // self.config.batch)
        while len(self.chunks) <= number:
            first = FIRST_SEED + len(self.chunks) * self.config.batch
            with torch.no_grad():
                codes = self.generator.sample(range(first, first + self.config.batch))
                codes = self.generator.lift(codes, self.generator.space_names[0], self.config.space)
                self.chunks.append((codes, *self.render(codes)))
        return self.chunks[number]

    def render(self, codes: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Maps to compare and the mask of codes."""
        keep = {*self.config.layers, *self.segmenter.needs}
        synthesis = self.generator.synthesize(codes, self.config.space, keep=keep)
        with torch.no_grad():
            probabilities = self.segmenter.segment(detached(synthesis))
        maps = [synthesis.image if name == "picture" else synthesis.features(name) for name in self.maps]
        return tuple(maps), part_mask(probabilities, self.segmenter.parts, self.config.parts)


def discover(generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> Iterator[Progress]:
    """Find directions that change the config's parts and nothing else.

    Args:
        generator: renders the samples.
        segmenter: tells where the parts are, before and after.
        config: what to look for; the same config finds the same directions.

    Yields:
        A `Progress` after each step. Close the iterator to stop; the last one's directions are the result.

    Raises:
        UserError: an unknown part, space, slot or layer, or a number out of its range.
    """
    config = config.check(generator, segmenter)
    space = generator.space(config.space)
    random = torch.Generator().manual_seed(config.seed)
    writable = space.column_mask(config.slots).to(generator.device)
    start = torch.randn(config.count, space.width, generator=random).to(generator.device)
    vectors = (space.unit(start * writable)).requires_grad_()
    optimizer = torch.optim.Adam([vectors], config.lr, betas=(0.9, 0.99))
    total = config.steps * config.count
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    samples = Samples(generator, segmenter, config)
    for step in range(total):
        k = step % config.count
        units = space.unit(vectors * writable)
        score = mean_score(samples, samples.batch(step // config.count), units[k], draw_amounts(config, random))
        loss = -score - config.apart * apartness(units)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        found = space.unit(vectors.detach() * writable).cpu()
        directions = tuple(as_direction(vector, generator, config, step + 1) for vector in found)
        yield Progress(step + 1, total, float(score.detach()), directions)


def mean_score(
    samples: Samples, batch: tuple[Tensor, tuple[Tensor, ...], Tensor], unit: Tensor, amounts: Tensor
) -> Tensor:
    """Localization score of one move of a batch, averaged over maps and over the samples that show the part."""
    codes, before, mask_before = batch
    after, mask_after = samples.render(codes + amounts.to(codes) * unit)
    mask = COMBINE[samples.config.masks](mask_before, mask_after)
    shown = (mask.sum((1, 2, 3)) > 0).to(mask)
    scores = sum(localization_score(a, b, mask) for a, b in zip(before, after, strict=True)) / len(before)
    return (scores * shown).sum() / shown.sum().clamp_min(1)


def draw_amounts(config: DiscoverConfig, random: torch.Generator) -> Tensor:
    """(batch, 1) amounts, evenly spread over [least, most] and over both signs."""
    sizes = config.least + (config.most - config.least) * torch.rand(config.batch, 1, generator=random)
    return sizes * (2 * torch.randint(2, (config.batch, 1), generator=random) - 1)


def apartness(units: Tensor) -> Tensor:
    """R = −½ ‖Corr − I‖_F of unit vectors (K, D): 0 if they are orthogonal, else negative."""
    cosines = units @ units.T  # (K, K)
    return -0.5 * (cosines - torch.eye(len(units), device=units.device)).norm()


def as_direction(vector: Tensor, generator: Generator, config: DiscoverConfig, steps: int) -> Direction:
    """A `Direction` that knows how it was found; its range is the amounts it was trained with."""
    return Direction(
        name="-".join(config.parts),
        generator=generator.name,
        fingerprint=generator.fingerprint,
        space=config.space,
        vector=vector.clone(),
        parts=config.parts,
        low=-config.most,
        high=config.most,
        facts={"steps": steps, "seed": config.seed, "batch": config.batch, "version": lelsd_core.__version__},
    )


def detached(synthesis: Synthesis) -> Synthesis:
    """The same synthesis without its graph, for a segmenter: masks carry no gradient."""
    image = None if synthesis.image is None else synthesis.image.detach()
    return replace(synthesis, image=image)
