"""What the Edit tab's events call: pictures and numbers in, `News` out; models are shared, sessions are not."""

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
from PIL import Image

from demo.models import ModelManager
from demo.news import News
from demo.words import describe_locality, describe_session, slider_words
from lelsd_core.device import report_out_of_memory
from lelsd_core.directions import clamp_amounts
from lelsd_core.editor import DetectedPhoto, Editor, InversionOptions, Session
from lelsd_core.errors import UserError
from lelsd_core.faces import Nudge
from lelsd_core.images import MAX_BYTES, change_map, enlarge
from lelsd_core.paste import paste_change

SIDE = 512  # pixels of a face that is shown, at least
VIEWS = ("Edited", "Original", "Swipe", "Change")
WHOLE = "Whole photo"  # one more view, for faces that come from a photo
LARGE = 4_000_000  # pixels from which a download is a JPEG
STILL = Nudge()
How = tuple[str, bool, bool]  # view, keep the photo's detail, protect what is outside the parts


@contextmanager
def show_errors() -> Iterator[None]:
    """Turn a `UserError` and a lack of memory into a message on the page; real bugs go through to the log."""
    try:
        with report_out_of_memory():
            yield
    except UserError as problem:
        raise gr.Error(str(problem), print_exception=False, title="That did not work") from problem


