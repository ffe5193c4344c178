"""How codes change a part and the rest, to first order: random projections of the Jacobian by backpropagation.

    J: (3·H·W, D), of a picture by its code;  s: a random sign for each of its numbers;  m: the part's mask
    g = Jᵀ (√m · s)   -->   E[(g · v)²] = Σ m · (J v)²,   the squared change inside the part along any v

So a few backward passes of a picture tell of all directions at once how much they change inside and outside the part,
where the whole Jacobian would take one for each pixel or for each dimension of the code.

Source of the estimate: Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lelsd_core.device import by_rows, how_many, placed_like
from lelsd_core.discovery.samples import PIXELS
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.methods.scores import region
from lelsd_core.methods.wanted import Report
from lelsd_core.segmenters import Segmenter

BATCH = 8  # pictures at a time


@dataclass(frozen=True, eq=False)
class Probes:
    """Projected gradients g of N pictures that show the part, P of each; on the CPU."""

    inside: Tensor  # (N, P, D) of what is inside the part
    outside: Tensor  # (N, P, D) of the rest
    area: Tensor  # (N,) share of the picture that the part covers


def probe(
    generator: Generator,
    segmenter: Segmenter,
    parts: Sequence[str],
    space: str,
    seeds: Sequence[int],
    count: int,
    *,
    seed: int = 0,
    report: Report,
) -> Probes:
    """Project the Jacobians of samples' pictures by their codes in a space.

    Args:
        generator, segmenter: the networks.
        parts: inside is where they are.
        space: of the codes.
        seeds: of the samples.
        count: P, projections of each picture.
        seed: of the random signs.
        report: called with the share that is done.

    Raises:
        UserError: no sample shows the parts.
    """
    random = torch.Generator().manual_seed(seed)

    def gradients(codes: Tensor) -> tuple[Tensor, ...]:
        codes = codes.detach().requires_grad_()
        with torch.enable_grad():
            synthesis = generator.synthesize(codes, space, keep=segmenter.needs)
        image = synthesis.image
        mask = region(segmenter, synthesis, parts)
        found = []
        for weight in (mask, 1 - mask):
            signs = [placed_like(2 * torch.randint(2, image.shape, generator=random) - 1, image) for _ in range(count)]
            each = [torch.autograd.grad(image, codes, sign * weight.sqrt(), retain_graph=True)[0] for sign in signs]
            found.append(torch.stack(each, 1).cpu())
        return *found, mask.mean((1, 2, 3)).cpu()

    size = how_many(PIXELS, generator.resolution**2, BATCH)
    batches = []
    codes = generator.sample_in(space, seeds)
    for rows in codes.split(size):
        batches.append(by_rows(gradients, rows))
        report(len(batches) * size / max(len(codes), len(batches) * size))
    inside, outside, area = map(torch.cat, zip(*batches, strict=True))
    shown = area > 0
    if not shown.any():
        named = " or ".join(parts)
        raise UserError(f"None of {len(area)} samples of {generator.name} shows {named}; choose another part.")
    return Probes(inside[shown], outside[shown], area[shown])
