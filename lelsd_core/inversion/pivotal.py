"""Pivotal tuning: small changes of the generator's weights, so that one person's codes render that person better.

    generator, face, codes (fixed)  --Adam on low-rank changes of the weights-->  `Tuning`  --apply-->  tuned generator

The change of a convolution is the product of two narrow matrices, so a tuning takes about a megabyte. Sources: Roich et
al., "Pivotal Tuning for Latent-based Editing of Real Images" (2021); Hu et al., "LoRA" (2021), for low-rank changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.inversion.refine import Likeness, check_face, step_size
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors

if TYPE_CHECKING:
    from lpips import LPIPS

RANK = 8  # of a convolution's change; each unit adds about 130 kB to a file
STEPS = 120
LEARNING_RATE = 0.01  # at its peak; the factors are about 1 at the start


@dataclass(frozen=True, eq=False)
class Tuning:
    """A change of one generator's weights for one person.

    The factors are float16 on the CPU. For each convolution "8.conv0.out" (O, r), "8.conv0.in" (r, I·k·k) and
    "8.conv0.bias" (O,); for a layer that makes a StyleGAN2's picture "8.torgb.weight" (3, C) and "8.torgb.bias" (3,).
    """

    factors: Mapping[str, Tensor]
    generator: str  # name of the generator it belongs to
    fingerprint: str  # of that generator's weights
    before: float  # mean absolute error of the person's picture in [-1, 1], without the tuning
    l1: float  # and with it
    step: int = 0  # number of optimiser steps

    def apply(self, generator: Generator) -> Generator:
        """The tuned generator, which shares all other tensors with `generator`. UserError for any other generator."""
        if not generator.has_fingerprint(self.fingerprint):
            raise UserError(
                f"This tuning was made for the generator {self.generator!r} ({self.fingerprint[:8] or 'no hash'}); "
                f"this one is {generator.name!r} ({generator.fingerprint[:8] or 'no hash'})."
            )
        check_tunable(generator)
        factors = {name: factor.to(generator.device).float() for name, factor in self.factors.items()}
        try:
            with torch.no_grad():
                return with_changes(generator, factors)
        except (KeyError, RuntimeError):
            message = f"This tuning has other layers than the generator {generator.name!r}; make it anew."
            raise UserError(message) from None

    def save(self, path: str | Path) -> None:
        """Write the tuning as safetensors."""
        facts = {name: value for name, value in vars(self).items() if name != "factors"}
        write_safetensors(path, self.factors, facts | {"kind": "tuning"})

    @classmethod
    def load(cls, path: str | Path) -> Tuning:
        """Read a tuning. UserError for any other file."""
        factors, facts = read_safetensors(path, "tuning")
        facts.pop("kind")
        try:
            tuning = cls(factors, **facts)
        except TypeError:
            raise UserError(f"{Path(path).name} is not a whole tuning: its header lacks something.") from None
        if not all(factor.isfinite().all() for factor in factors.values()):
            raise UserError(f"{Path(path).name} is not a usable tuning: some of its numbers are not finite.")
        return tuning


def tune(
    generator: Generator,
    face: Tensor,
    codes: Tensor,
    space: str,
    *,
    steps: int = STEPS,
    weights: Tensor | None = None,
    perceptual: LPIPS | None = None,
) -> Iterator[Tuning]:
    """Tune a generator so that given codes render a face.

    Args:
        generator: one with `tunable_parts`; it is not modified.
        face: (1, 3, R, R) in [-1, 1], R the generator's resolution.
        codes: (1, D) in `space`, the pivot, as a refinement found them; they are not modified.
        space: latent space of the codes.
        steps: Adam steps, with the learning rate of `step_size`.
        weights: (1, 1, R, R) with mean 1, the importance of each pixel; None = all equal.
        perceptual: network from `load_lpips`; None = the loss has no LPIPS.

    Yields:
        The tuning after each step, with the error before that step; the last one has its own error.

    Raises:
        UserError: a generator that cannot be tuned.
    """
    check_tunable(generator)
    check_face(face, generator)
    finest = generator.space_names[-1]
    styles = generator.lift(codes.detach(), space, finest)
    factors = {name: factor.requires_grad_() for name, factor in initial_factors(generator).items()}
    optimizer = torch.optim.Adam(factors.values(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: step_size(i, steps))
    before, likeness = math.nan, Likeness(face, weights, perceptual)
    for step in range(steps + 1):
        rounded = {name: factor.detach().half() for name, factor in factors.items()}  # as in a file
        used = {name: factor.float() for name, factor in rounded.items()} if step == steps else factors
        with torch.set_grad_enabled(step < steps):
            picture = with_changes(generator, used).synthesize(styles, finest).image
        l1 = float((picture.detach() - face).abs().mean())
        before = before if step else l1
        if step < steps:
            optimizer.zero_grad()
            likeness.loss(picture).backward()
            optimizer.step()
            schedule.step()
        halves = {name: factor.detach().half().cpu() for name, factor in factors.items()}
        yield Tuning(halves, generator.name, generator.fingerprint, before, l1, step)


def check_tunable(generator: Generator) -> None:
    """UserError if the generator cannot be tuned to a person."""
    if not generator.tunable_parts():
        raise UserError(f"Only a StyleGAN2 or a BlazeStyleGAN can be tuned to a person; {generator.name!r} is neither.")


def initial_factors(generator: Generator) -> dict[str, Tensor]:
    """Factors that change nothing: of each pair of matrices one is random (seed 0), the other zero."""
    random = torch.Generator().manual_seed(0)
    factors: dict[str, Tensor] = {}
    for name, part in generator.tunable_parts().items():
        outputs, *others = part.weight_shape
        if len(others) == 1:  # a small matrix needs no factors
            factors[f"{name}.weight"] = torch.zeros(part.weight_shape)
        else:
            factors[f"{name}.out"] = torch.zeros(outputs, RANK)
            factors[f"{name}.in"] = torch.randn(RANK, math.prod(others), generator=random)
        factors[f"{name}.bias"] = torch.zeros(part.bias.shape)
    return {name: factor.to(generator.device) for name, factor in factors.items()}


def with_changes(generator: Generator, factors: Mapping[str, Tensor]) -> Generator:
    """The generator with the changes of some factors, differentiable in the factors.

    Changes are scaled as the weights are: by 1 / √(number of inputs), and 1 / √rank for products.
    """
    parts = {}
    for name, part in generator.tunable_parts().items():
        if f"{name}.weight" in factors:
            change = factors[f"{name}.weight"] * part.weight_shape[1] ** -0.5
        else:
            left, right = factors[f"{name}.out"], factors[f"{name}.in"]
            change = ((left @ right) * (right.shape[0] * right.shape[1]) ** -0.5).view(part.weight_shape)
        parts[name] = part.changed(change, factors[f"{name}.bias"])
    return generator.with_parts(parts)
