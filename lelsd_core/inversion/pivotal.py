"""Pivotal tuning: the generator's weights give way a little until one person's codes render that person.

    generator, face, codes  --Adam on low-rank changes of the weights-->  `Tuning`, a megabyte  --apply-->  generator

The generator itself stays as it is: a tuned one shares all tensors with it but the changed ones. The change of a
convolution is the product of two narrow matrices, so that a file stays small. Sources: Roich et al., "Pivotal Tuning
for Latent-based Editing of Real Images" (2021); Hu et al., "LoRA" (2021) for changes of low rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.generators.stylegan2 import StyledConv, StyleGAN2, ToRGB
from lelsd_core.inversion.refine import check_face, distance, step_size
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors

RANK = 8
STEPS = 120
REACH = 0.01  # largest step of a factor; the first factors are about 1


@dataclass(frozen=True, eq=False)
class Tuning:
    """A change of one generator's weights for one person.

    Args:
        factors: for each convolution "8.conv0.out" (O, r), "8.conv0.in" (r, 9·I) and "8.conv0.bias" (O,), for each
            toRGB "8.torgb.weight" (3, C) and "8.torgb.bias" (3,); float16 on the CPU.
        generator, fingerprint: the generator it belongs to.
        before, l1: mean absolute error of the person's picture in [-1, 1] without this change, and with it.
        step: how many steps it took.
    """

    factors: Mapping[str, Tensor]
    generator: str
    fingerprint: str
    before: float
    l1: float
    step: int = 0

    def apply(self, generator: Generator) -> StyleGAN2:
        """The tuned generator, which shares everything else with the one given. UserError for any other generator."""
        if self.fingerprint != generator.fingerprint:
            raise UserError(
                f"This tuning was made for the generator {self.generator!r} ({self.fingerprint[:8] or 'no hash'}); "
                f"this one is {generator.name!r} ({generator.fingerprint[:8] or 'no hash'})."
            )
        factors = {name: factor.to(generator.device).float() for name, factor in self.factors.items()}
        try:
            with torch.no_grad():
                return changed(tunable(generator), factors)
        except (KeyError, RuntimeError):
            raise UserError(
                f"This tuning has other layers than the generator {generator.name!r}; make it anew."
            ) from None

    def save(self, path: str | Path) -> None:
        """Write it as safetensors."""
        names = ("generator", "fingerprint", "before", "l1", "step")
        write_safetensors(path, self.factors, {name: getattr(self, name) for name in names} | {"kind": "tuning"})

    @classmethod
    def load(cls, path: str | Path) -> Tuning:
        """Read one. UserError on anything that is not one."""
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
    rank: int = RANK,
    weights: Tensor | None = None,
    reach: float = REACH,
) -> Iterator[Tuning]:
    """Change a StyleGAN2 a little, so that some codes render a face.

    Args:
        generator: stays as it is.
        face: (1, 3, R, R) in [-1, 1], R the generator's resolution.
        codes: (1, D) in `space`: the pivot, as a refinement found them; they stay as they are.
        steps: Adam steps; the step size rises over five steps and falls along half a cosine.
        rank: of each convolution's change; a file has about 130 kB for each.
        weights: (1, 1, R, R) with mean 1, more where likeness matters more; None = even.
        reach: length of the largest step.

    Yields:
        The change after each step with the error going in; the last one has its own. Stop whenever you like.

    Raises:
        UserError: not a StyleGAN2.
    """
    network = tunable(generator)
    check_face(face, network)
    styles = network.lift(codes.detach(), space, network.space_names[-1])
    factors = {name: factor.requires_grad_() for name, factor in start(network, rank).items()}
    optimizer = torch.optim.Adam(factors.values(), reach)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: step_size(i, steps))
    before = math.nan
    for step in range(steps + 1):
        used = rounded(factors) if step == steps else factors
        with torch.set_grad_enabled(step < steps):
            error = changed(network, used).synthesize(styles, network.space_names[-1]).image - face
        l1 = float(error.detach().abs().mean())
        before = before if step else l1
        if step < steps:
            optimizer.zero_grad()
            distance(error, weights).backward()
            optimizer.step()
            schedule.step()
        halves = {name: factor.detach().half().cpu() for name, factor in factors.items()}
        yield Tuning(halves, network.name, network.fingerprint, before, l1, step)


def tunable(generator: Generator) -> StyleGAN2:
    """The generator, if it can be tuned. UserError if it is no StyleGAN2."""
    if not isinstance(generator, StyleGAN2):
        raise UserError(f"Only a StyleGAN2 can be tuned to a person; {generator.name!r} is none.")
    return generator


def start(generator: StyleGAN2, rank: int) -> dict[str, Tensor]:
    """Factors of no change: one of each pair is drawn, the other is zero."""
    random = torch.Generator().manual_seed(0)
    factors: dict[str, Tensor] = {}
    for name, part in parts_of(generator).items():
        if isinstance(part, ToRGB):
            factors[f"{name}.weight"] = torch.zeros(part.weight.shape)
        else:
            factors[f"{name}.out"] = torch.zeros(part.weight_out, rank)
            factors[f"{name}.in"] = torch.randn(rank, part.weight.numel() // part.weight_out, generator=random)
        factors[f"{name}.bias"] = torch.zeros(part.bias.shape)
    return {name: factor.to(generator.device) for name, factor in factors.items()}


def changed(generator: StyleGAN2, factors: Mapping[str, Tensor]) -> StyleGAN2:
    """The generator with the factors' change, in units of the weights' own size; differentiable in the factors."""
    parts = {}
    for name, part in parts_of(generator).items():
        bias = factors[f"{name}.bias"]
        if isinstance(part, ToRGB):
            parts[name] = part.changed(factors[f"{name}.weight"] * part.weight.shape[1] ** -0.5, bias)
        else:
            left, right = factors[f"{name}.out"], factors[f"{name}.in"]
            product = (left @ right) * (right.shape[0] * right.shape[1]) ** -0.5
            parts[name] = part.changed(product.view(len(left), -1, 3, 3), bias)
    return generator.with_parts(parts)


def parts_of(generator: StyleGAN2) -> dict[str, StyledConv | ToRGB]:
    """Its styled parts by name, "8.conv0"."""
    slots = generator.spaces[-1].slots
    return dict(zip((slot.name for slot in slots), generator.parts.values(), strict=True))


def rounded(factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The factors as a file keeps them, so that the last error told is that of the file."""
    return {name: factor.detach().half().float() for name, factor in factors.items()}
