"""The Discover tab without a browser."""

from __future__ import annotations

import gradio as gr
import pytest

from demo.callbacks import Callbacks
from demo.discoveries import MAX_NAME, Discoveries
from demo.models import ModelManager


@pytest.fixture(scope="module")
def discoveries(editor) -> Discoveries:
    return Discoveries(Callbacks(ModelManager(editor), len(editor.directions) + 8))


def test_a_discovery_shows_its_curve_and_its_direction_becomes_a_slider(discoveries, editor):
    session = editor.random_face(45)
    news = list(discoveries.discover(session, ["eyes"], 3, 1))[-1]
    assert "Step **3** of 3" in news["status"]
    assert list(news["curve"].columns) == ["step", "score"]
    assert len(news["curve"]) == 3
    assert news["strip"].width > 3 * 250
    kept = discoveries.keep(session, news["found"], "  my   <b>eyes</b> " + "x" * 99)
    added = kept["session"].directions[-1]
    assert added.name.startswith("my <b>eyes</b>")
    assert len(added.name) <= MAX_NAME
    assert added.score is not None
    assert kept["found"] is None
    assert "%" in kept["status"]
    assert kept["sliders"][len(session.directions)]["visible"]


def test_discovery_tells_what_is_missing(discoveries, editor):
    session = editor.random_face(45)
    with pytest.raises(gr.Error, match="No part was chosen"):
        next(discoveries.discover(session, [], 10, 1))
    with pytest.raises(gr.Error, match="There is no direction yet"):
        discoveries.keep(session, None, "x")
    full = session.with_directions([session.directions[0]] * 8)
    with pytest.raises(gr.Error, match="sliders are in use"):
        next(discoveries.discover(full, ["eyes"], 10, 1))


def test_hostile_numbers_of_a_discovery_are_bounded(discoveries, editor):
    run = discoveries.discover(editor.random_face(45), ["eyes"], 1e12, -1e12)
    assert "of 4000" in next(run)["status"]
    run.close()
