"""Events that open a face: photos, examples, other faces of a photo, random faces, links, reloads."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import parse_qsl

import numpy as np
import pytest
from gradio.data_classes import ImageData
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from demo import keeping
from demo.components import PhotoInput
from demo.opening import ROW
from demo.views import EDITED, FACE_SIZE, SWIPE, WHOLE
from lelsd_core.errors import UserError
from lelsd_core.seeds import MAX_SEED
from tests.page_events import PLAIN, Visitor, chosen


@pytest.fixture
def visitor(editor) -> Visitor:
    """With a random face."""
    return Visitor(editor)


@pytest.fixture(scope="module")
def group_photo(astronaut) -> Image.Image:
    """With a large face on the left and a small one on the right."""
    group = Image.new("RGB", (1000, 560), "gray")
    group.paste(astronaut, (20, 20))
    group.paste(astronaut.resize((400, 400)), (560, 60))
    return group


# ------------------------------------------------------------------------------------------------------ photos


def test_a_photo_fills_the_page_at_once_and_is_then_refined(visitor, astronaut):
    opened = visitor.open(astronaut)
    assert opened["picture"]["value"].size == (FACE_SIZE, FACE_SIZE)
    assert "One face was found" in opened["note"]
    assert WHOLE in opened["display"][0]["choices"]
    assert opened["display"][1]["visible"], "there is detail to be kept"
    assert len(opened["sliders"]) == visitor.callbacks.slider_count
    assert opened["upload"]["value"].size == astronaut.size, "a browser cannot show every kind of file"
    guess = visitor.face.session.inversion_l1
    steps = list(visitor.steps(visitor.opening.refine))
    assert len(steps) >= 2
    assert all("sliders" not in step and "face" not in step for step in steps), "what was done meanwhile stays"
    assert steps[-1]["rebuilt"]["value"].size == (FACE_SIZE, FACE_SIZE)
    visitor.does(visitor.callbacks.mute)
    visitor.does(visitor.opening.adopt)
    assert visitor.face.session.inversion_l1 < guess
    assert visitor.face.muted == {"mouth"}
    shown = visitor.does(visitor.opening.show_refined)
    assert shown["dressed"] != opened["dressed"]
    assert "LPIPS" in shown["inversion_facts"]
    assert "LPIPS" not in shown["note"]


def test_discovered_sliders_stay_for_the_next_photo(visitor, editor, astronaut):
    visitor.values["face"] = visitor.face.with_session(visitor.face.session.with_directions([editor.directions[0]]))
    names = [d.name for d in visitor.face.session.directions]
    visitor.open(astronaut)
    assert [d.name for d in visitor.face.session.directions] == names


def test_a_new_face_starts_anew(visitor, astronaut):
    visitor.moves(mouth=50)
    visitor.does(visitor.callbacks.choose_card, chosen(2))
    visitor.does(visitor.callbacks.switch_view, display=(SWIPE, True, False))
    for opened in (visitor.open(astronaut), visitor.does(visitor.opening.random_face, seed=3)):
        assert visitor.amounts == {}
        assert visitor.display[0] == EDITED
        assert visitor.group == "mouth"
        assert opened["recipes"]["selected_index"] is None
        assert len(visitor.history.steps) == 1
        assert not opened["truncation"]["visible"], "this model has none"
    assert not opened["display"][1]["visible"], "a random face has no photo's detail"


def test_a_nudge_turns_the_face_and_keeps_sliders_and_choice(visitor, astronaut):
    visitor.open(astronaut)
    before = visitor.face
    visitor.moves(mouth=50)
    options = (False, 0.05, 0.0, 1.1, 10.0, "easier to edit", False)
    again = visitor.does(visitor.opening.reopen, photo_options=options)
    assert "sliders" not in again
    assert set(visitor.amounts) == {"mouth"}
    assert visitor.face.options.nudge.turn == 10.0
    assert visitor.face.options.closeness == "easier to edit"
    assert not np.allclose(visitor.face.session.matrix, before.session.matrix)
    assert again["inversion"], "it is refined anew"


def test_only_a_stylegan2_is_tuned_to_a_face(visitor, astronaut):
    assert not visitor.open(astronaut)["tune"]["visible"]
    with pytest.raises(UserError, match="StyleGAN2"):
        visitor.does(visitor.opening.reopen, photo_options=(*PLAIN[:-1], True))


def test_a_photo_can_be_used_as_already_aligned(visitor, astronaut):
    visitor.open(astronaut)
    matrix = visitor.face.session.matrix
    plain = visitor.does(visitor.opening.reopen, photo_options=(True, *PLAIN[1:]))
    assert plain["aligned"] is True
    assert visitor.face.session.matrix[0, 1] == 0
    visitor.does(visitor.opening.reopen, photo_options=PLAIN)
    assert np.allclose(visitor.face.session.matrix, matrix)


def test_each_face_of_a_group_keeps_its_edit_and_the_whole_photo_shows_them_all(visitor, group_photo):
    assert len(visitor.open(group_photo)["faces"]["value"]) == 2
    visitor.moves(mouth=100)
    first = visitor.face.session
    other = visitor.does(visitor.opening.choose_face, chosen(1))
    assert "number 2" in other["note"]
    assert visitor.amounts == {}
    assert not np.allclose(visitor.face.session.matrix, first.matrix)
    shown = visitor.does(visitor.callbacks.switch_view, display=(WHOLE, True, False))["picture"]["value"]
    change = np.abs(np.asarray(shown).astype(int) - np.asarray(visitor.face.detected.shown)).max(2)
    assert change[:, :540].max() > 8, "the first face stays edited"
    assert change[:, 600:].max() == 0
    visitor.moves(skin=100)
    saved = visitor.does(visitor.saving.download)["download_url"]
    assert len(saved) > 1000
    visitor.does(visitor.opening.choose_face, chosen(0))
    assert set(visitor.amounts) == {"mouth"}
    assert visitor.face.session is first, "it is not inverted again"
    assert set(visitor.face.others) == {1}
    shown = visitor.does(visitor.callbacks.switch_view, display=(WHOLE, True, False))["picture"]["value"]
    change = np.abs(np.asarray(shown).astype(int) - np.asarray(visitor.face.detected.shown)).max(2)
    assert min(change[:, :540].max(), change[:, 600:].max()) > 8
    assert visitor.does(visitor.opening.choose_face, chosen(0)) == {}, "it is chosen already"


def test_an_example_is_opened(visitor):
    visitor.does(visitor.opening.open_example, chosen(0))
    assert visitor.face.detected is not None


def test_options_without_a_photo_change_nothing(visitor):
    assert visitor.does(visitor.opening.reopen, photo_options=(True, *PLAIN[1:])) == {}
    assert visitor.does(visitor.opening.choose_face, chosen(1)) == {}
    assert list(visitor.steps(visitor.opening.refine)) == []


def test_a_photo_without_a_face_raises_user_error(visitor):
    with pytest.raises(UserError, match="No face was found"):
        visitor.open(Image.new("RGB", (200, 200), "green"))


def test_an_unreadable_upload_is_reported_by_the_event(visitor, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    error = PhotoInput(label="Photo").preprocess(ImageData(path=str(path)))
    assert isinstance(error, UserError)
    with pytest.raises(UserError, match="not a picture that can be read"):
        visitor.open(error)


def test_a_cleared_upload_changes_nothing(visitor):
    assert PhotoInput(label="Photo").preprocess(None) is None
    assert visitor.open(None) == {}


# ------------------------------------------------------------------------------------------------- random faces


@pytest.mark.parametrize("seed", [None, -5, 2**40, 1e20, 1.5, float("nan"), "x"])
def test_an_invalid_seed_is_refused_and_the_face_stays(visitor, seed):
    face = visitor.face
    with pytest.raises(UserError, match="A seed is a whole number from 0 to 2147483647; this is"):
        visitor.does(visitor.opening.random_face, seed=seed)
    assert visitor.face is face


def test_a_row_of_faces_is_there_to_choose_from(visitor):
    rows = list(visitor.steps(visitor.opening.row_of_faces))
    assert [len(row["row"]["value"]) for row in rows] == list(range(1, ROW + 1))
    words = visitor.values["row"][5][1]
    changed = visitor.does(visitor.opening.choose_random, chosen(5, {"caption": words}))
    assert str(changed["seed"]) == words == str(visitor.face.seed)


# -------------------------------------------------------------------------------------------- links and reloads


def test_a_link_brings_the_face_and_the_edit_back(visitor, editor):
    visitor.does(visitor.opening.random_face, seed=7)
    shown = visitor.moves(mouth=50, skin=-30)
    another = Visitor(editor)
    another.request.query_params = dict(parse_qsl(shown["query"]))
    opened = another.does(another.opening.page_opened)
    assert another.face.seed == 7
    assert another.amounts == visitor.amounts
    assert np.array_equal(np.asarray(opened["picture"]["value"]), np.asarray(shown["picture"]))
    assert [step.caption for step in another.history.steps] == ["As it was", "2 sliders"]


def test_the_history_comes_back_from_the_browser(visitor, editor):
    visitor.does(visitor.opening.random_face, seed=7)
    visitor.moves(mouth=50)
    kept = visitor.moves(mouth=50, skin=-30)["kept"]
    another = Visitor(editor)
    another.does(another.opening.page_opened, kept=json.loads(json.dumps(kept)))
    assert [step.caption for step in another.history.steps] == ["As it was", "Mouth 50", "Skin -30"]
    another.does(another.callbacks.undo)
    assert set(another.amounts) == {"mouth"}


def test_what_the_browser_kept_comes_back_with_directions_that_were_found(visitor, editor):
    first = editor.directions[0]
    found = replace(first, name="mine", vector=first.vector.flip(0))
    visitor.values["face"] = visitor.face.with_session(visitor.face.session.with_directions([found]))
    kept = visitor.moves(mine=40)["kept"]
    another = Visitor(editor)
    another.does(another.opening.page_opened, kept=kept)
    assert another.face.session.directions[-1].moves_like(found)
    assert another.amounts == visitor.amounts


def test_values_of_a_photo_wait_for_the_next_photo_and_nothing_of_the_photo_is_kept(visitor, editor, astronaut):
    visitor.open(astronaut)
    kept = visitor.moves(mouth=50)["kept"]
    assert set(kept) == {"generator", "seed", "truncation", "percents", "found", "steps"}
    assert (kept["seed"], kept["found"]) == (None, [])
    assert "seed" not in visitor.values["query"]
    another = Visitor(editor)
    opened = another.does(another.opening.page_opened, kept=kept)
    assert "your photo was not" in opened["note"]
    assert another.amounts == {}
    another.open(astronaut)
    assert another.amounts == visitor.amounts
    assert another.waiting is None


def test_a_link_to_a_model_that_is_not_loaded_says_so(visitor):
    visitor.request.query_params = {"generator": "ffhq-1024", "seed": "3"}
    opened = visitor.does(visitor.opening.page_opened)
    assert "ffhq-1024, which is not loaded" in opened["note"]
    assert "picture" not in opened


def test_a_plain_visit_shows_the_first_sight(visitor):
    visitor.moves(mouth=50)
    opened = visitor.does(visitor.opening.page_opened, kept=None)
    assert set(opened) == {"dressed", "sliders", "history", "past", "undo", "redo"}
    assert set(visitor.amounts) == {"mouth"}


@given(st.dictionaries(st.sampled_from(["seed", "truncation", "generator", "mouth", "x"]), st.text(max_size=8)))
def test_no_link_does_harm(query):
    kept = keeping.read_link(query)
    assert kept is None or kept.seed is None or 0 <= kept.seed <= MAX_SEED


@given(st.recursive(st.none() | st.floats() | st.text(max_size=4), lambda each: st.lists(each, max_size=2)))
def test_nothing_in_the_browser_does_harm(value):
    for kept in (
        value,
        {"percents": value},
        {"percents": {"mouth": value}, "seed": value, "found": value, "steps": value},
    ):
        read = keeping.read_stored(kept)
        assert read is None or keeping.found_directions(read) == []


def test_a_visit_with_hostile_values_opens_the_page(visitor):
    visitor.request.query_params = {"seed": "9e9", "mouth": "1e99", "truncation": "-7", "nose": "abc"}
    visitor.does(visitor.opening.page_opened)
    high = next(d.high for d in visitor.face.session.directions if d.name == "mouth")
    assert visitor.amounts in ({}, {"mouth": high})


def test_locked_sliders_stay_for_the_next_random_face(visitor):
    visitor.moves(smile=40)
    before = visitor.amounts
    visitor.does(visitor.opening.random_clear_face)
    assert visitor.amounts == {}
    visitor.moves(smile=40)
    visitor.does(visitor.opening.random_clear_face, lock=True)
    assert visitor.amounts == pytest.approx(before)
    assert visitor.history.current == pytest.approx(before)
