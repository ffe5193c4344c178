"""The command line with directions, generators and photos that do not ship with the project."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from demo.words import describe_session
from lelsd_core.__main__ import main
from lelsd_core.directions import Direction
from lelsd_core.editor import InversionOptions
from tests import official
from tests.test_batch import answer, quick_evaluator

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"


@pytest.fixture
def lips(editor, tmp_path) -> Path:
    """A direction that does not ship: the mouth's under another name, with a short range."""
    direction = replace(next(d for d in editor.directions if d.name == "mouth"), name="lips", high=1.5)
    direction.save(tmp_path / "lips.safetensors")
    return tmp_path / "lips.safetensors"


@pytest.mark.parametrize("whole", [False, True], ids=["file", "folder"])
def test_edit_takes_other_directions_and_their_ranges(lips, tmp_path, capsys, whole):
    recipe = tmp_path / "r.json"
    recipe.write_text('{"generator": "digiface-64", "amounts": {"lips": 99}}')
    arguments = ["edit", str(ASTRONAUT), str(tmp_path / "out.png"), "--steps", "0", "--recipe", str(recipe), "--json"]
    assert main([*arguments, "--directions", str(lips.parent if whole else lips)]) == 0
    captured = capsys.readouterr().out
    assert "lips: 99" in captured
    assert json.loads(captured.splitlines()[-1])["amounts"] == {"lips": 1.5}
    assert not np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(Image.open(ASTRONAUT)))


def test_directions_of_another_generator_are_an_error(lips, tmp_path, capsys):
    replace(Direction.load(lips), fingerprint="0" * 64).save(lips)
    assert main(["edit", str(ASTRONAUT), str(tmp_path / "out.png"), "--directions", str(lips)]) == 1
    assert "'lips'" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_edit_prints_the_metrics_of_the_encoder_and_of_the_inversion(tmp_path, capsys):
    out = str(tmp_path / "out.png")
    assert main(["edit", str(ASTRONAUT), out, "--steps", "2", "--closeness", "closer", "--json"]) == 0
    words, answered = capsys.readouterr().out.splitlines()
    fidelity = json.loads(answered)["fidelity"]
    assert f"L2 {fidelity['guess']['l2']:.3f} → {fidelity['inversion']['l2']:.3f}" in words
    assert out in words
    assert fidelity["inversion"]["missing"] == []
    assert 0 < fidelity["inversion"]["lpips"] < 1
    assert fidelity["inversion"]["identity_network"] == "face-identity"
    assert "by face-identity, which takes 0.4 and more for the same person" in words


def test_edit_says_that_a_face_is_blurred(astronaut, tmp_path, capsys):
    astronaut.filter(ImageFilter.GaussianBlur(2.5)).save(tmp_path / "blurred.png")
    assert main(["edit", str(tmp_path / "blurred.png"), str(tmp_path / "out.png"), "--steps", "0"]) == 0
    assert "blurred" in capsys.readouterr().out


def test_the_page_says_that_a_face_is_blurred(editor, astronaut):
    session = editor.open(astronaut.filter(ImageFilter.GaussianBlur(2.5)), InversionOptions(steps=0))
    assert "blurred" in describe_session(session)


def calibrated(generator: object, segmenter: object, direction: Direction, **_: object) -> Direction:
    """In place of `calibrate`, which takes long."""
    return replace(direction, low=-2.0, high=2.0, score=0.3, area=0.2, gain=2.0, facts={"interval": (0.2, 0.4)})


def test_a_generator_file_is_searched_measured_and_edited_with_a_segmenter(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lelsd_core.evaluation.calibration.calibrate", calibrated)
    monkeypatch.setattr("lelsd_core.cli.evaluate.evaluator", quick_evaluator)
    file = official.small_rosinality(tmp_path)
    given = ["--generator", str(file), "--segmenter", "digiface-parts", "--json"]
    found, out = str(tmp_path / "skin.safetensors"), str(tmp_path / "out.png")
    short = ["--parts", "background", "--steps", "2", "--samples", "8", "--space", "W+"]
    assert main(["discover", found, *given, *short]) == 0
    direction = Direction.load(found)
    assert direction.generator == file.stem
    assert main(["evaluate", *given, "--directions", found]) == 0
    assert [row["direction"] for row in answer(capsys)["rows"]] == ["skin"]
    arguments = ["--directions", found, "--set", f"skin={direction.high}", "--steps", "2", "--tune", "--crop"]
    assert main(["edit", str(ASTRONAUT), out, *given, *arguments]) == 0
    assert answer(capsys)["amounts"] == {"skin": direction.high}
    assert Image.open(out).size == (32, 32)


@pytest.mark.parametrize("command", [["edit", str(ASTRONAUT), "out.png"], ["discover", "d.safetensors"], ["evaluate"]])
def test_a_generator_file_needs_a_segmenter(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.pt").touch()
    assert main([*command, "--generator", "mine.pt"]) == 1
    message = capsys.readouterr().err
    assert "mine.pt" in message
    assert "--segmenter" in message
