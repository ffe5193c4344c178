"""Comparisons of methods: results, tables, figures, what is kept in a cache, and the errors."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from PIL import Image

from lelsd_core.__main__ import main
from lelsd_core.comparison import compare, measures
from lelsd_core.comparison.compare import Comparer, Comparison, Plan
from lelsd_core.comparison.figures import EMPTY, comparison_sheet, save_figure
from lelsd_core.comparison.measures import DISTANCES
from lelsd_core.comparison.tables import csv_text, markdown, matrices, rows
from lelsd_core.errors import UserError
from lelsd_core.methods import NAMES
from lelsd_core.methods.base import METHODS
from tests.test_comparison import Saturated
from tests.test_evaluation import direction
from tests.toy import Halves, Painter

PLAN = Plan(("lelsd", "random"), ("left", "right"), DISTANCES["rms"], (0.05, 0.1), samples=6)
TRUE, OTHER = {"left": 0, "right": 2}, {"left": 2, "right": 0}  # the painter's factors that change a half


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No LPIPS, and methods whose directions are known: LELSD's are true, random ones are those of the other half."""
    monkeypatch.setattr(measures, "local", lambda name: None)
    asked: list[tuple[str, str]] = []

    def find(method, generator, segmenter, wanted, *, progress=None):
        (part,) = wanted.parts
        asked.append((method, part))
        progress(1.0)
        if method == "sefa":
            raise UserError("No sample shows it.")
        return [replace(direction({"lelsd": TRUE, "random": OTHER}[method][part]), parts=(part,))]

    monkeypatch.setattr(compare, "find_directions", find)
    return asked


def compared(plan: Plan = PLAN, generator=None, **more) -> Comparison:
    return Comparer(generator or Painter(), Halves(), plan, **more).run()


def test_every_method_is_measured_for_every_part():
    found = compared()
    assert [(each.part, each.method) for each in found.results] == [
        (part, method) for part in PLAN.parts for method in PLAN.methods
    ]
    for result in found.results:
        right = 1.0 if result.method == "lelsd" else 0.0
        assert [cell.score for cell in result.measured.cells] == pytest.approx([right] * 2, abs=1e-4)
        assert result.scores == pytest.approx((right,) * 4, abs=1e-4)
        assert result.direction.name == f"{result.method}-{result.part}"
    assert found.steps == (-0.1, -0.05, 0.05, 0.1)


def test_the_progress_rises_to_one():
    told = []
    Comparer(Painter(), Halves(), PLAN).run(lambda doing, share: told.append((share, doing)))
    assert told == sorted(told, key=lambda each: each[0])
    assert told[-1] == (1.0, f"{METHODS['random'].title}: right")


def test_rows_csv_and_markdown_hold_the_same_figures():
    found = compared()
    table = rows(found)
    assert len(table) == 2 * 2 * 2
    first = table[0]
    assert (first["method"], first["part"], first["distance"], first["step"]) == ("lelsd", "left", "RMS change", 0.05)
    assert first["score"] == found.results[0].measured.cells[0].score
    assert (first["shown_low"], first["shown_high"]) == (found.results[0].scores[1], found.results[0].scores[2])
    read = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [float(row["score"]) for row in read] == pytest.approx([row["score"] for row in table])
    assert read[0]["lpips"] == "", "no figure, no number"
    text = markdown(found)
    assert "# Methods on painter at equal RMS change" in text
    assert "| left | LELSD | 1.00 (1.00–1.00) | 1.00 (1.00–1.00) |" in text
    assert "| right | Random | 0.00 (0.00–0.00) | 0.00 (0.00–0.00) |" in text
    assert "6 held-out samples, both signs (12 pictures a figure)" in text


def test_the_matrix_of_parts_has_a_row_for_each_part_that_is_moved():
    lines = matrices(compared().results, PLAN.parts, 0)
    assert "| LELSD moves | left | right |" in lines
    start = lines.index("| Random moves | left | right |")
    assert lines[start + 2 : start + 4] == ["| left | 0 | 100 |", "| right | 100 | 0 |"]


