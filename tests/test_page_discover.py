"""Events of the Discover tab: searches that show their progress, wait in line and stop, and directions as files."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from demo.callbacks import Callbacks
from demo.discover_tab import MAX_NAME, NO_START, RECIPES
from demo.models import ModelManager
from lelsd_core.errors import UserError
from lelsd_core.seeds import HELD_OUT
from tests.page_events import Visitor


@pytest.fixture
def visitor(editor) -> Visitor:
    """With a random face."""
    return Visitor(editor)


def search(visitor: Visitor, parts: list[str], steps: float = 1, **values) -> dict:
    """All updates of a search, the last of each component."""
    values = {"parts": parts, "steps": steps, "search_seed": 1} | values
    return visitor.does(visitor.discovering.discover, **values)


def test_a_search_shows_its_curve_and_its_direction_becomes_a_slider(visitor, monkeypatch):
    monkeypatch.setattr("demo.discover_tab.CALIBRATION_SEEDS", HELD_OUT[:8])
    started = next(visitor.steps(visitor.discovering.discover, parts=["eyes"], steps=3, search_seed=1))
    updates = search(visitor, ["eyes"], 3)
    assert len(updates["curve"]) == 3
    assert list(updates["curve"].columns) == ["step", "score"]
    kinds = {str(kind) for each in (updates, started) for kind in each["curve"].dtypes}
    assert kinds <= {"float64", "int64"}, "Gradio draws anything else as words"
    assert updates["strip"].width > 3 * 250
    assert [updates[name]["interactive"] for name in ("start_search", "stop", "add")] == [True, False, True]
    visitor.moves(mouth=50)
    number = len(visitor.face.session.directions)
    first, *_, added = visitor.steps(visitor.discovering.add_slider, name="  my   <b>eyes</b> " + "x" * 99)
    assert "Measuring" in first["status"]
    direction = visitor.face.session.directions[-1]
    assert direction.name.startswith("my <b>eyes</b>")
    assert len(direction.name) <= MAX_NAME
    assert direction.score is not None
    assert added["found"] == ()
    assert "%" in added["status"]
    assert set(visitor.amounts) == {"mouth"}, "other sliders stay"
    assert added["sliders"][number]["visible"]
    assert visitor.group == "eyes"
    assert len(added["kept"]["found"]) == 1
    assert [added[name]["interactive"] for name in ("start_search", "stop", "add")] == [True, False, False]


def test_several_directions_are_found_at_once_and_can_be_removed_again(visitor, monkeypatch):
    monkeypatch.setattr("demo.discover_tab.CALIBRATION_SEEDS", HELD_OUT[:8])
    before = len(visitor.face.session.directions)
    updates = search(visitor, ["mouth"], 2, count=3, recipe="shape")
    assert len(updates["found"]) == 3
    assert updates["strip"].height > 3 * 250
    visitor.does(visitor.discovering.add_slider, name="lips")
    visitor.moves(lips_2=50, nose=30)
    assert [each.name for each in visitor.face.session.directions[before:]] == ["lips", "lips-2", "lips-3"]
    visitor.does(visitor.discovering.remove_direction, saved_direction="lips")
    assert [each.name for each in visitor.face.session.directions[before:]] == ["lips-2", "lips-3"]
    assert set(visitor.amounts) == {"lips-2", "nose"}, "the others stay where they are"
    for name in ("mouth", "lips", None):
        with pytest.raises(UserError, match="those of the model stay"):
            visitor.does(visitor.discovering.remove_direction, saved_direction=name)


def test_buttons_can_be_pressed_when_they_mean_something(visitor):
    started, *_ = visitor.steps(visitor.discovering.discover, parts=["eyes"], steps=2, search_seed=1)
    assert [started[name]["interactive"] for name in ("start_search", "stop", "add")] == [False, True, False]


def test_a_stopped_search_keeps_its_direction(visitor):
    running = visitor.steps(visitor.discovering.discover, parts=["mouth"], steps=500, search_seed=1)
    for updates in running:
        if updates.get("found"):
            visitor.does(visitor.discovering.stop_search)
            break
    *_, last = running
    assert last["status"].startswith("Stopped")
    assert last["add"]["interactive"]
    assert visitor.found


def test_searches_of_two_visitors_wait_for_each_other_and_say_so(editor):
    callbacks = Callbacks(ModelManager(editor), len(editor.directions) + 8)
    first, second = Visitor(callbacks, "first"), Visitor(callbacks, "second")
    running = first.steps(first.discovering.discover, parts=["mouth"], steps=40, search_seed=1)
    while not first.found:
        next(running)
    waiting = second.steps(second.discovering.discover, parts=["eyes"], steps=2, search_seed=1)
    next(waiting)
    assert next(waiting)["status"].startswith("Another visitor's search is before yours; it starts in about")
    other = Visitor(callbacks, "third")
    assert "%" in other.moves(mouth=50)["meter"], "everything else goes on"
    assert "picture" in other.does(other.opening.random_face, seed=3)
    list(running)
    *_, last = waiting
    assert second.found
    assert last["add"]["interactive"]


def test_a_visitor_who_leaves_the_line_is_forgotten(editor):
    callbacks = Callbacks(ModelManager(editor), len(editor.directions) + 8)
    first, second = Visitor(callbacks, "first"), Visitor(callbacks, "second")
    running = first.steps(first.discovering.discover, parts=["mouth"], steps=400, search_seed=1)
    while not first.found:
        next(running)
    waiting = second.steps(second.discovering.discover, parts=["eyes"], steps=2, search_seed=1)
    next(waiting), next(waiting)
    second.opening.page_closed(second.request)
    assert list(waiting)[-1]["status"].startswith("Stopped")
    first.opening.page_closed(first.request)
    list(running)
    assert callbacks.searching._line == []


def test_the_paper_s_recipe_is_a_choice(visitor):
    editor = visitor.callbacks.editor()
    steps = {
        preset: visitor.does(visitor.discovering.show_recipe, parts=["hair"], recipe=preset)["steps"]
        for preset in RECIPES
    }
    assert steps == {"look": editor.search_config.steps, "shape": editor.shape_config.steps, "paper": 200}
    (direction,) = search(visitor, ["hair"], recipe="paper")["found"]
    assert direction.facts["norm"] == "free"
    assert len(direction.facts["layers"]) == 4, "all layers"


def test_a_shape_is_searched_from_a_start_with_a_name(visitor, monkeypatch):
    monkeypatch.setattr("demo.discover_tab.CALIBRATION_SEEDS", HELD_OUT[:8])
    discovering, parts = visitor.discovering, {"parts": ["mouth"]}
    visible = {
        preset: visitor.does(discovering.show_recipe, recipe=preset, **parts)["named_start"]["visible"]
        for preset in RECIPES
    }
    assert visible == {"look": False, "shape": True, "paper": False}
    assert visitor.does(discovering.choose_start, named_start="smile") == {"parts": ["mouth"], "recipe_chosen": True}
    assert visitor.does(discovering.choose_start, named_start=NO_START) == {}
    assert not search(visitor, ["mouth"], recipe=None)["found"][0].facts["start"]
    (unsaid,) = search(visitor, ["mouth"], recipe=None, named_start="smile")["found"]
    assert unsaid.facts["start"] == ("smile",), "a start counts where the parts choose a shape, too"
    (plain,) = search(visitor, ["mouth"], 2, recipe="look", named_start="smile")["found"]
    assert (plain.kind, plain.facts["start"]) == ("look", ()), "a look has no start"
    (found,) = search(visitor, ["mouth"], 2, recipe="shape", named_start="smile")["found"]
    assert (found.kind, found.ends, found.local.around) == ("shape", ("pouting", "smiling"), ("mouth",))
    assert found.facts["start"] == ("smile",)
    visitor.does(discovering.add_slider, name="my smile")
    assert visitor.face.session.directions[-1].local == found.local


def test_the_parts_choose_the_recipe_until_a_person_does(visitor):
    """On digiface-64 shapes have the greater variety for all parts of a face (tests/bench/evidence.py)."""

    def choice(parts: list[str], recipe: str, by_a_person: bool = False) -> dict:
        chosen = {"parts": parts, "recipe": recipe, "recipe_chosen": by_a_person}
        return visitor.does(visitor.discovering.choose_recipe, **chosen)

    assert choice(["mouth"], "look")["recipe"] == "shape"
    assert choice(["mouth"], "look", True) == {}, "a person's choice stays"
    assert choice(["mouth"], "shape") == {}, "steps that were chosen stay"
    assert choice(["mouth", "background"], "shape")["recipe"] == "look"
    assert choice([], "shape") == {}
    found = {part: search(visitor, [part], recipe=None)["found"][0].kind for part in ("mouth", "background")}
    assert found == {"mouth": "shape", "background": "look"}


def test_a_search_that_is_impossible_raises_user_error(visitor):
    with pytest.raises(UserError, match="part"):
        search(visitor, [], 10)
    with pytest.raises(UserError, match="no direction yet"):
        visitor.does(visitor.discovering.add_slider, found=())
    session = visitor.face.session
    visitor.values["face"] = visitor.face.with_session(session.with_directions([session.directions[0]] * 8))
    with pytest.raises(UserError, match="sliders are free"):
        search(visitor, ["eyes"], 10)
    with pytest.raises(UserError, match="sliders are free"):
        visitor.does(visitor.discovering.load_direction, direction_file="x.safetensors")


def test_hostile_numbers_of_a_search_are_bounded(visitor):
    said = []
    for updates in visitor.steps(visitor.discovering.discover, parts=["eyes"], steps=1e12, search_seed=-1e12):
        said.append(updates.get("status", ""))
        if visitor.found:
            visitor.does(visitor.discovering.stop_search)
    assert any("of 4000" in words for words in said)


def test_a_direction_is_saved_and_added_again_as_a_file(visitor, editor, tmp_path):
    saved = visitor.does(visitor.discovering.save_direction, saved_direction="smile", found=())["download_url"]
    head, _, content = saved.partition(",")
    assert head == "data:application/octet-stream;name=smile.safetensors;base64"
    (tmp_path / "smile.safetensors").write_bytes(base64.b64decode(content))
    first = next(d for d in editor.directions if d.name == "smile")
    visitor.does(visitor.discovering.load_direction, direction_file=str(tmp_path / "smile.safetensors"))
    added = visitor.face.session.directions[-1]
    assert added.moves_like(first)
    assert added.name == "smile-2"
    assert visitor.does(visitor.discovering.list_directions)["saved_direction"]["choices"][-1] == "smile-2"
    with pytest.raises(UserError, match="no direction to save"):
        visitor.does(visitor.discovering.save_direction, saved_direction=None, found=())
    replace(first, fingerprint="0" * 64).save(tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="was made for the generator"):
        visitor.does(visitor.discovering.load_direction, direction_file=str(tmp_path / "foreign.safetensors"))
    (tmp_path / "bad.safetensors").write_text("nothing")
    with pytest.raises(UserError, match=r"bad\.safetensors"):
        visitor.does(visitor.discovering.load_direction, direction_file=str(tmp_path / "bad.safetensors"))


def test_a_stopped_search_goes_on_where_it_was(visitor):
    whole = search(visitor, ["eyes"], 4)["found"][0].vector
    visitor.values["found"] = ()
    steps = visitor.steps(visitor.discovering.discover, parts=["eyes"], steps=4, search_seed=1)
    while not visitor.found:
        next(steps)
    visitor.does(visitor.discovering.stop_search)
    *_, last = steps
    assert last["continue_search"]["interactive"]
    assert len(last["curve"]) < 4, "it was stopped"
    updates = visitor.does(visitor.discovering.continue_search)
    assert list(updates["curve"]["step"]) == [1, 2, 3, 4]
    assert visitor.found[0].vector.tolist() == whole.tolist()
    assert not updates["continue_search"]["interactive"]
    with pytest.raises(UserError, match="no search of this model to continue"):
        visitor.does(visitor.discovering.continue_search)


def test_a_new_search_and_a_closed_page_forget_the_stopped_one(visitor):
    for forget in (lambda: search(visitor, ["mouth"], 1), lambda: visitor.opening.page_closed(visitor.request)):
        visitor.values["found"] = ()
        steps = visitor.steps(visitor.discovering.discover, parts=["eyes"], steps=4, search_seed=1)
        while not visitor.found:
            next(steps)
        visitor.does(visitor.discovering.stop_search)
        list(steps)
        assert visitor.callbacks.paused
        forget()
        assert not visitor.callbacks.paused


def test_of_many_stopped_searches_the_latest_are_kept(visitor, monkeypatch):
    monkeypatch.setattr("demo.discover_tab.LINE", 2)
    for name in "abc":
        visitor.discovering.pause(name, name)
    assert list(visitor.callbacks.paused) == ["b", "c"]


def test_a_slider_gets_another_name_and_stays_where_it_is(visitor, editor, tmp_path):
    direction = replace(editor.directions[0], vector=-editor.directions[0].vector, name="mine")
    direction.save(tmp_path / "mine.safetensors")
    visitor.does(visitor.discovering.load_direction, direction_file=str(tmp_path / "mine.safetensors"))
    visitor.moves(mine=40)
    updates = visitor.does(visitor.discovering.rename_direction, saved_direction="mine", new_name="  ours ")
    assert visitor.face.session.directions[-1].name == "ours"
    assert set(visitor.amounts) == {"ours"}
    assert set(visitor.history.current) == {"ours"}
    assert updates["kept"]["found"]
    assert "**Ours**" in updates["card_facts"]
    for name, new, message in (("ours", "smile", "is taken"), ("ours", " ", "Write the new"), ("smile", "x", "stay")):
        with pytest.raises(UserError, match=message):
            visitor.does(visitor.discovering.rename_direction, saved_direction=name, new_name=new)


def test_space_and_layers_of_a_search_can_be_chosen(visitor):
    search(visitor, ["mouth"], 1)
    usual = visitor.found[0]
    search(visitor, ["mouth"], 1, recipe="look", search_space="S", search_layers="coarse")
    generator = visitor.callbacks.editor().generator
    (direction,) = visitor.found
    moved = {slot.name for slot, part in zip(generator.space("S").slots, split(direction), strict=True) if part.any()}
    assert (usual.space, direction.space) == ("Z", "S")
    assert moved == set(generator.group_slots("coarse", "S"))
    with pytest.raises(UserError, match="Space Z has no coarse layers"):
        search(visitor, ["mouth"], 1, recipe="look", search_space="Z", search_layers="coarse")
    choices = visitor.does(visitor.discovering.show_spaces)["search_space"]["choices"]
    assert [name for _, name in choices] == ["usual", *generator.space_names]


def split(direction):
    """The vector of a direction in S of digiface-64, by slot."""
    from lelsd_core.registry import load_generator

    return load_generator("digiface-64").space("S").split(direction.vector[None])
