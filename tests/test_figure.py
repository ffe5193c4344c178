"""The paper's Figures 1, 3 and 5: what stands in each cell, and the errors of the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lelsd_core.__main__ import main
from lelsd_core.cli import figure as command
from lelsd_core.comparison.figures import PER_PART, gallery_sheet, palette_sheet, sequence_sheet, signed
from lelsd_core.directions import Direction
from tests.test_evaluation import direction

ASTRONAUT = str(Path(__file__).parent / "data" / "astronaut.png")


def named(name: str, *parts: str, low: float = -2.0, high: float = 4.0) -> Direction:
    return Direction(name, "painter", "", "Z", direction(0).vector, parts, ends=("closed", "open"), low=low, high=high)


def grey(amounts) -> Image.Image:
    """A picture whose level tells the amounts: 100, plus 10 for each unit of "smile" and 1 for each of "hair"."""
    level = round(100 + 10 * amounts.get("smile", 0.0) + amounts.get("hair", 0.0))
    return Image.new("RGB", (8, 8), (level,) * 3)


def levels(figure) -> list[int]:
    """The level of each picture of a figure, in order."""
    return [int(np.asarray(axes.get_images()[0].get_array())[0, 0, 0]) for axes in figure.axes]


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.texts if text.get_text()]


def test_figure_1_shows_both_ends_of_the_sliders_of_each_part_beside_the_face():
    many = [named(f"hair-{i}", "hair") for i in range(PER_PART + 1)]
    figure = gallery_sheet("one face", grey, [named("smile", "mouth"), named("hair", "hair"), *many])
    assert levels(figure)[:6] == [100, 80, 140, 100, 98, 104]
    assert len(figure.axes) == 3 + 1 + 2 * PER_PART, "no more of one part than fit into a row"
    assert words(figure)[:6] == ["one face", "Mouth", "Smile", "closed", "Smile", "open"]
    assert words(figure).count("Hair") == 1 + 2


def test_figure_3_has_one_slider_to_the_right_and_the_other_upwards():
    figure = palette_sheet("two", grey, named("smile", "mouth"), named("hair", "hair", low=-3.0, high=2.0))
    assert levels(figure)[:5] == [82, 92, 102, 122, 142], "the top row has all of the second one"
    assert levels(figure)[-5:] == [77, 87, 97, 117, 137]
    assert len(figure.axes) == 25
    assert words(figure)[-1] == "To the right: Smile (closed – open)\nUpwards: Hair (closed – open)"
    assert [word for word in words(figure) if word[0] in "+−0"].count("0") == 2


def test_figure_5_adds_up_edits_from_left_to_right():
    faces = [(name, (Image.new("RGB", (8, 8)), grey({})), grey) for name in ("ann", "bob")]
    figure = sequence_sheet("one after the other", faces, [("smile", 4.0), ("hair", -2.0), ("smile", 1.0)])
    assert levels(figure) == [0, 100, 140, 138, 108] * 2
    row = ["ann", "photo", "rebuilt", "+ smile +4", "+ hair −2", "+ smile +1"]
    assert words(figure)[1:7] == row


def test_amounts_have_signs():
    assert [signed(amount) for amount in (2.5, -3.0, 0.0, 2.756)] == ["+2.5", "−3", "0", "+2.76"]


@pytest.fixture
def quick(monkeypatch, editor):
    """The editor that is there already; photos are not refined."""
    monkeypatch.setattr(command, "load_editor", lambda *arguments, **more: editor)
    opened = editor.open
    monkeypatch.setattr(editor, "open", lambda photo: opened(photo, steps=0))


def test_figure_1_of_a_generator_has_its_gallery(quick, tmp_path, capsys, editor):
    out = tmp_path / "one.png"
    assert main(["figure", "1", str(out), "--generator", "digiface-64", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(told["directions"]) == {each.name for each in editor.directions}
    assert Image.open(out).info["Description"] == "Faces made up by the generative model digiface-64."


def test_figure_3_of_a_photo(quick, tmp_path, capsys):
    out = tmp_path / "three.pdf"
    arguments = ["--photos", ASTRONAUT, "--sliders", "smile", "hair", "--json"]
    assert main(["figure", "3", str(out), *arguments]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["sliders"] == ["smile", "hair"]
    assert out.read_bytes().startswith(b"%PDF")
    assert b"Photos edited with the generative model digiface-64." in out.read_bytes()


def test_figure_5_edits_the_example_a_slider_of_each_part(quick, tmp_path, capsys, editor):
    out = tmp_path / "five.png"
    assert main(["figure", "5", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["photos"] == ["1-astronaut"]
    assert len(told["edits"]) == command.EDITS
    parts = {each.name: each.parts for each in editor.directions}
    assert len({parts[name] for name in told["edits"]}) == command.EDITS
    assert main(["figure", "5", str(out), "--edits", "smile=1", "hair=-99", "--photos", ASTRONAUT, "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    hair = next(each for each in editor.directions if each.name == "hair")
    assert told["edits"] == {"smile": 1.0, "hair": hair.low}, "a slider ends where it ends"
    assert told["photos"] == ["astronaut"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["2", "out.png"], "no figure of the paper to draw named '2'; known: 1, 3, 4, 5"),
        (["1", "out.gif"], "out.gif must end in .png or .pdf"),
        (["1", "out.png", "--generator", "blaze"], "no generator named 'blaze'"),
        (["1", "out.png", "--photos", "a.jpg", "b.jpg"], "2 photos are given; this figure shows one face"),
        (["3", "out.png", "--photos", "gone.jpg"], "no file gone.jpg"),
        (["3", "out.png", "--sliders", "smile", "hiar"], "no direction named 'hiar'; did you mean hair"),
        (["3", "out.png", "--sliders", "hair", "hair"], "two different sliders"),
        (["5", "out.png", "--edits", "smiles=3"], "no direction named 'smiles'; did you mean smile"),
        (["5", "out.png", "--edits", "smile"], "--edits"),
        (["5", "out.png", "--photos", "gone.jpg"], "no file gone.jpg"),
        (["5", "out.png", "--directions", "gone"], "There is no folder gone"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(arguments, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "load_editor", None)
    assert main(["figure", *arguments]) == 1
    assert told in capsys.readouterr().err


def test_without_the_example_a_photo_must_be_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "EXAMPLE", tmp_path / "none.jpg")
    assert main(["figure", "5", str(tmp_path / "out.png")]) == 1
    assert "name photos with --photos" in capsys.readouterr().err
