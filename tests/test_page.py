"""The page without a browser: it builds, its events are wired as they must be, its callbacks survive everything."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from gradio.data_classes import FileData, ImageData
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from demo.callbacks import ALL, FACE_SIZE, VIEWS, WHOLE, Callbacks, Face, group_choices, recipe_pictures
from demo.components import LARGE, AmountSlider, InlineCompare, InlineImage, PhotoInput, components_of, data_url, event
from demo.discover_tab import MAX_NAME, NO_START, RECIPES, DiscoverCallbacks
from demo.models import ModelManager
from demo.page import build_page
from demo.words import NO_BREAK, describe_locality, group_of, slider_properties
from lelsd_core.directions import Direction
from lelsd_core.editor import Locality
from lelsd_core.errors import UserError
from lelsd_core.inversion import BALANCED, CLOSENESS
from lelsd_core.seeds import HELD_OUT

DISPLAY = (VIEWS[0], True, False)  # view, keep the photo's detail, protect the rest
DEFAULTS = (False, 0.0, 0.0, 1.0, 0.0, BALANCED, False)  # options of a photo as it is opened
REQUEST = SimpleNamespace(session_hash="test")


@pytest.fixture(scope="module")
def callbacks(editor) -> Callbacks:
    return Callbacks(ModelManager(editor), len(editor.directions) + 8)


@pytest.fixture(scope="module")
def page(editor):
    return build_page(ModelManager(editor))


@pytest.fixture(scope="module")
def config(page):
    return page.get_config_file()


@pytest.fixture(scope="module")
def face(editor) -> Face:
    """A random face."""
    return Face(editor.random_face(45))


@pytest.fixture(scope="module")
def opened(callbacks, face, astronaut) -> dict:
    """The updates when the astronaut's photo is opened."""
    return callbacks.open_photo(REQUEST, face, astronaut, BALANCED, DISPLAY)


def component_of(config, elem_id: str) -> dict:
    """A component of the page by its id."""
    return next(c for c in config["components"] if c["props"].get("elem_id") == elem_id)


def events_of(config, elem_id: str) -> list[dict]:
    """The events that a component starts."""
    number = component_of(config, elem_id)["id"]
    return [d for d in config["dependencies"] if any(target[0] == number for target in d["targets"])]


# ---------------------------------------------------------------------------------------------------- wiring


def test_every_slider_answers_at_once_and_when_it_is_released_with_its_last_value(config, callbacks):
    for i in range(callbacks.slider_count):
        events = [d for d in events_of(config, f"slider-{i}") if d["backend_fn"]]
        assert sorted(name for event in events for _, name in event["targets"][:1]) == ["input", "release"]
        assert all(event["trigger_mode"] == "always_last" for event in events)
        assert all(event["queue"] is False for event in events)


def test_shipped_sliders_are_shown_with_their_names_and_spare_ones_are_hidden(config, editor):
    for i, direction in enumerate(editor.directions):
        props = component_of(config, f"slider-{i}")["props"]
        assert props["visible"]
        assert props["label"].lower() == direction.name.replace("-", " ")
        assert (props["minimum"], props["maximum"], props["value"]) == (direction.low, direction.high, 0)
        assert direction.ends[0].replace(" ", NO_BREAK) in props["info"]
    assert not component_of(config, f"slider-{len(editor.directions)}")["props"]["visible"]


def test_no_event_is_a_public_api(config):
    assert all(d["api_visibility"] == "private" for d in config["dependencies"])


def test_the_page_opens_with_a_face(config):
    value = component_of(config, "picture")["props"]["value"]
    assert value["url"].startswith("data:image/jpeg;base64,")


def test_a_new_face_does_not_wait_for_the_refinement_of_another(page, config):
    number = component_of(config, "stop-refining")["id"]
    (stop,) = [d for d in config["dependencies"] if (number, "click") in map(tuple, d["targets"])]
    assert stop["queue"] is False, "it does not wait for what it ends"
    assert [tuple(target) for target in stop["targets"]] == [(number, "click")]
    lanes = {function.name: function.concurrency_id for function in page.fns.values()}
    assert lanes["refine"] != lanes["open_photo"] == lanes["random_face"] == lanes["reopen"]


