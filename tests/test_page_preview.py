"""The page with a slow model: a preview follows the slider, which at rest shows the full picture."""

from __future__ import annotations

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from demo.views import EDITED, FACE_SIZE, SWIPE, VIEWS, WHOLE
from demo.words import percent_of
from lelsd_core.directions import Direction
from lelsd_core.editor import Editor
from lelsd_core.faces.frame import SquareFrame
from lelsd_core.inversion import SampleInverter
from lelsd_core.registry import load_aligner, load_generator
from tests import official
from tests.page_events import Visitor
from tests.toy import PictureHalves


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    """A StyleGAN2 at 32 pixels whose previews have 16, with one slider."""
    generator = load_generator(official.small_rosinality(tmp_path_factory.mktemp("generator")))
    segmenter = PictureHalves()
    vector = torch.randn(generator.space("S").width, generator=torch.Generator().manual_seed(0))
    vector, part = vector / vector.norm(), next(iter(segmenter.parts))
    direction = Direction("one", generator.name, generator.fingerprint, "S", vector, (part,), low=-9.0, high=9.0)
    aligner = load_aligner(SquareFrame(32))
    return Editor(generator, SampleInverter(generator), segmenter, aligner, [direction], preview=16)


@pytest.fixture
def visitor(editor) -> Visitor:
    """With a random face."""
    visitor = Visitor(editor)
    visitor.does(visitor.opening.random_face, seed=3)
    return visitor


def move(visitor: Visitor, amount: float) -> dict:
    """The slider in motion."""
    return visitor.does(visitor.callbacks.preview, sliders=[percent_of(visitor.face.session.directions[0], amount)])


def test_a_preview_follows_the_slider_of_a_random_face(visitor, editor):
    assert visitor.face.session.preview.size == (16, 16)
    preview = move(visitor, 4.5)
    full = visitor.does(visitor.callbacks.settle)
    assert "meter" not in preview, "locality is measured at rest only"
    assert preview["picture"].size == full["picture"].size == (FACE_SIZE, FACE_SIZE)
    expected = editor.preview(visitor.face.session, {"one": 4.5}).resize((FACE_SIZE,) * 2, Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(preview["picture"]), np.asarray(expected))
    assert not np.array_equal(np.asarray(preview["picture"]), np.asarray(full["picture"]))


@pytest.mark.parametrize("view", [*VIEWS, WHOLE])
def test_a_preview_of_a_photo_is_the_photo_at_rest_in_every_view(visitor, astronaut, view):
    visitor.open(astronaut)
    visitor.values["display"] = (view, True, False)
    rest, moved = (move(visitor, amount) for amount in (0.0, 9.0))
    name = "swipe" if view == SWIPE else "picture"
    first, last = (updates[name][1] if name == "swipe" else updates[name] for updates in (rest, moved))
    expected = visitor.face.detected.shown if view == WHOLE else visitor.face.session.photo
    if view in (EDITED, SWIPE, WHOLE):
        assert np.array_equal(np.asarray(first), np.asarray(expected))
    assert not np.array_equal(np.asarray(first), np.asarray(last))


def test_a_slider_at_rest_shows_the_full_picture_even_where_it_was(visitor):
    full = visitor.does(visitor.callbacks.settle, sliders=[50])
    move(visitor, 4.5)
    assert np.array_equal(np.asarray(visitor.does(visitor.callbacks.settle)["picture"]), np.asarray(full["picture"]))


def test_a_protected_slider_is_protected_at_rest(visitor):
    visitor.values["display"] = (EDITED, True, True)
    moving = move(visitor, 9.0)["picture"]
    rest = visitor.does(visitor.callbacks.settle)
    assert not np.array_equal(np.asarray(moving), np.asarray(rest["picture"]))
    assert "meter" in rest


def test_a_model_that_can_be_tuned_offers_it(visitor, astronaut):
    assert visitor.open(astronaut)["tune"] == gr.update(value=False, visible=True)
