"""An inversion goes on from one event to the next; the last one of a visitor wins, and none is kept for ever."""

from __future__ import annotations

import gc
import threading
import weakref
from types import SimpleNamespace

import pytest

from demo.callbacks import VIEWS, Callbacks, Face
from demo.inversions import Inversions
from demo.models import ModelManager
from lelsd_core.inversion import BALANCED

DISPLAY = (VIEWS[0], True, False)


def sessions(closed: list[str], name: str = "", count: int = 3):
    """As many "sessions"; notes when it is closed."""
    try:
        yield from range(count)
    finally:
        closed.append(name)


@pytest.fixture
def callbacks(editor) -> Callbacks:
    return Callbacks(ModelManager(editor), len(editor.directions))


def request(visitor: str) -> SimpleNamespace:
    """As much of Gradio's request as is used."""
    return SimpleNamespace(session_hash=visitor)


def test_an_inversion_goes_on_where_the_first_event_stopped():
    table, closed = Inversions(), []
    inversion = table.start("a", sessions(closed))
    assert next(inversion) == 0
    assert list(table.current("a", inversion.id)) == [1, 2]
    assert closed == [""]


def test_the_last_inversion_of_a_visitor_wins_and_others_are_left_alone():
    table, closed = Inversions(), []
    inversions = {name: table.start(name[0], sessions(closed, name)) for name in ("a1", "b1", "a2")}
    for inversion in inversions.values():
        next(inversion, None)
    assert list(inversions["a1"]) == []
    assert table.current("a", inversions["a1"].id) is None
    assert table.current("a", inversions["a2"].id) is inversions["a2"]
    assert table.current("b", inversions["b1"].id) is inversions["b1"]
    table.close("a")
    assert list(inversions["a2"]) == []
    assert closed == ["a2"], "a1 never started, b1 is not closed"


def test_the_table_is_bounded_in_number_and_age():
    table, closed = Inversions(capacity=2), []
    for visitor in "abc":
        next(table.start(visitor, sessions(closed, visitor)))
    assert closed == ["a"]
    table.max_age = 0.0
    next(table.start("d", sessions(closed, "d")))
    assert closed == ["a", "b", "c"]


def test_a_generator_that_another_thread_runs_is_closed_by_that_thread():
    running, go_on, closed, results, errors = threading.Event(), threading.Event(), [], [], []

    def slow():
        try:
            yield 0
            running.set()
            go_on.wait(60)
            yield 1
        finally:
            closed.append(threading.current_thread().name)

    def run():
        try:
            results.extend(inversion)
        except BaseException as error:
            errors.append(error)

    inversion = Inversions().start("a", slow())
    assert next(inversion) == 0
    thread = threading.Thread(target=run, name="refining")
    thread.start()
    assert running.wait(60)
    inversion.close()  # "generator already executing", were it closed here
    assert closed == []
    go_on.set()
    thread.join(60)
    assert (results, errors, closed) == ([], [], ["refining"])


def test_closing_at_any_moment_raises_nothing():
    for _ in range(200):
        closed, errors = [], []
        inversion = Inversions().start("a", sessions(closed, count=50))

        def run(inversion=inversion, errors=errors):
            try:
                list(inversion)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run), threading.Thread(target=inversion.close)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert len(closed) <= 1


def test_a_photo_is_cut_and_encoded_once(callbacks, editor, astronaut, monkeypatch):
    calls = []

    def counted(name, original):
        return lambda *arguments, **options: calls.append(name) or original(*arguments, **options)

    for part, name in ((editor.aligner, "find"), (editor.aligner, "cut"), (editor.inverter, "encode")):
        monkeypatch.setattr(part, name, counted(name, getattr(part, name)))
    updates = callbacks.open_photo(request("a"), Face(editor.random_face(45)), astronaut, BALANCED, DISPLAY)
    assert list(callbacks.refine(request("a"), updates["face"], updates["inversion"]))
    assert calls == ["find", "cut", "encode"]


@pytest.mark.parametrize("change", ["photo", "seed", "clear", "stop"])
def test_a_refinement_ends_when_the_visitor_does_something_else(callbacks, editor, astronaut, change):
    face = Face(editor.random_face(45))
    updates = callbacks.open_photo(request("a"), face, astronaut, BALANCED, DISPLAY)
    refining = callbacks.refine(request("a"), updates["face"], updates["inversion"])
    next(refining)
    if change == "photo":
        callbacks.open_photo(request("a"), face, astronaut, BALANCED, DISPLAY)
    elif change == "seed":
        callbacks.random_face(request("a"), updates["face"], 3, DISPLAY)
    elif change == "clear":
        callbacks.random_clear_face(request("a"), updates["face"], DISPLAY)
    else:
        callbacks.stop_refining(request("a"), updates["inversion"])
    assert list(refining) == []


def test_a_refined_face_is_shown_unless_another_one_is_there(callbacks, editor, astronaut):
    opened = callbacks.open_photo(request("a"), Face(editor.random_face(45)), astronaut, BALANCED, DISPLAY)
    arguments = (request("a"), opened["face"], opened["inversion"], DISPLAY, [1.0])
    callbacks.stop_refining(request("a"), opened["inversion"])
    assert "picture" in callbacks.show_refined(*arguments)
    callbacks.random_face(request("a"), opened["face"], 3, DISPLAY)
    assert callbacks.show_refined(*arguments) == {}


def test_a_late_stop_leaves_the_next_inversion_alone(callbacks, editor, astronaut):
    face = Face(editor.random_face(45))
    first, second = (callbacks.open_photo(request("a"), face, astronaut, BALANCED, DISPLAY) for _ in range(2))
    callbacks.stop_refining(request("a"), first["inversion"])
    assert next(callbacks.refine(request("a"), second["face"], second["inversion"]))


def test_a_cancelled_refinement_releases_its_generator(callbacks, editor, astronaut):
    updates = callbacks.open_photo(request("a"), Face(editor.random_face(45)), astronaut, BALANCED, DISPLAY)
    inversion = callbacks.inversions.current("a", updates["inversion"])
    generator = weakref.ref(inversion._sessions)
    refining = callbacks.refine(request("a"), updates["face"], updates["inversion"])
    next(refining)
    refining.close()  # as Gradio does with an event of a closed page
    assert list(inversion) == []
    callbacks.page_closed(request("a"))
    del inversion, refining
    gc.collect()
    assert generator() is None
