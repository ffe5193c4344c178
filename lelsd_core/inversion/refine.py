"""Refinement of an inversion: Adam on the latent code, with a Gaussian prior that keeps the code editable.

    face (1, 3, R, R), first codes (1, D)  --refine, under a `Prior`-->  better codes (1, D), one `Inversion` per step

The loss is the error of the pixels, LPIPS where its network is given, and the prior, which also sets the scale of the
optimiser's steps. Large generators can be refined at low resolution, which costs a fraction of the time. Source: Abdal
et al., "Image2StyleGAN" (2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core import seeds
from lelsd_core.device import gradient
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.evaluation.perceptual import PerceptualTarget
from lelsd_core.generators.base import Generator, Synthesis
from lelsd_core.segmenters.base import SURROUNDINGS, Segmenter

if TYPE_CHECKING:
    from lpips import LPIPS

PRIOR_WEIGHT = 0.01
STEPS = 240  # of a balanced refinement
CONSTANT_SPREAD = 0.15  # for columns that are equal in all samples, such as a DCGAN's gains and biases
BATCH = 256  # codes lifted at a time
FEW_STEPS = 16  # with fewer steps, each is shorter, because long ones would not converge
LONG = 100  # steps; of the pairs below, the first serves shorter refinements, the second those of so many and more
BETAS = (0.8, 0.9), (0.9, 0.95)  # of Adam
RATES = 0.35, 0.3  # learning rate at its peak, in standard deviations of the prior
FULL_EVERY = 8  # low-resolution pictures between two full ones
LIKENESS_PARTS = ("brows", "eyes", "nose", "mouth")  # parts by which people recognise a person
LIKENESS_WEIGHT = 3.0
SURROUNDINGS_WEIGHT = 0.2  # of background and clothes, which pull codes far away, where LPIPS sees them too


@dataclass(frozen=True, eq=False)
class Inversion:
    """Codes (1, D) in `space`, the mean absolute error of their picture in [-1, 1], and the refinement step."""

    codes: Tensor
    space: str
    l1: float
    step: int = 0


@dataclass(frozen=True, eq=False)
class Prior:
    """A Gaussian over latent codes, with independent columns."""

    centre: Tensor  # (D,) mean of each column
    spread: Tensor  # (D,) standard deviation of each column; also the unit of the optimiser's steps
    weight: float = PRIOR_WEIGHT  # cost, as a mean absolute error, of one standard deviation in every column

    def cost(self, codes: Tensor) -> Tensor:
        """Scalar: weight times the mean squared deviation in standard deviations."""
        return self.weight * ((codes - self.centre) / self.spread).square().mean()


@torch.no_grad()
def sampled_prior(generator: Generator, space: str, weight: float = PRIOR_WEIGHT) -> Prior:
    """The prior of a space: mean and standard deviation of the codes of `seeds.PRIOR`."""
    total, squares, count = 0.0, 0.0, len(seeds.PRIOR)
    for first in range(0, count, BATCH):
        codes = generator.sample_in(space, list(seeds.PRIOR[first : first + BATCH])).cpu().double()
        total, squares = total + codes.sum(0), squares + codes.square().sum(0)
    mean = total / count
    spread = (squares / count - mean.square()).clamp_min(0).sqrt()
    spread[spread < 1e-4 * spread.max()] = CONSTANT_SPREAD
    return Prior(mean.float().to(generator.device), spread.float().to(generator.device), weight)


@dataclass(frozen=True)
class Closeness:
    """A balance between a close likeness and codes that are easy to edit."""

    steps: float  # factor on the number of refinement steps
    prior: float  # factor on the prior's weight


CLOSENESS: Mapping[str, Closeness] = {
    "easier to edit": Closeness(0.5, 2.0),
    "balanced": Closeness(1.0, 1.0),
    "closer to the photo": Closeness(3.0, 1.0),
}
BALANCED = "balanced"


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
    steps: int | None = None,
    weights: Tensor | None = None,
    perceptual: LPIPS | None = None,
    closeness: str = BALANCED,
    side: int | None = None,
) -> Iterator[Inversion]:
    """Optimise codes so that their picture comes close to a face.

    Args:
        generator: renders the codes.
        prior: of the space that the codes are in.
        face: (1, 3, R, R) in [-1, 1], R the generator's resolution.
        start: the first codes, in any space.
        steps: Adam steps, with the learning rate of `step_size`; None = `STEPS` times the closeness's factor.
        weights: (1, 1, R, R) with mean 1, the importance of each pixel; None = all equal.
        perceptual: network from `load_lpips`; None = the loss has no LPIPS.
        closeness: key of `CLOSENESS`.
        side: compare pictures of at most this width in pixels, if the generator makes smaller ones on the way; errors
            are then those at that size. None = full resolution.

    Yields:
        The codes after each step, with the unweighted error before that step. The last one has its own error, and is
        the start again if the loss did not fall.

    Raises:
        UserError: an unknown closeness.
        ValueError: a face of another size.
    """
    check_face(face, generator)
    balance = closeness_of(closeness)
    steps = round(STEPS * balance.steps) if steps is None else steps
    prior = replace(prior, weight=prior.weight * balance.prior)
    renderer: Generator | LowResolution = generator
    if side and generator.running_layer(side):
        renderer = LowResolution(generator, side)
        face, weights = renderer.resized(face), None if weights is None else renderer.resized(weights)
    likeness = Likeness(face, weights, perceptual)
    origin = start.codes.detach()
    offset = torch.zeros_like(origin).requires_grad_()  # in standard deviations
    is_long = steps >= LONG
    optimizer = torch.optim.Adam([offset], RATES[is_long] * min(1.0, steps / FEW_STEPS), betas=BETAS[is_long])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: step_size(i, steps))
    for step in range(steps + 1):
        codes = origin + offset * prior.spread
        picture = renderer.synthesize(codes, start.space).image
        l1 = float((picture.detach() - face).abs().mean())
        loss = likeness.loss(picture) + prior.cost(codes)
        if step == 0:
            first_loss, first_l1 = loss.detach(), l1
        if step == steps:
            break
        offset.grad = gradient(loss, offset)
        optimizer.step()
        schedule.step()
        yield Inversion(codes.detach(), start.space, l1, step)
    better = bool(loss <= first_loss)
    yield Inversion(codes.detach() if better else origin, start.space, l1 if better else first_l1, steps)


def check_face(face: Tensor, generator: Generator) -> None:
    """ValueError for a face that does not have the generator's resolution."""
    if face.shape[-1] != generator.resolution:
        raise ValueError(f"the face must be {generator.resolution} pixels wide, got {face.shape[-1]}")


