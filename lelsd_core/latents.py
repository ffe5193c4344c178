"""Latent spaces: a latent code is one row of a matrix, whose columns a space divides into slots.

    codes (B, D)  --LatentSpace.split-->  one (B, d) view for each slot

So adding, masking and normalising are the same matrix code for Z, W, W+, Z+ and for S, whose slots differ in width.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from torch import Tensor

from lelsd_core.errors import UserError, unknown_name


@dataclass(frozen=True)
class Slot:
    """A named stretch of a code's columns."""

    name: str  # "w7", "32.conv0", "8.gain"
    width: int  # number of columns
    movable: bool = True  # False if no edit may change it (the z inside DCGAN's S)


@dataclass(frozen=True)
class LatentSpace:
    """A latent space: its name ("Z", "W", "W+", "Z+" or "S") and its slots, coarse layers first."""

    name: str
    slots: tuple[Slot, ...]

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Columns of each slot."""
        return tuple(slot.width for slot in self.slots)

    @cached_property
    def width(self) -> int:
        """D, the number of columns of a code."""
        return sum(self.widths)

    def split(self, codes: Tensor) -> tuple[Tensor, ...]:
        """One (..., d) view of codes (..., D) for each slot."""
        return codes.split(self.widths, dim=-1)

    def column_mask(self, only: Collection[str] = ()) -> Tensor:
        """(D,) float32, 1 for each column that an edit may write, else 0; argument and error as for `written`."""
        written = self.written(only)
        return torch.cat([torch.full((slot.width,), float(slot.name in written)) for slot in self.slots])

    def written(self, only: Collection[str] = ()) -> tuple[str, ...]:
        """Names of the slots that an edit may write.

        Args:
            only: slot names or patterns ("8.gain", "*.gain"); empty means every movable slot.

        Raises:
            UserError: a pattern matches no movable slot of this space.
        """
        names = [slot.name for slot in self.slots if slot.movable]
        for pattern in only:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise UserError(unknown_name(f"slot in space {self.name}", pattern, names))
        return tuple(name for name in names if not only or any(fnmatchcase(name, pattern) for pattern in only))
