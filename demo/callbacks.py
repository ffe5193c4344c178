"""What the Edit tab's events call: component values in, `Updates` out. Models are shared, sessions are a visitor's own.

photo --detect--> DetectedPhoto --invert--> session: the encoder's guess --refine, in a second event--> better sessions
session, sliders --edit--> picture --pair--> before and after, in the view that is chosen
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from demo.components import Updates, data_url
from demo.gpu import LentEditor
from demo.inversions import Inversions
from demo.models import BUSY, USABLE, ModelManager, opening_seed
from demo.words import describe_locality, describe_session, group_of, in_plain_words, slider_properties
from lelsd_core.directions import Direction, clamp_amounts
from lelsd_core.editor import DetectedPhoto, Editor, InversionOptions, Session
from lelsd_core.errors import UserError
from lelsd_core.faces import Nudge
from lelsd_core.images import MAX_BYTES, change_map, enlarge, read_photo
from lelsd_core.paste import USUAL, paste_detail

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.jpg"))
FACE_SIZE = 512  # least width in pixels of a face on the page
VIEWS = ("Edited", "Original", "Swipe", "Change")
ALL = "All"  # groups of sliders
WHOLE = "Whole photo"  # one more view, for faces that come from a photo
NO_NUDGE = Nudge()
Display = tuple[str, bool, bool]  # view, keep the photo's detail, protect what is outside the parts
Values = Sequence[float]  # of the sliders, in the order of the session's directions

EDITED = ("picture", "swipe", "meter")  # what `show` changes
REFINED = ("face", "rebuilt", "note")  # what `refine` changes
NEW_FACE = (  # what the callbacks that open a face change
    *(*EDITED, *REFINED, "inversion", "aligned_photo", "view", "sliders", "seed"),
    *("photo_panel", "faces", "aligned", "nudges", "tune", "group", "recipes"),
)
MODEL = ("model", "model_panel", "model_info", "model_button", "model_timer", "face", "sliders")  # `model_status`


@dataclass(frozen=True, eq=False)
class Face:
    """The face that a visitor edits.

    Args:
        session: its codes and directions.
        detected: the photo that it comes from; None for a random face.
        options: how it was inverted; None for a random face.
    """

    session: Session
    detected: DetectedPhoto | None = None
    options: InversionOptions | None = None


class Callbacks:
    """The events of the Edit tab.

    Args:
        manager: the models, shared by all visitors.
        slider_count: sliders on the page, used and spare.
        max_bytes: size limit of an uploaded photo.
    """

    def __init__(self, manager: ModelManager, slider_count: int, max_bytes: int = MAX_BYTES) -> None:
        self.manager, self.slider_count, self.max_bytes = manager, slider_count, max_bytes
        self.inversions = Inversions()
        self.lock = threading.Lock()  # slider events skip Gradio's queue; one at a time uses all cores

    def editor(self, session: Session | None = None) -> Editor:
        """The models of a session, or those that the page opens with."""
        return self.manager.editor(session.generator if session else self.manager.first)

    # ------------------------------------------------------------------------------------ sliders and views

    def amounts(self, session: Session, sliders: Values) -> dict[str, float]:
        """Slider values in the order of the session's directions -> amounts by name, each within its range."""
        named = {direction.name: value for direction, value in zip(session.directions, sliders, strict=False)}
        return clamp_amounts(session.directions, named)

    def show(self, face: Face, display: Display, sliders: Values) -> Updates:
        """Render the edited face in the chosen view, and measure where it changed."""
        with self.lock:
            amounts = self.amounts(face.session, sliders)
            edit = self.editor(face.session).edit(face.session, amounts, protect=float(display[2]))
            pair = self.before_and_after(face, display, edit.picture, amounts)
        return in_view(display[0], *pair) | {"meter": describe_locality(edit.locality)}

    def preview(self, face: Face, display: Display, sliders: Values) -> Updates:
        """Show a slider in motion: with slow models a small preview, which `show_after_preview` replaces."""
        session = face.session
        if session.preview is None or display[2]:
            return self.show(face, display, sliders)
        scale = session.preview.width / session.original.width
        matrix = None if session.matrix is None else session.matrix * scale
        small = replace(face, session=replace(session, original=session.preview, matrix=matrix))
        with self.lock:
            amounts = self.amounts(session, sliders)
            edited = self.editor(session).preview(session, amounts)
            return in_view(display[0], *self.before_and_after(small, display, edited, amounts))

    def show_after_preview(self, face: Face, display: Display, sliders: Values) -> Updates:
        """`show` after a slider was released, if it showed a preview in motion."""
        return self.show(face, display, sliders) if face.session.preview is not None and not display[2] else {}

    def show_group(self, face: Face, group: str) -> Updates:
        """Show the sliders of one group, or all of them."""
        directions = face.session.directions[: self.slider_count]
        shown = [gr.update(visible=group in (ALL, group_of(direction))) for direction in directions]
        return {"sliders": shown + [gr.skip()] * (self.slider_count - len(shown))}

    def use_recipe(self, event: gr.SelectData, face: Face, display: Display) -> Updates:
        """Set all sliders to a recipe's amounts, or to 0, and show the edit."""
        recipes = [recipe for recipe in self.editor(face.session).recipes.values() if recipe.picture]
        values = [recipes[event.index].amounts.get(d.name, 0.0) for d in face.session.directions[: self.slider_count]]
        return {"sliders": values + [0.0] * (self.slider_count - len(values))} | self.show(face, display, values)

    def switch_view(self, face: Face, display: Display, sliders: Values) -> Updates:
        """`show`, with the component of the chosen view visible and the other one hidden."""
        updates = self.show(face, display, sliders)
        shown, hidden = ("swipe", "picture") if display[0] == "Swipe" else ("picture", "swipe")
        return updates | {shown: gr.update(value=updates[shown], visible=True), hidden: gr.update(visible=False)}

    def before_and_after(
        self, face: Face, display: Display, edited: Image.Image, amounts: dict[str, float]
    ) -> tuple[Image.Image, Image.Image]:
        """The face or the whole photo, unedited and edited, with the photo's detail or as the generator renders it."""
        (view, detail, _), session, detected = display, face.session, face.detected
        if view == WHOLE and detected is not None:
            small = replace(session, matrix=session.matrix @ detected.reduced)
            how = USUAL if detail else "replace"
            return detected.shown, self.editor(session).paste(small, detected.shown, edited, amounts, how=how)
        if detail and session.photo is not None:
            scale = edited.width / session.photo.width
            matrix = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
            return session.photo, paste_detail(session.photo, session.original, edited, matrix)
        return enlarged(session.original), enlarged(edited)

    def download(self, face: Face, display: Display, sliders: Values) -> Updates:
        """The edited face as a data URL; in the view `WHOLE` the whole photo at its own size."""
        (view, detail, protect), session = display, face.session
        with self.lock:
            editor, amounts = self.editor(session), self.amounts(session, sliders)
            edited = editor.render(session, amounts, protect=float(protect))
            if view == WHOLE and face.detected is not None:
                how = USUAL if detail else "replace"
                picture = editor.paste(session, face.detected.photo, edited, amounts, how=how)
            else:
                _, picture = self.before_and_after(face, display, edited, amounts)
        return {"download_url": data_url(picture)}

    # ------------------------------------------------------------------------------------------- new faces

    def open_photo(
        self, request: gr.Request, face: Face, upload: Image.Image | UserError | None, closeness: str, display: Display
    ) -> Updates:
        """Show the encoder's guess for the largest face of a photo; `refine` goes on from there."""
        if upload is None:  # the upload was cleared; the face stays
            return {}
        if isinstance(upload, UserError):
            raise upload
        detected = self.editor(face.session).detect(upload)
        return self._open(request, Face(face.session, detected, InversionOptions(closeness=closeness)), display)

    def open_example(
        self, event: gr.SelectData, request: gr.Request, face: Face, closeness: str, display: Display
    ) -> Updates:
        """`open_photo` for an example."""
        return self.open_photo(request, face, read_photo(EXAMPLES[event.index]), closeness, display)

    def reopen(
        self, request: gr.Request, face: Face, photo_options: Sequence[Any], display: Display, sliders: Values
    ) -> Updates:
        """Invert the photo again with other options; sliders stay, unless the faces are detected again.

        `photo_options` holds "aligned", four nudges as in `Nudge`, the closeness, and whether to tune.
        """
        if face.detected is None:
            return {}
        aligned, *nudges, closeness, tune = photo_options
        if aligned != face.detected.faces[0].aligned_before:
            detected = self.editor(face.session).detect(face.detected.photo, aligned)
            options = InversionOptions(aligned=aligned, closeness=closeness, tune=tune)
            return self._open(request, Face(face.session, detected, options), display)
        options = replace(face.options, nudge=Nudge(*nudges), closeness=closeness, tune=tune)
        return self._invert(request, replace(face, options=options), display, sliders)

    def choose_face(
        self,
        event: gr.SelectData,
        request: gr.Request,
        face: Face,
        photo_options: Sequence[Any],
        display: Display,
        sliders: Values,
    ) -> Updates:
        """`reopen` with another face of the photo."""
        if face.options is not None:
            face = replace(face, options=replace(face.options, face=event.index))
        return self.reopen(request, face, photo_options, display, sliders)

    def _open(self, request: gr.Request, face: Face, display: Display) -> Updates:
        """Start an inversion with all sliders at 0, and fill the panel of the photo."""
        updates = self._invert(request, face, display, ())
        crops = [candidate.crop for candidate in face.detected.faces]
        return updates | {
            "photo_panel": gr.update(visible=True),
            "faces": gr.update(value=crops if len(crops) > 1 else [], visible=len(crops) > 1),
            "aligned": face.detected.faces[face.options.face].aligned_before,
            "nudges": [NO_NUDGE.right, NO_NUDGE.down, NO_NUDGE.scale, NO_NUDGE.turn],
            "tune": gr.update(value=face.options.tune, visible=self.editor(face.session).can_tune),
            "view": gr.update(choices=[*VIEWS, WHOLE], value=display[0]),
            **self.all_sliders(updates["face"].session),
        }

    def _invert(self, request: gr.Request, face: Face, display: Display, sliders: Values) -> Updates:
        """Show the encoder's guess; the rest of the inversion waits for `refine`, which a new "inversion" triggers."""
        editor, visitor, detected, options = (
            self.editor(face.session),
            request.session_hash,
            face.detected,
            face.options,
        )
        if isinstance(editor, LentEditor):  # a GPU is lent to one event, so that each event runs a generator of its own
            self.inversions.close(visitor)
            guess = next(editor.invert(detected, replace(options, steps=0, tune=False)))
            inversion = self.inversions.start(visitor, without_guess(editor, detected, options))
        else:
            inversion = self.inversions.start(visitor, editor.invert(detected, options))
            guess = next(inversion)
        face = replace(face, session=keep_directions(face.session, guess))
        photo = gr.update(value=guess.photo, visible=True)
        updates = refined_updates(face) | {"inversion": inversion.id, "aligned_photo": photo}
        updates["rebuilt"] = gr.update(value=updates["rebuilt"], visible=True)
        return updates | self.show(face, display, sliders)

    def refine(self, request: gr.Request, face: Face, inversion: int) -> Iterator[Updates]:
        """Go on with an inversion until it is done or another face is opened; sliders stay."""
        sessions = self.inversions.current(request.session_hash, inversion)
        if sessions is None:
            return
        try:
            for session in sessions:
                yield refined_updates(replace(face, session=keep_directions(face.session, session)))
        finally:  # also when Gradio drops the event
            sessions.close()

    def show_refined(
        self, request: gr.Request, face: Face, inversion: int, display: Display, sliders: Values
    ) -> Updates:
        """`show` after `refine`, unless another face has taken its place; its sliders are not these any more."""
        current = self.inversions.current(request.session_hash, inversion)
        return self.show(face, display, sliders) | {"note": describe_session(face.session)} if current else {}

    def stop_refining(self, request: gr.Request, inversion: int) -> Updates:
        """End an inversion, unless another one has taken its place."""
        sessions = self.inversions.current(request.session_hash, inversion)
        if sessions:
            sessions.close()
        return {}

    def page_closed(self, request: gr.Request) -> None:
        """End the visitor's inversion."""
        self.inversions.close(request.session_hash)

    def random_face(self, request: gr.Request, face: Face, seed: float | None, display: Display) -> Updates:
        """Show the face of a seed, with all sliders at 0."""
        self.inversions.close(request.session_hash)
        return self.face_of_seed(seed, display, face.session)

    def random_clear_face(self, request: gr.Request, face: Face, display: Display) -> Updates:
        """Show a random frontal, well-lit face."""
        seed = self.editor(face.session).find_clear_seed(np.random.default_rng())
        return {"seed": seed} | self.random_face(request, face, seed, display)

    def face_of_seed(self, seed: float | None, display: Display, before: Session | None = None) -> Updates:
        """Updates for a random face, by the model of the session before; an invalid seed counts as 0."""
        seed = int(seed) if isinstance(seed, (int, float)) and 0 <= seed < 2**31 else 0
        session = keep_directions(before, self.editor(before).random_face(seed))
        view = VIEWS[0] if display[0] == WHOLE else display[0]
        hidden = gr.update(visible=False, value=None)
        return (
            {"face": Face(session), "aligned_photo": hidden, "rebuilt": hidden, "note": describe_session(session)}
            | {"photo_panel": gr.update(visible=False), "view": gr.update(choices=VIEWS, value=view)}
            | self.all_sliders(session)
            | self.show(Face(session), (view, *display[1:]), ())
        )

    def all_sliders(self, session: Session) -> Updates:
        """All sliders of a new face at 0, with what chooses among them."""
        choices, pictures = group_choices(session.directions), recipe_pictures(self.editor(session))
        return {
            "sliders": self.slider_updates(session),
            "group": gr.update(choices=choices, value=ALL, visible=len(choices) > 2),
            "recipes": gr.update(value=pictures, visible=bool(pictures), selected_index=None),
        }

    def slider_updates(self, session: Session, first: int = 0) -> list[Any]:
        """Sliders from number `first` on: those of the session's directions at 0, others hidden. Earlier ones stay."""
        directions = session.directions[first : self.slider_count]
        used = [gr.update(**slider_properties(direction), value=0.0, visible=True) for direction in directions]
        spare = self.slider_count - first - len(used)
        return [gr.skip()] * first + used + [gr.update(visible=False, value=0.0)] * spare

    # ---------------------------------------------------------------------------------------------- models

    def model_status(self, face: Face, model: str) -> Updates:
        """State of a model, its button, and sliders that were added to the session's model in the background."""
        session, state = face.session, self.manager.state(model)
        in_use, usable = session.generator == model, state.stage in USABLE
        label = "In use" if in_use else f"Use {model}" if usable else f"Get {model}"
        updates: Updates = {
            "model_panel": gr.update(label=f"Model: {session.generator}"),
            "model_info": self.manager.describe(model),
            "model_button": gr.update(value=label, interactive=not in_use and (usable or state.stage not in BUSY)),
            "model_timer": gr.Timer(active=any(other.stage in BUSY for other in self.manager.states())),
        }
        updated = self.editor(session).update_session(session)
        if updated is not session:
            sliders = self.slider_updates(updated, len(session.directions))
            updates |= {"face": replace(face, session=updated), "sliders": sliders}
        return updates

    def page_opened(self, face: Face) -> Updates:
        """The model panel of a new page: open, if another model is prepared in the background."""
        used = face.session.generator
        others = [state.name for state in self.manager.states() if state.name != used]
        if not others:
            return self.model_status(face, used)
        opened = {"model": others[-1], "model_panel": gr.update(open=True, label=f"Model: {used}")}
        return self.model_status(face, others[-1]) | opened

    def use_model(self, request: gr.Request, face: Face, model: str, closeness: str, display: Display) -> Updates:
        """Go on with another model, with the same photo or a random face; or start to prepare the model."""
        if self.manager.state(model).stage not in USABLE:
            self.manager.start(model)
            return self.model_status(face, model)
        editor, seed = self.manager.editor(model), opening_seed(model)
        first = Face(editor.random_face(seed))
        if face.detected is None:
            updates = self.random_face(request, first, seed, display)
        else:
            detected, options = editor.detect(face.detected.photo), InversionOptions(closeness=closeness)
            updates = self._open(request, replace(first, detected=detected, options=options), display)
        names = part_names(editor)
        parts = gr.update(choices=names, value=["mouth"] if "mouth" in names else names[:1])
        return updates | {"parts": parts} | self.model_status(updates["face"], model)


