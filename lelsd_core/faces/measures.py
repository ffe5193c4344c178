"""Numbers measured on faces: how far a mouth is open, where eyes look, how deep a fringe hangs.

    pictures (B, 3, R, R) --face mesh--> points (B, 478, 2) --+
                          --segmenter--> hair (B, 1, h, w) ---+--> `Faces` --`MEASURES`--> a number (B,) each

Lengths are in distances between the outer corners of the eyes, in a frame that is level with these corners: x runs to
the right as seen in the picture, y downwards, from the middle between them. A number is NaN where no face is seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.segmenters import part_mask

if TYPE_CHECKING:
    from lelsd_core.faces.align import FaceAligner

HAIR = "hair"  # the part of segmenters that some numbers need
MOUTH = ("mouth", "inner mouth", "lips", "upper lip", "lower lip")
EYES = ("eyes", "left eye", "right eye")
BROWS = ("brows", "left brow", "right brow")
CORNERS = [33, 263]  # points of the mesh: the outer corners of both eyes
CELL = 0.05  # distance between the places that are looked at in a box


@dataclass(frozen=True, eq=False)
class Faces:
    """What is seen of B faces."""

    points: Tensor  # (B, 478, 2) of the mesh, as shares of the picture's side; NaN where no face is seen
    hair: Tensor | None = None  # mask (B, 1, h, w) in [0, 1]; None if nobody marked it

    @cached_property
    def middle(self) -> Tensor:
        """(B, 1, 2): the origin of the level frame in the picture."""
        return self.points[:, CORNERS].mean(1, keepdim=True)

    @cached_property
    def axes(self) -> Tensor:
        """(B, 2, 2): what one eye distance along x, and along y, is in the picture."""
        left, right = self.points[:, CORNERS].unbind(1)
        x = right - left
        return torch.stack([x, torch.stack([-x[:, 1], x[:, 0]], 1)], 1)

    @cached_property
    def level(self) -> Tensor:
        """The points (B, 478, 2) in the level frame."""
        return (self.points - self.middle) @ torch.linalg.inv_ex(self.axes).inverse

    def hair_in(self, left: float, right: float, upper: float, lower: float) -> Tensor:
        """The hair (B, rows, columns) inside a box of the level frame, by cells of `CELL`; none outside the picture."""
        x, y = (torch.arange(a + CELL / 2, b, CELL) for a, b in ((left, right), (upper, lower)))
        places = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2)  # (rows, columns, 2)
        grid = self.middle[:, None] + places @ self.axes[:, None]
        sampled = F.grid_sample(self.hair.float(), 2 * grid.nan_to_num(2) - 1, align_corners=False)
        return sampled[:, 0]


@dataclass(frozen=True)
class Measure(ABC):
    """A number, and the words for little and much of it."""

    low: str  # what a small number means, "closed"
    high: str
    parts: tuple[str, ...]  # names that segmenters give to the parts that it tells of; none: it tells only the pose
    least: float  # difference between two pictures from which on it is worth a word

    @abstractmethod
    def of(self, faces: Faces) -> Tensor:
        """The number (B,) of B faces; NaN where it cannot be measured."""


@dataclass(frozen=True)
class MeshMeasure(Measure):
    """Of some pairs of points of the mesh, the mean of their distance, or of how far right or below the second lies."""

    pairs: tuple[tuple[int, int], ...]
    along: str = ""  # "x": right of the first, "y": below it; else the distance

    def of(self, faces: Faces) -> Tensor:
        first, second = faces.level[:, torch.tensor(self.pairs)].unbind(2)  # (B, pairs, 2) each
        apart = second - first
        return (apart[..., "xy".index(self.along)] if self.along else apart.norm(dim=2)).mean(1)


@dataclass(frozen=True)
class HairMeasure(Measure):
    """A number of the hair inside a box of the level frame."""

    box: tuple[float, float, float, float]  # left, right, upper and lower edge

    def of(self, faces: Faces) -> Tensor:
        missing = faces.points.new_full((len(faces.points),), torch.nan)
        if faces.hair is None:
            return missing
        return torch.where(faces.middle[:, 0, 0].isnan(), missing, self.number(faces.hair_in(*self.box)))

    @abstractmethod
    def number(self, hair: Tensor) -> Tensor:
        """Hair (B, rows, columns) in [0, 1] -> (B,)."""


class Fringe(HairMeasure):
    """How far down hair reaches: less the mean height, in the box's columns, that is free of hair above the eyes."""

    def number(self, hair: Tensor) -> Tensor:
        return -CELL * (1 - hair.flip(1)).cumprod(1).sum(1).mean(1)


class HairArea(HairMeasure):
    """The area of hair, in squares of eye distances."""

    def number(self, hair: Tensor) -> Tensor:
        return CELL**2 * hair.sum((1, 2))


SIDES, LIPS = ((33, 468), (133, 468), (362, 473), (263, 473)), ((61, 13), (61, 14), (291, 13), (291, 14))
MEASURES: Mapping[str, Measure] = {
    "mouth-open": MeshMeasure("closed", "open", MOUTH, 0.06, ((13, 14),)),
    "mouth-width": MeshMeasure("narrower", "wider", MOUTH, 0.06, ((61, 291),)),
    "smile": MeshMeasure("pouting", "smiling", MOUTH, 0.05, LIPS, "y"),
    "lips": MeshMeasure("thinner", "fuller", MOUTH, 0.03, ((0, 13), (14, 17))),
    "eyes-open": MeshMeasure("closed", "open", EYES, 0.03, ((159, 145), (386, 374))),
    "gaze": MeshMeasure("looking left", "looking right", EYES, 0.05, SIDES, "x"),
    "brows": MeshMeasure("lower", "higher", BROWS, 0.04, ((105, 33), (105, 133), (334, 263), (334, 362)), "y"),
    "nose-length": MeshMeasure("shorter", "longer", ("nose",), 0.05, ((168, 2),), "y"),
    "nose-width": MeshMeasure("narrower", "wider", ("nose",), 0.04, ((48, 278),)),
    "jaw": MeshMeasure("narrower", "wider", ("skin", "face"), 0.08, ((172, 397),)),
    "turn": MeshMeasure("turned left", "turned right", (), 0.0, ((33, 4), (263, 4)), "x"),
    "fringe": Fringe("bare forehead", "fringe", (HAIR,), 0.06, (-0.4, 0.4, -1.5, 0.0)),
    "hair-length": HairArea("short", "long", (HAIR,), 0.2, (-1.6, 1.6, 0.0, 2.5)),
}


def see(aligner: FaceAligner, pictures: Tensor, probabilities: Tensor, parts: Sequence[str]) -> Faces:
    """The faces of aligned pictures (B, 3, R, R) in [-1, 1], with a segmenter's probabilities (B, P, h, w) of parts."""
    hair = part_mask(probabilities, parts, HAIR, soft=True).float().cpu() if HAIR in parts else None
    return Faces(aligner.mesh(pictures) / pictures.shape[-1], hair)


def measure(faces: Faces, names: Iterable[str] = tuple(MEASURES)) -> Tensor:
    """Some of `MEASURES` (B, names)."""
    return torch.stack([MEASURES[name].of(faces) for name in names], 1)
