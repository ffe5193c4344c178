"""LELSD: find directions in a latent space that change one part of the picture and leave the rest alone.

    untouched samples (codes, pictures, masks; made once)  --move by amount · u-->  pictures  -->  localization score
    J = Σ_k LS(u_k) + c·R,   R = −½ ‖Corr(u_1..u_K) − I_K‖_F                                        (Eq. 3)

`discover` is an iterator: the shell wraps it in a progress bar, the page yields from it, closing it stops it.
Source: Pajouheshgar, Zhang, Süsstrunk, ICASSP 2022 (arXiv:2111.12583), sections 3 and 4.1.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import lr_scheduler

import lelsd_core
from lelsd_core.device import gradient, is_out_of_memory
from lelsd_core.directions import Direction
from lelsd_core.discovery.checkpoint import Best, Run, Task
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import FIRST_SEED, Batch, Samples, View
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.latents import LatentSpace
from lelsd_core.segmenters import Segmenter

UNSEEN = 64  # samples that may go by without the part before the search gives up
SCHEDULES: Mapping[str, Callable[[torch.optim.Optimizer, int], lr_scheduler.LRScheduler]] = {
    "cosine": lr_scheduler.CosineAnnealingLR,
    "halving": lambda adam, total: lr_scheduler.MultiStepLR(adam, [round(total * i / 4) for i in (1, 2, 3)], 0.5),
    "constant": lambda adam, total: lr_scheduler.LambdaLR(adam, lambda _: 1.0),
}


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a discovery stands.

    Args:
        step, total: steps done and to do, over all directions.
        score: mean localization score of this step's samples that count, in [0, 1].
        directions: the directions as they are now; the last progress holds the result.
        seen, left_out: samples looked at so far, and those among them that showed no part or no change.
        held_out: the best held-out score so far, where the config has patience.
    """

    step: int
    total: int
    score: float
    directions: tuple[Direction, ...]
    seen: int = 0
    left_out: int = 0
    held_out: float | None = None


def discover(
    generator: Generator,
    segmenter: Segmenter,
    config: DiscoverConfig,
    *,
    against: Sequence[Direction] = (),
    samples: Samples | None = None,
    checkpoint: str | Path | None = None,
    every: int = 50,
) -> Iterator[Progress]:
    """Find directions that change the config's parts and nothing else.

    Args:
        generator: renders the samples.
        segmenter: tells where the parts are, before and after.
        config: what to look for; the same config finds the same directions.
        against: directions in the same space that the new ones shall be at right angles to.
        samples: untouched samples of an earlier discovery, used if they fit.
        checkpoint: file to write every `every` steps, and to go on from if it is there.
        every: steps between two writings.

    Yields:
        A `Progress` after each step. Close the iterator to stop; the last one's directions are the result.

    Raises:
        UserError: an unknown part, space, slot or layer, a number out of its range, a direction of another generator
            or space, a checkpoint of another discovery, or a part that no sample shows.
    """
    config = config.check(generator, segmenter)
    given = given_vectors(against, generator, config)
    sphere = Sphere(generator.space(config.space), config, given.to(generator.device))
    run = start(sphere, config)
    task = Task.of(config, generator, segmenter, given)
    if checkpoint and Path(checkpoint).exists():
        run.load(checkpoint, task)
    if samples is None or not samples.fits(generator, segmenter, config):
        samples = Samples(generator, segmenter, config)
    search = Search(samples, View(generator, segmenter, config), sphere, EarlyStopping(generator, segmenter, config))
    report = Report(generator, segmenter, config)
    if search.over(run):
        yield report(run, search.result(run))
    while not search.over(run):
        search.step(run)
        if checkpoint and (run.step % every == 0 or search.over(run)):
            run.save(checkpoint, task)
        yield report(run, search.result(run))


def given_vectors(against: Sequence[Direction], generator: Generator, config: DiscoverConfig) -> Tensor:
    """Vectors (G, D) of given directions. UserError for one of another generator or space, or too many of them."""
    for direction in against:
        direction.check(generator)
        if direction.space != config.space:
            raise UserError(
                f"The direction {direction.name!r} lives in {direction.space}; the new ones in {config.space}."
            )
    config.check_room(generator, len(against))
    vectors = [direction.vector.float() for direction in against]
    return torch.stack(vectors) if vectors else torch.zeros(0, generator.space(config.space).width)


def start(sphere: Sphere, config: DiscoverConfig) -> Run:
    """A run that has made no step: directions at random, from the config's seed."""
    random = torch.Generator().manual_seed(config.seed)
    drawn = torch.randn(config.count, sphere.space.width, generator=random).to(sphere.writable.device)
    vectors = sphere.units(drawn).requires_grad_()
    optimizer = torch.optim.Adam([vectors], config.lr, betas=(0.9, 0.99))
    scheduler = SCHEDULES[config.schedule](optimizer, config.steps * config.count)
    return Run(vectors, optimizer, scheduler, random, Best(-1.0, vectors.detach().clone()))


