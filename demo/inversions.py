"""Inversions that continue from one event of the page to the next: one event shows the guess, another refines it."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator

from lelsd_core.editor import Session

CAPACITY = 32  # visitors
MAX_AGE = 3600  # seconds


class KeptInversion:
    """An iterator over the sessions of `Editor.invert` that any thread may close at any time.

    Args:
        sessions: the generator; it is run by one thread at a time.
    """

    def __init__(self, sessions: Generator[Session]) -> None:
        self.id = time.monotonic_ns()  # changes with each inversion, and is the time at which it started
        self._sessions, self._running, self._closed = sessions, threading.Lock(), False

    def __iter__(self) -> Iterator[Session]:
        return self

    def __next__(self) -> Session:
        with self._running:
            if self._closed:
                raise StopIteration
            session = next(self._sessions)
        if self._closed:  # by another thread, while this one ran the generator
            self.close()
            raise StopIteration
        return session

    def close(self) -> None:
        """End the iteration. A generator that another thread runs is closed by that thread after its next session."""
        self._closed = True
        if self._running.acquire(blocking=False):
            try:
                self._sessions.close()
            finally:
                self._running.release()


class Inversions:
    """The current inversion of each visitor, by Gradio's session hash; never more than `capacity`."""

    def __init__(self, capacity: int = CAPACITY, max_age: float = MAX_AGE) -> None:
        self.capacity, self.max_age = capacity, max_age
        self._current: dict[str, KeptInversion] = {}  # oldest first
        self._lock = threading.Lock()

    def start(self, visitor: str, sessions: Generator[Session]) -> KeptInversion:
        """Close the visitor's inversion, and those that are too old or too many, and keep a new one."""
        inversion = KeptInversion(sessions)
        with self._lock:
            outdated = [self._current.pop(visitor, None)]
            for name, other in list(self._current.items()):
                if len(self._current) >= self.capacity or inversion.id - other.id > self.max_age * 1e9:
                    outdated.append(self._current.pop(name))
            self._current[visitor] = inversion
        for other in filter(None, outdated):
            other.close()
        return inversion

    def current(self, visitor: str, number: int) -> KeptInversion | None:
        """The visitor's inversion if it still is the one with this `KeptInversion.id`."""
        with self._lock:
            inversion = self._current.get(visitor)
        return inversion if inversion and inversion.id == number else None

    def close(self, visitor: str) -> None:
        """Close the visitor's inversion, if there is one."""
        with self._lock:
            inversion = self._current.pop(visitor, None)
        if inversion:
            inversion.close()
