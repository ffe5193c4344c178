"""The Edit tab: photo in, picture out, one slider for each direction that can be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from demo.callbacks import VIEWS, Callbacks
from demo.components import AmountSlider, InlineCompare, InlineImage, PhotoInput
from demo.words import slider_words
from lelsd_core.intake import read_photo

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.jpg"))
HOUR = 3600
PRIVATE = {"api_visibility": "private"}
QUIET = {"show_progress": "hidden", **PRIVATE}
SAVE = """(url) => { const a = document.createElement('a'); a.href = url; a.download = 'edited-face.png';
document.body.appendChild(a); a.click(); a.remove(); }"""


@dataclass(frozen=True)
class Sources:
    """Where faces come from."""

    upload: gr.Image
    seed: gr.Number
    roll: gr.Button
    examples: gr.Gallery


@dataclass(frozen=True)
class Stage:
    """What shows a face, in the order of `Callbacks.shown`, and what tells how to show it."""

    session: gr.State
    picture: gr.Image
    swipe: gr.ImageSlider
    meter: gr.Markdown
    photo: gr.Image
    rebuilt: gr.Image
    note: gr.Markdown
    sliders: list[gr.Slider]
    view: gr.Radio
    detail: gr.Checkbox
    reset: gr.Button
    save: gr.Button

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What `Callbacks.shown` fills."""
        first = [self.session, self.picture, self.swipe, self.meter, self.photo, self.rebuilt, self.note]
        return [*first, *self.sliders]

    @property
    def edit(self) -> list[gr.components.Component]:
        """What `Callbacks.show` reads."""
        return [self.session, self.view, self.detail, *self.sliders]

    @property
    def edited(self) -> list[gr.components.Component]:
        """What `Callbacks.show` fills."""
        return [self.picture, self.swipe, self.meter]


def edit_tab(do: Callbacks, seed: int, live: bool) -> Stage:
    """Lay the tab out and wire it.

    Args:
        do: the page's events.
        seed: the made-up face that is there when the page opens.
        live: slider moves skip the queue.
    """
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=260):
            sources = source_column(seed, do.max_bytes)
        with gr.Column(scale=5, min_width=300, elem_id="middle"):
            stage = stage_column(do, seed)
        with gr.Column(scale=4, min_width=280, elem_id="sliders"):
            stage.sliders.extend(make_slider(do, i) for i in range(do.sliders))
    wire_sources(do, sources, stage)
    wire_stage(do, stage, live)
    return stage


def source_column(seed: int, max_bytes: int) -> Sources:
    """Upload, made-up faces, examples."""
    upload = PhotoInput(
        label="Your photo",
        sources=["upload", "webcam", "clipboard"],
        type="pil",
        height=220,
        elem_id="upload",
        buttons=[],
    )
    upload.max_bytes = max_bytes
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
    return Sources(upload, number, roll, examples)


def stage_column(do: Callbacks, seed: int) -> Stage:
    """The picture, what can be done with it, and the photo beside its inversion; sliders come later."""
    session, first, _, words, _, _, about, *_ = do.random_face(seed, VIEWS[0], True)
    state = gr.State(session, time_to_live=HOUR)
    with gr.Column(elem_id="stage"):
        shown = {"interactive": False, "buttons": ["fullscreen"]}
        picture = InlineImage(first, label="Edited face", elem_id="picture", alt_text="The edited face", **shown)
        swipe = InlineCompare(
            label="Before and after", elem_id="swipe", visible=False, buttons=["fullscreen"], max_height=720
        )
    meter = gr.Markdown(words, elem_id="meter")
    with gr.Group():
        view = gr.Radio(VIEWS, value=VIEWS[0], label="View", elem_id="view")
        detail = gr.Checkbox(
            True,
            label="Keep the photo's detail",
            info="Adds only the change to the photo; off, you see what the model paints.",
            elem_id="detail",
        )
    with gr.Row():
        reset = gr.Button("Reset all", elem_id="reset", min_width=120)
        save = gr.Button("Download", variant="primary", elem_id="download", min_width=120)
    with gr.Row(equal_height=True):
        hidden = {"interactive": False, "visible": False, "buttons": [], "min_width": 120}
        photo = InlineImage(label="Your photo, aligned", elem_id="aligned", **hidden)
        rebuilt = InlineImage(label="Rebuilt by the model", elem_id="rebuilt", **hidden)
    note = gr.Markdown(about, elem_id="note", elem_classes="caption")
    return Stage(state, picture, swipe, meter, photo, rebuilt, note, [], view, detail, reset, save)


def make_slider(do: Callbacks, number: int) -> gr.Slider:
    """Slider `number` of the pool: a shipped direction's, or a spare one, hidden."""
    shipped = do.editor.directions
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


def wire_sources(do: Callbacks, sources: Sources, stage: Stage) -> None:
    """A new face, wherever it comes from; after an inversion the picture is made once more with its best codes.

    A photo that replaces one still being opened waits for its turn: by default its event would be lost.
    """
    new_face = {"concurrency_id": "models", "show_progress_on": [stage.note], **PRIVATE}
    how = [stage.view, stage.detail]
    for event in (
        sources.upload.input(
            do.open_photo, [sources.upload, *how], stage.outputs, trigger_mode="always_last", **new_face
        ),
        sources.examples.select(open_example(do), how, stage.outputs, **new_face),
    ):
        event.success(do.show, stage.edit, stage.edited, **QUIET)
    sources.seed.submit(do.random_face, [sources.seed, *how], stage.outputs, **new_face)
    sources.roll.click(do.roll, how, [sources.seed, *stage.outputs], **new_face)


def wire_stage(do: Callbacks, stage: Stage, live: bool) -> None:
    """Sliders, views, reset and download."""
    moves = [event for slider in stage.sliders for event in (slider.input, slider.release)]
    gr.on(moves, do.show, stage.edit, stage.edited, queue=not live, trigger_mode="always_last", **QUIET)
    gr.on([stage.view.input, stage.detail.input], do.switch_view, stage.edit, stage.edited, **QUIET)
    at_rest = f"() => Array({len(stage.sliders)}).fill(0)"
    stage.reset.click(None, None, stage.sliders, js=at_rest, **PRIVATE).then(do.show, stage.edit, stage.edited, **QUIET)
    address = gr.Textbox(visible=False)
    stage.save.click(do.download, [stage.session, stage.detail, *stage.sliders], address, **PRIVATE).then(
        None, address, None, js=SAVE, **PRIVATE
    )


def open_example(do: Callbacks) -> Callable[..., Iterator[tuple]]:
    """The event of the example gallery: the chosen picture, opened like any photo."""

    def open_it(view: str, detail: bool, event: gr.SelectData) -> Iterator[tuple]:
        yield from do.open_photo(read_photo(EXAMPLES[event.index]), view, detail)

    return open_it
