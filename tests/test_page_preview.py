"""The page with a slow model: a preview follows the slider, its release shows the full picture."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from demo.callbacks import FACE_SIZE, VIEWS, WHOLE, Callbacks, Face
from demo.models import ModelManager
from lelsd_core.directions import Direction
from lelsd_core.editor import Editor
from lelsd_core.faces.frame import SquareFrame
from lelsd_core.inversion import BALANCED, SampleInverter
from lelsd_core.registry import load_aligner, load_generator
from tests import official
from tests.toy import PictureHalves

DISPLAY = (VIEWS[0], True, False)
REQUEST = SimpleNamespace(session_hash="test")


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


@pytest.fixture(scope="module")
def callbacks(editor) -> Callbacks:
    return Callbacks(ModelManager(editor), 4)


@pytest.fixture(scope="module")
def face(editor) -> Face:
    """A random face."""
    return Face(editor.random_face(3))


def test_a_preview_follows_the_slider_of_a_random_face(callbacks, editor, face):
    assert face.session.preview.size == (16, 16)
    preview, full = callbacks.preview(face, DISPLAY, [5.0]), callbacks.show(face, DISPLAY, [5.0])
    assert "meter" not in preview, "locality is measured on release only"
    assert preview["picture"].size == full["picture"].size == (FACE_SIZE, FACE_SIZE)
    expected = editor.preview(face.session, {"one": 5.0}).resize((FACE_SIZE, FACE_SIZE), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(preview["picture"]), np.asarray(expected))
    assert not np.array_equal(np.asarray(preview["picture"]), np.asarray(full["picture"]))


@pytest.mark.parametrize("view", [*VIEWS, WHOLE])
def test_a_preview_of_a_photo_is_the_photo_at_rest_in_every_view(callbacks, face, astronaut, view):
    opened = callbacks.open_photo(REQUEST, face, astronaut, BALANCED, DISPLAY)["face"]
    rest, moved = (callbacks.preview(opened, (view, True, False), [amount]) for amount in (0.0, 9.0))
    name = "swipe" if view == "Swipe" else "picture"
    first, last = (updates[name][1] if name == "swipe" else updates[name] for updates in (rest, moved))
    expected = opened.detected.shown if view == WHOLE else opened.session.photo
    if view != "Change":
        assert np.array_equal(np.asarray(first), np.asarray(expected))
    if view != "Original":
        assert not np.array_equal(np.asarray(first), np.asarray(last))


def test_a_released_slider_shows_the_full_picture(callbacks, face):
    released, full = callbacks.show_after_preview(face, DISPLAY, [5.0]), callbacks.show(face, DISPLAY, [5.0])
    assert np.array_equal(np.asarray(released["picture"]), np.asarray(full["picture"]))
    without = Face(replace(face.session, preview=None))
    assert callbacks.show_after_preview(without, DISPLAY, [5.0]) == {}, "it is shown already"


def test_a_protected_slider_shows_the_full_picture_in_motion(callbacks, face):
    assert "meter" in callbacks.preview(face, (VIEWS[0], True, True), [5.0])


def test_a_model_that_can_be_tuned_offers_it(callbacks, face, astronaut):
    updates = callbacks.open_photo(REQUEST, face, astronaut, BALANCED, DISPLAY)
    assert updates["tune"] == gr.update(value=False, visible=True)
