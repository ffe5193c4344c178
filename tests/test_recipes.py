"""Recipes: what is written is read back, from a file, from a text, and in the shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lelsd_core.__main__ import main
from lelsd_core.editor.session import MAX_RECIPE, parse_recipe, read_recipe, recipe_text, write_recipe
from lelsd_core.errors import UserError

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"
AMOUNTS = some.dictionaries(some.text(), some.floats(allow_nan=False, allow_infinity=False))
LAYERS = some.dictionaries(some.text(), some.lists(some.text()).map(tuple))


@given(AMOUNTS, LAYERS, some.none() | some.text(min_size=1))
def test_what_is_written_is_read_back(amounts, layers, generator):
    text = recipe_text(amounts, layers, generator)
    assert parse_recipe(text) == parse_recipe(text.encode()) == (amounts, layers, generator)


def test_a_recipe_s_file_is_read_back(tmp_path):
    write_recipe(tmp_path / "r.json", {"mouth": 0.1}, {"mouth": ("coarse",)}, "digiface-64")
    assert read_recipe(tmp_path / "r.json") == ({"mouth": 0.1}, {"mouth": ("coarse",)}, "digiface-64")
    (tmp_path / "bom.json").write_text('{"amounts": {"mouth": 1}}', encoding="utf-8-sig")
    assert read_recipe(tmp_path / "bom.json")[0] == {"mouth": 1}


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"amounts": 3}', '{"amounts": {"mouth": "much"}}', f'{{"amounts": {{"a": 1{"0" * 400}}}}}', b"\xff"],
)
def test_what_is_no_recipe_raises(text):
    with pytest.raises(UserError, match=r"^This is not a recipe; it should hold"):
        parse_recipe(text)


def test_a_recipe_that_cannot_be_read_or_written_raises(tmp_path):
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate(MAX_RECIPE + 1)
    for name, words in {"large.json": "at most 1 MB", "gone.json": r"no file .*gone\.json", ".": "no file"}.items():
        with pytest.raises(UserError, match=words):
            read_recipe(tmp_path / name)
    with pytest.raises(UserError, match=r"r\.txt must end in \.json"):
        write_recipe(tmp_path / "r.txt", {})
    with pytest.raises(ValueError, match="JSON"):
        recipe_text({"mouth": float("inf")})


def test_edit_saves_what_its_settings_add_up_to(tmp_path, capsys):
    given_, saved = tmp_path / "given.json", tmp_path / "saved.json"
    write_recipe(given_, {"mouth": 2.0, "nose": 1.0}, {"mouth": ("coarse",)})
    settings = ["--recipe", str(given_), "--set", "nose=-1", "--set", "hair=99@fine", "--save-recipe", str(saved)]
    assert main(["edit", str(ASTRONAUT), str(tmp_path / "a.png"), "--steps", "0", "--json", *settings]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    amounts, layers, generator = read_recipe(saved)
    assert amounts == told["amounts"]
    assert (amounts["mouth"], amounts["nose"]) == (2, -1)
    assert 0 < amounts["hair"] < 99, "as it was used, within the slider's range"
    assert (layers, generator) == ({"mouth": ("coarse",), "hair": ("fine",)}, "digiface-64")
    assert main(["edit", str(ASTRONAUT), str(tmp_path / "b.png"), "--steps", "0", "--recipe", str(saved)]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
