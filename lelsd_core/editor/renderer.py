"""Renders latent codes: full pictures, small previews, and pictures with the masks of some parts.

    codes (B, D)  --generator, perhaps tuned to a person-->  pictures (B, 3, R, R)  --segmenter-->  masks (B, 1, h, w)

If memory runs out, the codes of a batch are rendered one by one, and then at a smaller size that is scaled up.

With protection, what lies outside the edited parts stays as it was: the fine layers are rendered again, each with
features = unedited + weight · (edited − unedited), where the weight is 1 inside the parts and falls to 0 outside. As
features are blended instead of pixels, the network itself renders the seam. In layers coarser than a quarter of the
picture, a small part would cover too few pixels. The cost is one more pass through the fine layers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lelsd_core.device import by_rows, first_that_fits
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator, Layer, State, Synthesis
from lelsd_core.images import to_pil
from lelsd_core.inversion.pivotal import Tuning
from lelsd_core.segmenters import Parts, Segmenter, part_mask, segment_synthesis

REDUCTION = 4  # if memory runs out, pictures are rendered at the resolution divided by this
FINE = 1 / 4  # protection blends layers of at least this share of the picture's size
REACH = 1 / 32  # share of the mask's width by which the mask is dilated, and over which it then falls to 0
SURROUNDINGS = ("background", "clothes")  # parts of the photo that stay when the face is replaced


class Renderer:
    """One generator with its segmenter; safe to share between threads.

    Args:
        generator: renders the codes, on any device.
        segmenter: finds the parts in the pictures.
        preview_size: width of a preview in pixels, for generators that make a smaller picture on the way.
    """

    def __init__(self, generator: Generator, segmenter: Segmenter, preview_size: int) -> None:
        self.generator, self.segmenter, self.preview_size = generator, segmenter, preview_size
        self._apply = lru_cache(maxsize=1)(lambda tuning: tuning.apply(generator))

    def tuned(self, tuning: Tuning | None) -> Generator:
        """The generator with a person's tuning applied. The latest one is cached: one slider causes many events."""
        return self.generator if tuning is None else self._apply(tuning)

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

    def pictures_and_masks(
        self, codes: Tensor, space: str, parts: Sequence[str], tuning: Tuning | None = None, protect: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Render codes and find parts in the pictures.

        Args:
            codes: (B, D) on the generator's device; with protection (2, D), unedited and edited.
            space: latent space of the codes.
            parts: part names that make up the masks.
            tuning: change of the generator's weights for one person.
            protect: share of the change outside the parts that is removed from the edited picture, in [0, 1].

        Returns:
            Pictures (B, 3, R, R), about [-1, 1], and masks (B, 1, h, w) of 0 and 1.
        """
        generator, segmenter = self.tuned(tuning), self.segmenter

        def masks_in(synthesis: Synthesis) -> Tensor:
            return part_mask(segment_synthesis(segmenter, synthesis), segmenter.parts, parts)

        def full(batch: Tensor) -> tuple[Tensor, Tensor]:
            synthesis = generator.synthesize(batch, space, keep=segmenter.needs)
            return synthesis.image, masks_in(synthesis)

        def reduced() -> tuple[Tensor, Tensor]:
            if segmenter.needs:
                raise MemoryError(f"{segmenter.name} reads feature maps of the full synthesis")
            pictures = reduced_pictures(generator, codes, space)
            return pictures, masks_in(Synthesis(pictures))

        if not protect:
            return first_that_fits(lambda: by_rows(full, codes), reduced)
        both = generator.synthesize(codes, space, keep={*segmenter.needs, *protected_layers(generator)})
        masks = masks_in(both)
        weight = soft_mask(masks)
        edited = blend_outside(generator, both, codes[1:], space, weight, strength=protect, keep=segmenter.needs)
        return torch.cat([both.image[:1], edited.image]), torch.cat([masks[:1], masks_in(edited)])


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
    both: Synthesis,
    codes: Tensor,
    space: str,
    weight: Tensor,
    *,
    strength: float = 1.0,
    keep: Collection[str] = (),
) -> Synthesis:
    """Render edited codes again with the unedited features outside a mask; one picture.

    Args:
        generator: renders the codes.
        both: the unedited and the edited picture (batch of 2), with the states of `protected_layers` and of `keep`.
        codes: the edited codes (1, D).
        space: latent space of the codes.
        weight: (1, 1, h, w) in [0, 1], 1 where the edit may show.
        strength: share of the change outside the mask that is removed in each layer, in [0, 1].
        keep: layers whose states are returned.
    """
    weight = 1 - strength * (1 - weight)
    names = protected_layers(generator)

    def blend(layer: Layer, edited: State) -> State:
        if layer.name not in names:
            return edited
        unedited = row(both.states[layer.name], 0)
        mask = F.interpolate(weight, (layer.size, layer.size), mode="bilinear", antialias=True)
        mask = F.pad(mask, (layer.margin,) * 4, mode="replicate")
        x = torch.lerp(unedited.x, edited.x, mask.to(edited.x.dtype))
        return State(x, None if edited.rgb is None else torch.lerp(unedited.rgb, edited.rgb, mask.to(edited.rgb.dtype)))

    first = generator.layers[names[0]]
    start = blend(first, row(both.states[first.name], 1))
    result = generator.synthesize(codes, space, keep=keep, resume=(first.name, start), change=blend)
    coarse = {name: row(state, 1) for name, state in both.states.items() if name in keep}
    return Synthesis(result.image, coarse | result.states, result.layers)


def row(state: State, index: int) -> State:
    """One picture of a batch, as a batch of one."""
    return State(*(None if tensor is None else tensor[index : index + 1] for tensor in (state.x, state.rgb)))


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
