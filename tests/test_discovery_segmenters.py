"""A discovery and its segmenter: groups have names, foreign ones are refused, weights stand beside a name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lelsd_core.__main__ import main
from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.errors import UserError
from lelsd_core.segmenters import FeatureSegmenter, Parts, region
from lelsd_core.segmenters.features import Embedding
from tests import official
from tests.data.golden import golden
from tests.test_cli import quick_figures
from tests.toy import Halves, Painter


class Grouped(Halves):
    """Halves, and a name for both."""

    parts = Parts(("left", "right"), {"everything": ("left", "right")})


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("everythin",), "no part named 'everythin'; did you mean everything"),
        (("xyz",), "no part named 'xyz'; known: everything, left, right"),
        ((), "No part was chosen; choose at least one of everything, left, right"),
    ],
)
def test_groups_are_offered_beside_parts(parts: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        DiscoverConfig(parts=parts).check(Painter(), Grouped())
    assert DiscoverConfig(parts=("everything",)).check(Painter(), Grouped()).parts == ("everything",)


def test_a_segmenter_of_another_generators_features_is_refused_before_anything_is_rendered() -> None:
    reader = FeatureSegmenter(
        Embedding({"8.paint": 3}, torch.ones(3), 8), torch.zeros(2, 5), torch.zeros(2), ("a", "b"), ("cars", "c"), "x"
    )
    for segmenter in (reader, region(reader, "a") | region(Halves(), "left")):
        with pytest.raises(UserError, match="reads the features of 'cars', not of 'painter'"):
            DiscoverConfig(parts=(segmenter.parts[0],)).check(Painter(), segmenter)
    reader.made_for = ("painter", Painter().fingerprint)
    assert DiscoverConfig(parts=("a",)).check(Painter(), reader).space == "Z"


def test_the_command_takes_a_network_and_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("lelsd_core.evaluation.calibration.calibrate", quick_figures)
    weights, out = tmp_path / "79999_iter.pth", tmp_path / "d.safetensors"
    torch.save(golden.state_dict(official.GOLDEN / "bisenet128.json"), weights)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    start = ["discover", str(out), "--segmenter", "bisenet", "--steps", "1", "--batch", "1", "--parts", "head"]
    assert main(start) == 1
    assert "bisenet could not be fetched" in capsys.readouterr().err
    assert main([*start, "--segmenter-weights", str(tmp_path / "no.pth")]) == 1
    assert "no.pth" in capsys.readouterr().err
    assert main([*start, "--segmenter-weights", str(weights)]) == 0
    found = Direction.load(out)
    assert (found.facts["segmenter"], found.parts) == ("bisenet", ("head",))
