"""From a session and slider amounts to a picture: moved codes through the generator, and where that changed it.

    session, amounts  --moved-->  codes  --generator (a person's tuned one)-->  picture  --segmenter-->  locality

Where memory is short, codes go through one by one, then pictures are made smaller and enlarged.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lelsd_core.device import first_that_fits
from lelsd_core.directions import clamp_amounts, move, moved_parts
from lelsd_core.editor.protect import blend_outside, check_strength, face_mask, protected_layers, soft_mask
from lelsd_core.editor.session import Edit, Locality, Session
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.evaluation.heldout import render
from lelsd_core.generators.base import Generator
from lelsd_core.images import to_pil, to_tensor
from lelsd_core.inversion.pivotal import Tuning
from lelsd_core.localization import COMBINE, localization_score
from lelsd_core.paste import PASTE
from lelsd_core.segmenters import Segmenter, part_mask, segment_synthesis

PREVIEW = 256  # pixels of a picture while a slider moves
SMALLER = 4  # where memory is short, pictures of a side this many times smaller are rendered and enlarged


class Painter:
    """Renders sessions.

    Args:
        generator, segmenter: loaded and matching.
        preview: pixels of a preview, for generators that can stop there.
    """

    def __init__(self, generator: Generator, segmenter: Segmenter, preview: int = PREVIEW) -> None:
        self.generator, self.segmenter, self.preview_size = generator, segmenter, preview
        self.latest = LatestTuned()

    def tuned(self, tuning: Tuning | None) -> Generator:
        """The generator as it was tuned to a person; as it is where it was not."""
        return self.generator if tuning is None else self.latest.of(self.generator, tuning)

    @torch.inference_mode()
    def synthesize(self, codes: Tensor, space: str, tuning: Tuning | None = None) -> Tensor:
        """Codes (B, D) -> pictures (B, 3, R, R), about [-1, 1]; where memory is short, smaller ones enlarged."""
        codes, generator = codes.to(self.generator.device), self.tuned(tuning)
        return first_that_fits(
            lambda: generator.synthesize(codes, space).image, lambda: smaller(generator, codes, space)
        )

    @torch.inference_mode()
    def sketch(self, codes: Tensor, space: str, tuning: Tuning | None = None) -> Image.Image | None:
        """The picture of codes (1, D) up to the preview's size; None where the generator cannot stop there."""
        codes = codes.to(self.generator.device)
        small = self.tuned(tuning).preview(codes, space, side=self.preview_size)
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
        return to_pil(self.synthesize(*self.moved(session, amounts), session.tuning))

    def preview(self, session: Session, amounts: Mapping[str, float]) -> Image.Image:
        """The edited face while a slider moves: rendered up to the preview's size where the generator can stop there.

        Compare it with `session.preview`, or with `session.original` where that is None.
        """
        return self.sketch(*self.moved(session, amounts), session.tuning) or self.render(session, amounts)

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
        generator = self.tuned(session.tuning)
        codes, space = self.moved(session, amounts)
        both = torch.cat([generator.lift(session.codes.to(codes), session.space, space), codes])
        if protect:
            pictures, masks = self.protected(generator, both, space, parts, protect)
        else:
            pictures, answer = self.pictures(generator, both, space)
            masks = part_mask(answer, self.segmenter.parts, parts)
        before, after = pictures.split(1)
        mask = COMBINE["average"](*masks.split(1))
        score = float(localization_score(before, after, mask))
        return Edit(to_pil(after), Locality(parts, score, float(mask.mean())))

    def pictures(self, generator: Generator, codes: Tensor, space: str) -> tuple[Tensor, Tensor]:
        """Codes (B, D) -> pictures and part probabilities: together, one by one, or smaller, as memory allows."""

        def small() -> tuple[Tensor, Tensor]:
            if self.segmenter.needs:
                raise MemoryError(f"{self.segmenter.name} reads features of the whole synthesis")
            made = smaller(generator, codes, space)
            return made, self.segmenter.segment(made)

        return first_that_fits(lambda: render(generator, self.segmenter, codes, space), small)

    def protected(
        self, generator: Generator, codes: Tensor, space: str, parts: Sequence[str], strength: float
    ) -> tuple[Tensor, Tensor]:
        """Untouched and moved codes (2, D) -> pictures, the second unchanged outside the parts, and masks."""
        needs = self.segmenter.needs
        both = generator.synthesize(codes, space, keep={*needs, *protected_layers(generator)})
        masks = part_mask(segment_synthesis(self.segmenter, both), self.segmenter.parts, parts)
        made = blend_outside(generator, both, codes[1:], space, soft_mask(masks), strength=strength, keep=needs)
        after = part_mask(segment_synthesis(self.segmenter, made), self.segmenter.parts, parts)
        return torch.cat([both.image[:1], made.image]), torch.cat([masks[:1], after])

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
            seen = self.segmenter.segment(to_tensor(edited).to(self.generator.device))
            mask = face_mask(seen, self.segmenter.parts, moved_parts(session.directions, amounts))
        return PASTE[how](photo, session.original, edited, session.matrix, mask)


class LatestTuned:
    """The generator of the person that was painted last: a slider's moves follow one another."""

    def __init__(self) -> None:
        self.lock, self.tuning, self.generator = threading.Lock(), None, None

    def of(self, generator: Generator, tuning: Tuning) -> Generator:
        """The generator as a tuning changes it."""
        with self.lock:
            if self.tuning is not tuning:
                self.tuning, self.generator = tuning, tuning.apply(generator)
            return self.generator


def smaller(generator: Generator, codes: Tensor, space: str) -> Tensor:
    """Pictures of a smaller side, enlarged. MemoryError where the network makes none on its way."""
    small = generator.preview(codes, space, side=generator.resolution // SMALLER)
    if small is None:
        raise MemoryError(f"{generator.name} makes no small pictures on its way")
    return F.interpolate(small, scale_factor=generator.resolution / small.shape[-1], mode="bilinear")
