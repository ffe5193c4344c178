"""Detectors: YuNet's numbers are read rightly, the way that needs no download is as exact as promised."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from lelsd_core.errors import UserError
from lelsd_core.faces import Detection, YuNet, detect
from lelsd_core.faces.detect import (
    MESH_FRAME,
    disagreement,
    distinct,
    first_view,
    read_upright,
    rotated,
    shows_profile,
)
from lelsd_core.faces.frame import project
from lelsd_core.faces.photo import Photo
from lelsd_core.images import to_uint8

TRUTH = json.loads((Path(__file__).parent / "data" / "points.json").read_text(encoding="utf-8"))
POINTS = np.array([(30.0, 40), (70, 42), (50, 60), (35, 80), (66, 81)])


class FakeNetwork:
    """Stands in for `cv2.FaceDetectorYN`: sees faces only in pictures of the given longest side."""

    def __init__(self, side: int, rows: np.ndarray | None) -> None:
        self.side, self.rows, self.asked = side, rows, []

    def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802, OpenCV's name
        self.asked.append(size)

    def detect(self, pixels: np.ndarray) -> tuple[int, np.ndarray | None]:
        assert pixels.shape[1::-1] == self.asked[-1]
        self.colour = pixels[0, 0].tolist()
        return 1, self.rows if max(pixels.shape) == self.side else None


def row(points: np.ndarray, score: float = 0.9) -> np.ndarray:
    """A face as YuNet gives it: box, five points, score."""
    return np.concatenate([[20, 20, 60, 80], points.ravel(), [score]]).astype(np.float32)


@pytest.fixture
def yunet(monkeypatch, editor):
    """YuNet around a network that is not there."""

    def build(network: FakeNetwork) -> YuNet:
        monkeypatch.setattr(detect.cv2.FaceDetectorYN, "create", lambda *_: network)
        return YuNet(Path("face_detection_yunet_2023mar.onnx"), editor.aligner.detector)

    return build


def test_yunet_sees_a_reduced_photo_in_opencvs_colours_and_answers_in_photo_pixels(yunet):
    network = FakeNetwork(640, np.stack([row(POINTS), row(POINTS + 200, 0.8)]))
    photo = Photo(np.full((960, 1280, 3), (200, 100, 50), np.uint8))
    faces = yunet(network).detect(photo)
    assert network.asked == [(640, 480)]
    assert network.colour == [50, 100, 200]
    np.testing.assert_allclose([face.points for face in faces], [2 * POINTS, 2 * POINTS + 400])


def test_yunet_looks_again_at_a_smaller_picture_for_a_face_that_fills_the_photo(yunet):
    network = FakeNetwork(320, row(POINTS)[None])
    faces = yunet(network).detect(Photo(np.zeros((1280, 960, 3), np.uint8)))
    assert network.asked == [(480, 640), (240, 320)]
    np.testing.assert_allclose(faces[0].points, 4 * POINTS)


def test_yunet_finds_nothing_in_nothing(yunet):
    assert yunet(FakeNetwork(640, None)).detect(Photo(np.zeros((40, 60, 3), np.uint8))) == []


def test_the_points_of_a_face_that_yunet_finds_are_read_exactly(yunet, astronaut):
    about = np.array(TRUTH["photo"]) + np.array([(4, -3), (-4, 3), (2, 2), (3, 4), (-2, -4)])
    (face,) = yunet(FakeNetwork(512, row(about, 0.8)[None])).detect(Photo(np.asarray(astronaut)))
    assert eye_error(about, np.array(TRUTH["photo"])) > 0.1 > 0.02 > eye_error(face.points, np.array(TRUTH["photo"]))
    assert face.score == pytest.approx(0.8)


def test_what_the_mesh_takes_for_no_face_stays_as_yunet_gives_it(yunet):
    (face,) = yunet(FakeNetwork(200, row(POINTS)[None])).detect(Photo(np.full((200, 200, 3), 90, np.uint8)))
    np.testing.assert_allclose(face.points, POINTS)


def test_where_yunet_finds_nothing_what_ships_is_asked(yunet, astronaut):
    lying = Photo(np.rot90(np.asarray(astronaut)).copy())
    (face,) = yunet(FakeNetwork(640, None)).detect(lying)
    irises = np.array(TRUTH["photo"])[:, ::-1] * (1, -1) + (0, 512)
    assert eye_error(face.points, irises) < 0.03


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x07\x12\x04abcd"])
def test_a_damaged_yunet_is_refused(editor, tmp_path, content):
    (tmp_path / "yunet.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"yunet\.onnx cannot be read as a face detector by OpenCV"):
        YuNet(tmp_path / "yunet.onnx", editor.aligner.detector)


def test_a_plain_picture_shows_no_profile():
    assert not shows_profile(Photo(np.full((200, 200, 3), 90, np.uint8)))


def test_a_missing_cascade_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(detect.cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(UserError, match=r"brings no haarcascade_profileface\.xml; install opencv"):
        shows_profile(Photo(np.zeros((40, 60, 3), np.uint8)))


def test_a_face_that_was_found_twice_counts_once_and_the_largest_comes_first():
    sure, unsure, large = Detection(POINTS, 0.9), Detection(POINTS + 4, 0.6), Detection(3 * POINTS + 300, 0.5)
    assert distinct([unsure, sure, large]) == [large, sure]


def scene(picture: np.ndarray, seed: int) -> tuple[Photo, np.ndarray]:
    """A made-up face in a picture of 640 × 480 at a random place, 1.5 to 5 times as large, turned by up to 15 degrees.

    Returns:
        The photo, and the matrix (2, 3) from the face's pixels to the photo's.
    """
    random = np.random.default_rng(seed)
    side, angle = random.uniform(100, 300), np.radians(random.uniform(-15, 15))
    linear = side / 64 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([random.uniform(0.62 * side, length - 0.62 * side) for length in (640, 480)])
    matrix = np.column_stack([linear, middle - linear @ [32, 32]])
    top, bottom = random.integers(40, 216, (2, 3))
    wall = np.linspace(top, bottom, 480)[:, None].repeat(640, 1)
    centred = np.column_stack([linear, matrix[:, 2] + 0.5 * linear.sum(1) - 0.5])  # OpenCV measures from pixel centres
    face = cv2.warpAffine(picture, centred, (640, 480), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones((64, 64), np.float32), centred, (640, 480))[..., None]
    return Photo((face * inside + wall * (1 - inside)).round().astype(np.uint8)), matrix


def eye_error(found: np.ndarray, truth: np.ndarray) -> float:
    """Distance of the worse eye, in eye distances."""
    return float(np.hypot(*(found - truth)[:2].T).max() / np.hypot(*(truth[1] - truth[0])))


def test_the_eyes_are_where_mediapipe_sees_the_irises(editor):
    """Measured: median 0.9 %, worst 2.8 % of the eye distance."""
    seeds, points = [int(seed) for seed in TRUTH["faces"]], [np.array(face) for face in TRUTH["faces"].values()]
    pictures = to_uint8(editor.synthesize(editor.generator.sample(seeds), "Z"))

    def smallest_error(picture: np.ndarray, seed: int, in_picture: np.ndarray) -> float:
        photo, matrix = scene(picture, seed)
        truth = project(matrix, in_picture)
        return min((eye_error(f.points, truth) for f in editor.aligner.detector.detect(photo)), default=np.inf)

    with ThreadPoolExecutor(2) as pool:
        errors = list(pool.map(smallest_error, pictures, seeds, points))
    assert len(errors) == 64
    assert max(errors) < 0.05
    assert np.median(errors) < 0.02


def test_the_astronauts_eyes_are_where_mediapipe_sees_her_irises(editor, astronaut):
    (face,) = editor.aligner.detector.detect(Photo(np.asarray(astronaut)))
    assert eye_error(face.points, np.array(TRUTH["photo"])) < 0.02


@pytest.mark.parametrize("turn", range(-165, 181, 15))
def test_a_photo_that_lies_on_its_side_shows_the_same_face(editor, astronaut, turn):
    """Measured: median 0.5 %, worst 0.6 % of the eye distance."""
    photo = Photo(np.asarray(astronaut))
    matrix, size = rotated(photo.size, turn, 900)
    (face,) = editor.aligner.detector.detect(Photo(photo.warp(matrix, size, cv2.BORDER_CONSTANT)))
    assert eye_error(face.points, project(matrix, np.array(TRUTH["photo"]))) < 0.02


def test_a_small_face_in_a_wide_photo_is_found(editor, astronaut):
    pixels = np.full((300, 3000, 3), 130, np.uint8)
    pixels[100:200, 2500:2600] = np.asarray(astronaut.crop((144, 40, 304, 200)).resize((100, 100)))
    (face,) = editor.aligner.detector.detect(Photo(pixels))
    assert eye_error(face.points, (np.array(TRUTH["photo"]) - (144, 40)) * 100 / 160 + (2500, 100)) < 0.05


def test_a_crowd_is_read_a_few_faces_at_a_time(editor, astronaut, monkeypatch):
    sizes = []
    network = editor.aligner.landmarks.network
    monkeypatch.setattr(detect, "MAX_BOXES", 11)
    head = np.asarray(astronaut.crop((144, 20, 304, 180)).resize((80, 80)))
    with network.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0]) // 2)):
        faces = editor.aligner.detector.detect(Photo(np.tile(head, (4, 5, 1))))
    assert len(distinct(faces)) == 11
    assert sizes == [8, 3, 8, 3]  # each view is read with its mirror image


def test_several_people_can_ask_at_once(editor, astronaut):
    photos = [Photo(np.asarray(astronaut.rotate(turn))) for turn in (0, 10, 20, 30)]
    alone = [editor.aligner.detector.detect(photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(editor.aligner.detector.detect, photos))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one[0].points, other[0].points, atol=1e-3)


@pytest.mark.parametrize("side", [22, 36, 60, 120, 250])
def test_small_and_large_faces_are_found(editor, astronaut, side):
    head = np.asarray(astronaut.crop((144, 40, 304, 200)).resize((side, side)))
    pixels = np.full((300, 400, 3), 130, np.uint8)
    pixels[20 : 20 + side, 100 : 100 + side] = head
    (face,) = editor.aligner.detector.detect(Photo(pixels))
    truth = (np.array(TRUTH["photo"]) - (144, 40)) * side / 160 + (100, 20)
    assert eye_error(face.points, truth) < 0.05


def test_a_turned_photo_fits_its_corners():
    matrix, size = rotated((200, 100), 90, 50)
    assert size == (25, 50)
    np.testing.assert_allclose(
        project(matrix, np.array([(0.0, 0), (200, 0), (0, 100)])), [(25, 0), (25, 50), (0, 0)], atol=1e-9
    )


def test_the_first_view_puts_the_eyes_level_around_the_box():
    guess = np.zeros((8, 2))
    guess[:4] = (50, 60), (20, 16), (50, 55), (50, 65)  # the box's middle and size; the eyes, one below the other
    view = first_view(guess)
    np.testing.assert_allclose(project(view, guess[[0]]), [[96, 96]])
    (left, right) = project(view, guess[2:4])
    assert left[1] == pytest.approx(right[1])
    assert right[0] - left[0] == pytest.approx(10 * 192 / (1.5 * 20))


def test_disagreement_weighs_two_disagreements_in_eye_distances():
    points = np.array([(0.0, 0), (10, 0), (5, 5), (1, 9), (9, 9)])
    guess = np.zeros((8, 2))
    guess[2:4] = points[:2]
    assert disagreement(guess, points, points) == 0
    assert disagreement(guess, points + np.array([[0, 0], [0, 0], [0, 2], [0, 1], [0, 0]]), points) == pytest.approx(
        0.3
    )
    guess[3, 0] += 4
    assert disagreement(guess, points, points) == pytest.approx(0.2)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_suit_a_flag_and_a_shuttle_are_no_faces(editor, astronaut, turn):
    rest = astronaut.crop((0, 200, 512, 512)).rotate(turn, expand=True)
    assert editor.aligner.detector.detect(Photo(np.asarray(rest))) == []


class FixedLandmarks:
    """Stands in for `Landmarks`: reads the same points in every view, with confidence."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points

    def read(self, photo: Photo, views: list[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        return [(self.points, 1.0) for _ in views]


def test_points_that_are_no_face_are_left_out():
    def read(points: np.ndarray) -> np.ndarray | None:
        return read_upright(None, FixedLandmarks(points), [np.array(MESH_FRAME.points)])[0]

    points = np.array(MESH_FRAME.points)
    nose_aside = points + np.array([(0, 0), (0, 0), (60, 0), (0, 0), (0, 0)])  # a nose may point anywhere
    assert read(points) is not None
    assert read(nose_aside) is not None
    assert read(points[[1, 0, 2, 3, 4]]) is None
