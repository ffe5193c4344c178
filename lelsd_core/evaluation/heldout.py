"""Evaluation: what a direction does on held-out samples: score, area of its part, locality gain, size of the change.

held-out seeds --> codes --> both ends of the slider range --> pictures and masks --> one `Row`
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import lelsd_core.seeds
from lelsd_core.device import by_rows
from lelsd_core.directions import Direction, edited_codes
from lelsd_core.errors import UserError
from lelsd_core.evaluation.identity import DlibRecogniser, load_recogniser
from lelsd_core.evaluation.perceptual import PerceptualTarget, load_lpips
from lelsd_core.generators.base import Generator
from lelsd_core.local import EditedCodes, patches_of
from lelsd_core.localization import COMBINE, NO_CHANGE, locality_gain, localization_score, resized_mask
from lelsd_core.segmenters import Segmenter, adapt, part_mask, segment_synthesis
from lelsd_core.weights.cache import local

if TYPE_CHECKING:
    from lelsd_core.faces import FaceAligner

BATCH, PIXELS = 32, 2**21  # at most so many samples, and pixels, rendered at a time: 32 up to 256 across, 2 at 1024
LPIPS_SAMPLES = 64  # the first held-out samples
FACE_SAMPLES = 32  # the first held-out samples, whose faces are looked at
SMALL, LARGE_SAMPLES = 64, 32  # pictures up to this wide are evaluated on all held-out samples, others on at least 32
CELL = 8  # pixels across in which stripes are sought
NORMAL_95 = 1.96  # standard errors on each side of a mean


@dataclass(frozen=True)
class Row:
    """One direction on held-out samples: means over samples and both ends of its slider range."""

    direction: str
    part: str
    score: float  # share of the squared change of the picture inside the part
    area: float  # share of the picture that the part covers
    low: float
    high: float
    gain: float  # odds of the score over odds of the area
    change: tuple[float, float]  # root mean square change of the picture in [-1, 1] units, at the low and the high end
    interval: tuple[float, float] = (0.0, 1.0)  # 95 % confidence interval of the score; samples drawn independently
    lpips: tuple[float, float] | None = None  # of the first samples, between before and after, at both ends
    kind: str = "look"  # "shape" for a local move
    outside: tuple[float, float] | None = None  # the same of the pictures outside the part
    identity: tuple[float, float] | None = None  # likeness of the faces before and after, 1 = equal; see `identity.py`
    motion: dict[str, tuple[float, float]] | None = None  # what is seen of the faces at both ends, see `naming.motion`
    about: str = ""  # the one of these numbers that the direction is about
    left_out: int = 0  # pictures, two for each sample, without the part or any change; not used for the other figures


class Effect(NamedTuple):
    """What an amount of a direction does to N samples; each field is (N,)."""

    score: Tensor  # localization score on the picture
    area: Tensor  # share of the picture that the part covers
    change: Tensor  # root mean square change of the whole picture, in [-1, 1] units
    outside: Tensor  # the same outside the part
    relabelled: Tensor  # share of the pixels outside the part whose label changes
    stripes: Tensor  # amplitude of stripes two pixels wide, see `stripes`, outside the part
    brightening: Tensor  # mean change inside the part; positive = brighter
    lpips: Tensor | None = None  # of the whole picture, if wanted
    outside_lpips: Tensor | None = None  # and outside the part


class HeldOut:
    """N samples, rendered and segmented once from codes (N, D) in a space; measures directions of all spaces."""

    @torch.inference_mode()
    def __init__(self, generator: Generator, segmenter: Segmenter, space: str, codes: Tensor) -> None:
        self.generator, self.segmenter, self.space, self.codes = generator, segmenter, space, codes
        self.finest = generator.space_names[-1]
        self.batch = max(1, min(BATCH, PIXELS // generator.resolution**2))  # samples rendered at a time
        batches = [self.render(EditedCodes(generator.lift(b, space, self.finest))) for b in codes.split(self.batch)]
        self.pictures, self.probabilities = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
        self.keeping, self.kept = False, (None, {})  # see `moved`
        self.numbers = torch.empty(0, 0)  # that are measured on the first ones, once somebody asks; see `naming.motion`

    def check_shows(self, parts: Sequence[str]) -> None:
        """UserError if no sample shows any of the parts."""
        if not part_mask(self.probabilities, self.segmenter.parts, parts).any():
            shown, name = " or ".join(parts), self.generator.name
            raise UserError(f"None of {len(self.codes)} samples of {name} shows {shown}; choose another part.")

    def render(
        self,
        edited: EditedCodes,
        probabilities: Tensor | None = None,
        *,
        segment: bool = True,
        keep: Collection[str] = (),
    ) -> tuple[Tensor, ...]:
        """Pictures (B, 3, R, R), part probabilities (B, P, h, w) if wanted, and feature maps of some layers.

        Local moves need the part probabilities of the untouched pictures.
        """
        parts = self.segmenter.parts
        kept = {*keep, *(self.segmenter.needs if segment else ())}

        def render_batch(*rows: Tensor) -> tuple[Tensor, ...]:
            codes, *local, masks = rows
            each = EditedCodes(codes, tuple((place, c) for (place, _), c in zip(edited.local, local, strict=True)))
            patches = patches_of(self.generator, each, lambda p: p.mask(lambda chosen: part_mask(masks, parts, chosen)))
            synthesis = self.generator.synthesize(codes, self.finest, keep=kept, patches=patches)
            seen = (segment_synthesis(self.segmenter, synthesis),) if segment else ()
            return synthesis.image, *seen, *map(synthesis.features, keep)

        local = [codes for _, codes in edited.local]
        before = edited.codes if probabilities is None else probabilities  # only local moves read it
        return by_rows(render_batch, edited.codes, *local, before)  # one by one where memory is short

    def moved(self, direction: Direction, amount: float, rows: slice) -> tuple[Tensor, Tensor]:
        """`render` of some samples moved by an amount along a direction.

        With `keeping`, what is rendered for the latest direction is kept, as an evaluation asks for it several times.
        """
        if self.kept[0] is not direction:
            self.kept = direction, {}
        key = amount, rows.start, rows.stop
        if (found := self.kept[1].get(key)) is None:
            edited = edited_codes(self.generator, self.codes[rows], self.space, [direction], [amount])
            found = self.render(edited, self.probabilities[rows])
            if self.keeping:
                self.kept[1][key] = found
        return found

    @torch.inference_mode()
    def effect(
        self, direction: Direction, amount: float | None, count: int | None = None, *, lpips: bool = False
    ) -> Effect:
        """Move the first `count` samples, or all, by an amount along a direction, and measure what changes.

        None instead of an amount puts the next sample in the place of each one: how much pictures vary by themselves.
        """
        count = len(self.codes[:count])
        following = [tensor[:count].roll(1, 0) for tensor in (self.pictures, self.probabilities)]
        batches = []
        for rows in self.rows(count):
            after = self.moved(direction, amount, rows) if amount is not None else [t[rows] for t in following]
            before = self.pictures[rows], self.probabilities[rows]
            batches.append(self.compare(direction, *before, *after, lpips=lpips))
        return Effect(*(None if t[0] is None else torch.cat(t) for t in zip(*batches, strict=True)))

    def rows(self, count: int | None = None) -> list[slice]:
        """The first `count` samples, or all, in batches."""
        count = len(self.codes[:count])
        return [slice(i, min(i + self.batch, count)) for i in range(0, count, self.batch)]

    def compare(
        self,
        direction: Direction,
        before: Tensor,
        parts_before: Tensor,
        after: Tensor,
        parts_after: Tensor,
        *,
        lpips: bool,
    ) -> Effect:
        """Measure what changes between pictures (B, 3, R, R) with part probabilities (B, P, h, w), for its parts.

        Where a person has painted the mask of a local move, this mask, too, is no part of the outside.
        """
        parts = self.segmenter.parts
        mask = COMBINE["average"](*(part_mask(p, parts, direction.parts) for p in (parts_before, parts_after)))
        change, meant = after - before, mask
        if direction.local and direction.local.painted:
            painted = direction.local.mask(lambda _: mask).to(mask.device)
            meant = torch.maximum(mask, resized_mask(painted, mask.shape[-2:]).expand_as(mask))
        inside = resized_mask(meant, change.shape[-2:])
        squares, weights = change.square().mean(1, keepdim=True), 1 - inside
        outside = (meant == 0)[:, 0]
        relabelled = (parts_before.argmax(1) != parts_after.argmax(1)) & outside
        target = PerceptualTarget(load_lpips(local("lpips-alex"), before.device), before) if lpips else None
        return Effect(
            score=localization_score(before, after, mask),
            area=mask.mean((1, 2, 3)),
            change=change.square().mean((1, 2, 3)).sqrt(),
            outside=((squares * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3)).clamp_min(1)).sqrt(),
            relabelled=relabelled.sum((1, 2)) / outside.sum((1, 2)).clamp_min(1),
            stripes=stripes(change, inside),
            brightening=(change * resized_mask(mask, change.shape[-2:])).mean((1, 2, 3)),
            lpips=target.distance(after) if target else None,
            outside_lpips=target.distance(after.lerp(before, inside)) if target else None,
        )

    def evaluate(self, direction: Direction, *, lpips: bool = True) -> Row:
        """The `Row` of a direction over both ends of its range, its LPIPS only if wanted."""
        ends = [self.effect(direction, end, lpips=lpips) for end in (direction.low, direction.high)]
        scores, areas = torch.stack([end.score for end in ends]), torch.stack([end.area for end in ends])  # (2, N)
        shown = (areas > 0) & torch.stack([end.change > NO_CHANGE for end in ends])
        score, error = clustered_mean(scores, shown)
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
            lpips=tuple(float(end.lpips[:LPIPS_SAMPLES].mean()) for end in ends) if lpips else None,
            outside=tuple(float(end.outside_lpips[:LPIPS_SAMPLES].mean()) for end in ends) if lpips else None,
            interval=(max(0.0, score - NORMAL_95 * error), min(1.0, score + NORMAL_95 * error)),
            kind=direction.kind,
            left_out=int((~shown).sum()),
        )


@torch.inference_mode()
def held_out(generator: Generator, segmenter: Segmenter, seeds: Sequence[int] | None = None) -> HeldOut:
    """The samples of some seeds; None = `lelsd_core.seeds.HELD_OUT`."""
    codes = generator.sample(lelsd_core.seeds.HELD_OUT if seeds is None else seeds)
    return HeldOut(generator, segmenter, generator.space_names[0], codes)


class Evaluator:
    """Evaluates directions of a generator, all on the same held-out samples, which are rendered at the first one.

    Args:
        generator, segmenter: the networks.
        seeds: of the samples; None = as many of `lelsd_core.seeds.HELD_OUT` as `held_out_seeds` gives.
        aligner: of the generator's pictures, if they are faces, of which more is measured then.
        identity: whether to compare the faces, too, before and after.
        samples: other samples to measure on, such as the codes of photos.
    """

    def __init__(
        self,
        generator: Generator,
        segmenter: Segmenter,
        seeds: Sequence[int] | None = None,
        aligner: FaceAligner | None = None,
        *,
        identity: bool = False,
        samples: HeldOut | None = None,
    ) -> None:
        self.generator, self.segmenter, self.aligner, self.identity = generator, adapt(segmenter), aligner, identity
        self.seeds = held_out_seeds(generator) if seeds is None else seeds
        if samples is not None:
            self.samples = samples

    @cached_property
    def samples(self) -> HeldOut:
        """The samples, rendered."""
        return held_out(self.generator, self.segmenter, self.seeds)

    def __call__(self, direction: Direction) -> Row:
        """The direction's `Row`. UserError for a direction of another generator."""
        from lelsd_core.evaluation.naming import about, motion  # which read `HeldOut`

        direction.check(self.generator)
        self.samples.keeping = True
        row = self.samples.evaluate(direction)
        if self.aligner is None or not self.aligner.frame.faces:
            return row
        moved = motion(self.samples, direction, self.aligner, FACE_SAMPLES)
        likeness = tuple(self.likeness(direction, end) for end in (row.low, row.high)) if self.identity else None
        return replace(row, motion=moved, about=about(direction, moved), identity=likeness)

    def likeness(self, direction: Direction, amount: float) -> float:
        """The mean likeness of the first faces before and after a move; see `identity.py` for its scale."""
        recogniser = load_recogniser(DlibRecogniser, local(DlibRecogniser.name))
        samples, points, found = self.samples, self.aligner.frame.points, []
        for rows in samples.rows(FACE_SAMPLES):
            pairs = zip(samples.pictures[rows].cpu(), samples.moved(direction, amount, rows)[0].cpu(), strict=True)
            found += [recogniser.likeness(before[None], after[None], points) for before, after in pairs]
        return sum(found) / len(found)


