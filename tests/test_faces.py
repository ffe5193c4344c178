"""Finding and aligning faces in real photos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from lelsd_core import faces
from lelsd_core.errors import UserError
from lelsd_core.faces import Photo, cascade, distinct, similarity, unproject

EYES = np.array([(203.4, 101.0), (246.6, 103.5)])  # irises of the astronaut, read off the photo by hand


def eyes_in_frame(editor, face) -> np.ndarray:
    """Where the astronaut's eyes are in the aligned picture."""
    return EYES @ face.matrix[:, :2].T + face.matrix[:, 2]


def test_opencv_brings_its_cascade():
    assert not cascade().empty()


def test_a_missing_cascade_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(faces.cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(UserError, match=r"brings no haarcascade_frontalface_alt2\.xml; install opencv"):
        cascade.__wrapped__()


def test_the_astronaut_is_found_and_her_eyes_come_to_the_frames_points(editor, astronaut):
    face = editor.aligner.align(astronaut)
    assert (face.faces, face.aligned_before) == (1, False)
    assert face.picture.shape == (1, 3, 64, 64)
    assert face.photo.size == (512, 512)
    wanted = np.array(editor.aligner.frame.points[:2])
    assert np.abs(eyes_in_frame(editor, face) - wanted).max() < 3


@pytest.mark.parametrize("angle", [-35, 20])
def test_a_tilted_head_is_put_upright(editor, astronaut, angle):
    tilted = astronaut.rotate(angle, Image.Resampling.BICUBIC, fillcolor=(127, 127, 127))
    straight, face = editor.aligner.align(astronaut), editor.aligner.align(tilted)
    assert float((straight.picture - face.picture).abs().mean()) < 0.15
    turn = np.degrees(np.arctan2(face.matrix[1, 0], face.matrix[0, 0]))
    upright = np.degrees(np.arctan2(straight.matrix[1, 0], straight.matrix[0, 0]))
    assert abs(turn - upright - angle) < 6


def test_two_faces_are_told_and_the_larger_one_is_taken(editor, astronaut):
    head = astronaut.crop((100, 0, 340, 240))
    both = Image.new("RGB", (700, 300), (120, 120, 120))
    both.paste(head.resize((150, 150)), (40, 80))
    both.paste(head.resize((280, 280)), (380, 10))
    face = editor.aligner.align(both)
    assert face.faces == 2
    middle = unproject(face.matrix, np.array([[32.0, 32.0]]))[0]
    assert middle[0] > 380


def test_a_picture_without_a_face_is_told(editor):
    hills = np.linspace(40, 200, 256).astype(np.uint8)[:, None, None].repeat(256, 1).repeat(3, 2)
    with pytest.raises(UserError, match="No face was found in this picture"):
        editor.aligner.align(Image.fromarray(hills))


def test_a_picture_of_the_frame_is_used_as_it_is(editor):
    aligned = editor.random_face(45).original.resize((256, 256), Image.Resampling.BICUBIC)
    face = editor.aligner.align(aligned)
    assert face.aligned_before
    assert face.matrix.tolist() == [[0.25, 0, 0], [0, 0.25, 0]]


def test_a_similarity_is_recovered_from_its_points():
    angle, scale = 0.3, 1.7
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.random.default_rng(0).normal(size=(4, 2))
    found = similarity(points, points @ linear.T + [3, -2])
    np.testing.assert_allclose(found, np.column_stack([linear, [3, -2]]), atol=1e-9)
    np.testing.assert_allclose(unproject(found, points @ linear.T + [3, -2]), points, atol=1e-9)


def test_a_frame_that_is_a_plain_resize_shows_the_area_mean():
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    frame = Photo(pixels).to_frame(np.array([[0.25, 0, 0], [0, 0.25, 0]]), 64)
    expected = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32) / 127.5 - 1
    assert np.abs(frame[0].permute(1, 2, 0).numpy() - expected).mean() < 0.02


def test_boxes_that_led_to_the_same_face_count_once():
    here, nearly, there = (np.array([[1.0, 0, -x], [0, 1.0, 0]]) for x in (0, 3, 300))
    assert len(distinct([here, nearly, there], 64)) == 2
