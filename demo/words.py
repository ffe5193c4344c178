"""The page's sentences about sessions, sliders, searches and edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lelsd_core.directions import Direction, in_plain_words
from lelsd_core.directions import group_of as group_of  # for the page's other modules
from lelsd_core.discovery.search import Progress
from lelsd_core.editor import Locality, Session
from lelsd_core.editor.session import describe_metrics

NO_BREAK = 2 * "\N{NARROW NO-BREAK SPACE}"  # which justified text does not widen, as it does the usual one


def slider_properties(direction: Direction) -> dict[str, Any]:
    """Label of a direction's slider, and the words for both its ends, which the style sheet moves apart."""
    low, high = (end.replace(" ", NO_BREAK) for end in direction.ends)
    least = 0 if direction.goal else -100
    return {"label": in_plain_words(direction.name), "info": f"{low} {high}", "minimum": least}


def percent_of(direction: Direction, amount: float) -> int:
    """An amount as its slider shows it: from -100, the low end, over 0 to 100, the high end."""
    return round(100 * amount / (direction.high if amount > 0 else -direction.low)) if amount else 0


def amount_of(direction: Direction, percent: float) -> float:
    """The amount of a slider value."""
    share = min(max(percent, -100.0), 100.0) / 100
    return share * (direction.high if share > 0 else -direction.low)


def caption_of(before: Mapping[str, float], after: Mapping[str, float], directions: Sequence[Direction]) -> str:
    """What changed between two edits, by amounts other than 0: "Smile 50"; both have names of the same directions."""
    by_name = {direction.name: direction for direction in directions}
    changed = [name for name in by_name if before.get(name, 0.0) != after.get(name, 0.0)]
    if not after:
        return "As it was"
    if len(changed) != 1:
        return f"{len(changed)} sliders"
    name = changed[0]
    return f"{in_plain_words(name)} {percent_of(by_name[name], after.get(name, 0.0))}"


def describe_session(session: Session) -> str:
    """Where the face comes from, and how far its inversion is."""
    if session.inversion_l1 is None:
        return session.note
    return f"{session.note} Rebuilt in {session.seconds:.1f} s; pixels differ by {session.inversion_l1 / 2:.1%}."


def describe_inversion(session: Session) -> str:
    """The figures of an inversion, for those who want to know."""
    return "" if session.metrics is None else f"From the first guess to the refined face: {describe_metrics(session)}."


def describe_edit(locality: Locality | None, likeness: float | None = None, same_person: float = 0.0) -> str:
    """Where an edit changed the picture, and how alike the person still is."""
    if locality is None:
        return "Nothing is changed yet. Move a slider, or click a part of the face."
    *others, last = locality.parts
    parts = f"{', '.join(others)} and {last}" if others else last
    text = (
        f"**{locality.score:.0%}** of the change is inside {parts} ({locality.area:.1%} of the picture). Outside, "
        f"pixels change by {locality.outside:.1%}."
    )
    if likeness is not None:
        person = "the same person" if likeness >= same_person else "no longer the same person"
        text += f" Likeness **{likeness:.2f}**, {person}."
    return text


def seconds_left(progress: Progress, seconds: float) -> float:
    """How long a search is going to take that has run for some seconds."""
    return seconds / max(progress.step, 1) * (progress.total - progress.step)


def describe_progress(progress: Progress, score: float, left: float) -> str:
    """Step and smoothed score of a search, and the seconds that are left."""
    end = "done" if progress.step == progress.total else f"about {left:.0f} s left"
    return f"Step **{progress.step}** of {progress.total} · score **{score:.2f}** · {end}"


def describe_place(place: int, seconds: float) -> str:
    """How many searches are before a visitor's own, and how long they are going to take."""
    others = "Another visitor's search is" if place == 1 else f"{place} searches are"
    time = f"about {seconds:.0f} s" if seconds else "a little while"
    return f"{others} before yours; it starts in {time}."


def describe_card(directions: Sequence[Direction]) -> str:
    """What was measured of the sliders of a card, a line each."""
    return "\n\n".join(f"**{in_plain_words(each.name)}** ({each.kind}): {describe_facts(each)}" for each in directions)


def describe_facts(direction: Direction) -> str:
    """The score of a direction with its interval, its area, gain and range; unknown ones are left out."""
    text, parts = "", " and ".join(direction.parts)
    if direction.score is not None:
        interval = direction.facts.get("interval")
        between = f" ({interval[0]:.0%} to {interval[1]:.0%}, 95 % interval)" if interval else ""
        text = f"{direction.score:.0%}{between} of its change stays inside {parts}"
        text += "" if direction.area is None else f", {direction.area:.1%} of the picture"
        text += "" if direction.gain is None else f"; gain {direction.gain:.0f}"
        text += ". "
    low, high = direction.ends
    return f"{text}Amounts go from {direction.low:.1f} ({low}) to {direction.high:.1f} ({high})."


def describe_direction(direction: Direction) -> str:
    """That a direction is a slider now, and how local it is."""
    return f"**{direction.name}** is now a slider on the Edit tab. {describe_facts(direction)}"
