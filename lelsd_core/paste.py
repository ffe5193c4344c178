"""Pastes an edited face back into its photo, with the photo's detail, which the inversion lacks.

    detail:   photo + warp(mask · (edit − inversion)) + changed · (detail' − detail)
              detail = photo − warp(inversion),   detail' = kept · detail(x + flow) + (1 − kept) · its mean near by
    change:   photo + warp(mask · (edit − inversion))
    replace:  photo + warp(mask) · (warp(edit) − photo)

Adding the change alone leaves ghosts where a shape moves: old teeth show through a mouth that has been closed. So the
detail travels with the shapes, by the optical flow from the edit back to the inversion, and it fades where what it
belonged to is gone: `kept` falls where the structure of the edit is not that of the moved inversion, whatever their
brightness and contrast. Edits of colour and light keep it all. Where nothing changes, the photo stays bit for bit;
replacing shows the generator's own picture. The masks fade out towards the edge of the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from PIL import Image

BORDER = 0.08  # share of the frame's width over which a mask fades out
SMOOTH = 512  # pixels to which small pictures are enlarged with cubic interpolation before they are warped
SIDE = 256  # pixels of the pictures whose flow is found
CHANGED = 8.0  # levels of 255 by which a pixel changes where its detail moves or fades in full
WINDOW = 1 / 40  # standard deviation of the window in which structure is compared, in shares of the frame
STRUCTURE = 30.0  # variance, in levels squared, of what counts as structure
KEPT = (0.5, 0.85)  # likeness of structure up to which detail is gone, and from which on it is kept
CALM = 1 / 64  # standard deviation that smooths the flow, in shares of the frame
NEAR = 1 / 16  # the same for the mean of the detail near by
SMALL = 64  # pixels of that mean
OVAL = (0.5, 0.54, 0.36, 0.46)  # centre (x, y) and half-axes of a typical face, in shares of the frame


def paste_detail(
    photo: Image.Image, before: Image.Image, after: Image.Image, matrix: np.ndarray, mask: np.ndarray | None = None
) -> Image.Image:
    """The photo with the change added, and its detail moved along; arguments as for `paste_change`."""
    box = frame_box(photo.size, matrix, after.width)
    if box is None:
        return photo.copy()
    first, second = (np.asarray(picture, dtype=np.float32) for picture in (before, after))
    weight, scale = feather(len(first)) * (1 if mask is None else sized(mask, len(first))), SIDE / len(first)
    flow, kept, changed = movement(first, second)
    flow = np.float32(flow @ np.linalg.inv(matrix[:, :2] * scale).T)  # in pixels of the photo
    fields = np.dstack([flow, 1 - kept, changed * sized(weight, SIDE)[..., 0]])
    flow, gone, changed = np.split(warped(fields, matrix * scale, box), (2, 3), 2)
    pixels, inside = np.float32(photo.crop(box)), warped(np.ones_like(first), matrix, box)[..., :1] > 0.5
    detail = pixels - warped(first, matrix, box)
    height, width = detail.shape[:2]
    moved = cv2.remap(detail, grid(height, width) + flow, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    gone = gone.clip(0, 1)
    moved += gone * (mean_near(moved, (1 - gone) ** 2 * inside) - moved)
    change = warped((second - first) * weight, matrix, box)
    return with_box(photo, box, pixels + change + changed.clip(0, 1) * (moved - detail))


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


PASTE: Mapping[str, Callable[..., Image.Image]] = {
    "detail": paste_detail,
    "change": paste_change,
    "replace": paste_face,
}
USUAL = "detail"


def movement(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How the shapes of a picture moved.

    Args:
        before, after: the picture and its edit (R, R, 3), 0 to 255.

    Returns:
        flow (S, S, 2): for each pixel of the edit, how far away it was before, (x, y) in pixels of S = `SIDE`; kept
        (S, S) in [0, 1]: 1 where its structure was there; changed (S, S) in [0, 1]: 0 where nothing changes.
    """
    reach = max(3, len(before) // 16 | 1)
    change = cv2.blur(np.abs(after - before).max(2), (reach, reach))
    change = cv2.erode(change, np.ones((reach // 2 | 1, reach // 2 | 1)))
    change = cv2.resize(smooth(change / CHANGED), (SIDE, SIDE)).clip(0, 1)
    old, new = (cv2.cvtColor(resized(picture, SIDE), cv2.COLOR_RGB2GRAY) for picture in (before, after))
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = blurred(finder.calc(even(new), even(old), None), CALM * SIDE) * change[..., None]
    moved = cv2.remap(old, grid(SIDE, SIDE) + flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    low, high = KEPT
    return flow, smooth((alike(new, moved) - low) / (high - low)), change


def alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Likeness (S, S) in [0, 1] of the structure of two grey pictures, whatever their brightness and contrast.

    It is the share of their variance in a window that one explains of the other; 1 where there is no structure.
    """
    means = [blurred(each, WINDOW * SIDE) for each in (first, second)]
    pairs = ((first, first, 0, 0), (second, second, 1, 1), (first, second, 0, 1))
    one, two, both = (blurred(a * b, WINDOW * SIDE) - means[i] * means[j] for a, b, i, j in pairs)
    one, two = np.maximum(one, 0), np.maximum(two, 0)
    explained = np.minimum(both * both / (one * two + 1e-3), 1)
    return 1 - (1 - explained) * (one + two) / (one + two + STRUCTURE)


def even(grey: np.ndarray) -> np.ndarray:
    """A grey picture with the same brightness and contrast everywhere, uint8: what the flow is found in."""
    mean = blurred(grey, SIDE / 16)
    contrast = np.sqrt(blurred((grey - mean) ** 2, SIDE / 16) + 25)
    return (128 + 40 * (grey - mean) / contrast).clip(0, 255).astype(np.uint8)


def mean_near(detail: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean (H, W, 3) of the detail around each pixel, where it has weight (H, W, 1)."""
    weighted = np.float32(np.dstack([detail * weight, weight + 1e-4]))
    small = blurred(cv2.resize(weighted, (SMALL, SMALL), interpolation=cv2.INTER_AREA), NEAR * SMALL)
    return cv2.resize(small[..., :3] / small[..., 3:].clip(1e-6), detail.shape[1::-1])


def grid(height: int, width: int) -> np.ndarray:
    """(height, width, 2) float32: the place (x, y) of each pixel."""
    return np.float32(np.dstack(np.meshgrid(np.arange(width), np.arange(height))))


def blurred(picture: np.ndarray, deviation: float) -> np.ndarray:
    """A picture behind a Gaussian filter."""
    return cv2.GaussianBlur(picture, (0, 0), deviation)


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture (R, R, 3) at another size, its values limited to 0 to 255."""
    interpolation = cv2.INTER_AREA if len(picture) > side else cv2.INTER_CUBIC
    return cv2.resize(picture, (side, side), interpolation=interpolation).clip(0, 255)


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
