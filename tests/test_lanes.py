"""Lanes: one at a time, in order, bounded; an older edit that still waits gives way to a newer one."""

from __future__ import annotations

import threading

import pytest

from demo.lanes import Lane, SupersededError
from lelsd_core.errors import UserError
from tests.page_client import wait_for


def test_visitors_take_turns_in_the_order_in_which_they_came():
    lane, order, running = Lane(), [], []

    def work(name: str) -> None:
        with lane.turn(name):
            running.append(name)
            assert running == [name], "one at a time"
            order.append(name)
            running.remove(name)

    with lane.turn("first"):
        threads = []
        for number in range(8):
            threads.append(threading.Thread(target=work, args=[str(number)]))
            threads[-1].start()
            wait_for(lambda: len(lane._line) == len(threads) + 1, 10)
    for thread in threads:
        thread.join(10)
    assert order == [str(number) for number in range(8)]
    assert lane._line == []


def test_only_the_newest_waiting_edit_of_a_visitor_is_done():
    lane, results = Lane(), []

    def edit(number: int) -> None:
        try:
            with lane.turn("a", newest=True):
                results.append(number)
        except SupersededError:
            results.append(-number)

    with lane.turn("b"):
        threads = []
        for number in (1, 2, 3):
            threads.append(threading.Thread(target=edit, args=[number]))
            threads[-1].start()
            wait_for(lambda: sum(t.visitor == "a" and not t.dropped for t in lane._line) == 1, 10)
            wait_for(lambda dropped=number - 1: len(results) == dropped, 10)
    for thread in threads:
        thread.join(10)
    assert results == [-1, -2, 3]


def test_what_must_be_done_is_not_dropped_by_a_newer_edit():
    lane = Lane()
    with (
        lane.ticket("b"),
        lane.ticket("a") as must,
        lane.ticket("a", newest=True) as old,
        lane.ticket("a", newest=True) as new,
    ):
        assert (must.dropped, old.dropped, new.dropped) == (False, True, False)
        assert (must.place, new.place) == (1, 2)


def test_a_line_is_bounded_and_an_error_leaves_it():
    lane = Lane(most=2)
    with lane.ticket("a"), lane.ticket("b") as second:
        assert second.place == 1
        with pytest.raises(UserError, match="2 visitors are in line already"), lane.ticket("c"):
            pass
    with pytest.raises(ZeroDivisionError), lane.turn("a"):
        raise ZeroDivisionError
    assert lane._line == []


def test_who_waits_is_told_for_how_long():
    lane = Lane()
    with lane.ticket("a") as first:
        first.seconds = 12.0
        with lane.ticket("b") as second, lane.ticket("c") as third:
            second.seconds = 30.0
            assert next(second.wait()) == (1, 12.0)
            assert next(third.wait()) == (2, 42.0)
            assert list(first.wait()) == []
