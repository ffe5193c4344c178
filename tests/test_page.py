"""The page without a browser: it builds, its events are wired as they must be, its callbacks survive everything."""

from __future__ import annotations

import base64
import io

import gradio as gr
import numpy as np
import pytest
from gradio.data_classes import FileData, ImageData
from PIL import Image

from demo.callbacks import LARGE, SIDE, VIEWS, WHOLE, Callbacks, data_url
from demo.components import AmountSlider, InlineCompare, InlineImage, PhotoInput
from demo.models import ModelManager
from demo.news import answering, every
from demo.page import build_page
from demo.photo_panel import photo_panel
from demo.words import describe_locality, slider_words
from lelsd_core.directions import Direction
from lelsd_core.editor import Locality
from lelsd_core.errors import UserError
from lelsd_core.inversion import BALANCED, CLOSENESS

HOW = (VIEWS[0], True, False)  # view, keep the photo's detail, protect the rest


@pytest.fixture(scope="module")
def do(editor) -> Callbacks:
    return Callbacks(ModelManager(editor), len(editor.directions) + 8)


@pytest.fixture(scope="module")
def config(editor):
    return build_page(ModelManager(editor)).get_config_file()


@pytest.fixture(scope="module")
def opened(do, editor, astronaut) -> dict:
    """What the page hears when the astronaut's photo is opened."""
    return do.open_photo(editor.random_face(45), astronaut, BALANCED, *HOW)


def part_of(config, elem_id: str) -> dict:
    """A component of the page by its id."""
    return next(c for c in config["components"] if c["props"].get("elem_id") == elem_id)


def events_of(config, elem_id: str) -> list[dict]:
    """The events that a component starts."""
    number = part_of(config, elem_id)["id"]
    return [d for d in config["dependencies"] if any(target[0] == number for target in d["targets"])]


def test_every_slider_answers_at_once_and_when_it_is_let_go_with_its_last_value(config, do):
    for i in range(do.sliders):
        events = [d for d in events_of(config, f"slider-{i}") if d["backend_fn"]]
        assert sorted(name for event in events for _, name in event["targets"][:1]) == ["input", "release"]
        assert all(event["trigger_mode"] == "always_last" for event in events)
        assert all(event["queue"] is False for event in events)


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


def test_a_new_face_gives_up_whatever_is_still_refined_for_another(config):
    (refining,) = [d for d in config["dependencies"] if any(name == "change" for _, name in d["targets"])]
    for elem_id in ("upload", "examples", "seed", "random", "faces", "aligned-before", "nudge-turn", "closeness"):
        assert any(refining["id"] in event["cancels"] for event in events_of(config, elem_id)), elem_id


def test_a_photo_fills_the_page_at_once_and_then_better(do, opened):
    assert opened["picture"].size == (SIDE, SIDE)
    assert "One face was found" in opened["note"]
    assert WHOLE in [choice[0] if isinstance(choice, tuple) else choice for choice in opened["view"]["choices"]]
    assert len(opened["sliders"]) == do.sliders
    better = list(do.refine(opened["session"], opened["source"], opened["fit"]))
    assert len(better) >= 2
    assert better[-1]["session"].inversion_l1 < opened["session"].inversion_l1
    assert better[-1]["rebuilt"].size == (SIDE, SIDE)
    assert all("sliders" not in news for news in better), "sliders that were moved meanwhile stay"


def test_sliders_that_were_found_are_there_for_the_next_photo(do, editor, astronaut):
    session = editor.random_face(45).with_directions([editor.directions[0]])
    after = do.open_photo(session, astronaut, BALANCED, *HOW)["session"]
    assert [d.name for d in after.directions] == [d.name for d in session.directions]


