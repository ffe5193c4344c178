"""Numbers measured on faces: how far a mouth is open, where eyes look, how light hair is, whether there are glasses.

    pictures (B, 3, R, R) --face mesh--> points (B, 478, 2) -----------+
                          --segmenter--> masks (B, 1, h, w) of parts --+--> `Faces` --`MEASURES`--> a number (B,) each
                          --as large as the masks----------------------+

Lengths are in distances between the outer corners of the eyes, in a frame that is level with these corners: x runs to
the right as seen in the picture, y downwards, from the middle between them. Areas are in squares of that distance,
colours in shares of the range from black to white. A number is NaN where no face, or not its part, is seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.localization import resized_mask
from lelsd_core.segmenters import part_mask

if TYPE_CHECKING:
    from lelsd_core.faces.align import FaceAligner

MOUTH = ("mouth", "inner mouth", "lips", "upper lip", "lower lip")  # names that segmenters give to a part
EYES = ("eyes", "left eye", "right eye")
BROWS = ("brows", "left brow", "right brow")
CORNERS = [33, 263]  # points of the mesh: the outer corners of both eyes
SEEN = 1e-3  # of the picture that a part must cover, for its colour to be known
CELL = 0.05  # distance between the places that are looked at in a box
BLUR = 5  # cells across that an outline stands out from
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601
RED, BLUE = (1.0, -1.0, 0.0), (-0.5, -0.5, 1.0)  # red less green, blue less the mean of red and green
BLOND = tuple(light - 3 * blue for light, blue in zip(LUMA, BLUE, strict=True))  # light and yellow

Box = tuple[float, float, float, float]  # left, right, upper and lower edge in the level frame


@dataclass(frozen=True, eq=False)
class Faces:
    """What is seen of B faces."""

    points: Tensor  # (B, 478, 2) of the mesh, as shares of the picture's side; NaN where no face is seen
    masks: Mapping[str, Tensor] = field(default_factory=dict)  # of each part that is marked, (B, 1, h, w) in [0, 1]
    picture: Tensor | None = None  # (B, 3, h, w) in [0, 1]

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

    @cached_property
    def luma(self) -> Tensor:
        """(B, 1, h, w) of the picture."""
        return (self.picture * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)

    def mask(self, parts: Sequence[str]) -> Tensor | None:
        """The mask (B, 1, h, w) of those parts that are marked; None if nobody marked any of them."""
        found = [self.masks[part] for part in parts if part in self.masks]
        return sum(found).clamp(max=1) if found else None

    def inside(self, image: Tensor, box: Box) -> Tensor:
        """An image (B, 1, h, w) inside a box of the level frame, (B, rows, columns), by cells of `CELL`.

        Outside the picture it is 0.
        """
        left, right, upper, lower = box
        x, y = (torch.arange(a + CELL / 2, b, CELL) for a, b in ((left, right), (upper, lower)))
        places = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2)  # (rows, columns, 2)
        grid = self.middle[:, None] + places @ self.axes[:, None]
        return F.grid_sample(image.float(), 2 * grid.nan_to_num(2) - 1, align_corners=False)[:, 0]


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
class Fringe(Measure):
    """How far down a part reaches in a box: less the mean height, in its columns, that is free of it at the bottom."""

    box: Box

    def of(self, faces: Faces) -> Tensor:
        if (mask := faces.mask(self.parts)) is None:
            return unknown(faces)
        return -CELL * (1 - faces.inside(mask, self.box).flip(1)).cumprod(1).sum(1).mean(1)


@dataclass(frozen=True)
class Area(Measure):
    """The area of a part, inside a box or anywhere."""

    box: Box | None = None

    def of(self, faces: Faces) -> Tensor:
        if (mask := faces.mask(self.parts)) is None:
            return unknown(faces)
        if self.box:
            return CELL**2 * faces.inside(mask, self.box).sum((1, 2))
        return mask.mean((1, 2, 3)) / faces.axes[:, 0].square().sum(1)


@dataclass(frozen=True)
class Colour(Measure):
    """A part's mean of a weighted sum of red, green and blue."""

    weights: tuple[float, float, float] = LUMA

    def of(self, faces: Faces) -> Tensor:
        if (mask := faces.mask(self.parts)) is None or faces.picture is None:
            return unknown(faces)
        return mean_colour(faces.picture, mask, self.weights)


@dataclass(frozen=True)
class Shade(Measure):
    """By how much the luma of some boxes is above that of others."""

    bright: tuple[Box, ...]
    dark: tuple[Box, ...]

    def of(self, faces: Faces) -> Tensor:
        if faces.picture is None:
            return unknown(faces)
        bright, dark = (
            torch.stack([faces.inside(faces.luma, box).mean((1, 2)) for box in boxes]).mean(0)
            for boxes in (self.bright, self.dark)
        )
        return bright - dark


