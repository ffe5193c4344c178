"""`bench methods`: passes are counted and compared as they are defined."""

from __future__ import annotations

import json

import pytest
import torch

from lelsd_core.__main__ import main
from lelsd_core.cli import bench, costs
from tests.toy import Halves, Painter


def test_passes_are_counted_with_their_gradients():
    generator, segmenter = Painter(), Halves()
    passes = costs.count_passes(generator, segmenter)
    codes = generator.sample(range(5)).requires_grad_()
    image = generator.synthesize(codes, "Z").image
    segmenter.segment(image)
    with torch.no_grad():
        generator.synthesize(codes[:2], "Z")
    for _ in range(3):
        torch.autograd.grad(image.sum(), codes, retain_graph=True)
    assert dict(passes) == {"forward": 7, "segmenter": 5, "backward": 15}


def test_a_picture_rendered_in_part_counts_for_its_layers(editor):
    generator = editor.generator
    steps = generator.steps
    try:
        passes = costs.count_passes(generator, Halves())
        generator.synthesize(generator.sample([1, 2]), "Z", keep=("8.conv",), image=False)
        assert passes["forward"] == pytest.approx(2 * 2 / len(steps))
    finally:
        generator.steps = steps


def test_ratios_follow_from_the_passes():
    passes = costs.Passes(forward=1.0, both=3.0, segmenter=0.0)
    assert passes.lelsd == 800 * 4
    found = passes.ratios(9088)
    assert found["gradient_maps"] == pytest.approx(1000 * (3 + 1023 * 2) / 3200)
    assert found["moves"] == pytest.approx(1000 * 9089 / 3200)
    assert found["projections"] == pytest.approx((256 * (3 + 3 * 2) + 16 * 2 * 24) / 3200)


def test_the_bench_measures_each_method_in_a_process_of_its_own(monkeypatch, capsys):
    ran = []

    def alone(code: str) -> tuple[str, float]:
        ran.append(code)
        return 'a word\n{"seconds": 2, "forward": 3, "backward": 4, "segmenter": 5, "score": 0.5}', 1.5

    monkeypatch.setattr(costs, "alone", alone)
    monkeypatch.setattr(bench, "random_stylegan2", lambda resolution: Painter())
    assert main(["bench", "methods", "--methods", "sefa", "random", "--part", "hair", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert ["'sefa', 'digiface-64', 'hair'" in ran[0], "'random'" in ran[1], len(ran)] == [True, True, 2]
    assert told["rows"][0] == {
        "method": "sefa", "seconds": 2, "forward": 3, "backward": 4, "segmenter": 5, "score": 0.5, "peak_gb": 1.5
    }  # fmt: skip
    assert [row["channels"] for row in told["ratios"]] == [1920, 9088, 6048]


def test_a_direction_is_found_and_scored(monkeypatch, capsys):
    monkeypatch.setattr("lelsd_core.methods.random.CANDIDATES", 1)
    monkeypatch.setattr("lelsd_core.methods.candidates.MOST_SAMPLES", 4)
    monkeypatch.setattr(costs, "SCORED", 4)
    costs.find("random", "digiface-64", "hair", "cpu")
    told = json.loads(capsys.readouterr().out)
    assert told["seconds"] > 0
    assert told["forward"] >= 4 + 8
    assert told["backward"] == 0
    assert 0 < told["score"] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "moth"], "no part named 'moth'; did you mean mouth"),
        (["--methods", "sefa", "sefas"], "no method named 'sefas'"),
        (["--generator", "nobody"], "no generator named 'nobody'"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_measured(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(costs, "alone", lambda code: pytest.fail("measured"))
    assert main(["bench", "methods", *arguments]) == 1
    assert message in capsys.readouterr().err
