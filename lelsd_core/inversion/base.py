"""What an inversion is, what an inverter does, and what keeps codes where edits work.

face (1, 3, R, R)  --encode-->  `Inversion`  --refine, under a `Prior`-->  better `Inversion`s, one a step
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lelsd_core.generators.base import Generator

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
