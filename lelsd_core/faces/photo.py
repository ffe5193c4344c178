"""A photo and its halvings: any view of it, at any size, without aliasing and without reading it all again."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from lelsd_core.faces.frame import magnification
from lelsd_core.images import to_tensor


class Photo:
    """A photo (H, W, 3) and its halvings, made when needed: a view never skips pixels and never reads too many."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.levels = [pixels]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.levels[0].shape[1], self.levels[0].shape[0]

    def level(self, number: int) -> np.ndarray:
        """The photo halved `number` times."""
        while len(self.levels) <= number:
            finer = self.levels[-1]
            width, height = finer.shape[1] // 2, finer.shape[0] // 2  # an odd last row is left out: exactly half
            even = finer[: 2 * height, : 2 * width]
            self.levels.append(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
        return self.levels[number]

    def warp(self, matrix: np.ndarray, size: tuple[int, int], border: int = cv2.BORDER_REFLECT) -> np.ndarray:
        """The part that `matrix` (2, 3) maps to (width, height); the photo's edge is mirrored outwards.

        Coordinates are measured from pixel edges; OpenCV measures from pixel centres.
        """
        number = max(0, min(round(-np.log2(magnification(matrix))), int(np.log2(min(self.size))) - 3))
        linear = matrix[:, :2] * 2**number
        shift = matrix[:, 2] + 0.5 * linear.sum(1) - 0.5
        flags = cv2.INTER_CUBIC if magnification(linear) > 0.9 else cv2.INTER_LINEAR
        return cv2.warpAffine(
            self.level(number), np.column_stack([linear, shift]), size, flags=flags, borderMode=border
        )

    def view(self, matrix: np.ndarray, size: int, fine: int = 4) -> np.ndarray:
        """The part that `matrix` maps to a square of `size` pixels, area-resampled from one `fine` times as large."""
        large = self.warp(matrix * fine, (fine * size, fine * size))
        return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)

    def to_frame(self, matrix: np.ndarray, size: int) -> Tensor:
        """The same as a picture: (1, 3, size, size) in [-1, 1]."""
        return to_tensor(Image.fromarray(self.view(matrix, size)))


SIZE = 128  # pixels of the view that sharpness is measured in
ENOUGH = 256  # photo pixels across the frame that are always enough
SMALL = 0.75  # of the frame's pixels, or of ENOUGH
BLURRED = 0.01  # sharpness below this is told: the astronaut has 0.27, blurred by 5 % of her eye distance 0.01
SIDEWAYS = 0.3  # of the eye distance: how far the nose may be from the middle between the eyes


def notes_on(photo: Photo, matrix: np.ndarray, size: int, points: np.ndarray | None = None) -> tuple[str, ...]:
    """Sentences about a face.

    Args:
        photo: where it is.
        matrix: (2, 3), photo pixels -> frame pixels.
        size: of the frame.
        points: (5, 2) of the face in the photo, if they are known.
    """
    notes = []
    across = round(size / magnification(matrix))
    least = round(SMALL * min(size, ENOUGH))
    if across < least:
        notes.append(f"The face is small: its crop is {across} pixels wide; {least} or more give a better likeness.")
    elif sharpness(photo.view(matrix * (SIZE / size), SIZE)) < BLURRED:
        notes.append("The face is blurred; a sharper photo gives a better likeness.")
    if points is not None and (points.min() < 0 or (points > photo.size).any()):
        notes.append("Part of the face lies outside the photo; what is changed there cannot be seen.")
    if points is not None and sideways(points) > SIDEWAYS:
        notes.append("The face looks to the side; a photo from the front gives a better likeness.")
    return tuple(notes)


def sharpness(view: np.ndarray) -> float:
    """Variance of the Laplacian over the variance of a view (H, W, 3): the share of fine detail; 0 for a plain one."""
    height, width = view.shape[:2]
    middle = view[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    grey = cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / max(grey.var(), 1.0))


def sideways(points: np.ndarray) -> float:
    """How far the nose is off the middle between the eyes, along the line of the eyes, in eye distances."""
    line = points[1] - points[0]
    return float(abs((points[2] - points[:2].mean(0)) @ line) / (line @ line))
