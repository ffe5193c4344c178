"""Where a generator expects faces: from five points of a photo to the (2, 3) matrix into the generator's frame.

    points (5, 2) in photo pixels  --Frame | FfhqFrame-->  matrix        width, height  --SquareFrame-->  matrix

Points are `POINTS`, left and right as seen in the picture; all coordinates are pixels from the left and upper edge.
Sources: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991; Karras et
al., "A style-based generator architecture for generative adversarial networks", 2019, appendix C (FFHQ's crop).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

POINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
STEADY = [0, 1, 3, 4]  # eyes and mouth
FFHQ_POINTS = ((0.377, 0.469), (0.623, 0.469), (0.501, 0.613), (0.393, 0.725), (0.611, 0.725))  # shares of the side


@dataclass(frozen=True)
class Frame:
    """Faces whose points are brought to mean points by shift, turn and scale.

    Args:
        size: width and height of the generator's pictures.
        points: mean (x, y) of `POINTS`.
    """

    size: int
    points: tuple[tuple[float, float], ...]
    faces: ClassVar[bool] = True

    def matrix(self, points: np.ndarray) -> np.ndarray:
        """Points (5, 2) of a photo -> (2, 3), photo pixels -> frame pixels; the nose, which turns move, is left out."""
        return similarity(points[STEADY], np.array(self.points)[STEADY])


@dataclass(frozen=True)
class FfhqFrame:
    """FFHQ's crop at any resolution: upright along the face, as wide as the eyes' or the mouth's distance asks for."""

    size: int
    faces: ClassVar[bool] = True

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """Where the points of a face from the front come to lie."""
        return tuple((self.size * x, self.size * y) for x, y in FFHQ_POINTS)

    def matrix(self, points: np.ndarray) -> np.ndarray:
        """Points (5, 2) of a photo -> (2, 3), photo pixels -> frame pixels; the nose does not count."""
        left, right, mouth = points[0], points[1], points[3:].mean(0)
        eyes = (left + right) / 2
        across, down = right - left, mouth - eyes
        axis = across + np.array([down[1], -down[0]])  # both, turned to the face's left-to-right
        axis *= max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / np.hypot(*axis)  # half the crop's width
        middle = eyes + 0.1 * down
        corners = np.array([middle, middle + axis])
        return similarity(corners, self.size * np.array([(0.5, 0.5), (1.0, 0.5)]))


@dataclass(frozen=True)
class SquareFrame:
    """Pictures without a face, such as cars, churches and horses: the photo's middle, as large as fits.

    Args:
        size: width and height of the generator's pictures.
        rows: height of the band that is not black, for generators of wide pictures (cars: 3/4 of the size); 0 = all.
    """

    size: int
    rows: int = 0
    faces: ClassVar[bool] = False

    def matrix(self, width: int, height: int) -> np.ndarray:
        """Width and height of a photo -> (2, 3), photo pixels -> frame pixels."""
        scale = max(self.size / width, (self.rows or self.size) / height)
        return np.array([[scale, 0, (self.size - scale * width) / 2], [0, scale, (self.size - scale * height) / 2]])

    @property
    def black(self) -> int:
        """Rows of the frame that stay black, above the band and again below it."""
        return (self.size - self.rows) // 2 if self.rows else 0


AnyFrame: TypeAlias = Frame | FfhqFrame | SquareFrame


@dataclass(frozen=True)
class Nudge:
    """What a person changes about an alignment.

    Args:
        right, down: how far the face moves, as a share of the frame's width.
        scale: how much larger the face becomes.
        turn: how far the face turns, in degrees, clockwise.
    """

    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0
    turn: float = 0.0

    def on(self, matrix: np.ndarray, size: int) -> np.ndarray:
        """The matrix (2, 3) into a frame of that size, with the change on top, about the frame's middle."""
        angle, middle = np.radians(self.turn), np.array([size / 2, size / 2])
        linear = self.scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = linear @ (matrix[:, 2] - middle) + middle + size * np.array([self.right, self.down])
        return np.column_stack([linear @ matrix[:, :2], moved])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The shift, turn and scale (2, 3) that brings points (N, 2) closest to others in the least-squares sense."""
    (x, y), (u, v) = (source - source.mean(0)).T, (target - target.mean(0)).T
    norm = (x * x + y * y).sum()
    cos, sin = (x * u + y * v).sum() / norm, (x * v - y * u).sum() / norm
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, target.mean(0) - linear @ source.mean(0)])


def project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) taken through a matrix (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def unproject(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) of the frame, taken back through a matrix (2, 3)."""
    return np.linalg.solve(matrix[:, :2], (points - matrix[:, 2]).T).T


def magnification(matrix: np.ndarray) -> float:
    """Frame pixels per photo pixel: the smaller, the larger the face in the photo."""
    return float(np.hypot(*matrix[0, :2]))