def test_detail_keeps_the_photo_and_the_models_view_does_not(do, opened):
    session, source = opened["session"], opened["source"]
    kept = do.show(session, source, "Edited", True, False)["picture"]
    assert np.array_equal(np.asarray(kept), np.asarray(session.photo))
    rebuilt = do.show(session, source, "Edited", False, False)["picture"]
    assert not np.array_equal(np.asarray(rebuilt), np.asarray(session.photo))


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_shows_something(do, editor, view):
    news = do.show(editor.random_face(45), None, view, True, False, 2.0)
    assert "%" in news["meter"]
    shown = news["swipe"] if view == "Swipe" else [news["picture"]]
    assert [picture.size for picture in shown] == [(SIDE, SIDE)] * len(shown)


def test_the_whole_photo_is_untouched_at_rest_and_changes_at_the_face_only(do, opened):
    session, source = opened["session"], opened["source"]
    rest = do.show(session, source, WHOLE, True, False)["picture"]
    assert np.array_equal(np.asarray(rest), np.asarray(source.shown))
    moved = do.show(session, source, WHOLE, True, False, *[d.high for d in session.directions])["picture"]
    change = np.abs(np.asarray(moved).astype(int) - np.asarray(rest)).max(2)
    assert change.max() > 8
    assert change[-40:].max() == 0, "below the frame"


def test_protection_raises_the_share_inside_the_part(do, editor):
    session = editor.random_face(45)
    values = [d.high if d.name == "mouth" else 0.0 for d in session.directions]
    shares = [do.show(session, None, "Edited", True, on, *values)["meter"] for on in (False, True)]
    free, kept = (float(words.split("**")[1].rstrip("%")) for words in shares)
    assert kept > free


def test_a_nudge_turns_the_face_and_keeps_sliders_and_choice(do, opened):
    session, source, fit = opened["session"], opened["source"], opened["fit"]
    again = do.refit(session, source, fit, False, 0.05, 0.0, 1.1, 10.0, "easier to edit", False, *HOW, 2.0)
    assert "sliders" not in again
    assert again["fit"].nudge.turn == 10.0
    assert again["fit"].closeness == "easier to edit"
    assert not np.allclose(again["session"].matrix, session.matrix)
    assert again["turn"] != opened["turn"], "it is refined anew"


def test_only_a_stylegan2_is_tuned_to_a_face(do, opened):
    assert not opened["tune"]["visible"]
    session, source, fit = opened["session"], opened["source"], opened["fit"]
    with pytest.raises(gr.Error, match="Only a StyleGAN2 can be tuned"):
        do.refit(session, source, fit, False, 0.0, 0.0, 1.0, 0.0, BALANCED, True, *HOW)


def test_a_photo_can_be_taken_as_it_is(do, opened):
    session, source, fit = opened["session"], opened["source"], opened["fit"]
    still = (0.0, 0.0, 1.0, 0.0, BALANCED, False, *HOW)
    plain = do.refit(session, source, fit, True, *still)
    assert plain["aligned"] is True
    assert plain["session"].matrix[0, 1] == 0
    back = do.refit(plain["session"], plain["source"], plain["fit"], False, *still)
    assert np.allclose(back["session"].matrix, session.matrix)


def test_faces_of_a_group_can_be_chosen(do, editor, astronaut):
    group = Image.new("RGB", (1000, 560), "gray")
    group.paste(astronaut, (20, 20))
    group.paste(astronaut.resize((400, 400)), (560, 60))
    news = do.open_photo(editor.random_face(45), group, BALANCED, *HOW)
    assert len(news["faces"]["value"]) == 2
    given = (news["session"], news["source"], news["fit"], False, 0.0, 0.0, 1.0, 0.0, BALANCED, False, *HOW)
    other = do.choose_face(gr.SelectData(None, {"index": 1, "value": None}), *given)
    assert other["fit"].face == 1
    assert "number 2" in other["note"]
    assert not np.allclose(other["session"].matrix, news["session"].matrix)


def test_fitting_without_a_photo_changes_nothing(do, editor):
    assert do.refit(editor.random_face(45), None, None, True, 0.1, 0.0, 1.0, 0.0, BALANCED, False, *HOW) == {}
    assert list(do.refine(editor.random_face(45), None, None)) == []


def test_the_panel_offers_every_closeness():
    with gr.Blocks():
        panel = photo_panel()
    assert [choice[1] for choice in panel.closeness.choices] == list(CLOSENESS)


