"""A segmenter that also knows a region of one's own: painted, a cluster of features, or learnt from labelled pictures.

    parts "hair", "skin", ...  and a region  -->  "hair in region", "hair outside region", "skin in region", ...

Each part is split by the region, so that every pixel still has one label. The names of the parts stand for both halves
and their masks stay exactly as they were, as both halves of all parts share the region's probability; the name of the
region stands for all halves inside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters.base import Parts, Segmenter
from lelsd_core.segmenters.features import FeatureSegmenter


class SplitParts(Parts):
    """The halves of all parts; only the names that stand for several of them are there to be chosen."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.groups)


class SplitSegmenter(Segmenter):
    """A segmenter whose parts are split by a region.

    Args:
        segmenter: of the parts.
        region: a segmenter whose first part is the region. UserError if its name is one of the parts'.
    """

    def __init__(self, segmenter: Segmenter, region: FeatureSegmenter) -> None:
        super().__init__()
        name = region.parts[0]
        if name in segmenter.parts:
            raise UserError(f"There is a part named {name!r} already; give the region another name.")
        inside, outside = (tuple(f"{part} {where} {name}" for part in segmenter.parts) for where in ("in", "outside"))
        halves = {part: pair for part, *pair in zip(segmenter.parts, inside, outside, strict=True)}
        groups = {group: members for group, members in segmenter.parts.groups.items() if group not in halves}
        self.parts = SplitParts((*inside, *outside), groups | halves | {name: inside})
        self.segmenter, self.region, self.name = segmenter, region, f"{segmenter.name} with {name}"
        self.needs = tuple(dict.fromkeys((*segmenter.needs, *region.needs)))
        self.needs_picture, self.made_for = segmenter.needs_picture, region.made_for

    def segment(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        whole = self.segmenter.segment(image, features)
        inside = self.region.segment(None, features)[:, :1]
        inside = F.interpolate(inside, whole.shape[-2:], mode="bilinear")
        return torch.cat([whole * inside, whole * (1 - inside)], 1)

    def check(self, generator: Generator) -> None:
        super().check(generator)
        self.segmenter.check(generator)


def split_by(segmenter: Segmenter, regions: Sequence[FeatureSegmenter]) -> Segmenter:
    """The segmenter with some regions; those that it knows already are not added again.

    UserError for two different regions of one name.
    """
    present = {region.parts[0]: region for region in regions_of(segmenter)}
    known = dict(present)
    for region in regions:
        if not region.equals(known.setdefault(region.parts[0], region)):
            raise UserError(f"Two different regions are named {region.parts[0]!r}; give one of them another name.")
    return reduce(SplitSegmenter, [region for name, region in known.items() if name not in present], segmenter)


def regions_of(segmenter: Segmenter) -> tuple[FeatureSegmenter, ...]:
    """The regions by which a segmenter's parts are split."""
    return (*regions_of(segmenter.segmenter), segmenter.region) if isinstance(segmenter, SplitSegmenter) else ()


def region_among(segmenter: Segmenter, parts: Sequence[str]) -> FeatureSegmenter | None:
    """The region of a segmenter that is among some parts; None if there is none."""
    return next((each for each in regions_of(segmenter) if each.parts[0] in parts), None)
