"""What a direction does on held-out samples: its score, the area of its part, its gain, how much it changes.

held-out seeds --> codes --> both ends of the slider range --> pictures and masks --> one `Row`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.device import by_rows
from lelsd_core.directions import Direction
from lelsd_core.generators.base import Generator
from lelsd_core.localization import COMBINE, NOTHING, locality_gain, localization_score
from lelsd_core.segmenters import Segmenter, part_mask, segment_synthesis

HELD_OUT = range(500_000, 500_256)
BATCH, PIXELS = 32, 2**21  # samples rendered at a time, and their pixels: 32 up to 256 across, 2 at 1024
NORMAL_95 = 1.96  # standard errors on each side of a mean


@dataclass(frozen=True)
class Row:
    """One direction on held-out samples.

    Args:
        direction, part: its name and its parts.
        score: share of the squared change of the picture inside the part, mean over samples and both ends.
        area: share of the picture that the part covers, likewise.
        low, high: the slider range it was measured on.
        gain: odds of the score over odds of the area.
        change: root mean square change of the whole picture in [-1, 1] units, at the low and at the high end.
        interval: 95 % confidence interval of the score, samples taken as drawn independently.
        left_out: pictures, of two for each sample, without the part or without any change; they count nowhere else.
    """

    direction: str
    part: str
    score: float
    area: float
    low: float
    high: float
    gain: float
    change: tuple[float, float]
    interval: tuple[float, float] = (0.0, 1.0)
    left_out: int = 0


@dataclass(frozen=True, eq=False)
class Effect:
    """What an amount does to N samples, each field (N,).

    Args:
        score: localization score on the picture.
        area: share of the picture that the part covers.
        change: root mean square change of the whole picture, in [-1, 1] units.
        outside: the same outside the part.
        kept: share of the pixels outside the part that stay what they were.
        brightening: mean change inside the part; positive = brighter.
    """

    score: Tensor
    area: Tensor
    change: Tensor
    outside: Tensor
    kept: Tensor
    brightening: Tensor


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out samples, rendered and segmented once: codes (N, D) in one space, pictures, part probabilities."""

    space: str
    codes: Tensor
    pictures: Tensor
    probabilities: Tensor

    def first(self, count: int) -> HeldOut:
        """The first samples alone."""
        return HeldOut(self.space, self.codes[:count], self.pictures[:count], self.probabilities[:count])


