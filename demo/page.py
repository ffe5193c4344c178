"""The page: its tabs, and which event calls which callback.

a new face: the encoder's guess --change of "inversion"--> refined in steps, until it is done or another face is opened
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from demo.callbacks import EDITED, MODEL, NEW_FACE, REFINED, Callbacks
from demo.components import event
from demo.discover_tab import RECIPE, DiscoverCallbacks, discover_tab
from demo.edit_tab import HOUR, edit_tab
from demo.models import ModelManager
from demo.theme import ABOUT
from lelsd_core.images import MAX_BYTES

SPARE_SLIDERS = 8  # for directions discovered on the page
MIN_SLIDERS = 24  # other models have more parts
MASTHEAD = """<h1>Change one part of a face</h1>
<p>Every slider moves one part and leaves the rest alone.
Start with your photo or a made-up face, or discover a new slider yourself.</p>"""
PRIVATE = {"api_visibility": "private"}
QUIET = {"show_progress": "hidden", **PRIVATE}
QUEUED = {"concurrency_id": "models", **PRIVATE}  # networks that run for long: one event at a time
REFINING = {"concurrency_id": "refining"}  # beside them
SAVE = """(url) => { const a = document.createElement('a'); a.href = url;
a.download = 'edited.' + (url.startsWith('data:image/jpeg') ? 'jpg' : 'png');
document.body.appendChild(a); a.click(); a.remove(); }"""
# Gradio's sliders fire `release` for pointers only; this makes the release of a key count, too
KEYS = """() => { document.addEventListener('keyup', (event) => {
if (event.target.matches('#sliders input[type=range]'))
  event.target.dispatchEvent(new PointerEvent('pointerup', {bubbles: true})); }); }"""


def build_page(
    manager: ModelManager, *, seed: int = 0, live: bool = True, queue_size: int = 32, max_bytes: int = MAX_BYTES
) -> gr.Blocks:
    """Build the whole page.

    Args:
        manager: the models; the page opens with the first.
        seed: of the random face that the page opens with.
        live: whether slider events skip the queue; False on ZeroGPU, which reads the queue.
        queue_size: events that may wait.
        max_bytes: size limit of an uploaded photo.
    """
    slider_count = max(len(manager.editor(manager.first).directions) + SPARE_SLIDERS, MIN_SLIDERS)
    callbacks = Callbacks(manager, slider_count, max_bytes)
    with gr.Blocks(title="Local face editing", analytics_enabled=False, delete_cache=(600, HOUR)) as page:
        gr.HTML(MASTHEAD, elem_id="masthead")
        with gr.Tabs(selected="edit") as tabs:
            with gr.Tab("Edit", id="edit"):
                components = edit_tab(callbacks, seed) | {"tabs": tabs}
            with gr.Tab("Discover a new direction", id="discover"):
                components |= discover_tab(callbacks, components, QUEUED)
            with gr.Tab("About", id="about"):
                gr.Markdown(ABOUT)
        connect_faces(callbacks, components)
        connect_sliders(callbacks, components, live)
        connect_models(callbacks, components, page)
        page.load(None, js=KEYS, **PRIVATE)
        page.unload(callbacks.page_closed)
    return page.queue(max_size=queue_size, api_open=False, default_concurrency_limit=1)


def connect_faces(callbacks: Callbacks, c: dict[str, Any]) -> None:
    """New faces from all sources, and the refinement of the current one.

    A new face ends the refinement of the one before (`Inversions.start`), and need not wait for that, because
    refinements are queued apart from other work. Gradio's own `cancels` is not used: it is late if events wait in the
    queue, and empties the outputs of the event.
    """
    options = [part.input for part in c["photo_options"]]
    shown = {"show_progress_on": [c["note"]], **QUEUED}
    last = {"trigger_mode": "always_last", **shown}  # by default Gradio drops events while the same one runs
    refinement = {**last, **REFINING, "show_progress": "minimal"}
    refining = c["inversion"].change(**event(callbacks.refine, c, REFINED), **refinement)
    refining.success(**event(callbacks.show_refined, c, (*EDITED, "note")), **QUIET)
    c["upload"].input(**event(callbacks.open_photo, c, NEW_FACE), **last)
    c["examples"].select(**event(callbacks.open_example, c, NEW_FACE), **last)
    c["faces"].select(**event(callbacks.choose_face, c, NEW_FACE), **last)
    c["seed"].submit(**event(callbacks.random_face, c, NEW_FACE), **shown)
    c["random"].click(**event(callbacks.random_clear_face, c, NEW_FACE), **shown)
    gr.on(options, **event(callbacks.reopen, c, NEW_FACE), **last)
    c["stop_refining"].click(**event(callbacks.stop_refining, c), queue=False, **QUIET)


def connect_sliders(callbacks: Callbacks, c: dict[str, Any], live: bool) -> None:
    """Sliders, views, reset and download; `live` slider events skip the queue."""
    moves = {"queue": not live, "trigger_mode": "always_last", **QUIET}
    gr.on([slider.input for slider in c["sliders"]], **event(callbacks.preview, c, EDITED), **moves)
    gr.on([slider.release for slider in c["sliders"]], **event(callbacks.show_after_preview, c, EDITED), **moves)
    c["group"].input(**event(callbacks.show_group, c, ["sliders"]), **QUIET)
    c["recipes"].select(
        **event(callbacks.use_recipe, c, ("sliders", *EDITED)), **{**QUIET, "trigger_mode": "always_last"}
    )
    gr.on([part.input for part in c["display"]], **event(callbacks.switch_view, c, EDITED), **QUIET)
    zeros = f"() => Array({len(c['sliders'])}).fill(0)"
    reset = c["reset"].click(None, None, c["sliders"], js=zeros, **PRIVATE)
    reset.then(**event(callbacks.show, c, EDITED), **QUIET)
    download = c["download"].click(**event(callbacks.download, c, ["download_url"]), **PRIVATE)
    download.then(None, c["download_url"], None, js=SAVE, **PRIVATE)


def connect_models(callbacks: Callbacks, c: dict[str, Any], page: gr.Blocks) -> None:
    """Other models: their progress while they are prepared, and their use."""
    page.load(**event(callbacks.page_opened, c, MODEL), **QUIET)
    gr.on([c["model"].input, c["model_timer"].tick], **event(callbacks.model_status, c, MODEL), **QUIET)
    changed = dict.fromkeys([*NEW_FACE, *MODEL, "parts"])
    used = c["model_button"].click(**event(callbacks.use_model, c, changed), show_progress_on=[c["note"]], **QUEUED)
    discover = DiscoverCallbacks(callbacks)
    suited = used.success(**event(discover.choose_recipe, c, RECIPE), **QUIET)
    suited.then(**event(discover.show_recipe, c, RECIPE[1:]), **QUIET)  # steps differ from model to model
