"""Putting an edit back: nothing moves that was not edited, and change lands where it belongs."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lelsd_core.paste import paste_change

PHOTO = Image.fromarray(np.random.default_rng(0).integers(60, 200, (200, 300, 3), dtype=np.uint8))
FACE = Image.fromarray(np.random.default_rng(1).integers(60, 200, (64, 64, 3), dtype=np.uint8))
INTO_FRAME = np.array([[0.64, 0.0, -64.0], [0.0, 0.64, -32.0]])  # the frame covers photo x 100-200, y 50-150


def brighter(spot: tuple[slice, slice]) -> Image.Image:
    """The face, 40 grey levels brighter in one spot."""
    pixels = np.asarray(FACE).copy()
    pixels[spot] += 40
    return Image.fromarray(pixels)


def test_no_change_gives_the_photo_back_bit_for_bit():
    assert (np.asarray(paste_change(PHOTO, FACE, FACE, INTO_FRAME)) == np.asarray(PHOTO)).all()


def test_change_lands_at_its_place_in_the_photo():
    pasted = paste_change(PHOTO, FACE, brighter((slice(30, 34), slice(44, 48))), INTO_FRAME)
    change = np.asarray(pasted).astype(int) - np.asarray(PHOTO)
    weight = change.mean(2).clip(0)
    y, x = (float((weight.sum(axis) * np.arange(size)).sum() / weight.sum()) for axis, size in ((1, 200), (0, 300)))
    assert abs(x + 0.5 - (100 + 46 / 0.64)) < 1
    assert abs(y + 0.5 - (50 + 32 / 0.64)) < 1
    assert 36 <= change.max() <= 48


def test_nothing_outside_the_frame_is_touched():
    everything = Image.fromarray(255 - np.asarray(FACE))
    pasted = np.asarray(paste_change(PHOTO, FACE, everything, INTO_FRAME))
    outside = np.ones((200, 300), bool)
    outside[49:151, 99:201] = False
    assert (pasted[outside] == np.asarray(PHOTO)[outside]).all()
    assert (pasted[~outside] != np.asarray(PHOTO)[~outside]).mean() > 0.5


def test_the_edge_of_the_frame_shows_no_seam():
    grey = Image.new("RGB", (64, 64), (100, 100, 100))
    pasted = paste_change(Image.new("RGB", (300, 200), (100, 100, 100)), grey, Image.new("RGB", (64, 64)), INTO_FRAME)
    assert np.abs(np.diff(np.asarray(pasted)[100, :, 0].astype(int))).max() <= 25
