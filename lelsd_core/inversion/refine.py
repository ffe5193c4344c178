"""What an inversion is, what an inverter does, and what keeps codes where edits work.

face (1, 3, R, R)  --encode-->  `Inversion`  --refine, under a `Prior`-->  better `Inversion`s, one a step
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.device import gradient
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.generators.base import Generator, Synthesis

PRIOR_SEEDS = range(200_000, 204_096)  # of the samples that a prior is made from
PRIOR_WEIGHT = 0.01
STILL_SPREAD = 0.15  # of columns that are the same in all samples, such as a DCGAN's gains and biases
BATCH = 256  # codes lifted at a time


@dataclass(frozen=True, eq=False)
class Inversion:
    """Codes (1, D) in `space`, and the mean absolute error of their picture in [-1, 1] units."""

    codes: Tensor
    space: str
    l1: float
    step: int = 0


@dataclass(frozen=True, eq=False)
class Prior:
    """Where codes of real pictures lie.

    Args:
        centre: (D,) mean of each column.
        spread: (D,) standard deviation of each column; also the optimiser's unit of length.
        weight: how much a deviation of one spread in every column costs, in units of mean absolute error.
    """

    centre: Tensor
    spread: Tensor
    weight: float = PRIOR_WEIGHT

    def cost(self, codes: Tensor) -> Tensor:
        """Scalar: weight times the mean squared deviation in spreads."""
        return self.weight * ((codes - self.centre) / self.spread).square().mean()


@torch.no_grad()
def sampled_prior(generator: Generator, space: str) -> Prior:
    """The prior of a space: mean and standard deviation of each column over the codes of `PRIOR_SEEDS`."""
    total, squares = 0.0, 0.0
    seeds = list(PRIOR_SEEDS)
    for first in range(0, len(seeds), BATCH):
        codes = generator.lift(generator.sample(seeds[first : first + BATCH]), generator.space_names[0], space)
        codes = codes.cpu().double()
        total, squares = total + codes.sum(0), squares + codes.square().sum(0)
    mean = total / len(seeds)
    spread = (squares / len(seeds) - mean.square()).clamp_min(0).sqrt()
    spread[spread < 1e-4 * spread.max()] = STILL_SPREAD
    return Prior(mean.float().to(generator.device), spread.float().to(generator.device))


class Inverter(Protocol):
    """Finds codes for a face."""

    space: str

    def encode(self, face: Tensor, space: str | None = None) -> Inversion:
        """First guess for a face (1, 3, R, R) in [-1, 1]: one pass of a network."""
        ...

    def refine(
        self,
        face: Tensor,
        start: Inversion,
        *,
        steps: int | None = None,
        weights: Tensor | None = None,
        closeness: str = "balanced",
        side: int | None = None,
    ) -> Iterator[Inversion]:
        """Better and better codes, one `Inversion` a step."""
        ...


@dataclass(frozen=True)
class Closeness:
    """One answer to "as close as possible, or as easy to edit as possible?".

    Args:
        steps: of a refinement, unless told otherwise.
        prior: factor on the prior's weight.
        reach: length of the largest step, in spreads of the prior.
    """

    steps: int
    prior: float
    reach: float = 0.3


CLOSENESS: Mapping[str, Closeness] = {
    "easier to edit": Closeness(120, 2.0),
    "balanced": Closeness(240, 1.0),
    "closer to the photo": Closeness(720, 0.5),
}
BALANCED = "balanced"
STEPS = CLOSENESS[BALANCED].steps
FEW = 40  # steps; in fewer, each is shorter, because long ones would end before they have settled


def closeness_of(name: str) -> Closeness:
    """The closeness of that name. UserError if there is none."""
    if name not in CLOSENESS:
        raise UserError(unknown_name("closeness", name, CLOSENESS))
    return CLOSENESS[name]


def refine(
    generator: Generator,
    prior: Prior,
    face: Tensor,
    start: Inversion,
    *,
    steps: int = STEPS,
    weights: Tensor | None = None,
    reach: float = CLOSENESS[BALANCED].reach,
) -> Iterator[Inversion]:
    """Optimise codes so that their picture comes close to a face.

    Args:
        generator: renders the codes.
        prior: keeps them where edits work; of the space that the codes are in.
        face: (1, 3, R, R) in [-1, 1], R the generator's resolution.
        start: where to begin, in any space.
        steps: Adam steps; the step size rises over five steps and falls along half a cosine.
        weights: (1, 1, R, R) with mean 1, more where likeness matters more; None = even.
        reach: length of the largest step, in spreads of the prior; shorter in less than `FEW` steps.

    Yields:
        The codes after each step, with the error that they had going in, unweighted; the last one has its own, and is
        the start again if nothing better was found.
    """
    check_face(face, generator)
    origin = start.codes.detach()
    offset = torch.zeros_like(origin).requires_grad_()  # in spreads
    optimizer = torch.optim.Adam(
        [offset], reach * min(1.0, steps / FEW), betas=(0.9, 0.95)
    )  # a short memory: gradients shrink fast here
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: step_size(i, steps))
    for step in range(steps + 1):
        codes = origin + offset * prior.spread
        error = generator.synthesize(codes, start.space).image - face
        l1 = float(error.detach().abs().mean())
        loss = distance(error, weights) + prior.cost(codes)
        if step == 0:
            first = loss.detach(), l1
        if step == steps:
            better = bool(loss <= first[0])
            yield Inversion(codes.detach() if better else origin, start.space, l1 if better else first[1], step)
            return
        offset.grad = gradient(loss, offset)
        optimizer.step()
        schedule.step()
        yield Inversion(codes.detach(), start.space, l1, step)


def check_face(face: Tensor, generator: Generator) -> None:
    """ValueError for a face that is not as large as the generator's pictures."""
    if face.shape[-1] != generator.resolution:
        raise ValueError(f"the face must be {generator.resolution} pixels wide, got {face.shape[-1]}")


