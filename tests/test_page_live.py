"""Pictures of a slider in motion: what a page may ask for, and what it gets; the picture in the text of the page."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image

from demo.live import MOVING
from demo.models import ModelManager
from demo.page import build_page
from demo.words import amount_of
from tests.browser import served
from tests.page_events import Visitor

EDIT = {"sliders": {"0": 40}, "view": "Edited", "detail": True}


@pytest.fixture(scope="module")
def page(editor):
    built = build_page(ModelManager(editor), seed=45)
    with served(built) as address:
        built.test = SimpleNamespace(address=address)
        yield built


@pytest.fixture
def key(page):
    visitor = SimpleNamespace(session_hash="visitor")
    yield page.live.opened(visitor)["live_key"]
    page.live.closed(visitor)


def ask(page, key: str, **asked) -> httpx.Response:
    return httpx.post(f"{page.test.address}live/{key}", **({"json": EDIT} | asked))


def as_jpeg(picture: Image.Image) -> np.ndarray:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **MOVING)
    return np.asarray(Image.open(buffer))


def test_a_move_is_added_to_the_edit_at_rest(page, key, editor):
    answer = ask(page, key)
    visitor = Visitor(page.live.callbacks, "visitor")
    face, history = (page.state_holder["visitor"][page.live.components[name]._id] for name in ("face", "history"))
    assert history.current, "the page opens with an edit"
    direction = face.session.directions[0]
    sliders = page.live.callbacks.percents(face, {**history.current, direction.name: amount_of(direction, 40)})
    display = ("Edited", True, False)
    expected = visitor.does(visitor.callbacks.preview, face=face, sliders=sliders, display=display)["picture"]
    assert answer.headers["content-type"] == "image/jpeg"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), as_jpeg(expected))


def test_the_swiped_half_is_the_edited_one(page, key):
    swiped, edited = ask(page, key, json=EDIT | {"view": "Swipe"}), ask(page, key)
    assert swiped.content == edited.content


def test_a_wrong_key_is_not_found(page, key):
    assert ask(page, key + "x").status_code == 404


def test_a_closed_page_has_no_key(page):
    visitor = SimpleNamespace(session_hash="short")
    key = page.live.opened(visitor)["live_key"]
    assert ask(page, key).status_code == 200
    page.live.closed(visitor)
    assert ask(page, key).status_code == 404


@pytest.mark.parametrize(
    "asked",
    [
        {"content": b"{"},
        {"json": []},
        {"json": {"sliders": {"0": 40}}},
        {"json": EDIT | {"sliders": {"x": 1}}},
        {"json": EDIT | {"sliders": [1]}},
    ],
)
def test_what_is_no_edit_is_refused(page, key, asked):
    assert ask(page, key, **({"json": None} | asked)).status_code == 400


def test_a_large_request_is_refused(page, key):
    assert ask(page, key, json=None, content=b"0" * 20_000).status_code == 413


def test_unknown_sliders_and_values_off_the_scale_do_no_harm(page, key):
    most = ask(page, key, json=EDIT | {"sliders": {"0": 100}})
    assert ask(page, key, json=EDIT | {"sliders": {"0": 9e9, "999": 5, "-1": 5}}).content == most.content


def test_an_edit_that_cannot_be_shown_changes_nothing(page, key, monkeypatch):
    from lelsd_core.errors import UserError

    def refuse(now):
        raise UserError("This picture shows no hair to change.")

    monkeypatch.setattr(page.live.callbacks, "preview", refuse)
    assert ask(page, key).status_code == 204


def test_the_text_of_the_page_holds_its_first_picture(page):
    text = httpx.get(page.test.address).text
    assert re.search(r'<body[^>]*><style>.*<div id="splash">.*<img src="data:image/jpeg;base64,', text, re.S)


def test_an_address_with_an_edit_of_its_own_shows_no_other_picture_first(page):
    assert '<div id="splash">' not in httpx.get(page.test.address, params={"seed": 7}).text
