"""Regions: parts of one segmenter, combined with those of others by union, intersection and difference.

    region(a, "hair") | region(b, "hat")     &     -        each is a segmenter with two parts: the region and "rest"

Each segmenter finds its own region at its own resolution; only the masks are combined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import UserError, unknown_name
from lelsd_core.generators.base import Generator
from lelsd_core.localization import COMBINE
from lelsd_core.segmenters.base import Parts, Segmenter, adapt, part_mask
from lelsd_core.segmenters.features import REST

OPERATIONS: Mapping[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {  # word for the region's name, operation
    "union": ("or", COMBINE["union"]),
    "intersection": ("and", COMBINE["intersection"]),
    "minus": ("without", lambda a, b: a * (1 - b)),
}


class Region(Segmenter):
    """A segmenter with two parts, a region and "rest"; subclasses compute the region's mask from their sources."""

    def __init__(self, name: str, *sources: Segmenter) -> None:
        super().__init__()
        self.name, self.parts, self.sources = name, Parts((name, REST)), nn.ModuleList(sources)
        self.needs = tuple(dict.fromkeys(layer for source in sources for layer in source.needs))
        self.needs_picture = any(source.needs_picture for source in sources)
        generators = {source.made_for for source in sources if source.made_for is not None}
        if len({fingerprint for _, fingerprint in generators}) > 1:
            names = " and ".join(sorted(generator for generator, _ in generators))
            raise UserError(f"These regions read the features of different generators, {names}; both must be of one.")
        self.made_for = next(iter(generators), None)

    def mask(self, image: Tensor | None, features: Mapping[str, Tensor] | None) -> Tensor:
        """(B, 1, h, w) in [0, 1], 1 inside the region; arguments as for `segment`."""
        raise NotImplementedError

    def segment(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        inside = self.mask(image, features)
        return torch.cat([inside, 1 - inside], 1)

    def check(self, generator: Generator) -> None:
        for source in self.sources:
            source.check(generator)

    def __or__(self, other: Region) -> Region:
        return combine("union", self, other)

    def __and__(self, other: Region) -> Region:
        return combine("intersection", self, other)

    def __sub__(self, other: Region) -> Region:
        return combine("minus", self, other)


class PartsRegion(Region):
    """Some parts of one segmenter."""

    def __init__(self, name: str, segmenter: Segmenter, chosen: tuple[str, ...]) -> None:
        super().__init__(name, segmenter)
        self.chosen = chosen

    def mask(self, image: Tensor | None, features: Mapping[str, Tensor] | None) -> Tensor:
        (segmenter,) = self.sources
        return part_mask(segmenter.segment(image, features), segmenter.parts, self.chosen)


class CombinedRegion(Region):
    """Two regions, combined by one of `OPERATIONS` at the larger of their sizes."""

    def __init__(self, name: str, operation: str, left: Region, right: Region) -> None:
        super().__init__(name, left, right)
        self.operation = operation

    def mask(self, image: Tensor | None, features: Mapping[str, Tensor] | None) -> Tensor:
        masks = [source.mask(image, features) for source in self.sources]
        size = max(mask.shape[-2:] for mask in masks)
        left, right = (m if m.shape[-2:] == size else F.interpolate(m, size, mode="bilinear") for m in masks)
        return OPERATIONS[self.operation][1](left, right)


def region(segmenter: Segmenter, *parts: str, name: str | None = None) -> Region:
    """The region of some parts, or groups of parts, of a segmenter. UserError for a part that it does not know."""
    segmenter = adapt(segmenter)
    segmenter.parts.expand(parts)
    return PartsRegion(name or " or ".join(parts), segmenter, parts)


def combine(operation: str, left: Region, right: Region, name: str | None = None) -> Region:
    """Combines two regions.

    Args:
        operation: "union", "intersection" or "minus".
        left, right: the regions.
        name: of the new region; None makes one from the names of both.

    Raises:
        UserError: unknown operation, or the regions read the features of different generators.
    """
    if operation not in OPERATIONS:
        raise UserError(unknown_name("way to combine regions", operation, OPERATIONS))
    return CombinedRegion(name or f"({left.name} {OPERATIONS[operation][0]} {right.name})", operation, left, right)
