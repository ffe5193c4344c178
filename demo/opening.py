"""What opens a face: a photo, an example, another face of the photo, a random one, another model, a link.

photo --detect--> DetectedPhoto --invert--> session: the encoder's guess --refine, in a second event--> better sessions

The last face that a visitor asks for wins: a new one ends the inversion of the one before at its next step.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from demo import keeping, views
from demo.callbacks import CARD, EDITED, Callbacks, knowing, new_directions, part_names, recipe_pictures
from demo.components import Updates
from demo.face import Amounts, Display, Face, History, Now, moved
from demo.gpu import LentEditor
from demo.models import BUSY, USABLE, opening_seed
from demo.views import SWIPE, VIEWS, WHOLE
from demo.words import describe_inversion, describe_session
from lelsd_core.editor import DetectedPhoto, Editor, InversionOptions, Session
from lelsd_core.errors import UserError
from lelsd_core.faces import Nudge
from lelsd_core.images import read_photo
from lelsd_core.seeds import MAX_SEED
from lelsd_core.transfer import part_named

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.jpg"))
NO_NUDGE = Nudge()
MOST_TAKEN = 8  # names of parts of other faces that are read from a link
ROW = 8  # random faces to choose from
REFINED = ("rebuilt", "note", "inversion_facts", "refined")  # what `refine` changes
NEW_FACE = (  # what the callbacks that open a face change
    *(*EDITED, *REFINED, *(name for name in CARD if name not in EDITED)),
    *("face", "start", "inversion", "dressed", "aligned_photo", "display", "seed", "truncation", "waiting"),
    *("recipes", "photo_panel", "faces", "aligned", "nudges", "tune", "upload"),
)
MODEL = ("model", "model_panel", "model_info", "model_button", "model_timer", "face", "sliders")  # `model_status`


class Opening:
    """The events that open a face, on top of those of the Edit tab."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks

    def first_sight(self, seed: int) -> dict[str, Any]:
        """What the page is built with, by component name: a seed's face with the first recipe, before and after."""
        callbacks, nobody = self.callbacks, SimpleNamespace(session_hash=None)
        editor = callbacks.editor()
        lent = isinstance(editor, LentEditor)  # there is no GPU before the page is launched
        amounts = {} if lent else next((recipe.amounts for recipe in editor.recipes.values()), {})
        view = SWIPE if amounts else views.EDITED
        updates = self.face_of_seed(nobody, seed, None, Display(view, True, callbacks.protects), None, amounts)
        face, shown = updates["face"], updates["swipe" if amounts else "picture"]["value"]
        same = ("face", "history", "group", "query", "meter", "note", "start", "card_title", "card_facts")
        return {name: updates[name] for name in same} | {
            "swipe" if amounts else "picture": shown,
            "view_name": view,
            "cards": [] if lent else callbacks.card_pictures(face, amounts),
            "recipe_pictures": recipe_pictures(editor),
            "slider_properties": callbacks.slider_properties(face.session, updates["group"]),
        }

    # ------------------------------------------------------------------------------------------------ photos

    def open_photo(
        self,
        request: gr.Request,
        face: Face,
        upload: Image.Image | UserError | None,
        closeness: str,
        display: Display,
        waiting: Amounts | None,
    ) -> Updates:
        """Show the encoder's guess for the largest face of a photo; `refine` goes on from there."""
        if upload is None:  # the upload was cleared; the face stays
            return {}
        if isinstance(upload, UserError):
            raise upload
        self.callbacks.inversions.close(request.session_hash)
        detected = self.callbacks.editor(face).detect(upload)
        new = Face(face.session, detected, InversionOptions(closeness=closeness))
        shown = gr.update(value=detected.shown)  # not every browser shows every kind of file
        return self.open_detected(request, new, display, waiting or {}) | {"upload": shown}

    def open_example(
        self,
        event: gr.SelectData,
        request: gr.Request,
        face: Face,
        closeness: str,
        display: Display,
        waiting: Amounts | None,
    ) -> Updates:
        """`open_photo` for an example."""
        return self.open_photo(request, face, read_photo(EXAMPLES[event.index]), closeness, display, waiting)

    def reopen(self, request: gr.Request, now: Now, photo_options: Sequence[Any]) -> Updates:
        """Invert the photo again with other options; sliders stay, unless the faces are detected again.

        `photo_options` holds "aligned", four nudges as in `Nudge`, the closeness, and whether to tune.
        """
        face = now.face
        if face.detected is None:
            return {}
        aligned, *nudges, closeness, tune = photo_options
        if aligned != face.detected.faces[0].aligned_before:
            detected = self.callbacks.editor(face).detect(face.detected.photo, aligned)
            options = InversionOptions(aligned=aligned, closeness=closeness, tune=tune)
            return self.open_detected(request, Face(face.session, detected, options), now.display, {})
        options = replace(face.options, nudge=Nudge(*nudges), closeness=closeness, tune=tune)
        face, inversion = self.start_inversion(request, replace(face, options=options))
        photo = gr.update(value=face.session.photo, visible=True)
        return self.shown_again(now._replace(face=face)) | {"inversion": inversion, "aligned_photo": photo}

    def shown_again(self, now: Now) -> Updates:
        """The same edit of a face with other codes."""
        updates = self.callbacks.show(now) | refined_updates(now.face)
        return updates | {"start": self.callbacks.start_picture(now)}

    def choose_face(self, event: gr.SelectData, request: gr.Request, now: Now) -> Updates:
        """Go on with another face of the photo; the edit of this one stays, and comes back with it."""
        face, amounts = now.face, moved(now.amounts)
        if face.options is None or event.index == face.options.face:
            return {}
        others = dict(face.others) | ({face.options.face: (face.session, amounts)} if amounts else {})
        session, amounts = others.pop(event.index, (None, {}))
        options = replace(face.options, face=event.index, nudge=NO_NUDGE)
        face = replace(face, options=options, others=others, muted=frozenset())
        if session is None:
            return self.open_detected(request, face, now.display, {})
        self.callbacks.inversions.close(request.session_hash)
        return self.show_photo(request, face.with_session(session), now.display, amounts)

    def open_detected(self, request: gr.Request, face: Face, display: Display, amounts: Amounts) -> Updates:
        """Start the inversion of a face of a detected photo, with some amounts."""
        face, inversion = self.start_inversion(request, face)
        return self.show_photo(request, face, display, amounts) | {"inversion": inversion}

    def show_photo(self, request: gr.Request, face: Face, display: Display, amounts: Amounts) -> Updates:
        """Show a face of a photo with some amounts, and fill the panel of the photo."""
        callbacks = self.callbacks
        crops = [candidate.crop for candidate in face.detected.faces]
        number = face.options.face
        view = views.EDITED if display.view == SWIPE else display.view
        updates = self.show_new(request, face, display._replace(view=view), amounts)
        return updates | {
            "aligned_photo": gr.update(value=face.session.photo, visible=True),
            "photo_panel": gr.update(visible=True),
            "faces": gr.update(value=crops if len(crops) > 1 else [], visible=len(crops) > 1, selected_index=number),
            "aligned": face.detected.faces[number].aligned_before,
            "nudges": [NO_NUDGE.right, NO_NUDGE.down, NO_NUDGE.scale, NO_NUDGE.turn],
            "tune": gr.update(value=face.options.tune, visible=callbacks.editor(face).can_tune),
            "display": displayed([*VIEWS, WHOLE], view, photo=True),
            "waiting": None,
        }

    def show_new(self, request: gr.Request, face: Face, display: Display, amounts: Amounts) -> Updates:
        """Show a new face with some amounts; its history begins."""
        callbacks = self.callbacks
        callbacks.close_small_pictures(request.session_hash)
        updates = callbacks.face_updates(face, amounts)
        first = History().add({}, views.thumbnail(face.session.original), face.session.directions)
        values = callbacks.percents(face, amounts)
        now = Now(request.session_hash, face, display, updates["group"], values, first)
        shown = self.shown_again(now)
        return updates | shown | callbacks.shown_component(display.view, shown)

    def start_inversion(self, request: gr.Request, face: Face) -> tuple[Face, int]:
        """The encoder's guess, and the number of the inversion; the rest waits for `refine`, which a number starts."""
        editor, detected, options = self.callbacks.editor(face), face.detected, face.options
        inversions, visitor = self.callbacks.inversions, request.session_hash
        if isinstance(editor, LentEditor):  # a GPU is lent to one event, so that each event runs a generator of its own
            inversions.close(visitor)
            guess = next(editor.invert(detected, replace(options, steps=0, tune=False)))
            inversion = inversions.start(visitor, lambda _: without_guess(editor, detected, options))
        else:
            inversion = inversions.start(visitor, lambda closed: editor.invert(detected, options, stop=closed))
            guess = next(inversion)
        return face.with_session(keep_directions(face.session, guess)), inversion.id

    def refine(self, request: gr.Request, face: Face, inversion: int) -> Iterator[Updates]:
        """Go on with an inversion until it is done or another face is opened; sliders stay."""
        sessions = self.callbacks.inversions.current(request.session_hash, inversion)
        if sessions is None:
            return
        try:
            for number, session in enumerate(sessions):
                sessions.latest = session
                updates = refined_updates(face.with_session(session))
                yield {name: updates[name] for name in REFINED if name in updates} | {"refined": inversion + number}
        finally:  # also when Gradio drops the event
            sessions.close()

    def adopt(self, request: gr.Request, face: Face, inversion: int) -> Updates:
        """Give the face the codes that `refine` has found last; what else was done to it meanwhile stays."""
        sessions = self.callbacks.inversions.current(request.session_hash, inversion)
        return {"face": refined(face, sessions.latest)} if sessions and sessions.latest else {}

    def show_refined(self, now: Now, inversion: int) -> Updates:
        """`show` after `refine`, unless another face has taken its place; its sliders are not these any more."""
        sessions = self.callbacks.inversions.current(now.visitor, inversion)
        if sessions is None:
            return {}
        face = refined(now.face, sessions.latest) if sessions.latest else now.face
        return self.shown_again(now._replace(face=face)) | {"dressed": inversion + 1}  # a number of its own

    def stop_refining(self, request: gr.Request, inversion: int) -> Updates:
        """End an inversion, unless another one has taken its place."""
        sessions = self.callbacks.inversions.current(request.session_hash, inversion)
        if sessions:
            sessions.close()
        return {}

    def page_closed(self, request: gr.Request) -> None:
        """End what runs for the visitor."""
        self.callbacks.close_small_pictures(request.session_hash)
        self.callbacks.inversions.close(request.session_hash)
        self.callbacks.searches.close(request.session_hash)
        self.callbacks.paused.pop(request.session_hash, None)
        knowing.cache_clear()  # what others need of it is made anew

    # ------------------------------------------------------------------------------------------ random faces

    def random_face(
        self, request: gr.Request, now: Now, seed: float | None, truncation: float | None, lock: bool
    ) -> Updates:
        """Show the face of a seed, with all sliders at 0 or locked where they are. UserError for what is no seed."""
        if (number := keeping.whole(seed)) is None:
            given = "nothing" if seed is None else f"{seed:g}" if isinstance(seed, float) else seed
            raise UserError(f"A seed is a whole number from 0 to {MAX_SEED}; this is {given}.")
        self.callbacks.inversions.close(request.session_hash)
        amounts = now.amounts if lock else None
        return self.face_of_seed(request, number, truncation, now.display, now.face.session, amounts) | {"seed": number}

    def random_clear_face(self, request: gr.Request, now: Now, truncation: float | None, lock: bool) -> Updates:
        """Show a random frontal, well-lit face."""
        self.callbacks.inversions.close(request.session_hash)
        seed = self.callbacks.editor(now.face).find_clear_seed(np.random.default_rng())
        return self.random_face(request, now, seed, truncation, lock)

    def row_of_faces(self, request: gr.Request, face: Face, truncation: float | None) -> Iterator[Updates]:
        """Random faces to choose from, as they are found."""
        editor, random, row = self.callbacks.editor(face), np.random.default_rng(), []
        while len(row) < ROW:
            seed = editor.find_clear_seed(random)
            picture = editor.random_face(seed, usable(editor, truncation)).original
            row = [*row, (views.thumbnail(picture), str(seed))]
            yield {"row": gr.update(value=row, visible=True, selected_index=None)}

    def choose_random(
        self, event: gr.SelectData, request: gr.Request, now: Now, truncation: float | None, lock: bool
    ) -> Updates:
        """Show one of the random faces."""
        return self.random_face(request, now, int(event.value["caption"]), truncation, lock)

    def face_of_seed(
        self,
        request: gr.Request,
        seed: int,
        truncation: float | None,
        display: Display,
        before: Session | None = None,
        amounts: Amounts | None = None,
    ) -> Updates:
        """Show the random face of a seed, with some amounts, by the model of the session before."""
        editor = self.callbacks.editor(Face(before) if before else None)
        face = Face(keep_directions(before, editor.random_face(seed, usable(editor, truncation))), seed=seed)
        view = display.view if display.view in VIEWS and amounts else views.EDITED
        hidden = gr.update(visible=False, value=None)
        return self.show_new(request, face, display._replace(view=view), amounts or {}) | {
            "aligned_photo": hidden,
            "rebuilt": hidden,
            "photo_panel": gr.update(visible=False),
            "display": displayed(VIEWS, view, photo=False),
        }

    # ---------------------------------------------------------------------------------------- links and reloads

    def page_opened(self, request: gr.Request, face: Face, display: Display, history: History, kept: Any) -> Updates:
        """What a link asks for, or what the browser kept, in place of the face that the page opens with."""
        kept = keeping.read_link(request.query_params) or keeping.read_stored(kept)
        if kept is None:  # the sliders of the first sight: Gradio would take values they are built with for their rest
            values = self.callbacks.padded(self.callbacks.percents(face, history.current))
            return {"dressed": 1, "sliders": values} | self.callbacks.history_updates(history)
        manager, name = self.callbacks.manager, kept.generator or self.callbacks.manager.first
        loaded = name == manager.first or name in {state.name for state in manager.states() if state.stage in USABLE}
        if not loaded:
            text = f"This edit was made with the model {name[:40]}, which is not loaded; choose it under *Model*."
            return {"note": text, "dressed": 1}
        editor = manager.editor(name)
        found = new_directions(editor, keeping.found_directions(kept))
        before = face.session if name == face.session.generator else editor.random_face(opening_seed(name))
        before = replace(before, directions=editor.directions).with_directions(found)
        if kept.seed is not None:
            before = self.with_takes(editor, before, kept)
        amounts = keeping.kept_amounts(kept.percents, before.directions)
        seed = opening_seed(name) if kept.seed is None else kept.seed
        truncation = None if kept.truncation is None else min(max(kept.truncation, 0.0), 1.5)
        if kept.seed is not None:
            updates = self.face_of_seed(request, seed, truncation, display, before, amounts)
            return updates | self.kept_history(request, updates["face"], kept) | {"seed": seed}
        updates = self.face_of_seed(request, seed, None, display, before) | {"seed": seed}
        if amounts:
            hint = "Your slider values were kept, your photo was not: open it, or another face's photo, to see them."
            updates |= {"note": hint, "waiting": amounts}
        return updates

    def with_takes(self, editor: Editor, before: Session, kept: keeping.Kept) -> Session:
        """The session with the parts of made-up faces that a link or the browser names; what makes no sense is left."""
        names = dict.fromkeys([*kept.percents, *(name for _, percents in kept.steps for name in percents)])
        with suppress(UserError):
            face = replace(editor.random_face(kept.seed), directions=before.directions)
            before = replace(
                before,
                directions=editor.with_takes(
                    face, [name for name in names if part_named(name)][:MOST_TAKEN]
                ).directions,
            )
        return before

    def kept_history(self, request: gr.Request, face: Face, kept: keeping.Kept) -> Updates:
        """The history of a face with the edits that were kept."""
        directions = face.session.directions
        history = History().add({}, views.thumbnail(face.session.original), directions)
        for caption, percents in kept.steps:
            amounts = keeping.kept_amounts(percents, directions)
            history = history.add(
                amounts, self.callbacks.small(request.session_hash, face, amounts), directions, caption
            )
        return self.callbacks.history_updates(history) if kept.steps else {}

    # ------------------------------------------------------------------------------------------------ models

    def model_status(self, face: Face, model: str) -> Updates:
        """State of a model, its button, and sliders that were added to the session's model in the background."""
        callbacks, session = self.callbacks, face.session
        state = callbacks.manager.state(model)
        in_use, usable = session.generator == model, state.stage in USABLE
        label = "In use" if in_use else f"Use {model}" if usable else f"Get {model}"
        updates: Updates = {
            "model_panel": gr.update(label=f"Model: {session.generator}"),
            "model_info": callbacks.manager.describe(model),
            "model_button": gr.update(value=label, interactive=not in_use and (usable or state.stage not in BUSY)),
            "model_timer": gr.Timer(active=state.stage in BUSY),
        }
        updated = callbacks.editor(face).update_session(session)
        if updated is not session:
            first = len(session.directions)
            added = [gr.skip()] * first + callbacks.slider_updates(updated, "", [0.0] * len(updated.directions))[first:]
            updates |= {"face": face.with_session(updated), "sliders": added}
        return updates

    def show_news(self, face: Face) -> Updates:
        """The model panel of a new page: open, if the page itself prepares another model in the background."""
        used, news = face.session.generator, self.callbacks.manager.announced
        if news is None or news == used or self.callbacks.manager.state(news).stage not in (*BUSY, "ready"):
            return self.model_status(face, used)
        opened = {"model": news, "model_panel": gr.update(open=True, label=f"Model: {used}")}
        return self.model_status(face, news) | opened

    def use_model(self, request: gr.Request, face: Face, model: str, closeness: str, display: Display) -> Updates:
        """Go on with another model, with the same photo or a random face; or start to prepare the model."""
        manager = self.callbacks.manager
        if manager.state(model).stage not in USABLE:
            manager.start(model)
            return self.model_status(face, model)
        editor, seed = manager.editor(model), opening_seed(model)
        first = Face(editor.random_face(seed))
        if face.detected is None:
            self.callbacks.inversions.close(request.session_hash)
            updates = self.face_of_seed(request, seed, None, display, first.session) | {"seed": seed}
        else:
            detected, options = editor.detect(face.detected.photo), InversionOptions(closeness=closeness)
            updates = self.open_detected(request, replace(first, detected=detected, options=options), display, {})
        names = part_names(editor)
        parts = gr.update(choices=names, value=["mouth"] if "mouth" in names else names[:1])
        return updates | {"parts": parts} | self.model_status(updates["face"], model)