def step_size(step: int, steps: int) -> float:
    """Share of the largest step: rises over five steps, falls along half a cosine to 0.04; of no steps at all, 1/5."""
    return min(1.0, (step + 1) / 5) * (0.52 + 0.48 * math.cos(math.pi * step / max(1, steps)))


def distance(error: Tensor, weights: Tensor | None) -> Tensor:
    """Scalar, Charbonnier's: an absolute error that is smooth at 0, weighted by pixel."""
    smooth = (error.square() + 1e-3).sqrt()
    return (smooth if weights is None else smooth * weights).mean()


WHOLE_EVERY = 8  # pictures, between two looks at what the layers above add


class Sketch:
    """What one refinement asks of a generator, at a smaller resolution.

    Args:
        generator: one that has a running picture of at most `side` pixels. ValueError if not.
        side: pixels.
    """

    def __init__(self, generator: Generator, side: int) -> None:
        layer = generator.running_layer(side)
        if layer is None:
            raise ValueError(f"{generator.name} has no running picture of at most {side} pixels")
        self.generator, self.side, self.resolution = generator, side, generator.layers[layer].size
        self.made = 0

    def synthesize(self, codes: Tensor, space: str) -> Synthesis:
        """Codes (1, D) -> the whole picture at the sketch's size (1, 3, s, s), with the running picture's graph."""
        running = self.generator.preview(codes, space, side=self.side)
        if self.made % WHOLE_EVERY == 0:
            with torch.no_grad():
                self.above = self.reduced(self.generator.synthesize(codes, space).image) - running
        self.made += 1
        return Synthesis(running + self.above)

    def reduced(self, picture: Tensor) -> Tensor:
        """A picture or a map (B, C, R, R), area-resampled to the sketch's size."""
        return F.interpolate(picture, (self.resolution, self.resolution), mode="area")
