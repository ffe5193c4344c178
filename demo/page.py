"""The page: tabs, components and wiring. What the events do is in `callbacks`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from demo.callbacks import MAX_NAME, MAX_STEPS, VIEWS, Callbacks
from demo.components import AmountSlider, InlineCompare, InlineImage, PhotoInput
from demo.theme import ABOUT
from demo.words import slider_words
from lelsd_core.discover_config import DiscoverConfig
from lelsd_core.editor import Editor
from lelsd_core.image import read_photo

SPARE = 8  # sliders for directions found on the page
EXAMPLES = Path(__file__).parent / "examples"
HOUR = 3600
SAVE = """(url) => { const a = document.createElement('a'); a.href = url; a.download = 'edited-face.png';
document.body.appendChild(a); a.click(); a.remove(); }"""


@dataclass(frozen=True)
class Stage:
    """The components that a new face fills, in the order of `Callbacks.shown`."""

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

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What `Callbacks.shown` fills."""
        first = [self.session, self.picture, self.swipe, self.meter, self.photo, self.rebuilt, self.note]
        return [*first, *self.sliders]

    @property
    def edit(self) -> list[gr.components.Component]:
        """What `Callbacks.show` reads."""
        return [self.session, self.view, self.detail, *self.sliders]


def build_page(editor: Editor, recipe: DiscoverConfig, *, seed: int = 0, live: bool = True) -> gr.Blocks:
    """The whole page around an editor.

    Args:
        editor: the models.
        recipe: defaults of a discovery.
        seed: the made-up face that is there when the page opens.
        live: slider moves skip the queue (one machine of one's own); False on shared GPUs that need it.
    """
    do = Callbacks(editor, recipe, len(editor.directions) + SPARE)
    with gr.Blocks(title="Local face editing", analytics_enabled=False, delete_cache=(600, HOUR)) as page:
        gr.HTML(
            "<h1>Change one part of a face</h1><p>Every slider moves one part and leaves the rest alone. "
            "Start with your photo or a made-up face, or discover a new slider yourself.</p>",
            elem_id="masthead",
        )
        with gr.Tabs(selected="edit") as tabs:
            with gr.Tab("Edit", id="edit"):
                stage = edit_tab(do, seed, live)
            with gr.Tab("Discover a new direction", id="discover"):
                discover_tab(do, stage, tabs)
            with gr.Tab("About", id="about"):
                gr.Markdown(ABOUT)
    return page.queue(max_size=32, api_open=False, default_concurrency_limit=1)


def edit_tab(do: Callbacks, seed: int, live: bool) -> Stage:
    """Photo in, picture out, one slider for each direction."""
    first = do.random_face(seed, VIEWS[0], True)
    session = gr.State(first[0], time_to_live=HOUR)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=260):
            upload = PhotoInput(
                label="Your photo",
                sources=["upload", "webcam", "clipboard"],
                type="pil",
                height=220,
                elem_id="upload",
                buttons=[],
            )
            with gr.Row(equal_height=False, elem_id="face-row"):
                number = gr.Number(seed, label="Seed", precision=0, minimum=0, elem_id="seed", min_width=90)
                roll = gr.Button("Random face", elem_id="random", min_width=130)
            examples = gr.Gallery(
                [str(path) for path in sorted(EXAMPLES.glob("*.jpg"))],
                label="Examples",
                allow_preview=False,
                columns=3,
                object_fit="cover",
                elem_id="examples",
                buttons=[],
            )
        with gr.Column(scale=5, min_width=300):
            with gr.Column(elem_id="stage"):
                picture = InlineImage(
                    first[1],
                    label="Edited face",
                    interactive=False,
                    elem_id="picture",
                    buttons=["fullscreen"],
                    alt_text="The edited face",
                )
                swipe = InlineCompare(
                    label="Before and after", elem_id="swipe", visible=False, buttons=["fullscreen"], max_height=720
                )
            meter = gr.Markdown(first[3], elem_id="meter")
            with gr.Group():
                view = gr.Radio(VIEWS, value=VIEWS[0], label="View", elem_id="view")
                detail = gr.Checkbox(
                    True,
                    label="Keep the photo's detail",
                    info="Adds only the change to the photo; off, you see what the model paints.",
                    elem_id="detail",
                )
            with gr.Row():
                reset = gr.Button("Reset all", elem_id="reset")
                save = gr.Button("Download", variant="primary", elem_id="download")
            with gr.Row(equal_height=True):
                photo = InlineImage(
                    label="Your photo, aligned", interactive=False, visible=False, buttons=[], elem_id="aligned"
                )
                rebuilt = InlineImage(
                    label="Rebuilt by the model", interactive=False, visible=False, buttons=[], elem_id="rebuilt"
                )
            note = gr.Markdown(first[6], elem_id="note", elem_classes="caption")
        with gr.Column(scale=4, min_width=280, elem_id="sliders"):
            sliders = [make_slider(do, i) for i in range(do.sliders)]
    stage = Stage(session, picture, swipe, meter, photo, rebuilt, note, sliders, view, detail)
    live_event = {"trigger_mode": "always_last", "show_progress": "hidden", "api_visibility": "private"}
    moves = [event for slider in sliders for event in (slider.input, slider.release)]
    gr.on(moves, do.show, stage.edit, [picture, swipe, meter], queue=not live, **live_event)
    gr.on(
        [view.input, detail.input],
        do.switch_view,
        stage.edit,
        [picture, swipe, meter],
        show_progress="hidden",
        api_visibility="private",
    )
    new_face = {"api_visibility": "private", "concurrency_id": "models", "show_progress_on": [note]}
    upload.input(do.open_photo, [upload, view, detail], stage.outputs, **new_face)
    examples.select(open_example(do), [view, detail], stage.outputs, **new_face)
    number.submit(do.random_face, [number, view, detail], stage.outputs, **new_face)
    roll.click(do.roll, [view, detail], [number, *stage.outputs], **new_face)
    reset.click(None, None, sliders, js=f"() => Array({len(sliders)}).fill(0)", api_visibility="private").then(
        do.show, stage.edit, [picture, swipe, meter], show_progress="hidden", api_visibility="private"
    )
    address = gr.Textbox(visible=False)
    save.click(do.download, [session, detail, *sliders], address, api_visibility="private").then(
        None, address, None, js=SAVE, api_visibility="private"
    )
    return stage


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


