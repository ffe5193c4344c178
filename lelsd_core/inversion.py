"""Inversion: from an aligned face to codes that render it, a first guess by an encoder, then refined.

    face (1, 3, R, R)  --encode-->  codes (1, D)  --refine: Adam on the codes-->  better codes (1, D)

A Gaussian prior (centre and spread for each column of a code) keeps codes where edits work; it is also the scale
in which the optimiser steps. Sources: Tov et al., "Designing an Encoder for StyleGAN Image Manipulation" (e4e), 2021,
for a base code plus offsets kept close to the prior; Abdal et al., "Image2StyleGAN", 2019, for refinement.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lelsd_core.device import gradient
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator

STEPS = 240  # of a refinement, unless told otherwise; enough for what this prior allows


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
    weight: float = 0.01

    def cost(self, codes: Tensor) -> Tensor:
        """Scalar: weight times the mean squared deviation in spreads."""
        return self.weight * ((codes - self.centre) / self.spread).square().mean()


class Inverter(Protocol):
    """Finds codes for a face."""

    space: str

    def encode(self, face: Tensor) -> Inversion:
        """First guess for a face (1, 3, R, R) in [-1, 1]: one pass of a network."""
        ...

    def refine(self, face: Tensor, start: Inversion, *, steps: int, weights: Tensor | None) -> Iterator[Inversion]:
        """Better and better codes, one `Inversion` a step."""
        ...


class EncoderInverter:
    """An encoder for one generator, and refinement of its codes.

    Args:
        encoder: face (B, 3, R, R) -> codes (B, D) in the generator's finest space.
        generator: the generator it was trained with.
        prior: where its codes lie.
    """

    def __init__(self, encoder: nn.Module, generator: Generator, prior: Prior) -> None:
        self.network, self.generator, self.prior = encoder, generator, prior
        self.space = generator.space_names[-1]

    @torch.no_grad()
    def encode(self, face: Tensor) -> Inversion:
        """First guess for a face (1, 3, R, R) in [-1, 1]."""
        codes = self.network(face)
        picture = self.generator.synthesize(codes, self.space).image
        return Inversion(codes, self.space, float((picture - face).abs().mean()))

    def refine(
        self, face: Tensor, start: Inversion, *, steps: int = STEPS, weights: Tensor | None = None
    ) -> Iterator[Inversion]:
        """See `refine`, with this inverter's generator and prior."""
        return refine(self.generator, self.prior, face, start, steps=steps, weights=weights)


def refine(
    generator: Generator,
    prior: Prior,
    face: Tensor,
    start: Inversion,
    *,
    steps: int = STEPS,
    weights: Tensor | None = None,
    reach: float = 0.3,
) -> Iterator[Inversion]:
    """Optimise codes so that their picture comes close to a face.

    Args:
        generator: renders the codes.
        prior: keeps them where edits work.
        face: (1, 3, R, R) in [-1, 1], R the generator's resolution.
        start: where to begin.
        steps: Adam steps; the step size rises over five steps and falls along half a cosine.
        weights: (1, 1, R, R) with mean 1, more where likeness matters more; None = even.
        reach: length of the largest step, in spreads of the prior.

    Yields:
        The codes after each step, with the error that they had going in, unweighted; the last one has its own.
    """
    if face.shape[-1] != generator.resolution:
        raise ValueError(f"the face must be {generator.resolution} pixels wide, got {face.shape[-1]}")
    origin = start.codes.detach()
    offset = torch.zeros_like(origin).requires_grad_()  # in spreads
    optimizer = torch.optim.Adam([offset], reach, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min(1.0, (i + 1) / 5) * (0.52 + 0.48 * math.cos(math.pi * i / steps))
    )
    for step in range(steps + 1):
        codes = origin + offset * prior.spread
        error = generator.synthesize(codes, start.space).image - face
        l1 = float(error.detach().abs().mean())
        if step == steps:
            yield Inversion(codes.detach(), start.space, l1, step)
            return
        distance = (error.square() + 1e-3).sqrt()  # Charbonnier: an absolute error that is smooth at 0
        loss = (distance if weights is None else distance * weights).mean() + prior.cost(codes)
        offset.grad = gradient(loss, offset)
        optimizer.step()
        schedule.step()
        yield Inversion(codes.detach(), start.space, l1, step)


class FaceEncoder(nn.Module):
    """Picture (B, 3, 64, 64) in [-1, 1] -> codes (B, D): z and offsets of S around a learned mean code.

    Args:
        space: the space of the codes; one linear map reads them off the last features.
        centre, spread: (D,) scale of the codes.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),
            block(12, 64),  # 32 × 32
            block(64, 128, stride=2),
            block(128, 128),  # 16 × 16
            block(128, 256, stride=2),
            block(256, 256),  # 8 × 8
            block(256, 288, stride=2),
            block(288, 288),  # 4 × 4
            nn.Conv2d(288, 64, 1),
            nn.Flatten(),
        )
        self.head = nn.Linear(64 * 16, width)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def forward(self, image: Tensor) -> Tensor:
        return self.centre + self.spread * self.head(self.trunk(image))


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3×3 convolution and leaky ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.LeakyReLU(0.2, inplace=True))


def build_encoder(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> FaceEncoder:
    """The encoder of an `encoder` file. UserError if its tensors do not fit."""
    try:
        network = FaceEncoder(len(tensors["centre"]))
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, RuntimeError):
        raise UserError("These weights are an encoder of another shape than this version's.") from None
    return network.to(memory_format=torch.channels_last)