@torch.inference_mode()
def held_out(generator: Generator, segmenter: Segmenter, space: str, seeds: Sequence[int] = HELD_OUT) -> HeldOut:
    """Render and segment the samples of `seeds` for directions of a space."""
    codes = generator.lift(generator.sample(seeds), generator.space_names[0], space)
    parts = [render(generator, segmenter, batch, space) for batch in codes.split(batch_of(generator))]
    return HeldOut(space, codes, *(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def batch_of(generator: Generator) -> int:
    """How many samples are rendered at a time."""
    return max(1, min(BATCH, PIXELS // generator.resolution**2))


def render(generator: Generator, segmenter: Segmenter, codes: Tensor, space: str) -> tuple[Tensor, Tensor]:
    """Pictures and part probabilities of codes; where memory is short, of one after the other."""

    def whole(some: Tensor) -> tuple[Tensor, Tensor]:
        synthesis = generator.synthesize(some, space, keep=segmenter.needs)
        return synthesis.image, segment_synthesis(segmenter, synthesis)

    return by_rows(whole, codes)


@torch.inference_mode()
def measure(
    generator: Generator, segmenter: Segmenter, direction: Direction, samples: HeldOut, amount: float
) -> Effect:
    """What one amount of a direction does to each sample."""
    columns = []
    tensors, size = (samples.codes, samples.pictures, samples.probabilities), batch_of(generator)
    batches = zip(*(tensor.split(size) for tensor in tensors), strict=True)
    for codes, before, parts_before in batches:
        moved = codes + amount * direction.vector.to(codes)
        after, parts_after = render(generator, segmenter, moved, samples.space)
        masks = [part_mask(p, segmenter.parts, direction.parts) for p in (parts_before, parts_after)]
        mask = COMBINE["average"](*masks)
        change = after - before
        inside = mask_at(mask, change)
        others = (mask == 0)[:, 0]
        kept = (parts_before.argmax(1) == parts_after.argmax(1)) & others
        columns.append(
            (
                localization_score(before, after, mask),
                mask.mean((1, 2, 3)),
                change.square().mean((1, 2, 3)).sqrt(),
                rms_under(change, 1 - inside),
                kept.sum((1, 2)) / others.sum((1, 2)).clamp_min(1),
                (change * inside).mean((1, 2, 3)),
            )
        )
    return Effect(*(torch.cat(column) for column in zip(*columns, strict=True)))


def mask_at(mask: Tensor, picture: Tensor) -> Tensor:
    """A mask (B, 1, h, w) at a picture's size."""
    if mask.shape[-2:] == picture.shape[-2:]:
        return mask
    return F.interpolate(mask, picture.shape[-2:], mode="bilinear", antialias=True)


def rms_under(change: Tensor, mask: Tensor) -> Tensor:
    """Root mean square (B,) of a change (B, 3, H, W) over the pixels of a mask (B, 1, H, W)."""
    squares = change.square().mean(1, keepdim=True)
    return ((squares * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp_min(1)).sqrt()


class Evaluator:
    """Measures directions of a generator, all on the same held-out samples, which are rendered once for each space."""

    def __init__(self, generator: Generator, segmenter: Segmenter, seeds: Sequence[int] = HELD_OUT) -> None:
        self.generator, self.segmenter, self.seeds = generator, segmenter, seeds
        self.samples: dict[str, HeldOut] = {}

    def __call__(self, direction: Direction) -> Row:
        """Its `Row`, over both ends of its range; samples that do not show the part are left out."""
        direction.check(self.generator)
        if direction.space not in self.samples:
            self.samples[direction.space] = held_out(self.generator, self.segmenter, direction.space, self.seeds)
        return evaluate_one(self.generator, self.segmenter, direction, self.samples[direction.space])


def evaluate(
    generator: Generator, segmenter: Segmenter, directions: Sequence[Direction], seeds: Sequence[int] = HELD_OUT
) -> Iterator[Row]:
    """One `Row` for each direction."""
    yield from map(Evaluator(generator, segmenter, seeds), directions)


def evaluate_one(generator: Generator, segmenter: Segmenter, direction: Direction, samples: HeldOut) -> Row:
    """The `Row` of one direction."""
    ends = [measure(generator, segmenter, direction, samples, amount) for amount in (direction.low, direction.high)]
    scores, areas = (torch.stack([getattr(end, name) for end in ends]) for name in ("score", "area"))  # (2, N)
    shown = (areas > 0) & torch.stack([end.change > NOTHING for end in ends])
    score, spread = clustered_mean(scores, shown)
    area, _ = clustered_mean(areas, shown)
    return Row(
        direction=direction.name,
        part=" ".join(direction.parts),
        score=score,
        area=area,
        low=direction.low,
        high=direction.high,
        gain=locality_gain(score, area) if area else 0.0,
        change=(float(ends[0].change.mean()), float(ends[1].change.mean())),
        interval=(max(0.0, score - NORMAL_95 * spread), min(1.0, score + NORMAL_95 * spread)),
        left_out=int((~shown).sum()),
    )


def clustered_mean(values: Tensor, counted: Tensor) -> tuple[float, float]:
    """Mean of the values (E, N) that count, and its standard error: the N columns are independent, their E rows not.

    Both are 0 where nothing counts.
    """
    number = int(counted.sum())
    if not number:
        return 0.0, 0.0
    mean = values[counted].mean()
    residuals = ((values - mean) * counted).sum(0)  # (N,)
    columns = int(counted.any(0).sum())
    error = (residuals.square().sum() * columns / max(columns - 1, 1)).sqrt() / number
    return float(mean), float(error)


def with_scores(direction: Direction, row: Row) -> Direction:
    """The direction with its held-out score, area and gain filled in, and the score's confidence interval."""
    facts = dict(direction.facts) | {"interval": row.interval, "left_out": row.left_out}
    return replace(direction, score=row.score, area=row.area, gain=row.gain, facts=facts)