def step_size(step: int, steps: int) -> float:
    """Share of the learning rate: five steps of warm-up, then half a cosine down to 0.04."""
    return min(1.0, (step + 1) / 5) * (0.52 + 0.48 * math.cos(math.pi * step / max(1, steps)))


class Likeness:
    """How far a picture is from a face: the error of its pixels, plus LPIPS if its network is given.

    Args:
        face: (1, 3, R, R) in [-1, 1].
        weights: (1, 1, R, R) with mean 1, the importance of each pixel; None = all equal.
        perceptual: network from `load_lpips`, or None.
    """

    def __init__(self, face: Tensor, weights: Tensor | None = None, perceptual: LPIPS | None = None) -> None:
        self.face, self.weights = face, weights
        self.perceptual = perceptual and PerceptualTarget(perceptual, face)

    def loss(self, picture: Tensor) -> Tensor:
        """Scalar, of a picture (1, 3, R, R); the error of a pixel is absolute, but smooth at 0 (Charbonnier loss)."""
        smooth = ((picture - self.face).square() + 1e-3).sqrt()
        loss = (smooth if self.weights is None else smooth * self.weights).mean()
        return loss if self.perceptual is None else loss + self.perceptual.distance(picture).sum()


@torch.no_grad()
def likeness_weights(segmenter: Segmenter, face: Tensor, surroundings: float = 1.0) -> Tensor | None:
    """Pixel weights (1, 1, R, R) with mean 1 for a face (1, 3, R, R): eyes, brows, nose and mouth count more.

    `surroundings` is what background and clothes count before the mean is made 1. None if the segmenter does not know
    a person's features, or needs feature maps, which a photo does not have.
    """
    if segmenter.needs or not set(LIKENESS_PARTS) & set(segmenter.parts):
        return None
    of_part = dict.fromkeys(LIKENESS_PARTS, LIKENESS_WEIGHT) | dict.fromkeys(SURROUNDINGS, surroundings)
    each = torch.tensor([of_part.get(name, 1.0) for name in segmenter.parts], device=face.device)
    weights = F.interpolate(
        torch.einsum("bphw,p->bhw", segmenter.segment(face), each)[:, None], face.shape[-2:], mode="area"
    )
    return weights / weights.mean()


class LowResolution:
    """Stands in for a generator in `refine`: renders only its lower layers, at a fraction of the cost.

    The running picture of the lower layers, at most `side` pixels wide, is not yet the full picture at low resolution:
    the layers above add to it. That difference is rendered every `FULL_EVERY` pictures, without gradient, and added.
    ValueError for a generator without a running picture of that size.
    """

    def __init__(self, generator: Generator, side: int) -> None:
        layer = generator.running_layer(side)
        if layer is None:
            raise ValueError(f"{generator.name} has no running picture of at most {side} pixels")
        self.generator, self.side, self.resolution = generator, side, generator.layers[layer].size
        self.count = 0

    def synthesize(self, codes: Tensor, space: str) -> Synthesis:
        """Codes (1, D) -> the picture at low resolution (1, 3, s, s), differentiable through the running picture."""
        running = self.generator.preview(codes, space, side=self.side)
        if self.count % FULL_EVERY == 0:
            with torch.no_grad():
                self.difference = self.resized(self.generator.synthesize(codes, space).image) - running
        self.count += 1
        return Synthesis(running + self.difference)

    def resized(self, picture: Tensor) -> Tensor:
        """A picture or map (B, C, R, R), area-resampled to the low resolution."""
        return F.interpolate(picture, (self.resolution, self.resolution), mode="area")
