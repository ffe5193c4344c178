"""Measures of directions at equal distance: how local an edit is, once it changes the picture as much as any other.

    direction, held-out samples, distances d --amounts found by bisection, sample by sample, both signs-->  pictures
    pictures  -->  localization score, gain, F1, LPIPS outside, identity, share of the change in each part, evenness

A distance is LPIPS, as the official code measures it: AlexNet's features of pictures that are resized to 256 × 256.
Where its network is not at hand it is the root mean square change of the picture, and every table and figure says so.

Sources: Pajouheshgar et al., "Optimizing Latent Space Directions for GAN-based Local Image Editing" (ICASSP 2022), and
its official repository; Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (2018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.directions import Direction, edited_codes
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.evaluation.heldout import NORMAL_95, HeldOut, clustered_mean
from lelsd_core.evaluation.perceptual import PerceptualTarget, load_lpips
from lelsd_core.localization import COMBINE, locality_gain, localization_score, resized_mask
from lelsd_core.segmenters import part_mask
from lelsd_core.weights.cache import local

SIDE = 256  # pixels across at which the official code compares pictures by LPIPS
SIGNS = (-1.0, 1.0)
REACH = 16  # a distance is sought up to this multiple of the slider's limit
HALVINGS = 12  # of the slider's limit, before the smallest distance is given up
ROUNDS = 1  # of the bisection within a factor of two, before its last amount is taken
AT_ONCE = 8  # pictures measured at a time; their feature maps are large
FEW = 4  # the first samples, for what is slow: identity and evenness
STRIDES = 6  # equal steps of the amount, over which evenness is measured
Identity = Callable[[Tensor, Tensor], float]  # pictures (1, 3, R, R) before and after -> likeness, 1 = equal


@dataclass(frozen=True)
class Distance:
    """How far apart two pictures are."""

    name: str  # as tables and figures label it
    steps: tuple[float, ...]  # the usual ones
    between: Callable[[Untouched, Tensor, Tensor], Tensor]  # all samples, rows (M,), moved pictures -> (M,)


class Untouched:
    """The untouched pictures (N, 3, R, R) of some samples, with their features for LPIPS, which are computed once."""

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures

    @cached_property
    def target(self) -> PerceptualTarget:
        """Of all samples, at the official size."""
        network = load_lpips(local("lpips-alex"), self.pictures.device)
        return joined([PerceptualTarget(network, resized(each)) for each in self.pictures.split(AT_ONCE)])


def joined(targets: Sequence[PerceptualTarget]) -> PerceptualTarget:
    """One target for the faces of several."""
    whole = targets[0].of(slice(None))
    whole.face = [torch.cat(maps) for maps in zip(*(each.face for each in targets), strict=True)]
    return whole


def resized(pictures: Tensor) -> Tensor:
    """Pictures (B, 3, R, R) at the size at which LPIPS compares them here."""
    if pictures.shape[-1] == SIDE:
        return pictures
    return F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", antialias=pictures.shape[-1] > SIDE)


def lpips_between(untouched: Untouched, rows: Tensor, moved: Tensor) -> Tensor:
    """LPIPS (M,) of moved pictures (M, 3, R, R) from the untouched ones of these rows."""
    return untouched.target.of(rows).distance(resized(moved))


def rms_between(untouched: Untouched, rows: Tensor, moved: Tensor) -> Tensor:
    """Root mean square change (M,) of pictures (M, 3, R, R), in [-1, 1] units."""
    return (moved - untouched.pictures[rows]).square().mean((1, 2, 3)).sqrt()


DISTANCES: Mapping[str, Distance] = {
    "lpips": Distance("LPIPS", (0.1, 0.2, 0.3, 0.4), lpips_between),
    "rms": Distance("RMS change", (0.05, 0.10, 0.15, 0.20), rms_between),
}


def choose_distance(name: str | None = None) -> Distance:
    """The distance of that name; None = LPIPS where its network is on this machine, else the root mean square change.

    UserError for an unknown name, or LPIPS without its network.
    """
    known = local("lpips-alex") is not None
    if name is None:
        return DISTANCES["lpips" if known else "rms"]
    if name not in DISTANCES:
        raise UserError(unknown_name("distance", name, DISTANCES))
    if name == "lpips" and not known:
        raise UserError("The network of LPIPS (lpips-alex) is not on this machine; choose the distance rms.")
    return DISTANCES[name]


def f1_locality(change: Tensor, mask: Tensor) -> Tensor:
    """How well the pixels that change most cover the part: F1 of a change map against a mask.

    As many pixels as the mask covers count as changed, those with the greatest change; precision and recall are then
    the same. The official repository returns precision · recall / (precision + recall) there, half of F1; this is F1.

    Args:
        change: (B, 1, H, W), 0 or more.
        mask: (B, 1, h, w) in [0, 1]; resized to the map.

    Returns:
        (B,) in [0, 1]; 0 where the mask is empty.
    """
    inside = resized_mask(mask, change.shape[-2:]).flatten(1)
    covered = inside.sum(1)
    count = covered.round().long()
    order = change.flatten(1).argsort(dim=1, descending=True)
    hits = inside.gather(1, order).cumsum(1)
    hit = hits.gather(1, (count - 1).clamp_min(0)[:, None])[:, 0] * (count > 0)
    return 2 * hit / (count + covered).clamp_min(1e-8)


def unevenness(strides: Tensor) -> Tensor:
    """Smoothness over α: the coefficient of variation (M,) of the distances (T, M) of T equal strides of the amount.

    0 = the picture changes as much in each stride.
    """
    return strides.std(0, correction=0) / strides.mean(0).clamp_min(1e-8)


@dataclass(frozen=True)
class Cell:
    """A direction at one distance: means over both signs and the samples that reach it and show the part.

    A figure is None where no sample does, or where its network or its layers are not there.
    """

    step: float  # the distance
    reached: int  # pictures, of two for each sample, on which the distance was reached
    of: int
    score: float | None  # localization score (Eq. 2) on the picture
    low: float | None  # its 95 % interval
    high: float | None
    gain: float | None  # odds of the score over odds of the area
    area: float | None  # share of the picture that the part covers
    features: float | None  # localization score on feature maps, mean over the layers
    f1: float | None  # of the LPIPS change map, see `f1_locality`
    lpips: float | None
    outside: float | None  # mean of the LPIPS change map over the picture, the part left out
    change: float | None  # root mean square change of the picture, in [-1, 1] units
    identity: float | None  # likeness of the faces, 1 = equal; of the first samples
    shares: Mapping[str, float | None]  # part -> share of the squared change inside it: a row of the matrix of parts


@dataclass(frozen=True)
class Measured:
    """A direction at all distances."""

    cells: tuple[Cell, ...]
    uneven: float | None  # see `unevenness`; None if no distance was reached


@dataclass(frozen=True, eq=False)
class Steps:
    """What a direction does to N samples at S distances, both signs first; NaN where a distance is not reached."""

    amounts: Tensor  # (2, S, N)
    values: Mapping[str, Tensor]  # figure -> (2, S, N): the fields of a `Cell`, and "share PART"
    pictures: Tensor | None  # (2, S, N, 3, R, R), if they are to be kept


class EqualDistance:
    """Measures directions of a generator, all on the same samples and at the same distances.

    Args:
        samples: held-out ones.
        distance: at which edits are compared.
        steps: how far; None = the usual ones of the distance. UserError unless they are positive and rising.
        parts: in which the change is measured, too.
        layers: feature maps at which the score is read, too.
        identity: likeness of two faces, where a recogniser is at hand.
    """

    def __init__(
        self,
        samples: HeldOut,
        distance: Distance,
        steps: Sequence[float] | None = None,
        *,
        parts: Sequence[str] = (),
        layers: Sequence[str] = (),
        identity: Identity | None = None,
    ) -> None:
        self.samples, self.distance, self.steps = samples, distance, check_steps(steps or distance.steps)
        self.parts, self.layers, self.identity = tuple(parts), samples.generator.expand_layers(layers), identity
        self.untouched = Untouched(samples.pictures)

    def __call__(self, direction: Direction) -> Measured:
        """Measure a direction. UserError for one of another generator."""
        direction.check(self.samples.generator)
        found = self.at_steps(direction)
        cells = tuple(self.cell(found, i) for i in range(len(self.steps)))
        return Measured(cells, self.uneven(direction, found.amounts))

    def cell(self, found: Steps, i: int) -> Cell:
        """The means of the i-th distance."""
        reached = found.amounts[:, i].isfinite()  # (2, N)
        counted = reached & (found.values["area"][:, i] > 0)

        def mean(name: str) -> tuple[float | None, float]:
            values = found.values[name][:, i] if name in found.values else torch.full(counted.shape, torch.nan)
            known = counted & values.isfinite()
            return clustered_mean(values.nan_to_num(0.0), known) if known.any() else (None, 0.0)

        (score, error), (area, _) = mean("score"), mean("area")
        seen = score is not None
        return Cell(
            step=self.steps[i],
            reached=int(reached.sum()),
            of=reached.numel(),
            score=score,
            low=max(0.0, score - NORMAL_95 * error) if seen else None,
            high=min(1.0, score + NORMAL_95 * error) if seen else None,
            gain=locality_gain(score, area) if seen else None,
            area=area,
            **{name: mean(name)[0] for name in ("features", "f1", "lpips", "outside", "change", "identity")},
            shares={part: mean(f"share {part}")[0] for part in self.parts},
        )

    @torch.inference_mode()
    def at_steps(self, direction: Direction, *, keep_pictures: bool = False) -> Steps:
        """What a direction does at each distance, sample by sample."""
        amounts = torch.stack([self.amounts(direction, sign) for sign in SIGNS])
        values: dict[str, Tensor] = {}
        size = self.samples.pictures.shape[1:]
        pictures = torch.full((*amounts.shape, *size), torch.nan) if keep_pictures else None
        for place in amounts.isfinite().nonzero().split(AT_ONCE):  # (M, 3): sign, step, sample
            places, rows = place.unbind(1), place[:, 2]
            figures, moved = self.figures(direction, amounts[places], rows)
            for name, figure in figures.items():
                values.setdefault(name, torch.full(amounts.shape, torch.nan))[places] = figure.cpu().float()
            if pictures is not None:
                pictures[places] = moved.cpu()
        return Steps(amounts, {"area": torch.full(amounts.shape, torch.nan)} | values, pictures)

    def amounts(self, direction: Direction, sign: float) -> Tensor:
        """(S, N) signed amounts at which each sample reaches each distance, NaN where it does not.

        The slider's limit is doubled up to `REACH` times itself, and halved where it is too far already. Between two of
        these amounts the distance grows about as a power of the amount: each round of the bisection divides them where
        a power through both would reach it.
        """
        limit, targets = max(-direction.low, direction.high), torch.tensor(self.steps)
        ladder = {limit: self.reached(direction, sign, limit)}  # amount -> distances (N,)
        for factor, last, known in ((2.0, REACH, torch.inf), (0.5, 0.5**HALVINGS, 0.0)):
            amount = limit
            while amount != last * limit:
                left = ladder[amount] < targets[-1] if factor > 1 else ladder[amount] >= targets[0]
                if not left.any():
                    break
                amount *= factor
                ladder[amount] = torch.full_like(ladder[limit], known)
                ladder[amount][left] = self.reached(direction, sign, amount, left.nonzero()[:, 0])
        rungs, distances = torch.tensor(sorted(ladder)), torch.stack([ladder[rung] for rung in sorted(ladder)])
        found = torch.full((len(targets), distances.shape[1]), torch.nan)
        for i, target in enumerate(targets):
            above = distances >= target
            first = above.float().argmax(0)  # the first rung that is too far
            rows = (above.any(0) & (first > 0)).nonzero()[:, 0]
            if len(rows):
                ends = [rungs[first[rows] - 1], rungs[first[rows]]]
                reached = [distances[first[rows] - 1, rows], distances[first[rows], rows]]
                found[i, rows] = sign * self.bisected(direction, sign, target, rows, ends, reached)
        return found

    def bisected(
        self,
        direction: Direction,
        sign: float,
        target: Tensor,
        rows: Tensor,
        ends: Sequence[Tensor],
        reached: Sequence[Tensor],
    ) -> Tensor:
        """Amounts (M,) of some samples near a distance, between two amounts (M,) that lead to less and to no less."""
        for _ in range(ROUNDS):
            middle = divided(ends, reached, target, margin=0.1)
            distance = self.reached(direction, sign, middle, rows)
            below = distance < target
            ends = [torch.where(below, middle, ends[0]), torch.where(below, ends[1], middle)]
            reached = [torch.where(below, distance, reached[0]), torch.where(below, reached[1], distance)]
        return divided(ends, reached, target)

    def reached(self, direction: Direction, sign: float, amounts: float | Tensor, rows: Tensor | None = None) -> Tensor:
        """Distances (M,) of some samples, or all, moved by amounts (M,), or one for all."""
        rows = torch.arange(len(self.samples.codes)) if rows is None else rows
        amounts = torch.as_tensor(amounts).expand(len(rows))
        batches = zip(amounts.split(self.samples.batch), rows.split(self.samples.batch), strict=True)
        return torch.cat([self.between(each, self.moved(direction, sign * a, each)[0]) for a, each in batches])

    def between(self, rows: Tensor, moved: Tensor) -> Tensor:
        """Distances (M,) of moved pictures from the untouched ones, a few at a time."""
        pairs = zip(rows.split(AT_ONCE), moved.split(AT_ONCE), strict=True)
        return torch.cat([self.distance.between(self.untouched, *pair) for pair in pairs]).cpu()

    def moved(self, direction: Direction, amounts: Tensor, rows: Tensor, **wanted) -> tuple[Tensor, ...]:
        """Some samples moved by amounts (M,): the picture, or what `HeldOut.render` is asked for."""
        samples = self.samples
        edited = edited_codes(samples.generator, samples.codes[rows], samples.space, [direction], amounts[:, None])
        return samples.render(edited, samples.probabilities[rows], **({"segment": False} | wanted))

    def figures(self, direction: Direction, amounts: Tensor, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """All figures (M,) of some samples moved by amounts (M,), and their pictures (M, 3, R, R)."""
        samples, parts = self.samples, self.samples.segmenter.parts
        still = direction, torch.zeros(len(rows)), rows
        _, *before_maps = self.moved(*still, keep=self.layers) if self.layers else (None,)
        after, seen, *after_maps = self.moved(direction, amounts, rows, segment=True, keep=self.layers)
        before, known = samples.pictures[rows], samples.probabilities[rows]
        effect = samples.compare(direction, before, known, after, seen, lpips=False)

        def mask_of(chosen: Sequence[str]) -> Tensor:
            return COMBINE["average"](*(part_mask(each, parts, chosen) for each in (known, seen)))

        mask = mask_of(direction.parts)
        values = {"score": effect.score, "area": effect.area, "change": effect.change}
        values |= {f"share {part}": localization_score(before, after, mask_of([part])) for part in self.parts}
        if self.layers:
            scores = [localization_score(*pair, mask) for pair in zip(before_maps, after_maps, strict=True)]
            values["features"] = torch.stack(scores).mean(0)
        if local("lpips-alex") is not None:
            maps = self.untouched.target.of(rows).maps(resized(after))
            values["lpips"] = sum(each.mean((1, 2, 3)) for each in maps)
            change = sum(F.interpolate(each, (SIDE, SIDE), mode="bilinear") for each in maps)
            values["outside"] = (change * (1 - resized_mask(mask, (SIDE, SIDE)))).mean((1, 2, 3))
            values["f1"] = f1_locality(change, mask)
        if self.identity:
            pairs = zip(rows.tolist(), before.split(1), after.split(1), strict=True)
            likeness = [self.identity(b.cpu(), a.cpu()) if row < FEW else torch.nan for row, b, a in pairs]
            values["identity"] = torch.tensor(likeness)
        return values, after

    @torch.inference_mode()
    def uneven(self, direction: Direction, amounts: Tensor) -> float | None:
        """Mean `unevenness` of the first samples, both signs, on the way to the largest distance that each reaches."""
        found = []
        for signed in amounts[..., :FEW]:  # (S, n)
            farthest = signed.nan_to_num(0.0).abs().max(0).values * signed.nansum(0).sign()
            rows = farthest.nonzero()[:, 0]
            if not len(rows):
                continue
            shares = torch.linspace(0, 1, STRIDES + 1)
            pictures = [self.moved(direction, share * farthest[rows], rows)[0] for share in shares]
            strides = [
                self.distance.between(Untouched(before), torch.arange(len(rows)), after).cpu()
                for before, after in pairwise(pictures)
            ]
            found.append(unevenness(torch.stack(strides)))
        return float(torch.cat(found).mean()) if found else None


def divided(ends: Sequence[Tensor], reached: Sequence[Tensor], target: Tensor, margin: float = 0.0) -> Tensor:
    """Amounts (M,) between two others, where a power through both distances is at the target; `margin` from an end."""
    logs = [each.clamp_min(1e-8).log() for each in reached]
    share = ((target.log() - logs[0]) / (logs[1] - logs[0]).clamp_min(1e-8)).clamp(margin, 1 - margin)
    return ends[0] * (ends[1] / ends[0]) ** share


def check_steps(steps: Sequence[float]) -> tuple[float, ...]:
    """Distances that are positive and rising. UserError for others."""
    if not steps or not all(a < b for a, b in zip((0.0, *steps), steps, strict=False)):
        given = " ".join(f"{step:g}" for step in steps) or "none"
        raise UserError(f"The distances are {given}; they must be positive numbers, each greater than the one before.")
    return tuple(float(step) for step in steps)
