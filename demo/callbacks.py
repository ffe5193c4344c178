"""What the page's events call: pictures and numbers in, pictures and text out; models are shared, sessions are not."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from PIL import Image

from demo.words import describe_locality, describe_progress, describe_session, slider_words
from lelsd_core.device import told_when_short
from lelsd_core.directions import Direction, clamp_amounts
from lelsd_core.discover_config import DiscoverConfig
from lelsd_core.editor import Editor, Session
from lelsd_core.errors import UserError
from lelsd_core.evaluation import HELD_OUT
from lelsd_core.image import change_map, enlarge, grid
from lelsd_core.intake import MAX_BYTES
from lelsd_core.paste import paste_change

SIDE = 512  # pixels of every picture shown
STRIP = 256  # pixels of each picture in a preview strip
MAX_NAME, MAX_STEPS = 24, 4000
MEASURED_ON = HELD_OUT[:64]  # enough for a slider's range, and soon done
VIEWS = ("Edited", "Original", "Swipe", "Change")


@contextmanager
def told_to_the_user() -> Iterator[None]:
    """Turn a `UserError` and a lack of memory into a message on the page; real bugs go through to the log."""
    try:
        with told_when_short():
            yield
    except UserError as problem:
        raise gr.Error(str(problem), print_exception=False, title="That did not work") from problem


class Callbacks:
    """The page's events.

    Args:
        editor: the models; shared by all visitors and never changed.
        recipe: what a discovery uses unless the page says otherwise.
        sliders: how many sliders the page has, shipped and spare.
        max_bytes: the largest photo that is read.
    """

    def __init__(self, editor: Editor, recipe: DiscoverConfig, sliders: int, max_bytes: int = MAX_BYTES) -> None:
        self.editor, self.recipe, self.sliders, self.max_bytes = editor, recipe, sliders, max_bytes
        self.lock = threading.Lock()  # slider moves skip the queue; one at a time keeps both cores on one of them

    def amounts(self, session: Session, values: Sequence[float]) -> dict[str, float]:
        """Slider values in the order of the session's directions -> amounts by name, each within its range."""
        named = {d.name: value for d, value in zip(session.directions, values, strict=False)}
        return clamp_amounts(session.directions, named)

    def show(self, session: Session, view: str, detail: bool, *values: float) -> tuple[Any, Any, str]:
        """Slider values -> the main picture, before and after, and what changed where, in words."""
        with told_to_the_user(), self.lock:
            edit = self.editor.edit(session, self.amounts(session, values))
        before, after = self.before_and_after(session, detail, edit.picture)
        words = describe_locality(edit.locality)
        if view == "Swipe":
            return gr.skip(), (before, after), words
        picture = {"Original": before, "Change": None}.get(view, after)
        return picture or change_map(before, after), gr.skip(), words

    def before_and_after(self, session: Session, detail: bool, edited: Image.Image) -> tuple[Image.Image, Image.Image]:
        """The unedited and the edited face at `SIDE` pixels: the photo's own detail, or the model's picture."""
        if detail and session.photo is not None:
            scale = session.original.width / session.photo.width
            matrix = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
            return session.photo, paste_change(session.photo, session.original, edited, matrix)
        return enlarge(session.original, SIDE), enlarge(edited, SIDE)

    def switch_view(self, session: Session, view: str, detail: bool, *values: float) -> tuple[Any, Any, str]:
        """Another view: the picture or the swipe, whichever shows it."""
        picture, pair, words = self.show(session, view, detail, *values)
        swipe = view == "Swipe"
        hidden = gr.update(visible=False)
        return (
            hidden if swipe else gr.update(value=picture, visible=True),
            gr.update(value=pair, visible=True) if swipe else hidden,
            words,
        )

    def open_photo(self, photo: Image.Image | UserError | None, view: str, detail: bool) -> Iterator[tuple]:
        """A photo -> what `shown` gives, with the encoder's guess at once; then what `refined` gives."""
        if photo is None:  # the upload was cleared; the face stays
            yield (gr.skip(),) * (7 + self.sliders)
            return
        with told_to_the_user():
            if isinstance(photo, UserError):
                raise photo
            sessions = self.editor.opening(photo)
            yield self.shown(next(sessions), view, detail)
            for session in sessions:
                yield self.refined(session)

    def random_face(self, seed: float | None, view: str, detail: bool) -> tuple:
        """A made-up face -> the same outputs as for a photo."""
        seed = int(seed) if isinstance(seed, (int, float)) and 0 <= seed < 2**31 else 0
        return self.shown(self.editor.random_face(seed), view, detail)

    def roll(self, view: str, detail: bool) -> tuple:
        """A seed that shows a clear face, and that face: the seed, then the same outputs as for a photo."""
        seed = self.editor.clear_seed(np.random.default_rng())
        return seed, *self.random_face(seed, view, detail)

    def shown(self, session: Session, view: str, detail: bool) -> tuple:
        """A new face: session, picture, swipe, words, photo and rebuilt face, note, and all sliders at rest."""
        picture, pair, words = self.show(session, view, detail)
        a_photo = session.photo is not None
        photo = gr.update(value=session.photo, visible=a_photo)
        rebuilt = gr.update(value=enlarge(session.original, SIDE) if a_photo else None, visible=a_photo)
        return session, picture, pair, words, photo, rebuilt, describe_session(session), *self.slider_updates(session)

    def refined(self, session: Session) -> tuple:
        """Better codes of the same face: session, rebuilt face and note; sliders stay where they were moved to."""
        stay = gr.skip()
        rebuilt = enlarge(session.original, SIDE)
        return session, stay, stay, stay, stay, rebuilt, describe_session(session), *[stay] * self.sliders

    def slider_updates(self, session: Session) -> list[Any]:
        """All sliders at rest, one for each of the session's directions, the others hidden."""
        updates = []
        for i in range(self.sliders):
            if i < len(session.directions):
                updates.append(gr.update(**slider_words(session.directions[i]), value=0.0, visible=True))
            else:
                updates.append(gr.update(visible=False, value=0.0))
        return updates

    def download(self, session: Session, detail: bool, *values: float) -> str:
        """The edited face as a PNG data URL; no file is written."""
        with told_to_the_user(), self.lock:
            edited = self.editor.render(session, self.amounts(session, values))
        _, after = self.before_and_after(session, detail, edited)
        buffer = io.BytesIO()
        after.save(buffer, "PNG")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    def discover(self, session: Session, parts: list[str], steps: float, seed: float) -> Iterator[tuple]:
        """Look for a new direction: status, curve, preview on the current face, and the direction so far."""
        with told_to_the_user():
            if len(session.directions) >= self.sliders:
                raise UserError(f"All {self.sliders} sliders are in use; reload the page to start again.")
            config = replace(
                self.recipe,
                parts=tuple(parts or ()),
                steps=int(min(max(steps or 1, 1), MAX_STEPS)),
                seed=int(min(max(seed or 0, 0), 2**31)),
            )
            began, shown_at, curve, smooth = time.perf_counter(), 0.0, [], None
            for progress, found in self.editor.discover(session, config):
                smooth = progress.score if smooth is None else 0.9 * smooth + 0.1 * progress.score
                curve.append((progress.step, smooth))
                now = time.perf_counter()
                if now - shown_at < 0.3 and progress.step < progress.total:
                    continue
                shown_at = now
                yield (
                    describe_progress(progress, smooth, now - began),
                    pd.DataFrame(curve, columns=["step", "score"]),
                    self.strip(found),
                    found.directions[-1],
                )

    def strip(self, session: Session) -> Image.Image:
        """The current face with the newest direction at its low end, at rest and at its high end."""
        newest = session.directions[-1]
        low, high = (self.editor.render(session, {newest.name: end}) for end in (newest.low, newest.high))
        shown = (self.before_and_after(session, True, picture)[1] for picture in (low, session.original, high))
        return grid([[enlarge(picture, STRIP) for picture in shown]], gap=6)

    def keep(self, session: Session, found: Direction | None, name: str) -> tuple:
        """Measure a found direction's range and add it as one more slider: session, tab, words, sliders."""
        with told_to_the_user():
            if found is None:
                raise UserError("There is no direction yet; press Start first.")
            name = " ".join((name or found.name).split())[:MAX_NAME]
            measured = self.editor.measured(found, MEASURED_ON)
            session = self.editor.with_directions(session, [replace(measured, name=name)])
        added = session.directions[-1]
        sliders: list[Any] = [gr.skip()] * self.sliders
        sliders[len(session.directions) - 1] = gr.update(**slider_words(added), value=0.0, visible=True)
        words = (
            f"**{added.name}** is now a slider on the Edit tab: {added.score:.0%} of its change stays inside "
            f"{' and '.join(added.parts)}, which cover {added.area:.1%} of the picture."
        )
        return session, gr.Tabs(selected="edit"), words, None, *sliders
