"""The whole path as a few methods: photo -> face -> codes -> moved codes -> picture, and a live discovery.

An `Editor` holds the models and is shared by everybody; all that changes in it is a shelf of untouched samples, from
which the next discovery takes what the one before has made. A `Session` holds one person's face, codes
and directions; it is small, and every change makes a new one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lelsd_core.directions import Direction, clamp_amounts, move
from lelsd_core.discover_config import DiscoverConfig
from lelsd_core.discovery import Progress, discover
from lelsd_core.faces import AlignedFace, FaceAligner
from lelsd_core.generators.base import Generator, Synthesis
from lelsd_core.image import to_pil
from lelsd_core.inversion import STEPS, Inversion, Inverter
from lelsd_core.localization import COMBINE, localization_score
from lelsd_core.samples import Shelf
from lelsd_core.segmenters import Segmenter, part_mask

LIKENESS = ("brows", "eyes", "nose", "mouth")  # the parts that make a person; they count more in an inversion
LIKENESS_WEIGHT = 3.0
MOST_SEED = 100_000  # of random faces; below the seeds that directions are learned from and measured on
DARK = -0.4  # mean of a picture in [-1, 1]


@dataclass(frozen=True, eq=False)
class Session:
    """One person's work: a few kilobytes, no model.

    Args:
        codes: (1, D), never moved; edits are amounts on top of it.
        space: their latent space.
        directions: the shipped directions and those found in this session.
        original: the unedited picture at model size.
        photo: the aligned photo for people, None for a random face.
        matrix: (2, 3), photo pixels -> frame pixels; None for a random face.
        inversion_l1: mean absolute error of the inversion in [-1, 1], None for a random face.
        seconds: what the inversion took.
        note: one sentence for people about how the face was found.
    """

    codes: Tensor
    space: str
    directions: tuple[Direction, ...]
    original: Image.Image
    photo: Image.Image | None = None
    matrix: np.ndarray | None = None
    inversion_l1: float | None = None
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Locality:
    """Share of an edit's squared change inside its parts, and the share of the picture that they cover."""

    parts: tuple[str, ...]
    score: float
    area: float


@dataclass(frozen=True, eq=False)
class Edit:
    """An edited face at model size, and where it changed; None if nothing was moved. The page's truth meter."""

    picture: Image.Image
    locality: Locality | None


