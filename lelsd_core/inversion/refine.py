"""Refinement: codes are optimised until their picture comes close to the face, and held back where edits work.

    face, first codes, prior  --Adam, in spreads of the prior-->  one `Inversion` a step

Works for any generator and any of its spaces. Source: Abdal et al., "Image2StyleGAN", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lelsd_core.device import gradient
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.generators.base import Generator
from lelsd_core.inversion.base import Inversion, Prior


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
