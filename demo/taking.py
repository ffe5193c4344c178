"""A part of another face on the Edit tab: of a photo, an example or a made-up face, as two more sliders of its card.

The other face is opened in one event and let in by the next, so that sliders may move meanwhile. It stays in the
visitor's session: of what leaves it, only the seed of a made-up face is part.
"""

from __future__ import annotations

from dataclasses import replace

import gradio as gr
import numpy as np
from PIL import Image

from demo.callbacks import Callbacks
from demo.components import Updates
from demo.face import Now
from demo.opening import EXAMPLES
from demo.words import in_plain_words
from lelsd_core.directions import Direction
from lelsd_core.editor import InversionOptions, Session
from lelsd_core.errors import UserError
from lelsd_core.images import read_photo
from lelsd_core.transfer import KINDS, usual_kinds

TAKEN = ("face", "sliders", "mute", "take_upload", "take_examples", "other")  # beside `EDITED`, what `take` changes
EASIER = "easier to edit"  # how close the other face is rebuilt: in half the time
TRIES = 12  # made-up faces that are looked at until one is turned as this one is


class Taking:
    """The events of the panel "Take it from another face"."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks

    def open_other(self, now: Now, take_upload: Image.Image | UserError | None) -> Updates:
        """Open a photo; `take` goes on from there."""
        if take_upload is None:  # it was cleared
            return {"other": None}
        if isinstance(take_upload, UserError):
            raise take_upload
        self.part(now)
        return {"other": self.callbacks.editor(now.face).open(take_upload, InversionOptions(closeness=EASIER))}

    def open_example(self, event: gr.SelectData, now: Now) -> Updates:
        """Open an example."""
        return self.open_other(now, read_photo(EXAMPLES[event.index]))

    def open_random(self, now: Now) -> Updates:
        """Make up a face that fits this one."""
        editor, random, part = self.callbacks.editor(now.face), np.random.default_rng(), self.part(now)
        for tries in range(TRIES):
            other = editor.random_face(editor.find_clear_seed(random))
            try:
                editor.take(now.face.session, part, other)
            except UserError:
                if tries == TRIES - 1:
                    raise
            else:
                break
        return {"other": other}

    def take(self, now: Now, other: Session | None) -> Updates:
        """Let the part of the open card in, in place of one that was taken before; both sliders can be moved."""
        if other is None:
            return {}
        callbacks, part, before = self.callbacks, self.part(now), now.face.session
        session = callbacks.editor(now.face).take(before, part, other)
        new = session.directions[len(before.directions) :]
        amounts = {d.name: a for d in before.directions if (a := now.amounts.get(d.name)) and not takes(d, part)}
        amounts |= {each.name: 1.0 for kind, each in zip(KINDS, new, strict=False) if kind in usual_kinds(part)}
        session = with_room(session, amounts, callbacks.slider_count)
        face = replace(now.face.with_session(session), muted=frozenset())
        values = callbacks.percents(face, amounts)
        caption = f"{in_plain_words(part)} of {'a photo' if other.seed is None else f'seed {other.seed}'}"
        updates = callbacks.show(now._replace(face=face, sliders=values), caption)
        sliders = callbacks.slider_updates(session, now.group, values)
        updates |= {"face": face, "sliders": sliders, "mute": "Mute", "take_upload": None, "other": None}
        return updates | {"take_examples": gr.update(selected_index=None)}

    def part(self, now: Now) -> str:
        """The part of the open card. UserError for a card of several parts."""
        if now.group not in (parts := self.callbacks.editor(now.face).segmenter.parts):
            raise UserError(f"This card changes several parts; open the card of one: {', '.join(parts.names)}.")
        return now.group


def takes(direction: Direction, part: str) -> bool:
    """Whether a direction takes this part from a face."""
    return direction.goal and direction.parts == (part,)


def with_room(session: Session, amounts: dict[str, float], most: int) -> Session:
    """The session without the oldest unused parts of other faces, if the page is out of sliders. UserError if full."""
    directions = list(session.directions)
    for unused in [each for each in directions[:-2] if each.goal and each.name not in amounts]:
        if len(directions) > most:
            directions.remove(unused)
    if len(directions) > most:
        raise UserError(f"The page has {most} sliders, and all are in use; remove one on the Discover tab first.")
    return replace(session, directions=tuple(directions))
