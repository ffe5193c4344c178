"""LELSD: find directions in a latent space that change one part of the picture and leave the rest alone.

    untouched samples (codes, pictures, masks; cached)  --move by amount · u-->  pictures  -->  localization score
    J = Σ_k LS(u_k) + c·R,   R = −½ ‖Corr(u_1..u_K) − I_K‖_F                                        (Eq. 3)

Corr is of the vectors, as in the paper, or of the changes that they cause in the same pictures: two vectors at right
angles can do the same to a picture.

`discover` is an iterator: the command line shows a progress bar, the page yields from it, closing it stops the search.
Source: Pajouheshgar, Zhang, Süsstrunk, ICASSP 2022 (arXiv:2111.12583), sections 3 and 4.1.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import lr_scheduler

import lelsd_core
from lelsd_core.device import gradient, is_out_of_memory, placed_like
from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import Batch, EarlyStopping, Samples
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.latents import LatentSpace
from lelsd_core.local import LocalMove
from lelsd_core.seeds import TRAINING
from lelsd_core.segmenters import Segmenter, adapt, region_among
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors

MAX_UNSEEN = 64  # samples without the part after which the search gives up
MIN_IMPROVEMENT = 0.002  # a held-out score must rise by this much to count as better
SMALL = 64  # pixels across of the changes that are compared
MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam; with the numbers below, the content of a checkpoint
NUMBERS = ("step", "seen", "left_out", "score", "best_score", "since")
FACTS = ("slots", "view", "difference", "masks", "region", "edges", "norm", "truncation", "draw", "beta2")
FACTS += ("count", "batch", "lr", "seed", "compare", "start")
SCHEDULES = {  # name -> the scheduler of an optimizer for a total number of steps
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
    starts: Sequence[Tensor] = (),
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
        starts: vectors (D,) that the first directions start from and are held to, by the config's `hold`; the others
            start at random.
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
    state = SearchState(generator, segmenter, config, against, starts)
    if checkpoint and Path(checkpoint).exists():
        state.load(checkpoint)
    if samples is None or not samples.fits(generator, segmenter, config):
        samples = Samples(generator, segmenter, config)
    state.micro = min(config.micro, config.batch) or samples.micro
    stopping = EarlyStopping(generator, segmenter, config)
    if state.finished:
        yield state.progress()
    while not state.finished:
        k = state.step % config.count  # this step's direction
        vectors = state.sphere.project(state.vectors)  # (K, D)
        before = samples.batch(state.step // config.count)
        amounts = placed_like(draw_amounts(config, state.random), vectors)  # (B, 1)
        score_gradient = score_step(state, samples, before, k, vectors[k].detach(), amounts)
        loss = -(score_gradient * vectors[k]).sum()  # −J of Eq. 3; the gradient holds R where changes are compared
        if config.compare == "vectors":
            loss = loss - config.apart * state.sphere.correlation(vectors)
        if k < len(state.starts):
            loss = loss - config.hold * F.cosine_similarity(vectors[k], state.starts[k], dim=0)
        (state.vectors.grad,) = torch.autograd.grad(loss, state.vectors)
        state.optimizer.step()
        state.scheduler.step()
        state.step += 1
        if config.patience and (state.step % (config.look * config.count) == 0 or state.step == state.total):
            state.record(stopping)
        if checkpoint and (state.step % every == 0 or state.finished):
            state.save(checkpoint)
        yield state.progress()


def draw_amounts(config: DiscoverConfig, random: torch.Generator) -> Tensor:
    """(batch, 1) amounts, uniform over [least, most] and over both signs; all the same if one is drawn for a batch."""
    drawn = config.batch if config.draw == "sample" else 1
    sizes = config.least + (config.most - config.least) * torch.rand(drawn, 1, generator=random)
    amounts = sizes * (2 * torch.randint(2, (drawn, 1), generator=random) - 1)
    return amounts.expand(config.batch, 1)


def score_step(state: SearchState, samples: Samples, before: Batch, k: int, vector: Tensor, amounts: Tensor) -> Tensor:
    """Move a batch by amounts (B, 1) along direction k (D,), render and score it: the mean score's gradient (D,).

    Where changes are compared, it is the gradient of the score and of c·R. The state notes the score and how many
    samples counted. UserError if none of the first `MAX_UNSEEN` did. When memory runs out, micro-batches are halved for
    the rest of the search.
    """
    while True:
        try:
            gradients, scores, counts, changes = [], [], [], []
            for first in range(0, len(amounts), state.micro):
                rows, leaf = slice(first, first + state.micro), vector.clone().requires_grad_()
                untouched = before.rows(rows)
                moved = samples.move(untouched, untouched.codes + amounts[rows] * leaf, state.config)
                score, counted = samples.score(untouched, moved, state.config)
                mean = (score * counted).sum() / counted.sum().clamp_min(1)
                change = unit_change(untouched, moved, amounts[rows])
                apart = state.changes_apart(k, rows, change) if state.config.compare == "changes" else 0.0
                gradients.append(gradient(mean + state.config.apart * apart, leaf))
                changes.append(change.detach())
                scores.append(float(mean.detach()))
                counts.append(float(counted.sum()))
            break
        except RuntimeError as problem:
            if state.micro == 1 or not is_out_of_memory(problem):
                raise
            state.micro = (state.micro + 1) // 2
    state.changes[k] = torch.cat(changes)
    weights = counts if len(counts) > 1 else [1.0]  # of the micro-batches' means
    total = max(sum(weights), 1)
    state.score = sum(weight * score for weight, score in zip(weights, scores, strict=True)) / total
    state.seen, state.left_out = state.seen + len(amounts), state.left_out + len(amounts) - int(sum(counts))
    if state.seen >= MAX_UNSEEN and state.left_out == state.seen:
        parts, name = " or ".join(state.config.parts), samples.generator.name
        raise UserError(
            f"None of the first {state.seen} samples of {name} shows {parts} in a way that a move changes; "
            f"choose another part, or a segmenter for the pictures of {name}."
        )
    return sum(weight * slope for weight, slope in zip(weights, gradients, strict=True)) / total


def unit_change(before: Batch, after: Batch, amounts: Tensor) -> Tensor:
    """The change (B, N) of the first scored map per unit of amounts (B, 1), at most `SMALL` pixels across, length 1."""
    change = after.maps[0] - before.maps[0]
    change = F.adaptive_avg_pool2d(change, [min(size, SMALL) for size in change.shape[-2:]]).flatten(1)
    return F.normalize(change * amounts.sign(), dim=1, eps=1e-9)


class SearchState:
    """All that changes during a search, and its file: an interrupted search continues exactly where it was.

    The config is checked. UserError for directions of another generator or space, or too many of them.
    """

    def __init__(
        self,
        generator: Generator,
        segmenter: Segmenter,
        config: DiscoverConfig,
        against: Sequence[Direction],
        starts: Sequence[Tensor] = (),
    ) -> None:
        self.generator, self.segmenter, self.config = generator, segmenter, config
        for direction in against:
            direction.check(generator)
            if direction.space != config.space:
                raise UserError(f"Direction {direction.name!r} is in {direction.space}, the search in {config.space}.")
        space = generator.space(config.space)
        config.check_room(space, len(against))
        vectors = [direction.vector.float() for direction in against]
        existing = torch.stack(vectors) if vectors else torch.zeros(0, space.width)
        self.sphere = UnitSphere(space, config, existing.to(generator.device))
        self.random = torch.Generator().manual_seed(config.seed)  # draws the start and the amounts
        if len(starts) > config.count or any(start.shape != (space.width,) for start in starts):
            shapes = [tuple(start.shape) for start in starts]
            raise UserError(f"starts are {shapes}; at most {config.count} can be given, each ({space.width},).")
        if not config.steps and len(starts) < config.count:
            raise UserError("steps is 0, which leaves directions as they start; name a start for each, or take steps.")
        start = torch.randn(config.count, space.width, generator=self.random)
        start[: len(starts)] = torch.stack(list(starts)).cpu() if starts else start[:0]
        start = start.to(generator.device)
        self.starts = start[: len(starts)]
        self.changes: dict[int, Tensor] = {}  # of each direction in the latest step, see `unit_change`
        self.vectors = self.sphere.project(start, unit=True).requires_grad_()  # (K, D), the parameter that Adam updates
        self.best = self.vectors.detach().clone()  # the directions with the best held-out score so far
        self.best_score, self.since = -1.0, 0  # that score, -1 before the first; checks since then
        self.total, self.step, self.score = config.steps * config.count, 0, 0.0  # score: mean over the last step
        self.seen = self.left_out = 0  # samples used, and those among them that showed no part or no change
        self.micro = config.batch  # samples rendered at a time; halved when memory runs out
        self.optimizer = torch.optim.Adam([self.vectors], config.lr, betas=(0.9, config.beta2))
        self.scheduler = SCHEDULES[config.schedule](self.optimizer, self.total)
        self.task = {  # what the search does, as plain JSON, to recognise its checkpoint by
            "config": json.loads(json.dumps(asdict(config))),
            "generator": generator.fingerprint or generator.name,
            "segmenter": getattr(segmenter, "fingerprint", "") or segmenter.name,
            "given": hashlib.sha256(existing.cpu().numpy().tobytes()).hexdigest() if against else "",
            "starts": hashlib.sha256(self.starts.cpu().numpy().tobytes()).hexdigest() if starts else "",
        }

    def changes_apart(self, k: int, rows: slice, change: Tensor) -> Tensor:
        """R of Eq. 3 for changes (B, N) of some rows by direction k, against those of the directions before it.

        All directions of a round move the same samples.
        """
        others = [self.changes[j][rows] for j in range(k)]
        if not others:
            return change.sum() * 0
        cosines = torch.stack([(change * other).sum(1).mean() for other in others])
        return -0.5 * (2 * cosines.square().sum() + 1e-12).sqrt()  # each pair stands twice in the matrix

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the held-out score has stopped rising."""
        return self.step >= self.total or 0 < self.config.patience <= self.since

    def record(self, stopping: EarlyStopping) -> None:
        """Compute the held-out score of the directions, and keep them if it is the best."""
        vectors = self.sphere.project(self.vectors.detach())
        score = stopping.mean_score(vectors)
        if score > self.best_score + MIN_IMPROVEMENT:
            self.best_score, self.best, self.since = score, vectors, 0
        else:
            self.since += 1

    def progress(self) -> Progress:
        """The progress to report: current directions, or the best ones once a search with patience has finished."""
        config, generator = self.config, self.generator
        stopped = config.patience and self.finished
        vectors = self.best if stopped else self.sphere.project(self.vectors.detach())
        samples = max(config.samples // config.batch, 1) * config.batch
        facts = {name: getattr(config, name) for name in FACTS} | {
            "layers": config.layers or ("picture",),
            "samples": (TRAINING.start, TRAINING.start + samples - 1),
            "segmenter": self.segmenter.name,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "version": lelsd_core.__version__,
            "steps": self.step,
        }
        directions = []
        for vector in vectors.cpu():
            length = float(vector.norm()) if config.norm == "free" else 1.0  # it becomes part of the amounts
            least, most = config.least * length, config.most * length
            direction = Direction(
                name="-".join(config.parts),
                generator=generator.name,
                fingerprint=generator.fingerprint,
                space=config.space,
                vector=vector / length,
                parts=config.parts,
                low=-most,
                high=most,
                local=LocalMove.of(config),
                region=region_among(self.segmenter, config.parts),
                facts=facts | {"amounts": (least, most)},
            )
            directions.append(direction)
        held_out = self.best_score if config.patience and self.best_score >= 0 else None
        return Progress(self.step, self.total, self.score, tuple(directions), self.seen, self.left_out, held_out)

    def save(self, path: str | Path) -> None:
        """Write the state and the search that it belongs to; the file appears whole or not at all."""
        moments = {name: self.optimizer.state[self.vectors][name] for name in MOMENTS}
        tensors = {"vectors": self.vectors, "best": self.best, "random": self.random.get_state(), **moments}
        numbers = {name: getattr(self, name) for name in NUMBERS} | {"lr": self.optimizer.param_groups[0]["lr"]}
        write_safetensors(path, tensors, {"kind": "discovery", "task": self.task, "numbers": numbers})

    def load(self, path: str | Path) -> None:
        """Continue from a file. UserError for a damaged file or one of another search."""
        tensors, facts = read_safetensors(path, "discovery")
        try:
            saved, numbers = facts["task"], facts["numbers"]
            if self.generator.has_fingerprint(saved["generator"]):
                saved["generator"] = self.task["generator"]
            saved.setdefault("starts", "")  # older ones have none
            saved["config"] = json.loads(json.dumps(asdict(DiscoverConfig()))) | saved["config"]  # older ones lack some
            saved["config"]["micro"] = self.task["config"]["micro"]  # changes the memory that is needed, not the result
            different = [name for name, value in self.task.items() if saved.get(name) != value]
            values = {name: type(getattr(self, name))(numbers[name]) for name in NUMBERS}
            rate = float(numbers["lr"])
            if not different:
                if any(tensors[name].shape != self.vectors.shape for name in ("vectors", "best", *MOMENTS)):
                    raise ValueError("shapes")
                self.random.set_state(tensors["random"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as problem:
            raise UserError(f"{Path(path).name} is not a whole checkpoint of a discovery: {problem}.") from None
        if different:
            raise UserError(
                f"{Path(path).name} belongs to another discovery (another {' and '.join(different)}); "
                "give another checkpoint file, or delete it to start afresh."
            )
        vars(self).update(values, best=placed_like(tensors["best"], self.vectors))
        with torch.no_grad():
            self.vectors.copy_(tensors["vectors"])
        moments = {name: placed_like(tensors[name], self.vectors) for name in MOMENTS}
        self.optimizer.state[self.vectors] = {"step": torch.tensor(float(self.step)), **moments}
        self.optimizer.param_groups[0]["lr"] = rate
        self.scheduler.last_epoch = self.step


class UnitSphere:
    """The allowed directions: writable columns, unit length, orthogonal to existing directions.

    With `norm="whole"` a direction has length 1 and Corr is of whole vectors; with `norm="slot"` each slot that it
    writes has length 1 and R is the mean over these slots, so that no two directions coincide within a slot.
    `norm="free"` is as "slot", but only the start has these lengths; Corr is of the normalised vectors, as ever.
    `existing` are the vectors (G, D) of the directions to be orthogonal to.
    """

    def __init__(self, space: LatentSpace, config: DiscoverConfig, existing: Tensor) -> None:
        self.writable = space.column_mask(config.slots).to(existing.device)
        self.widths, self.written = [space.width], [True]  # of the blocks of columns that get unit length
        self.free = config.norm == "free"
        if config.norm != "whole":
            names = space.written(config.slots)
            self.widths, self.written = list(space.widths), [slot.name in names for slot in space.slots]
        self.existing = torch.block_diag(*map(row_space, (existing * self.writable).split(self.widths, dim=1)))

    def project(self, vectors: Tensor, *, unit: bool = False) -> Tensor:
        """The nearest allowed directions of vectors (K, D); free ones have length 1 only if `unit` is set."""
        free = vectors * self.writable
        if len(self.existing):
            free = free - (free @ self.existing.T) @ self.existing
        return self.normalize(free) if unit or not self.free else free

    def normalize(self, vectors: Tensor) -> Tensor:
        """Vectors (K, D) with length 1, as a whole or in each slot."""
        return torch.cat([F.normalize(block, dim=-1) for block in vectors.split(self.widths, dim=-1)], dim=-1)

    def correlation(self, vectors: Tensor) -> Tensor:
        """R of Eq. 3 for allowed directions (K, D): 0 if they are orthogonal, else negative."""
        units = self.normalize(vectors) if self.free else vectors
        blocks = zip(units.split(self.widths, dim=-1), self.written, strict=True)
        identity = torch.eye(len(units), device=units.device)
        excess = [block @ block.T - identity for block, written in blocks if written]
        if self.free:  # the diagonal's rounding errors would move columns that nothing else moves
            excess = [each * (1 - identity) for each in excess]
        return torch.stack([-0.5 * each.norm() for each in excess]).mean()


def row_space(vectors: Tensor) -> Tensor:
    """Orthonormal rows (R, D) that span the same space as vectors (G, D)."""
    if not len(vectors):
        return vectors
    _, sizes, basis = torch.linalg.svd(vectors, full_matrices=False)
    return basis[sizes > 1e-5]
