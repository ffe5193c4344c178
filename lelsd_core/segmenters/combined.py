"""Set algebra on segmenters of any kind: a region of one, joined with, cut with or taken away from another's.

    region(a, "hair") | region(b, "hat")     &     -        each is a segmenter again, of its name and "rest"

What the region is stays each segmenter's own decision, at its own size; only the masks meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import UserError, unknown_name
from lelsd_core.generators.base import Generator
from lelsd_core.localization import COMBINE
from lelsd_core.segmenters.base import Parts, Segmenter, part_mask
from lelsd_core.segmenters.features import REST

SETS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "union": COMBINE["union"],
    "intersection": COMBINE["intersection"],
    "minus": lambda a, b: a * (1 - b),
}
WORDS = {"union": "or", "intersection": "and", "minus": "without"}


class Region(nn.Module):
    """A segmenter of two parts, a region and the rest; `|`, `&` and `-` combine it with another.

    Attributes:
        parts: the region's name and "rest".
        needs: layers that the segmenters behind it read.
    """

    def __init__(self, name: str, needs: tuple[str, ...]) -> None:
        super().__init__()
        self.name, self.fingerprint = name, ""
        self.parts: tuple[str, ...] = (name, REST)
        self.needs = needs

    def mask(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        """(B, 1, h, w) in [0, 1], 1 inside."""
        raise NotImplementedError

    def segment(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        """Probabilities (B, 2, h, w) of the region and the rest."""
        inside = self.mask(image, features)
        return torch.cat([inside, 1 - inside], 1)

    def check(self, generator: Generator) -> None:
        """UserError if a segmenter behind it reads another generator's features."""
        for segmenter in self.children():
            if segmenter.needs:
                segmenter.check(generator)

    def __or__(self, other: Region) -> Region:
        return combine("union", self, other)

    def __and__(self, other: Region) -> Region:
        return combine("intersection", self, other)

    def __sub__(self, other: Region) -> Region:
        return combine("minus", self, other)


class PartsRegion(Region):
    """Some parts of one segmenter."""

    def __init__(self, segmenter: Segmenter, parts: tuple[str, ...], name: str) -> None:
        super().__init__(name, segmenter.needs)
        self.segmenter, self.wanted = segmenter, parts

    def mask(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        return part_mask(self.segmenter.segment(image, features), self.segmenter.parts, self.wanted)


class CombinedRegion(Region):
    """Two regions and a key of `SETS`."""

    def __init__(self, how: str, left: Region, right: Region, name: str) -> None:
        super().__init__(name, tuple(dict.fromkeys((*left.needs, *right.needs))))
        self.how, self.left, self.right = how, left, right

    def mask(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        masks = self.left.mask(image, features), self.right.mask(image, features)
        size = max(mask.shape[-1] for mask in masks)
        return SETS[self.how](*(enlarged(mask, size) for mask in masks))


def region(segmenter: Segmenter, *parts: str, name: str | None = None) -> Region:
    """The region of some parts, or groups of parts, of a segmenter. UserError for a part that it does not know."""
    if not parts:
        raise UserError(f"No part was chosen; choose at least one of {', '.join(Parts(segmenter.parts).names)}.")
    Parts(segmenter.parts).expand(parts)
    return PartsRegion(segmenter, parts, name or " or ".join(parts))


def combine(how: str, left: Region, right: Region, name: str | None = None) -> Region:
    """Union, intersection or minus of two regions.

    Raises:
        UserError: no such way, or the regions read the features of different generators.
    """
    if how not in SETS:
        raise UserError(unknown_name("way to combine regions", how, SETS))
    makers = {made_for for side in (left, right) for made_for in generators_of(side)}
    if len({fingerprint for _, fingerprint in makers}) > 1:
        names = " and ".join(sorted(generator for generator, _ in makers))
        raise UserError(f"These regions read the features of different generators, {names}; both must be of one.")
    return CombinedRegion(how, left, right, name or f"({left.name} {WORDS[how]} {right.name})")


def generators_of(side: Region) -> set[tuple[str, str]]:
    """Name and fingerprint of every generator whose features are read."""
    return {module.made_for for module in side.modules() if hasattr(module, "made_for")}


def enlarged(mask: Tensor, size: int) -> Tensor:
    """A mask (B, 1, h, w) at `size` pixels."""
    return mask if mask.shape[-1] == size else F.interpolate(mask, (size, size), mode="bilinear")