def open_example(do: Callbacks):
    """The event of the example gallery: the chosen picture, opened like any photo."""

    def open_it(view: str, detail: bool, event: gr.SelectData):
        yield from do.open_photo(read_photo(sorted(EXAMPLES.glob("*.jpg"))[event.index]), view, detail)

    return open_it


def discover_tab(do: Callbacks, stage: Stage, tabs: gr.Tabs) -> None:
    """Choose parts, watch the search on the current face, stop, name it, keep it."""
    found = gr.State(None, time_to_live=HOUR)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=260):
            parts = gr.CheckboxGroup(
                list(do.editor.segmenter.parts), value=["mouth"], label="What should change", elem_id="parts"
            )
            steps = gr.Slider(
                20, MAX_STEPS, do.recipe.steps, step=20, label="Steps", info="More steps, more local.", elem_id="steps"
            )
            seed = gr.Number(
                1, label="Start", info="Another number finds another direction.", precision=0, elem_id="discover-seed"
            )
            with gr.Row():
                start = gr.Button("Start", variant="primary", elem_id="start")
                stop = gr.Button("Stop", elem_id="stop")
        with gr.Column(scale=6, min_width=300):
            status = gr.Markdown("Choose a part and press **Start**.", elem_id="status")
            strip = InlineImage(
                label="On the current face: one end, as it is, the other end",
                interactive=False,
                buttons=["fullscreen"],
                elem_id="strip",
                alt_text="The current face at both ends of the new direction",
            )
            curve = gr.LinePlot(
                x="step",
                y="score",
                y_lim=[0, 1],
                height=220,
                label="Localization score: share of the change inside the part",
                elem_id="curve",
            )
            with gr.Row(equal_height=True):
                name = gr.Textbox(
                    label="Name", placeholder="for example: smile", max_length=MAX_NAME, elem_id="name", scale=2
                )
                keep = gr.Button("Add to my sliders", variant="primary", elem_id="keep")
    models = {"api_visibility": "private", "concurrency_id": "models"}
    search = start.click(
        do.discover,
        [stage.session, parts, steps, seed],
        [status, curve, strip, found],
        show_progress="hidden",
        concurrency_limit=1,
        **models,
    )
    stop.click(
        lambda: "Stopped. Name the direction and add it to your sliders, or start again.",
        None,
        status,
        cancels=[search],
        queue=False,
        api_visibility="private",
    )
    gr.on(
        [keep.click, name.submit],
        do.keep,
        [stage.session, found, name],
        [stage.session, tabs, status, found, *stage.sliders],
        show_progress_on=[status],
        **models,
    )
