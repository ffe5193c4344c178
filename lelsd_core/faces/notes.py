"""What a person should know about a face that can be used, but not well: small, blurred, cut off, from the side."""

from __future__ import annotations

import cv2
import numpy as np

from lelsd_core.faces.frame import magnification
from lelsd_core.faces.photo import Photo

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
