"""Renders latent codes: full pictures, small previews, and pictures with the masks of some parts.

    codes (B, D)  --generator, perhaps tuned to a person-->  pictures (B, 3, R, R)  --segmenter-->  masks (B, 1, h, w)

If memory runs out, the codes of a batch are rendered one by one, and then at a smaller size that is scaled up.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lelsd_core.device import by_rows, first_that_fits
from lelsd_core.editor.protect import blend_outside, protected_layers, soft_mask
from lelsd_core.generators.base import Generator, Synthesis
from lelsd_core.images import to_pil
from lelsd_core.inversion.pivotal import Tuning
from lelsd_core.segmenters import Segmenter, part_mask, segment_synthesis

REDUCTION = 4  # if memory runs out, pictures are rendered at the resolution divided by this


class Renderer:
    """One generator with its segmenter; safe to share between threads.

    Args:
        generator: renders the codes, on any device.
        segmenter: finds the parts in the pictures.
        preview_size: width of a preview in pixels, for generators that make a smaller picture on the way.
    """

    def __init__(self, generator: Generator, segmenter: Segmenter, preview_size: int) -> None:
        self.generator, self.segmenter, self.preview_size = generator, segmenter, preview_size
        self._lock = threading.Lock()
        self._latest: tuple[Tuning, Generator] | None = None

    def tuned(self, tuning: Tuning | None) -> Generator:
        """The generator with a person's tuning applied. The latest one is cached: one slider causes many events."""
        if tuning is None:
            return self.generator
        with self._lock:
            if self._latest is None or self._latest[0] is not tuning:
                self._latest = tuning, tuning.apply(self.generator)
            return self._latest[1]

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