@dataclass(frozen=True)
class Outlines(Measure):
    """By how much luma differs from its surroundings, in the mean over some boxes: there are lines in them."""

    boxes: tuple[Box, ...]

    def of(self, faces: Faces) -> Tensor:
        if faces.picture is None:
            return unknown(faces)
        shown = [faces.inside(faces.luma, box)[:, None] for box in self.boxes]
        blurred = [F.avg_pool2d(each, BLUR, 1, BLUR // 2, count_include_pad=False) for each in shown]
        return torch.stack([(a - b).abs().mean((1, 2, 3)) for a, b in zip(shown, blurred, strict=True)]).mean(0)


def mean_colour(picture: Tensor, mask: Tensor, weights: Sequence[float]) -> Tensor:
    """The mean (B,) of a weighted sum of red, green and blue in a part; NaN where the part is not seen.

    Args:
        picture: (B, 3, h, w).
        mask: (B, 1, h, w) in [0, 1].
        weights: of red, green and blue.
    """
    image = (picture * picture.new_tensor(weights)[:, None, None]).sum(1, keepdim=True)
    area = mask.mean((1, 2, 3))
    return ((image * mask).mean((1, 2, 3)) / area.clamp_min(SEEN)).where(area > SEEN, torch.nan)


def both_sides(*boxes: Box) -> tuple[Box, ...]:
    """Boxes, and their mirror images."""
    return (*boxes, *((-right, -left, upper, lower) for left, right, upper, lower in boxes))


def unknown(faces: Faces) -> Tensor:
    """NaN (B,)."""
    return faces.points.new_full((len(faces.points),), torch.nan)


CHEEK: Box = (0.25, 0.55, 0.27, 0.5)
LIGHT = {  # parts whose luma is measured
    "mouth": MOUTH,
    "eyes": EYES,
    "brows": BROWS,
    **{name: (name,) for name in ("nose", "skin", "hair", "clothes", "background")},
}
SIDES, LIPS = ((33, 468), (133, 468), (362, 473), (263, 473)), ((61, 13), (61, 14), (291, 13), (291, 14))
MEASURES: Mapping[str, Measure] = {
    "mouth-open": MeshMeasure("closed", "open", MOUTH, 0.06, ((13, 14),)),
    "mouth-width": MeshMeasure("narrower", "wider", MOUTH, 0.06, ((61, 291),)),
    "smile": MeshMeasure("pouting", "smiling", MOUTH, 0.05, LIPS, "y"),
    "lips": MeshMeasure("thinner", "fuller", MOUTH, 0.03, ((0, 13), (14, 17))),
    "eyes-open": MeshMeasure("closed", "open", EYES, 0.03, ((159, 145), (386, 374))),
    "gaze": MeshMeasure("looking left", "looking right", EYES, 0.05, SIDES, "x"),
    "brows": MeshMeasure("lower", "higher", BROWS, 0.04, ((105, 33), (105, 133), (334, 263), (334, 362)), "y"),
    "brow-tilt": MeshMeasure("worried", "stern", BROWS, 0.03, ((70, 107), (300, 336)), "y"),
    "nose-length": MeshMeasure("shorter", "longer", ("nose",), 0.05, ((168, 2),), "y"),
    "nose-width": MeshMeasure("narrower", "wider", ("nose",), 0.04, ((48, 278),)),
    "face-length": MeshMeasure("shorter face", "longer face", ("skin", "face"), 0.08, ((10, 152),)),
    "jaw": MeshMeasure("narrower", "wider", ("skin", "face"), 0.08, ((172, 397),)),
    "turn": MeshMeasure("turned left", "turned right", (), 0.0, ((33, 4), (263, 4)), "x"),
    "fringe": Fringe("bare forehead", "fringe", ("hair",), 0.06, (-0.4, 0.4, -1.5, 0.0)),
    "hair-length": Area("short", "long", ("hair",), 0.2, (-1.6, 1.6, 0.0, 2.5)),
    "hair-volume": Area("flat", "full", ("hair",), 0.1, (-0.8, 0.8, -1.8, -0.7)),
    "hair-blond": Colour("dark", "blond", ("hair",), 0.2, BLOND),
    "hair-red": Colour("ashen", "red", ("hair",), 0.04, RED),
    "lip-colour": Colour("pale", "red", MOUTH, 0.04, RED),
    "eye-shadow": Shade(
        "bare lids", "eye shadow", EYES, 0.05, both_sides(CHEEK), both_sides((0.1, 0.55, -0.16, -0.06))
    ),
    "glasses": Outlines(
        "no glasses",
        "glasses",
        EYES,
        0.02,
        (*both_sides((0.1, 0.55, 0.08, 0.3), (0.52, 0.75, -0.12, 0.12)), (-0.12, 0.12, -0.08, 0.1)),
    ),
    "light": Shade(
        "light from the left", "light from the right", ("skin", "face"), 0.06, (CHEEK,), both_sides(CHEEK)[1:]
    ),
    "beard": Shade(
        "shaven",
        "bearded",
        ("skin", "face"),
        0.05,
        both_sides(CHEEK),
        (*both_sides((0.35, 0.6, 0.75, 1.1)), (-0.3, 0.3, 0.95, 1.2), (-0.25, 0.25, 0.56, 0.68)),
    ),
    "collar": Area("open collar", "high collar", ("clothes",), 0.1),
    "background-blue": Colour("warmer", "cooler", ("background",), 0.05, BLUE),
    **{f"{name}-light": Colour("darker", "brighter", parts, 0.08) for name, parts in LIGHT.items()},
}


def see(aligner: FaceAligner, pictures: Tensor, probabilities: Tensor, parts: Sequence[str]) -> Faces:
    """The faces of aligned pictures (B, 3, R, R) in [-1, 1], with a segmenter's probabilities (B, P, h, w) of parts."""
    names = getattr(parts, "names", parts)  # groups, too
    masks = {part: part_mask(probabilities, parts, part, soft=True).float().cpu() for part in names}
    small = resized_mask((pictures.clamp(-1, 1).float() + 1) / 2, probabilities.shape[-2:]).cpu()
    return Faces(aligner.mesh(pictures) / pictures.shape[-1], masks, small)


def measure(faces: Faces, names: Iterable[str] = tuple(MEASURES)) -> Tensor:
    """Some of `MEASURES` (B, names)."""
    numbers = torch.stack([MEASURES[name].of(faces) for name in names], 1)
    return numbers.where(faces.middle[:, 0, :1].isfinite(), torch.nan)
