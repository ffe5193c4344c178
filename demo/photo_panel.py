"""How a photo is brought to codes: which of its faces, how it is aligned, how close its inversion comes."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from lelsd_core.inversion import BALANCED, CLOSENESS


@dataclass(frozen=True)
class PhotoPanel:
    """What a person can say about the face in a photo; hidden while there is no photo."""

    panel: gr.Accordion
    faces: gr.Gallery
    aligned: gr.Checkbox
    nudges: list[gr.Slider]
    closeness: gr.Radio
    tune: gr.Checkbox
    stop: gr.Button

    @property
    def given(self) -> list[gr.components.Component]:
        """What `Callbacks.refit` reads after the face."""
        return [self.aligned, *self.nudges, self.closeness, self.tune]


def photo_panel() -> PhotoPanel:
    """Lay it out, closed: the largest face, as it is found, is what most people want."""
    with gr.Accordion("The face in the photo", open=False, visible=False, elem_id="fit") as panel:
        faces = gr.Gallery(
            label="Which face? The largest is first",
            visible=False,
            allow_preview=False,
            columns=4,
            object_fit="cover",
            buttons=[],
            elem_id="faces",
        )
        closeness = gr.Radio(
            [(name.capitalize(), name) for name in CLOSENESS],
            value=BALANCED,
            label="Inversion",
            info="The closer the rebuilt face, the less room for edits.",
            elem_id="closeness",
        )
        tune = gr.Checkbox(
            False,
            visible=False,
            label="Tune the model to this face",
            info="Closer still, and slow; the change is kept for this face alone.",
            elem_id="tune",
        )
        aligned = gr.Checkbox(
            False, label="Already aligned", info="Take the picture's middle as it is.", elem_id="aligned-before"
        )
        nudges = [
            nudge("Shift right", "right", -0.2, 0.2, 0.0, 0.01),
            nudge("Shift down", "down", -0.2, 0.2, 0.0, 0.01),
            nudge("Zoom", "scale", 0.7, 1.4, 1.0, 0.01),
            nudge("Turn", "turn", -20, 20, 0.0, 0.5),
        ]
        stop = gr.Button("Stop refining", elem_id="stop-refining")
    return PhotoPanel(panel, faces, aligned, nudges, closeness, tune, stop)


def nudge(label: str, name: str, least: float, most: float, still: float, step: float) -> gr.Slider:
    """One way to move the alignment."""
    return gr.Slider(least, most, still, step=step, label=label, buttons=["reset"], elem_id=f"nudge-{name}")
