"""The command line: what it prints, what it writes, and how it says no."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lelsd_core.__main__ import main
from lelsd_core.cli.parser import COMMANDS
from lelsd_core.directions import Direction

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"
ROOT = Path(__file__).parents[1]


def answer(capsys) -> dict:
    """The JSON object on the last line."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_edit_writes_the_whole_photo_and_tells_its_figures(tmp_path, capsys):
    out = tmp_path / "out.png"
    assert main(["edit", str(ASTRONAUT), str(out), "--set", "mouth=3", "--set", "hair=-99", "--json"]) == 0
    told = answer(capsys)
    before, after = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (ASTRONAUT, out))
    assert before.shape == after.shape
    changed = np.abs(after - before).max(2) > 4
    assert 0.005 < changed.mean() < 0.3
    assert not changed[:, 380:].any(), "far from the face nothing changes"
    assert told["inversion_l1"] <= 0.08
    assert told["amounts"]["mouth"] == 3
    assert told["amounts"]["hair"] > -20
    assert told["seconds"] > 0
    assert told["lpips"] is None, "its backbone is not on this machine"
    assert told["identity"] is None


def test_edit_without_amounts_gives_the_photo_back(tmp_path):
    assert main(["edit", str(ASTRONAUT), str(tmp_path / "out.png"), "--steps", "2"]) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(Image.open(ASTRONAUT)))


def test_edit_reads_a_recipe_and_set_goes_on_top(tmp_path, capsys):
    recipe = tmp_path / "r.json"
    recipe.write_text('{"amounts": {"mouth": 2, "nose": 1}}')
    out = str(tmp_path / "out.jpg")
    arguments = ["edit", str(ASTRONAUT), out, "--recipe", str(recipe), "--set", "nose=-1", "--crop", "--steps", "2"]
    assert main([*arguments, "--json"]) == 0
    assert answer(capsys)["amounts"] == {"mouth": 2, "nose": -1}
    assert Image.open(out).size == (64, 64)


def test_discover_writes_a_direction_with_its_figures(tmp_path, capsys, few_held_out):
    out = tmp_path / "lips.safetensors"
    assert main(["discover", str(out), "--parts", "mouth", "--steps", "10", "--json"]) == 0
    told = answer(capsys)
    direction = Direction.load(out)
    assert (direction.name, direction.parts) == ("lips", ("mouth",))
    assert told["steps"] == 10
    assert told["score"] == pytest.approx(direction.score)
    assert told["area"] == pytest.approx(direction.area)


