"""An inversion goes on from one event to the next; the last one of a visitor wins, and none is kept for ever."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from PIL import Image

from demo.running import Running
from lelsd_core.errors import UserError
from tests.page_events import Visitor


def sessions(closed: list[str], name: str = "", count: int = 3):
    """As many "sessions"; notes when it is closed."""
    try:
        yield from range(count)
    finally:
        closed.append(name)


def test_an_inversion_goes_on_where_the_first_event_stopped():
    table, closed = Running(), []
    inversion = table.start("a", lambda _: sessions(closed))
    assert next(inversion) == 0
    assert list(table.current("a", inversion.id)) == [1, 2]
    assert closed == [""]


def test_the_last_inversion_of_a_visitor_wins_and_others_are_left_alone():
    table, closed = Running(), []
    inversions = {
        name: table.start(name[0], lambda _, name=name: sessions(closed, name)) for name in ("a1", "b1", "a2")
    }
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
    table, closed = Running(capacity=2), []
    for visitor in "abc":
        next(table.start(visitor, lambda _, visitor=visitor: sessions(closed, visitor)))
    assert closed == ["a"]
    table.max_age = 0.0
    next(table.start("d", lambda _: sessions(closed, "d")))
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

    inversion = Running().start("a", lambda _: slow())
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
        inversion = Running().start("a", lambda _, closed=closed: sessions(closed, count=50))

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


def test_a_photo_is_cut_and_encoded_once(editor, astronaut, monkeypatch):
    calls, visitor = [], Visitor(editor)

    def counted(name, original):
        return lambda *arguments, **options: calls.append(name) or original(*arguments, **options)

    for part, name in ((editor.aligner, "find"), (editor.aligner, "cut"), (editor.inverter, "encode")):
        monkeypatch.setattr(part, name, counted(name, getattr(part, name)))
    visitor.open(astronaut, refined=True)
    assert calls == ["find", "cut", "encode"]


@pytest.mark.parametrize("change", ["photo", "seed", "clear", "stop", "bad"])
def test_a_refinement_ends_when_the_visitor_does_something_else(editor, astronaut, change):
    visitor = Visitor(editor)
    visitor.open(astronaut)
    refining = visitor.steps(visitor.opening.refine)
    next(refining)
    if change == "photo":
        visitor.open(astronaut)
    elif change == "bad":
        with pytest.raises(UserError, match="No face"):
            visitor.open(Image.new("RGB", (64, 64)))
    elif change == "seed":
        visitor.does(visitor.opening.random_face, seed=3)
    elif change == "clear":
        visitor.does(visitor.opening.random_clear_face)
    else:
        visitor.does(visitor.opening.stop_refining)
    assert list(refining) == []


def test_a_refinement_ends_at_its_next_step_not_at_its_next_result(editor, astronaut):
    """Results are some 60 steps apart; whoever asks for another face does not wait for them."""
    visitor = Visitor(editor)
    visitor.open(astronaut)
    kept, steps = visitor.callbacks.inversions.current("test"), 0
    refine = editor.inverter.refine

    def counted(*arguments, **options):
        nonlocal steps
        for inversion in refine(*arguments, **options):
            steps += 1
            if steps == 3:
                kept.close()
            yield inversion

    editor.inverter.refine, before = counted, vars(editor.inverter).get("refine")
    try:
        assert list(kept) == []
    finally:
        del editor.inverter.refine
    assert before is None
    assert steps == 3


def test_a_refined_face_is_shown_unless_another_one_is_there(editor, astronaut):
    visitor = Visitor(editor)
    visitor.open(astronaut)
    number = visitor.inversion
    visitor.does(visitor.opening.stop_refining)
    assert "picture" in visitor.does(visitor.opening.show_refined)
    visitor.does(visitor.opening.random_face, seed=3)
    assert visitor.does(visitor.opening.show_refined, inversion=number) == {}


def test_a_late_stop_leaves_the_next_inversion_alone(editor, astronaut):
    visitor = Visitor(editor)
    visitor.open(astronaut)
    first = visitor.inversion
    visitor.open(astronaut)
    second = visitor.inversion
    visitor.does(visitor.opening.stop_refining, inversion=first)
    assert next(visitor.steps(visitor.opening.refine, inversion=second))


def test_a_cancelled_refinement_releases_its_generator(editor, astronaut):
    visitor = Visitor(editor)
    visitor.open(astronaut)
    inversion = visitor.callbacks.inversions.current("test")
    generator = weakref.ref(inversion._results)
    refining = visitor.opening.refine(visitor.request, visitor.face, visitor.inversion)
    next(refining)
    refining.close()  # as Gradio does with an event of a closed page
    assert list(inversion) == []
    visitor.opening.page_closed(visitor.request)
    del inversion, refining
    gc.collect()
    assert generator() is None
