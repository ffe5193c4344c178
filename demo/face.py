"""What a visitor works on: a face with the edits of the other faces of its photo, and the history of its edits.

Nothing here is ever changed; each event of the page makes a new one and keeps it in the visitor's own state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from PIL import Image

from demo.words import amount_of, caption_of, group_of
from lelsd_core.directions import Direction
from lelsd_core.editor import DetectedPhoto, InversionOptions, Session

MOST_STEPS = 24  # of a history; the oldest ones are forgotten
Amounts = Mapping[str, float]  # by direction name
Values = Sequence[float]  # of the sliders, in the order of the session's directions


@dataclass(frozen=True, eq=False)
class Face:
    """The face that a visitor edits."""

    session: Session  # its codes and directions
    detected: DetectedPhoto | None = None  # the photo that it comes from; None for a random face
    options: InversionOptions | None = None  # how it was inverted; None for a random face
    seed: int | None = None  # of a random face
    muted: frozenset[str] = frozenset()  # groups of sliders that have no effect for now
    others: Mapping[int, tuple[Session, Amounts]] = field(default_factory=dict)  # edited faces of the photo, by number

    @property
    def truncation(self) -> float | None:
        """Of a random face."""
        return self.session.truncation if self.seed is not None else None

    def amounts(self, sliders: Values) -> dict[str, float]:
        """Slider values from -100 to 100 -> amounts by direction name; muted ones are 0."""
        return {
            direction.name: 0.0 if group_of(direction) in self.muted else amount_of(direction, value)
            for direction, value in zip(self.session.directions, sliders, strict=False)
        }

    def with_session(self, session: Session) -> Face:
        """The same face with better codes, or more directions."""
        return replace(self, session=session)


class Display(NamedTuple):
    """How an edit is shown."""

    view: str
    detail: bool  # keep the photo's detail
    protect: bool  # what lies outside the edited parts


@dataclass(frozen=True, eq=False)
class Step:
    """An edit that the face had."""

    amounts: Amounts
    caption: str
    picture: Image.Image  # small


@dataclass(frozen=True, eq=False)
class History:
    """The edits of a face, oldest first, and which of them is shown; the first is the face as it was opened."""

    steps: tuple[Step, ...] = ()
    position: int = -1

    @property
    def current(self) -> Amounts:
        """The amounts of the step that is shown, without zeros."""
        return self.steps[self.position].amounts if self.steps else {}

    def add(
        self, amounts: Amounts, picture: Image.Image, directions: Sequence[Direction], caption: str = ""
    ) -> History:
        """The history with one more step, in place of those that were undone."""
        amounts = moved(amounts)
        caption = caption or caption_of(self.current, amounts, directions)
        steps = (*self.steps[: self.position + 1], Step(amounts, caption, picture))[-MOST_STEPS:]
        return History(steps, len(steps) - 1)

    def renamed(self, name: str, new: str) -> History:
        """The history with another name for a direction."""
        steps = (
            replace(step, amounts={new if each == name else each: amount for each, amount in step.amounts.items()})
            for step in self.steps
        )
        return replace(self, steps=tuple(steps))

    def at(self, position: int) -> History:
        """The history with another step shown, the nearest that there is."""
        return replace(self, position=min(max(position, 0), len(self.steps) - 1))


def moved(amounts: Amounts) -> dict[str, float]:
    """The amounts other than 0."""
    return {name: amount for name, amount in amounts.items() if amount}


class Now(NamedTuple):
    """What the controls of the Edit tab hold when an event happens."""

    visitor: str | None  # Gradio's session hash; None while the page is built
    face: Face
    display: Display
    group: str  # of the sliders that are shown
    sliders: Values
    history: History

    @property
    def amounts(self) -> dict[str, float]:
        """What the sliders ask for, by direction name."""
        return self.face.amounts(self.sliders)
