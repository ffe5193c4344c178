"""Local moves: a direction that moves a coarse code, let in only around a part.

    r_edit = r + M ⊙ (h(ω + αu) − r),   x_edit = f(r_edit)

    h: the layers up to one of them, r = h(ω) its feature map, f: the layers behind it
    M: a soft mask in [0, 1], of a part of this very picture, or fixed in the frame

A global move of a coarse code changes shapes, but in the whole picture; let in around a part it changes that part's
shape, and f paints the seam. It is another r_edit(u) for Eq. 1 of the paper; its score (Eq. 2) and its objective
(Eq. 3) stay as they are. A part of a second picture is let in by the same line, with h of that picture's code (see
`transfer`). Moves of several layers add up, each on top of those of earlier layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.discovery.config import DILATE, FEATHER, DiscoverConfig
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator, Patch
from lelsd_core.localization import COMBINE, resized_mask

PAINTED = 64  # pixels across of a mask that is made from a box
WIDEST = 1.0  # of the frame, by which a mask can be dilated, or over which it can fall

MaskOf = Callable[[Sequence[str]], Tensor]  # parts -> their mask (B, 1, h, w) of 0 and 1 in the untouched pictures


@dataclass(frozen=True)
class LocalMove:
    """Where a direction is let in. UserError for numbers out of range, or an empty painted mask."""

    layer: str  # the feature map at which it is let in
    around: tuple[str, ...] = ()  # around which parts of the picture; () = around those that the direction changes
    dilate: float = DILATE  # M is 1 up to this far from them, in shares of the frame's width
    feather: float = FEATHER  # and falls to 0 over this distance, in the same unit
    painted: tuple[tuple[float, ...], ...] = ()  # rows of a mask in [0, 1], fixed in the frame, alone or with `around`
    masks: str = "union"  # key of `localization.COMBINE`, how these two are combined

    def __post_init__(self) -> None:
        for name in ("dilate", "feather"):
            if not 0 <= (value := getattr(self, name)) <= WIDEST:
                raise UserError(f"{name} is {value:g}; it must be from 0 to {WIDEST:g}, a share of the frame's width.")
        if self.painted:
            widths = {len(row) for row in self.painted}
            numbers = [number for row in self.painted for number in row]
            if len(widths) != 1 or not all(0 <= number <= 1 for number in numbers):
                raise UserError("A painted mask must have rows of one length, of numbers from 0 to 1.")
            if not any(numbers):
                raise UserError("The painted region is empty; paint the part of the picture that should change.")

    @cached_property
    def _hash(self) -> int:
        """Computed once: a painted mask has thousands of numbers, and an edit looks its moves up several times."""
        return hash((self.layer, self.around, self.dilate, self.feather, self.painted, self.masks))

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def in_box(cls, layer: str, box: Sequence[float], **numbers: float) -> LocalMove:
        """A local move in a box (left, top, right, bottom) of the frame, in shares of its width and height.

        UserError for a box that is none.
        """
        return cls(layer, painted=painted_box(box), **numbers)

    @classmethod
    def of(cls, config: DiscoverConfig) -> LocalMove | None:
        """The local move that a config asks for; None if it asks for a global one."""
        if not config.local:
            return None
        painted = painted_box(config.box) if config.box else config.painted
        around = () if painted else config.around or config.parts
        return cls(config.local, around, config.dilate, config.feather, painted)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> LocalMove:
        """The local move of a file's header. TypeError, ValueError or UserError for one that makes no sense."""
        around, painted = tuple(map(str, facts["around"])), tuple(tuple(map(float, row)) for row in facts["painted"])
        return cls(str(facts["layer"]), around, float(facts["dilate"]), float(facts["feather"]), painted)

    def mask(self, mask_of: MaskOf) -> Tensor:
        """The soft mask M, (B or 1, 1, h, w) in [0, 1]; `mask_of` finds parts in the untouched pictures."""
        mask = torch.tensor(self.painted)[None, None] if self.painted else mask_of(self.around)
        if self.painted and self.around:
            found = mask_of(self.around)
            mask = COMBINE[self.masks](resized_mask(mask.to(found), found.shape[-2:]), found)
        return soft_mask(mask, self.dilate, self.feather)


@dataclass(frozen=True, eq=False)
class EditedCodes:
    """Codes of B pictures after an edit, all in the finest space."""

    codes: Tensor  # (B, D) of the whole pictures
    local: tuple[tuple[LocalMove, Tensor], ...] = ()  # where other codes (B, D) are let in


def painted_box(box: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    """Rows of a mask that is 1 in a box (left, top, right, bottom) of the frame; units and errors as for `in_box`."""
    if len(box) != 4 or not all(0 <= value <= 1 for value in box) or not (box[0] < box[2] and box[1] < box[3]):
        given = " ".join(f"{value:g}" for value in box)
        raise UserError(f"The box is {given}; it takes left, top, right and bottom in shares of the frame, in order.")
    left, top, right, bottom = (value * PAINTED for value in box)
    columns = [float(math.floor(left) <= x < right) for x in range(PAINTED)]
    rows = [float(math.floor(top) <= y < bottom) for y in range(PAINTED)]
    return tuple(tuple(row * column for column in columns) for row in rows)


def soft_mask(masks: Tensor, dilate: float, feather: float) -> Tensor:
    """Masks (B, 1, h, w) -> 1 up to `dilate` from them, then falling to 0 over `feather`, in shares of the width."""
    half = max(1, round(masks.shape[-1] * feather / 2))
    reach = round(masks.shape[-1] * dilate) + half
    for kernel, padding in (((1, 2 * reach + 1), (0, reach)), ((2 * reach + 1, 1), (reach, 0))):
        masks = F.max_pool2d(masks, kernel, stride=1, padding=padding)
    for width in (half // 2, half - half // 2):  # two box filters in a row give a smooth ramp
        masks = F.avg_pool2d(F.pad(masks, (width,) * 4, mode="replicate"), 2 * width + 1, stride=1)
    return masks


def patches_of(generator: Generator, edited: EditedCodes, mask: Callable[[LocalMove], Tensor]) -> list[Patch]:
    """What an edit lets in. The layers up to a blend are rendered once for all local moves of that layer.

    What is let in at a layer has the changes of earlier layers added to it: a mouth that a coarse layer opens stays
    open if a fine one colours its lips.

    Args:
        generator: renders the codes.
        edited: the codes of B pictures.
        mask: gives the soft mask (B or 1, 1, h, w) of a local move, see `LocalMove.mask`.
    """
    patches: list[Patch] = []
    before: list[Patch] = []  # the same, as changes of the codes that are rendered elsewhere
    asked = {move.layer for move, _ in edited.local}
    layers = [layer for layer in generator.layers if layer in asked]
    for layer in layers:
        moves, codes = zip(*(each for each in edited.local if each[0].layer == layer), strict=True)
        masks = [mask(move).to(edited.codes.device) for move in moves]
        let_in = generator.let_in(layer, edited.codes, codes, masks, before)
        if layer != layers[-1]:
            options = {"keep": (layer,), "patches": patches, "image": False}
            still = generator.synthesize(edited.codes, generator.space_names[-1], **options).states
            before += [replace(patch, still=still) for patch in let_in]
        patches += let_in
    return patches