def test_the_panel_offers_every_closeness(config):
    assert [choice[1] for choice in component_of(config, "closeness")["props"]["choices"]] == list(CLOSENESS)


def test_events_pass_values_and_updates_by_name():
    with gr.Blocks():
        components = {"text": gr.Textbox(), "amounts": [gr.Slider(), gr.Slider()], "other": gr.Textbox()}

    def callback(event, amounts, text):
        return {"amounts": [2 * amount for amount in amounts], "text": f"{event} {text}"}

    arguments = event(callback, components, ("text", "amounts"))
    text, amounts = components["text"], components["amounts"]
    assert (arguments["inputs"], arguments["outputs"]) == ([*amounts, text], [text, *amounts])
    assert arguments["fn"]("clicked", 1, 2, "hello") == {amounts[0]: 2, amounts[1]: 4, text: "clicked hello"}
    assert components_of(components, ["amounts"]) == amounts
    (nothing,) = event(lambda text: {}, components, ["text"])["fn"]("hello").values()
    assert nothing == gr.skip(), "Gradio rejects an empty dict"


@pytest.mark.parametrize("error", [UserError("words for the user"), MemoryError()])
def test_events_show_errors_that_users_can_fix_and_no_others(error):
    def fail():
        raise error

    def fail_later():
        yield {}
        raise error

    components = {"text": gr.Textbox(render=False)}
    with pytest.raises(gr.Error, match=r"words for the user|not enough memory"):
        event(fail, components, ["text"])["fn"]()
    with pytest.raises(gr.Error, match=r"words for the user|not enough memory"):
        list(event(fail_later, components, ["text"])["fn"]())
    error = KeyError("a bug")
    with pytest.raises(KeyError):
        event(fail, components, ["text"])["fn"]()


# ---------------------------------------------------------------------------------------------- photos and views


def test_a_photo_fills_the_page_at_once_and_is_then_refined(callbacks, face, astronaut):
    opened = callbacks.open_photo(REQUEST, face, astronaut, BALANCED, DISPLAY)
    assert opened["picture"].size == (FACE_SIZE, FACE_SIZE)
    assert "One face was found" in opened["note"]
    assert WHOLE in [choice[0] if isinstance(choice, tuple) else choice for choice in opened["view"]["choices"]]
    assert len(opened["sliders"]) == callbacks.slider_count
    refined = list(callbacks.refine(REQUEST, opened["face"], opened["inversion"]))
    assert len(refined) >= 2
    assert refined[-1]["face"].session.inversion_l1 < opened["face"].session.inversion_l1
    assert refined[-1]["face"].detected is opened["face"].detected
    assert refined[-1]["rebuilt"].size == (FACE_SIZE, FACE_SIZE)
    assert all("sliders" not in updates for updates in refined), "sliders that were moved meanwhile stay"


def test_discovered_sliders_stay_for_the_next_photo(callbacks, face, editor, astronaut):
    session = face.session.with_directions([editor.directions[0]])
    after = callbacks.open_photo(REQUEST, Face(session), astronaut, BALANCED, DISPLAY)["face"].session
    assert [d.name for d in after.directions] == [d.name for d in session.directions]


def test_detail_keeps_the_photo_and_the_models_view_does_not(callbacks, opened):
    photo = np.asarray(opened["face"].session.photo)
    detailed = callbacks.show(opened["face"], ("Edited", True, False), ())["picture"]
    assert np.array_equal(np.asarray(detailed), photo)
    rebuilt = callbacks.show(opened["face"], ("Edited", False, False), ())["picture"]
    assert not np.array_equal(np.asarray(rebuilt), photo)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_shows_a_picture(callbacks, face, view):
    updates = callbacks.switch_view(face, (view, True, False), [2.0])
    assert "%" in updates["meter"]
    shown, hidden = ("swipe", "picture") if view == "Swipe" else ("picture", "swipe")
    assert (updates[shown]["visible"], updates[hidden]["visible"]) == (True, False)
    value = updates[shown]["value"]
    pictures = value if view == "Swipe" else [value]
    assert [picture.size for picture in pictures] == [(FACE_SIZE, FACE_SIZE)] * len(pictures)


