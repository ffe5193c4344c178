"""The whole path as a few methods: photo -> face -> codes -> moved codes -> picture, and a live discovery.

An `Editor` holds the models, is shared by everybody and never changes. A `Session` holds one person's face, codes
and directions; it is small, and every change makes a new one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lelsd_core.calibration import calibrate
from lelsd_core.device import first_that_fits
from lelsd_core.directions import Direction, clamp_amounts, free_name, move, moved_parts
from lelsd_core.discover_config import DiscoverConfig
from lelsd_core.discovery import Progress, discover
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.evaluation import render
from lelsd_core.faces import AlignedFace, FaceAligner
from lelsd_core.generators.base import Generator, Synthesis
from lelsd_core.image import to_pil, to_tensor
from lelsd_core.inversion import STEPS, Inversion, Inverter
from lelsd_core.likeness import likeness_weights
from lelsd_core.localization import COMBINE, localization_score
from lelsd_core.paste import PASTE
from lelsd_core.protect import blend_outside, check_strength, face_mask, protected_layers, soft_mask
from lelsd_core.segmenters import Segmenter, part_mask
from lelsd_core.session import Edit, Locality, Session, describe

MOST_SEED = 100_000  # of random faces; below the seeds that directions are learned from and measured on
SKETCHED_STEPS = 40  # of a refinement at the preview's size, on a CPU
PREVIEW = 256  # pixels of a picture while a slider moves
MIDDLE = "The middle of this picture is used."  # the note where no face is looked for
DARK = -0.4  # mean of a picture in [-1, 1]
SMALLER = 4  # where memory is short, pictures of a side this many times smaller are rendered and enlarged


class Editor:
    """The models and what can be done with them.

    Args:
        generator, inverter, segmenter, aligner: loaded and matching.
        directions: shipped directions, each made for this very generator.
        recipe: what a discovery with this generator uses unless told otherwise.
        preview: pixels of a preview, for generators that can stop there.
    """

    def __init__(
        self,
        generator: Generator,
        inverter: Inverter,
        segmenter: Segmenter,
        aligner: FaceAligner,
        directions: Sequence[Direction],
        *,
        recipe: DiscoverConfig | None = None,
        preview: int = PREVIEW,
    ) -> None:
        for direction in directions:
            direction.check(generator)
        self.generator, self.inverter, self.segmenter, self.aligner = generator, inverter, segmenter, aligner
        self.directions = tuple(directions)
        self.recipe = recipe or DiscoverConfig()
        self.preview_size = preview

    def extended(self, found: Sequence[Direction]) -> Editor:
        """The same models with more directions; this editor stays as it is."""
        for direction in found:
            direction.check(self.generator)
        longer = copy(self)
        longer.directions = (*self.directions, *found)
        return longer

    def caught_up(self, session: Session) -> Session:
        """The session with the editor's directions that came after it was opened, behind those that it has."""
        there = [direction.vector for direction in session.directions]
        new = [d for d in self.directions if not any(torch.equal(d.vector, vector) for vector in there)]
        return self.with_directions(session, new) if new else session

    def warm_up(self) -> None:
        """Do once what a first inversion would wait for: torch's optimisers import a second's worth of modules."""
        session = self.random_face(0)
        start = Inversion(session.codes, session.space, 0.0)
        face = self.synthesize(session.codes, session.space).clone()
        for _ in self.inverter.refine(face, start, steps=1, weights=None, side=self.refined_at):
            pass

    def open(self, photo: Image.Image, *, steps: int | None = None) -> Session:
        """Align the largest face of a photo (RGB) and invert it. UserError if there is no face."""
        *_, session = self.opening(photo, steps=steps)
        return session

    def opening(self, photo: Image.Image, *, steps: int | None = None, every: int = 60) -> Iterator[Session]:
        """The same, a first session at once from the encoder and better ones every few steps; None = the usual steps.

        On a CPU a large StyleGAN2 is refined at the preview's size, in fewer steps (see `inversion.sketch`).
        """
        if steps is None:
            steps = SKETCHED_STEPS if self.refined_at else STEPS
        every = min(every, max(1, steps // 4))
        began = time.perf_counter()
        face = self.aligner.align(photo)
        face = replace(face, picture=face.picture.to(self.generator.device))
        start = self.inverter.encode(face.picture)
        yield self.session_of(face, start, began)
        weights = likeness_weights(self.segmenter, face.picture)
        for found in self.inverter.refine(face.picture, start, steps=steps, weights=weights, side=self.refined_at):
            if found.step == steps or (found.step and found.step % every == 0):
                if self.refined_at:
                    error = self.synthesize(found.codes, found.space) - face.picture
                    found = replace(found, l1=float(error.abs().mean()))
                yield self.session_of(face, found, began)

    @property
    def refined_at(self) -> int | None:
        """Pixels at which an inversion is refined; None for whole pictures."""
        small = self.generator.device.type == "cpu" and self.generator.running_layer(self.preview_size)
        return self.preview_size if small else None

    def session_of(self, face: AlignedFace, found: Inversion, began: float) -> Session:
        """A session from an aligned face and its inversion."""
        return Session(
            found.codes.cpu(),
            found.space,
            self.directions,
            to_pil(self.synthesize(found.codes, found.space)),
            face.photo,
            face.matrix,
            found.l1,
            time.perf_counter() - began,
            describe(face) if self.aligner.frame.faces else MIDDLE,
            self.sketch(found.codes, found.space),
        )

    def random_face(self, seed: int) -> Session:
        """A face that the generator made up; the same for the same seed."""
        codes, space = self.made_up(seed)
        original = to_pil(self.synthesize(codes, space))
        note = f"A face that the generator made up, seed {seed}."
        return Session(codes.cpu(), space, self.directions, original, note=note, rough=self.sketch(codes, space))

    @torch.no_grad()
    def made_up(self, seed: int) -> tuple[Tensor, str]:
        """Codes (1, D) of a seed in the finest space, and that space."""
        generator = self.generator
        first, finest = generator.space_names[0], generator.space_names[-1]
        return generator.lift(generator.sample([seed]), first, finest, truncation=generator.usual_truncation), finest

    def clear_seed(self, random: np.random.Generator, tries: int = 20) -> int:
        """A random seed whose face looks ahead and is not in the dark; just the last one tried if none is."""
        for _ in range(tries):
            seed = int(random.integers(MOST_SEED))
            picture = self.synthesize(*self.made_up(seed))
            if not self.aligner.frame.faces or (picture.mean() > DARK and self.aligner.in_place(picture, 0.1)):
                break
        return seed

    @torch.inference_mode()
    def synthesize(self, codes: Tensor, space: str) -> Tensor:
        """Codes (B, D) -> pictures (B, 3, R, R), about [-1, 1]; where memory is short, smaller ones enlarged."""
        codes = codes.to(self.generator.device)
        return first_that_fits(
            lambda: self.generator.synthesize(codes, space).image, lambda: self.smaller(codes, space)
        )

    def smaller(self, codes: Tensor, space: str) -> Tensor:
        """Pictures of a smaller side, enlarged. MemoryError where the network makes none on its way."""
        small = self.generator.preview(codes, space, side=self.generator.resolution // SMALLER)
        if small is None:
            raise MemoryError(f"{self.generator.name} makes no small pictures on its way")
        return F.interpolate(small, scale_factor=self.generator.resolution / small.shape[-1], mode="bilinear")

    def pictures(self, codes: Tensor, space: str) -> tuple[Tensor, Tensor]:
        """Codes (B, D) -> pictures and part probabilities: together, one by one, or smaller, as memory allows."""

        def smaller() -> tuple[Tensor, Tensor]:
            if self.segmenter.needs:
                raise MemoryError(f"{self.segmenter.name} reads features of the whole synthesis")
            made = self.smaller(codes, space)
            return made, self.segmenter.segment(Synthesis(made))

        return first_that_fits(lambda: render(self.generator, self.segmenter, codes, space), smaller)

    @torch.inference_mode()
    def sketch(self, codes: Tensor, space: str) -> Image.Image | None:
        """The picture of codes (1, D) up to the preview's size; None where the generator cannot stop there."""
        small = self.generator.preview(codes.to(self.generator.device), space, side=self.preview_size)
        return None if small is None else to_pil(small)

    def moved(self, session: Session, amounts: Mapping[str, float]) -> tuple[Tensor, str]:
        """Slider amounts by direction name -> moved codes (1, D) and their space."""
        amounts = clamp_amounts(session.directions, amounts)
        used = [direction for direction in session.directions if amounts.get(direction.name)]
        codes, space = session.codes.to(self.generator.device), session.space
        for target in self.generator.space_names[self.generator.space_names.index(space) :]:
            here = [direction for direction in used if direction.space == target]
            if here:
                codes, space = self.generator.lift(codes, space, target), target
                codes = move(codes, here, [amounts[direction.name] for direction in here])
        return codes, space

    def render(self, session: Session, amounts: Mapping[str, float], *, protect: float = 0.0) -> Image.Image:
        """Slider amounts by direction name -> the edited face at model size; `protect` as in `edit`."""
        if protect:
            return self.edit(session, amounts, protect=protect).picture
        return to_pil(self.synthesize(*self.moved(session, amounts)))

    def preview(self, session: Session, amounts: Mapping[str, float]) -> Image.Image:
        """The edited face while a slider moves, as `session.rough` is rendered, or `session.original` without one."""
        return self.sketch(*self.moved(session, amounts)) or self.render(session, amounts)

    @torch.inference_mode()
    def edit(self, session: Session, amounts: Mapping[str, float], *, protect: float = 0.0) -> Edit:
        """The edited face, and where it changed: untouched and moved codes go through the networks together.

        `protect`, 0 (off) to 1, takes back what changed outside the parts, at the cost of the fine layers of one more
        picture. UserError for any other number, and for an unknown name.
        """
        check_strength(protect)
        amounts = clamp_amounts(session.directions, amounts)
        parts = moved_parts(session.directions, amounts)
        if not any(amounts.values()):
            return Edit(session.original, None)
        codes, space = self.moved(session, amounts)
        untouched = self.generator.lift(session.codes.to(codes), session.space, space)
        if protect:
            before, after, masks = self.protected(untouched, codes, space, parts, protect)
        else:
            pictures, answer = self.pictures(torch.cat([untouched, codes]), space)
            (before, after), masks = pictures.split(1), part_mask(answer, self.segmenter.parts, parts)
        mask = COMBINE["average"](*masks.split(1))
        score = float(localization_score(before, after, mask))
        return Edit(to_pil(after), Locality(parts, score, float(mask.mean())))

    def protected(
        self, untouched: Tensor, codes: Tensor, space: str, parts: Sequence[str], strength: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (1, 3, R, R) before and after, what changed outside the parts taken back, and both masks."""
        generator, segmenter = self.generator, self.segmenter
        keep = {*segmenter.needs, *protected_layers(generator)}
        both = generator.synthesize(torch.cat([untouched, codes]), space, keep=keep)
        masks = part_mask(segmenter.segment(both), segmenter.parts, parts)
        weight = soft_mask(masks)
        made = blend_outside(generator, both, codes, space, weight, strength=strength, keep=segmenter.needs)
        masks = torch.cat([masks[:1], part_mask(segmenter.segment(made), segmenter.parts, parts)])
        return both.image[:1], made.image, masks

    @torch.inference_mode()
    def paste(
        self,
        session: Session,
        photo: Image.Image,
        edited: Image.Image,
        amounts: Mapping[str, float],
        *,
        how: str = "change",
    ) -> Image.Image:
        """An edited face back in its photo.

        Args:
            session: the face, opened from this photo.
            photo: RGB, the whole of it.
            edited: what `render` or `edit` made of the face with these amounts.
            how: key of `paste.PASTE`: add the change, or replace the face. UserError for another.
        """
        if how not in PASTE:
            raise UserError(unknown_name("way to paste", how, PASTE))
        mask = None
        if how == "replace" and not self.segmenter.needs:
            seen = self.segmenter.segment(Synthesis(to_tensor(edited).to(self.generator.device)))
            mask = face_mask(seen, self.segmenter.parts, moved_parts(session.directions, amounts))
        return PASTE[how](photo, session.original, edited, session.matrix, mask)

    def discover(self, session: Session, config: DiscoverConfig) -> Iterator[tuple[Progress, Session]]:
        """Look for new directions; each step comes with a session that has them as its last directions."""
        for progress in discover(self.generator, self.segmenter, config):
            yield progress, self.with_directions(session, progress.directions)

    def measured(self, direction: Direction, seeds: Sequence[int]) -> Direction:
        """A direction with its slider range and held-out figures, from the samples of `seeds`."""
        return calibrate(self.generator, self.segmenter, direction, seeds)

    def with_directions(self, session: Session, found: Sequence[Direction]) -> Session:
        """The session with more directions; names that are taken get a number."""
        taken = {direction.name for direction in session.directions}
        added = []
        for direction in found:
            name = free_name(direction.name, taken)
            taken.add(name)
            added.append(replace(direction, name=name))
        return replace(session, directions=(*session.directions, *added))
