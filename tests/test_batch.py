"""Batches: a folder of photos, rows of an evaluation, one process or two, with the same results to the last bit."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lelsd_core.__main__ import main
from lelsd_core.cli import edit
from lelsd_core.directions import Direction
from lelsd_core.evaluation.heldout import Evaluator
from lelsd_core.registry import load_generator, load_segmenter
from lelsd_core.weights.catalogue import CHECKPOINTS

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"
TWO = ["--workers", "2"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Four photos, two of one stem; a damaged one; and two files that are no pictures."""
    folder = tmp_path_factory.mktemp("photos")
    photo = Image.open(ASTRONAUT).convert("RGB")
    photo.save(folder / "a.png")
    photo.resize((300, 300)).save(folder / "a.jpg")
    photo.crop((80, 0, 380, 300)).save(folder / "B.WEBP")
    photo.rotate(8).save(folder / "c.png")
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff cut")
    (folder / "notes.txt").write_text("no picture")
    (folder / "._a.png").write_bytes(b"what a Mac leaves behind")
    return folder


@pytest.fixture(scope="module")
def single(photos, tmp_path_factory) -> tuple[Path, int]:
    """The folder edited by this process, and the exit code."""
    out = tmp_path_factory.mktemp("single") / "out"
    return out, main(["edit", str(photos), str(out), *AMOUNTS, "--json"])


FIGURES = ("inversion_l1", "lpips", "identity", "identity_network", "seconds", "amounts", "layers")
AMOUNTS = ["--set", "mouth=3", "--steps", "3", "--protect", "1"]


def answer(capsys) -> dict:
    """The JSON object on the last line."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def pictures(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_folder_is_edited_and_a_bad_file_stops_nothing(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["edit", str(photos), str(out), *AMOUNTS, "--format", "jpg", "--json"]) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out.splitlines()[-1])
    assert sorted(pictures(out)) == ["B.jpg", "a-2.jpg", "a.jpg", "c.jpg"]
    assert [Path(row["photo"]).name for row in result["photos"]] == ["B.WEBP", "a.jpg", "a.png", "bad.jpg", "c.png"]
    assert (result["done"], result["failed"], result["ignored"]) == (4, 1, 2)
    (bad,) = (row for row in result["photos"] if "error" in row)
    assert bad.keys() == {"photo", "error"}
    for row in result["photos"]:
        if row is not bad:
            assert row.keys() == {"photo", "out", "fidelity", *FIGURES}
            assert Image.open(row["out"]).size == Image.open(row["photo"]).size
    assert f"{bad['photo']}: {bad['error']}\n4 done, 1 failed, 2 other files" in captured.out
    assert captured.err == "", "quiet: this stderr is no terminal"


def test_a_bug_that_one_photo_shows_does_not_cost_the_others(photos, tmp_path, capsys, monkeypatch):
    few = folder(tmp_path / "few")
    for name in ("a.png", "c.png"):
        shutil.copy(photos / name, few)
    read = edit.read_photo
    monkeypatch.setattr(edit, "read_photo", lambda path: read(path) if path.name == "c.png" else 1 / 0)
    assert main(["edit", str(few), str(tmp_path / "out"), *AMOUNTS, "--json"]) == 1
    result = answer(capsys)
    assert (result["done"], result["failed"]) == (1, 1)
    assert "ZeroDivisionError" in result["photos"][0]["error"]


def test_two_workers_write_the_same_bytes_as_one(photos, single, tmp_path, capfd):
    out, code = single
    assert code == 1
    assert main(["edit", str(photos), str(tmp_path / "two"), *AMOUNTS, *TWO, "--json"]) == 1
    captured = capfd.readouterr()
    assert captured.err == ""
    assert len(captured.out.splitlines()) == 3, "the bad file, the summary and the object; nothing from Ray"
    result = json.loads(captured.out.splitlines()[-1])
    assert pictures(tmp_path / "two") == pictures(out)
    assert (result["done"], result["failed"]) == (4, 1)


def quick_evaluator(generator: str, _: None, segmenter: str, *others: object) -> Evaluator:
    """The command's, on four samples."""
    device = others[-1]
    networks = load_generator(generator, device), load_segmenter(segmenter, device)
    return Evaluator(*networks, seeds=range(500_000, 500_004))


