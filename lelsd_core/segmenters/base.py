"""The segmenter interface, part names with groups, and masks of chosen parts.

picture and features  --Segmenter.segment-->  probabilities (B, P, h, w)  --part_mask-->  mask (B, 1, h, w)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import RefusedError, UserError, unknown_name
from lelsd_core.generators.base import Generator, Synthesis

SURROUNDINGS = ("background", "clothes")  # parts of a photo that are not the person


class Parts(tuple[str, ...]):
    """Part names in channel order, with groups of them; `in` and `expand` accept the names of both.

    `groups` holds the members of each group, {"vegetation": ("tree", "grass")}; a group may contain groups. None copies
    the groups of `names`, if it is a `Parts`.
    """

    groups: Mapping[str, tuple[str, ...]]

    def __new__(cls, names: Iterable[str], groups: Mapping[str, Sequence[str]] | None = None) -> Parts:
        self = super().__new__(cls, names)
        groups = getattr(names, "groups", {}) if groups is None else groups
        self.groups = {name: tuple(members) for name, members in groups.items()}
        return self

    def __contains__(self, name: object) -> bool:
        return tuple.__contains__(self, name) or name in self.groups

    @property
    def names(self) -> tuple[str, ...]:
        """All names that can be chosen: groups first, then parts."""
        return (*self.groups, *self)

    def expand(self, names: str | Iterable[str]) -> tuple[str, ...]:
        """Replaces groups by their parts; each part once. UserError for an unknown name."""
        expanded: dict[str, None] = {}
        for name in (names,) if isinstance(names, str) else names:
            if tuple.__contains__(self, name):
                expanded[name] = None
            elif name in self.groups:
                expanded |= dict.fromkeys(self.expand(self.groups[name]))
            else:
                raise UserError(unknown_name("part", name, self.names))
        return tuple(expanded)

    def channels(self, names: str | Iterable[str]) -> list[int]:
        """Channels of some parts and groups. UserError for an unknown name, or if there is none."""
        channels = [self.index(name) for name in self.expand(names)]
        if not channels:
            raise UserError(f"No part was chosen; choose at least one of {', '.join(self.names)}.")
        return channels


def check_labels(count: int, labels: Sequence[str]) -> None:
    """RefusedError unless a network with `count` outputs can have these labels: others would be named wrongly."""
    if count != len(labels):
        first = ", ".join(labels[:3])
        raise RefusedError(f"it tells {count} classes apart, and its label set ({first} ...) has {len(labels)}")


class Segmenter(nn.Module):
    """Base class of segmenters, which find the parts of a picture; each does its own resizing and normalisation."""

    name: str = ""  # registry name, or the stem of the file
    fingerprint: str = ""  # SHA-256 of the file, "" if it was never saved
    parts: Parts  # part names in channel order, with their groups
    needs: tuple[str, ...] = ()  # generator layers whose features are read; () if the picture is enough
    needs_picture: bool = True
    made_for: tuple[str, str] | None = None  # name and fingerprint of the generator whose features are read

    def segment(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        """Computes part probabilities.

        Args:
            image: (B, 3, H, W) in [-1, 1]; None only if `needs_picture` is false.
            features: feature maps (B, C, h, w) of the layers in `needs`, by layer name.

        Returns:
            (B, P, h, w), which sum to 1 over the P parts.
        """
        raise NotImplementedError

    def check(self, generator: Generator) -> None:
        """UserError if this segmenter reads the features of another generator."""
        if self.made_for is not None and not generator.has_fingerprint(self.made_for[1]):
            raise UserError(
                f"This segmenter reads the features of {self.made_for[0]!r}, not of {generator.name!r}; fit one for "
                "this generator."
            )


class AdaptedSegmenter(Segmenter):
    """Wraps an object that has `parts` and `segment(image)` but not this base class."""

    def __init__(self, segmenter: Any) -> None:
        super().__init__()
        if not hasattr(segmenter, "parts") or not callable(getattr(segmenter, "segment", None)):
            raise UserError(f"{type(segmenter).__name__} is no segmenter; one has `parts` and a method `segment`.")
        self.segmenter, self.parts = segmenter, Parts(segmenter.parts)
        self.name = getattr(segmenter, "name", "") or type(segmenter).__name__
        self.fingerprint = getattr(segmenter, "fingerprint", "")
        self.needs = tuple(getattr(segmenter, "needs", ()))
        self.needs_picture = getattr(segmenter, "needs_picture", True)

    def segment(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.segmenter.segment(image, features) if self.needs else self.segmenter.segment(image)

    def check(self, generator: Generator) -> None:
        if hasattr(self.segmenter, "check"):
            self.segmenter.check(generator)


def adapt(segmenter: Any) -> Segmenter:
    """Returns a `Segmenter` as it is, and wraps any other object with `parts` and `segment(image)`."""
    return segmenter if isinstance(segmenter, Segmenter) else AdaptedSegmenter(segmenter)


def segment_synthesis(segmenter: Segmenter, synthesis: Synthesis) -> Tensor:
    """Part probabilities (B, P, h, w) of a synthesis that kept the layers in `segmenter.needs`.

    The picture is clamped to [-1, 1]: a segmenter sees what people see, and what it was trained on.
    """
    image = None if synthesis.image is None else synthesis.image.clamp(-1, 1)
    return segmenter.segment(image, {name: synthesis.features(name) for name in segmenter.needs})


def part_mask(
    probabilities: Tensor, parts: Sequence[str], chosen: str | Iterable[str], *, soft: bool = False
) -> Tensor:
    """Computes the mask of some parts, without gradient.

    Args:
        probabilities: (B, P, h, w) from `Segmenter.segment`.
        parts: the segmenter's `parts`.
        chosen: the part or group, or several, that the mask covers.
        soft: whether to add up probabilities, instead of 1 where a chosen part is the most probable one and else 0.

    Returns:
        (B, 1, h, w) in [0, 1].

    Raises:
        UserError: nothing is chosen, or a part that the segmenter does not know.
    """
    channels = Parts(parts).channels(chosen)
    probabilities = probabilities.detach()
    if not soft:
        labels = probabilities.argmax(1)
        probabilities = F.one_hot(labels, probabilities.shape[1]).permute(0, 3, 1, 2).to(probabilities.dtype)
    return probabilities[:, channels].sum(1, keepdim=True)
