"""Fingerprints belong to the weights: one generator has the same from any file, and directions found with it fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lelsd_core import UserError, load_generator
from lelsd_core.directions import Direction
from lelsd_core.galleries.local import gallery_folder
from lelsd_core.inversion.e4e import read_e4e
from lelsd_core.registry import directions_of
from lelsd_core.weights.cache import record_file, sha256_of
from lelsd_core.weights.checkpoints import convert_checkpoint, fingerprint_at
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors
from tests import official


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One StyleGAN2 in three files: alone, as this project's file in half precision, and among other numbers."""
    alone, ours = official.stylegan2(tmp_path), tmp_path / "ours.safetensors"
    convert_checkpoint(alone, ours, sha256_of(alone))
    tensors, facts = read_safetensors(ours, "generator")
    half = {name: tensor.half() for name, tensor in tensors.items()}
    write_safetensors(tmp_path / "half.safetensors", half, facts)
    noise = {name: t + 1 for name, t in tensors.items() if name.endswith(("noise_const", "w_avg"))}
    write_safetensors(tmp_path / "noise.safetensors", tensors | noise, facts)
    return {"alone": alone} | {name: tmp_path / f"{name}.safetensors" for name in ("ours", "half", "noise")}


def direction_of(path: Path, fingerprint: str) -> Direction:
    generator = load_generator(path)
    return Direction("d", generator.name, fingerprint, "S", torch.ones(generator.spaces[-1].width), ("left",))


def test_directions_fit_the_same_weights_from_any_file(files):
    found = {name: load_generator(path) for name, path in files.items()}
    assert len({generator.fingerprint for generator in found.values()}) == 1
    assert len({generator.sha256 for generator in found.values()}) == len(files)
    direction = direction_of(files["alone"], found["alone"].fingerprint)
    for generator in found.values():
        direction.check(generator)


def test_a_changed_weight_is_another_generator(files, tmp_path):
    tensors, facts = read_safetensors(files["ours"], "generator")
    name = "synthesis.b8.conv0.weight"
    write_safetensors(tmp_path / "other.safetensors", tensors | {name: tensors[name] * 1.01}, facts)
    with pytest.raises(UserError, match="was made for the generator"):
        direction_of(files["ours"], fingerprint_at(files["ours"])).check(load_generator(tmp_path / "other.safetensors"))


def test_the_generator_in_an_encoders_file_is_the_one_alone(tmp_path):
    state = torch.load(official.small_e4e(tmp_path), weights_only=True)
    inside = {n.removeprefix("decoder."): t for n, t in state["state_dict"].items() if n.startswith("decoder.")}
    torch.save({"g_ema": inside, "latent_avg": state["latent_avg"]}, tmp_path / "alone.pt")
    generator = read_e4e(official.small_e4e(tmp_path)).generator
    assert (
        generator.fingerprint
        == load_generator(tmp_path / "alone.pt").fingerprint
        == fingerprint_at(tmp_path / "alone.pt")
    )


def test_older_directions_name_the_file_and_still_fit_it(files):
    direction = direction_of(files["ours"], sha256_of(files["ours"]))
    direction.check(load_generator(files["ours"]))
    with pytest.raises(UserError, match="was made for the generator"):
        direction.check(load_generator(files["half"]))


def test_directions_found_with_one_file_are_found_with_the_other(files, hub_home, monkeypatch):
    monkeypatch.setenv("LELSD_CACHE", str(hub_home / "cache"))
    ours, half = files["ours"], files["half"]
    direction = direction_of(ours, fingerprint_at(ours))
    direction.save(gallery_folder(direction.fingerprint) / "left.safetensors")
    assert [found.name for found in directions_of(half)] == ["d"]
    record = json.loads(record_file().read_text())
    assert set(record["fingerprints"].values()) == {direction.fingerprint}
    old = gallery_folder(sha256_of(half))  # of an earlier version, which named the folder by the file
    replace(direction, name="old").save(old / "left.safetensors")
    assert [found.name for found in directions_of(half)] == ["old"]