def refined_updates(face: Face) -> Updates:
    """What `refine` changes."""
    return {"face": face, "rebuilt": enlarged(face.session.original), "note": describe_session(face.session)}


def without_guess(editor: Editor, detected: DetectedPhoto, options: InversionOptions) -> Generator[Session]:
    """An inversion from its second session on, computed from the beginning when the first one is asked for."""
    sessions = editor.invert(detected, options)
    next(sessions)
    yield from sessions


def in_view(view: str, before: Image.Image, after: Image.Image) -> Updates:
    """The component that shows a view, and its value."""
    if view == "Swipe":
        return {"swipe": (before, after)}
    if view == "Change":
        return {"picture": change_map(before, after)}
    return {"picture": before if view == "Original" else after}


def keep_directions(before: Session | None, after: Session) -> Session:
    """A new face with the directions of the one before, unless they belong to another model."""
    same = before is not None and before.generator == after.generator
    return replace(after, directions=before.directions) if same else after


def enlarged(picture: Image.Image) -> Image.Image:
    """A rendered face, at least `FACE_SIZE` pixels wide."""
    return picture if picture.width >= FACE_SIZE else enlarge(picture, FACE_SIZE)


def group_choices(directions: Sequence[Direction]) -> list[tuple[str, str]]:
    """The groups of some directions' sliders in the order of their first ones, after all; words and value of each."""
    groups = dict.fromkeys(map(group_of, directions))
    return [(ALL, ALL), *((in_plain_words(group), group) for group in groups)]


def recipe_pictures(editor: Editor) -> list[tuple[Path, str]]:
    """Picture and name of each of an editor's recipes."""
    return [(recipe.picture, in_plain_words(name)) for name, recipe in editor.recipes.items() if recipe.picture]


def part_names(editor: Editor) -> list[str]:
    """The parts that the editor's segmenter tells apart."""
    return list(editor.segmenter.parts.names)
