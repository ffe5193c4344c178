"""Kind H: an NVIDIA .pkl with foreign names outside of its G_ema, as of another discriminator, or Python 2's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lelsd_core import load_generator
from tests import official
from tests.field.foreign import companions, trainer
from tests.hostile import refusal


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_other_entries_are_inert(protocol: int, tmp_path: Path) -> None:
    tensors, attributes = official.record(official.stylegan2(tmp_path))
    with trainer() as module:
        beside = companions(module)
        discriminator = torch.nn.Sequential(torch.nn.Linear(2, 2))
        discriminator.__class__ = type("Net", (torch.nn.Sequential,), {"__module__": module.__name__})
        module.Net = type(discriminator)
        more = {"D": discriminator, "augment_pipe": beside["slots"], "training_set_kwargs": beside}
        path = official.nvidia(tmp_path / "x.pkl", tensors, attributes, beside=more, protocol=protocol)
    found, plain = load_generator(path), load_generator(official.stylegan2(tmp_path))
    assert found.fingerprint == plain.fingerprint
    codes = plain.sample([1])
    assert torch.equal(found.synthesize(codes, "Z").image, plain.synthesize(codes, "Z").image)


def test_what_the_generator_itself_needs_is_asked_for(tmp_path: Path) -> None:
    tensors, attributes = official.record(official.stylegan3(tmp_path))
    bare = {name: value for name, value in attributes.items() if not name.startswith("synthesis.input")}
    torch.save(tensors, tmp_path / "bare.pt")
    assert "StyleGAN3 without its sizes and rates" in refusal(tmp_path / "bare.pt")
    assert "'size' is missing" in refusal(official.nvidia(tmp_path / "x.pkl", tensors, bare))
    path = official.nvidia(tmp_path / "x.pkl", {"b4.fc.weight": torch.zeros(1)}, {}, beside={"snapshot": 3})
    assert "what it holds (snapshot, G_ema) is no generator known here" in refusal(path)
