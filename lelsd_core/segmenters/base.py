"""What every segmenter offers, and how a mask of some parts is read off its answer.

picture and features  --Segmenter.segment-->  probabilities (B, P, h, w)  --part_mask-->  mask (B, 1, h, w)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from lelsd_core.errors import UserError, unknown_name
from lelsd_core.generators.base import Generator, Synthesis


class Parts(tuple[str, ...]):
    """Names of parts, in the order of an answer's channels; `in` and `expand` also know groups of them.

    Args:
        names: one for each channel.
        groups: names for several at once: {"vegetation": ("tree", "grass")}; a group may name groups. None = those
            that `names` has.
    """

    groups: Mapping[str, tuple[str, ...]]

    def __new__(cls, names: Iterable[str], groups: Mapping[str, Sequence[str]] | None = None) -> Parts:
        self = super().__new__(cls, names)
        known = getattr(names, "groups", {}) if groups is None else groups
        self.groups = {name: tuple(members) for name, members in known.items()}
        return self

    def __contains__(self, name: object) -> bool:
        return tuple.__contains__(self, name) or name in self.groups

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that a person may ask for: groups first, then parts."""
        return (*self.groups, *self)

    def expand(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """The parts behind names of parts and groups, each once. UserError for a name that is neither."""
        found: dict[str, None] = {}
        for name in (wanted,) if isinstance(wanted, str) else wanted:
            if tuple.__contains__(self, name):
                found[name] = None
            elif name in self.groups:
                found |= dict.fromkeys(self.expand(self.groups[name]))
            else:
                raise UserError(unknown_name("part", name, self.names))
        return tuple(found)


class Segmenter(Protocol):
    """Tells the parts of a picture apart; owns its resize and normalisation.

    Attributes:
        name: registry name, or the file's.
        parts: names of the parts, in the order of the answer's channels; `Parts` where there are groups.
        needs: layers whose features it reads; () if the picture is enough.
    """

    name: str
    parts: tuple[str, ...]
    needs: tuple[str, ...]

    def segment(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        """Part probabilities of pictures.

        Args:
            image: (B, 3, H, W) in [-1, 1]; None only for segmenters that read features alone.
            features: the generator's feature maps (B, C, h, w) of the layers in `needs`, by layer name.

        Returns:
            (B, P, h, w), which sum to 1 over the P parts.
        """
        ...

    def check(self, generator: Generator) -> None:
        """UserError if it reads the features of another generator; only where `needs` is not empty."""
        ...


def segment_synthesis(segmenter: Segmenter, synthesis: Synthesis) -> Tensor:
    """Part probabilities (B, P, h, w) of a synthesis that kept the layers in `segmenter.needs`."""
    return segmenter.segment(synthesis.image, {name: synthesis.features(name) for name in segmenter.needs})


def part_mask(probabilities: Tensor, parts: Sequence[str], wanted: Sequence[str], *, soft: bool = False) -> Tensor:
    """The mask of the wanted parts, without gradient.

    Args:
        probabilities: (B, P, h, w) from `Segmenter.segment`.
        parts: the segmenter's part names.
        wanted: names of the parts, or groups of parts, that make up the mask.
        soft: sum of the probabilities instead of the arg-max's 0 or 1.

    Returns:
        (B, 1, h, w) in [0, 1].

    Raises:
        UserError: a wanted part that the segmenter does not know, or none wanted.
    """
    known = Parts(parts)
    if not wanted:
        raise UserError(f"No part was chosen; choose at least one of {', '.join(known.names)}.")
    picked = [known.index(name) for name in known.expand(wanted)]
    answer = probabilities.detach()
    if not soft:
        answer = F.one_hot(answer.argmax(1), answer.shape[1]).permute(0, 3, 1, 2).to(answer.dtype)
    return answer[:, picked].sum(1, keepdim=True)
