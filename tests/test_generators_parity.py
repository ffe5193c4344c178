"""Every golden case: the official file's picture, W and styles, within 1e-4 of the largest value."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lelsd_core import load_generator
from lelsd_core.generators import Generator
from tests import official

CLOSE = 1e-4
ROSINALITY = "rosinality32"
SLOTS = {  # rosinality's name of each styled part → ours, in StyleSpace's order
    "conv1": "4.conv1",
    "to_rgb1": "4.torgb",
    "convs.0": "8.conv0",
    "convs.1": "8.conv1",
    "to_rgbs.0": "8.torgb",
    "convs.2": "16.conv0",
    "convs.3": "16.conv1",
    "to_rgbs.1": "16.torgb",
    "convs.4": "32.conv0",
    "convs.5": "32.conv1",
    "to_rgbs.2": "32.torgb",
}


def same(ours: Tensor, theirs: Tensor) -> bool:
    """Within `CLOSE`, relative to the largest number."""
    return float((ours.reshape(theirs.shape) - theirs).abs().max() / theirs.abs().max()) < CLOSE


def picture(generator: Generator, codes: Tensor, space: str) -> Tensor:
    """The picture of codes, (B, ...) flattened to (B, D)."""
    with torch.inference_mode():
        return generator.synthesize(codes.flatten(1), space).image


@pytest.fixture(scope="module")
def stylegan2(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return load_generator(official.rosinality(tmp_path_factory.mktemp("rosinality")))


def test_rosinality_maps_z_to_the_official_w(stylegan2: Generator) -> None:
    z = official.numbers(ROSINALITY, "z", (2, 512))
    assert same(stylegan2.lift(z, "Z", "W"), official.expected(ROSINALITY)["w"])


def test_rosinality_paints_the_official_pictures(stylegan2: Generator) -> None:
    z = official.numbers(ROSINALITY, "z", (2, 512))
    wplus = 0.8 * official.numbers(ROSINALITY, "wplus", (2, 8, 512))
    there = official.expected(ROSINALITY)
    assert same(picture(stylegan2, stylegan2.lift(z, "Z", "W", truncation=0.7), "W"), there["image_psi07"])
    assert same(picture(stylegan2, stylegan2.lift(z, "Z", "S", truncation=0.7), "S"), there["image_psi07"])
    assert same(picture(stylegan2, wplus, "W+"), there["image_wplus"])


@pytest.mark.parametrize(("theirs", "ours"), SLOTS.items())
def test_rosinality_has_the_official_style_vectors(stylegan2: Generator, theirs: str, ours: str) -> None:
    space = stylegan2.space("S")
    assert [slot.name for slot in space.slots] == list(SLOTS.values())
    wplus = 0.8 * official.numbers(ROSINALITY, "wplus", (2, 8, 512)).flatten(1)
    styles = dict(zip(SLOTS.values(), space.split(stylegan2.lift(wplus, "W+", "S")), strict=True))
    assert same(styles[ours], official.expected(ROSINALITY)[f"style/{theirs}.conv.modulation"])


@pytest.mark.parametrize("case", ["nv2_64", "nv3t_64"])
def test_nvidia_pickles_paint_the_official_pictures(case: str) -> None:
    generator, there = load_generator(official.GOLDEN / f"{case}.pkl"), official.expected(case)
    codes = generator.lift(there["z"], "Z", "W+", truncation=0.7)
    assert same(codes, there["ws_psi07"])
    assert same(picture(generator, codes, "W+"), there["image_psi07"])
    assert same(picture(generator, there["wplus"], "W+"), there["image_wplus"])


def test_stylegan1_paints_the_official_pictures(tmp_path: Path) -> None:
    generator, there = load_generator(official.stylegan1(tmp_path), noise="off"), official.expected("stylegan1_32")
    z = official.numbers("stylegan1_32", "z", (2, 512))
    codes = generator.lift(z, "Z", "W+", truncation=0.7)
    assert same(generator.lift(z, "Z", "W", truncation=0.7), there["w_psi07"])
    assert same(codes, there["ws_psi07"])
    assert same(picture(generator, codes, "W+"), there["image_psi07"])
    wplus = 0.8 * official.numbers("stylegan1_32", "wplus", (2, 8, 512))
    assert same(picture(generator, wplus, "W+"), there["image_wplus"])


@pytest.mark.parametrize(("truncation", "name"), [(0.6, "image_truncation06"), (1.0, "image_truncation10")])
def test_biggan_paints_the_official_pictures(tmp_path: Path, truncation: float, name: str) -> None:
    path, there = official.biggan(tmp_path), official.expected("biggan64")
    for row, number in enumerate(there["classes"].tolist()):
        generator = load_generator(path, class_index=number, truncation=truncation)
        assert same(picture(generator, there["z"][row : row + 1], "Z"), there[name][row : row + 1])
