"""Galleries that a file arranges: order, recipes, and files that do not fit."""

from __future__ import annotations

import re

import pytest
import torch

from lelsd_core.__main__ import main
from lelsd_core.cli.evaluate import check_sheets
from lelsd_core.directions import Direction
from lelsd_core.errors import UserError
from lelsd_core.galleries.shelf import FILE, read_gallery
from lelsd_core.registry import gallery_of
from lelsd_core.weights.catalogue import CATALOGUE, spec_of

HEAD = 'version = 1\ngenerator = "toy"\n'


@pytest.fixture
def folder(tmp_path):
    """Three directions of a generator "toy"."""
    for name in ("a", "b", "c"):
        Direction(name, "toy", "", "Z", torch.ones(2), low=-2.0, high=3.0).save(tmp_path / f"{name}.safetensors")
    return tmp_path


def test_a_file_gives_the_order_and_recipes(folder):
    assert [d.name for d in read_gallery(folder).directions] == ["a", "b", "c"]
    (folder / FILE).write_text(HEAD + 'order = ["c", "a"]\n[recipes]\nboth = { a = 3, c = -1.5 }\n')
    (folder / "recipes").mkdir()
    (folder / "recipes" / "both.jpg").touch()
    gallery = read_gallery(folder)
    assert [d.name for d in gallery.directions] == ["c", "a", "b"], "those that it does not name come last"
    assert gallery.recipes["both"].amounts == {"a": 3.0, "c": -1.5}
    assert gallery.recipes["both"].picture == folder / "recipes" / "both.jpg"


def test_directions_of_one_name_are_all_kept(folder):
    for file, low in (("one", -1.0), ("two", -2.0)):
        Direction("same", "toy", "", "Z", torch.ones(2), low=low).save(folder / f"{file}.safetensors")
    (folder / FILE).write_text(HEAD + 'order = ["same"]')
    assert [(d.name, d.low) for d in read_gallery(folder).directions[:3]] == [("same", -1), ("same", -2), ("a", -2)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version = ", "is not a usable gallery file"),
        ("version = 1", "is not a usable gallery file: 'generator'"),
        ('version = 2\ngenerator = "toy"', "of version 2; this program reads version 1"),
        ('version = 1\ngenerator = "blaze-256"', "arranges directions of blaze-256, and 'a' beside it was made for "),
        (HEAD + 'order = ["aa"]', "There is no direction named 'aa'"),
        (HEAD + "[recipes]\nodd = { smlie = 1 }", "recipe 'odd': There is no direction named 'smlie'"),
        (HEAD + "[recipes]\nodd = { a = 4 }", "recipe 'odd': a is 4, and its slider ends at 3"),
        (HEAD + '[recipes]\nodd = { a = "much" }', "is not a usable gallery file: could not convert"),
        (HEAD + "recipes = 3", "is not a usable gallery file"),
    ],
)
def test_a_file_that_does_not_fit_is_told_in_one_sentence(folder, text, words):
    (folder / FILE).write_text(text)
    with pytest.raises(UserError, match=re.escape(words)) as error:
        read_gallery(folder)
    assert FILE in str(error.value)


@pytest.mark.parametrize("name", [name for name, spec in CATALOGUE.items() if spec.shipped and spec.directions])
def test_shipped_galleries_have_contact_sheets_and_pictures_of_recipes(name):
    gallery, folder = gallery_of(name), spec_of(name).directions
    assert 6 <= len(gallery.recipes) <= 10
    assert all(recipe.picture for recipe in gallery.recipes.values())
    for direction in gallery.directions:
        assert (folder / f"{direction.name}.jpg").is_file(), direction.name
        assert direction.facts.get("interval"), "it is measured"


def test_a_recipe_of_the_gallery_edits_a_photo(tmp_path, astronaut, capsys):
    astronaut.resize((256, 256)).save(tmp_path / "photo.png")
    common = ["edit", str(tmp_path / "photo.png"), str(tmp_path / "out.png"), "--generator", "digiface-64"]
    assert main([*common, "--steps", "0", "--recipe", "frendly"]) == 1
    assert "There is no recipe named 'frendly'; did you mean friendly" in capsys.readouterr().err
    assert main([*common, "--steps", "0", "--recipe", "friendly", "--json"]) == 0
    assert '"smile"' in capsys.readouterr().out
    assert (tmp_path / "out.png").is_file()


def test_only_folders_need_contact_sheets(folder):
    directions = read_gallery(folder).directions
    check_sheets(directions, None)  # found on this machine
    check_sheets(directions, "owner/name")
    check_sheets(directions, folder / "a.safetensors")


def test_full_evaluation_needs_contact_sheets(folder, capsys):
    assert main(["evaluate", "--generator", "digiface-64", "--directions", str(folder), "--full"]) == 1
    assert "There is no contact sheet" in capsys.readouterr().err
