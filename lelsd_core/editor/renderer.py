"""Renders latent codes: full pictures, small previews, and edits of a face with the masks of the edited parts.

    codes of a face  --all layers-->  `Unedited`: picture and feature maps, kept as long as the codes, for its edits
    edited codes  --the layers from the first one on that differs-->  picture  --segmenter-->  masks
    codes of local moves  --the layers up to theirs-->  feature maps that are let in there

If memory runs out, pictures are rendered at a smaller size and scaled up.

With protection, what lies outside the edited parts stays as it was: the fine layers are rendered again, and the
unedited feature maps are let in outside the parts, as a local move is inside one (see `generators.base.Patch`). As
features are blended instead of pixels, the network itself renders the seam. In layers coarser than a quarter of the
picture, a small part would cover too few pixels. The cost is one more pass through the fine layers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from lelsd_core.device import first_that_fits
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator, Patch, Synthesis
from lelsd_core.images import to_pil
from lelsd_core.inversion.pivotal import Tuning
from lelsd_core.local import EditedCodes, LocalMove, patches_of, soft_mask
from lelsd_core.segmenters import SURROUNDINGS, Parts, Segmenter, part_mask, segment_synthesis

REDUCTION = 4  # if memory runs out, pictures are rendered at the resolution divided by this
FINE = 1 / 4  # protection blends layers of at least this share of the picture's size
REACH = 1 / 32  # share of the mask's width by which the mask is dilated, and over which it then falls to 0
KEPT_BYTES = 64_000_000  # of the feature maps of one unedited face
KEPT_FACES = 2
Codes = tuple[Tensor, str]  # codes (1, D), and their latent space


class Recent:
    """Values by object, for the objects that were used last; a value is dropped with its object. Thread-safe.

    Args:
        capacity: most objects.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self._values, self._lock = capacity, WeakIdKeyDictionary(), threading.Lock()

    def get(self, key: object, make: Callable[[], Any], fits: Callable[[Any], bool] = bool) -> Any:
        """The value of an object, made anew if there is none, or it does not fit any more."""
        with self._lock:
            value = self._values.pop(key, None)
        if value is None or not fits(value):
            value = make()
        with self._lock:
            self._values[key] = value  # as the latest one
            while len(self._values) > self.capacity:
                self._values.pop(next(iter(self._values)), None)
        return value


