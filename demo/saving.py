"""What can be saved of an edit, as data URLs: nothing becomes a file on the server, and no photo goes into a recipe.

what is seen  --download-->  PNG or JPEG, which says that it is generated
history       --save_video, save_gif-->  an animation through its edits
amounts       --save_recipe-->  JSON  --load_recipe-->  the same sliders on another face
"""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

from demo import views
from demo.callbacks import Callbacks
from demo.components import Updates, data_url, picture_url
from demo.face import Amounts, Face, Now, Values
from demo.gpu import LentEditor
from demo.views import EDITED, WHOLE
from demo.words import group_of
from lelsd_core.animation import amounts_along, encode_animation, strip
from lelsd_core.editor.session import read_recipe
from lelsd_core.errors import UserError
from lelsd_core.images import grid
from lelsd_core.provenance import provenance

NAME = "edited"  # of the files
MOST_EDITS = 6  # of an animation, the last ones
LONGER = 512  # pixels of an animation's longer side, at most
TYPES = {"gif": "image/gif", "mp4": "video/mp4"}


class Saving:
    """The events that save an edit, and the one that applies a saved one."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks

    def download(self, now: Now) -> Updates:
        """What is seen; the whole photo at its own size."""
        callbacks, editor, (view, detail, protect) = self.callbacks, self.callbacks.editor(now.face), now.display
        face, amounts = now.face, now.amounts
        with callbacks.pictures.turn(now.visitor):
            edited = editor.render(face.session, amounts, protect=float(protect))
            if view == WHOLE and face.detected is not None:
                picture = views.pasted(editor, face, edited, amounts, detail=detail)
            else:
                picture = views.saved_view(view, *callbacks.pair(now, edited, amounts), callbacks.mask(now))
        return {"download_url": picture_url(picture, name=NAME, **provenance(face.session, amounts))}

    def save_video(self, now: Now) -> Iterator[Updates]:
        """The way through the edits of the history as an MP4."""
        yield from self.animation(now, "mp4")

    def save_gif(self, now: Now) -> Iterator[Updates]:
        """The same as a GIF."""
        yield from self.animation(now, "gif")

    def animation(self, now: Now, kind: str) -> Iterator[Updates]:
        """Render each frame, while others' edits go on between them. UserError if there is nothing to show."""
        if isinstance(self.callbacks.editor(now.face), LentEditor):
            raise UserError("The GPU of this page is lent for single pictures; save animations on a page of your own.")
        steps = now.history.steps[: now.history.position + 1]
        edits = [{}, *[step.amounts for step in steps if step.amounts]][-MOST_EDITS:]
        if len(edits) == 1:
            raise UserError("There is no edit to be animated yet; move a slider first.")
        frames, pictures, rendered = amounts_along(edits, back=len(edits) == 2), [], {}
        for number, frame in enumerate(frames):
            key = tuple(frame.items())
            if key not in rendered:
                rendered[key] = self.frame(now, frame)
                yield {"meter": f"Rendering the animation: {number + 1} of {len(frames)} pictures."}
            pictures.append(rendered[key])
        content = encode_animation(pictures, kind, about=provenance(now.face.session, now.amounts))
        yield {"download_url": data_url(content, TYPES[kind], f"{NAME}.{kind}"), "meter": "The animation is saved."}

    def save_strip(self, now: Now) -> Updates:
        """The moved sliders of the open card, or its first one, each in a row from one end to the other."""
        session, amounts = now.face.session, now.amounts
        inside = [each for each in session.directions if group_of(each) == now.group]
        chosen = [each for each in inside if amounts.get(each.name)] or inside[:1]
        rows = [strip(lambda each: self.frame(now, each), each, amounts) for each in chosen]
        sheet = grid([[row] for row in rows])
        return {"download_url": picture_url(sheet, name="strip", **provenance(session, amounts))}

    def frame(self, now: Now, amounts: Amounts) -> Image.Image:
        """A picture of an animation: the edit as it is seen, or the edited face if that is no picture of it."""
        if now.display.view != WHOLE:
            now = now._replace(display=now.display._replace(view=EDITED))
        with self.callbacks.pictures.turn(now.visitor):
            protect = float(now.display.protect)
            edited = self.callbacks.editor(now.face).render(now.face.session, amounts, protect=protect)
            picture = self.callbacks.pair(now, edited, amounts)[1].copy()
        picture.thumbnail((LONGER, LONGER))
        return picture

    def save_recipe(self, face: Face, sliders: Values) -> Updates:
        """The amounts as JSON, which the shell reads, too."""
        content = face.session.recipe(face.amounts(sliders)).encode()
        return {"download_url": data_url(content, "application/json", "recipe.json")}

    def load_recipe(self, now: Now, load_recipe: str) -> Updates:
        """Apply a recipe file to this face. UserError for another file, or one with none of the sliders here."""
        amounts, _, generator = read_recipe(load_recipe)
        session = self.callbacks.editor(now.face).with_takes(now.face.session, amounts)
        now = now._replace(face=now.face.with_session(session))
        known = {direction.name for direction in session.directions}
        if amounts and not known & amounts.keys():
            made = f" It was made with the model {generator}." if generator else ""
            raise UserError(f"None of this recipe's sliders ({', '.join(list(amounts)[:3])}) are here.{made}")
        missing = sorted(amounts.keys() - known)
        updates = self.callbacks.set_amounts(now, amounts, "Recipe")
        values = self.callbacks.percents(now.face, amounts)
        updates["sliders"] = self.callbacks.slider_updates(session, now.group, values)
        return updates | ({"note": f"Not here, and left out: {', '.join(missing)}."} if missing else {})
