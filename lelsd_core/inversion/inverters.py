"""Inverters: each makes its own first guess; refinement, spaces and priors are common to all.

    face (1, 3, R, R)  --guess-->  codes (1, D)  --lift-->  codes in the requested space  --refine-->  better codes

Source: Tov et al., "Designing an Encoder for StyleGAN Image Manipulation" (e4e, 2021), for a base code plus offsets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import UserError, unknown_name
from lelsd_core.generators.base import Generator
from lelsd_core.inversion.blaze import BlazeEncoder
from lelsd_core.inversion.e4e import E4EEncoder
from lelsd_core.inversion.refine import PRIOR_WEIGHT, Inversion, Prior, check_face, refine, sampled_prior
from lelsd_core.seeds import INVERSION_STARTS
from lelsd_core.weights.safetensors import load_tensors

MAX_SAMPLED = 256  # pixels; larger pictures take so long to render that only the mean code is tried


class Inverter(ABC):
    """Finds latent codes for a face: a first guess, and its refinement in any space of the generator.

    Args:
        generator: renders the codes.
        space: latent space of the first guess.
        prior: of that space; None computes it from the generator's samples, as for all other spaces.
        prior_weight: of the priors that are computed.
    """

    def __init__(
        self, generator: Generator, space: str, prior: Prior | None = None, prior_weight: float = PRIOR_WEIGHT
    ) -> None:
        self.generator, self.space, self.prior_weight = generator, space, prior_weight
        self.priors: dict[str, Prior] = {} if prior is None else {space: prior}

    @abstractmethod
    def guess(self, face: Tensor) -> Tensor:
        """Codes (1, D) in `space` of a face (1, 3, R, R)."""

    @torch.no_grad()
    def encode(self, face: Tensor, space: str | None = None) -> Inversion:
        """First guess for a face (1, 3, R, R) in [-1, 1], in the inverter's own space (None) or a finer one.

        Raises:
            ValueError: a face of another size.
            UserError: an unknown space, or one coarser than the inverter's.
        """
        check_face(face, self.generator)
        names = self.generator.space_names
        spaces, space = names[names.index(self.space) :], space or self.space
        if space not in spaces:
            kind = f"space that photos can be brought to with {self.generator.name}"
            raise UserError(unknown_name(kind, space, spaces))
        codes = self.generator.lift(self.guess(face), self.space, space)
        picture = self.generator.synthesize(codes, space).image
        return Inversion(codes, space, float((picture - face).abs().mean()))

    def prior_in(self, space: str) -> Prior:
        """The prior of a space, computed once."""
        if space not in self.priors:
            self.priors[space] = sampled_prior(self.generator, space, self.prior_weight)
        return self.priors[space]

    def refine(self, face: Tensor, start: Inversion, **options: Any) -> Iterator[Inversion]:
        """`inversion.refine` with this inverter's generator and the prior of the codes' space; options as there."""
        return refine(self.generator, self.prior_in(start.space), face, start, **options)


class EncoderInverter(Inverter):
    """An encoder trained for `generator`; its codes are refined in the generator's finest space.

    Args:
        encoder: face (B, 3, R, R) -> codes (B, D).
        generator: renders the codes.
        space: latent space of the encoder's codes; None = the finest.
        prior: of the finest space; None computes it from the generator's samples.
        prior_weight: of the priors that are computed.
    """

    def __init__(
        self,
        encoder: nn.Module,
        generator: Generator,
        space: str | None = None,
        prior: Prior | None = None,
        prior_weight: float = PRIOR_WEIGHT,
    ) -> None:
        super().__init__(generator, generator.space_names[-1], prior, prior_weight)
        self.network, self.encoder_space = encoder, space or self.space

    def guess(self, face: Tensor) -> Tensor:
        return self.generator.lift(self.network(face), self.encoder_space, self.space)


class E4EInverter(Inverter):
    """e4e: the encoder predicts one row of W+ per layer, as an offset from the mean W.

    Args:
        encoder: the IR-SE50, view (B, 3, h, w) -> (B, L, 512).
        mean: (L, 512), added to the encoder's rows.
        view: height and width of the encoder's pictures; wider than high for cars, whose square pictures have a black
            band above and below.
        generator: a StyleGAN2 with L rows in W+.

    Raises:
        UserError: a generator without W+, or with another number of rows.
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
        height, width = self.view
        rows = round(face.shape[-1] * height / width)  # the middle band of the picture
        top = (face.shape[-2] - rows) // 2
        view = F.interpolate(face[..., top : top + rows, :], self.view, mode="area")
        return (self.network(view) + self.mean).flatten(1)


class SampleInverter(Inverter):
    """For a generator without an encoder: the mean code or, for small pictures, the closest of it and some samples."""

    def __init__(self, generator: Generator, space: str | None = None) -> None:
        names = generator.space_names
        super().__init__(generator, "W+" if space is None and "W+" in names else space or names[-1])

    def guess(self, face: Tensor) -> Tensor:
        mean = self.prior_in(self.space).centre[None]
        if self.generator.resolution > MAX_SAMPLED:
            return mean
        samples = self.generator.sample_in(self.space, list(INVERSION_STARTS))

        def error(codes: Tensor) -> float:
            return float((self.generator.synthesize(codes, self.space).image - face).abs().mean())

        return min(torch.cat([mean, samples]).split(1), key=error)


class FaceEncoder(nn.Module):
    """Picture (B, 3, 64, 64) in [-1, 1] -> codes (B, width): a learned mean code plus a scaled prediction."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]  # to 32 × 32 pixels; then three strides to 4 × 4
        channels, strides = (12, 64, 128, 128, 256, 256, 288, 288), (1, 2, 1, 2, 1, 2, 1)
        for (inputs, outputs), stride in zip(pairwise(channels), strides, strict=True):
            convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
            layers.append(nn.Sequential(convolution, nn.LeakyReLU(0.2, inplace=True)))
        self.trunk = nn.Sequential(*layers, nn.Conv2d(288, 64, 1), nn.Flatten())
        self.head = nn.Linear(64 * 16, width)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def forward(self, image: Tensor) -> Tensor:
        return self.centre + self.spread * self.head(self.trunk(image))


def build_encoder(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> FaceEncoder | BlazeEncoder:
    """The encoder of an `encoder` file. UserError if its tensors do not fit."""
    if facts.get("architecture") == "blaze":
        return load_tensors(BlazeEncoder(), tensors, "an encoder")
    return load_tensors(FaceEncoder(tensors["centre"].numel() if "centre" in tensors else 1), tensors, "an encoder")
