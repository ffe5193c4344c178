"""The command line: what it prints and writes, its errors, and its exit codes."""

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
from lelsd_core.cli.parser import COMMANDS, build_parser
from lelsd_core.directions import Direction

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"
ROOT = Path(__file__).parents[1]


def answer(capsys) -> dict:
    """The JSON object on the last line."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_edit_writes_the_whole_photo_and_reports_its_figures(tmp_path, capsys):
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
    assert 0 < told["lpips"] < 0.3
    assert 0 < told["identity"] < 1


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


def test_a_direction_is_limited_to_layers_by_set_or_by_a_recipe(tmp_path, capsys):
    def edited(*more: str) -> np.ndarray:
        arguments = ["edit", str(ASTRONAUT), str(tmp_path / "out.png"), "--crop", "--steps", "0", "--json", *more]
        assert main(arguments) == 0
        return np.asarray(Image.open(tmp_path / "out.png"))

    still, whole, fine = (edited("--set", f"hair={amount}") for amount in ("0", "3", "3@middle,fine"))
    assert answer(capsys)["layers"] == {"hair": ["middle", "fine"]}
    recipe = tmp_path / "r.json"
    recipe.write_text('{"amounts": {"hair": 3}, "layers": {"hair": ["middle", "fine"]}}')
    assert np.array_equal(edited("--recipe", str(recipe)), fine)
    assert np.array_equal(edited("--recipe", str(recipe), "--set", "hair=3"), whole)
    assert not np.array_equal(fine, whole)
    assert not np.array_equal(fine, still)
    assert main(["edit", str(ASTRONAUT), str(tmp_path / "no.png"), "--set", "hair=3@thick"]) == 1
    assert "no layer named 'thick'" in capsys.readouterr().err


def test_a_direction_in_z_moves_a_photo_of_digiface(tmp_path, capsys, few_held_out):
    found, still, moved = (tmp_path / name for name in ("zm.safetensors", "still.png", "moved.png"))
    assert main(["discover", str(found), "--parts", "mouth", "--space", "Z", "--steps", "4"]) == 0
    options = ["--directions", str(found), "--steps", "0", "--crop"]
    assert main(["edit", str(ASTRONAUT), str(still), *options]) == 0
    assert main(["edit", str(ASTRONAUT), str(moved), *options, "--set", "zm=1"]) == 0
    assert not np.array_equal(np.asarray(Image.open(still)), np.asarray(Image.open(moved)))


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


def quick_figures(_generator, _segmenter, direction: Direction, **_) -> Direction:
    """What a calibration fills in, without its minutes."""
    return replace(direction, score=0.3, area=0.02, gain=21.0, facts={**direction.facts, "interval": (0.25, 0.35)})


def test_evaluate_gives_one_row_for_each_direction(capsys, few_held_out):
    assert main(["evaluate", "--json"]) == 0
    rows = answer(capsys)["rows"]
    looks = ["background", "brows", "clothes", "eyes", "hair", "mouth", "nose", "skin"]
    shapes = ["brows-height", "collar", "fringe", "gaze", "hair-length", "mouth-open", "nose-length", "smile"]
    shapes += ["hair-blond", "light", "lip-colour"]  # which are let in locally, too
    assert sorted(row["direction"] for row in rows) == sorted(looks + shapes)
    for row in rows:
        assert {"part", "score", "area", "low", "high", "gain"} <= row.keys()
        kind, gain, change, lpips = (
            ("look", 5, 0.035, 0.005) if row["direction"] in looks else ("shape", 4, 0.02, 0.002)
        )
        assert row["kind"] == kind
        assert row["gain"] >= (15 if row["part"] in ("eyes", "brows", "nose", "mouth") else gain), row
        assert min(row["change"]) >= change, row
        assert all(lpips < each < 0.5 for each in row["lpips"]), row
    motion = {row["direction"]: row["motion"] for row in rows}
    about = {row["direction"]: row["about"] for row in rows}
    assert {name: about[name] for name in ("background", "mouth-open", "brows-height", "light")} == {
        "background": "background-light",
        "mouth-open": "mouth-open",
        "brows-height": "brows",
        "light": "light",
    }
    assert motion["mouth-open"]["mouth-open"][0] < -4 < 15 < motion["mouth-open"]["mouth-open"][1]
    assert motion["brows-height"]["brows"][1] - motion["brows-height"]["brows"][0] > 6
    look, shape = (abs(motion[name]["mouth-open"][1]) for name in ("mouth", "mouth-open"))
    assert shape > 3 * look, "a look leaves the shape"


EDIT = ["edit", str(ASTRONAUT), "out.png"]
DISCOVER = ["discover", "d.safetensors"]
WRONG = {  # arguments, and what the message names
    "no such photo": (["edit", "gone.jpg", "out.png"], "gone.jpg"),
    "not a picture": (["edit", __file__, "out.png"], "not a picture"),
    "an output that is no picture": (["edit", str(ASTRONAUT), "out.doc"], "out.doc"),
    "an output nowhere": (["edit", str(ASTRONAUT), "no/where/out.png"], "where"),
    "an unknown direction": ([*EDIT, "--set", "mout=1"], "did you mean mouth"),
    "an amount that is no number": ([*EDIT, "--set", "mouth=big"], "mouth=big"),
    "an amount that is not a number": ([*EDIT, "--set", "mouth=nan"], "mouth=nan"),
    "an infinite amount": ([*EDIT, "--set", "mouth=inf"], "mouth=inf"),
    "a recipe that does not exist": ([*EDIT, "--recipe", "no.json"], "no.json"),
    "a recipe that is none": ([*EDIT, "--recipe", __file__], "test_cli.py"),
    "an unknown generator": ([*EDIT, "--generator", "digiface"], "did you mean digiface-64"),
    "a generator that cannot be tuned": ([*EDIT, "--tune"], "tuned"),
    "an unknown closeness": ([*EDIT, "--closeness", "close"], "closeness named 'close'"),
    "a face before the first": ([*EDIT, "--face", "0"], "--face is 0"),
    "an unknown nudge": ([*EDIT, "--nudge", "rigth=0.1"], "did you mean right"),
    "a nudge out of range": ([*EDIT, "--nudge", "scale=9"], "0.5 to 2"),
    "directions nowhere": ([*EDIT, "--directions", "x"], "folder x"),
    "an animation of nothing": (["edit", str(ASTRONAUT), "out.gif"], "--set or --recipe"),
    "an animation that stays where it is": (["edit", str(ASTRONAUT), "out.mp4", "--set", "mouth=0"], "(.mp4)"),
    "an animation of a strip": (["edit", str(ASTRONAUT), "out.gif", "--strip", "hair"], "leave out --strip"),
    "a strip of an unknown direction": ([*EDIT, "--strip", "mout"], "did you mean mouth"),
    "a recipe to save as something else": ([*EDIT, "--save-recipe", "r.txt"], "r.txt must end in .json"),
    "a recipe to save nowhere": ([*EDIT, "--save-recipe", "no/where/r.json"], "where"),
    "two ways to write": ([*EDIT, "--crop", "--paste", "replace"], "--paste"),
    "an unknown part": ([*DISCOVER, "--parts", "mouht"], "did you mean mouth"),
    "an unknown segmenter": ([*DISCOVER, "--segmenter", "bisnet"], "segmenter named 'bisnet'"),
    "an unknown space": ([*DISCOVER, "--space", "W"], "latent space named 'W'"),
    "a direction that is a folder": (["discover", "."], ".safetensors"),
    "a direction with another ending": (["discover", "d.txt"], "d.txt must end in .safetensors"),
    "a direction nowhere": (["discover", "no/where/d.safetensors"], "where"),
    "a checkpoint that is a folder": ([*DISCOVER, "--checkpoint", "."], "is a folder"),
    "a checkpoint nowhere": ([*DISCOVER, "--checkpoint", "no/where"], "where"),
    "an unknown segmenter of a generator to fetch": (
        [*DISCOVER, "--generator", "ffhq-1024", "--segmenter", "bisnet"],
        "segmenter named 'bisnet'",
    ),
    "no steps": ([*DISCOVER, "--steps", "0"], "steps is 0"),
    "a file that is no direction": ([*DISCOVER, "--against", str(ASTRONAUT)], "astronaut.png"),
    "more directions than there is room for": (
        [*DISCOVER, "--space", "Z", "--slots", "z", "--count", "101"],
        "room for 100",
    ),
    "an unknown difference": ([*DISCOVER, "--difference", "l3"], "did you mean l2"),
    "no directions to evaluate": (["evaluate", "--directions", "nowhere"], "nowhere"),
    "an unknown generator to evaluate": (["evaluate", "--generator", "x"], "generator named 'x'"),
    "an unknown bench": (["bench", "edits"], "did you mean edit"),
    "negative repeats": (["bench", "start", "--repeats", "-1"], "--repeats is -1"),
    "an unknown device": (["bench", "edit", "--device", "gpu"], "device named 'gpu'"),
    "an unknown generator to time": (["bench", "edit", "--generator", "x"], "generator named 'x'"),
    "an unknown generator to search": (["bench", "discover", "--generator", "x"], "generator named 'x'"),
    "an unknown generator to compare": (["bench", "discover", "--official", "--generator", "x"], "generator named 'x'"),
    "an unknown action": (["weights", "lst"], "did you mean list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_person_can_fix_is_one_line_and_exit_code_1(case, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments, words = WRONG[case]
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
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
        "c.calibrate = lambda g, s, d, **_: dataclasses.replace(d, score=0.3, area=0.02, gain=21.0, facts=facts)\n"
        "import sys; from lelsd_core.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    task = [sys.executable, "-c", code, "discover", str(tmp_path / "d.safetensors"), "--steps", "2", "--json"]
    done = subprocess.run(task, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2
    assert json.loads(done.stdout.splitlines()[-1])["steps"] == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_lines_that_can_be_pasted(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    _, _, examples = capsys.readouterr().out.rpartition("examples:\n")
    for line in examples.splitlines():
        program, arguments = line.split()[:3], line.split()[3:]
        assert program == ["python", "-m", "lelsd_core"]
        assert build_parser().parse_args(arguments).command == command


def test_a_closed_pipe_ends_a_command_without_a_traceback():
    command = [sys.executable, "-u", "-m", "lelsd_core", "weights", "list"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.close()
    message = running.stderr.read()
    running.stderr.close()
    assert running.wait(timeout=60) == 141
    assert message == b""


def start_page(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python app.py` with arguments with which it cannot start."""
    command = [sys.executable, "app.py", "--offline", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_the_page_reports_an_unknown_generator_in_one_line():
    done = start_page("--generator", "digiface")
    assert done.returncode == 1
    assert "did you mean digiface-64" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_page_reports_a_port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = start_page("--port", port)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert done.stderr.count("\n") == 1
