"""`region`, and `discover --own`: a part of one's own from the shell to a slider."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lelsd_core.__main__ import main
from lelsd_core.cli.region import load_region
from lelsd_core.directions import Direction

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"


@pytest.fixture
def chin(tmp_path) -> Path:
    """A mask."""
    mask = np.zeros((64, 64), np.uint8)
    mask[48:60, 20:44] = 255
    Image.fromarray(mask).save(path := tmp_path / "chin.png")
    return path


def answer(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_painted_region_is_searched_for_measured_and_edited(tmp_path, chin, capsys, few_held_out):
    region, direction = tmp_path / "chin.safetensors", tmp_path / "my-chin.safetensors"
    preview = tmp_path / "there.png"
    arguments = ["region", str(region), "--on", "seed:45", "--mask", str(chin), "--preview", str(preview), "--json"]
    assert main(arguments) == 0
    told = answer(capsys)
    assert (told["name"], told["method"]) == ("chin", "painted")
    assert 0.01 < told["area"] < 0.2
    lit = np.asarray(Image.open(preview).convert("RGB")).astype(int)
    assert np.ptp(lit, 2)[50:58, 24:40].mean() > 5 * np.ptp(lit, 2)[:40].mean(), "grey outside"
    assert main(["discover", str(direction), "--own", str(region), "--steps", "2", "--json"]) == 0
    assert answer(capsys)["area"] < 0.2
    found = Direction.load(direction)
    assert found.parts == ("chin",)
    assert found.region.equals(load_region(str(region)))
    out = tmp_path / "out.png"
    steps = ["--steps", "2", "--directions", str(direction), "--set", "my-chin=2"]
    assert main(["edit", str(ASTRONAUT), str(out), *steps]) == 0
    assert main(["evaluate", "--directions", str(direction), "--json"]) == 0
    assert answer(capsys)["rows"][0]["part"] == "chin"


def test_a_region_is_learnt_from_a_photo_and_a_seed(tmp_path, chin, capsys):
    several = ["--on", str(ASTRONAUT), "--mask", str(chin), "--on", "seed:45", "--mask", str(chin)]
    assert main(["region", str(tmp_path / "c.safetensors"), *several, "--name", "my chin", "--json"]) == 0
    told = answer(capsys)
    assert (told["name"], told["method"]) == ("my chin", "head")


def test_what_belongs_together_at_a_place_is_a_region(tmp_path, capsys):
    out = str(tmp_path / "lips.safetensors")
    assert main(["region", out, "--on", "seed:45", "--at", "0.5,0.78", "--at", "0.4,0.78", "--json"]) == 0
    told = answer(capsys)
    assert (told["name"], told["method"]) == ("lips", "clusters")
    assert 0.01 < told["area"] < 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say where the region is"),
        (["--mask", "CHIN", "--at", "0.5,0.5"], "Say where the region is"),
        (["--mask", "CHIN", "--mask", "CHIN"], "2 masks are given for 1 faces"),
        (["--at", "0.5"], "it takes X,Y in shares"),
        (["--at", "0.5,1.5"], "it takes X,Y in shares"),
        (["--at", "0.5,0.5", "--on", "seed:x"], "names no seed"),
        (["--at", "0.5,0.5", "--name", "mouth"], "a part named 'mouth' already"),
        (["--mask", "nowhere.png"], "nowhere.png"),
    ],
)
def test_what_is_no_region_is_told_in_a_sentence(tmp_path, chin, capsys, arguments, message):
    arguments = [str(chin) if each == "CHIN" else each for each in arguments]
    assert main(["region", str(tmp_path / "r.safetensors"), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_files_without_a_region_are_refused(tmp_path, capsys):
    out, segmenter = str(tmp_path / "o.safetensors"), "checkpoints/digiface-64/segmenter.safetensors"
    assert main(["discover", out, "--own", str(tmp_path / "no.safetensors")]) == 1
    assert "There is no file" in capsys.readouterr().err
    assert main(["discover", out, "--own", str(Path(__file__).parents[1] / segmenter)]) == 1
    assert "holds no region of one's own" in capsys.readouterr().err
