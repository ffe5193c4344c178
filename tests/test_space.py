"""What a Space and a reader of the README rely on: the front matter, the sizes of files, the example."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import gradio
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement

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


def test_the_readmes_example_runs():
    section = README.read_text(encoding="utf-8").split("## As a library")[1]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)
    assert len(example.splitlines()) <= 10
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores = [float(line.split()[1]) for line in done.stdout.splitlines()]
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
