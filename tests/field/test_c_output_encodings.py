"""Kind C: where the output's encoding lacks a sign, it is written as an escape, and the exit code tells of the work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASTRONAUT = ROOT / "tests" / "data" / "astronaut.png"


def run(*arguments: str, encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "lelsd_core", "edit", *arguments, "--steps", "1", "--set", "mouth=2"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_edit_is_reported_in_any_encoding(tmp_path, encoding):
    done = run(str(ASTRONAUT), str(tmp_path / "out.png"), encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").exists()
    assert b"Wrote" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes are Linux's")
def test_a_name_that_is_no_text_costs_a_folder_nothing(tmp_path):
    (tmp_path / "photos").mkdir()
    shutil.copy(ASTRONAUT, os.fsencode(tmp_path / "photos") + b"/caf\xe9.png")
    (tmp_path / "photos" / "bad.png").write_text("no picture")
    done = run(str(tmp_path / "photos"), str(tmp_path / "out"), encoding="utf-8")
    assert done.returncode == 1, "one photo is bad"
    assert b"1 done, 1 failed" in done.stdout, done.stderr
    assert len(os.listdir(os.fsencode(tmp_path / "out"))) == 1
