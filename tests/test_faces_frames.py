"""Frames: five points or a photo's size to the matrix into a generator's picture, with answers known by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lelsd_core.faces import FaceAligner, FfhqFrame, Frame, Nudge, SquareFrame
from lelsd_core.faces.frame import project, similarity, unproject
from lelsd_core.faces.photo import Photo

FRONTAL = np.array([(40.0, 60), (80, 60), (60, 80), (48, 104), (72, 104)])  # eyes 40 apart, mouth 44 below them
FRAMES = [FfhqFrame(256), Frame(64, ((22.0, 30), (42, 30), (32, 42), (24, 52), (40, 52)))]
shifts = st.floats(-500, 500)


def turned(points: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """Points turned by degrees, scaled and moved."""
    cos, sin = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    return points @ np.array([[cos, sin], [-sin, cos]]) + shift


def test_ffhqs_crop_of_a_face_that_is_worked_out_by_hand():
    # Across 40, down 44: their mean direction is level; half the width is max(2 * 40, 1.8 * 44) = 80; the middle is
    # a tenth of the way from the eyes (60, 60) to the mouth (60, 104).
    matrix = FfhqFrame(256).matrix(FRONTAL)
    np.testing.assert_allclose(
        project(matrix, np.array([(60, 64.4), (-20, -15.6), (140, 144.4)])), [[128, 128], [0, 0], [256, 256]], atol=1e-9
    )
    tall = FRONTAL + np.array([(0, 0), (0, 0), (0, 0), (0, 6), (0, 6)])  # mouth 50 below: 1.8 * 50 = 90 is more than 80
    assert FfhqFrame(1024).matrix(tall)[0, 0] == pytest.approx(1024 / 180)


def test_ffhqs_crop_of_a_slanted_face_turns_half_way_between_eyes_and_mouth():
    points = np.array(
        [(40.0, 60), (80, 60), (60, 80), (60, 100), (100, 100)]
    )  # the mouth lies 20 to the right, 40 below
    matrix = FfhqFrame(256).matrix(points)
    axis = np.array([40 + 40, 0 - 20])  # eyes (40, 0) and the mouth's (20, 40), turned by a quarter to (40, -20)
    half = 1.8 * np.hypot(20, 40)
    right = project(matrix, np.array([62.0, 64]) + half * axis / np.hypot(*axis))
    np.testing.assert_allclose(right, [256, 128])


def test_a_face_of_ffhq_lies_where_its_frame_says():
    frame = FfhqFrame(512)
    np.testing.assert_allclose(
        project(frame.matrix(np.array(frame.points)), np.array(frame.points)), frame.points, atol=6
    )


@pytest.mark.parametrize("frame", FRAMES, ids=lambda f: type(f).__name__)
@given(angle=st.floats(-180, 180), scale=st.floats(0.2, 5), x=shifts, y=shifts)
def test_a_frame_follows_its_face(frame, angle, scale, x, y):
    moved = turned(FRONTAL, angle, scale, (x, y))
    straight = project(frame.matrix(FRONTAL), FRONTAL)
    np.testing.assert_allclose(project(frame.matrix(moved), moved), straight, atol=1e-6 * frame.size)


@given(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(0.5, 2), st.floats(-90, 90))
def test_a_nudge_moves_scales_and_turns_about_the_middle(right, down, scale, turn):
    matrix = FfhqFrame(64).matrix(FRONTAL)
    centre = unproject(matrix, np.array([[32.0, 32.0]]))
    nudged = Nudge(right, down, scale, turn).on(matrix, 64)
    np.testing.assert_allclose(project(nudged, centre), [[32 + 64 * right, 32 + 64 * down]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(nudged[:, :2]), np.linalg.det(matrix[:, :2]) * scale**2)
    was, now = (np.degrees(np.arctan2(m[1, 0], m[0, 0])) for m in (matrix, nudged))
    assert (now - was - turn + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


def test_no_nudge_changes_nothing():
    matrix = FfhqFrame(64).matrix(FRONTAL)
    np.testing.assert_allclose(Nudge().on(matrix, 64), matrix)


def test_pictures_without_faces_take_the_middle_of_the_photo():
    assert SquareFrame(256).middle(400, 800).tolist() == [[0.64, 0, 0], [0, 0.64, -128]]
    assert SquareFrame(256).middle(512, 512).tolist() == [[0.5, 0, 0], [0, 0.5, 0]]
    assert SquareFrame(256, 192).middle(512, 384).tolist() == [[0.5, 0, 0], [0, 0.5, 32]]


def test_a_car_needs_no_face_and_lies_between_black_bands():
    photo = Image.fromarray(np.full((300, 500, 3), (200, 30, 60), np.uint8))
    aligner = FaceAligner(SquareFrame(256, 192), landmarks=None, detector=None)
    car = aligner.cut(photo, *aligner.find(photo))
    rows = car.picture[0, 0, :, 128]
    assert (rows[:32] == -1).all()
    assert (rows[32:224] > 0.5).all()
    assert (rows[224:] == -1).all()
    assert np.asarray(car.photo)[63].max() == 0 < np.asarray(car.photo)[64].max()
    assert (car.candidate.faces, car.candidate.notes, car.candidate.aligned_before) == (1, (), False)


def test_a_similarity_is_recovered_from_its_points():
    points = np.random.default_rng(0).normal(size=(4, 2))
    found = similarity(points, turned(points, 17.0, 1.7, (3, -2)))
    np.testing.assert_allclose(project(found, points), turned(points, 17.0, 1.7, (3, -2)), atol=1e-9)
    np.testing.assert_allclose(unproject(found, project(found, points)), points, atol=1e-9)


def test_a_frame_that_is_a_plain_resize_shows_the_area_mean():
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    view = Photo(pixels).view(np.array([[0.25, 0, 0], [0, 0.25, 0]]), 64)
    expected = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    assert np.abs(view - expected).mean() < 0.02 * 127.5


@pytest.mark.parametrize("side", [1023, 1024])
def test_halvings_of_any_size_keep_every_place(side):
    ramp = np.repeat(np.arange(side, dtype=np.float32)[None] + 0.5, side, 0)[..., None].repeat(3, 2)
    view = Photo(ramp).warp(np.array([[1 / 8, 0, 0], [0, 1 / 8, 0]]), (120, 120))
    assert np.abs(view[60, :, 0] - 8 * (np.arange(120) + 0.5)).max() < 0.05
