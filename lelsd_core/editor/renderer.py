"""Renders latent codes: full pictures, small previews, and edits of a face with the masks of the edited parts.

    codes of a face  --all layers-->  `Unedited`: picture and feature maps, kept as long as the codes, for its edits
    edited codes  --the layers from the first one on whose styles differ-->  picture  --segmenter-->  masks

If memory runs out, pictures are rendered at a smaller size and scaled up.

With protection, what lies outside the edited parts stays as it was: the fine layers are rendered again, each with
features = unedited + weight · (edited − unedited), where the weight is 1 inside the parts and falls to 0 outside. As
features are blended instead of pixels, the network itself renders the seam. In layers coarser than a quarter of the
picture, a small part would cover too few pixels. The cost is one more pass through the fine layers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
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
from lelsd_core.generators.base import Generator, Layer, State, Synthesis
from lelsd_core.images import to_pil
from lelsd_core.inversion.pivotal import Tuning
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
    def preview(self, codes: Tensor, space: str, tuning: Tuning | None = None) -> Image.Image | None:
        """Codes (1, D) -> a picture of at most `preview_size` pixels; None if there are only full pictures."""
        small = self.tuned(tuning).preview(codes.to(self.generator.device), space, side=self.preview_size)
        return None if small is None else to_pil(small)

    @torch.inference_mode()
    def edited(self, unedited: Codes, edited: Codes, tuning: Tuning | None = None) -> Tensor:
        """Codes of a face, before and after an edit -> the edited picture (1, 3, R, R), about [-1, 1]."""
        return first_that_fits(
            lambda: self.unedited(unedited, tuning).edited(edited).image, lambda: self._reduced(edited, tuning)
        )

    def edited_with_masks(
        self,
        unedited: Codes,
        edited: Codes,
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

        def masks_in(*pictures: Synthesis) -> Tensor:
            found = [part_mask(segment_synthesis(segmenter, each), segmenter.parts, parts) for each in pictures]
            return torch.cat(found)

        def full() -> tuple[Tensor, Tensor]:
            face = self.unedited(unedited, tuning)
            first, *others = protected_layers(face.generator)
            after = face.edited(edited, keep={*segmenter.needs, *([first] if protect else [])})
            masks = masks_in(face.synthesis, after)
            if protect:
                before, weight = face.with_states([first, *others]), soft_mask(masks)
                options = {"strength": protect, "keep": segmenter.needs}
                after = blend_outside(face.generator, before, after, *edited, weight, **options)
                masks = torch.cat([masks[:1], masks_in(after)])
            return torch.cat([face.synthesis.image, after.image]), masks

        def reduced() -> tuple[Tensor, Tensor]:
            if segmenter.needs or protect:
                raise MemoryError("feature maps of the full synthesis are needed")
            both = [self._reduced(codes, tuning) for codes in (unedited, edited)]
            return torch.cat(both), masks_in(*map(Synthesis, both))

        return first_that_fits(full, reduced)

    def unedited(self, codes: Codes, tuning: Tuning | None = None) -> Unedited:
        """A face before it is edited. It is kept by the tensor of its codes, so that all its edits share it."""
        generator, (tensor, space) = self.tuned(tuning), codes
        finest, keep = generator.space_names[-1], {*self.segmenter.needs, *kept_layers(generator)}

        def render() -> Unedited:
            lifted = generator.lift(tensor.to(generator.device), space, finest).clone()  # the tensor itself is the key
            return Unedited(generator, lifted, generator.synthesize(lifted, finest, keep=keep))

        return self._unedited.get(tensor, render, lambda face: face.generator is generator)

    def _reduced(self, codes: Codes, tuning: Tuning | None) -> Tensor:
        tensor, space = codes
        return reduced_pictures(self.tuned(tuning), tensor.to(self.generator.device), space)


@dataclass(frozen=True, eq=False)
class Unedited:
    """A face before it is edited: its codes (1, D) in the finest space, its picture, and some of its feature maps."""

    generator: Generator  # perhaps tuned to the person
    codes: Tensor
    synthesis: Synthesis

    def edited(self, codes: Codes, *, keep: Collection[str] = ()) -> Synthesis:
        """Render edited codes, with the states of some layers.

        The synthesis starts behind the last layer whose feature map was kept and is the same for both codes.
        """
        finest, (tensor, space) = self.generator.spaces[-1], codes
        edited = self.generator.lift(tensor.to(self.codes.device), space, finest.name)
        slots = zip(finest.split(self.codes), finest.split(edited), strict=True)
        same = [torch.equal(*pair) for pair in slots]
        if all(same):
            return self.with_states(keep)
        names, resume = list(self.generator.layers), None
        for step in takewhile(lambda step: all(same[slot] for slot in step.slots), self.generator.steps):
            if state := self.synthesis.states.get(step.layer.name):
                resume = step.layer.name, state
        start = names.index(resume[0]) + 1 if resume else 0
        shared = {name for name in keep if name in names[:start]}
        result = self.generator.synthesize(edited, finest.name, keep={*keep} - shared, resume=resume)
        before = self.with_states(shared).states
        return Synthesis(result.image, {name: before[name] for name in shared} | result.states, result.layers)

    def with_states(self, layers: Collection[str]) -> Synthesis:
        """The unedited picture with the states of at least these layers."""
        if set(layers) <= self.synthesis.states.keys():
            return self.synthesis
        return self.generator.synthesize(self.codes, self.generator.space_names[-1], keep=layers)


def kept_layers(generator: Generator) -> list[str]:
    """The layers, from the coarsest on, whose feature maps take at most `KEPT_BYTES` together."""
    kept, total = [], 0
    for layer in generator.layers.values():
        total += 4 * layer.channels * (layer.size + 2 * layer.margin) ** 2
        if total > KEPT_BYTES:
            break
        kept.append(layer.name)
    return kept


def reduced_pictures(generator: Generator, codes: Tensor, space: str) -> Tensor:
    """Pictures of lower resolution, scaled up. MemoryError if the generator makes only full pictures."""
    small = generator.preview(codes, space, side=generator.resolution // REDUCTION)
    if small is None:
        raise MemoryError(f"{generator.name} makes no smaller pictures")
    return F.interpolate(small, scale_factor=generator.resolution / small.shape[-1], mode="bilinear")


def check_strength(strength: float) -> None:
    """UserError unless the strength of the protection lies between 0 (off) and 1 (nothing outside changes)."""
    if not 0 <= strength <= 1:
        raise UserError(f"The protection is {strength:g}; it must be from 0 (off) to 1 (full).")


def soft_mask(masks: Tensor) -> Tensor:
    """Masks (B, 1, h, w) -> their dilated and blurred union (1, 1, h, w): 1 on it, 0 from twice `REACH` away."""
    reach = max(1, round(masks.shape[-1] * REACH))
    mask = F.max_pool2d(masks.amax(0, keepdim=True), 2 * reach + 1, stride=1, padding=reach)
    for width in (reach // 2, reach - reach // 2):  # two box filters in a row give a smooth ramp
        mask = F.avg_pool2d(F.pad(mask, (width,) * 4, mode="replicate"), 2 * width + 1, stride=1)
    return mask


def protected_layers(generator: Generator) -> tuple[str, ...]:
    """The last layer of each size from `FINE` of the picture's size on."""
    last = {layer.size: layer.name for layer in generator.layers.values()}
    return tuple(name for size, name in last.items() if size >= FINE * generator.resolution)


