"""LELSD: find directions in a latent space that change one part of the picture and leave the rest alone.

    untouched samples (codes, pictures, masks; cached)  --move by amount · u-->  pictures  -->  localization score
    J = Σ_k LS(u_k) + c·R,   R = −½ ‖Corr(u_1..u_K) − I_K‖_F                                        (Eq. 3)

`discover` is an iterator: the command line shows a progress bar, the page yields from it, closing it stops the search.
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
from lelsd_core.discovery.checkpoint import RunState, search_task
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import Batch, Samples, localization_scores
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.latents import LatentSpace
from lelsd_core.seeds import EARLY_STOPPING, TRAINING
from lelsd_core.segmenters import Segmenter, adapt

MAX_UNSEEN = 64  # samples without the part after which the search gives up
STOPPING_BATCH = 32  # samples rendered at a time, without gradients, for the held-out score
FACTS = ("slots", "view", "difference", "masks", "region", "edges", "norm", "count", "batch", "lr", "seed")
SCHEDULES: Mapping[str, Callable[[torch.optim.Optimizer, int], lr_scheduler.LRScheduler]] = {
    "cosine": lr_scheduler.CosineAnnealingLR,
    "halving": lambda adam, total: lr_scheduler.MultiStepLR(adam, [round(total * i / 4) for i in (1, 2, 3)], 0.5),
    "constant": lambda adam, total: lr_scheduler.LambdaLR(adam, lambda _: 1.0),
}


@dataclass(frozen=True, eq=False)
class Progress:
    """What a search has reached after a step."""

    step: int  # done, over all directions
    total: int  # to do
    score: float  # mean localization score, in [0, 1], of this step's samples that count
    directions: tuple[Direction, ...]  # as they are now; the last progress holds the result
    seen: int = 0  # samples used so far
    left_out: int = 0  # those among them that showed no part or no change
    held_out: float | None = None  # the best held-out score so far, where the config has patience


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
        segmenter: finds the parts, before and after.
        config: what to search for; equal configs find equal directions.
        against: directions in the same space that the new ones must be orthogonal to.
        samples: untouched samples of an earlier search, used if they fit.
        checkpoint: file to write every `every` steps, and to continue from if it exists.
        every: steps between two checkpoints.

    Yields:
        A `Progress` after each step. Close the iterator to stop; the directions of the last one are the result.

    Raises:
        UserError: an unknown part, space, slot or layer, a number out of its range, a direction of another generator
            or space, a checkpoint of another search, or a part that no sample shows.
    """
    segmenter = adapt(segmenter)
    config = config.check(generator, segmenter)
    existing = existing_vectors(against, generator, config)
    sphere = UnitSphere(generator.space(config.space), config, existing.to(generator.device))
    state, total = initial_state(sphere, config), config.steps * config.count
    task = search_task(config, generator, segmenter, existing) if checkpoint else {}
    if checkpoint and Path(checkpoint).exists():
        state.load(checkpoint, task)
    if samples is None or not samples.fits(generator, segmenter, config):
        samples = Samples(generator, segmenter, config)
    stopping = EarlyStopping(generator, segmenter, config)
    if state.finished(config):
        yield progress_of(state, sphere, generator, segmenter, config)
    while not state.finished(config):
        k = state.step % config.count  # this step's direction
        units = sphere.project(state.vectors)  # (K, D)
        before = samples.batch(state.step // config.count)
        amounts = draw_amounts(config, state.random).to(units)  # (B, 1)
        score_gradient = score_step(samples, before, units[k].detach(), amounts, config, state)
        loss = -(score_gradient * units[k]).sum() - config.apart * sphere.correlation(units)  # −J of Eq. 3
        (state.vectors.grad,) = torch.autograd.grad(loss, state.vectors)
        state.optimizer.step()
        state.scheduler.step()
        state.step += 1
        if config.patience and (state.step % (config.look * config.count) == 0 or state.step == total):
            vectors = sphere.project(state.vectors.detach())
            state.record(stopping.score(vectors), vectors)
        if checkpoint and (state.step % every == 0 or state.finished(config)):
            state.save(checkpoint, task)
        yield progress_of(state, sphere, generator, segmenter, config)


def existing_vectors(against: Sequence[Direction], generator: Generator, config: DiscoverConfig) -> Tensor:
    """Vectors (G, D) of directions to avoid. UserError for another generator or space, or too many of them."""
    for direction in against:
        direction.check(generator)
        if direction.space != config.space:
            raise UserError(f"Direction {direction.name!r} is in {direction.space}, the new ones in {config.space}.")
    space = generator.space(config.space)
    config.check_room(space, len(against))
    return torch.stack([d.vector.float() for d in against]) if against else torch.zeros(0, space.width)


def initial_state(sphere: UnitSphere, config: DiscoverConfig) -> RunState:
    """The state before the first step: random directions from the config's seed."""
    random = torch.Generator().manual_seed(config.seed)
    drawn = torch.randn(config.count, sphere.space.width, generator=random).to(sphere.writable.device)
    vectors = sphere.project(drawn).requires_grad_()
    optimizer = torch.optim.Adam([vectors], config.lr, betas=(0.9, 0.99))
    scheduler = SCHEDULES[config.schedule](optimizer, config.steps * config.count)
    return RunState(vectors, optimizer, scheduler, random, vectors.detach().clone(), config.micro)


def draw_amounts(config: DiscoverConfig, random: torch.Generator) -> Tensor:
    """(batch, 1) amounts, uniform over [least, most] and over both signs."""
    sizes = config.least + (config.most - config.least) * torch.rand(config.batch, 1, generator=random)
    return sizes * (2 * torch.randint(2, (config.batch, 1), generator=random) - 1)


def score_step(
    samples: Samples, before: Batch, unit: Tensor, amounts: Tensor, config: DiscoverConfig, state: RunState
) -> Tensor:
    """Move a batch by amounts (B, 1) along a direction (D,), render and score it: the mean score's gradient (D,).

    The state notes the score and how many samples counted. UserError if none of the first `MAX_UNSEEN` did. When memory
    runs out, micro-batches are halved for the rest of the search.
    """
    while True:
        try:
            gradients, scores, counts = [], [], []
            for first in range(0, len(amounts), state.micro):
                rows, leaf = slice(first, first + state.micro), unit.clone().requires_grad_()
                untouched = before.rows(rows)
                moved = samples.render(untouched.codes + amounts[rows] * leaf)
                score, counted = localization_scores(untouched, moved, samples.segmenter.parts, config)
                mean = (score * counted).sum() / counted.sum().clamp_min(1)
                gradients.append(gradient(mean, leaf))
                scores.append(float(mean.detach()))
                counts.append(float(counted.sum()))
            break
        except RuntimeError as problem:
            if state.micro == 1 or not is_out_of_memory(problem):
                raise
            state.micro = (state.micro + 1) // 2
    weights = counts if len(counts) > 1 else [1.0]  # of the micro-batches' means
    total = max(sum(weights), 1)
    state.score = sum(weight * score for weight, score in zip(weights, scores, strict=True)) / total
    state.seen, state.left_out = state.seen + config.batch, state.left_out + config.batch - int(sum(counts))
    if state.seen >= MAX_UNSEEN and state.left_out == state.seen:
        parts, name = " or ".join(config.parts), samples.generator.name
        raise UserError(
            f"None of the first {state.seen} samples of {name} shows {parts} in a way that a move changes; "
            f"choose another part, or a segmenter for the pictures of {name}."
        )
    return sum(weight * slope for weight, slope in zip(weights, gradients, strict=True)) / total


def progress_of(
    state: RunState, sphere: UnitSphere, generator: Generator, segmenter: Segmenter, config: DiscoverConfig
) -> Progress:
    """The progress to report: current directions, or the best ones once a search with patience has finished."""
    best = config.patience and state.finished(config)
    vectors = state.best if best else sphere.project(state.vectors.detach())
    samples = max(config.samples // config.batch, 1) * config.batch
    facts = {name: getattr(config, name) for name in FACTS} | {
        "layers": config.layers or ("picture",),
        "amounts": (config.least, config.most),
        "samples": (TRAINING.start, TRAINING.start + samples - 1),
        "segmenter": segmenter.name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "version": lelsd_core.__version__,
        "steps": state.step,
    }
    name, rest = "-".join(config.parts), {"low": -config.most, "high": config.most, "facts": facts}
    directions = tuple(
        Direction(name, generator.name, generator.fingerprint, config.space, vector.clone(), config.parts, **rest)
        for vector in vectors.cpu()
    )
    held_out = state.best_score if config.patience and state.best_score >= 0 else None
    total = config.steps * config.count
    return Progress(state.step, total, state.score, directions, state.seen, state.left_out, held_out)


class UnitSphere:
    """The allowed directions: writable columns, unit length, orthogonal to existing directions.

    With `norm="whole"` a direction has length 1 and Corr is of whole vectors; with `norm="slot"` each slot that it
    writes has length 1 and R is the mean over these slots, so that no two directions coincide within a slot.

    Args:
        space: the latent space.
        config: checked; its slots and norm count.
        existing: vectors (G, D) of directions to be orthogonal to.
    """

    def __init__(self, space: LatentSpace, config: DiscoverConfig, existing: Tensor) -> None:
        self.space, self.by_slot = space, config.norm == "slot"
        self.writable = space.column_mask(config.slots).to(existing.device)
        names = space.written(config.slots)
        self.written = [slot.name in names for slot in space.slots]
        self.existing = row_space(existing * self.writable, space.widths if self.by_slot else (space.width,))

    def project(self, vectors: Tensor) -> Tensor:
        """The nearest allowed directions of vectors (K, D)."""
        free = vectors * self.writable
        if len(self.existing):
            free = free - (free @ self.existing.T) @ self.existing
        return self.space.unit_slots(free) if self.by_slot else self.space.unit(free)

    def correlation(self, units: Tensor) -> Tensor:
        """R of Eq. 3 for unit vectors (K, D): 0 if they are orthogonal, else negative."""
        slots = zip(self.space.split(units), self.written, strict=True)
        parts = [part for part, written in slots if written] if self.by_slot else [units]
        identity = torch.eye(len(units), device=units.device)
        return torch.stack([-0.5 * (part @ part.T - identity).norm() for part in parts]).mean()


def row_space(vectors: Tensor, widths: Sequence[int]) -> Tensor:
    """Orthonormal rows (R, D) that span what vectors (G, D) span within each block of columns of these widths."""
    rows, start = [vectors[:0]], 0
    for width in widths:
        if len(vectors):
            _, sizes, basis = torch.linalg.svd(vectors[:, start : start + width], full_matrices=False)
            basis = basis[sizes > 1e-5]
            rows.append(F.pad(basis, (start, vectors.shape[1] - start - width)))
        start += width
    return torch.cat(rows)


class EarlyStopping:
    """Scores directions on held-out samples with a config's own maps and masks.

    Args:
        generator, segmenter: the networks.
        config: checked; samples are moved by the middle of its amounts, both ways.
        count: number of held-out samples.
    """

    def __init__(
        self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig, count: int = len(EARLY_STOPPING)
    ) -> None:
        chunk = min(config.micro if config.micro < config.batch else STOPPING_BATCH, count)
        held_out = replace(config, batch=chunk, samples=count, micro=chunk)
        self.config, self.samples = config, Samples(generator, segmenter, held_out, EARLY_STOPPING.start)

    @torch.no_grad()
    def score(self, vectors: Tensor) -> float:
        """Mean localization score of directions (K, D) over both signs and all samples that count."""
        total = counted = 0.0
        amount = (self.config.least + self.config.most) / 2
        for number in range(self.samples.batches):
            before = self.samples.batch(number)
            for vector in vectors.to(before.codes):
                for signed in (-amount, amount):
                    after = self.samples.render(before.codes + signed * vector)
                    scores, shown = localization_scores(before, after, self.samples.segmenter.parts, self.config)
                    total, counted = total + float((scores * shown).sum()), counted + float(shown.sum())
        return total / max(counted, 1.0)
