"""The page: its tabs, and which event calls which callback.

Events wait in lanes of their own, so that none blocks another: faces are opened in one, inversions refined in the
second, small pictures made in the third, and searches wait for each other inside the event (`demo.lanes`).

a new face: the encoder's guess --change of "inversion"--> refined in steps, until it is done or another face is opened
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from demo.api import API, add_api
from demo.callbacks import CARD, EDITED, SHOWN, Callbacks
from demo.compare_tab import Comparing, compare_tab
from demo.components import event
from demo.discover_tab import RECIPE, DiscoverCallbacks, discover_tab
from demo.edit_tab import HOUR, edit_tab
from demo.live import Live
from demo.models import ModelManager
from demo.opening import MODEL, NEW_FACE, REFINED, Opening
from demo.palette import Palette
from demo.saving import Saving
from demo.taking import TAKEN, Taking
from demo.theme import ABOUT, TITLE
from lelsd_core.images import MAX_BYTES

SPARE_SLIDERS = 8  # for directions discovered on the page
MIN_SLIDERS = 24  # other models have more parts
SUMMARY = "Click a part and move its sliders; the line under the picture says how much of the change stays there."
SCRIPT = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
PRIVATE = {"api_visibility": "private"}
QUIET = {"show_progress": "hidden", **PRIVATE}
FACES = {"concurrency_id": "faces", "trigger_mode": "always_last", **PRIVATE}
QUEUE_POLL = 0.025  # seconds between two looks at an empty queue; Gradio's 1 and 10 ms take 3 % of a core at rest
BESIDE = {"trigger_mode": "always_last", "concurrency_limit": 2}  # of visitors at a time


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
    opening = Opening(callbacks)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, HOUR)) as page:
        add_api(manager, pictures=callbacks.pictures, searches=callbacks.searching, max_bytes=max_bytes)  # names first
        gr.HTML(f'<h1>{TITLE}</h1><p>{SUMMARY}</p><div id="message" role="alert"></div>', elem_id="masthead")
        with gr.Tabs(selected="edit") as tabs:
            with gr.Tab("Edit", id="edit"):
                components = edit_tab(callbacks, first := opening.first_sight(seed), seed) | {"tabs": tabs}
            with gr.Tab("Discover", id="discover"):
                components |= discover_tab(callbacks, components)
            with gr.Tab("Compare", id="compare"):
                components |= compare_tab(callbacks, components)
            with gr.Tab("About", id="about"):
                gr.Markdown(ABOUT + API)
        connect_faces(opening, components)
        connect_sliders(callbacks, components, live)
        connect_cards(callbacks, components)
        connect_taking(Taking(callbacks), components)
        connect_saving(Saving(callbacks), components)
        connect_models(opening, components, page)
        page.load(None, js=SCRIPT, **PRIVATE)
        page.unload(opening.page_closed)
        page.live = Live(page, callbacks, components, first)
        if live:
            key = page.load(**event(page.live.opened, components, ["live_key"]), queue=False, **QUIET)
            key.then(None, components["live_key"], None, js="(key) => window.lelsd.follow(key)", **PRIVATE)
            page.unload(page.live.closed)
    page.queue(max_size=queue_size, api_open=False, default_concurrency_limit=1)
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = QUEUE_POLL
    return page


def connect_faces(opening: Opening, c: dict[str, Any]) -> None:
    """New faces from all sources, and the refinement of the current one.

    A new face ends the refinement of the one before at its next step (`Running.start`), in a lane of its own.
    Gradio's `cancels` is not used: it is late if events wait in the queue, and empties the outputs of the event.
    """
    new = {"show_progress": "minimal", "show_progress_on": [c["picture"], c["swipe"]], **FACES}
    beside = {"show_progress": "minimal", "show_progress_on": [c["note"]], "concurrency_id": "refining", **BESIDE}
    refining = c["inversion"].change(**event(opening.refine, c, REFINED), **beside, **PRIVATE)
    c["refined"].change(**event(opening.adopt, c, ["face"]), queue=False, **QUIET)
    refining.success(**event(opening.show_refined, c, (*EDITED, *REFINED, "face", "start", "dressed")), **QUIET)
    c["upload"].input(**event(opening.open_photo, c, NEW_FACE), **new)
    c["examples"].select(**event(opening.open_example, c, NEW_FACE), **new)
    c["faces"].select(**event(opening.choose_face, c, NEW_FACE), **new)
    c["seed"].submit(**event(opening.random_face, c, NEW_FACE), **new)
    c["truncation"].release(**event(opening.random_face, c, NEW_FACE), **new)
    c["random"].click(**event(opening.random_clear_face, c, NEW_FACE), **new)
    c["more_faces"].click(**event(opening.row_of_faces, c, ["row"]), **{**new, "show_progress_on": [c["row"]]})
    c["row"].select(**event(opening.choose_random, c, NEW_FACE), **new)
    gr.on([part.input for part in c["photo_options"]], **event(opening.reopen, c, NEW_FACE), **new)
    c["stop_refining"].click(**event(opening.stop_refining, c), queue=False, **QUIET)


def connect_sliders(callbacks: Callbacks, c: dict[str, Any], live: bool) -> None:
    """Sliders, views and history; `live` events skip the queue."""
    moves = {"queue": not live, "trigger_mode": "always_last", **QUIET}
    if not live:  # otherwise see `demo.live`
        gr.on([slider.input for slider in c["sliders"]], **event(callbacks.preview, c, SHOWN), **moves)
    settled = c["settle"].click(**event(callbacks.settle, c, EDITED), **moves)  # page.js clicks it
    settled.then(None, None, None, js="() => window.lelsd.settled()", **PRIVATE)
    gr.on([part.input for part in c["display"]], **event(callbacks.switch_view, c, (*EDITED, "start")), **moves)
    changed = (*EDITED, "face", "sliders", "mute")
    for name in ("undo", "redo", "reset"):
        c[name].click(**event(getattr(callbacks, name), c, changed), **moves)
    c["past"].select(**event(callbacks.choose_step, c, changed), **moves)
    c["recipes"].select(**event(callbacks.use_recipe, c, changed), **moves)
    c["ends"].select(**event(callbacks.use_end, c, changed), **moves)
    c["reset_card"].click(**event(callbacks.reset_card, c, changed), **moves)
    c["mute"].click(**event(callbacks.mute, c, changed), **moves)
    c["layers"].input(**event(callbacks.choose_layers, c, (*EDITED, "face")), **moves)


def connect_cards(callbacks: Callbacks, c: dict[str, Any]) -> None:
    """Parts of the face, their cards, and the small pictures."""
    beside = {"concurrency_id": "small pictures", **BESIDE, **QUIET}
    for choose, called in ((c["cards"], callbacks.choose_card), (c["picture"], callbacks.click_face)):
        opened = choose.select(**event(called, c, CARD), queue=False, **QUIET)
        opened.then(**event(callbacks.show_ends, c, ["ends"]), **beside)
    ends = event(callbacks.show_ends, c, ["ends"])
    c["dressed"].change(**ends, **beside)
    c["dressed"].change(**event(callbacks.dress, c, ("cards", "recipes")), **beside)
    palette, both = Palette(callbacks), ("palette_x", "palette_y")
    c["palette_panel"].expand(**event(palette.offer, c, both), queue=False, **QUIET)
    c["draw"].click(**event(palette.draw, c, ["palette"]), **beside)
    c["palette"].select(**event(palette.choose, c, (*EDITED, "face", "sliders", "mute")), queue=False, **QUIET)


def connect_taking(taking: Taking, c: dict[str, Any]) -> None:
    """Parts of other faces: the other face is opened beside the sliders, and let in once it is there."""
    beside = {"show_progress": "minimal", "show_progress_on": [c["take_examples"]], **FACES}
    opened = [
        c["take_upload"].input(**event(taking.open_other, c, ["other"]), **beside),
        c["take_examples"].select(**event(taking.open_example, c, ["other"]), **beside),
        c["take_random"].click(**event(taking.open_random, c, ["other"]), **beside),
    ]
    for each in opened:
        taken = each.success(**event(taking.take, c, (*EDITED, *TAKEN)), **FACES)
        taken.then(**event(taking.callbacks.show_ends, c, ["ends"]), concurrency_id="small pictures", **BESIDE, **QUIET)


def connect_saving(saving: Saving, c: dict[str, Any]) -> None:
    """Downloads, the link, and recipes that come back."""
    for name in ("download", "save_video", "save_gif", "save_strip", "save_recipe"):
        made = c[name].click(**event(getattr(saving, name), c, ["download_url", "meter"]), **FACES)
        made.then(None, c["download_url"], None, js="(url) => window.lelsd.save(url)", **PRIVATE)
    c["copy_link"].click(None, c["query"], None, js="(query) => window.lelsd.copyLink(query)", **PRIVATE)
    changed = (*EDITED, "face", "sliders", "mute", "note")
    c["load_recipe"].upload(**event(saving.load_recipe, c, changed), **FACES)


def connect_models(opening: Opening, c: dict[str, Any], page: gr.Blocks) -> None:
    """Links and reloads; other models, their progress while they are prepared, and their use."""
    page.load(**event(opening.page_opened, c, NEW_FACE), **QUIET)
    page.load(**event(opening.show_news, c, MODEL), **QUIET)
    gr.on([c["model"].input, c["model_timer"].tick], **event(opening.model_status, c, MODEL), **QUIET)
    changed = dict.fromkeys([*NEW_FACE, *MODEL, "parts"])
    used = c["model_button"].click(**event(opening.use_model, c, changed), show_progress_on=[c["note"]], **FACES)
    discover = DiscoverCallbacks(opening.callbacks)
    used.success(**event(discover.show_spaces, c, ["search_space"]), **QUIET)
    if "methods" in c:
        used.success(**event(Comparing(opening.callbacks).show_choices, c, ["compare_part", "methods"]), **QUIET)
    suited = used.success(**event(discover.choose_recipe, c, RECIPE), **QUIET)
    suited.then(**event(discover.show_recipe, c, RECIPE[1:]), **QUIET)  # steps differ from model to model