def test_several_directions_get_numbers(tmp_path, few_held_out):
    out = tmp_path / "d.safetensors"
    assert main(["discover", str(out), "--parts", "eyes", "--steps", "2", "--count", "2"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d-2.safetensors", "d.safetensors"]


def test_a_discovery_keeps_clear_of_given_directions_and_says_how_sure_its_score_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lelsd_core.evaluation.calibration.calibrate", quick_figures)
    known, out, run = (tmp_path / f"{name}.safetensors" for name in ("known", "new", "run"))
    start = ["--parts", "mouth", "--steps", "3"]
    assert main(["discover", str(known), *start]) == 0
    assert main(["discover", str(out), *start, "--against", str(known), "--checkpoint", str(run)]) == 0
    assert "score 0.300 (0.250 to 0.350)" in capsys.readouterr().out
    first, second = Direction.load(known), Direction.load(out)
    assert abs(float(first.vector @ second.vector)) < 1e-5
    assert not run.exists(), "the directions are saved; nothing is left to go on from"
    assert {"segmenter", "layers", "seed", "steps", "date", "version", "samples", "slots"} <= second.facts.keys()


def quick_figures(_generator, _segmenter, direction: Direction) -> Direction:
    """What a calibration fills in, without its minutes."""
    return replace(direction, score=0.3, area=0.02, gain=21.0, facts={**direction.facts, "interval": (0.25, 0.35)})


def test_evaluate_gives_one_row_for_each_direction(capsys, few_held_out):
    assert main(["evaluate", "--json"]) == 0
    rows = answer(capsys)["rows"]
    assert [row["direction"] for row in rows] == sorted(
        ["hair", "skin", "brows", "eyes", "nose", "mouth", "background", "clothes"]
    )
    for row in rows:
        assert {"part", "score", "area", "low", "high", "gain"} <= row.keys()
        assert row["gain"] >= (15 if row["direction"] in ("eyes", "brows", "nose", "mouth") else 5), row
        assert min(row["change"]) >= 0.05, row


WRONG = {
    "no such photo": (["edit", "gone.jpg", "out.png"], "There is no file gone.jpg"),
    "not a picture": (["edit", __file__, "out.png"], "not a picture that can be read"),
    "an output that is no picture": (["edit", str(ASTRONAUT), "out.doc"], "does not end like a picture"),
    "an output nowhere": (["edit", str(ASTRONAUT), "no/where/out.png"], "There is no folder"),
    "an unknown direction": (["edit", str(ASTRONAUT), "out.png", "--set", "mout=1"], "did you mean mouth"),
    "an amount that is no number": (["edit", str(ASTRONAUT), "out.png", "--set", "mouth=big"], "NAME=AMOUNT"),
    "an amount that is not a number": (["edit", str(ASTRONAUT), "out.png", "--set", "mouth=nan"], "NAME=AMOUNT"),
    "an amount without end": (["edit", str(ASTRONAUT), "out.png", "--set", "mouth=inf"], "NAME=AMOUNT"),
    "a recipe that is nowhere": (["edit", str(ASTRONAUT), "out.png", "--recipe", "no.json"], "There is no recipe no.j"),
    "a recipe that is none": (["edit", str(ASTRONAUT), "out.png", "--recipe", __file__], "is not a recipe"),
    "an unknown generator": (
        ["edit", str(ASTRONAUT), "out.png", "--generator", "digiface"],
        "did you mean digiface-64",
    ),
    "a tuning that cannot be": (["edit", str(ASTRONAUT), "out.png", "--tune"], "Only a StyleGAN2 can be tuned"),
    "an unknown closeness": (["edit", str(ASTRONAUT), "out.png", "--closeness", "close"], "no closeness named 'close'"),
    "directions nowhere": (["edit", str(ASTRONAUT), "out.png", "--directions", "x"], "no folder x;"),
    "two ways to write": (["edit", str(ASTRONAUT), "out.png", "--crop", "--paste", "replace"], "leave out --paste or"),
    "an unknown part": (["discover", "d.safetensors", "--parts", "mouht"], "did you mean mouth"),
    "an unknown segmenter": (["discover", "d.safetensors", "--segmenter", "bisnet"], "no segmenter named 'bisnet'"),
    "an unknown space": (["discover", "d.safetensors", "--space", "W"], "no latent space named 'W'"),
    "a direction that would be a folder": (["discover", "."], " must end in .safetensors"),
    "a direction by another name": (["discover", "d.txt"], "d.txt must end in .safetensors"),
    "a checkpoint that is a folder": (["discover", "d.safetensors", "--checkpoint", "."], "is a folder"),
    "an unknown segmenter of a generator to fetch": (
        ["discover", "d.safetensors", "--generator", "ffhq-1024", "--segmenter", "bisnet"],
        "no segmenter named 'bisnet'",
    ),
    "a generator without a segmenter": (
        ["discover", "d.safetensors", "--generator", "afhq-wild-512"],
        "No segmenter is known for what afhq-wild-512 paints",
    ),
    "a generator that cannot be judged": (["evaluate", "--generator", "afhq-wild-512"], "No segmenter is known"),
    "a generator that cannot be timed": (["bench", "discover", "--generator", "afhq-wild-512"], "No segmenter is kn"),
    "a bench by another name": (["bench", "edits"], "no bench named 'edits'; did you mean edit"),
    "fewer times than none": (["bench", "start", "--repeats", "-1"], "--repeats is -1; it must be at least 1"),
    "no steps": (["discover", "d.safetensors", "--steps", "0"], "steps is 0; it must be at least 1"),
    "a given file that is no direction": (
        ["discover", "d.safetensors", "--against", str(ASTRONAUT)],
        "is no safetensors file",
    ),
    "more directions than there is room for": (
        ["discover", "d.safetensors", "--space", "Z", "--slots", "z", "--count", "101"],
        "count is 101; space Z has room for 100",
    ),
    "an unknown difference": (["discover", "d.safetensors", "--difference", "l3"], "did you mean l2"),
    "a checkpoint nowhere": (["discover", "d.safetensors", "--checkpoint", "no/where"], "There is no folder"),
    "a direction nowhere": (["discover", "no/where/d.safetensors"], "There is no folder"),
    "a folder without directions": (["evaluate", "--directions", "nowhere"], "There is no folder nowhere"),
    "a generator to evaluate": (["evaluate", "--generator", "x"], "no generator named 'x'"),
    "a generator to time": (["bench", "edit", "--generator", "x"], "no generator named 'x'"),
    "a generator to search": (["bench", "discover", "--generator", "x"], "no generator named 'x'"),
    "a generator to race": (["bench", "discover", "--official", "--generator", "x"], "no generator named 'x'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_person_can_fix_is_one_sentence_and_exit_code_1(case, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments, words = WRONG[case]
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [["edit"], ["discover", "x", "--steps", "many"], ["paint"], ["edit", "--wat"], []]
)
def test_unknown_options_missing_arguments_and_non_numbers_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_help_needs_no_torch_no_gradio_and_no_opencv():
    code = (
        "import sys, lelsd_core\n"
        "from lelsd_core.cli.parser import build_parser\n"
        f"for name in {tuple(COMMANDS)!r}:\n"
        "    try: build_parser().parse_args([name, '--help'])\n"
        "    except SystemExit: pass\n"
        "heavy = {'torch', 'gradio', 'cv2', 'numpy', 'PIL', 'tqdm'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--parts" in done.stdout


def test_a_pipe_gets_results_and_no_progress(tmp_path):
    code = (
        "import dataclasses, lelsd_core.evaluation.calibration as c\n"
        "facts = {'interval': (0.2, 0.4)}\n"
        "c.calibrate = lambda g, s, d: dataclasses.replace(d, score=0.3, area=0.02, gain=21.0, facts=facts)\n"
        "import sys; from lelsd_core.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    task = [sys.executable, "-c", code, "discover", str(tmp_path / "d.safetensors"), "--steps", "2", "--json"]
    done = subprocess.run(task, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2
    assert json.loads(done.stdout.splitlines()[-1])["steps"] == 2


def start_page(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `python app.py` says when it cannot start."""
    command = [sys.executable, "app.py", "--offline", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_the_page_tells_an_unknown_generator_in_one_sentence():
    done = start_page("--generator", "digiface")
    assert done.returncode == 1
    assert done.stderr == "app.py: There is no generator named 'digiface'; did you mean digiface-64?\n"


def test_the_page_tells_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = start_page("--port", port)
    assert done.returncode == 1
    assert f"cannot be served at 127.0.0.1:{port} (Address already in use)" in done.stderr
    assert done.stderr.count("\n") == 1
