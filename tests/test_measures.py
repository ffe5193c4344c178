"""Numbers of faces, on points and masks whose numbers are known, and on a real face."""

from __future__ import annotations

import math

import pytest
import torch

from lelsd_core.faces.measures import MEASURES, Faces, MeshMeasure, measure, see
from lelsd_core.registry import load_editor

EYES = {33: (0.4, 0.4), 263: (0.6, 0.4)}  # in shares of the picture's side: one eye distance is 0.2


def face(hair: torch.Tensor | None = None, turn: float = 0.0, picture: torch.Tensor | None = None, **points) -> Faces:
    """A face whose points are all between its eyes but for some ("p14"), turned about that place, in degrees."""
    place = torch.tensor([[0.5, 0.4]])
    mesh = place.repeat(478, 1)
    for number, point in (EYES | {int(name[1:]): point for name, point in points.items()}).items():
        mesh[number] = torch.tensor(point)
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    mesh = (mesh - place) @ torch.tensor([[cos, sin], [-sin, cos]]) + place
    return Faces(mesh[None], {} if hair is None else {"hair": hair}, picture)


@pytest.mark.parametrize("turn", [0.0, 20.0])
def test_lengths_are_in_eye_distances_of_a_level_face(turn):
    seen = face(turn=turn, p13=(0.5, 0.6), p14=(0.5, 0.64), p61=(0.45, 0.6), p291=(0.55, 0.6), p4=(0.52, 0.5))
    found = measure(seen, ("mouth-open", "mouth-width", "smile", "turn"))[0].tolist()
    assert found == pytest.approx([0.2, 0.5, 0.1, 0.1], abs=1e-5)


def test_eyes_that_look_right_have_a_positive_gaze():
    corners = {"p133": (0.46, 0.4), "p362": (0.54, 0.4)}
    for shift in (-0.01, 0.0, 0.01):
        seen = face(**corners, p468=(0.43 + shift, 0.4), p473=(0.57 + shift, 0.4))
        assert measure(seen, ("gaze",)).item() == pytest.approx(shift / 0.2, abs=1e-5)


@pytest.mark.parametrize("turn", [0.0, 15.0])
def test_a_fringe_is_as_far_from_the_eyes_as_the_lowest_hair(turn):
    place = (torch.arange(100) + 0.5) / 100 - torch.tensor([[0.5], [0.4]])  # from between the eyes
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    down = cos * place[1][:, None] - sin * place[0]
    across = cos * place[0] + sin * place[1][:, None]
    hair = ((down < -0.1) & (down > -0.2)).float()[None, None]
    assert measure(face(hair, turn), ("fringe",)).item() == pytest.approx(-0.5, abs=0.06), "half an eye distance"
    hair = ((down > 0) & (down < 0.2) & (across > 0.1) & (across < 0.2)).float()[None, None]
    assert measure(face(hair, turn), ("hair-length",)).item() == pytest.approx(0.5, abs=0.06), "half an eye by one"
    assert measure(face(hair, turn), ("fringe",)).item() == pytest.approx(-1.5, abs=0.01), "none"


def test_what_is_not_seen_has_no_number():
    lengths = [isinstance(spec, MeshMeasure) for spec in MEASURES.values()]
    assert measure(face()).isfinite()[0].tolist() == lengths
    hair, picture = torch.zeros(1, 1, 8, 8), torch.ones(1, 3, 8, 8)
    assert measure(face(hair, picture=picture), ("hair-light", "hair-blond", "skin-light")).isnan().all(), (
        "no hair, no skin"
    )
    nobody = Faces(torch.full((2, 478, 2), torch.nan), {"hair": torch.ones(2, 1, 8, 8)}, torch.ones(2, 3, 8, 8))
    assert measure(nobody).isnan().all()


def test_colours_are_means_over_their_part():
    hair = torch.zeros(1, 1, 100, 100)
    hair[..., :20, :] = 1
    picture = torch.full((1, 3, 100, 100), 0.1)
    picture[..., :20, :] = torch.tensor([0.8, 0.6, 0.2])[:, None, None]
    found = measure(face(hair, picture=picture), ("hair-light", "hair-red", "hair-blond"))[0].tolist()
    luma = 0.299 * 0.8 + 0.587 * 0.6 + 0.114 * 0.2
    assert found == pytest.approx([luma, 0.2, luma + 3 * 0.5], abs=1e-5)