def test_the_figure_has_a_cell_for_each_picture_with_the_numbers_of_the_table():
    found = compared()
    figure = comparison_sheet(found)
    assert len(figure.axes) == 2 * 2 * 5, "parts × methods × (four steps and the face itself)"
    words = [text.get_text() for text in figure.texts]
    assert words.count("1.00") == words.count("0.00") == 2 * 4, "under each picture but the untouched ones"
    assert words.count("1.00 ± 0.00") == words.count("0.00 ± 0.00") == 2 * 4
    assert {"left", "right", "LELSD", "Random", "RMS change −0.1", "−0.05", "0", "+0.05", "+0.1"} <= {*words}


def test_a_step_that_the_face_does_not_reach_is_an_empty_place_that_says_so():
    found = compared(replace(PLAN, steps=(0.01, 0.5)), Saturated())
    figure = comparison_sheet(found)
    assert len(figure.axes) == 2 * 2 * 3
    words = [text.get_text() for text in figure.texts]
    assert words.count("not reached") == 2 * 2 * 2
    assert sum(patch.get_facecolor() == _rgba(EMPTY) for patch in figure.artists + figure.patches) == 2 * 2 * 2
    assert "| left | LELSD | 1.00 (1.00–1.00) | not reached, 0/12 |" in markdown(found)


