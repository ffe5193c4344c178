"""Kind N: a batch goes on where it was; an output is whole or not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lelsd_core.__main__ import main
from lelsd_core.cli.edit import PhotoEditor

ASTRONAUT = Path(__file__).parents[1] / "data" / "astronaut.png"


def test_what_is_done_is_left_alone(tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for folder in (photos, out):
        folder.mkdir()
    for name in ("a", "b"):
        shutil.copy(ASTRONAUT, photos / f"{name}.png")
    (out / "a.png").write_text("done before")
    arguments = ["edit", str(photos), str(out), "--steps", "1", "--set", "mouth=2"]
    assert main([*arguments, "--skip-done", "--json"]) == 0
    text = capsys.readouterr().out
    result = json.loads(text.splitlines()[-1])
    assert "1 done, 1 done before, 0 failed" in text
    assert (result["done"], result["skipped"]) == (1, 1)
    assert (out / "a.png").read_text() == "done before"
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"]


def test_a_photo_that_is_interrupted_leaves_no_output(tmp_path, monkeypatch):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    shutil.copy(ASTRONAUT, photos / "a.png")

    def interrupted(self, photo, path):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(PhotoEditor, "edit", interrupted)
    assert main(["edit", str(photos), str(out), "--steps", "1", "--set", "mouth=2"]) == 130
    assert list(out.iterdir()) == []


def test_skip_done_is_for_folders(tmp_path, capsys):
    assert main(["edit", str(ASTRONAUT), str(tmp_path / "a.png"), "--skip-done"]) == 1
    assert "--skip-done is for folders" in capsys.readouterr().err
