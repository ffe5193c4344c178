"""Pastes an edited face back into its photo: either the change is added, or the face is replaced.

    change:   photo + warp(mask · (edit − inversion))
    replace:  photo + warp(mask) · (warp(edit) − photo)

Adding the change keeps the photo's detail, and no change returns the photo bit for bit; replacing shows the
generator's own picture. The masks fade out towards the edge of the frame, and nothing outside the frame changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from PIL import Image

BORDER = 0.08  # share of the frame's width over which a mask fades out
SMOOTH = 512  # pixels to which small pictures are enlarged with cubic interpolation before they are warped
OVAL = (0.5, 0.54, 0.36, 0.46)  # centre (x, y) and half-axes of a typical face, in shares of the frame


def paste_change(
    photo: Image.Image, before: Image.Image, after: Image.Image, matrix: np.ndarray, mask: np.ndarray | None = None
) -> Image.Image:
    """The photo with the change from `before` to `after` added.

    Args:
        photo: RGB.
        before, after: the inversion and its edit, RGB at the generator's resolution.
        matrix: (2, 3), photo pixels -> frame pixels, both measured from pixel edges.
        mask: (h, w) in [0, 1] over the frame, 1 where to paste; None = the whole frame.

    Returns:
        RGB, the photo's size.
    """
    box = frame_box(photo.size, matrix, after.width)
    if box is None:
        return photo.copy()
    change = np.asarray(after, dtype=np.float32) - np.asarray(before, dtype=np.float32)
    weight = feather(len(change)) if mask is None else feather(len(change)) * sized(mask, len(change))
    return with_box(photo, box, np.float32(photo.crop(box)) + warped(change * weight, matrix, box))


def paste_face(
    photo: Image.Image, before: Image.Image, after: Image.Image, matrix: np.ndarray, mask: np.ndarray | None = None
) -> Image.Image:
    """The photo with the face replaced by the generator's; arguments as for `paste_change`, without a mask an oval.

    Colours are matched by the mean difference between the photo and the inversion, so that edits of colour stay.
    """
    box = frame_box(photo.size, matrix, after.width)
    if box is None:
        return photo.copy()
    size = after.width
    inside = feather(size) * (oval(size) if mask is None else sized(mask, size))
    weight = warped(np.repeat(inside, 3, 2), matrix, box).clip(0, 1)
    pixels = np.float32(photo.crop(box))
    model, edited = (warped(np.float32(picture), matrix, box) for picture in (before, after))
    difference = (weight * (pixels - model)).sum((0, 1)) / weight.sum((0, 1)).clip(1e-6)
    return with_box(photo, box, pixels + weight * (edited + difference - pixels))


PASTE: Mapping[str, Callable[..., Image.Image]] = {"change": paste_change, "replace": paste_face}


def frame_box(size: tuple[int, int], matrix: np.ndarray, frame: int) -> tuple[int, int, int, int] | None:
    """Bounding box (left, top, right, bottom) of the frame in a photo of `size`; None if they do not overlap."""
    corners = np.array([(0, 0), (frame, 0), (0, frame), (frame, frame)], dtype=float)
    places = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    left, top = np.maximum(np.floor(places.min(0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(places.max(0)), size).astype(int)
    return (int(left), int(top), int(right), int(bottom)) if left < right and top < bottom else None


def warped(picture: np.ndarray, matrix: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Resample a picture (R, R, 3) of the frame to a box of the photo (H, W, 3); 0 outside the frame."""
    left, top, right, bottom = box
    across = len(picture) / np.sqrt(abs(np.linalg.det(matrix[:, :2])))  # the frame's width in the photo
    larger = across >= len(picture)
    side = max(len(picture), SMOOTH) if larger else max(1, round(across))
    fine = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC if larger else cv2.INTER_AREA)
    linear, shift = matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ (left, top)
    back = np.column_stack([linear, shift]) * (side / len(picture))
    centred = np.column_stack([back[:, :2], back[:, 2] + 0.5 * back[:, :2].sum(1) - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(fine, centred, (right - left, bottom - top), flags=flags, borderMode=cv2.BORDER_CONSTANT)


def with_box(photo: Image.Image, box: tuple[int, int, int, int], pixels: np.ndarray) -> Image.Image:
    """A copy of the photo with pixels (H, W, 3), 0 to 255, in a box."""
    result = photo.copy()
    result.paste(Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)), box[:2])
    return result


def sized(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask (h, w), resized to (size, size, 1)."""
    interpolation = cv2.INTER_AREA if len(mask) > size else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.float32), (size, size), interpolation=interpolation)[..., None]


def oval(size: int) -> np.ndarray:
    """Mask (size, size, 1) of a typical face: 1 inside the oval, falling smoothly to 0 outside."""
    x, y, half_width, half_height = OVAL
    places = (np.arange(size) + 0.5) / size
    distance = np.hypot.outer((places - y) / half_height, (places - x) / half_width)
    return smooth((1 - distance) / BORDER / 2)[..., None]


def feather(size: int) -> np.ndarray:
    """Mask (size, size, 1): 1 inside the frame, falling smoothly to 0 at its edge."""
    ramp = smooth((np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5) / (BORDER * size))
    return np.minimum.outer(ramp, ramp)[..., None]


def smooth(x: np.ndarray) -> np.ndarray:
    """Smoothstep: 0 below 0, 1 above 1, and a cubic in between."""
    ramp = np.clip(x, 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
