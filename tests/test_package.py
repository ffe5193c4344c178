"""The package as a whole: public names, what is imported when, what lies in the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
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


def test_the_wheel_holds_the_package_its_data_and_a_working_command(tmp_path):
    """Built from a copy, unpacked elsewhere, and run with no checkout on the path and no network."""
    source, installed = tmp_path / "source", tmp_path / "installed"
    for folder in ("lelsd_core", "checkpoints"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    expected = files_in(source / "lelsd_core", source)
    expected |= {f"lelsd_core/{name}" for name in files_in(source / "checkpoints", source) if is_installed(name)}
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    files = files_in(installed, installed)
    metadata = {name for name in files if ".dist-info/" in name}
    assert files - metadata == expected
    (scripts,) = (installed / name for name in metadata if name.endswith("entry_points.txt"))
    assert "lelsd = lelsd_core.__main__:main" in scripts.read_text()
    shutil.copy(ROOT / "tests" / "data" / "astronaut.png", tmp_path / "photo.png")
    code = "import sys; sys.argv[0] = 'lelsd'; from lelsd_core.__main__ import main; sys.exit(main())"
    arguments = ["edit", "photo.png", "out.png", "--set", "mouth=3", "--steps", "1"]
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code]
    subprocess.run([*command, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "out.png").stat().st_size > 10_000
    usage = subprocess.run(
        [*command, "edit"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert usage.returncode == 2
    assert usage.stderr.startswith("usage: lelsd edit")


def files_in(folder: Path, root: Path) -> set[str]:
    """Paths of all files of a folder, relative to a root."""
    return {path.relative_to(root).as_posix() for path in folder.rglob("*") if path.is_file()}


def is_installed(name: str) -> bool:
    """Whether a file of checkpoints/ is needed at run time: weights, whole galleries, cards and licences."""
    return "/make/" not in name and ("/directions/" in name or name.endswith((".safetensors", "README.md", "LICENSE")))


def test_the_top_level_is_as_agreed():
    agreed = {"demo", "lelsd_core", "checkpoints", "tests", "app.py", "requirements.txt", "README.md"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith((".", "__"))}
    assert found - {"build", "lelsd.egg-info"} == agreed | {"pyproject.toml", "LICENSE"}


def test_no_checkpoint_is_larger_than_ten_megabytes():
    for path in ROOT.glob("checkpoints/**/*"):
        assert not path.is_file() or path.stat().st_size < 10_000_000, path
