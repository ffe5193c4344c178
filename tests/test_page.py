"""The page without a browser: it builds, its events are wired as they must be, its components survive everything."""

from __future__ import annotations

import base64
import io
import re

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio.data_classes import FileData, ImageData
from PIL import Image

from demo.components import (
    LARGE,
    AmountSlider,
    InlineCompare,
    InlineImage,
    PhotoInput,
    components_of,
    event,
    gallery,
    picture_url,
)
from demo.models import ModelManager
from demo.page import build_page
from demo.words import NO_BREAK, amount_of, caption_of, describe_edit, describe_place, percent_of, slider_properties
from lelsd_core.directions import Direction
from lelsd_core.editor import Locality
from lelsd_core.errors import UserError
from lelsd_core.inversion import CLOSENESS
from tests.browser import served


@pytest.fixture(scope="module")
def page(editor):
    return build_page(ModelManager(editor))


@pytest.fixture(scope="module")
def config(page):
    return page.get_config_file()


def component_of(config, elem_id: str) -> dict:
    """A component of the page by its id."""
    return next(c for c in config["components"] if c["props"].get("elem_id") == elem_id)


def events_of(config, elem_id: str) -> list[dict]:
    """The events that a component starts."""
    number = component_of(config, elem_id)["id"]
    return [d for d in config["dependencies"] if any(target[0] == number for target in d["targets"])]


def sliders_of(config) -> list[dict]:
    """The properties of the page's sliders, in their order."""
    return [c["props"] for c in config["components"] if (c["props"].get("elem_id") or "").startswith("slider-")]


# ---------------------------------------------------------------------------------------------------- wiring


def test_a_slider_in_motion_asks_past_gradio_and_once_more_at_rest_outside_the_queue(config):
    assert not any(events_of(config, props["elem_id"]) for props in sliders_of(config))
    (settle,) = (event for event in events_of(config, "settle") if event["backend_fn"])
    assert (settle["trigger_mode"], settle["queue"]) == ("always_last", False)


def test_where_a_gpu_is_lent_a_slider_waits_in_the_queue(editor):
    config = build_page(ModelManager(editor), live=False).get_config_file()
    for props in sliders_of(config):
        (event,) = events_of(config, props["elem_id"])
        assert [name for _, name in event["targets"][:1]] == ["input"]
        assert (event["trigger_mode"], event["queue"]) == ("always_last", True)


def test_sliders_run_from_one_end_to_the_other_and_those_of_one_part_are_shown(config, editor):
    for props, direction in zip(sliders_of(config), editor.directions, strict=False):
        assert props["label"].lower() == direction.name.replace("-", " ")
        assert (props["minimum"], props["maximum"], props["value"]) == (-100, 100, 0)
        assert direction.ends[0].replace(" ", NO_BREAK) in props["info"]
    shown = [d.name for props, d in zip(sliders_of(config), editor.directions, strict=False) if props["visible"]]
    assert shown == [d.name for d in editor.directions if d.parts == ("mouth",)]
    assert not any(props["visible"] for props in sliders_of(config)[len(editor.directions) :])


def test_the_page_opens_with_an_edit_before_and_after(config):
    swipe = component_of(config, "swipe")["props"]
    assert swipe["visible"]
    before, after = (half["url"] for half in swipe["value"])
    assert before.startswith("data:image/jpeg;base64,")
    assert before != after
    assert not component_of(config, "picture")["props"]["visible"]
    assert component_of(config, "view")["props"]["value"] == "Swipe"
    assert "%" in component_of(config, "meter")["props"]["value"]


def test_faces_refinements_and_searches_wait_in_lanes_of_their_own(page, config):
    lanes = {function.name: function.concurrency_id for function in page.fns.values()}
    assert lanes["open_photo"] == lanes["random_face"] == lanes["reopen"] == lanes["choose_face"]
    assert len({lanes[name] for name in ("open_photo", "refine", "discover", "dress")}) == 4
    for button in ("stop-refining", "stop"):
        (stop,) = events_of(config, button)
        assert stop["queue"] is False, "it does not wait for what it ends"
    assert not any(d["cancels"] for d in config["dependencies"]), "Gradio's own way of cancelling raises in its log"
    new = [d for d in config["dependencies"] if d["api_name"] in ("open_photo", "open_example", "random_clear_face")]
    assert all(d["trigger_mode"] == "always_last" for d in new)


def test_only_the_named_endpoints_are_public(page):
    names = ["/random", "/invert", "/edit", "/recipe", "/discover", "/sliders"]
    assert list(page.get_api_info()["named_endpoints"]) == names


