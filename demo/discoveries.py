"""What the Discover tab's events call: a search that is watched, and its result as one more slider."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import pandas as pd
from PIL import Image

from demo.callbacks import VIEWS, Callbacks, show_errors
from demo.news import News
from demo.words import describe_kept, describe_progress, slider_words
from lelsd_core.directions import Direction
from lelsd_core.editor import Session
from lelsd_core.errors import UserError
from lelsd_core.images import enlarge, grid
from lelsd_core.seeds import HELD_OUT

STRIP = 256  # pixels of each picture in a preview strip
MAX_NAME, MAX_STEPS = 24, 4000
MEASURED_ON = HELD_OUT[:64]  # enough for a slider's range, and soon done
PAUSE = 0.3  # seconds between two looks at a search


class Discoveries:
    """The tab's events, on top of those of the whole page."""

    def __init__(self, do: Callbacks) -> None:
        self.do = do

    def discover(self, session: Session, parts: list[str], steps: float, seed: float) -> Iterator[News]:
        """Look for a new direction: status, curve, preview on the current face, and the direction so far."""
        editor = self.do.editor(session)
        with show_errors():
            if len(session.directions) >= self.do.sliders:
                raise UserError(f"All {self.do.sliders} sliders are in use; reload the page to start again.")
            config = replace(
                editor.search_config,
                parts=tuple(parts or ()),
                steps=int(min(max(steps or 1, 1), MAX_STEPS)),
                seed=int(min(max(seed or 0, 0), 2**31)),
            )
            began, shown_at, curve, smooth = time.perf_counter(), 0.0, [], None
            for progress, found in editor.discover(session, config):
                smooth = progress.score if smooth is None else 0.9 * smooth + 0.1 * progress.score
                curve.append((progress.step, smooth))
                now = time.perf_counter()
                if now - shown_at < PAUSE and progress.step < progress.total:
                    continue
                shown_at = now
                yield {
                    "status": describe_progress(progress, smooth, now - began),
                    "curve": pd.DataFrame(curve, columns=["step", "score"]),
                    "strip": self.strip(found),
                    "found": found.directions[-1],
                }

    def strip(self, session: Session) -> Image.Image:
        """The current face with the newest direction at its low end, at rest and at its high end."""
        newest, editor = session.directions[-1], self.do.editor(session)
        low, high = (editor.render(session, {newest.name: end}) for end in (newest.low, newest.high))
        how = (VIEWS[0], True, False)
        shown = (self.do.pair(session, None, how, picture, {})[1] for picture in (low, session.original, high))
        return grid([[enlarge(picture, STRIP) for picture in shown]], gap=6)

    def keep(self, session: Session, found: Direction | None, name: str) -> News:
        """Measure a found direction's range and add it as one more slider."""
        with show_errors():
            if found is None:
                raise UserError("There is no direction yet; press Start first.")
            name = " ".join((name or found.name).split())[:MAX_NAME]
            measured = self.do.editor(session).calibrate(found, MEASURED_ON)
            session = session.with_directions([replace(measured, name=name)])
        added = session.directions[-1]
        sliders: list[Any] = [gr.skip()] * self.do.sliders
        sliders[len(session.directions) - 1] = gr.update(**slider_words(added), value=0.0, visible=True)
        return {
            "session": session,
            "tabs": gr.Tabs(selected="edit"),
            "status": describe_kept(added),
            "found": None,
            "sliders": sliders,
        }
