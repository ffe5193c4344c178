"""Iterators that run from one event of the page to the next, and that any event may end: inversions and searches.

one event: an inversion's guess        --`Running.start`-->  another event refines it
one event: a search, step by step      <--`Running.close`--  the button that stops it, or the page when it is left
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

CAPACITY = 32  # visitors
MAX_AGE = 3600  # seconds


class Kept:
    """An iterator that any thread may close at any time.

    Args:
        make: what makes the generator; it is given a function that tells whether this was closed, so that long work
            between two results can end early. The generator is run by one thread at a time.
    """

    def __init__(self, make: Callable[[Callable[[], bool]], Generator[Any]]) -> None:
        self.id = time.monotonic_ns()  # changes with each one, and is the time at which it started
        self.latest: Any = None  # a result that other events may use, if whoever iterates notes one
        self._running, self._closed = threading.Lock(), threading.Event()
        self._results = make(self._closed.is_set)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._running:
            if self._closed.is_set():
                raise StopIteration
            result = next(self._results)
        if self._closed.is_set():  # by another thread, while this one ran the generator
            self.close()
            raise StopIteration
        return result

    def close(self) -> None:
        """End the iteration. A generator that another thread runs is closed by that thread after its next result."""
        self._closed.set()
        if self._running.acquire(blocking=False):
            try:
                self._results.close()
            finally:
                self._running.release()


class Running:
    """What runs now for each visitor, by Gradio's session hash; never more than `capacity`."""

    def __init__(self, capacity: int = CAPACITY, max_age: float = MAX_AGE) -> None:
        self.capacity, self.max_age = capacity, max_age
        self._current: dict[str, Kept] = {}  # oldest first
        self._lock = threading.Lock()

    def start(self, visitor: str, make: Callable[[Callable[[], bool]], Generator[Any]]) -> Kept:
        """Close what runs for the visitor, and what is too old or too much, and keep a new one; see `Kept`."""
        new = Kept(make)
        with self._lock:
            outdated = [self._current.pop(visitor, None)]
            for name, other in list(self._current.items()):
                if len(self._current) >= self.capacity or new.id - other.id > self.max_age * 1e9:
                    outdated.append(self._current.pop(name))
            self._current[visitor] = new
        for other in filter(None, outdated):
            other.close()
        return new

    def current(self, visitor: str, number: int | None = None) -> Kept | None:
        """What runs for the visitor; with a number, only if it still is the one with this `Kept.id`."""
        with self._lock:
            kept = self._current.get(visitor)
        return kept if kept and number in (None, kept.id) else None

    def close(self, visitor: str) -> None:
        """Close what runs for the visitor, if anything does."""
        with self._lock:
            kept = self._current.pop(visitor, None)
        if kept:
            kept.close()
