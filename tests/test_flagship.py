"""From the Hub to sliders: official-format files, small and filled by rule, fetched from a Hub on loopback.

photo --aligned as FFHQ's--> e4e --> codes --> sliders searched with BiSeNet --> edits --> a second start finds them
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from demo.models import ModelManager, ModelState
from lelsd_core.__main__ import main
from lelsd_core.directions import load_directions
from lelsd_core.editor import Editor, InversionOptions
from lelsd_core.errors import UserError
from lelsd_core.faces.frame import FfhqFrame
from lelsd_core.galleries import local as gallery
from lelsd_core.inversion import E4EInverter
from lelsd_core.registry import load_editor
from tests.hub_server import Fault
from tests.tiny_flagship import E4E, NAME, PARSING


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def settled(models: ModelManager) -> ModelState:
    """The model's state once nothing is under way any more."""
    until = time.monotonic() + 300
    while (state := models.state(NAME)).stage in ("fetching", "loading", "filling"):
        assert time.monotonic() < until, state
        time.sleep(0.02)
    return state


def test_from_a_photo_to_sliders_that_stay(
    hub, files, quick, editor: Editor, astronaut: Image.Image, monkeypatch, capsys
) -> None:
    server = hub()
    models = ModelManager(editor)
    megabytes = sum(map(len, files.values())) / 1e6
    assert models.state(NAME).message == f"{NAME} is not loaded; {megabytes:.0f} MB are to be fetched."
    models.start(NAME)
    state = settled(models)
    assert state.stage == "ready", state.message
    assert any("face_detection_yunet" in path for _, path, _ in server.requests)  # is not there, and does no harm
    large = models.editor(NAME)
    assert (large.generator.name, large.generator.resolution) == (NAME, 32)
    assert isinstance(large.inverter, E4EInverter)
    assert large.aligner.frame == FfhqFrame(32)
    names = {direction.name for direction in large.directions}
    assert len(names) >= 3
    parts = {name.removesuffix("-shape") for name in names}
    assert parts < set(large.segmenter.parts)  # others never occur
    assert {direction.kind for direction in large.directions} == {"look", "shape"}

    *_, session = large.invert(astronaut, InversionOptions(steps=4))
    assert session.space == "W+"
    assert session.original.size == (32, 32)
    assert session.photo is not None
    with pytest.raises(UserError, match="This picture shows no brows"):
        large.edit(session, {"brows-shape": 1.0})
    amounts = {direction.name: direction.high for direction in large.directions if direction.name != "brows-shape"}
    edit = large.edit(session, amounts)
    assert set(edit.locality.parts) == parts
    assert not np.array_equal(edit.picture, session.original)
    assert np.array_equal(large.render(session, dict.fromkeys(amounts, 0.0)), session.original)

    seen = len(server.requests)
    monkeypatch.setattr(gallery, "discover", None)  # a second start searches nothing
    again = ModelManager(editor)
    again.start(NAME)
    assert settled(again).message == state.message
    assert len(server.requests) == seen  # and fetches nothing
    for ours, theirs in zip(again.editor(NAME).directions, large.directions, strict=True):
        assert torch.equal(ours.vector, theirs.vector)
    assert {d.name for d in load_editor(NAME).directions} == names

    assert main(["weights", "push-directions", "me/tiny", "--generator", NAME, "--dry-run"]) == 0
    card = capsys.readouterr().out
    assert all(f"| {name} | {name.removesuffix('-shape')} |" in card for name in names)
    assert "Weights: of the test." in card


@pytest.mark.parametrize(
    ("fault", "words"), [(Fault(status=404), "404"), (Fault(status=403), "403"), (Fault(body=b"wrong"), NAME)]
)
def test_a_failed_download_leaves_the_page_as_it_was(hub, editor: Editor, fault: Fault, words: str) -> None:
    hub({E4E: [fault]})
    models = ModelManager(editor)
    models.start(NAME)
    state = settled(models)
    assert state.stage == "failed"
    assert "e4e-tiny could not be fetched" in state.message or words in state.message
    assert models.editor("digiface-64") is editor
    with pytest.raises(UserError, match="cannot be used yet"):
        models.editor(NAME)


def test_one_command_measures_all_of_a_large_model(hub, files, quick, astronaut, tmp_path: Path, capsys) -> None:
    server, out, photos = hub(), tmp_path / "out", tmp_path / "photos"
    photos.mkdir()
    astronaut.save(photos / "face.png")
    Image.new("RGB", (200, 200), "green").save(photos / "none.png")
    command = ["bench", "flagship", "--generator", NAME, "--out", str(out), "--device", "cpu"]
    assert main([*command, "--photos", str(photos), "--repeats", "1", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    report = json.loads((out / "flagship.json").read_text())
    assert report == json.loads(last)
    assert server.count("GET", "tiny_encode.pt") == 1
    assert report["sha256"] == {"e4e-tiny": sha256(files[E4E]), "bisenet": sha256(files[PARSING])}

    found = load_directions(out / "directions")
    parts = report["gallery"]["parts"]
    named = [name for name, facts in parts.items() if facts["without"] is None]
    assert sorted(direction.name for direction in found) == sorted(named)
    assert len(found) >= 3
    ends = [facts["until_s"] for facts in parts.values()]
    assert 0 < ends[0] <= ends[-1] <= report["gallery"]["seconds"]
    assert report["search"]["steps"] == 4
    assert [row["direction"] for row in report["scores"]] == [*named, f"{report['search']['part']}, searched"]
    assert all(0 < row["score"] < 1 for row in report["scores"])
    face, none = report["inversions"]
    assert face["refined"]["lpips"] < face["encoder"]["lpips"]
    assert face["refined"]["identity_network"] == "face-identity"
    assert face["refined_s"] > face["encoder_s"]
    assert "No face was found" in none["problem"]
    assert (report["published"]["identity"], report["published"]["lpips"]) == (0.50, 0.20)
    assert report["edits"]["edit_s"] > 0
    assert report["peak_gb"] is None, "of a GPU"
    predicted = report["predicted"]
    assert predicted["search_s"] == pytest.approx(2 * (4 * predicted["moved"] + 2 * predicted["still"]))
    assert sum("Predicted: a direction takes about" in line and "a GPU is far faster" in line for line in lines) == 1
    with Image.open(out / "flagship.jpg") as sheet:
        assert sheet.format == "JPEG"
        assert sheet.size == (5 * 258 - 2, len(report["sheet"]) * 258 - 2)
    assert len(report["sheet"]) == len(found)  # the photo, and all but a shape of brows, which it does not show

    assert main([*command, "--photos", str(photos)]) == 1
    assert "is not an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--photos", "nowhere"], "There is no folder nowhere of photos"),
        (["--photos", "."], "There are no pictures in"),
        (["--out", "no/such/out"], "There is no folder"),
        (["--generator", "ffhq-1042"], "did you mean ffhq-1024"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is_fetched(
    hub, arguments, words, tmp_path, monkeypatch, capsys
) -> None:
    server = hub()
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "flagship", "--generator", NAME, *arguments]) == 1
    assert words in capsys.readouterr().err
    assert server.requests == []


def test_without_a_network_or_the_example_photo_one_sentence_says_so(hub_home, tmp_path, monkeypatch, capsys) -> None:
    command = ["bench", "flagship", "--out", str(tmp_path / "out")]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "e4e-ffhq could not be fetched" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("lelsd_core.cli.flagship.EXAMPLE", tmp_path / "none.jpg")
    assert main(command) == 1
    assert "name a folder with --photos" in capsys.readouterr().err
