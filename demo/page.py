"""The page: masthead and tabs; what is on them is in `edit_tab` and `discover_tab`, what events do in `wiring`."""

from __future__ import annotations

import gradio as gr

from demo.callbacks import Callbacks
from demo.discover_tab import discover_tab
from demo.edit_tab import HOUR, edit_tab
from demo.models import ModelManager
from demo.theme import ABOUT
from demo.wiring import wire_faces, wire_models, wire_stage
from lelsd_core.images import MAX_BYTES

SPARE = 8  # sliders for directions found on the page
LEAST = 24  # sliders in all: other models have more parts
MASTHEAD = """<h1>Change one part of a face</h1>
<p>Every slider moves one part and leaves the rest alone.
Start with your photo or a made-up face, or discover a new slider yourself.</p>"""


def build_page(
    shelf: ModelManager, *, seed: int = 0, live: bool = True, queue_size: int = 32, max_bytes: int = MAX_BYTES
) -> gr.Blocks:
    """The whole page around the models of a shelf.

    Args:
        shelf: the models; the page opens with the first.
        seed: the made-up face that is there when the page opens.
        live: slider moves skip the queue (one machine of one's own); False on shared GPUs that need it.
        queue_size: how many events may wait.
        max_bytes: the largest photo that is read.
    """
    do = Callbacks(shelf, max(len(shelf.editor(shelf.first).directions) + SPARE, LEAST), max_bytes)
    with gr.Blocks(title="Local face editing", analytics_enabled=False, delete_cache=(600, HOUR)) as page:
        gr.HTML(MASTHEAD, elem_id="masthead")
        with gr.Tabs(selected="edit") as tabs:
            with gr.Tab("Edit", id="edit"):
                sources, stage = edit_tab(do, seed)
            with gr.Tab("Discover a new direction", id="discover"):
                search = discover_tab(do, stage, tabs)
            with gr.Tab("About", id="about"):
                gr.Markdown(ABOUT)
        wire_faces(do, sources, stage)
        wire_stage(do, stage, live)
        wire_models(do, page, sources, stage, search.parts)
    return page.queue(max_size=queue_size, api_open=False, default_concurrency_limit=1)