def test_the_whole_photo_is_untouched_at_rest_and_changes_at_the_face_only(callbacks, opened):
    face, display = opened["face"], (WHOLE, True, False)
    rest = callbacks.show(face, display, ())["picture"]
    assert np.array_equal(np.asarray(rest), np.asarray(face.detected.shown))
    moved = callbacks.show(face, display, [d.high for d in face.session.directions])["picture"]
    change = np.abs(np.asarray(moved).astype(int) - np.asarray(rest)).max(2)
    assert change.max() > 8
    assert change[-40:].max() == 0, "below the frame"


def test_protection_raises_the_share_inside_the_part(callbacks, face):
    values = [d.high if d.name == "mouth" else 0.0 for d in face.session.directions]
    meters = [callbacks.show(face, ("Edited", True, protect), values)["meter"] for protect in (False, True)]
    free, protected = (float(meter.split("**")[1].rstrip("%")) for meter in meters)
    assert protected > free


def test_a_group_shows_its_sliders_only_and_moves_none(callbacks, face):
    directions = face.session.directions
    words = [value for _, value in group_choices(directions)]
    assert words[0] == ALL
    assert len(words) > 5
    for group in words:
        updates = callbacks.show_group(face, group)["sliders"]
        shown = [d.name for d, update in zip(directions, updates, strict=False) if update["visible"]]
        assert shown == [d.name for d in directions if group in (ALL, group_of(d))]
        assert shown
        assert not any("value" in update for update in updates)
    assert group_of(replace(directions[0], parts=("skin", "eyes", "mouth"))) == "face"


def test_a_recipe_sets_all_sliders_and_shows_the_edit(callbacks, face):
    recipes = callbacks.editor().recipes
    assert len(recipes) >= 6
    pictures = recipe_pictures(callbacks.editor())
    assert [words.lower().replace(" ", "-") for _, words in pictures] == list(recipes)
    for i, recipe in enumerate(recipes.values()):
        updates = callbacks.use_recipe(gr.SelectData(None, {"index": i, "value": None}), face, DISPLAY)
        amounts = dict(zip((d.name for d in face.session.directions), updates["sliders"], strict=False))
        assert {name: amount for name, amount in amounts.items() if amount} == recipe.amounts
        assert len(updates["sliders"]) == callbacks.slider_count
        assert "%" in updates["meter"]


def test_a_new_face_shows_all_sliders_again(callbacks, face, opened):
    for updates in (opened, callbacks.random_face(REQUEST, face, 3, DISPLAY)):
        assert updates["group"]["value"] == ALL
        assert updates["recipes"]["selected_index"] is None


def test_a_nudge_turns_the_face_and_keeps_sliders_and_choice(callbacks, opened):
    face = opened["face"]
    options = (False, 0.05, 0.0, 1.1, 10.0, "easier to edit", False)
    again = callbacks.reopen(REQUEST, face, options, DISPLAY, [2.0])
    assert "sliders" not in again
    assert again["face"].options.nudge.turn == 10.0
    assert again["face"].options.closeness == "easier to edit"
    assert not np.allclose(again["face"].session.matrix, face.session.matrix)
    assert again["inversion"] != opened["inversion"], "it is refined anew"


def test_only_a_stylegan2_is_tuned_to_a_face(callbacks, opened):
    assert not opened["tune"]["visible"]
    with pytest.raises(UserError, match="StyleGAN2"):
        callbacks.reopen(REQUEST, opened["face"], (*DEFAULTS[:-1], True), DISPLAY, ())