def test_an_area_is_in_squares_of_the_eye_distance():
    clothes = torch.zeros(1, 1, 100, 100)
    clothes[..., 80:, :] = 1  # a fifth of the picture, whose side is five eye distances
    seen = Faces(face().points, {"clothes": clothes})
    assert measure(seen, ("collar",)).item() == pytest.approx(5.0, abs=1e-4)


def test_light_from_the_right_makes_the_right_cheek_brighter():
    picture = torch.linspace(0, 1, 100).expand(1, 3, 100, 100)
    right, left = measure(face(picture=picture), ("light",)), measure(face(picture=picture.flip(3)), ("light",))
    assert right.item() == pytest.approx(0.8 * 0.2, abs=0.02), "the cheeks are 0.8 eye distances apart"
    assert left.item() == pytest.approx(-right.item(), abs=0.02)
    assert measure(face(picture=torch.ones(1, 3, 100, 100)), ("light", "glasses")).abs().max() < 1e-5


def test_frames_of_glasses_are_outlines():
    picture = torch.ones(1, 3, 100, 100)
    plain = measure(face(picture=picture), ("glasses",)).item()
    for x in (44, 56):
        for y in (38, 44):
            picture[..., y, x - 5 : x + 5] = 0
    assert measure(face(picture=picture), ("glasses",)).item() > plain + 0.05


def test_a_real_face_has_the_numbers_that_it_shows(editor, astronaut):
    (found,) = editor.aligner.find(astronaut)
    picture = editor.aligner.cut(astronaut, found).picture
    seen = see(editor.aligner, picture, editor.segmenter.segment(picture), editor.segmenter.parts)
    numbers = dict(zip(MEASURES, measure(seen)[0].tolist(), strict=True))
    assert 0.05 < numbers["mouth-open"] < 0.3, "she laughs"
    assert 0.5 < numbers["mouth-width"] < 0.9
    assert numbers["smile"] > 0.05
    assert 0.05 < numbers["eyes-open"] < 0.2 < numbers["brows"] < 0.4
    assert abs(numbers["gaze"]) < 0.05, "she looks at us"
    assert 0.3 < numbers["nose-width"] < 0.5 < numbers["nose-length"] < 0.7
    assert -0.8 < numbers["fringe"] < -0.2, "her forehead is bare"
    mirrored = picture.flip(3)
    again = see(editor.aligner, mirrored, editor.segmenter.segment(mirrored), editor.segmenter.parts)
    assert measure(again, ("turn",)).item() == pytest.approx(-numbers["turn"], abs=0.05)
    nothing = see(editor.aligner, torch.zeros_like(picture), editor.segmenter.segment(picture), editor.segmenter.parts)
    assert measure(nothing).isnan().all()


@pytest.mark.parametrize(("name", "hair"), [("digiface-64", "fringe"), ("blaze-256", "parting")])
def test_on_a_photo_the_mouth_closes_brows_rise_and_the_forehead_is_bared(name, hair, astronaut):
    """Measured in the whole photo that has been edited, as a person would see it; in eye distances."""
    editor = load_editor(name)
    session = editor.open(astronaut)
    ends = {direction.name: (direction.low, direction.high) for direction in session.directions}

    def numbers(amounts: dict[str, float]) -> dict[str, float]:
        photo = editor.paste(session, astronaut, editor.render(session, amounts), amounts)
        picture = editor.aligner.cut(photo, editor.aligner.find(photo)[0]).picture
        seen = see(editor.aligner, picture, editor.segmenter.segment(picture), editor.segmenter.parts)
        return dict(zip(MEASURES, measure(seen)[0].tolist(), strict=True))

    before = numbers({})
    edited = numbers({"mouth-open": ends["mouth-open"][0], "brows-height": ends["brows-height"][1]})
    assert edited["mouth-open"] < 0.04 < 0.1 < before["mouth-open"]
    assert edited["brows"] > before["brows"] + 0.025
    for still in ("gaze", "nose-width", "jaw", "turn"):
        assert abs(edited[still] - before[still]) < 0.03
    bared = numbers({hair: ends[hair][0]})
    assert bared["fringe"] < before["fringe"] - 0.05
    assert abs(bared["mouth-open"] - before["mouth-open"]) < 0.02