class Search:
    """Makes the steps of a run.

    Args:
        samples: the untouched samples.
        view: renders moved ones.
        sphere: where directions may lie.
        stopping: scores held-out samples where the config has patience.
    """

    def __init__(self, samples: Samples, view: View, sphere: Sphere, stopping: EarlyStopping) -> None:
        self.samples, self.view, self.sphere, self.stopping = samples, view, sphere, stopping
        self.config = view.config
        self.total = self.config.steps * self.config.count
        self.micro = self.config.micro or self.config.batch

    def over(self, run: Run) -> bool:
        """Whether no step is left to make."""
        return run.step >= self.total or 0 < self.config.patience <= run.best.since

    def result(self, run: Run) -> Tensor:
        """The directions (K, D): as they are, or the best ones once a run with patience is over."""
        best = self.config.patience and self.over(run)
        return run.best.vectors if best else self.sphere.units(run.vectors.detach())

    def step(self, run: Run) -> None:
        """One step: direction k alone is scored, all are kept apart."""
        config, k = self.config, run.step % self.config.count
        units = self.sphere.units(run.vectors)
        before = self.samples.batch(run.step // config.count)
        amounts = draw_amounts(config, run.random).to(units)
        slope, run.score, counted = self.slope(before, units[k].detach(), amounts)
        loss = -(slope * units[k]).sum() - config.apart * self.sphere.apartness(units)
        (run.vectors.grad,) = torch.autograd.grad(loss, run.vectors)
        run.optimizer.step()
        run.scheduler.step()
        run.step, run.seen = run.step + 1, run.seen + config.batch
        run.left_out += config.batch - counted
        self.refuse_unseen(run)
        if config.patience and (run.step % (config.look * config.count) == 0 or run.step == self.total):
            found = self.sphere.units(run.vectors.detach())
            run.best = run.best.after(self.stopping.score(found), found)

    def slope(self, before: Batch, unit: Tensor, amounts: Tensor) -> tuple[Tensor, float, int]:
        """Gradient (D,) of the mean score at a unit, the score, and how many samples counted."""
        while True:
            try:
                return self._slope(before, unit, amounts)
            except RuntimeError as problem:
                if self.micro == 1 or not is_out_of_memory(problem):
                    raise
                self.micro = (self.micro + 1) // 2

    def _slope(self, before: Batch, unit: Tensor, amounts: Tensor) -> tuple[Tensor, float, int]:
        slopes, score, counted = [], 0.0, 0.0
        for first in range(0, len(amounts), self.micro):
            rows = slice(first, first + self.micro)
            some, leaf = before.rows(rows), unit.clone().requires_grad_()
            scores, shown = self.view.scores(some, self.view.render(some.codes + amounts[rows] * leaf))
            mean, number = (scores * shown).sum() / shown.sum().clamp_min(1), float(shown.sum())
            slopes.append((number, gradient(mean, leaf)))
            score, counted = score + number * float(mean.detach()), counted + number
        if len(slopes) == 1:
            return slopes[0][1], float(mean.detach()), int(counted)
        return sum(n * slope for n, slope in slopes) / max(counted, 1), score / max(counted, 1), int(counted)

    def refuse_unseen(self, run: Run) -> None:
        """UserError once enough samples went by and none of them counted."""
        if run.seen >= UNSEEN and run.left_out == run.seen:
            parts, generator = " or ".join(self.config.parts), self.view.generator.name
            raise UserError(
                f"None of the first {run.seen} samples of {generator} shows {parts} in a way that a move changes; "
                f"choose another part, or a segmenter for what {generator} paints."
            )


class Report:
    """Makes the `Progress` of a run: directions that know how they were found."""

    def __init__(self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> None:
        self.generator, self.config = generator, config
        self.facts = facts_of(config) | {
            "segmenter": segmenter.name,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "version": lelsd_core.__version__,
        }

    def __call__(self, run: Run, found: Tensor) -> Progress:
        config = self.config
        directions = tuple(self.direction(vector, run.step) for vector in found.cpu())
        held_out = run.best.score if config.patience and run.best.score >= 0 else None
        total = config.steps * config.count
        return Progress(run.step, total, run.score, directions, run.seen, run.left_out, held_out)

    def direction(self, vector: Tensor, steps: int) -> Direction:
        """A `Direction`; its range is the amounts it was trained with."""
        config, generator = self.config, self.generator
        return Direction(
            name="-".join(config.parts),
            generator=generator.name,
            fingerprint=generator.fingerprint,
            space=config.space,
            vector=vector.clone(),
            parts=config.parts,
            low=-config.most,
            high=config.most,
            facts=self.facts | {"steps": steps},
        )


def facts_of(config: DiscoverConfig) -> dict[str, object]:
    """What a direction's file says about how it was looked for."""
    names = ("slots", "view", "difference", "masks", "region", "edges", "norm", "count", "batch", "lr", "seed")
    last = FIRST_SEED + config.samples // config.batch * config.batch - 1
    return {name: getattr(config, name) for name in names} | {
        "layers": config.layers or ("picture",),
        "amounts": (config.least, config.most),
        "samples": (FIRST_SEED, max(last, FIRST_SEED + config.batch - 1)),
    }


def draw_amounts(config: DiscoverConfig, random: torch.Generator) -> Tensor:
    """(batch, 1) amounts, evenly spread over [least, most] and over both signs."""
    sizes = config.least + (config.most - config.least) * torch.rand(config.batch, 1, generator=random)
    return sizes * (2 * torch.randint(2, (config.batch, 1), generator=random) - 1)


class Sphere:
    """Where directions may lie: writable columns, unit length, at right angles to given directions.

    With `norm="whole"` a direction has length 1 and Corr is of whole vectors; with `norm="slot"` each slot that it
    writes has length 1, and R is the mean over these slots, so that no slot is left with a share of two directions.

    Args:
        space: the latent space.
        config: its slots and norm; checked.
        given: vectors (G, D) of given directions.
    """

    def __init__(self, space: LatentSpace, config: DiscoverConfig, given: Tensor) -> None:
        self.space, self.by_slot = space, config.norm == "slot"
        self.writable = space.column_mask(config.slots).to(given.device)
        names = space.written(config.slots)
        self.written = [slot.name in names for slot in space.slots]
        self.given = row_space(given * self.writable, space.widths if self.by_slot else (space.width,))

    def units(self, vectors: Tensor) -> Tensor:
        """Vectors (K, D) brought to where they may lie."""
        free = vectors * self.writable
        if len(self.given):
            free = free - (free @ self.given.T) @ self.given
        return self.space.unit_slots(free) if self.by_slot else self.space.unit(free)

    def apartness(self, units: Tensor) -> Tensor:
        """R of units (K, D), of the whole or the mean over slots."""
        if not self.by_slot:
            return apartness(units)
        pairs = zip(self.space.split(units), self.written, strict=True)
        return torch.stack([apartness(part) for part, written in pairs if written]).mean()


def row_space(vectors: Tensor, widths: Sequence[int]) -> Tensor:
    """Orthonormal rows (R, D) that span what vectors (G, D) span within each stretch of columns."""
    rows, start = [vectors[:0]], 0
    for width in widths:
        if len(vectors):
            _, sizes, basis = torch.linalg.svd(vectors[:, start : start + width], full_matrices=False)
            basis = basis[sizes > 1e-5]
            rows.append(F.pad(basis, (start, vectors.shape[1] - start - width)))
        start += width
    return torch.cat(rows)


def apartness(units: Tensor) -> Tensor:
    """R = −½ ‖Corr − I‖_F of unit vectors (K, D): 0 if they are orthogonal, else negative."""
    cosines = units @ units.T  # (K, K)
    return -0.5 * (cosines - torch.eye(len(units), device=units.device)).norm()


STOPPING_SEED = 800_000  # samples to stop by; neither learnt from nor measured on
COUNT = 64


class EarlyStopping:
    """Scores directions on held-out samples with a config's own maps and masks.

    Args:
        generator, segmenter: what renders and what tells the parts.
        config: checked; amounts are the middle of its range, both ways.
        count: how many samples.
    """

    def __init__(self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig, count: int = COUNT) -> None:
        chunk = min(config.micro or 32, count)
        self.amount = (config.least + config.most) / 2
        self.samples = Samples(
            generator, segmenter, replace(config, batch=chunk, samples=count, micro=0), first=STOPPING_SEED
        )

    @torch.no_grad()
    def score(self, vectors: Tensor) -> float:
        """Mean localization score of directions (K, D) over both ends and all samples that count."""
        total = counted = 0.0
        for number in range(self.samples.config.samples // self.samples.config.batch):
            batch = self.samples.batch(number)
            for vector in vectors.to(batch.codes):
                for amount in (-self.amount, self.amount):
                    scores, shown = self._scores(batch, amount * vector)
                    total, counted = total + float((scores * shown).sum()), counted + float(shown.sum())
        return total / max(counted, 1.0)

    def _scores(self, batch: Batch, way: Tensor) -> tuple[Tensor, Tensor]:
        view = self.samples.view
        return view.scores(batch, view.render(batch.codes + way))
