"""Kind J: a checkpoint that lacks layers, or whose tensors do not fit. One sentence, and nothing of torch's before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests import official
from tests.hostile import refusal

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def without(start: str) -> Change:
    return lambda state: {name: tensor for name, tensor in state.items() if not name.startswith(start)}


def with_other(name: str, tensor: Tensor) -> Change:
    return lambda state: state | {name: tensor}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("convs.1."), "it lacks 8.conv1 among its layers up to 32 pixels"),
        (without("convs.1.noise"), "it lacks 8.conv1.noise_strength among its layers"),
        (without("to_rgbs."), "it lacks 8.torgb, 16.torgb, 32.torgb among"),
        (without("style."), "it lacks its mapping network"),
        (with_other("convs.1.conv.weight", torch.zeros(1, 8, 8, 3, 3)), "their tensors do not fit together"),
        (with_other("convs.1.conv.weight", torch.zeros(3)), "their tensors do not fit together"),
        (
            with_other("to_rgb1.conv.weight", torch.zeros(1, 1, 64, 1, 1)),
            "the number of its pictures' channels is 1, not 3",
        ),
        (
            with_other("input.input", torch.zeros(1, 64, 4, 8)),
            "its pictures are not square: they grow from 4 × 8 pixels",
        ),
    ],
)
def test_one_sentence_says_what_is_missing(
    change: Change, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    state = torch.load(official.small_rosinality(tmp_path), weights_only=True)["g_ema"]
    torch.save({"g_ema": change(state)}, tmp_path / "x.pt")
    assert words in refusal(tmp_path / "x.pt")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
