"""The page without a browser: it builds, its events are wired as they must be, its callbacks survive everything."""

from __future__ import annotations

import base64
import io

import gradio as gr
import numpy as np
import pytest
from gradio.data_classes import FileData, ImageData
from PIL import Image

from demo.callbacks import MAX_NAME, SIDE, VIEWS, Callbacks
from demo.components import AmountSlider, InlineCompare, InlineImage, PhotoInput
from demo.page import SPARE, build_page
from demo.words import describe_locality, slider_words
from lelsd_core.directions import Direction
from lelsd_core.editor import Locality
from lelsd_core.errors import UserError
from lelsd_core.specs import GENERATORS

RECIPE = GENERATORS["digiface-64"].discover


@pytest.fixture(scope="module")
def do(editor):
    return Callbacks(editor, RECIPE, len(editor.directions) + SPARE)


@pytest.fixture(scope="module")
def config(editor):
    return build_page(editor, RECIPE).get_config_file()


def part_of(config, elem_id: str) -> dict:
    """A component of the page by its id."""
    return next(c for c in config["components"] if c["props"].get("elem_id") == elem_id)


def events_of(config, elem_id: str) -> list[dict]:
    """The events that a component starts."""
    number = part_of(config, elem_id)["id"]
    return [d for d in config["dependencies"] if any(target[0] == number for target in d["targets"])]


def test_every_slider_answers_to_keyboard_and_mouse_with_its_last_value(config, do):
    for i in range(do.sliders):
        (event,) = [d for d in events_of(config, f"slider-{i}") if d["backend_fn"]]
        assert {t[1] for t in event["targets"]} >= {"input", "release"}
        assert event["trigger_mode"] == "always_last"
        assert event["queue"] is False


def test_shipped_sliders_are_shown_with_their_names_and_spare_ones_are_hidden(config, editor):
    for i, direction in enumerate(editor.directions):
        props = part_of(config, f"slider-{i}")["props"]
        assert props["visible"]
        assert props["label"].lower() == direction.name
        assert (props["minimum"], props["maximum"], props["value"]) == (direction.low, direction.high, 0)
        assert direction.ends[0] in props["info"]
    assert not part_of(config, f"slider-{len(editor.directions)}")["props"]["visible"]


def test_nothing_is_offered_to_strangers(config):
    assert all(d["api_visibility"] == "private" for d in config["dependencies"])


def test_a_face_is_there_when_the_page_opens(config):
    value = part_of(config, "picture")["props"]["value"]
    assert value["url"].startswith("data:image/jpeg;base64,")


def test_a_photo_fills_the_page_at_once_and_then_better(do, astronaut):
    shown = list(do.open_photo(astronaut, VIEWS[0], True))
    assert len(shown) >= 3
    assert all(len(outputs) == 7 + do.sliders for outputs in shown)
    first, last = shown[0][0], shown[-1][0]
    assert last.inversion_l1 < first.inversion_l1
    assert shown[0][1].size == (SIDE, SIDE)
    assert shown[-1][5].size == (SIDE, SIDE), "the rebuilt face gets better while one watches"
    assert shown[-1][7:] == (gr.skip(),) * do.sliders, "sliders that were moved meanwhile stay"
    assert "One face was found" in shown[-1][6]


def test_detail_keeps_the_photo_and_the_models_view_does_not(do, astronaut):
    session, *_ = next(do.open_photo(astronaut, VIEWS[0], True))
    kept, _, _ = do.show(session, "Edited", True)
    assert np.array_equal(np.asarray(kept), np.asarray(session.photo))
    rebuilt, _, _ = do.show(session, "Edited", False)
    assert not np.array_equal(np.asarray(rebuilt), np.asarray(session.photo))


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_shows_something(do, view):
    session = do.editor.random_face(45)
    picture, pair, words = do.show(session, view, True, 2.0)
    assert "%" in words
    if view == "Swipe":
        assert [p.size for p in pair] == [(SIDE, SIDE)] * 2
    else:
        assert picture.size == (SIDE, SIDE)


def test_a_face_that_cannot_be_found_is_told_and_nothing_is_returned(do):
    with pytest.raises(gr.Error, match="No face was found"):
        next(do.open_photo(Image.new("RGB", (200, 200), "green"), VIEWS[0], True))