def displayed(views_offered: Sequence[str], view: str, *, photo: bool) -> list[Any]:
    """The choice of views, and whether there is a photo whose detail can be kept; protection stays."""
    return [gr.update(choices=views_offered, value=view), gr.update(visible=photo), gr.skip()]


def usable(editor: Editor, truncation: float | None) -> float | None:
    """The truncation, for generators that have one."""
    return None if editor.generator.usual_truncation is None else truncation


def refined(face: Face, session: Session) -> Face:
    """A face with better codes, and its own directions."""
    return face.with_session(keep_directions(face.session, session))


def refined_updates(face: Face) -> Updates:
    """A face, and what tells how well it is rebuilt."""
    rebuilt = gr.update(value=views.enlarged(face.session.original), visible=face.detected is not None)
    facts = {"inversion_facts": describe_inversion(face.session)}
    return {"face": face, "rebuilt": rebuilt, "note": describe_session(face.session)} | facts


def without_guess(editor: Editor, detected: DetectedPhoto, options: InversionOptions) -> Generator[Session]:
    """An inversion from its second session on, computed from the beginning when the first one is asked for."""
    sessions = editor.invert(detected, options)
    next(sessions)
    yield from sessions


def keep_directions(before: Session | None, after: Session) -> Session:
    """A new face with the directions of the one before, unless they belong to another model."""
    same = before is not None and before.generator == after.generator
    return replace(after, directions=before.directions) if same else after
