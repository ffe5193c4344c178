"""A photo and its halvings: any view of it, at any size, without aliasing and without reading it all again."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from lelsd_core.faces.frame import magnification
from lelsd_core.pictures.image import to_tensor


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
