"""Where a generator expects a face: from five points, or a photo's size, to the matrix into the generator's picture.

    points (5, 2) in photo pixels  --Frame | FfhqFrame-->  matrix        width, height  --SquareFrame-->  matrix

A matrix (2, 3) maps photo pixels to frame pixels. Coordinates are in pixels from the left and upper edge; left and
right are as seen in the picture. Sources: Umeyama, "Least-squares estimation of transformation parameters", 1991;
Karras et al., "A style-based generator architecture for GANs", 2019, appendix C (FFHQ's crop).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

POINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
ALIGNED_POINTS = [0, 1, 3, 4]  # eyes and mouth; the nose is left out, because it moves when the head turns
FFHQ_POINTS = ((0.377, 0.469), (0.623, 0.469), (0.501, 0.613), (0.393, 0.725), (0.611, 0.725))  # shares of the side


@dataclass(frozen=True)
class Frame:
    """Frame into which a face's points are brought by shift, rotation and scale."""

    size: int  # height and width of the generator's pictures, in pixels
    points: tuple[tuple[float, float], ...]  # mean (x, y) of `POINTS` in them, in pixels
    faces: ClassVar[bool] = True

    def matrix(self, points: np.ndarray) -> np.ndarray:
        """Matrix (2, 3) for a face with these points (5, 2) in the photo."""
        return similarity(points[ALIGNED_POINTS], np.array(self.points)[ALIGNED_POINTS])


@dataclass(frozen=True)
class FfhqFrame:
    """FFHQ's crop at any size: upright along the face, its width set by the eyes' distance or the mouth's."""

    size: int
    faces: ClassVar[bool] = True

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """Where the points of a frontal face lie, in pixels."""
        return tuple((self.size * x, self.size * y) for x, y in FFHQ_POINTS)

    def matrix(self, points: np.ndarray) -> np.ndarray:
        """Matrix (2, 3) for a face with these points (5, 2) in the photo."""
        left, right, mouth = points[0], points[1], points[3:].mean(0)
        eyes = (left + right) / 2
        across, down = right - left, mouth - eyes
        axis = across + np.array([down[1], -down[0]])  # mean of the eyes' axis and the normal of the vertical one
        axis *= max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / np.hypot(*axis)  # half the crop's width
        middle = eyes + 0.1 * down
        return similarity(np.array([middle, middle + axis]), self.size * np.array([(0.5, 0.5), (1.0, 0.5)]))


@dataclass(frozen=True)
class SquareFrame:
    """Frame of pictures without faces, such as cars, churches and horses: the largest crop from the photo's middle."""

    size: int
    rows: int = 0  # height of the band between black borders, for wide pictures (cars: 3/4 of the size); 0 = no borders
    faces: ClassVar[bool] = False

    def middle(self, width: int, height: int) -> np.ndarray:
        """Matrix (2, 3) for a photo of this width and height."""
        scale = max(self.size / width, (self.rows or self.size) / height)
        return np.array([[scale, 0, (self.size - scale * width) / 2], [0, scale, (self.size - scale * height) / 2]])

    @property
    def border(self) -> int:
        """Height of each black border, in pixels."""
        return (self.size - self.rows) // 2 if self.rows else 0


AnyFrame: TypeAlias = Frame | FfhqFrame | SquareFrame


@dataclass(frozen=True)
class Nudge:
    """Manual correction of an alignment."""

    right: float = 0.0  # shift of the face, as a share of the frame's width
    down: float = 0.0
    scale: float = 1.0  # factor of its size
    turn: float = 0.0  # rotation, in degrees clockwise

    def on(self, matrix: np.ndarray, size: int) -> np.ndarray:
        """The matrix (2, 3) into a frame of that size, followed by this correction about the frame's middle."""
        middle, linear = np.array([size / 2, size / 2]), self.scale * rotation(self.turn)
        shift = linear @ (matrix[:, 2] - middle) + middle + size * np.array([self.right, self.down])
        return np.column_stack([linear @ matrix[:, :2], shift])


def rotation(degrees: float) -> np.ndarray:
    """Rotation matrix (2, 2), clockwise as seen in a picture."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cos, -sin], [sin, cos]])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The shift, rotation and scale (2, 3) that maps points (N, 2) to others with the least squared error."""
    (x, y), (u, v) = (source - source.mean(0)).T, (target - target.mean(0)).T
    norm = (x * x + y * y).sum()
    cos, sin = (x * u + y * v).sum() / norm, (x * v - y * u).sum() / norm
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, target.mean(0) - linear @ source.mean(0)])


def project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) mapped by a matrix (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def unproject(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) mapped by the inverse of a matrix (2, 3)."""
    return np.linalg.solve(matrix[:, :2], (points - matrix[:, 2]).T).T


def magnification(matrix: np.ndarray) -> float:
    """Frame pixels per photo pixel of a matrix (2, 3)."""
    return float(np.hypot(*matrix[0, :2]))
