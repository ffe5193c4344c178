"""A part of another face on the page: two sliders as all others, and nothing of a photo in links or the browser."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from demo import keeping
from demo.callbacks import Callbacks
from demo.models import ModelManager
from demo.recipe import read_recipe
from demo.taking import Taking, with_room
from lelsd_core.errors import UserError
from tests.page_events import Visitor, chosen


@pytest.fixture
def visitor(editor) -> Visitor:
    visitor = Visitor(editor)
    visitor.values |= {"other": None, "take_upload": None, "group": "mouth"}
    visitor.does(visitor.callbacks.show)
    return visitor


def take(visitor: Visitor, other, group: str) -> dict:
    """Let the part of a card in from a session."""
    return visitor.does(Taking(visitor.callbacks).take, other=other, group=group)


def test_a_part_of_a_made_up_face_is_two_sliders_with_undo_and_a_link_that_brings_it_back(visitor, editor):
    changed = take(visitor, editor.random_face(49), "hair")
    names = {"hair-shape-from-seed-49": 1.0, "hair-look-from-seed-49": 1.0}
    assert visitor.amounts == names
    assert visitor.history.steps[-1].caption == "Hair of seed 49"
    shown = [each for each in changed["sliders"] if each.get("label", "").endswith("from seed 49")]
    assert [each["minimum"] for each in shown] == [0, 0]
    visitor.does(visitor.callbacks.undo)
    assert visitor.amounts == {}
    visitor.does(visitor.callbacks.redo)
    assert visitor.amounts == names
    visitor.moves(hair_shape_from_seed_49=40, smile=50)
    assert visitor.amounts["hair-shape-from-seed-49"] == pytest.approx(0.4)
    recipe = json.loads(visitor.face.session.recipe(visitor.amounts))["amounts"]
    assert recipe["hair-shape-from-seed-49"] == pytest.approx(0.4)
    for back in (dict(pair.split("=") for pair in visitor.query.split("&")), None):
        guest = Visitor(editor, "guest")
        guest.request.query_params = back or {}
        guest.does(guest.opening.page_opened, kept=None if back else visitor.kept)
        assert guest.amounts == pytest.approx(visitor.amounts)


def test_a_part_of_a_photo_stays_in_the_session(visitor, editor, monkeypatch):
    usual = type(editor).open
    monkeypatch.setattr(type(editor), "open", lambda self, *given: usual(self, *given, steps=0))
    opened = visitor.does(Taking(visitor.callbacks).open_example, chosen(5))
    take(visitor, opened["other"], "mouth")
    assert visitor.amounts == {"mouth-shape-from-photo": 1.0}, "the skin's colour is not taken along"
    visitor.moves(smile=20, mouth_look_from_photo=50)
    assert "photo" not in visitor.query
    assert "photo" not in json.dumps({name: each for name, each in visitor.kept.items() if name != "steps"})
    assert all("photo" not in name for _, percents in visitor.kept["steps"] for name in percents)
    assert visitor.kept["found"] == []
    assert json.loads(visitor.face.session.recipe(visitor.amounts))["amounts"].keys() == {"smile"}
    listed = visitor.does(visitor.discovering.list_directions)["saved_direction"]["choices"]
    assert not [name for name in listed if "photo" in name]
    with pytest.raises(UserError, match="is not saved as a file"):
        visitor.does(visitor.discovering.save_direction, saved_direction="mouth-shape-from-photo")
    visitor.does(visitor.opening.random_face, seed=41)
    assert [d.name for d in visitor.face.session.directions[-2:]] == ["mouth-shape-from-photo", "mouth-look-from-photo"]
    visitor.moves(mouth_shape_from_photo=100)
    assert visitor.amounts == {"mouth-shape-from-photo": 1.0}, "the next face can have it, too"


def test_a_part_takes_the_place_of_the_one_before_and_unused_ones_make_room(visitor, editor):
    for seed in (49, 52):
        take(visitor, editor.random_face(seed), "hair")
    assert visitor.amounts.keys() == {"hair-shape-from-seed-52", "hair-look-from-seed-52"}
    session, most = visitor.face.session, len(editor.directions) + 2
    small = with_room(session, visitor.amounts, most)
    assert [d.name for d in small.directions[-2:]] == ["hair-shape-from-seed-52", "hair-look-from-seed-52"]
    assert len(small.directions) == most
    with pytest.raises(UserError, match="all are in use; remove one"):
        with_room(session, {d.name: 1.0 for d in session.directions}, most)


def test_a_made_up_face_that_fits_is_found_and_what_does_not_fit_is_told(visitor, editor, monkeypatch):
    other = visitor.does(Taking(visitor.callbacks).open_random)["other"]
    assert editor.take(visitor.face.session, "mouth", other)
    monkeypatch.setattr("demo.taking.TRIES", 2)
    monkeypatch.setattr(type(editor), "find_clear_seed", lambda *_: 43)
    with pytest.raises(UserError, match="looks another way"):
        visitor.does(Taking(visitor.callbacks).open_random)
    with pytest.raises(UserError, match="This card changes several parts; open the card of one: background"):
        visitor.does(Taking(visitor.callbacks).open_random, group="face")
    with pytest.raises(UserError, match="no face"):
        visitor.does(Taking(visitor.callbacks).open_other, group="mouth", take_upload=UserError("no face"))
    assert visitor.does(Taking(visitor.callbacks).open_other, take_upload=None) == {"other": None}
    assert visitor.does(Taking(visitor.callbacks).take, other=None) == {}


def test_a_recipe_of_the_shell_and_of_the_endpoints_takes_parts_of_seeds(visitor, editor, tmp_path):
    (path := tmp_path / "r.json").write_text('{"amounts": {"hair-shape-from-seed-49": 0.5, "smile": 1}}')
    visitor.does(visitor.saving.load_recipe, load_recipe=str(path))
    assert visitor.amounts == pytest.approx({"hair-shape-from-seed-49": 0.5, "smile": 1}, abs=0.02)
    recipe = read_recipe({"seed": 45, "amounts": {"hair-shape-from-seed-49": 0.5}})
    recipe.check(editor)
    session = recipe.session(editor)
    assert not np.array_equal(editor.render(session, recipe.amounts), session.original)


def test_what_a_link_may_name_is_limited(editor):
    kept = keeping.Kept(seed=45, percents={f"hair-shape-from-seed-{seed}": 50 for seed in range(20)})
    visitor = Visitor(Callbacks(ModelManager(editor), 30))
    before = visitor.opening.with_takes(editor, editor.random_face(45), kept)
    assert len(before.directions) <= len(editor.directions) + 16
    wrong = replace(kept, percents={"moth-shape-from-seed-1": 50})
    assert visitor.opening.with_takes(editor, editor.random_face(45), wrong).directions == editor.directions