def held_out_seeds(generator: Generator, least: int = LARGE_SAMPLES) -> Sequence[int]:
    """Those that a generator's directions are evaluated on: fewer of large pictures, but at least some of them."""
    seeds = lelsd_core.seeds.HELD_OUT
    return seeds[: max(least, len(seeds) * SMALL**2 // generator.resolution**2)]


def evaluate(
    generator: Generator, segmenter: Segmenter, directions: Sequence[Direction], seeds: Sequence[int] | None = None
) -> Iterator[Row]:
    """Measure directions on held-out samples.

    Args:
        generator, segmenter: the networks.
        directions: in any of the generator's spaces. UserError for one of another generator.
        seeds: of the samples; None = `lelsd_core.seeds.HELD_OUT`.

    Yields:
        A `Row` for each direction.
    """
    yield from map(Evaluator(generator, segmenter, seeds), directions)


def stripes(change: Tensor, inside: Tensor) -> Tensor:
    """Amplitude (B,) of the stripes and grids that a change (B, 3, R, R) adds outside a mask (B, 1, R, R).

    Upsampling that is driven too far leaves rows, columns or a chequerboard, one pixel light and one dark. They are in
    step over a whole cell of `CELL` pixels, unlike texture, so that they remain in the cell's mean once every other row
    (column, both) has its sign turned. The median over the cells without a pixel of the mask is that of plain surfaces,
    where such stripes are seen; 0 if there is no such cell.
    """
    sign = (-1.0) ** torch.arange(change.shape[-1], device=change.device)
    cell = min(CELL, change.shape[-1])
    means = [F.avg_pool2d(change * pattern, cell) for pattern in (sign, sign[:, None], sign * sign[:, None])]
    amplitude = torch.cat(means, 1).square().sum(1).sqrt().flatten(1)  # (B, cells)
    free = F.max_pool2d(inside, cell).flatten(1) == 0
    return torch.where(free, amplitude, torch.nan).nanmedian(1).values.nan_to_num(0.0)


def clustered_mean(values: Tensor, counted: Tensor) -> tuple[float, float]:
    """Mean of the values (E, N) that count, and its standard error; both 0 where nothing counts.

    The N columns are independent samples; the E rows of a column are not.
    """
    number = int(counted.sum())
    if not number:
        return 0.0, 0.0
    mean = values[counted].mean()
    residuals = ((values - mean) * counted).sum(0)  # (N,)
    columns = int(counted.any(0).sum())
    error = (residuals.square().sum() * columns / max(columns - 1, 1)).sqrt() / number
    return float(mean), float(error)
