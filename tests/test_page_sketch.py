"""The page with a model that is slow: a sketch follows the slider, its release shows the whole picture."""

from __future__ import annotations

from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from demo.callbacks import SIDE, VIEWS, WHOLE, Callbacks
from demo.models import ModelManager
from lelsd_core.directions import Direction
from lelsd_core.editor import Editor
from lelsd_core.faces.frame import SquareFrame
from lelsd_core.inversion import BALANCED, SampleInverter
from lelsd_core.registry import load_aligner, load_generator
from tests import official
from tests.toy import PictureHalves

HOW = (VIEWS[0], True, False)


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    """A StyleGAN2 at 32 pixels whose sketches have 16, with one slider."""
    generator = load_generator(official.small_rosinality(tmp_path_factory.mktemp("generator")))
    segmenter = PictureHalves()
    vector = torch.randn(generator.space("S").width, generator=torch.Generator().manual_seed(0))
    vector, part = vector / vector.norm(), next(iter(segmenter.parts))
    direction = Direction("one", generator.name, generator.fingerprint, "S", vector, (part,), low=-9.0, high=9.0)
    aligner = load_aligner(SquareFrame(32))
    return Editor(generator, SampleInverter(generator), segmenter, aligner, [direction], preview=16)


@pytest.fixture(scope="module")
def do(editor) -> Callbacks:
    return Callbacks(ModelManager(editor), 4)


def test_a_sketch_follows_the_slider_of_a_made_up_face(do, editor):
    session = editor.random_face(3)
    assert session.preview.size == (16, 16)
    sketch = do.slide(session, None, *HOW, 5.0)
    whole = do.show(session, None, *HOW, 5.0)
    assert "meter" not in sketch, "nothing is measured on the way"
    assert sketch["picture"].size == whole["picture"].size == (SIDE, SIDE)
    expected = editor.preview(session, {"one": 5.0}).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(sketch["picture"]), np.asarray(expected))
    assert not np.array_equal(np.asarray(sketch["picture"]), np.asarray(whole["picture"]))


@pytest.mark.parametrize("view", [*VIEWS, WHOLE])
def test_a_sketch_of_a_photo_is_the_photo_at_rest_in_every_view(do, editor, astronaut, view):
    news = do.open_photo(editor.random_face(3), astronaut, BALANCED, *HOW)
    session, source = news["session"], news["source"]
    rest, moved = (do.slide(session, source, view, True, False, amount) for amount in (0.0, 9.0))
    name = "swipe" if view == "Swipe" else "picture"
    first, last = (one[name][1] if name == "swipe" else one[name] for one in (rest, moved))
    expected = source.shown if view == WHOLE else session.photo
    if view != "Change":
        assert np.array_equal(np.asarray(first), np.asarray(expected))
    if view != "Original":
        assert not np.array_equal(np.asarray(first), np.asarray(last))


def test_a_slider_that_is_let_go_shows_the_picture_itself(do, editor):
    session = editor.random_face(3)
    settled, whole = do.settle(session, None, *HOW, 5.0), do.show(session, None, *HOW, 5.0)
    assert np.array_equal(np.asarray(settled["picture"]), np.asarray(whole["picture"]))
    assert do.settle(replace(session, preview=None), None, *HOW, 5.0) == {}, "it is there already"


def test_a_protected_slider_shows_the_whole_picture_at_once(do, editor):
    assert "meter" in do.slide(editor.random_face(3), None, VIEWS[0], True, True, 5.0)


def test_a_model_that_can_be_tuned_says_so(do, editor, astronaut):
    news = do.open_photo(editor.random_face(3), astronaut, BALANCED, *HOW)
    assert news["tune"] == gr.update(value=False, visible=True)