def test_a_photo_can_be_used_as_already_aligned(callbacks, opened):
    plain = callbacks.reopen(REQUEST, opened["face"], (True, *DEFAULTS[1:]), DISPLAY, ())
    assert plain["aligned"] is True
    assert plain["face"].session.matrix[0, 1] == 0
    back = callbacks.reopen(REQUEST, plain["face"], DEFAULTS, DISPLAY, ())
    assert np.allclose(back["face"].session.matrix, opened["face"].session.matrix)


def test_faces_of_a_group_can_be_chosen(callbacks, face, astronaut):
    group = Image.new("RGB", (1000, 560), "gray")
    group.paste(astronaut, (20, 20))
    group.paste(astronaut.resize((400, 400)), (560, 60))
    updates = callbacks.open_photo(REQUEST, face, group, BALANCED, DISPLAY)
    assert len(updates["faces"]["value"]) == 2
    second = gr.SelectData(None, {"index": 1, "value": None})
    other = callbacks.choose_face(second, REQUEST, updates["face"], DEFAULTS, DISPLAY, ())
    assert other["face"].options.face == 1
    assert "number 2" in other["note"]
    assert not np.allclose(other["face"].session.matrix, updates["face"].session.matrix)


def test_an_example_is_opened(callbacks, face):
    first = gr.SelectData(None, {"index": 0, "value": None})
    assert callbacks.open_example(first, REQUEST, face, BALANCED, DISPLAY)["face"].detected is not None


def test_options_without_a_photo_change_nothing(callbacks, face):
    assert callbacks.reopen(REQUEST, face, (True, *DEFAULTS[1:]), DISPLAY, ()) == {}
    assert list(callbacks.refine(REQUEST, face, 0)) == []


def test_a_photo_without_a_face_raises_user_error(callbacks, face):
    with pytest.raises(UserError, match="No face was found"):
        callbacks.open_photo(REQUEST, face, Image.new("RGB", (200, 200), "green"), BALANCED, DISPLAY)


