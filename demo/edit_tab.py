"""The Edit tab: photo in, picture out, one slider for each direction that can be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.components import Component

from demo.callbacks import VIEWS, Callbacks
from demo.components import AmountSlider, InlineCompare, InlineImage, PhotoInput
from demo.model_panel import ModelPanel, model_panel
from demo.news import Named
from demo.photo_panel import PhotoPanel, photo_panel
from demo.words import slider_words

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.jpg"))
HOUR = 3600


@dataclass(frozen=True)
class Sources:
    """Where faces come from."""

    upload: PhotoInput
    seed: gr.Number
    roll: gr.Button
    examples: gr.Gallery
    fit: PhotoPanel
    models: ModelPanel


@dataclass(frozen=True)
class Stage:
    """What shows a face, and what tells how to show it."""

    session: gr.State
    source: gr.State
    fit: gr.State
    turn: gr.State
    picture: gr.Image
    swipe: gr.ImageSlider
    meter: gr.Markdown
    photo: gr.Image
    rebuilt: gr.Image
    note: gr.Markdown
    sliders: list[gr.Slider]
    view: gr.Radio
    detail: gr.Checkbox
    protect: gr.Checkbox
    reset: gr.Button
    save: gr.Button

    @property
    def how(self) -> list[Component]:
        """How a face is shown."""
        return [self.view, self.detail, self.protect]

    @property
    def edit(self) -> list[Component]:
        """What `Callbacks.show` reads."""
        return [self.session, self.source, *self.how, *self.sliders]

    @property
    def edited(self) -> Named:
        """What `Callbacks.show` answers with."""
        return {"picture": self.picture, "swipe": self.swipe, "meter": self.meter}

    @property
    def refined(self) -> Named:
        """What `Callbacks.refine` answers with."""
        return {"session": self.session, "rebuilt": self.rebuilt, "note": self.note}

    def named(self, sources: Sources) -> Named:
        """Everything that a new face changes."""
        states = {"source": self.source, "fit": self.fit, "turn": self.turn}
        face = {"photo": self.photo, "view": self.view, "sliders": self.sliders, "seed": sources.seed}
        return self.edited | self.refined | states | face | panel_of(sources.fit)


def panel_of(fit: PhotoPanel) -> Named:
    """The components of the photo panel that a new face changes."""
    return {"panel": fit.panel, "faces": fit.faces, "aligned": fit.aligned, "nudges": fit.nudges, "tune": fit.tune}


def edit_tab(do: Callbacks, seed: int) -> tuple[Sources, Stage]:
    """Lay the tab out around the made-up face of a seed."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=260):
            sources = source_column(do, seed)
        with gr.Column(scale=5, min_width=300, elem_id="middle"):
            stage = stage_column(do, seed)
        with gr.Column(scale=4, min_width=280, elem_id="sliders"):
            stage.sliders.extend(make_slider(do, i) for i in range(do.sliders))
    return sources, stage


def source_column(do: Callbacks, seed: int) -> Sources:
    """Upload, how it is fitted, made-up faces, examples, models."""
    upload = PhotoInput(
        label="Your photo",
        sources=["upload", "webcam", "clipboard"],
        type="pil",
        height=220,
        elem_id="upload",
        buttons=[],
    )
    upload.max_bytes = do.max_bytes
    fit = photo_panel()
    with gr.Row(equal_height=False, elem_id="face-row"):
        number = gr.Number(seed, label="Seed", precision=0, minimum=0, elem_id="seed", min_width=90)
        roll = gr.Button("Random face", elem_id="random", min_width=130)
    examples = gr.Gallery(
        [str(path) for path in EXAMPLES],
        label="Examples",
        allow_preview=False,
        columns=3,
        object_fit="cover",
        elem_id="examples",
        buttons=[],
    )
    return Sources(upload, number, roll, examples, fit, model_panel(do.shelf.first))


def stage_column(do: Callbacks, seed: int) -> Stage:
    """The picture, what can be done with it, and the photo beside its inversion; sliders come later."""
    first = do.random_face(None, seed, VIEWS[0], True, False)
    session = gr.State(first["session"], time_to_live=HOUR)
    source, fit = (gr.State(None, time_to_live=HOUR) for _ in range(2))
    with gr.Column(elem_id="stage"):
        shown = {"interactive": False, "buttons": ["fullscreen"]}
        picture = InlineImage(
            first["picture"], label="Edited face", elem_id="picture", alt_text="The edited face", **shown
        )
        swipe = InlineCompare(
            label="Before and after", elem_id="swipe", visible=False, buttons=["fullscreen"], max_height=720
        )
    meter = gr.Markdown(first["meter"], elem_id="meter")
    with gr.Group():
        view = gr.Radio(VIEWS, value=VIEWS[0], label="View", elem_id="view")
        detail = gr.Checkbox(
            True,
            label="Keep the photo's detail",
            info="Adds only the change to the photo; off, you see what the model paints.",
            elem_id="detail",
        )
        protect = gr.Checkbox(
            False,
            label="Protect the rest",
            info="Takes back whatever changes outside the parts that you edit.",
            elem_id="protect",
        )
    with gr.Row():
        reset = gr.Button("Reset all", elem_id="reset", min_width=120)
        save = gr.Button("Download", variant="primary", elem_id="download", min_width=120)
    with gr.Row(equal_height=True):
        hidden = {"interactive": False, "visible": False, "buttons": [], "min_width": 120}
        photo = InlineImage(label="Your photo, aligned", elem_id="aligned", **hidden)
        rebuilt = InlineImage(label="Rebuilt by the model", elem_id="rebuilt", **hidden)
    note = gr.Markdown(first["note"], elem_id="note", elem_classes="caption")
    shows = (picture, swipe, meter, photo, rebuilt, note, [], view, detail, protect, reset, save)
    return Stage(session, source, fit, gr.State(0), *shows)


def make_slider(do: Callbacks, number: int) -> gr.Slider:
    """Slider `number` of the pool: a shipped direction's, or a spare one, hidden."""
    shipped = do.editor().directions
    words = slider_words(shipped[number]) if number < len(shipped) else {"minimum": -1, "maximum": 1}
    return AmountSlider(
        **words,
        value=0.0,
        step=0.1,
        visible=number < len(shipped),
        interactive=True,
        buttons=["reset"],
        elem_id=f"slider-{number}",
    )
