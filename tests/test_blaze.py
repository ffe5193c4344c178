"""blaze-256 as people use it: photos, tuning to a person, and the default of page and shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lelsd_core.editor import Editor, InversionOptions
from lelsd_core.evaluation.identity import DlibRecogniser
from lelsd_core.inversion.pivotal import Tuning, tune
from lelsd_core.registry import load_editor, load_inverter

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def blaze() -> Editor:
    return load_editor("blaze-256")


@pytest.fixture(scope="module")
def sessions(blaze, astronaut):
    """The encoder's guess, refined in few steps, and tuned in few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lelsd_core.editor.editor.TUNING_STEPS", 3)
        patch.setattr("lelsd_core.editor.editor.tune", lambda *a, **k: tune(*a, steps=3, **k))
        return list(blaze.invert(astronaut, InversionOptions(steps=8, tune=True)))


def test_the_guess_is_the_encoders_and_refinement_makes_it_the_person(blaze, sessions):
    guess, refined = sessions[0], sessions[-2]
    assert {session.space for session in sessions} == {"S"}
    assert guess.encoder_metrics.lpips > 0.3
    assert refined.inversion_l1 < 0.7 * guess.inversion_l1
    last = sessions[-1].metrics
    assert last.lpips < 0.2
    assert last.identity_network == DlibRecogniser.name
    assert last.identity > guess.encoder_metrics.identity


def test_tuning_changes_every_convolution_and_fits_into_a_small_file(blaze, sessions, tmp_path):
    tuning = sessions[-1].tuning
    assert {name.rsplit(".", 1)[0] for name in tuning.factors} == set(blaze.generator.tunable_parts())
    tuning.save(tmp_path / "person.safetensors")
    assert (tmp_path / "person.safetensors").stat().st_size < 5e6
    tuned = Tuning.load(tmp_path / "person.safetensors").apply(blaze.generator)
    codes = sessions[-1].codes
    pictures = [generator.synthesize(codes, "S").image for generator in (blaze.generator, tuned)]
    assert (pictures[0] - pictures[1]).abs().mean() > 0.002
    torch.testing.assert_close(pictures[0], blaze.synthesize(codes, "S"))


def test_a_drawn_style_takes_the_encoder_and_the_directions_of_its_base(blaze):
    drawn = load_editor("blaze-256-ink")
    assert [d.name for d in drawn.directions] == [d.name for d in blaze.directions]
    assert load_inverter("blaze-encoder", drawn.generator).generator is drawn.generator
    session = drawn.random_face(35)
    (hair,) = (direction for direction in drawn.directions if direction.name == "hair")
    assert drawn.edit(session, {"hair": hair.high}).locality.score > 0.3


def test_truncation_of_0_is_the_mean_face_and_more_of_it_more_variety(blaze):
    faces = [blaze.random_face(seed, psi).original for psi in (0.0, 0.5, 1.0) for seed in (3, 4)]
    pairs = zip(faces[::2], faces[1::2], strict=True)
    mean, some, all_ = (np.abs(np.asarray(a).astype(int) - np.asarray(b)).mean() for a, b in pairs)
    assert mean < 1 < some < all_
    assert blaze.random_face(3, 0.5).truncation == 0.5


@pytest.mark.parametrize("command", [["-m", "lelsd_core", "edit", "--help"], ["app.py", "--help"]])
def test_it_is_the_default(command):
    environment = {name: value for name, value in os.environ.items() if name != "LELSD_GENERATOR"}
    shown = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True).stdout
    assert "blaze-256" in shown


def test_its_segmenter_finds_the_parts_of_a_photo_where_the_landmarks_are(blaze, astronaut):
    face = blaze.aligner.cut(astronaut, blaze.aligner.find(astronaut)[0]).picture
    probabilities = blaze.segmenter.segment(face)
    assert probabilities.shape == (1, 10, 128, 128)
    found = probabilities.argmax(1)[0]
    left, right, nose, *mouth = blaze.aligner.frame.points
    corners = [sum(values) / len(mouth) for values in zip(*mouth, strict=True)]
    for name, (x, y) in {
        "eyes": left,
        "nose": nose,
        "mouth": corners,
        "hair": (128, 40),
        "background": (20, 60),
    }.items():
        assert blaze.segmenter.parts[found[round(y / 2), round(x / 2)]] == name
    assert blaze.segmenter.parts[found[round(right[1] / 2), round(right[0] / 2)]] == "eyes"
