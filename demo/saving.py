"""What can be saved of an edit, as data URLs: nothing becomes a file on the server, and no photo goes into a recipe.

what is seen  --download-->  PNG or JPEG, which says that it is generated
history       --save_video, save_gif-->  an animation through its edits
amounts       --save_recipe-->  JSON  --load_recipe-->  the same sliders on another face
"""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr
from PIL import Image

from demo import views
from demo.callbacks import Callbacks, Display
from demo.components import Updates, data_url, picture_url
from demo.face import Amounts, Face, History, Values
from demo.gpu import LentEditor
from demo.views import CHANGE, EDITED, PART, SWIPE, WHOLE
from demo.words import group_of
from lelsd_core.animation import amounts_along, encode_animation, strip
from lelsd_core.editor.session import read_recipe
from lelsd_core.errors import UserError
from lelsd_core.provenance import provenance

NAME = "edited"  # of the files
MOST_EDITS = 6  # of an animation, the last ones
LONGER = 512  # pixels of an animation's longer side, at most
TYPES = {"gif": "image/gif", "mp4": "video/mp4"}


class Saving:
    """The events that save an edit, and the one that applies a saved one."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks

    def download(self, request: gr.Request, face: Face, display: Display, group: str, sliders: Values) -> Updates:
        """What is seen; the whole photo at its own size."""
        callbacks, (view, detail, protect), amounts = self.callbacks, display, face.amounts(sliders)
        editor = callbacks.editor(face)
        with callbacks.pictures.turn(request.session_hash):
            edited = editor.render(face.session, amounts, protect=float(protect))
            if view == WHOLE and face.detected is not None:
                picture = views.pasted(editor, face, edited, amounts, detail=detail)
            else:
                pair = callbacks.pair(face, display, edited, amounts)
                picture = views.saved_view(view, *pair, callbacks.mask(face, display, group))
        return {"download_url": picture_url(picture, name=NAME, **provenance(face.session, amounts))}

    def save_video(
        self, request: gr.Request, face: Face, display: Display, sliders: Values, history: History
    ) -> Iterator[Updates]:
        """The way through the edits of the history as an MP4."""
        yield from self.animation(request, face, display, sliders, history, "mp4")

    def save_gif(
        self, request: gr.Request, face: Face, display: Display, sliders: Values, history: History
    ) -> Iterator[Updates]:
        """The same as a GIF."""
        yield from self.animation(request, face, display, sliders, history, "gif")

    def animation(
        self, request: gr.Request, face: Face, display: Display, sliders: Values, history: History, kind: str
    ) -> Iterator[Updates]:
        """Render each frame, while others' edits go on between them. UserError if there is nothing to show."""
        editor, amounts = self.callbacks.editor(face), face.amounts(sliders)
        if isinstance(editor, LentEditor):
            raise UserError("The GPU of this page is lent for single pictures; save animations on a page of your own.")
        edits = [{}, *[step.amounts for step in history.steps[: history.position + 1] if step.amounts]]
        edits = edits[-MOST_EDITS:]
        if len(edits) == 1:
            raise UserError("There is no edit to be animated yet; move a slider first.")
        frames, pictures, rendered = amounts_along(edits, back=len(edits) == 2), [], {}
        for number, frame in enumerate(frames):
            key = tuple(frame.items())
            if key not in rendered:
                rendered[key] = self.frame(request, face, display, frame)
                yield {"meter": f"Rendering the animation: {number + 1} of {len(frames)} pictures."}
            pictures.append(rendered[key])
        content = encode_animation(pictures, kind, about=provenance(face.session, amounts))
        yield {"download_url": data_url(content, TYPES[kind], f"{NAME}.{kind}"), "meter": "The animation is saved."}

    def save_strip(self, request: gr.Request, face: Face, display: Display, group: str, sliders: Values) -> Updates:
        """The moved sliders of the open card, or its first one, each in a row from one end to the other."""
        amounts = face.amounts(sliders)
        inside = [each for each in face.session.directions if group_of(each) == group]
        chosen = [each for each in inside if amounts.get(each.name)] or inside[:1]
        rows = [strip(lambda each: self.frame(request, face, display, each), each, amounts) for each in chosen]
        sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
        for number, row in enumerate(rows):
            sheet.paste(row, (0, number * row.height))
        return {"download_url": picture_url(sheet, name="strip", **provenance(face.session, amounts))}

    def frame(self, request: gr.Request, face: Face, display: Display, amounts: Amounts) -> Image.Image:
        """A picture of an animation: the edit as it is seen, or the edited face if that is no picture of it."""
        view, detail, protect = display
        shown = (EDITED if view in (CHANGE, PART, SWIPE) else view), detail, protect
        with self.callbacks.pictures.turn(request.session_hash):
            edited = self.callbacks.editor(face).render(face.session, amounts, protect=float(protect))
            _, picture = self.callbacks.pair(face, shown, edited, amounts)
        picture.thumbnail((LONGER, LONGER))
        return picture

    def save_recipe(self, face: Face, sliders: Values) -> Updates:
        """The amounts as JSON, which the shell reads, too."""
        content = face.session.recipe(face.amounts(sliders)).encode()
        return {"download_url": data_url(content, "application/json", "recipe.json")}

    def load_recipe(
        self, request: gr.Request, face: Face, display: Display, group: str, history: History, load_recipe: str
    ) -> Updates:
        """Apply a recipe file to this face. UserError for another file, or one with none of the sliders here."""
        amounts, _, generator = read_recipe(load_recipe)
        known = {direction.name for direction in face.session.directions}
        if amounts and not known & amounts.keys():
            made = f" It was made with the model {generator}." if generator else ""
            raise UserError(f"None of this recipe's sliders ({', '.join(list(amounts)[:3])}) are here.{made}")
        missing = sorted(amounts.keys() - known)
        updates = self.callbacks.set_amounts(request, face, display, group, history, amounts, "Recipe")
        return updates | ({"note": f"Not here, and left out: {', '.join(missing)}."} if missing else {})
