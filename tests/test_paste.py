"""Putting an edit back: nothing moves that was not edited, and what is pasted lands where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lelsd_core.errors import UserError
from lelsd_core.paste import PASTE, paste_change, paste_detail, paste_face

PHOTO = Image.fromarray(np.random.default_rng(0).integers(60, 200, (200, 300, 3), dtype=np.uint8))
FACE = Image.fromarray(np.random.default_rng(1).integers(60, 200, (64, 64, 3), dtype=np.uint8))
INTO_FRAME = np.array([[0.64, 0.0, -64.0], [0.0, 0.64, -32.0]])  # the frame covers photo x 100-200, y 50-150


def brighter(spot: tuple[slice, slice]) -> Image.Image:
    """The face, 40 grey levels brighter in one spot."""
    pixels = np.asarray(FACE).copy()
    pixels[spot] += 40
    return Image.fromarray(pixels)


@pytest.mark.parametrize("paste", [paste_detail, paste_change])
def test_no_change_gives_the_photo_back_bit_for_bit(paste):
    assert (np.asarray(paste(PHOTO, FACE, FACE, INTO_FRAME)) == np.asarray(PHOTO)).all()


WHOLE = np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])  # a photo of 256 pixels that is the frame of 128
LEFT, RIGHT = (100, 128), (140, 128)  # places (x, y) in the photo


def scene(place: tuple[int, int], size: int, *, dots: bool) -> Image.Image:
    """A bright disc on a dark ground at a place of the photo, with dots in it where detail is wanted; size × size."""
    y, x = np.mgrid[:256, :256] - np.array(place[::-1])[:, None, None]
    inside = np.clip((26 - np.hypot(x, y)) / 4 + 0.5, 0, 1)
    spots = 30 * np.sign(np.sin(x * 1.1) * np.sin(y * 1.3)) * (np.hypot(x, y) < 18) if dots else 0
    pixels = np.repeat((70 + 90 * inside + spots)[..., None], 3, 2).astype(np.uint8)
    return Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX)


def detail_at(picture: Image.Image, place: tuple[int, int]) -> float:
    """Standard deviation of the pixels around a place."""
    x, y = place
    return float(np.asarray(picture.crop((x - 12, y - 12, x + 12, y + 12)), dtype=float).std())


def test_detail_travels_with_the_shape_that_it_belongs_to_and_leaves_no_ghost():
    photo, before, after = scene(LEFT, 256, dots=True), scene(LEFT, 128, dots=False), scene(RIGHT, 128, dots=False)
    moved, ghost = (paste(photo, before, after, WHOLE) for paste in (paste_detail, paste_change))
    assert detail_at(photo, LEFT) > 20
    assert detail_at(moved, RIGHT) > 0.6 * detail_at(photo, LEFT), "it came along"
    assert detail_at(ghost, RIGHT) < 0.5 * detail_at(photo, LEFT)
    assert detail_at(ghost, (LEFT[0] - 8, LEFT[1])) > 15, "the old dots show"
    assert detail_at(moved, (LEFT[0] - 8, LEFT[1])) < 10


def test_detail_of_what_is_gone_fades():
    photo, before, after = (scene(LEFT, size, dots=size == 256) for size in (256, 128, 128))
    empty = Image.new("RGB", (128, 128), (70, 70, 70))
    gone, ghost = (paste(photo, before, empty, WHOLE) for paste in (paste_detail, paste_change))
    assert detail_at(ghost, LEFT) > 20
    assert detail_at(gone, LEFT) < 0.4 * detail_at(ghost, LEFT)
    kept = paste_detail(photo, before, after, WHOLE)
    assert (np.asarray(kept) == np.asarray(photo)).all()


def test_no_outline_stays_of_what_is_gone():
    """Of a head whose outline the inversion does not meet exactly, by less than two of its pixels."""
    y, x = np.mgrid[:256, :256] - 128
    photo, outline = (Image.fromarray(np.uint8(60 + 120 * (np.hypot(x, y) > r))).convert("RGB") for r in (73, 70))
    before, empty = outline.resize((128, 128), Image.Resampling.BOX), Image.new("RGB", (128, 128), (180, 180, 180))
    gone, ghost = (np.asarray(paste(photo, before, empty, WHOLE), float) for paste in (paste_detail, paste_change))
    ring = abs(np.hypot(x, y) - 72) < 6
    left, usual = (180 - pasted[ring].min() for pasted in (gone, ghost))
    assert usual > 60
    assert left < 0.35 * usual


def test_light_and_colour_keep_all_detail():
    photo, before = scene(LEFT, 256, dots=True), scene(LEFT, 128, dots=False)
    for change in (lambda p: p * 1.2, lambda p: p + np.array([20, 0, -20]), lambda p: p * 0.7 + 30):
        after = Image.fromarray(change(np.asarray(before, dtype=float)).clip(0, 255).astype(np.uint8))
        pasted = [paste(photo, before, after, WHOLE) for paste in (paste_detail, paste_change)]
        kept, plain = (np.asarray(picture, dtype=float) for picture in pasted)
        assert np.abs(kept - plain).mean() < 1


def test_the_photo_stays_bit_for_bit_where_nothing_changes():
    photo, before, after = scene(LEFT, 256, dots=True), scene(LEFT, 128, dots=False), scene(RIGHT, 128, dots=False)
    pasted = np.asarray(paste_detail(photo, before, after, WHOLE))
    far = np.ones((256, 256), bool)
    far[80:176, 50:190] = False
    assert (pasted[far] == np.asarray(photo)[far]).all()


def test_change_lands_at_its_place_in_the_photo():
    pasted = paste_change(PHOTO, FACE, brighter((slice(30, 34), slice(44, 48))), INTO_FRAME)
    change = np.asarray(pasted).astype(int) - np.asarray(PHOTO)
    weight = change.mean(2).clip(0)
    y, x = (float((weight.sum(axis) * np.arange(size)).sum() / weight.sum()) for axis, size in ((1, 200), (0, 300)))
    assert abs(x + 0.5 - (100 + 46 / 0.64)) < 1
    assert abs(y + 0.5 - (50 + 32 / 0.64)) < 1
    assert 36 <= change.max() <= 48


@pytest.mark.parametrize("paste", [paste_detail, paste_change])
def test_nothing_outside_the_frame_is_touched(paste):
    everything = Image.fromarray(255 - np.asarray(FACE))
    pasted = np.asarray(paste(PHOTO, FACE, everything, INTO_FRAME))
    outside = np.ones((200, 300), bool)
    outside[49:151, 99:201] = False
    assert (pasted[outside] == np.asarray(PHOTO)[outside]).all()
    assert (pasted[~outside] != np.asarray(PHOTO)[~outside]).mean() > 0.5


def test_the_edge_of_the_frame_shows_no_seam():
    grey = Image.new("RGB", (64, 64), (100, 100, 100))
    pasted = paste_change(Image.new("RGB", (300, 200), (100, 100, 100)), grey, Image.new("RGB", (64, 64)), INTO_FRAME)
    assert np.abs(np.diff(np.asarray(pasted)[100, :, 0].astype(int))).max() <= 25


@st.composite
def frames(draw) -> np.ndarray:
    """Photo pixels -> frame pixels: any size, turn and place, also partly or wholly beside the photo."""
    scale, turn = draw(st.floats(0.1, 8)), draw(st.floats(-180, 180))
    centre = np.array([draw(st.floats(-100, 400)), draw(st.floats(-100, 300))])
    cos, sin = scale * np.cos(np.radians(turn)), scale * np.sin(np.radians(turn))
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, 32 - linear @ centre])


def in_frame(matrix: np.ndarray) -> np.ndarray:
    """True where a pixel of the photo lies in the frame, or within a pixel of it."""
    y, x = np.mgrid[:200, :300] + 0.5
    places = np.stack([x, y], 2) @ matrix[:, :2].T + matrix[:, 2]
    slack = max(1.0, np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    return ((places > -slack) & (places < 64 + slack)).all(2)


@given(frames(), st.sampled_from(sorted(PASTE)))
def test_for_any_frame_nothing_outside_it_changes(matrix, how):
    pasted = np.asarray(PASTE[how](PHOTO, FACE, Image.fromarray(255 - np.asarray(FACE)), matrix))
    assert pasted.shape == (200, 300, 3)
    outside = ~in_frame(matrix)
    assert (pasted[outside] == np.asarray(PHOTO)[outside]).all()


@given(frames())
def test_for_any_frame_no_change_is_the_photo_bit_for_bit(matrix):
    for paste in (paste_detail, paste_change):
        assert (np.asarray(paste(PHOTO, FACE, FACE, matrix)) == np.asarray(PHOTO)).all()


@given(frames())
def test_two_halves_of_a_change_add_up(matrix):
    before, after = FACE, brighter((slice(10, 50), slice(20, 40)))
    middle = Image.fromarray(((np.asarray(before).astype(int) + np.asarray(after)) // 2).astype(np.uint8))
    once = paste_change(PHOTO, before, after, matrix)
    twice = paste_change(paste_change(PHOTO, before, middle, matrix), middle, after, matrix)
    assert np.abs(np.asarray(once).astype(int) - np.asarray(twice)).max() <= 1


def test_a_frame_with_more_pixels_than_its_place_in_the_photo_is_averaged():
    stripes = np.asarray(FACE).copy()
    stripes[:, ::2] += 40
    stripes[:, 1::2] -= 40
    small = INTO_FRAME * 6  # ~ 17 pixels of the photo for 64 of the frame
    change = np.asarray(paste_change(PHOTO, FACE, Image.fromarray(stripes), small)).astype(int) - np.asarray(PHOTO)
    assert np.abs(change).max() <= 6


def grey(level: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """One grey."""
    return Image.new("RGB", size, (level, level, level))


def test_a_replaced_face_has_the_photos_colours_and_the_edit():
    edited = np.asarray(grey(90)).copy()
    edited[28:36, 28:36] = 130
    pasted = np.asarray(paste_face(grey(100, (300, 200)), grey(90), Image.fromarray(edited), INTO_FRAME))
    assert (pasted[100, 150] == 140).all(), "40 brighter than the face around it, as the model painted it"
    assert np.abs(pasted[80, 130].astype(int) - 100).max() <= 1, "the photo's 100, not the model's 90"


def test_a_replaced_face_is_the_models_in_the_mask_and_the_photos_around_it():
    mask = np.zeros((32, 32))
    mask[:, :16] = 1
    inside, outside = (slice(70, 130), slice(115, 140)), (slice(70, 130), slice(155, 190))
    pasted = np.asarray(paste_face(PHOTO, grey(90), grey(90), INTO_FRAME, mask))
    assert (pasted[outside] == np.asarray(PHOTO)[outside]).all()
    assert pasted[inside].std(axis=(0, 1)).max() < 1, "nothing of the photo shows through"


def test_without_a_mask_an_oval_is_replaced():
    pasted = np.asarray(paste_face(PHOTO, FACE, FACE, INTO_FRAME))
    changed = (pasted != np.asarray(PHOTO)).any(2)
    assert changed[104, 150]
    assert changed[65, 150]
    assert not changed[58:62, 108:112].any(), "the frame's corner"


def test_the_editor_replaces_the_face_and_leaves_the_background(editor, astronaut):
    session = editor.open(astronaut, steps=5)
    amounts = {"mouth": 4.0}
    edited = editor.render(session, amounts)
    added, replaced = (
        np.asarray(editor.paste(session, astronaut, edited, amounts, how=how)).astype(int)
        for how in ("change", "replace")
    )
    before = np.asarray(astronaut).astype(int)
    x, y = np.linalg.solve(session.matrix[:, :2], np.array([32, 36]) - session.matrix[:, 2]).round().astype(int)
    between_the_eyes = (slice(y - 8, y + 8), slice(x - 8, x + 8))
    assert np.abs(replaced - before)[between_the_eyes].mean() > 2 * np.abs(added - before)[between_the_eyes].mean()
    x, y = np.linalg.solve(session.matrix[:, :2], np.array([4, 50]) - session.matrix[:, 2]).round().astype(int)
    assert np.abs(replaced - before)[y, x].max() <= 5, "beside the face"


def test_an_unknown_way_to_paste_raises(editor, astronaut):
    session = editor.random_face(1)
    with pytest.raises(UserError, match=r"'replase'.* replace"):
        editor.paste(session, astronaut, session.original, {}, how="replase")
