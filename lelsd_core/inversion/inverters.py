"""Inverters: each has its own first guess; refinement, spaces and priors are the same for all.

face (1, 3, R, R)  --guess-->  codes (1, D)  --lift-->  codes of the space that is wanted  --refine-->  Inversions
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import UserError, unknown_name
from lelsd_core.generators.base import Generator
from lelsd_core.inversion.e4e import E4EEncoder
from lelsd_core.inversion.refine import (
    BALANCED,
    Inversion,
    Prior,
    Sketch,
    check_face,
    closeness_of,
    refine,
    sampled_prior,
)
from lelsd_core.weights.safetensors import load_tensors

GUESSES = range(300_000, 300_032)  # seeds that are tried where there is no encoder
LARGEST_TRIED = 256  # pixels; larger pictures take so long that only the mean code is tried


class BaseInverter(ABC):
    """First guess, and refinement in any space of the generator.

    Args:
        generator: what renders the codes.
        space: the space of the first guess.
        prior: where codes of that space lie; made from the generator's own samples if None, as for other spaces.
    """

    def __init__(self, generator: Generator, space: str, prior: Prior | None = None) -> None:
        self.generator, self.space = generator, space
        self.priors: dict[str, Prior] = {} if prior is None else {space: prior}

    @abstractmethod
    def guess(self, face: Tensor) -> Tensor:
        """Codes (1, D) in `space` of a face (1, 3, R, R)."""

    @torch.no_grad()
    def encode(self, face: Tensor, space: str | None = None) -> Inversion:
        """First guess for a face (1, 3, R, R) in [-1, 1].

        Args:
            face: R is the generator's resolution; what a network wants to see is made of it here.
            space: of the codes, the inverter's own or a finer one.

        Raises:
            ValueError: a face of another size.
            UserError: a space that the generator does not have, or one coarser than the inverter's.
        """
        check_face(face, self.generator)
        space = self.check_space(space or self.space)
        codes = self.generator.lift(self.guess(face), self.space, space)
        picture = self.generator.synthesize(codes, space).image
        return Inversion(codes, space, float((picture - face).abs().mean()))

    def check_space(self, space: str) -> str:
        """The space, if codes can be had there."""
        names = self.generator.space_names
        within = names[names.index(self.space) :]
        if space not in within:
            raise UserError(
                unknown_name(f"space that photos can be brought to with {self.generator.name}", space, within)
            )
        return space

    def prior_in(self, space: str) -> Prior:
        """The prior of a space; made once."""
        if space not in self.priors:
            self.priors[space] = sampled_prior(self.generator, space)
        return self.priors[space]

    def refine(
        self,
        face: Tensor,
        start: Inversion,
        *,
        steps: int | None = None,
        weights: Tensor | None = None,
        closeness: str = BALANCED,
        side: int | None = None,
    ) -> Iterator[Inversion]:
        """See `refine`, with this inverter's generator and the prior of the codes' space.

        Args:
            face, start, weights: as there.
            steps: None = as many as the closeness has.
            closeness: key of `CLOSENESS`.
            side: compare pictures of at most so many pixels (see `sketch`), where the generator can stop there, at a
                fraction of the cost; errors are those at that size. None = whole pictures.

        Raises:
            UserError: there is no such closeness.
        """
        chosen, prior = closeness_of(closeness), self.prior_in(start.space)
        prior = replace(prior, weight=prior.weight * chosen.prior)
        steps = chosen.steps if steps is None else steps
        generator: Generator | Sketch = self.generator
        if side and self.generator.running_layer(side):
            generator = Sketch(self.generator, side)
            face, weights = generator.reduced(face), None if weights is None else generator.reduced(weights)
        return refine(generator, prior, face, start, steps=steps, weights=weights, reach=chosen.reach)


class EncoderInverter(BaseInverter):
    """An encoder for one generator that reads pictures of the generator's size.

    Args:
        encoder: face (B, 3, R, R) -> codes (B, D) in the generator's finest space.
        generator: the generator it was trained with.
        prior: where its codes lie.
    """

    def __init__(self, encoder: nn.Module, generator: Generator, prior: Prior) -> None:
        super().__init__(generator, generator.space_names[-1], prior)
        self.network = encoder

    def guess(self, face: Tensor) -> Tensor:
        return self.network(face)


class E4EInverter(BaseInverter):
    """e4e: rows of W+ around the mean W.

    Args:
        encoder: its IR-SE50, view (B, 3, h, w) -> (B, L, 512).
        mean: (L, 512), added to what the encoder says.
        view: height and width of the pictures that the encoder was trained with; less high than wide for cars,
            whose square pictures have a bar above and below.
        generator: a StyleGAN2 of as many rows.

    Raises:
        UserError: a generator of another number of rows.
    """

    def __init__(self, encoder: E4EEncoder, mean: Tensor, view: tuple[int, int], generator: Generator) -> None:
        if "W+" not in generator.space_names:
            raise UserError(f"This encoder makes codes of W+, and {generator.name} has no W+; it is for a StyleGAN2.")
        rows = tuple(slot.width for slot in generator.space("W+").slots)
        if rows != (mean.shape[1],) * len(mean):
            raise UserError(
                f"This encoder makes {len(mean)} rows of W+ with {mean.shape[1]} numbers; {generator.name} takes "
                f"{len(rows)} rows with {rows[0]}."
            )
        super().__init__(generator, "W+")
        self.network, self.mean, self.view = encoder, mean, view

    def guess(self, face: Tensor) -> Tensor:
        return (self.network(self.seen(face)) + self.mean).flatten(1)

    def seen(self, face: Tensor) -> Tensor:
        """The face as the encoder sees it: its middle, area-resampled to the encoder's size."""
        height, width = self.view
        rows = round(face.shape[-1] * height / width)
        above = (face.shape[-2] - rows) // 2
        return F.interpolate(face[..., above : above + rows, :], self.view, mode="area")


class SampleInverter(BaseInverter):
    """For a generator without an encoder: the mean code or, of small pictures, the closest of it and some samples."""

    def __init__(self, generator: Generator, space: str | None = None) -> None:
        names = generator.space_names
        super().__init__(generator, "W+" if space is None and "W+" in names else space or names[-1])

    def guess(self, face: Tensor) -> Tensor:
        tried = self.prior_in(self.space).centre[None]
        if self.generator.resolution > LARGEST_TRIED:
            return tried
        first = self.generator.space_names[0]
        samples = self.generator.lift(self.generator.sample(list(GUESSES)), first, self.space)

        def error(codes: Tensor) -> float:
            return float((self.generator.synthesize(codes, self.space).image - face).abs().mean())

        return min(torch.cat([tried, samples]).split(1), key=error)


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
    return load_tensors(FaceEncoder(tensors["centre"].numel() if "centre" in tensors else 1), tensors, "an encoder")
