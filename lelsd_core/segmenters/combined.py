"""Regions: parts of one segmenter, combined with those of others by union, intersection and difference.

    region(a, "hair") | region(b, "hat")     &     -        each is a segmenter with two parts: the region and "rest"

Each segmenter finds its own region at its own resolution; only the masks are combined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

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
    """A segmenter with two parts, a region and "rest"; `|`, `&` and `-` combine regions.

    The masks of the sources, segmenters with their chosen parts, are combined at the largest of their sizes.
    """

    def __init__(self, name: str, operation: str, *sources: tuple[Segmenter, tuple[str, ...]]) -> None:
        super().__init__()
        segmenters = [segmenter for segmenter, _ in sources]
        self.name, self.parts, self.operation = name, Parts((name, REST)), operation
        self.segmenters, self.chosen = nn.ModuleList(segmenters), [chosen for _, chosen in sources]
        self.needs = tuple(dict.fromkeys(layer for segmenter in segmenters for layer in segmenter.needs))
        self.needs_picture = any(segmenter.needs_picture for segmenter in segmenters)
        generators = {segmenter.made_for for segmenter in segmenters if segmenter.made_for is not None}
        if len({fingerprint for _, fingerprint in generators}) > 1:
            names = " and ".join(sorted(generator for generator, _ in generators))
            raise UserError(f"These regions read the features of different generators, {names}; both must be of one.")
        self.made_for = next(iter(generators), None)

    def segment(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        masks = []
        for segmenter, chosen in zip(self.segmenters, self.chosen, strict=True):
            soft = isinstance(segmenter, Region)  # its mask as it is: resized masks have values between 0 and 1
            masks.append(part_mask(segmenter.segment(image, features), segmenter.parts, chosen, soft=soft))
        size = max(mask.shape[-2:] for mask in masks)
        masks = [m if m.shape[-2:] == size else F.interpolate(m, size, mode="bilinear") for m in masks]
        inside = reduce(OPERATIONS[self.operation][1], masks)
        return torch.cat([inside, 1 - inside], 1)

    def check(self, generator: Generator) -> None:
        for segmenter in self.segmenters:
            segmenter.check(generator)

    def __or__(self, other: Region) -> Region:
        return combine("union", self, other)

    def __and__(self, other: Region) -> Region:
        return combine("intersection", self, other)

    def __sub__(self, other: Region) -> Region:
        return combine("minus", self, other)


def region(segmenter: Segmenter, *parts: str, name: str | None = None) -> Region:
    """The region of some parts, or groups of parts, of a segmenter. UserError for a part that it does not know."""
    segmenter = adapt(segmenter)
    segmenter.parts.channels(parts)  # checks the names
    return Region(name or " or ".join(parts), "union", (segmenter, parts))


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
    name = name or f"({left.name} {OPERATIONS[operation][0]} {right.name})"
    return Region(name, operation, *((side, side.parts[:1]) for side in (left, right)))
