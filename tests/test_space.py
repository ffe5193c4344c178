"""What a Space and a reader of the README rely on: the front matter, the sizes of files, the example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import gradio
import numpy as np
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement
from PIL import Image

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
LARGEST = 10_000_000  # bytes; what the Hub takes into plain git


def test_the_hubs_own_parser_accepts_the_front_matter():
    card = SpaceCard.load(README, ignore_metadata_errors=False).data
    assert (card.sdk, card.app_file, card.license) == ("gradio", "app.py", "mit")
    assert card.title
    assert len(card.short_description) <= 60
    assert {card.colorFrom, card.colorTo} <= {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert re.fullmatch(r"3\.\d+", card.python_version)
    assert (ROOT / card.app_file).is_file()


def test_a_space_runs_the_gradio_that_the_requirements_allow():
    (wanted,) = [
        Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("gradio")
    ]
    version = SpaceCard.load(README).data.sdk_version
    assert version in wanted.specifier
    assert gradio.__version__ in wanted.specifier


def test_every_file_goes_into_plain_git_and_no_system_packages_are_needed():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name.decode() for name in tracked.split(b"\0") if name]
    assert len(paths) > 100
    assert {path.name for path in paths if path.stat().st_size >= LARGEST} == set()
    assert not (ROOT / "packages.txt").exists(), "OpenCV is the headless one, which needs no libGL"
    assert "opencv-python-headless" in (ROOT / "requirements.txt").read_text()


def run_example(number: int, folder: Path) -> str:
    """What the example `number` of the README's library section prints, run in a folder."""
    section = README.read_text(encoding="utf-8").split("## As a library")[1]
    example = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[number]
    assert len(example.splitlines()) <= 10
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", example]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_first_example_edits_a_photo_in_six_lines(tmp_path, astronaut):
    astronaut.save(tmp_path / "photo.jpg", quality=95)
    run_example(0, tmp_path)
    before, after = (np.asarray(Image.open(tmp_path / name), int) for name in ("photo.jpg", "edited.png"))
    assert before.shape == after.shape
    assert 0.005 < (np.abs(after - before).max(2) > 8).mean() < 0.3


def test_the_readmes_second_example_finds_a_direction(tmp_path):
    scores = [float(line.split()[1]) for line in run_example(1, tmp_path).splitlines()]
    assert len(scores) == 20
    assert sum(scores[-5:]) > sum(scores[:5]), "the search gets better"


def test_importing_the_library_imports_nothing_heavy_and_its_names_load_on_first_use():
    code = (
        "import sys, lelsd_core\n"
        "heavy = {'torch', 'numpy', 'PIL', 'cv2', 'gradio', 'huggingface_hub'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert set(lelsd_core.__all__) <= set(dir(lelsd_core))\n"
        "lelsd_core.load_generator\n"
        "assert 'torch' in sys.modules and 'gradio' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