class Editor:
    """The models and what can be done with them.

    Args:
        generator, inverter, segmenter, aligner: loaded and matching.
        directions: shipped directions, each made for this very generator.
    """

    def __init__(
        self,
        generator: Generator,
        inverter: Inverter,
        segmenter: Segmenter,
        aligner: FaceAligner,
        directions: Sequence[Direction],
    ) -> None:
        for direction in directions:
            direction.check(generator)
        self.generator, self.inverter, self.segmenter, self.aligner = generator, inverter, segmenter, aligner
        self.directions, self.shelf = tuple(directions), Shelf()

    def warm_up(self) -> None:
        """Do once what a first inversion would wait for: torch's optimisers import a second's worth of modules."""
        session = self.random_face(0)
        start = Inversion(session.codes, session.space, 0.0)
        face = self.synthesize(session.codes, session.space).clone()
        for _ in self.inverter.refine(face, start, steps=1, weights=None):
            pass

    def open(self, photo: Image.Image, *, steps: int = STEPS) -> Session:
        """Align the largest face of a photo (RGB) and invert it. UserError if there is no face."""
        *_, session = self.opening(photo, steps=steps)
        return session

    def opening(self, photo: Image.Image, *, steps: int = STEPS, every: int = 60) -> Iterator[Session]:
        """The same, a first session at once from the encoder and better ones every few steps."""
        began = time.perf_counter()
        face = self.aligner.align(photo)
        start = self.inverter.encode(face.picture)
        yield self.session_of(face, start, began)
        weights = self.likeness_weights(face.picture)
        for found in self.inverter.refine(face.picture, start, steps=steps, weights=weights):
            if found.step == steps or (found.step and found.step % every == 0):
                yield self.session_of(face, found, began)

    def session_of(self, face: AlignedFace, found: Inversion, began: float) -> Session:
        """A session from an aligned face and its inversion."""
        return Session(
            found.codes,
            found.space,
            self.directions,
            to_pil(self.synthesize(found.codes, found.space)),
            face.photo,
            face.matrix,
            found.l1,
            time.perf_counter() - began,
            describe(face),
        )

    @torch.no_grad()
    def likeness_weights(self, face: Tensor) -> Tensor:
        """(1, 1, R, R) with mean 1: how much each pixel matters for recognising the person."""
        probabilities = self.segmenter.segment(Synthesis(face))
        wanted = [self.segmenter.parts.index(name) for name in LIKENESS]
        weights = 1 + (LIKENESS_WEIGHT - 1) * probabilities[:, wanted].sum(1, keepdim=True)
        return weights / weights.mean()

    def random_face(self, seed: int) -> Session:
        """A face that the generator made up; the same for the same seed."""
        space = self.generator.space_names[-1]
        codes = self.generator.lift(self.generator.sample([seed]), self.generator.space_names[0], space)
        original = to_pil(self.synthesize(codes, space))
        return Session(codes, space, self.directions, original, note=f"A face that the generator made up, seed {seed}.")

    def clear_seed(self, random: np.random.Generator, tries: int = 20) -> int:
        """A random seed whose face looks ahead and is not in the dark; just the last one tried if none is."""
        space = self.generator.space_names[0]
        for _ in range(tries):
            seed = int(random.integers(MOST_SEED))
            picture = self.synthesize(self.generator.sample([seed]), space)
            if picture.mean() > DARK and self.aligner.in_place(picture, 0.1):
                break
        return seed

    @torch.inference_mode()
    def synthesize(self, codes: Tensor, space: str) -> Tensor:
        """Codes (B, D) -> pictures (B, 3, R, R), about [-1, 1]."""
        return self.generator.synthesize(codes, space).image

    def moved(self, session: Session, amounts: Mapping[str, float]) -> tuple[Tensor, str]:
        """Slider amounts by direction name -> moved codes (1, D) and their space."""
        amounts = clamp_amounts(session.directions, amounts)
        used = [direction for direction in session.directions if amounts.get(direction.name)]
        codes, space = session.codes, session.space
        for target in self.generator.space_names[self.generator.space_names.index(space) :]:
            here = [direction for direction in used if direction.space == target]
            if here:
                codes, space = self.generator.lift(codes, space, target), target
                codes = move(codes, here, [amounts[direction.name] for direction in here])
        return codes, space

    def render(self, session: Session, amounts: Mapping[str, float]) -> Image.Image:
        """Slider amounts by direction name -> the edited face at model size."""
        return to_pil(self.synthesize(*self.moved(session, amounts)))

    @torch.inference_mode()
    def edit(self, session: Session, amounts: Mapping[str, float]) -> Edit:
        """The edited face, and where it changed: untouched and moved codes go through the networks together."""
        amounts = clamp_amounts(session.directions, amounts)
        used = [direction for direction in session.directions if amounts.get(direction.name)]
        if not used:
            return Edit(session.original, None)
        parts = tuple(dict.fromkeys(part for direction in used for part in direction.parts))
        codes, space = self.moved(session, amounts)
        untouched = self.generator.lift(session.codes, session.space, space)
        both = self.generator.synthesize(torch.cat([untouched, codes]), space, keep=self.segmenter.needs)
        before, after = both.image.split(1)
        mask = COMBINE["average"](*part_mask(self.segmenter.segment(both), self.segmenter.parts, parts).split(1))
        score = float(localization_score(before, after, mask))
        return Edit(to_pil(after), Locality(parts, score, float(mask.mean())))

    def discover(self, session: Session, config: DiscoverConfig) -> Iterator[tuple[Progress, Session]]:
        """Look for new directions; each step comes with a session that has them as its last directions.

        Untouched samples of the discovery before are used again where they fit.
        """
        config = config.check(self.generator, self.segmenter)
        samples = self.shelf.fitting(self.generator, self.segmenter, config)
        for progress in discover(self.generator, self.segmenter, config, samples=samples):
            yield progress, self.with_directions(session, progress.directions)

    def with_directions(self, session: Session, found: Sequence[Direction]) -> Session:
        """The session with more directions; names that are taken get a number."""
        taken = {direction.name for direction in session.directions}
        added = []
        for direction in found:
            name = free_name(direction.name, taken)
            taken.add(name)
            added.append(replace(direction, name=name))
        return replace(session, directions=(*session.directions, *added))


def free_name(name: str, taken: set[str]) -> str:
    """The name itself, or the first of name-2, name-3 ... that is not taken."""
    number, candidate = 2, name
    while candidate in taken:
        number, candidate = number + 1, f"{name}-{number}"
    return candidate


def describe(face: AlignedFace) -> str:
    """One sentence about how the face was found."""
    if face.aligned_before:
        return "This picture was aligned already; it is used as it is."
    if face.faces > 1:
        return f"{face.faces} faces were found; the largest one is used."
    return "One face was found and aligned."