class Callbacks:
    """The page's events.

    Args:
        shelf: the models; shared by all visitors.
        sliders: how many sliders the page has, shipped and spare.
        max_bytes: the largest photo that is read.
    """

    def __init__(self, shelf: ModelManager, sliders: int, max_bytes: int = MAX_BYTES) -> None:
        self.shelf, self.sliders, self.max_bytes = shelf, sliders, max_bytes
        self.lock = threading.Lock()  # slider moves skip the queue; one at a time keeps both cores on one of them

    def editor(self, session: Session | None = None) -> Editor:
        """The models of a session, or those that the page opens with."""
        return self.shelf.editor(session.generator if session else self.shelf.first)

    def amounts(self, session: Session, values: Sequence[float]) -> dict[str, float]:
        """Slider values in the order of the session's directions -> amounts by name, each within its range."""
        named = {d.name: value for d, value in zip(session.directions, values, strict=False)}
        return clamp_amounts(session.directions, named)

    def show(
        self, session: Session, source: DetectedPhoto | None, view: str, detail: bool, protect: bool, *values: float
    ) -> News:
        """Slider values -> the main picture, or before and after, and what changed where, in words."""
        with show_errors(), self.lock:
            amounts = self.amounts(session, values)
            edit = self.editor(session).edit(session, amounts, protect=float(protect))
            before, after = self.pair(session, source, (view, detail, protect), edit.picture, amounts)
        return viewed(view, before, after) | {"meter": describe_locality(edit.locality)}

    def slide(
        self, session: Session, source: DetectedPhoto | None, view: str, detail: bool, protect: bool, *values: float
    ) -> News:
        """The same while a slider moves: a sketch, with models that are slow; its release shows the picture."""
        if session.preview is None or protect:
            return self.show(session, source, view, detail, protect, *values)
        scale = session.preview.width / session.original.width
        matrix = None if session.matrix is None else session.matrix * scale
        rough = replace(session, original=session.preview, matrix=matrix)
        with show_errors(), self.lock:
            amounts = self.amounts(session, values)
            sketch = self.editor(session).preview(session, amounts)
            return viewed(view, *self.pair(rough, source, (view, detail, protect), sketch, amounts))

    def settle(
        self, session: Session, source: DetectedPhoto | None, view: str, detail: bool, protect: bool, *values: float
    ) -> News:
        """A slider was let go: the picture itself, where a sketch stands in for it."""
        sketched = session.preview is not None and not protect
        return self.show(session, source, view, detail, protect, *values) if sketched else {}

    def pair(
        self, session: Session, source: DetectedPhoto | None, how: How, edited: Image.Image, amounts: dict[str, float]
    ) -> tuple[Image.Image, Image.Image]:
        """Before and after: the face or the whole photo, in the photo's own detail or as the model paints it."""
        view, detail, _ = how
        if view == WHOLE and source is not None:
            small = replace(session, matrix=session.matrix @ source.reduced)
            way = "change" if detail else "replace"
            return source.shown, self.editor(session).paste(small, source.shown, edited, amounts, how=way)
        if detail and session.photo is not None:
            scale = edited.width / session.photo.width
            matrix = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
            return session.photo, paste_change(session.photo, session.original, edited, matrix)
        return face_of(session.original), face_of(edited)

    def switch_view(
        self, session: Session, source: DetectedPhoto | None, view: str, detail: bool, protect: bool, *values: float
    ) -> News:
        """Another view: the picture or the swipe, whichever shows it."""
        news = self.show(session, source, view, detail, protect, *values)
        hidden, swipe = gr.update(visible=False), view == "Swipe"
        return news | {
            "picture": hidden if swipe else gr.update(value=news["picture"], visible=True),
            "swipe": gr.update(value=news["swipe"], visible=True) if swipe else hidden,
        }

    def open_photo(
        self,
        session: Session,
        photo: Image.Image | UserError | None,
        closeness: str,
        view: str,
        detail: bool,
        protect: bool,
    ) -> News:
        """A photo -> its largest face, as the inverter guesses it; `refine` makes it better."""
        if photo is None:  # the upload was cleared; the face stays
            return {}
        with show_errors():
            if isinstance(photo, UserError):
                raise photo
            source = self.editor(session).detect(photo)
            return self.opened(session, source, InversionOptions(closeness=closeness), (view, detail, protect))

    def opened(self, session: Session, source: DetectedPhoto, fit: InversionOptions, how: How) -> News:
        """A photo that was looked at: everything about its face, and all sliders at rest."""
        news = self.fitted(session, source, fit, how, ())
        first = source.faces[fit.face]
        crops = [face.crop for face in source.faces]
        return news | {
            "sliders": self.slider_updates(news["session"]),
            "panel": gr.update(visible=True),
            "faces": gr.update(value=crops if len(crops) > 1 else [], visible=len(crops) > 1),
            "aligned": first.aligned_before,
            "nudges": [STILL.right, STILL.down, STILL.scale, STILL.turn],
            "tune": gr.update(value=fit.tune, visible=self.editor(session).can_tune),
            "view": gr.update(choices=[*VIEWS, WHOLE], value=how[0]),
        }

    def fitted(
        self, session: Session, source: DetectedPhoto, fit: InversionOptions, how: How, values: Sequence[float]
    ) -> News:
        """A face of a photo as the inverter guesses it, with sliders where they are."""
        editor = self.editor(session)
        found = carried(session, next(editor.invert(source, fit)))
        return (
            {"session": found, "source": source, "fit": fit, "turn": time.monotonic_ns()}
            | {"photo": gr.update(value=found.photo, visible=True)}
            | {"rebuilt": gr.update(value=face_of(found.original), visible=True), "note": describe_session(found)}
            | self.show(found, source, *how, *values)
        )

    def refit(
        self,
        session: Session,
        source: DetectedPhoto | None,
        fit: InversionOptions | None,
        aligned: bool,
        right: float,
        down: float,
        scale: float,
        turn: float,
        closeness: str,
        tune: bool,
        view: str,
        detail: bool,
        protect: bool,
        *values: float,
    ) -> News:
        """The photo that is there, taken as it is, nudged or fitted otherwise; sliders stay where they are."""
        if source is None or fit is None:
            return {}
        with show_errors():
            if aligned != source.faces[0].aligned_before:
                source = self.editor(session).detect(source.photo, aligned)
                fit = InversionOptions(aligned=aligned, closeness=closeness, tune=tune)
                return self.opened(session, source, fit, (view, detail, protect))
            fit = replace(fit, nudge=Nudge(right, down, scale, turn), closeness=closeness, tune=tune)
            self.editor(session).check(fit)
            return self.fitted(session, source, fit, (view, detail, protect), values)

    def choose_face(self, event: gr.SelectData, *given: Any) -> News:
        """Another face of the photo; `given` as for `refit`."""
        session, source, fit, *others = given
        return self.refit(session, source, fit and replace(fit, face=event.index), *others)

    def refine(self, session: Session, source: DetectedPhoto | None, fit: InversionOptions | None) -> Iterator[News]:
        """Better and better codes for a face that was opened; sliders stay where they are."""
        if source is None or fit is None:
            return
        with show_errors():
            editor = self.editor(session)
            sessions = editor.invert(source, fit)
            next(sessions)  # the guess is on the page
            for found in sessions:
                found = carried(session, found)
                yield {"session": found, "rebuilt": face_of(found.original), "note": describe_session(found)}

    def random_face(self, session: Session | None, seed: float | None, view: str, detail: bool, protect: bool) -> News:
        """A made-up face, with all sliders at rest."""
        seed = int(seed) if isinstance(seed, (int, float)) and 0 <= seed < 2**31 else 0
        found = carried(session, self.editor(session).random_face(seed))
        hidden = gr.update(visible=False, value=None)
        view = VIEWS[0] if view == WHOLE else view
        return (
            {"session": found, "source": None, "fit": None, "photo": hidden, "rebuilt": hidden}
            | {"panel": gr.update(visible=False), "view": gr.update(choices=VIEWS, value=view)}
            | {"note": describe_session(found), "sliders": self.slider_updates(found)}
            | self.show(found, None, view, detail, protect)
        )

    def roll(self, session: Session, view: str, detail: bool, protect: bool) -> News:
        """A seed that shows a clear face, and that face."""
        seed = self.editor(session).find_clear_seed(np.random.default_rng())
        return {"seed": seed} | self.random_face(session, seed, view, detail, protect)

    def slider_updates(self, session: Session, beside: int = 0) -> list[Any]:
        """All sliders at rest but the first `beside`, which stay; one for each direction, the others hidden."""
        shown = [gr.update(**slider_words(d), value=0.0, visible=True) for d in session.directions[: self.sliders]]
        stay, hidden = gr.skip(), gr.update(visible=False, value=0.0)
        return [*[stay] * beside, *shown[beside:], *[hidden] * (self.sliders - len(shown))]

    def download(
        self, session: Session, source: DetectedPhoto | None, view: str, detail: bool, protect: bool, *values: float
    ) -> str:
        """The edited face, or the whole photo at its own size where that is shown, as a data URL: no file."""
        with show_errors(), self.lock:
            amounts = self.amounts(session, values)
            editor = self.editor(session)
            edited = editor.render(session, amounts, protect=float(protect))
            if view == WHOLE and source is not None:
                way = "change" if detail else "replace"
                picture = editor.paste(session, source.photo, edited, amounts, how=way)
            else:
                _, picture = self.pair(session, source, (view, detail, protect), edited, amounts)
        return data_url(picture)


def viewed(view: str, before: Image.Image, after: Image.Image) -> News:
    """The component that a view is shown in, and what it shows."""
    if view == "Swipe":
        return {"swipe": (before, after)}
    if view == "Change":
        return {"picture": change_map(before, after)}
    return {"picture": before if view == "Original" else after}


def carried(before: Session | None, after: Session) -> Session:
    """A new face with the sliders that its person had before, unless they belong to another model."""
    same = before is not None and before.generator == after.generator
    return replace(after, directions=before.directions) if same else after


def face_of(picture: Image.Image) -> Image.Image:
    """A face as the model paints it, large enough to look at."""
    return picture if picture.width >= SIDE else enlarge(picture, SIDE)


def data_url(picture: Image.Image) -> str:
    """A picture as a PNG, or as a JPEG where that would be many megabytes."""
    buffer = io.BytesIO()
    kind = "JPEG" if picture.width * picture.height > LARGE else "PNG"
    picture.save(buffer, kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()
