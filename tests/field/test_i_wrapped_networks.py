"""Kind I: keys around a whole network. Known layouts are found one level down; otherwise the keys are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lelsd_core import load_generator
from tests import official
from tests.hostile import refusal


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return torch.load(official.small_rosinality(tmp_path_factory.mktemp("i")), weights_only=True)["g_ema"]


def fingerprint(content: Any, path: Path) -> str:
    torch.save(content, path)
    return load_generator(path).fingerprint


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def as_module(tensors: dict[str, Tensor]) -> nn.Module:
    """A network with these tensors."""
    whole = nn.Module()
    for name, tensor in tensors.items():
        module, (*path, last) = whole, name.split(".")
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        module.register_buffer(last, tensor)
    return whole


def test_networks_are_found_one_level_down(state: dict[str, Tensor], tmp_path: Path) -> None:
    expected = fingerprint(state, tmp_path / "plain.pt")
    wrapped = [{key: state} for key in ("g", "G", "generator", "netG", "model", "params", "state_dict", "anything")]
    wrapped += [below("module", state), below("generator", state), {"model": below("module.G", state)}]
    for number, content in enumerate(wrapped):
        assert fingerprint(content, tmp_path / f"{number}.pt") == expected, list(content)[:1]


def test_averaged_networks_come_first(state: dict[str, Tensor], tmp_path: Path) -> None:
    expected, other = fingerprint(state, tmp_path / "plain.pt"), {name: t + 1 for name, t in state.items()}
    for live, averaged in (("g", "g_ema"), ("G", "ema"), ("netG", "netG_ema"), ("generator", "generator_smooth")):
        assert fingerprint({live: other, averaged: state}, tmp_path / "x.pt") == expected
        assert fingerprint({averaged: state, live: other}, tmp_path / "x.pt") == expected
        assert fingerprint(below(live, other) | below(averaged, state), tmp_path / "x.pt") == expected


def test_discriminators_are_not_taken_for_generators(tmp_path: Path) -> None:
    good = torch.load(official.dcgan(tmp_path), weights_only=True)["netG_state_dict"]
    expected = fingerprint(good, tmp_path / "plain.pt")
    bad = {"main.0.weight": torch.zeros(8, 3, 4, 4)}
    for name in ("d", "D", "netD", "netD_state_dict", "d_ema", "discriminator"):
        assert fingerprint({name: bad, "netG": good}, tmp_path / "x.pt") == expected
    torch.save({"netD": bad}, tmp_path / "d.pt")
    assert "what it holds (netD) is no generator known here" in refusal(tmp_path / "d.pt")


def test_whole_networks_are_read_by_their_tensors(state: dict[str, Tensor], tmp_path: Path) -> None:
    expected, network = fingerprint(state, tmp_path / "plain.pt"), as_module(state)
    for content in (network, {"g_ema": network}, {"epoch": 1, "generator": nn.DataParallel(network)}):
        assert fingerprint(content, tmp_path / "x.pt") == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3, "model": {"a.b": torch.zeros(1)}}, "what it holds (epoch, model) is no generator known here"),
        ({str(number): {} for number in range(9)}, "(0, 1, 2, 3, 4, 5 and 3 more)"),
        ({"a": torch.zeros(1)}, "its tensors (a) are those of no generator known here"),
        ({"\x1b[31m\nred": torch.zeros(1)}, "its tensors (?[31m?red) are those"),
        ([1, 2], "it holds a list, no weights"),
        (torch.zeros(3), "it holds a Tensor, no weights"),
        (nn.Linear(2, 2), "is no generator known here"),
    ],
)
def test_other_content_is_named(content: Any, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    assert words in refusal(tmp_path / "x.pt")