def _rgba(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgba

    return to_rgba(colour)


def test_a_method_that_finds_nothing_says_why_in_tables_and_figure():
    found = compared(replace(PLAN, methods=("lelsd", "sefa")), WithEntry())
    assert [result.words for result in found.results] == ["", "No sample shows it."] * 2
    assert rows(found)[-1] == {"method": "sefa", "part": "right", "words": "No sample shows it."}
    assert "| left | SeFa | No sample shows it. |  |" in markdown(found)
    assert "No sample shows it." in [text.get_text() for text in comparison_sheet(found).texts]


class WithEntry(Painter):
    """A painter in which SeFa is defined."""

    def entry_weights(self):
        return (self.turn,)


@pytest.mark.parametrize("ending", [".png", ".pdf"])
def test_figures_are_written_by_ending_and_say_what_made_them(tmp_path, ending):
    path = tmp_path / f"figure{ending}"
    figure = comparison_sheet(compared(replace(PLAN, methods=("lelsd",), parts=("left",))))
    save_figure(figure, path, "Faces made up by painter.")
    content = path.read_bytes()
    assert content.startswith({".png": b"\x89PNG", ".pdf": b"%PDF"}[ending])
    assert b"lelsd" in content
    if ending == ".png":
        assert Image.open(path).info["Description"] == "Faces made up by painter."
    with pytest.raises(UserError, match=r"must end in \.png or \.pdf"):
        save_figure(figure, tmp_path / "figure.svg", "")


def test_a_comparison_that_was_stopped_goes_on_where_it_was(tmp_path, quick, monkeypatch):
    whole = compared(cache=tmp_path)
    assert len(quick) == 4
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json"] * 4 + [".safetensors"] * 4
    monkeypatch.setattr(measures.EqualDistance, "__call__", None)  # nothing is measured again
    again = compared(cache=tmp_path)
    assert len(quick) == 4, "and nothing is searched again"
    assert rows(again) == rows(whole)
    assert all("-left-" in path.name or "-right-" in path.name for path in tmp_path.iterdir())


def test_what_changes_the_result_is_not_read_from_the_cache(tmp_path, quick):
    compared(cache=tmp_path)
    compared(replace(PLAN, seed=1), cache=tmp_path)
    assert len(quick) == 8
    one = replace(PLAN, methods=("lelsd",), parts=("left",))
    assert rows(compared(replace(one, steps=(0.02,)), cache=tmp_path))[0]["step"] == 0.02
    assert len(quick) == 8, "a direction does not depend on the distances"
    assert rows(compared(replace(one, samples=3), cache=tmp_path))[0]["of"] == 6


def test_a_damaged_cache_is_measured_again(tmp_path):
    whole = compared(cache=tmp_path)
    for path in tmp_path.glob("*.json"):
        path.write_text('{"cells": 1')
    assert rows(compared(cache=tmp_path)) == rows(whole)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"methods": ("lelsd", "gan-space")}, "no method named 'gan-space'; did you mean ganspace"),
        ({"parts": ("left", "middle")}, "no part named 'middle'"),
        ({"layers": ("9.paint",)}, "no layer named '9.paint'"),
        ({"samples": 1}, "samples is 1; at least 2"),
        ({"samples": 1000}, "samples is 1000; there are 256"),
        ({"methods": ("stylespace",)}, "StyleSpace needs the channels of a style space S; painter has Z"),
        ({"methods": ()}, "Name at least one method"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_before_any_work(change, told, quick):
    with pytest.raises(UserError, match=told):
        Comparer(Painter(), Halves(), replace(PLAN, **change))
    assert not quick


def test_the_names_that_need_no_torch_are_those_of_the_methods():
    assert tuple(METHODS) == NAMES


def on_digiface(monkeypatch) -> None:
    """The methods' directions become ones that ship with digiface-64."""
    from lelsd_core.registry import directions_of

    known = {each.name: each for each in directions_of("digiface-64")}
    monkeypatch.setattr(compare, "find_directions", lambda method, g, s, wanted, progress: [known[wanted.parts[0]]])


QUICK = [
    "--methods",
    "lelsd",
    "random",
    "--parts",
    "mouth",
    "--samples",
    "2",
    "--distances",
    "0.02",
    "--layers",
    "8.conv",
]


def test_compare_writes_figure_and_tables_and_prints_the_scores(tmp_path, capsys, monkeypatch):
    on_digiface(monkeypatch)
    out = tmp_path / "out.png"
    assert main(["compare", str(out), *QUICK, "--cache", str(tmp_path / "new" / "cache"), "--json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    told = json.loads(printed[-1])
    assert (told["generator"], told["distance"], told["steps"]) == ("digiface-64", "RMS change", [0.02])
    assert [(row["method"], row["step"]) for row in told["rows"]] == [("lelsd", 0.02), ("random", 0.02)]
    assert told["rows"][0]["score"] > 10 * told["rows"][0]["area"]
    assert told["rows"][0]["identity"] > 0.5
    assert told["rows"][0]["features"] > told["rows"][0]["area"]
    assert any(line.startswith("| mouth | LELSD | ") for line in printed)
    assert Image.open(out).width > 500
    assert out.with_suffix(".md").read_text().count("| mouth |") == 2 + 2
    assert len(out.with_suffix(".csv").read_text().splitlines()) == 3
    assert len(list((tmp_path / "new" / "cache").iterdir())) == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["out.jpg"], "out.jpg must end in .png or .pdf"),
        (["nowhere/out.png"], "There is no folder"),
        (["out.png", "--methods", "lelsd", "sefo"], "no method named 'sefo'; did you mean sefa"),
        (["out.png", "--parts", "mouht"], "no part named 'mouht'; did you mean mouth"),
        (["out.png", "--distance", "l3"], "no distance named 'l3'"),
        (["out.png", "--distances", "0.2", "0.1"], "The distances are 0.2 0.1"),
        (["out.png", "--steps", "0"], "--steps is 0"),
        (["out.png", "--samples", "1"], "samples is 1"),
        (["out.png", "--generator", "digiface"], "no generator named 'digiface'"),
        (["out.png", "--cache", "file"], "The folder file cannot be made"),
    ],
)
def test_mistakes_in_a_comparison_are_told_at_once(arguments, told, tmp_path, capsys, monkeypatch, quick):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["compare", *arguments]) == 1
    assert told in capsys.readouterr().err
    assert not quick


def test_compare_needs_a_file_to_write(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare"])
    assert ended.value.code == 2
    assert "required: out" in capsys.readouterr().err


def test_figure_4_is_a_comparison(tmp_path, capsys, monkeypatch):
    asked = []

    def painted(options) -> Comparison:
        asked.append(options)
        return small

    small = compared(replace(PLAN, methods=("lelsd",), parts=("left",)))
    monkeypatch.setattr("lelsd_core.cli.compare.compare", painted)
    out = tmp_path / "four.pdf"
    assert main(["figure", "4", str(out), "--parts", "left", "--samples", "6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == rows(small)
    assert (asked[0].parts, asked[0].samples, asked[0].generator) == (["left"], 6, "digiface-64")
    assert out.read_bytes().startswith(b"%PDF")
    assert not out.with_suffix(".md").exists()
