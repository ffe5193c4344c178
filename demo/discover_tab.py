"""The Discover tab: choose parts, watch the search on the current face, stop, name it, keep it."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from demo.callbacks import Callbacks
from demo.components import InlineImage
from demo.discoveries import MAX_NAME, Discoveries
from demo.edit_tab import HOUR, Stage
from demo.news import answering, every
from demo.wiring import MODELS, PRIVATE

LONGEST = 1200  # steps that the slider offers
STOPPED = "Stopped. Name the direction and add it to your sliders, or start again."


@dataclass(frozen=True)
class Search:
    """What is looked for."""

    parts: gr.CheckboxGroup
    steps: gr.Slider
    seed: gr.Number
    start: gr.Button
    stop: gr.Button


@dataclass(frozen=True)
class Finding:
    """What was found so far, and what to call it."""

    status: gr.Markdown
    strip: gr.Image
    curve: gr.LinePlot
    name: gr.Textbox
    keep: gr.Button


def discover_tab(do: Callbacks, stage: Stage, tabs: gr.Tabs) -> Search:
    """Lay the tab out and wire it."""
    discoveries, found = Discoveries(do), gr.State(None, time_to_live=HOUR)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=260):
            search = search_column(do)
        with gr.Column(scale=6, min_width=300):
            finding = finding_column()
    watched = {"status": finding.status, "curve": finding.curve, "strip": finding.strip, "found": found}
    running = search.start.click(
        answering(discoveries.discover, watched),
        [stage.session, search.parts, search.steps, search.seed],
        every(watched),
        show_progress="hidden",
        concurrency_limit=1,
        **MODELS,
    )
    stopped = search.stop.click(None, cancels=[running], queue=False, **PRIVATE)
    stopped.then(lambda: STOPPED, None, finding.status, queue=False, **PRIVATE)  # after the last news of the search
    kept = {"session": stage.session, "tabs": tabs, "status": finding.status, "found": found, "sliders": stage.sliders}
    gr.on(
        [finding.keep.click, finding.name.submit],
        answering(discoveries.keep, kept),
        [stage.session, found, finding.name],
        every(kept),
        show_progress_on=[finding.status],
        **MODELS,
    )
    return search


def search_column(do: Callbacks) -> Search:
    """What should change, and how long to look for it."""
    editor = do.editor()
    names = list(getattr(editor.segmenter.parts, "names", editor.segmenter.parts))
    parts = gr.CheckboxGroup(names, value=["mouth"], label="What should change", elem_id="parts")
    steps = gr.Slider(
        20, LONGEST, editor.search_config.steps, step=20, label="Steps", info="More steps, more local.", elem_id="steps"
    )
    seed = gr.Number(
        1, label="Start", info="Another number finds another direction.", precision=0, elem_id="discover-seed"
    )
    with gr.Row():
        start = gr.Button("Start", variant="primary", elem_id="start", min_width=120)
        stop = gr.Button("Stop", elem_id="stop", min_width=120)
    return Search(parts, steps, seed, start, stop)


def finding_column() -> Finding:
    """Status, preview, curve, and the name of a slider to be."""
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
    with gr.Row(equal_height=False, elem_id="name-row"):
        name = gr.Textbox(
            label="Name", placeholder="for example: red lips", max_length=MAX_NAME, elem_id="name", scale=2
        )
        keep = gr.Button("Add to my sliders", variant="primary", elem_id="keep")
    return Finding(status, strip, curve, name, keep)
