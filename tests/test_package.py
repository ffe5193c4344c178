"""The package as a whole: public names, what is imported when, what lies in the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lelsd_core

ROOT = Path(__file__).parents[1]


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after some code."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in ran.stdout.splitlines()[-1].split()}


def test_every_public_name_loads():
    for name in lelsd_core.__all__:
        assert getattr(lelsd_core, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = lelsd_core.nothing


def test_importing_the_package_loads_no_torch():
    assert not {"torch", "cv2", "gradio"} & loaded_by("import lelsd_core")


def test_loading_an_editor_loads_no_gradio():
    assert "gradio" not in loaded_by("from lelsd_core.registry import load_editor; load_editor('digiface-64')")


def test_the_top_level_is_as_agreed():
    agreed = {"demo", "lelsd_core", "checkpoints", "tests", "app.py", "requirements.txt", "README.md"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith((".", "__"))}
    assert found - {"build", "lelsd.egg-info"} == agreed | {"pyproject.toml", "LICENSE"}


def test_no_checkpoint_is_larger_than_ten_megabytes():
    for path in ROOT.glob("checkpoints/**/*"):
        assert not path.is_file() or path.stat().st_size < 10_000_000, path
