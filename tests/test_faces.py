"""Aligning faces in real photos: which one, as it is or not, nudged, and always the same face in the frame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lelsd_core.editor.session import DetectedPhoto
from lelsd_core.errors import UserError
from lelsd_core.faces import AlignedFace, Detection, FaceAligner, FfhqFrame, Nudge
from lelsd_core.faces.frame import project, unproject
from lelsd_core.faces.photo import sharpness

TRUTH = json.loads((Path(__file__).parent / "data" / "points.json").read_text(encoding="utf-8"))
IRISES = np.array(TRUTH["photo"][:2])
HEAD = np.array([(203.0, 101), (247, 103), (224, 126), (203, 140), (244, 141)])  # the astronaut's points


class FixedDetector:
    """A detector that returns fixed faces and counts its calls."""

    def __init__(self, *faces: np.ndarray) -> None:
        self.faces, self.calls = faces, 0

    def detect(self, photo: object) -> list[Detection]:
        self.calls += 1
        return [Detection(points, 0.9) for points in self.faces]


def aligner_of(editor, *faces: np.ndarray) -> FaceAligner:
    """The editor's aligner around a detector that finds these faces."""
    return FaceAligner(editor.aligner.frame, editor.aligner.landmarks, FixedDetector(*faces))


def align(aligner: FaceAligner, photo: Image.Image, face: int = 0, **options: bool) -> AlignedFace:
    """Finds and cuts one face of a photo."""
    return aligner.cut(photo, aligner.find(photo, **options)[face])


def test_the_astronaut_is_found_and_her_eyes_come_to_the_frames_points(editor, astronaut):
    face = align(editor.aligner, astronaut)
    assert (face.candidate.faces, face.candidate.aligned_before, face.candidate.notes) == (1, False, ())
    assert face.picture.shape == (1, 3, 64, 64)
    assert face.photo.size == (512, 512)
    assert np.abs(project(face.matrix, IRISES) - np.array(editor.aligner.frame.points[:2])).max() < 3


