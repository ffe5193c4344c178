"""Kind D: uploads lie in a folder of this run alone, and a machine without a place for it gets one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import app
from lelsd_core.errors import UserError


def test_each_run_has_a_private_folder_that_is_removed(tmp_path, monkeypatch):
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "gradio").mkdir(mode=0)  # another user's
    with app.private_folder():
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o077 == 0, "nobody else may look"
        (folder / "upload").write_text("a photo")
    assert not folder.exists()


def test_a_folder_that_somebody_named_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with app.private_folder():
        assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)
    assert tmp_path.exists()


def test_no_place_for_it_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"There is no folder for uploads .*TMPDIR"), app.private_folder():
        pass