def test_two_workers_evaluate_to_the_same_rows_as_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lelsd_core.cli.evaluate.evaluator", quick_evaluator)
    for name in ("eyes", "hair", "mouth"):
        shutil.copy(CHECKPOINTS / "digiface-64" / "directions" / f"{name}.safetensors", tmp_path)
    arguments = ["evaluate", "--directions", str(tmp_path), "--json"]
    assert main(arguments) == 0
    alone = answer(capsys)
    assert main([*arguments, *TWO]) == 0
    assert answer(capsys) == alone
    assert [row["direction"] for row in alone["rows"]] == ["eyes", "hair", "mouth"]


def test_workers_report_the_same_loading_error_as_one_process(photos, tmp_path, capfd):
    direction = replace(Direction.load(CHECKPOINTS / "digiface-64" / "directions" / "eyes.safetensors"), space="W")
    direction.save(tmp_path / "foreign.safetensors")
    arguments = ["edit", str(photos), str(tmp_path / "out"), "--directions", str(tmp_path)]
    assert main(arguments) == 1
    alone = capfd.readouterr().err
    assert "'eyes'" in alone
    assert main([*arguments, *TWO]) == 1
    assert capfd.readouterr().err == alone


@pytest.mark.parametrize("command", [["edit", str(ASTRONAUT.parent), "o"], ["evaluate"]], ids=["edit", "evaluate"])
def test_no_workers_and_missing_ray_are_errors(command, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--workers", "0"]) == 1
    assert "workers is 0" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    assert main([*command, *TWO]) == 1
    assert "pip install ray" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def folder(path: Path, *files: str) -> Path:
    """A folder with empty files."""
    path.mkdir()
    for name in files:
        (path / name).touch()
    return path


WRONG = {  # arguments, and what the message names
    "a folder without pictures": (["edit", "empty", "o"], "empty"),
    "a file where a folder should be": (["edit", "full", "file.png"], "file.png"),
    "an output folder nowhere": (["edit", "full", "no/where"], "where"),
    "an output over its input": (["edit", "full", "full"], "full/a.png"),
    "a picture over itself": (["edit", "full/a.png", "full/../full/a.png"], "full/../full/a.png"),
    "a link to its input": (["edit", "full/a.png", "link.png"], "link.png"),
    "a format that is none": (["edit", "full", "o", "--format", "pngg"], "did you mean png"),
    "a format for one photo": (["edit", "full/a.png", "o.png", "--format", "png"], "--format"),
    "a protection that is none": (["edit", "full", "o", "--protect", "2"], "2"),
    "an unknown way to paste": (["edit", "full", "o", "--paste", "chance"], "did you mean change"),
    "a recipe's unknown generator": (["edit", "full", "o", "--recipe", "foreign.json"], "did you mean digiface-64"),
    "a recipe's unknown direction": (["edit", "full", "o", "--recipe", "typo.json"], "did you mean mouth"),
    "two generators": (
        ["edit", "full", "o", "--recipe", "foreign.json", "--generator", "digiface-64"],
        "--generator digiface-64",
    ),
    "a recipe that is a list": (["edit", "full", "o", "--recipe", "list.json"], "list.json"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_error_is_one_line_before_anything_is_written(case, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "empty", "notes.txt"), folder(tmp_path / "full", "a.png")
    (tmp_path / "file.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "full" / "a.png")
    (tmp_path / "foreign.json").write_text('{"generator": "digiface-46", "amounts": {"mouth": 1}}')
    (tmp_path / "typo.json").write_text('{"generator": "digiface-64", "amounts": {"mouht": 1}}')
    (tmp_path / "list.json").write_text("[" * 10_000)
    before = sorted(tmp_path.rglob("*"))
    arguments, words = WRONG[case]
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_recipe_names_its_generator_and_the_face_can_be_replaced(tmp_path, capsys):
    recipe = tmp_path / "r.json"
    recipe.write_text('{"generator": "digiface-64", "amounts": {"mouth": 2}}')
    outs = {how: tmp_path / f"{how}.png" for how in ("change", "replace")}
    for how, out in outs.items():
        given = ["edit", str(ASTRONAUT), str(out), "--recipe", str(recipe), "--steps", "1", "--paste", how, "--json"]
        assert main(given) == 0
        assert answer(capsys)["amounts"] == {"mouth": 2}
    before, added, replaced = (
        np.asarray(Image.open(p).convert("RGB")).astype(int) for p in (ASTRONAUT, *outs.values())
    )
    assert np.abs(replaced - before).sum() > 3 * np.abs(added - before).sum()


def test_a_terminal_shows_a_progress_bar(tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"\xff\xd8\xff cut")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["edit", str(tmp_path / "photos"), str(tmp_path / "out")]) == 1
    assert "edit:" in capsys.readouterr().err
