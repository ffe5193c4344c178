"""Two sliders at once: a grid of the face with one of them growing to the right and the other one upwards.

Source: Figure 3 of the paper.
"""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from demo.callbacks import Callbacks
from demo.components import Updates
from demo.face import Face, Now
from demo.gpu import LentEditor
from demo.words import amount_of, in_plain_words
from lelsd_core.errors import UserError

PERCENTS = (-100, -50, 0, 50, 100)  # slider values from the left to the right, and from the bottom to the top


class Palette:
    """The events of the grid."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks

    def offer(self, face: Face, palette_x: str | None, palette_y: str | None) -> Updates:
        """The sliders to choose from; those that were chosen stay, if they are still there."""
        names = [direction.name for direction in face.session.directions]
        choices = [(in_plain_words(name), name) for name in names]
        return {
            "palette_x": gr.update(choices=choices, value=palette_x if palette_x in names else names[0]),
            "palette_y": gr.update(choices=choices, value=palette_y if palette_y in names else names[-1]),
        }

    def draw(self, now: Now, palette_x: str | None, palette_y: str | None) -> Iterator[Updates]:
        """Render the grid row by row, on top of the other sliders. UserError if there are not two sliders."""
        if isinstance(self.callbacks.editor(now.face), LentEditor):
            raise UserError("The GPU of this page is lent for single pictures; draw a grid on a page of your own.")
        pictures = []
        for row in self.amounts(now.face, palette_x, palette_y):
            pictures += [self.callbacks.small(now.visitor, now.face, now.amounts | amounts) for amounts in row]
            yield {"palette": gr.update(value=list(pictures), visible=True, selected_index=None)}

    def choose(self, event: gr.SelectData, now: Now, palette_x: str | None, palette_y: str | None) -> Updates:
        """Set both sliders as in the picture that was clicked."""
        cells = [amounts for row in self.amounts(now.face, palette_x, palette_y) for amounts in row]
        return self.callbacks.set_amounts(now, now.amounts | cells[event.index])

    def amounts(self, face: Face, palette_x: str | None, palette_y: str | None) -> list[list[dict[str, float]]]:
        """The amounts of both sliders in each cell, the top row first. UserError if there are not two sliders."""
        by_name = {direction.name: direction for direction in face.session.directions}
        if palette_x == palette_y or not {palette_x, palette_y} <= by_name.keys():
            raise UserError("Choose two different sliders for the grid.")
        across, up = by_name[palette_x], by_name[palette_y]
        return [
            [{across.name: amount_of(across, x), up.name: amount_of(up, y)} for x in PERCENTS] for y in PERCENTS[::-1]
        ]
