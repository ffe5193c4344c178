"""A picture while a slider moves: the running RGB, bit for bit, and nothing above it is rendered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lelsd_core.directions import Direction
from lelsd_core.editor import Editor
from lelsd_core.generators import StyleGAN2
from lelsd_core.images import to_pil
from tests.bench.generators import random_stylegan2


@pytest.fixture(scope="module")
def generator() -> StyleGAN2:
    """A StyleGAN2 at 32 pixels."""
    return random_stylegan2(32)


def editor_of(generator: StyleGAN2, preview: int) -> Editor:
    """An editor that has sliders and made-up faces only."""
    vector = generator.space("S").unit(torch.ones(generator.space("S").width))
    return Editor(generator, None, None, None, [Direction("up", generator.name, "", "S", vector)], preview=preview)


def test_a_preview_is_the_running_picture_bit_for_bit(generator: StyleGAN2) -> None:
    editor = editor_of(generator, 16)
    session = editor.random_face(3)
    codes, space = editor.moved_codes(session, {"up": 2.0})
    whole = generator.synthesize(codes, space, keep=("16.conv1",))
    preview = editor.preview(session, {"up": 2.0})
    assert np.array_equal(preview, to_pil(whole.states["16.conv1"].rgb))
    assert np.array_equal(editor.preview(session, {}), session.preview)
    assert (preview.size, session.preview.size, session.original.size) == ((16, 16), (16, 16), (32, 32))
    assert not np.array_equal(preview, session.preview)


def test_a_preview_renders_nothing_above_its_size(generator: StyleGAN2, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = editor_of(generator, 16)
    session = editor.random_face(3)
    above = [generator.parts[name] for name in ("32_conv0", "32_conv1", "32_torgb")]
    for part in above:
        monkeypatch.setattr(part, "forward", None)
    editor.preview(session, {"up": 1.0})
    with pytest.raises(TypeError):
        editor.render(session, {"up": 1.0})


@pytest.mark.parametrize("size", [32, 64, 48, 3])
def test_a_small_generator_shows_its_whole_picture(generator: StyleGAN2, size: int) -> None:
    editor = editor_of(generator, size)
    session = editor.random_face(3)
    assert session.preview is None
    assert np.array_equal(editor.preview(session, {"up": 1.0}), editor.render(session, {"up": 1.0}))


def test_a_generator_without_a_running_picture_shows_its_whole_picture(editor: Editor) -> None:
    session = editor.random_face(3)
    assert session.preview is None
    assert np.array_equal(editor.preview(session, {"mouth": 3.0}), editor.render(session, {"mouth": 3.0}))
