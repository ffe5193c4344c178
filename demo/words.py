"""What the page says: sessions, sliders, progress and the truth meter, in words."""

from __future__ import annotations

from typing import Any

from demo.models import ModelState
from lelsd_core.directions import Direction
from lelsd_core.discovery.search import Progress
from lelsd_core.editor import Locality, Session
from lelsd_core.editor.session import describe_metrics
from lelsd_core.weights.catalogue import Network

NO_BREAK = "\N{NO-BREAK SPACE}"


def slider_words(direction: Direction) -> dict[str, Any]:
    """Label, range and the words at both ends of a direction's slider; the style sheet drives them apart."""
    low, high = (end.replace(" ", NO_BREAK) for end in direction.ends)
    return {
        "label": direction.name[:1].upper() + direction.name[1:],
        "info": f"{low} {high}",
        "minimum": direction.low,
        "maximum": direction.high,
    }


def describe_session(session: Session) -> str:
    """How the face came about, and how close its inversion is."""
    if session.inversion_l1 is None:
        return session.note
    words = f"{session.note} Rebuilt in {session.seconds:.1f} s with a mean error of {session.inversion_l1 / 2:.1%}"
    if session.metrics is not None and session.encoder_metrics is not session.metrics:
        words += f" ({describe_metrics(session)})"
    return words + "."


def describe_locality(locality: Locality | None) -> str:
    """Where an edit changes the picture."""
    if locality is None:
        return "Nothing is changed yet. Move a slider."
    parts = (
        " and ".join([", ".join(locality.parts[:-1]), locality.parts[-1]]) if locality.parts[1:] else locality.parts[0]
    )
    verb = "cover" if locality.parts[1:] or parts.endswith("s") else "covers"
    return f"**{locality.score:.0%}** of the change is inside {parts}, which {verb} {locality.area:.1%} of the picture."


def describe_progress(progress: Progress, score: float, seconds: float) -> str:
    """Step, score and time left of a discovery."""
    left = seconds / progress.step * (progress.total - progress.step)
    end = "done" if progress.step == progress.total else f"about {left:.0f} s left"
    return f"Step **{progress.step}** of {progress.total} · score **{score:.2f}** · {end}"


def describe_kept(direction: Direction) -> str:
    """That a direction became a slider, and how local it is."""
    return (
        f"**{direction.name}** is now a slider on the Edit tab: {direction.score:.0%} of its change stays inside "
        f"{' and '.join(direction.parts)}, which cover {direction.area:.1%} of the picture."
    )


def describe_model(spec: Network, state: ModelState) -> str:
    """What a model is, its licences included, and where it stands."""
    share = "" if state.share is None or state.stage == "ready" else f" ({state.share:.0%})"
    return f"{spec.about}. Weights: {spec.licence}. Training data: {spec.data}.\n\n{state.words}{share}"
