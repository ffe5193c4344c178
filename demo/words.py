"""The page's sentences about sessions, sliders, searches and edits."""

from __future__ import annotations

import math
from typing import Any

from lelsd_core.directions import Direction
from lelsd_core.discovery.search import Progress
from lelsd_core.editor import Locality, Session
from lelsd_core.editor.session import describe_metrics

NO_BREAK = 2 * "\N{NARROW NO-BREAK SPACE}"  # which justified text does not widen, as it does the usual one


def in_plain_words(name: str) -> str:
    """A name as the page shows it: "brows-height" as "Brows height"."""
    return name[:1].upper() + name[1:].replace("-", " ")


def group_of(direction: Direction) -> str:
    """The group of sliders that a direction belongs to: its first part, or "face" if it changes most of them."""
    return "face" if {"eyes", "mouth"} <= {*direction.parts} else direction.parts[0] if direction.parts else "other"


def whole_steps(amount: float, step: float) -> float:
    """The amount, or the nearest one towards 0 that is a whole number of steps."""
    return round(math.trunc(round(amount / step, 6)) * step, 10)


def slider_properties(direction: Direction) -> dict[str, Any]:
    """Label, range, step and the words for both ends of a direction's slider; the style sheet moves the words apart.

    A browser counts steps from the low end, so both ends are cut to whole steps: 0 can be reached then. The step is
    0.1, or less where ten of them would go beyond an end.
    """
    low, high = (end.replace(" ", NO_BREAK) for end in direction.ends)
    step = min(0.1, 10.0 ** (math.floor(math.log10(min(-direction.low, direction.high))) - 1))
    return {
        "label": in_plain_words(direction.name),
        "info": f"{low} {high}",
        "minimum": whole_steps(direction.low, step),
        "maximum": whole_steps(direction.high, step),
        "step": step,
    }


def describe_session(session: Session) -> str:
    """Where the face comes from, and the error of its inversion."""
    if session.inversion_l1 is None:
        return session.note
    text = f"{session.note} Rebuilt in {session.seconds:.1f} s with a mean error of {session.inversion_l1 / 2:.1%}"
    if session.metrics is not None and session.encoder_metrics is not session.metrics:
        text += f" ({describe_metrics(session)})"
    return text + "."


def describe_locality(locality: Locality | None) -> str:
    """Share of an edit's change inside the edited parts."""
    if locality is None:
        return "Nothing is changed yet. Move a slider."
    *others, last = locality.parts
    parts = f"{', '.join(others)} and {last}" if others else last
    verb = "cover" if others or last.endswith("s") else "covers"
    return f"**{locality.score:.0%}** of the change is inside {parts}, which {verb} {locality.area:.1%} of the picture."


def describe_progress(progress: Progress, score: float, seconds: float) -> str:
    """Step, smoothed score and time left of a search that has run for some seconds."""
    left = seconds / max(progress.step, 1) * (progress.total - progress.step)
    end = "done" if progress.step == progress.total else f"about {left:.0f} s left"
    return f"Step **{progress.step}** of {progress.total} · score **{score:.2f}** · {end}"


def describe_direction(direction: Direction) -> str:
    """That a direction is a slider now, and how local it is."""
    return (
        f"**{direction.name}** is now a slider on the Edit tab: {direction.score:.0%} of its change stays inside "
        f"{' and '.join(direction.parts)}, which cover {direction.area:.1%} of the picture."
    )