def test_an_unreadable_upload_is_reported_by_the_event(callbacks, face, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    error = PhotoInput(label="Photo").preprocess(ImageData(path=str(path)))
    assert isinstance(error, UserError)
    with pytest.raises(UserError, match="not a picture that can be read"):
        callbacks.open_photo(REQUEST, face, error, BALANCED, DISPLAY)


def test_a_photo_above_the_pages_own_limit_is_refused(editor, tmp_path, astronaut):
    page = build_page(ModelManager(editor), max_bytes=100_000, queue_size=3)
    upload = next(block for block in page.blocks.values() if isinstance(block, PhotoInput))
    astronaut.save(tmp_path / "photo.png")
    error = upload.preprocess(ImageData(path=str(tmp_path / "photo.png")))
    assert "0.1 MB" in str(error)
    assert PhotoInput(label="Photo").preprocess(ImageData(path=str(tmp_path / "photo.png"))).size == astronaut.size
    assert page._queue.max_size == 3


def test_a_cleared_upload_changes_nothing(callbacks, face):
    assert PhotoInput(label="Photo").preprocess(None) is None
    assert callbacks.open_photo(REQUEST, face, None, BALANCED, DISPLAY) == {}


# ----------------------------------------------------------------------------------------------- hostile values


@pytest.mark.parametrize("payload", [None, "", "abc", float("nan"), float("inf"), [1]])
def test_an_invalid_slider_value_is_zero(payload):
    assert AmountSlider(-1, 1).preprocess(payload) == 0.0


@pytest.mark.parametrize("values", [(), (1e9,) * 99, (-1e9,), (float("nan"),)])
def test_hostile_slider_values_stay_in_range(callbacks, face, values):
    amounts = callbacks.amounts(face.session, values)
    assert all(d.low <= amounts.get(d.name, 0.0) <= d.high for d in face.session.directions)


@pytest.mark.parametrize("seed", [None, -5, 2**40, float("nan"), "x"])
def test_an_invalid_seed_still_gives_a_face(callbacks, face, seed):
    assert callbacks.random_face(REQUEST, face, seed, DISPLAY)["note"].endswith("seed 0.")


# ------------------------------------------------------------------------------------------ pictures and sentences


def test_outputs_are_inside_the_answer_and_never_files(astronaut):
    shown = InlineImage(label="x").postprocess(astronaut)
    assert isinstance(shown, ImageData)
    assert shown.path is None
    assert Image.open(io.BytesIO(base64.b64decode(shown.url.split(",")[1]))).size == astronaut.size
    pair = InlineCompare(label="x").postprocess((astronaut, astronaut))
    assert all(isinstance(half, FileData) or half.path is None for half in pair.root)


def downloaded(url: str) -> Image.Image:
    """The picture of a data URL."""
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_a_download_is_a_png_of_the_edit(callbacks, face):
    picture = downloaded(callbacks.download(face, DISPLAY, [2.0])["download_url"])
    assert picture.format == "PNG"
    assert picture.size == (FACE_SIZE, FACE_SIZE)


def test_a_download_of_the_whole_photo_has_its_size(callbacks, opened):
    picture = downloaded(callbacks.download(opened["face"], (WHOLE, True, False), ())["download_url"])
    assert np.array_equal(np.asarray(picture), np.asarray(opened["face"].detected.photo))
    assert downloaded(data_url(Image.new("RGB", (LARGE // 1000 + 1, 1000)))).format == "JPEG"


@given(st.floats(-16, -0.001), st.floats(0.001, 16))
def test_a_slider_has_whole_steps_from_0_to_both_ends_and_goes_no_further(low, high):
    direction = Direction("lips", "g", "f", "Z", np.zeros(1), low=low, high=high)
    shown = slider_properties(direction)
    step = shown["step"]
    assert step <= 0.1
    for end, usable in ((shown["minimum"], low), (shown["maximum"], high)):
        assert end / step == pytest.approx(round(end / step), abs=1e-6)
        assert 0 <= usable / end - 1 < 1.001 * step / abs(end) or end == pytest.approx(usable, rel=1e-6)
        assert abs(end) >= 9 * step


def test_sentences_are_grammatical():
    direction = Direction("lips", "g", "f", "Z", np.zeros(1), ends=("less red", "red"))
    assert slider_properties(direction)["label"] == "Lips"
    assert slider_properties(direction)["info"].split(" ") == [f"less{NO_BREAK}red", "red"]
    assert "Nothing is changed" in describe_locality(None)
    assert "hair and mouth, which cover 30.0%" in describe_locality(Locality(("hair", "mouth"), 0.5, 0.3))
    assert "nose, hair and mouth, which" in describe_locality(Locality(("nose", "hair", "mouth"), 0.5, 0.3))
    assert "hair, which covers" in describe_locality(Locality(("hair",), 0.5, 0.3))


# -------------------------------------------------------------------------------------------------- discovery


def test_a_search_shows_its_curve_and_its_direction_becomes_a_slider(callbacks, face, monkeypatch):
    monkeypatch.setattr("demo.discover_tab.CALIBRATION_SEEDS", HELD_OUT[:8])
    discover = DiscoverCallbacks(callbacks)
    updates = list(discover.discover(face, ["eyes"], 3, 1))[-1]
    assert "Step **3** of 3" in updates["status"]
    assert list(updates["curve"].columns) == ["step", "score"]
    assert len(updates["curve"]) == 3
    assert updates["strip"].width > 3 * 250
    added = discover.add_slider(face, updates["direction"], "  my   <b>eyes</b> " + "x" * 99)
    direction = added["face"].session.directions[-1]
    assert direction.name.startswith("my <b>eyes</b>")
    assert len(direction.name) <= MAX_NAME
    assert direction.score is not None
    assert added["direction"] is None
    assert "%" in added["status"]
    number = len(face.session.directions)
    assert all(update == gr.skip() for update in added["sliders"][:number]), "other sliders stay"
    assert added["sliders"][number]["visible"]


def test_the_paper_s_recipe_is_a_choice(callbacks, face):
    discover = DiscoverCallbacks(callbacks)
    editor = callbacks.editor(face.session)
    steps = {preset: discover.show_recipe(face, ["hair"], preset)["steps"] for preset in RECIPES}
    assert steps == {"look": editor.search_config.steps, "shape": editor.shape_config.steps, "paper": 200}
    direction = list(discover.discover(face, ["hair"], 1, 1, "paper"))[-1]["direction"]
    assert direction.facts["norm"] == "free"
    assert len(direction.facts["layers"]) == 4, "all layers"


def test_a_shape_is_searched_from_a_start_with_a_name(callbacks, face):
    discover = DiscoverCallbacks(callbacks)
    visible = {preset: discover.show_recipe(face, ["mouth"], preset)["named_start"]["visible"] for preset in RECIPES}
    assert visible == {"look": False, "shape": True, "paper": False}
    assert discover.choose_start(face, "smile") == {"parts": ["mouth"], "recipe_chosen": True}
    assert discover.choose_start(face, NO_START) == {}
    assert not list(discover.discover(face, ["mouth"], 1, 1))[-1]["direction"].facts["start"]
    unsaid = list(discover.discover(face, ["mouth"], 1, 1, named_start="smile"))[-1]["direction"]
    assert unsaid.facts["start"] == ("smile",), "a start counts where the parts choose a shape, too"
    found = list(discover.discover(face, ["mouth"], 2, 1, "shape", "smile"))[-1]["direction"]
    assert (found.kind, found.ends, found.local.around) == ("shape", ("pouting", "smiling"), ("mouth",))
    assert found.facts["start"] == ("smile",)
    plain = list(discover.discover(face, ["mouth"], 2, 1, "look", "smile"))[-1]["direction"]
    assert (plain.kind, plain.facts["start"]) == ("look", ()), "a look has no start"
    added = discover.add_slider(face, found, "my smile")
    assert added["face"].session.directions[-1].local == found.local


def test_the_parts_choose_the_recipe_until_a_person_does(callbacks, face):
    """On digiface-64 shapes have the greater variety for all parts of a face (tests/bench/evidence.py)."""
    discover = DiscoverCallbacks(callbacks)
    assert discover.choose_recipe(face, ["mouth"], "look", False)["recipe"] == "shape"
    assert discover.choose_recipe(face, ["mouth"], "look", True) == {}, "a person's choice stays"
    assert discover.choose_recipe(face, ["mouth"], "shape", False) == {}, "steps that were chosen stay"
    assert discover.choose_recipe(face, ["mouth", "background"], "shape", False)["recipe"] == "look"
    assert discover.choose_recipe(face, [], "shape", False) == {}
    found = {part: list(discover.discover(face, [part], 1, 1))[-1]["direction"] for part in ("mouth", "background")}
    assert {part: direction.kind for part, direction in found.items()} == {"mouth": "shape", "background": "look"}


def test_a_search_that_is_impossible_raises_user_error(callbacks, face):
    discover = DiscoverCallbacks(callbacks)
    with pytest.raises(UserError, match="part"):
        next(discover.discover(face, [], 10, 1))
    with pytest.raises(UserError, match="no direction yet"):
        discover.add_slider(face, None, "x")
    full = Face(face.session.with_directions([face.session.directions[0]] * 8))
    with pytest.raises(UserError, match="sliders are in use"):
        next(discover.discover(full, ["eyes"], 10, 1))


def test_hostile_numbers_of_a_search_are_bounded(callbacks, face):
    search = DiscoverCallbacks(callbacks).discover(face, ["eyes"], 1e12, -1e12)
    assert "of 4000" in next(search)["status"]
    search.close()