def test_an_unreadable_upload_is_told_by_the_event(do, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    upload = PhotoInput(label="Photo")
    read = upload.preprocess(ImageData(path=str(path)))
    assert isinstance(read, UserError)
    with pytest.raises(gr.Error, match="not a picture that can be read"):
        next(do.open_photo(read, VIEWS[0], True))


def test_a_photo_above_the_pages_own_limit_is_told(editor, tmp_path, astronaut):
    page = build_page(editor, RECIPE, max_bytes=100_000, queue_size=3)
    upload = next(block for block in page.blocks.values() if isinstance(block, PhotoInput))
    astronaut.save(tmp_path / "photo.png")
    read = upload.preprocess(ImageData(path=str(tmp_path / "photo.png")))
    assert "at most 0.1 MB are read" in str(read)
    assert PhotoInput(label="Photo").preprocess(ImageData(path=str(tmp_path / "photo.png"))).size == astronaut.size
    assert page._queue.max_size == 3


def test_a_cleared_upload_changes_nothing(do):
    assert PhotoInput(label="Photo").preprocess(None) is None
    (outputs,) = do.open_photo(None, VIEWS[0], True)
    assert outputs == (gr.skip(),) * (7 + do.sliders)


@pytest.mark.parametrize("payload", [None, "", "abc", float("nan"), float("inf"), [1]])
def test_a_slider_that_is_typed_wrong_means_zero(payload):
    assert AmountSlider(-1, 1).preprocess(payload) == 0.0


@pytest.mark.parametrize("values", [(), (1e9,) * 99, (-1e9,), (float("nan"),)])
def test_hostile_slider_values_stay_in_range(do, values):
    session = do.editor.random_face(45)
    amounts = do.amounts(session, values)
    assert all(d.low <= amounts.get(d.name, 0.0) <= d.high for d in session.directions)


@pytest.mark.parametrize("seed", [None, -5, 2**40, float("nan"), "x"])
def test_a_wrong_seed_still_gives_a_face(do, seed):
    assert do.random_face(seed, VIEWS[0], True)[0].note.endswith("seed 0.")


def test_outputs_are_inside_the_answer_and_never_files(astronaut):
    shown = InlineImage(label="x").postprocess(astronaut)
    assert isinstance(shown, ImageData)
    assert shown.path is None
    assert Image.open(io.BytesIO(base64.b64decode(shown.url.split(",")[1]))).size == astronaut.size
    pair = InlineCompare(label="x").postprocess((astronaut, astronaut))
    assert all(isinstance(half, FileData) or half.path is None for half in pair.root)


def test_a_download_is_a_png_of_the_edit(do):
    url = do.download(do.editor.random_face(45), True, 2.0)
    picture = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert picture.format == "PNG"
    assert picture.size == (SIDE, SIDE)


def test_a_discovery_shows_its_curve_and_its_direction_becomes_a_slider(do):
    session = do.editor.random_face(45)
    status, curve, strip, found = list(do.discover(session, ["eyes"], 3, 1))[-1]
    assert "Step **3** of 3" in status
    assert list(curve.columns) == ["step", "score"]
    assert len(curve) == 3
    assert strip.width > 3 * 250
    longer, _, words, nothing, *sliders = do.keep(session, found, "  my   <b>eyes</b> " + "x" * 99)
    kept = longer.directions[-1]
    assert kept.name.startswith("my <b>eyes</b>")
    assert len(kept.name) <= MAX_NAME
    assert kept.score is not None
    assert nothing is None
    assert "%" in words
    assert sliders[len(session.directions)]["visible"]


def test_discovery_tells_what_is_missing(do):
    session = do.editor.random_face(45)
    with pytest.raises(gr.Error, match="No part was chosen"):
        next(do.discover(session, [], 10, 1))
    with pytest.raises(gr.Error, match="There is no direction yet"):
        do.keep(session, None, "x")
    full = do.editor.with_directions(session, [session.directions[0]] * SPARE)
    with pytest.raises(gr.Error, match="sliders are in use"):
        next(do.discover(full, ["eyes"], 10, 1))


def test_hostile_numbers_of_a_discovery_are_bounded(do):
    run = do.discover(do.editor.random_face(45), ["eyes"], 1e12, -1e12)
    assert "of 4000" in next(run)[0]
    run.close()


def test_words_are_grammatical():
    direction = Direction("lips", "g", "f", "Z", np.zeros(1), ends=("less red", "red"))
    assert slider_words(direction)["label"] == "Lips"
    assert slider_words(direction)["info"].split(" ") == ["less\N{NO-BREAK SPACE}red", "red"]
    assert "Nothing is changed" in describe_locality(None)
    assert "hair and mouth, which cover 30.0%" in describe_locality(Locality(("hair", "mouth"), 0.5, 0.3))
    assert "hair, which covers" in describe_locality(Locality(("hair",), 0.5, 0.3))
