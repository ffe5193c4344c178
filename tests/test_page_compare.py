"""Events of the Compare tab: methods beside each other on the current face, found once, stopped, and refused."""

from __future__ import annotations

from functools import partial

import pytest

from demo.compare_tab import MISSING, SIDE, Comparing, figures_of
from lelsd_core.comparison.measures import Cell
from lelsd_core.errors import UserError
from lelsd_core.methods.base import METHODS
from lelsd_core.methods.wanted import Wanted
from tests.page_events import Visitor


@pytest.fixture
def visitor(editor) -> Visitor:
    made = Visitor(editor)
    made.values |= {"compare_part": "mouth", "methods": ["random", "sefa"], "distance": 0.05}
    return made


def test_methods_are_shown_at_equal_distance_and_found_once(visitor, monkeypatch):
    monkeypatch.setattr("demo.compare_tab.Wanted", partial(Wanted, samples=8))
    comparing = Comparing(visitor.callbacks)
    changed = visitor.does(comparing.compare)
    assert changed["compared"]["value"].size == (3 * SIDE + 12, 2 * SIDE + 6)
    rows = changed["compare_table"]["value"]
    assert [row[0] for row in rows] == [METHODS["random"].title, METHODS["sefa"].title]
    assert all("%" in row[1] or row[1] == MISSING for row in rows)
    assert changed["start_compare"]["interactive"]
    monkeypatch.setattr("demo.compare_tab.find_directions", None)  # would fail if it was asked again
    again = visitor.does(comparing.compare)
    assert again["compare_table"]["value"] == rows


def test_a_comparison_is_stopped(visitor):
    comparing = Comparing(visitor.callbacks)
    steps = visitor.steps(comparing.compare, methods=["lelsd"])
    next(steps)
    next(steps)
    visitor.does(comparing.stop_compare)
    *_, last = steps
    assert last["compare_status"] == "Stopped."
    assert last["start_compare"]["interactive"]
    assert not comparing.found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": []}, "Choose one to 3 methods; 0 are chosen"),
        ({"methods": ["lelsd", "sefa", "random", "ganspace"]}, "4 are chosen"),
        ({"compare_part": "wings"}, "no part named 'wings'"),
    ],
)
def test_what_cannot_be_compared_is_told(visitor, values, message):
    with pytest.raises(UserError, match=message):
        visitor.does(Comparing(visitor.callbacks).compare, **values)


def test_a_method_that_is_not_defined_is_told(visitor, monkeypatch):
    monkeypatch.setattr("lelsd_core.methods.base.Method.refuses", lambda self, generator: f"{self.title} needs S.")
    with pytest.raises(UserError, match="needs S"):
        visitor.does(Comparing(visitor.callbacks).compare)


def test_a_distance_that_is_not_reached_is_told(editor):
    cell = Cell(0.4, 0, 2, None, None, None, None, None, None, None, None, None, None, None, {})
    direction = type("Found", (), {"facts": {"method": "sefa"}})
    assert figures_of(direction, cell)[1:] == [MISSING] * 4


def test_another_model_offers_its_own_parts_and_methods(visitor):
    changed = visitor.does(Comparing(visitor.callbacks).show_choices)
    assert changed["compare_part"]["value"] == "mouth"
    assert changed["methods"]["value"] == ["lelsd", "stylespace", "ganspace"]
