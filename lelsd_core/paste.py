"""Put an edit back into a photo by adding what changed, so that the photo keeps its own detail.

    photo + feather · warp(enlarged(edit − inversion))

No change gives the photo back bit for bit, and nothing outside the frame is touched.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

BORDER = 0.08  # of the frame's width: the change fades out towards its edge
ENLARGE = 8  # the change is enlarged smoothly before it is warped


def paste_change(photo: Image.Image, before: Image.Image, after: Image.Image, matrix: np.ndarray) -> Image.Image:
    """The photo with the change from `before` to `after` added.

    Args:
        photo: RGB.
        before, after: the inversion and its edit, RGB at model size.
        matrix: (2, 3), photo pixels -> frame pixels, both measured from pixel edges.

    Returns:
        RGB, the photo's size.
    """
    change = np.asarray(after, dtype=np.float32) - np.asarray(before, dtype=np.float32)
    side = change.shape[0] * ENLARGE
    fine = cv2.resize(change * feather(change.shape[0]), (side, side), interpolation=cv2.INTER_CUBIC)
    back = matrix * ENLARGE
    centred = np.column_stack([back[:, :2], back[:, 2] + 0.5 * back[:, :2].sum(1) - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(fine, centred, photo.size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    pixels = np.asarray(photo).astype(np.float32) + warped
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def feather(size: int) -> np.ndarray:
    """(size, size, 1): 1 inside, falling smoothly to 0 at the edge."""
    distance = (np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5) / (BORDER * size)
    ramp = np.clip(distance, 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return np.minimum.outer(ramp, ramp)[..., None].astype(np.float32)
