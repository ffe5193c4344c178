"""The networks that find faces, against MediaPipe's own outputs for crops of the astronaut, and on any side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lelsd_core.errors import UserError
from lelsd_core.faces.blaze import BlazeFace
from lelsd_core.weights.safetensors import load_tensors

GOLDEN = np.load(Path(__file__).parent / "data" / "golden" / "mediapipe_face.npz")
CORNERS = {"whole": (128, 20), "cut": (216, 20), "near": (160, 40)}  # as in mediapipe-face/make/golden.py


def crop(astronaut, name: str, size: int) -> torch.Tensor:
    """(1, 3, size, size) in [0, 1]."""
    x, y = CORNERS[name]
    pixels = np.asarray(astronaut)[y : y + size, x : x + size]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("name", ["whole", "cut"])  # cut: a region around an eye reaches out of the picture
def test_the_mesh_is_mediapipes(editor, astronaut, name):
    with torch.inference_mode():
        rough, lips, irises, sure = editor.aligner.landmarks.network(crop(astronaut, name, 192))
    found = {"rough": rough, "lips": lips, "left_iris": irises[:, 0], "right_iris": irises[:, 1], "sure": sure}
    for key, value in found.items():
        np.testing.assert_allclose(value.numpy().ravel(), GOLDEN[f"{name}_{key}"], atol=1e-3, err_msg=key)
    assert (sure.item() > 0) == (name == "whole")


def detector(editor) -> BlazeFace:
    """The shipped one."""
    return editor.aligner.detector.network


def test_the_detector_is_mediapipes(editor, astronaut):
    with torch.inference_mode():
        scores, guesses = detector(editor)(2 * crop(astronaut, "near", 128) - 1)
    np.testing.assert_allclose(scores[0].numpy(), GOLDEN["near_scores"], atol=2e-3)
    small, large = (np.mgrid[:n, :n][::-1].reshape(2, -1).T + 0.5 for n in (16, 8))  # (x, y), row by row
    cells = np.concatenate([8 * small.repeat(2, 0), 16 * large.repeat(6, 0)])
    official = GOLDEN["near_guesses"].reshape(896, 8, 2)
    official[:, [0, 2, 3, 4, 5, 6, 7]] += cells[:, None]
    np.testing.assert_allclose(guesses[0].numpy(), official, atol=2e-3)


def test_the_detector_sees_the_same_in_a_wider_picture(editor, astronaut):
    narrow = 2 * crop(astronaut, "near", 128) - 1
    wide = torch.full((1, 3, 160, 256), -1.0)
    wide[:, :, :128, :128] = narrow
    with torch.inference_mode():
        (one, places), (other, others) = detector(editor)(narrow), detector(editor)(wide)
    assert other.shape == (1, 160 * 256 // 64 * 2 + 160 * 256 // 256 * 6)
    best, again = places[0, one.argmax()], others[0, other.argmax()]
    assert (best - again).abs().max() < 3


def test_the_detector_works_where_its_pictures_are():
    with torch.inference_mode():
        scores, guesses = BlazeFace().to("meta")(torch.empty(2, 3, 128, 160, device="meta"))
    assert (scores.shape, guesses.shape) == ((2, 1120), (2, 1120, 8, 2))


def test_weights_of_another_shape_are_refused():
    with pytest.raises(UserError, match="These weights are a face-detector of another shape than this version's"):
        load_tensors(BlazeFace(), {"enter.weight": torch.zeros(3)}, "a face-detector")
