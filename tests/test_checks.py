"""Table 1: each check on directions and generators for which the answer is known."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from lelsd_core.__main__ import main
from lelsd_core.comparison import checks
from lelsd_core.comparison.checks import CHECKS, Blobs, Halves, Stage, check_all, table1
from lelsd_core.directions import Direction
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import held_out
from lelsd_core.localization import localization_score
from lelsd_core.methods.base import METHODS
from tests.test_evaluation import direction
from tests.toy import Halves as PainterHalves
from tests.toy import Painter


@pytest.fixture
def stage(monkeypatch) -> Stage:
    """The painter, whose left half LELSD changes and random vectors leave alone; SeFa finds nothing."""
    monkeypatch.setattr("lelsd_core.comparison.measures.local", lambda name: None)

    def find(method, generator, segmenter, wanted):
        if method == "sefa":
            raise UserError("No sample shows it.")
        if isinstance(generator, Blobs):
            return [replace(in_blobs(), parts=wanted.parts)]
        return [replace(direction(0 if method == "lelsd" else 2), parts=wanted.parts)]

    monkeypatch.setattr(checks, "find_directions", find)
    return Stage(Painter(), PainterHalves(), "left")


def in_blobs() -> Direction:
    vector = torch.nn.functional.one_hot(torch.tensor(0), 24).float()
    return Direction("d", "blobs", "b" * 64, "Z", vector, ("left",))


def test_local_edits_are_told_from_others(stage):
    assert checks.local_edit("lelsd", stage) == ""
    assert checks.local_edit("random", stage) == "score 0.00 (0.00–0.00) on 0.50 of the picture"


def test_an_edit_needs_no_gradient_and_no_second_picture(stage):
    assert checks.no_optimisation("lelsd", stage) == ""
    assert checks.one_picture("lelsd", stage) == ""

    class Mixing(Painter):
        """Each picture has something of the one after it."""

        def finish(self, state):
            return state.x + state.x.roll(1, 0)

    assert "beside another one the picture differs by" in checks.one_picture(
        "lelsd", Stage(Mixing(), PainterHalves(), "left")
    )

    class Still(Painter):
        def finish(self, state):
            return 0 * state.x

    assert checks.no_optimisation("lelsd", Stage(Still(), PainterHalves(), "left")) == "the face does not change"


def test_a_method_that_needs_more_of_an_architecture_says_so(stage):
    assert checks.any_architecture("lelsd", stage) == ""
    assert "StyleSpace needs the channels of a style space S; blobs has Z" in checks.any_architecture(
        "stylespace", stage
    )


def test_blobs_have_local_factors_and_their_own_architecture():
    blobs = Blobs()
    samples = held_out(blobs, Halves(), range(4))
    assert samples.pictures.shape == (4, 3, 16, 16)
    assert 0.2 < float(samples.pictures.std()) < 1
    halves = torch.zeros(1, 1, 16, 16)
    halves[..., :8] = 1
    codes = blobs.sample([0])
    right = blobs.patterns[..., 8:].flatten(1)  # (24, 384), of rank 16: a third of the patterns is not in this half
    local = torch.linalg.svd(right.T)[2][-1:]  # a code that it does not see
    before, after = (blobs.synthesize(each, "Z").image for each in (codes, codes + local))
    assert float(localization_score(before, after, halves)) == pytest.approx(1, abs=1e-3)


def test_regions_without_labels_and_painted_ones(editor):
    stage = Stage(Blobs(), Halves(), "left")
    clusters, name = stage.clusters
    assert name in clusters.parts
    assert stage.painted.parts[0] == "painted"
    stage = Stage(editor.generator, editor.segmenter, "mouth")
    assert "background" not in stage.subject
    assert {"mouth", "hair"} < set(stage.subject)
    with pytest.raises(UserError, match="no part named 'muoth'"):
        Stage(editor.generator, editor.segmenter, "muoth")


def test_every_claim_is_checked_for_every_method_and_told(stage, monkeypatch):
    run = {"A": "", "B": "", "C": "it has no styles", "D": "", "E": "", "F": "", "G": ""}
    for column, answer in run.items():
        monkeypatch.setitem(CHECKS, column, replace(CHECKS[column], run=lambda method, stage, a=answer: a))
    told = []
    answers = check_all(["lelsd", "sefa"], stage, lambda doing, share: told.append(share))
    assert answers == {"lelsd": run, "sefa": run}
    assert told == sorted(told)
    assert told[-1] == 1.0
    lines = table1(answers)
    assert lines[:3] == ["| method | A | B | C | D | E | F | G |", "|---|---|---|---|---|---|---|---|", lines[2]]
    assert lines[2] == "| LELSD | ✓ | ✓ | – | ✓ | ✓ | ✓ | ✓ |"
    assert lines[-1] == "SeFa, C: it has no styles"
    assert sum(line.startswith(tuple(f"{column}: " for column in "ABCDEFG")) for line in lines) == 7


def test_a_method_that_finds_nothing_does_not_hold_and_says_why(stage, monkeypatch):
    monkeypatch.setattr(checks, "CHECKS", {"F": CHECKS["F"]})
    assert check_all(["lelsd", "sefa"], stage) == {"lelsd": {"F": ""}, "sefa": {"F": "No sample shows it."}}
    with pytest.raises(UserError, match="no method named 'lelds'; did you mean lelsd"):
        check_all(["lelds"], stage)


def test_compare_prints_table_1(capsys, monkeypatch):
    for column in "ABCDEG":
        monkeypatch.setitem(CHECKS, column, replace(CHECKS[column], run=lambda method, stage: ""))
    known = "lelsd_core.cli.compare.check_all"
    monkeypatch.setattr(known, lambda methods, stage, report: {name: dict.fromkeys(CHECKS, "") for name in methods})
    assert main(["compare", "--table1", "--json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert list(json.loads(printed[-1])["table1"]) == list(METHODS)
    assert printed[2] == "| LELSD | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ |"
    assert main(["compare", "--table1", "--methods", "lesld"]) == 1
    assert "no method named 'lesld'" in capsys.readouterr().err
    assert main(["compare", "--table1", "--parts", "muoth"]) == 1
    assert "no part named 'muoth'" in capsys.readouterr().err