def test_a_face_that_cannot_be_found_is_told(do, editor):
    with pytest.raises(gr.Error, match="No face was found"):
        do.open_photo(editor.random_face(45), Image.new("RGB", (200, 200), "green"), BALANCED, *HOW)


def test_an_unreadable_upload_is_told_by_the_event(do, editor, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    upload = PhotoInput(label="Photo")
    read = upload.preprocess(ImageData(path=str(path)))
    assert isinstance(read, UserError)
    with pytest.raises(gr.Error, match="not a picture that can be read"):
        do.open_photo(editor.random_face(45), read, BALANCED, *HOW)


def test_a_photo_above_the_pages_own_limit_is_told(editor, tmp_path, astronaut):
    page = build_page(ModelManager(editor), max_bytes=100_000, queue_size=3)
    upload = next(block for block in page.blocks.values() if isinstance(block, PhotoInput))
    astronaut.save(tmp_path / "photo.png")
    read = upload.preprocess(ImageData(path=str(tmp_path / "photo.png")))
    assert "at most 0.1 MB are read" in str(read)
    assert PhotoInput(label="Photo").preprocess(ImageData(path=str(tmp_path / "photo.png"))).size == astronaut.size
    assert page._queue.max_size == 3


def test_a_cleared_upload_changes_nothing(do, editor):
    assert PhotoInput(label="Photo").preprocess(None) is None
    assert do.open_photo(editor.random_face(45), None, BALANCED, *HOW) == {}


def test_news_reach_the_components_they_name():
    with gr.Blocks():
        named = {"one": gr.Textbox(), "many": [gr.Slider(), gr.Slider()]}
        assert every(named) == [named["one"], *named["many"]]
        placed = answering(lambda: {"many": [1, 2]}, named)()
        assert placed == dict(zip(named["many"], [1, 2], strict=True))
        (nothing,) = answering(dict, named)().values()
        assert nothing == gr.skip(), "Gradio wants some answer"


@pytest.mark.parametrize("payload", [None, "", "abc", float("nan"), float("inf"), [1]])
def test_a_slider_that_is_typed_wrong_means_zero(payload):
    assert AmountSlider(-1, 1).preprocess(payload) == 0.0


@pytest.mark.parametrize("values", [(), (1e9,) * 99, (-1e9,), (float("nan"),)])
def test_hostile_slider_values_stay_in_range(do, editor, values):
    session = editor.random_face(45)
    amounts = do.amounts(session, values)
    assert all(d.low <= amounts.get(d.name, 0.0) <= d.high for d in session.directions)


@pytest.mark.parametrize("seed", [None, -5, 2**40, float("nan"), "x"])
def test_a_wrong_seed_still_gives_a_face(do, seed):
    assert do.random_face(None, seed, *HOW)["note"].endswith("seed 0.")


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


def test_a_download_is_a_png_of_the_edit(do, editor):
    picture = downloaded(do.download(editor.random_face(45), None, *HOW, 2.0))
    assert picture.format == "PNG"
    assert picture.size == (SIDE, SIDE)


def test_a_download_of_the_whole_photo_has_its_size(do, opened):
    session, source = opened["session"], opened["source"]
    picture = downloaded(do.download(session, source, WHOLE, True, False))
    assert np.array_equal(np.asarray(picture), np.asarray(source.photo))
    assert downloaded(data_url(Image.new("RGB", (LARGE // 1000 + 1, 1000)))).format == "JPEG"


def test_words_are_grammatical():
    direction = Direction("lips", "g", "f", "Z", np.zeros(1), ends=("less red", "red"))
    assert slider_words(direction)["label"] == "Lips"
    assert slider_words(direction)["info"].split(" ") == ["less\N{NO-BREAK SPACE}red", "red"]
    assert "Nothing is changed" in describe_locality(None)
    assert "hair and mouth, which cover 30.0%" in describe_locality(Locality(("hair", "mouth"), 0.5, 0.3))
    assert "hair, which covers" in describe_locality(Locality(("hair",), 0.5, 0.3))
