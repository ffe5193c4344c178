"""GANalyze: the direction along which a score of the pictures grows by as much as one asks for.

    min over θ of E[(s(G(z + α θ)) − (s(G(z)) + α σ))²],   α at random,  σ the scores' standard deviation

The score s is `Wanted.scorer`, which must be differentiable; without one, light and colours of the wanted parts (their
masks carry no gradient), a direction for each. θ is trained from 0 by Adam and scaled to length 1; which amount of it
raises the score by σ is in the facts. Nothing keeps the change inside the parts, as in the paper.

Source: Goetschalckx, Andonian, Oliva, Isola, "GANalyze: Toward Visual Definitions of Cognitive Image Properties", ICCV
2019.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lelsd_core.device import how_many, placed_like
from lelsd_core.directions import Direction
from lelsd_core.discovery.samples import PIXELS
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator, Synthesis
from lelsd_core.methods.candidates import best, candidate, usual_amount
from lelsd_core.methods.scores import COLOURS, colour, region
from lelsd_core.methods.wanted import Report, Wanted
from lelsd_core.seeds import TRAINING
from lelsd_core.segmenters import Segmenter

STEPS, BATCH = 100, 8
SAMPLES = 400  # different ones
MOST = 1.0  # largest |α|
RATE = 0.02  # of Adam, in usual amounts spread over all columns
STILL = 1e-6  # a standard deviation of scores up to this is none

Score = Callable[[Synthesis], Tensor]  # numbers (B,) of pictures, NaN = unknown


def search(generator: Generator, segmenter: Segmenter, wanted: Wanted, report: Report) -> list[Direction]:
    """A direction for the scorer, or for each of the first `COLOURS`."""
    names = ("score",) if wanted.scorer else tuple(COLOURS)[: wanted.count]
    candidates = []
    for i, name in enumerate(names):
        score = partial(score_of, segmenter, wanted, name)
        theta = train(generator, segmenter, score, wanted, lambda share, i=i: report((i + share) / (len(names) + 1)))
        facts = {"score": name, "steps": wanted.steps or STEPS, "samples": wanted.samples or SAMPLES}
        candidates.append(candidate(generator, wanted, theta, **facts, deviation=float(theta.norm())))
    return best(generator, segmenter, wanted, candidates, lambda share: report((len(names) + share) / (len(names) + 1)))


def room(generator: Generator, wanted: Wanted) -> int:
    """One direction for each score."""
    return 1 if wanted.scorer else len(COLOURS)


def score_of(segmenter: Segmenter, wanted: Wanted, name: str, synthesis: Synthesis) -> Tensor:
    """The score (B,) of that name."""
    if wanted.scorer:
        return wanted.scorer(synthesis.image)
    return colour(synthesis.image, region(segmenter, synthesis, wanted.parts), name)


def train(generator: Generator, segmenter: Segmenter, score: Score, wanted: Wanted, report: Report) -> Tensor:
    """θ (D,), by which a code moves for one standard deviation of the score.

    UserError for a score without gradient, or one that does not vary.
    """
    space, steps = generator.space(wanted.space), wanted.steps or STEPS
    columns = space.column_mask().to(generator.device)
    batch = how_many(PIXELS, generator.resolution**2, BATCH)
    codes = generator.sample_in(space.name, TRAINING[: max(wanted.samples or SAMPLES, 2)]).detach()
    random = torch.Generator().manual_seed(wanted.seed)

    def scores(rows: Tensor) -> Tensor:
        return score(generator.synthesize(rows, space.name, keep=segmenter.needs)).float()

    with torch.no_grad():
        before = torch.cat([scores(rows) for rows in codes.split(batch)])
    known = before.isfinite()
    codes, before = codes[known], before[known]
    if len(before) < 2 or (deviation := float(before.std())) <= STILL:
        raise UserError("The score is the same on all samples, or none has it; give another scorer or another part.")
    theta = torch.zeros(space.width, device=generator.device, requires_grad=True)
    rate = RATE * usual_amount(generator, space.name) / float(columns.sum()) ** 0.5
    adam = torch.optim.Adam([theta], rate)
    for step in range(steps):
        rows = torch.arange(step * batch, (step + 1) * batch) % len(codes)
        amounts = placed_like(MOST * (2 * torch.rand(batch, 1, generator=random) - 1), codes)
        after = scores(codes[rows] + amounts * (theta * columns))
        error = (after - before[rows]) / deviation - amounts[:, 0]
        loss = error[error.isfinite()].square().sum() / batch
        if not loss.requires_grad:
            raise UserError("GANalyze follows the gradient of a score, and this scorer has none.")
        (theta.grad,) = torch.autograd.grad(loss, theta)
        adam.step()
        report((step + 1) / steps)
    return theta.detach() * columns
