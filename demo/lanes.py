"""Lanes: work that shares a device is done one at a time, first come first served, so that visitors take turns.

searches  --`Lane.wait` yields the place in line-->  one search at a time, while uploads and edits go on beside it
edits     --`Lane.turn`-->  one picture at a time; of a visitor's waiting edits, only the newest is rendered
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lelsd_core.errors import UserError

POLL = 0.5  # seconds between two looks at the line


class SupersededError(Exception):
    """A newer edit of the same visitor has come."""


class Lane:
    """A line of visitors; the first one works, the others wait. Thread-safe.

    Args:
        most: visitors in line, with the one at work; more are refused.
    """

    def __init__(self, most: int = 64) -> None:
        self.most = most
        self._line: list[Ticket] = []
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, visitor: str | None, *, newest: bool = False) -> Iterator[None]:
        """Wait until it is this visitor's turn, and keep it for the `with` block.

        Args:
            visitor: whose turn it is.
            newest: whether an older call of the visitor of this kind that still waits is dropped.

        Raises:
            SupersededError: a newer call of this visitor came while this one waited.
        """
        with self.ticket(visitor, newest=newest) as ticket:
            with self._changed:
                while ticket.place:
                    self._changed.wait()
            if ticket.dropped:
                raise SupersededError
            yield

    @contextmanager
    def ticket(self, visitor: str | None, *, newest: bool = False) -> Iterator[Ticket]:
        """A place at the end of the line for the `with` block. UserError if the line is full."""
        ticket = Ticket(self, visitor, newest)
        with self._changed:
            older = [other for other in self._line[1:] if newest and other.newest and other.visitor == visitor]
            for other in older:
                other.dropped = True
                self._line.remove(other)
            if len(self._line) >= self.most:
                raise UserError(f"{self.most} visitors are in line already; please try again in a minute.")
            self._line.append(ticket)
            self._changed.notify_all()
        try:
            yield ticket
        finally:
            with self._changed:
                if not ticket.dropped:
                    self._line.remove(ticket)
                self._changed.notify_all()


class Ticket:
    """A visitor's place in a lane."""

    def __init__(self, lane: Lane, visitor: str | None, newest: bool) -> None:
        self.lane, self.visitor, self.newest, self.dropped = lane, visitor, newest, False
        self.seconds = 0.0  # that its work is going to take, as far as it is known

    @property
    def place(self) -> int:
        """How many visitors are before this one; 0 = it is its turn, or it was dropped."""
        return 0 if self.dropped else self.lane._line.index(self)

    def wait(self) -> Iterator[tuple[int, float]]:
        """Until it is this one's turn, how many are before it, and the seconds that their work is going to take."""
        while True:
            with self.lane._changed:
                place = self.place
                if not place:
                    return
                seconds = sum(other.seconds for other in self.lane._line[:place])
            yield place, seconds
            with self.lane._changed:
                self.lane._changed.wait(POLL)