@pytest.mark.parametrize(("angle", "scale", "right"), [(-35, 1.0, 0), (20, 0.6, 40), (-12, 1.7, -90), (0, 2.5, 150)])
def test_a_photo_that_is_turned_scaled_or_moved_gives_the_same_face(editor, astronaut, angle, scale, right):
    cos, sin = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    moved = np.array([[cos, -sin, 0], [sin, cos, 0]])
    moved[:, 2] = [400 + right, 400] - moved[:, :2] @ [224, 130]  # the face comes near the middle
    whole = np.vstack([moved, [0, 0, 1]])
    coefficients = np.linalg.inv(whole)[:2].ravel()
    other = astronaut.transform((800, 800), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    straight, face = align(editor.aligner, astronaut), align(editor.aligner, other)
    there = project(moved, unproject(straight.matrix, np.array(editor.aligner.frame.points)))
    assert np.abs(project(face.matrix, there) - np.array(editor.aligner.frame.points)).max() < 2


def two_heads(astronaut: Image.Image) -> Image.Image:
    """A picture with a small head on the left and a large one on the right."""
    head = astronaut.crop((100, 0, 340, 240))
    both = Image.new("RGB", (700, 300), (120, 120, 120))
    both.paste(head.resize((150, 150)), (40, 80))
    both.paste(head.resize((280, 280)), (380, 10))
    return both


def test_of_two_faces_the_larger_one_is_taken_and_the_other_one_can_be(editor, astronaut):
    both = two_heads(astronaut)
    found = editor.aligner.find(both)
    middles = [unproject(c.matrix, np.array([[32.0, 32.0]]))[0, 0] for c in found]
    assert middles[0] > 380 > 200 > middles[1]
    assert [c.crop.size for c in found] == [(128, 128)] * 2
    assert [c.faces for c in found] == [2, 2]
    first, second = align(editor.aligner, both), align(editor.aligner, both, 1)
    np.testing.assert_array_equal(first.matrix, found[0].matrix)
    np.testing.assert_array_equal(second.matrix, found[1].matrix)


@pytest.mark.parametrize("face", [2, -1])
def test_a_face_out_of_range_is_refused_with_the_number_of_faces(editor, astronaut, face):
    candidates = aligner_of(editor, HEAD, HEAD / 2 + 200).find(astronaut)
    with pytest.raises(UserError, match=rf"Face {face + 1} of this picture was asked for, but 2 faces were found"):
        DetectedPhoto(astronaut, tuple(candidates)).candidate(face)


def test_a_nudge_goes_on_top_and_looks_for_nothing_again(editor, astronaut):
    aligner = aligner_of(editor, HEAD)
    face = align(aligner, astronaut)
    again = aligner.cut(astronaut, face.candidate, Nudge(right=0.1, scale=1.2))
    assert aligner.detector.calls == 1
    middle = unproject(face.matrix, np.array([[32.0, 32.0]]))
    np.testing.assert_allclose(project(again.matrix, middle), [[38.4, 32]])
    back = aligner.cut(astronaut, again.candidate)
    np.testing.assert_array_equal(back.matrix, face.matrix)


def test_a_picture_without_a_face_is_refused(editor):
    hills = np.linspace(40, 200, 256).astype(np.uint8)[:, None, None].repeat(256, 1).repeat(3, 2)
    with pytest.raises(UserError, match="No face was found in this picture"):
        align(editor.aligner, Image.fromarray(hills))


PLAIN = {
    "black": np.zeros((200, 200, 3)),
    "grey": np.full((200, 200, 3), 128),
    "white": np.full((200, 200, 3), 255),
    "noise": np.random.default_rng(0).integers(0, 256, (200, 200, 3)),
    "a glow": np.repeat(255 * np.exp(-np.square(np.mgrid[-2:2:200j, -2:2:200j]).sum(0))[..., None], 3, 2),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_square_without_a_face_is_no_aligned_face(editor, name):
    with pytest.raises(UserError, match="No face was found in this picture"):
        align(editor.aligner, Image.fromarray(PLAIN[name].astype(np.uint8)))


def test_a_face_in_profile_only_is_refused(editor, astronaut, monkeypatch):
    monkeypatch.setattr("lelsd_core.faces.align.shows_profile", lambda photo: True)
    with pytest.raises(UserError, match="a face in profile only"):
        align(aligner_of(editor), astronaut)


def test_a_picture_of_the_frame_is_used_as_it_is_unless_told_otherwise(editor):
    aligned = editor.random_face(45).original.resize((256, 256), Image.Resampling.BICUBIC)
    face = align(editor.aligner, aligned)
    assert face.candidate.aligned_before
    assert face.matrix.tolist() == [[0.25, 0, 0], [0, 0.25, 0]]
    assert not align(editor.aligner, aligned, aligned=False).candidate.aligned_before


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_an_aligned_picture_upside_down_or_on_its_side_is_turned(editor, astronaut, turn):
    aligned = align(editor.aligner, astronaut).photo
    assert align(editor.aligner, aligned).candidate.aligned_before
    face = align(editor.aligner, aligned.rotate(turn))
    assert not face.candidate.aligned_before
    cos = np.cos(np.radians(turn))
    assert face.matrix[0, 0] == pytest.approx(cos / 8, abs=0.02)


def test_a_face_cut_off_by_the_photo_is_noted(editor, astronaut):
    cut = astronaut.crop((0, 0, 512, 132))  # her mouth is below
    notes = align(aligner_of(editor, HEAD), cut).candidate.notes
    assert any(note.startswith("Part of the face lies outside the photo") for note in notes)


def test_a_photo_that_is_to_be_taken_as_it_is_gives_its_middle(editor, astronaut):
    wide = Image.new("RGB", (768, 512))
    wide.paste(astronaut, (128, 0))
    face = align(aligner_of(editor), wide, aligned=True)
    assert face.candidate.aligned_before
    assert face.matrix.tolist() == [[0.125, 0, -16], [0, 0.125, 0]]


def test_ffhqs_crop_needs_no_download_and_knows_its_own(editor, astronaut):
    aligner = FaceAligner(FfhqFrame(256), editor.aligner.landmarks, editor.aligner.detector)
    face = align(aligner, astronaut)
    assert face.picture.shape == (1, 3, 256, 256)
    assert not face.candidate.aligned_before
    assert np.abs(project(face.matrix, IRISES) - np.array(aligner.frame.points[:2])).max() < 0.03 * 256
    again = align(aligner, face.photo)
    assert again.candidate.aligned_before


def test_notes_say_small_and_sideways_and_blurred(editor, astronaut):
    aligner = aligner_of(editor, HEAD)
    assert align(aligner, astronaut).candidate.notes == ()
    (blurred,) = align(aligner, astronaut.filter(ImageFilter.GaussianBlur(4))).candidate.notes
    assert blurred.startswith("The face is blurred")
    small = astronaut.resize((128, 128), Image.Resampling.BOX)
    (note,) = align(aligner_of(editor, HEAD / 4), small).candidate.notes
    assert note.startswith("The face is small: its crop is 3")
    turned = HEAD + np.array([(0, 0), (0, 0), (18, 0), (0, 0), (0, 0)])
    assert align(aligner_of(editor, turned), astronaut).candidate.notes[-1].startswith("The face looks to the side")


def test_a_plain_view_has_no_detail():
    assert sharpness(np.full((128, 128, 3), 90, np.uint8)) == 0
