"""Views of a photo at any size without aliasing, by an image pyramid; and notes on a face's quality."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from lelsd_core.faces.frame import magnification

SHARPNESS_SIZE = 128  # pixels of the view that sharpness is measured in
ENOUGH = 256  # photo pixels across the frame that are enough for any generator
SMALL = 0.75  # of the frame's size, or of ENOUGH: a crop below this is noted
BLURRED = 0.01  # sharpness below this is noted: a sharp face has 0.27; blurred by 5 % of its eye distance, 0.01
SIDEWAYS = 0.3  # of the eye distance: a nose farther than this from the eyes' middle is noted


class Photo:
    """A photo (H, W, 3) uint8 and its image pyramid, each level half the size of the one before, made on demand."""

    def __init__(self, image: Image.Image | np.ndarray) -> None:
        self.levels = [np.asarray(image)]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        return self.levels[0].shape[1], self.levels[0].shape[0]

    def warp(self, matrix: np.ndarray, size: tuple[int, int], border: int = cv2.BORDER_REFLECT) -> np.ndarray:
        """Resamples the photo from the pyramid level that fits the scale.

        Args:
            matrix: (2, 3), photo pixels -> view pixels, measured from pixel edges.
            size: width and height of the view, in pixels.
            border: OpenCV's border mode outside the photo; by default the photo is mirrored.
        """
        number = max(0, min(round(-np.log2(magnification(matrix))), int(np.log2(min(self.size))) - 3))
        while len(self.levels) <= number:
            finer = self.levels[-1]
            width, height = finer.shape[1] // 2, finer.shape[0] // 2
            even = finer[: 2 * height, : 2 * width]  # leaves out an odd last row or column, so that the scale is 1/2
            self.levels.append(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
        linear = matrix[:, :2] * 2**number
        shift = matrix[:, 2] + 0.5 * linear.sum(1) - 0.5  # OpenCV measures from pixel centres
        flags = cv2.INTER_CUBIC if magnification(linear) > 0.9 else cv2.INTER_LINEAR
        linear = np.column_stack([linear, shift])
        return cv2.warpAffine(self.levels[number], linear, size, flags=flags, borderMode=border)

    def view(self, matrix: np.ndarray, size: int, oversampling: int = 4) -> np.ndarray:
        """The part that `matrix` maps to a square of `size` pixels, averaged over `oversampling`² samples per pixel."""
        large = self.warp(matrix * oversampling, (oversampling * size, oversampling * size))
        return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)


def notes_on(photo: Photo, matrix: np.ndarray, size: int, points: np.ndarray | None = None) -> tuple[str, ...]:
    """Sentences about a face that will not be inverted well; `matrix` (2, 3) maps it to a frame of `size` pixels."""
    notes = []
    across = round(size / magnification(matrix))
    least = round(SMALL * min(size, ENOUGH))
    if across < least:
        notes.append(f"The face is small: its crop is {across} pixels wide; {least} or more give a better likeness.")
    elif sharpness(photo.view(matrix * (SHARPNESS_SIZE / size), SHARPNESS_SIZE)) < BLURRED:
        notes.append("The face is blurred; a sharper photo gives a better likeness.")
    if points is None:
        return tuple(notes)
    if points.min() < 0 or (points > photo.size).any():
        notes.append("Part of the face lies outside the photo; changes there cannot be seen.")
    eye_line, nose = points[1] - points[0], points[2] - points[:2].mean(0)
    if abs(nose @ eye_line) / (eye_line @ eye_line) > SIDEWAYS:
        notes.append("The face looks to the side; a photo from the front gives a better likeness.")
    return tuple(notes)


def sharpness(view: np.ndarray) -> float:
    """Variance of the Laplacian over the variance, in the middle of a view (H, W, 3); 0 for a uniform one."""
    height, width = view.shape[:2]
    middle = view[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    grey = cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / max(grey.var(), 1.0))