def blend_outside(
    generator: Generator,
    unedited: Synthesis,
    edited: Synthesis,
    codes: Tensor,
    space: str,
    weight: Tensor,
    *,
    strength: float = 1.0,
    keep: Collection[str] = (),
) -> Synthesis:
    """Render edited codes again with the unedited features outside a mask.

    Args:
        generator: renders the codes.
        unedited: the unedited picture, with the states of `protected_layers`.
        edited: the edited picture, with the states of the first protected layer and of those of `keep` before it.
        codes: the edited codes (1, D).
        space: latent space of the codes.
        weight: (1, 1, h, w) in [0, 1], 1 where the edit may show.
        strength: share of the change outside the mask that is removed in each layer, in [0, 1].
        keep: layers whose states are returned.
    """
    weight = 1 - strength * (1 - weight)
    names = protected_layers(generator)

    def blend(layer: Layer, moved: State) -> State:
        if layer.name not in names:
            return moved
        still = unedited.states[layer.name]
        mask = F.interpolate(weight, (layer.size, layer.size), mode="bilinear", antialias=True)
        mask = F.pad(mask, (layer.margin,) * 4, mode="replicate")
        x = torch.lerp(still.x, moved.x, mask.to(moved.x.dtype))
        return State(x, None if moved.rgb is None else torch.lerp(still.rgb, moved.rgb, mask.to(moved.rgb.dtype)))

    first = generator.layers[names[0]]
    start = blend(first, edited.states[first.name])
    result = generator.synthesize(codes, space, keep=keep, resume=(first.name, start), change=blend)
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
