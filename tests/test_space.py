"""What a Space and a reader of the README rely on: the front matter, the sizes of files, the example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import gradio
import numpy as np
import pytest
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement
from PIL import Image

from demo.views import FACE_SIZE
from lelsd_core.images import enlarge
from lelsd_core.weights.catalogue import CATALOGUE, CHECKPOINTS
from tests.page_client import send_event, send_photo
from tests.zerogpu import run_emulated, space

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


@pytest.fixture(scope="module")
def zerogpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The page of a Space with a lent GPU, from which the Hub cannot be reached."""
    with space(tmp_path_factory.mktemp("home")) as running:
        yield running


def test_a_zerogpu_space_starts_with_every_model_that_can_be_had_and_lends_it(zerogpu):
    log, shipped = zerogpu.log.read_text(), [each for each in CATALOGUE.values() if each.shipped]
    assert "Traceback" not in log
    assert "Running on local URL" in log
    assert zerogpu.calls[0] == "/startup-report"
    models = [each.name for each in shipped if each.kind == "generator"]
    assert all(f"{name} is ready, with" in log for name in models if name != "blaze-256")
    assert "e4e-ffhq could not be fetched" in log, "the large model is asked for, and its absence told"
    (choices,) = [
        part["props"]["choices"]
        for part in zerogpu.client.get("/config").json()["components"]
        if part["props"].get("elem_id") == "model"
    ]
    assert {name for _, name in choices} == {*models, "ffhq-1024"}
    (lent,) = (zerogpu.home / ".zerogpu" / "tensors").iterdir()
    networks = [each for each in shipped if each.kind in ("generator", "segmenter", "inverter")]
    assert lent.stat().st_size > sum((CHECKPOINTS / each.shipped.path).stat().st_size for each in networks)


def test_a_visitor_of_a_zerogpu_space_edits_on_the_lent_card(zerogpu, editor, astronaut, tmp_path):
    def shown(updates) -> np.ndarray:
        picture = updates["picture"].get("value", updates["picture"])
        return np.asarray(Image.open(BytesIO(b64decode(picture["url"].partition(",")[2]))), float)

    used = send_event(zerogpu.client, "use-model", "click", model="digiface-64")
    session, direction = editor.random_face(307), editor.directions[0]
    expected = enlarge(session.original, FACE_SIZE)
    assert np.abs(shown(used) - np.asarray(expected, float)).mean() < 2, "the picture of the other model, but for JPEG"
    moved = send_event(zerogpu.client, "slider-0", "input", slider_0=100)
    expected = enlarge(editor.render(session, {direction.name: direction.high}), FACE_SIZE)
    assert np.abs(shown(moved) - np.asarray(expected, float)).mean() < 2
    assert np.abs(shown(moved) - shown(used)).max() > 30
    astronaut.save(tmp_path / "photo.png")
    assert "Rebuilt in" in send_photo(zerogpu.client, tmp_path / "photo.png")["note"]
    assert zerogpu.calls[1:4] == ["/schedule", "/allow", "/release"]
    assert zerogpu.calls.count("/schedule") == zerogpu.calls.count("/release") >= 3
    assert "Traceback" not in zerogpu.log.read_text()


def test_an_editor_on_the_emulated_card_makes_what_it_makes_on_the_cpu(tmp_path):
    code = """
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery import samples
from lelsd_core.registry import load_editor
import numpy as np
ours, theirs = load_editor("digiface-64"), load_editor("digiface-64", "cuda")
for network in (theirs.generator, theirs.segmenter, theirs.inverter.network):
    assert {tensor.device.type for tensor in (*network.parameters(), *network.buffers())} == {"cuda"}
session = ours.random_face(5)
direction = next(direction for direction in ours.directions if direction.name == "background")
amounts = {direction.name: 2.0}
pictures = [np.asarray(editor.edit(session, amounts, protect=0.5).picture, int) for editor in (ours, theirs)]
assert np.abs(pictures[0] - pictures[1]).max() <= 1
networks = [(editor.generator, editor.segmenter) for editor in (ours, theirs)]
configs = [DiscoverConfig(parts=direction.parts).check(*pair) for pair in networks]
assert abs(configs[0].most - configs[1].most) < 1e-4
samples.EARLY_STOPPING = range(500_000, 500_002)
scores = [
    samples.EarlyStopping(*pair, config).mean_score(direction.vector[None]) for pair, config in zip(networks, configs)
]
assert abs(scores[0] - scores[1]) < 1e-4
"""
    assert run_emulated(code, tmp_path) == ""


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