class Renderer:
    """One generator with its segmenter; safe to share between threads.

    What it keeps of a person, a rendered face or a tuned generator, goes when the last session with it goes.

    Args:
        generator: renders the codes, on any device.
        segmenter: finds the parts in the pictures.
        preview_size: width of a preview in pixels, for generators that make a smaller picture on the way.
    """

    def __init__(self, generator: Generator, segmenter: Segmenter, preview_size: int) -> None:
        self.generator, self.segmenter, self.preview_size = generator, segmenter, preview_size
        self._tuned, self._unedited = Recent(1), Recent(KEPT_FACES)

    def tuned(self, tuning: Tuning | None) -> Generator:
        """The generator with a person's tuning applied. The latest one is kept: one slider causes many events."""
        if tuning is None:
            return self.generator
        return self._tuned.get(tuning, lambda: tuning.apply(self.generator), lambda _: True)

    @torch.inference_mode()
    def pictures(self, codes: Tensor, space: str, tuning: Tuning | None = None) -> Tensor:
        """Codes (B, D) in `space` -> pictures (B, 3, R, R), about [-1, 1], on the generator's device."""
        codes, generator = codes.to(self.generator.device), self.tuned(tuning)
        return first_that_fits(
            lambda: generator.synthesize(codes, space).image, lambda: reduced_pictures(generator, codes, space)
        )

    @torch.inference_mode()
    def preview(self, unedited: Codes, edited: EditedCodes, tuning: Tuning | None = None) -> Image.Image | None:
        """An edited face -> a picture of at most `preview_size` pixels; None if there are only full pictures."""
        generator = self.tuned(tuning)
        if generator.running_layer(self.preview_size) is None:
            return None
        patches = self.unedited(unedited, tuning).patches(edited) if edited.local else ()
        finest = generator.space_names[-1]
        return to_pil(generator.preview(edited.codes, finest, side=self.preview_size, patches=patches))

    @torch.inference_mode()
    def edited(self, unedited: Codes, edited: EditedCodes, tuning: Tuning | None = None) -> Tensor:
        """A face before and after an edit -> the edited picture (1, 3, R, R), about [-1, 1].

        UserError for a local move around a part that the face does not show.
        """

        def full() -> Tensor:
            face = self.unedited(unedited, tuning)
            return face.edited(edited.codes, face.patches(edited)).image

        return first_that_fits(full, lambda: self._reduced(unedited, edited, tuning))

    def edited_with_masks(
        self,
        unedited: Codes,
        edited: EditedCodes,
        parts: Sequence[str],
        tuning: Tuning | None = None,
        protect: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Render an edit, and find the edited parts before and after it.

        Args:
            unedited, edited: codes of the face, before and after the edit.
            parts: part names that make up the masks.
            tuning: change of the generator's weights for one person.
            protect: share of the change outside the parts that is removed from the edited picture, in [0, 1].

        Returns:
            Unedited and edited picture (2, 3, R, R), about [-1, 1], and their masks (2, 1, h, w) of 0 and 1.
        """
        segmenter = self.segmenter

        def masks_in(*probabilities: Tensor) -> Tensor:
            return torch.cat([part_mask(each, segmenter.parts, parts) for each in probabilities])

        def full() -> tuple[Tensor, Tensor]:
            face = self.unedited(unedited, tuning)
            first, *others = protected_layers(face.generator)
            patches = face.patches(edited)
            after = face.edited(edited.codes, patches, keep={*segmenter.needs, *([first] if protect else [])})
            masks = masks_in(face.probabilities, segment_synthesis(segmenter, after))
            if protect:
                before, weight = face.with_states([first, *others]), free_region(masks)
                options = {"strength": protect, "keep": segmenter.needs, "patches": patches}
                after = blend_outside(face.generator, before, after, edited.codes, weight, **options)
                masks = torch.cat([masks[:1], masks_in(segment_synthesis(segmenter, after))])
            return torch.cat([face.synthesis.image, after.image]), masks

        def reduced() -> tuple[Tensor, Tensor]:
            if segmenter.needs or protect:
                raise MemoryError("feature maps of the full synthesis are needed")
            both = [self._reduced(unedited, tuning=tuning), self._reduced(unedited, edited, tuning)]
            return torch.cat(both), masks_in(*(segment_synthesis(segmenter, Synthesis(each)) for each in both))

        return first_that_fits(full, reduced)

    def unedited(self, codes: Codes, tuning: Tuning | None = None) -> Unedited:
        """A face before it is edited. It is kept by the tensor of its codes, so that all its edits share it."""
        generator, (tensor, space) = self.tuned(tuning), codes
        finest, keep = generator.space_names[-1], {*self.segmenter.needs, *kept_layers(generator)}

        def render() -> Unedited:
            lifted = generator.lift(tensor.to(generator.device), space, finest).clone()  # the tensor itself is the key
            return Unedited(generator, self.segmenter, lifted, generator.synthesize(lifted, finest, keep=keep))

        return self._unedited.get(tensor, render, lambda face: face.generator is generator)

    def _reduced(self, unedited: Codes, edited: EditedCodes | None = None, tuning: Tuning | None = None) -> Tensor:
        """A picture of lower resolution, scaled up, of a face or its edit. MemoryError if there are only full ones."""
        generator, (tensor, space) = self.tuned(tuning), unedited
        if edited is None:
            return reduced_pictures(generator, tensor.to(generator.device), space)
        patches: Sequence[Patch] = ()
        if edited.local:
            if self.segmenter.needs:
                raise MemoryError("feature maps of the full synthesis are needed")
            seen = segment_synthesis(self.segmenter, Synthesis(self._reduced(unedited, tuning=tuning)))
            patches = patches_of(generator, edited, lambda m: shown_mask(m, lambda: seen, self.segmenter.parts))
        return reduced_pictures(generator, edited.codes, generator.space_names[-1], patches)


@dataclass(frozen=True, eq=False)
class Unedited:
    """A face before it is edited: its codes (1, D) in the finest space, its picture, and some of its feature maps."""

    generator: Generator  # perhaps tuned to the person
    segmenter: Segmenter
    codes: Tensor
    synthesis: Synthesis
    masks: dict[LocalMove, Tensor] = field(default_factory=dict)  # of the local moves so far, each found once

    @cached_property
    def probabilities(self) -> Tensor:
        """Part probabilities (1, P, h, w) of the picture."""
        return segment_synthesis(self.segmenter, self.synthesis)

    def patches(self, edited: EditedCodes) -> list[Patch]:
        """What an edit lets in. UserError for a local move around a part that the picture does not show."""

        def mask(move: LocalMove) -> Tensor:
            if move not in self.masks:
                self.masks[move] = shown_mask(move, lambda: self.probabilities, self.segmenter.parts)
            return self.masks[move]

        return patches_of(self.generator, edited, mask)

    def edited(self, codes: Tensor, patches: Sequence[Patch] = (), *, keep: Collection[str] = ()) -> Synthesis:
        """Render edited codes (1, D) of the finest space with what is let in, and the states of some layers.

        The synthesis starts behind the last layer whose feature map was kept and is the same for both codes.
        """
        finest, names = self.generator.spaces[-1], list(self.generator.layers)
        slots = zip(finest.split(self.codes), finest.split(codes), strict=True)
        same = [torch.equal(*pair) for pair in slots]
        if all(same) and not patches:
            return self.with_states(keep)
        changed = min((names.index(name) for patch in patches for name in patch.states), default=len(names))
        resume = None
        for step in takewhile(lambda step: all(same[slot] for slot in step.slots), self.generator.steps[: changed + 1]):
            if state := self.synthesis.states.get(step.layer.name):
                resume = step.layer.name, state
        shared = {name for name in keep if resume and names.index(name) < names.index(resume[0])}
        rest = {"keep": {*keep} - shared, "patches": patches}
        result = self.generator.synthesize(codes, finest.name, resume=resume, **rest)
        before = self.with_states(shared).states
        return Synthesis(result.image, {name: before[name] for name in shared} | result.states, result.layers)

    def with_states(self, layers: Collection[str]) -> Synthesis:
        """The unedited picture with the states of at least these layers."""
        if set(layers) <= self.synthesis.states.keys():
            return self.synthesis
        return self.generator.synthesize(self.codes, self.generator.space_names[-1], keep=layers)


def shown_mask(move: LocalMove, probabilities: Callable[[], Tensor], parts: Parts) -> Tensor:
    """The soft mask (1, 1, h, w) of a local move in a face with part probabilities (1, P, h, w).

    UserError if the face does not show the parts around which the move is let in.
    """

    mask = move.mask(lambda chosen: part_mask(probabilities(), parts, chosen))
    if not mask.any():
        raise UserError(f"This picture shows no {' or '.join(move.around)} to change; move another slider.")
    return mask


def kept_layers(generator: Generator) -> list[str]:
    """The layers, from the coarsest on, whose feature maps take at most `KEPT_BYTES` together."""
    kept, total = [], 0
    for layer in generator.layers.values():
        total += 4 * layer.channels * (layer.size + 2 * layer.margin) ** 2
        if total > KEPT_BYTES:
            break
        kept.append(layer.name)
    return kept


def reduced_pictures(generator: Generator, codes: Tensor, space: str, patches: Sequence[Patch] = ()) -> Tensor:
    """Pictures of lower resolution, scaled up. MemoryError if the generator makes only full pictures."""
    small = generator.preview(codes, space, side=generator.resolution // REDUCTION, patches=patches)
    if small is None:
        raise MemoryError(f"{generator.name} makes no smaller pictures")
    return F.interpolate(small, scale_factor=generator.resolution / small.shape[-1], mode="bilinear")


def check_strength(strength: float) -> None:
    """UserError unless the strength of the protection lies between 0 (off) and 1 (nothing outside changes)."""
    if not 0 <= strength <= 1:
        raise UserError(f"The protection is {strength:g}; it must be from 0 (off) to 1 (full).")


def free_region(masks: Tensor) -> Tensor:
    """Masks (B, 1, h, w) -> where an edit may show (1, 1, h, w): 1 on their union, 0 from twice `REACH` away."""
    return soft_mask(masks.amax(0, keepdim=True), 0.0, 2 * REACH)


def protected_layers(generator: Generator) -> tuple[str, ...]:
    """The last layer of each size from `FINE` of the picture's size on."""
    last = {layer.size: layer.name for layer in generator.layers.values()}
    return tuple(name for size, name in last.items() if size >= FINE * generator.resolution)


def blend_outside(
    generator: Generator,
    unedited: Synthesis,
    edited: Synthesis,
    codes: Tensor,
    weight: Tensor,
    *,
    patches: Sequence[Patch] = (),
    strength: float = 1.0,
    keep: Collection[str] = (),
) -> Synthesis:
    """Render edited codes again with the unedited features outside a mask.

    Args:
        generator: renders the codes.
        unedited: the unedited picture, with the states of `protected_layers`.
        edited: the edited picture, with the states of the first protected layer and of those of `keep` before it.
        codes: the edited codes (1, D) of the finest space.
        weight: (1, 1, h, w) in [0, 1], 1 where the edit may show.
        patches: what the edit lets in.
        strength: share of the change outside the mask that is removed in each layer, in [0, 1].
        keep: layers whose states are returned.
    """
    names, order = protected_layers(generator), list(generator.layers)
    first, outside = names[0], strength * (1 - weight)
    protection = Patch({name: unedited.states[name] for name in names}, outside)
    later = []  # what is let in behind the first protected layer; the edited state holds the rest
    for patch in patches:
        if any(order.index(name) > order.index(first) for name in patch.states):
            free = 1 - F.interpolate(outside, patch.mask.shape[-2:], mode="bilinear", antialias=True)
            later.append(replace(patch, mask=patch.mask * free))
    resume = first, edited.states[first]
    options = {"keep": keep, "resume": resume, "patches": [protection, *later]}
    result = generator.synthesize(codes, generator.space_names[-1], **options)
    coarse = {name: state for name, state in edited.states.items() if name in keep}
    return Synthesis(result.image, coarse | result.states, result.layers)


def face_mask(probabilities: Tensor, parts: Parts, edited: Sequence[str] = ()) -> np.ndarray | None:
    """The region that replaces a face in a photo: everything but background and clothes, plus all edited parts.

    Args:
        probabilities: (1, P, h, w) of the face, from `Segmenter.segment`.
        parts: the segmenter's part names.
        edited: parts, or groups of parts, that were edited.

    Returns:
        (h, w) in [0, 1]; None if the segmenter has no background.
    """
    if SURROUNDINGS[0] not in tuple(parts):
        return None
    outside = [parts.index(name) for name in SURROUNDINGS if name in tuple(parts) and name not in parts.expand(edited)]
    return (1 - probabilities[0, outside].sum(0)).float().cpu().numpy()