def test_a_link_to_the_page_has_a_title_a_description_and_a_picture_of_its_own(page):
    with served(page) as address:
        text = httpx.get(f"{address}?seed=3").text
        tags = dict(re.findall(r'<meta property="og:(\w+)" content="([^"]*)"', text))
        assert tags["title"] == "Change one part of a face"
        assert "{url}" not in text
        assert "Gradio" not in " ".join(tags.values())
        assert tags["url"] == address
        picture = httpx.get(tags["image"])
        assert Image.open(io.BytesIO(picture.content)).width >= 1200
        assert httpx.get(f"{address}config").json()["title"] == tags["title"]


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


# ----------------------------------------------------------------------------------------------- hostile values


@pytest.mark.parametrize("payload", [None, "", "abc", float("nan"), float("inf"), [1]])
def test_an_invalid_slider_value_is_zero(payload):
    assert AmountSlider(-1, 1).preprocess(payload) == 0.0


def test_a_photo_above_the_pages_own_limit_is_refused(editor, tmp_path, astronaut):
    page = build_page(ModelManager(editor), max_bytes=100_000, queue_size=3)
    upload = next(block for block in page.blocks.values() if isinstance(block, PhotoInput))
    astronaut.save(tmp_path / "photo.png")
    error = upload.preprocess(ImageData(path=str(tmp_path / "photo.png")))
    assert "0.1 MB" in str(error)
    assert PhotoInput(label="Photo").preprocess(ImageData(path=str(tmp_path / "photo.png"))).size == astronaut.size
    assert page._queue.max_size == 3


# ------------------------------------------------------------------------------------------ pictures and sentences


def test_outputs_are_inside_the_answer_and_never_files(astronaut):
    shown = InlineImage(label="x").postprocess(astronaut)
    assert isinstance(shown, ImageData)
    assert shown.path is None
    assert Image.open(io.BytesIO(base64.b64decode(shown.url.split(",")[1]))).size == astronaut.size
    pair = InlineCompare(label="x").postprocess((astronaut, astronaut))
    assert all(isinstance(half, FileData) or half.path is None for half in pair.root)
    small = gallery(label="x").postprocess([astronaut, (astronaut, "words")])
    assert [(each.image.path, each.caption) for each in small.root] == [(None, None), (None, "words")]
    assert PhotoInput(label="x").postprocess(astronaut).path is None


def test_a_large_download_is_a_jpeg_and_has_a_name():
    assert picture_url(Image.new("RGB", (LARGE // 1000 + 1, 1000)), name="edited").startswith(
        "data:image/jpeg;name=edited.jpg;base64,"
    )
    assert picture_url(Image.new("RGB", (8, 8)), name="my edit").startswith("data:image/png;name=my%20edit.png;base64,")


def test_slider_values_are_shares_of_both_ends():
    direction = Direction("lips", "g", "f", "Z", np.zeros(1), low=-4.0, high=8.0)
    for percent, amount in ((-100, -4.0), (-50, -2.0), (0, 0.0), (25, 2.0), (100, 8.0)):
        assert amount_of(direction, percent) == amount
        assert percent_of(direction, amount) == percent
    assert amount_of(direction, 999) == 8.0
    assert amount_of(direction, -1e9) == -4.0


def test_sentences_are_grammatical():
    direction = Direction("lips", "g", "f", "Z", np.zeros(1), ends=("less red", "red"))
    assert slider_properties(direction)["label"] == "Lips"
    assert slider_properties(direction)["info"].split(" ") == [f"less{NO_BREAK}red", "red"]
    assert "Nothing is changed" in describe_edit(None)
    assert "**50%** of the change is inside hair and mouth (30.0% of" in describe_edit(
        Locality(("hair", "mouth"), 0.5, 0.3)
    )
    assert "nose, hair and mouth (" in describe_edit(Locality(("nose", "hair", "mouth"), 0.5, 0.3))
    assert "pixels change by 1.5%." in describe_edit(Locality(("hair",), 0.5, 0.3, 0.015))
    assert "the same person" in describe_edit(Locality(("hair",), 0.5, 0.3), 0.9, 0.6)
    assert "no longer the same person" in describe_edit(Locality(("hair",), 0.5, 0.3), 0.5, 0.6)
    assert "Likeness" not in describe_edit(Locality(("hair",), 0.5, 0.3))
    assert caption_of({}, {"lips": 1.5}, [direction]) == "Lips 50"
    assert caption_of({"lips": 1.5}, {}, [direction]) == "As it was"
    assert describe_place(1, 30).startswith("Another visitor's search is before yours; it starts in about 30 s")
    assert describe_place(3, 0).startswith("3 searches are before yours")
