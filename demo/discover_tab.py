"""The Discover tab: choose parts, watch a search on the current face, and add its direction as a slider."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import pandas as pd
from PIL import Image

from demo.callbacks import VIEWS, Callbacks, Face, part_names
from demo.components import InlineImage, Updates, event
from demo.edit_tab import HOUR
from demo.words import describe_direction, describe_progress, in_plain_words
from lelsd_core.directions import Direction
from lelsd_core.discovery.config import usual_preset
from lelsd_core.discovery.starts import NAMED
from lelsd_core.editor import Editor, Session
from lelsd_core.errors import UserError
from lelsd_core.faces.measures import MEASURES
from lelsd_core.images import enlarge, grid
from lelsd_core.seeds import HELD_OUT

MAX_STEPS = 4000  # of a search; the slider offers fewer
MAX_NAME = 24  # letters of a direction's name
CALIBRATION_SEEDS = HELD_OUT[:64]  # enough for a slider's range, and fast
STRIP_SIZE = 256  # pixels of each picture in a preview
RECIPES = {"look": "Look", "shape": "Shape", "paper": "The paper's"}  # preset -> its words
NO_START = "anything"  # for a search that starts anywhere
INTERVAL = 0.3  # least time in seconds between two updates of a running search
STOPPED = "Stopped. Name the direction and add it to your sliders, or start again."
SEARCH = ("status", "curve", "strip", "direction")  # what `discover` changes
RECIPE = ("recipe", "steps", "named_start")  # what `choose_recipe` changes


class DiscoverCallbacks:
    """The events of the tab, on top of those of the Edit tab."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks

    def show_recipe(self, face: Face, parts: list[str], recipe: str) -> Updates:
        """Offer the number of steps that a recipe has, and the starts that shapes can have."""
        editor = self.callbacks.editor(face.session)
        visible = has_named_starts(editor, recipe)
        return {"steps": editor.config_for(parts, recipe).steps, "named_start": gr.update(visible=visible)}

    def choose_recipe(self, face: Face, parts: list[str], recipe: str, recipe_chosen: bool) -> Updates:
        """Change to the recipe that suits the parts, unless a person chose one."""
        suited = usual_preset(parts, self.callbacks.editor(face.session).shaped)
        if recipe_chosen or not parts or recipe == suited:
            return {}
        return {"recipe": suited} | self.show_recipe(face, parts, suited)

    def choose_start(self, face: Face, named_start: str) -> Updates:
        """Check the parts that a start is about; a shape is wanted then, whatever usually suits these parts."""
        about = MEASURES[named_start].parts if named_start in NAMED else ()
        known = [part for part in self.callbacks.editor(face.session).segmenter.parts if part in about]
        return {"parts": known, "recipe_chosen": True} if known else {}

    def discover(
        self,
        face: Face,
        parts: list[str],
        steps: float,
        search_seed: float,
        recipe: str | None = None,
        named_start: str = NO_START,
    ) -> Iterator[Updates]:
        """Search for a direction; yields its status, curve, preview on the current face, and the direction so far."""
        session = face.session
        if len(session.directions) >= self.callbacks.slider_count:
            raise UserError(f"All {self.callbacks.slider_count} sliders are in use; reload the page to start again.")
        editor = self.callbacks.editor(session)
        recipe = recipe or usual_preset(parts, editor.shaped)
        config = replace(
            editor.config_for(parts or (), recipe),
            steps=int(min(max(steps or 0, 0), MAX_STEPS)),
            seed=int(min(max(search_seed or 0, 0), 2**31)),
            start=(named_start,) if named_start in NAMED and has_named_starts(editor, recipe) else (),
        )
        if config.start and not editor.measured:
            yield {"status": f"Looking at samples to learn what “{named_start}” is; this takes a while once."}
        start, updated, curve, average = time.perf_counter(), 0.0, [], None
        for progress, result in editor.discover(session, config):
            average = progress.score if average is None else 0.9 * average + 0.1 * progress.score
            curve.append((progress.step, average))
            now = time.perf_counter()
            if now - updated < INTERVAL and progress.step < progress.total:
                continue
            updated = now
            yield {
                "status": describe_progress(progress, average, now - start),
                "curve": pd.DataFrame(curve, columns=["step", "score"]),
                "strip": self.strip(result),
                "direction": result.directions[-1],
            }

    def strip(self, session: Session) -> Image.Image:
        """The current face with its last direction at the low end, at 0 and at the high end."""
        direction, editor = session.directions[-1], self.callbacks.editor(session)
        low, high = (editor.render(session, {direction.name: amount}) for amount in (direction.low, direction.high))
        face, display = Face(session), (VIEWS[0], True, False)
        pairs = (self.callbacks.before_and_after(face, display, edited, {}) for edited in (low, session.original, high))
        return grid([[enlarge(after, STRIP_SIZE) for _, after in pairs]], gap=6)

    def add_slider(self, face: Face, direction: Direction | None, name: str) -> Updates:
        """Calibrate the direction of a search and add it as a slider."""
        if direction is None:
            raise UserError("There is no direction yet; press Start first.")
        name, before = " ".join((name or direction.name).split())[:MAX_NAME], face.session
        calibrated = self.callbacks.editor(before).calibrate(direction, CALIBRATION_SEEDS)
        session = before.with_directions([replace(calibrated, name=name)])
        sliders = self.callbacks.slider_updates(session, len(before.directions))
        shown = {"status": describe_direction(session.directions[-1]), "tabs": gr.Tabs(selected="edit")}
        return {"face": replace(face, session=session), "direction": None, "sliders": sliders} | shown


def has_named_starts(editor: Editor, recipe: str) -> bool:
    """Whether a search by a recipe can start from a name: shapes of faces, whose landmarks are measured."""
    return recipe == "shape" and editor.aligner.frame.faces


def discover_tab(callbacks: Callbacks, edit: dict[str, Any], queued: dict[str, Any]) -> dict[str, Any]:
    """Lay out the tab and connect its events.

    Args:
        callbacks: of the Edit tab.
        edit: its components by name, and the page's "tabs".
        queued: arguments for events that run networks for long.

    Returns:
        The components of this tab by name.
    """
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=260):
            components = search_options(callbacks)
        with gr.Column(scale=6, min_width=300):
            components |= search_results()
    components["direction"], components["recipe_chosen"] = gr.State(None, time_to_live=HOUR), gr.State(False)
    discover, named = DiscoverCallbacks(callbacks), edit | components
    running = components["start"].click(
        **event(discover.discover, named, SEARCH), show_progress="hidden", concurrency_limit=1, **queued
    )
    unqueued = {"queue": False, "api_visibility": "private"}
    components["parts"].change(**event(discover.choose_recipe, named, RECIPE), show_progress="hidden", **unqueued)
    chosen = components["recipe"].input(lambda: True, None, components["recipe_chosen"], **unqueued)
    chosen.then(**event(discover.show_recipe, named, RECIPE[1:]), show_progress="hidden", **unqueued)
    started = event(discover.choose_start, named, ("parts", "recipe_chosen"))
    components["named_start"].input(**started, show_progress="hidden", **unqueued)
    stopped = components["stop"].click(None, cancels=[running], **unqueued)
    stopped.then(lambda: STOPPED, None, components["status"], **unqueued)  # after the last update of the search
    gr.on(
        [components["add"].click, components["name"].submit],
        **event(discover.add_slider, named, ("face", "tabs", "status", "direction", "sliders")),
        show_progress_on=[components["status"]],
        **queued,
    )
    return components


def search_options(callbacks: Callbacks) -> dict[str, Any]:
    """Which parts should change, the recipe and the length of the search."""
    editor, usual_parts = callbacks.editor(), ["mouth"]
    parts = gr.CheckboxGroup(part_names(editor), value=usual_parts, label="What should change", elem_id="parts")
    usual, usual_steps = usual_preset(usual_parts, editor.shaped), editor.config_for(usual_parts).steps
    about_steps = "More steps, more local; 0 takes a named start as it is."
    steps = gr.Slider(0, 1200, usual_steps, step=20, label="Steps", info=about_steps, elem_id="steps")
    info = (
        "Look: light and colour. Shape: form and size, let in only around the part. The paper's compares feature maps "
        "of all layers: it takes many times as long."
    )
    recipes = [(words, preset) for preset, words in RECIPES.items()]
    recipe = gr.Radio(recipes, value=usual, label="What kind of change", info=info, elem_id="recipe")
    info = "What the search starts from and stays near."
    starts = [(in_plain_words(name), name) for name in (NO_START, *NAMED)]
    visible = has_named_starts(editor, usual)
    named_start = gr.Dropdown(
        starts, value=NO_START, label="What should move", info=info, visible=visible, elem_id="named-start"
    )
    info = "Another number finds another direction."
    seed = gr.Number(1, label="Seed", info=info, precision=0, elem_id="discover-seed")
    with gr.Row():
        start = gr.Button("Start", variant="primary", elem_id="start", min_width=120)
        stop = gr.Button("Stop", elem_id="stop", min_width=120)
    chosen = {"parts": parts, "recipe": recipe, "named_start": named_start, "steps": steps, "search_seed": seed}
    return chosen | {"start": start, "stop": stop}


def search_results() -> dict[str, Any]:
    """Status, preview and curve of the search, and the name of its slider."""
    status = gr.Markdown("Choose a part and press **Start**.", elem_id="status")
    label, text = (
        "On the current face: one end, as it is, the other end",
        "The current face at both ends of the direction",
    )
    strip = InlineImage(label=label, alt_text=text, interactive=False, buttons=["fullscreen"], elem_id="strip")
    label = "Localization score: share of the change inside the part"
    curve = gr.LinePlot(x="step", y="score", y_lim=[0, 1], height=220, label=label, elem_id="curve")
    with gr.Row(equal_height=False, elem_id="name-row"):
        example = "for example: red lips"
        name = gr.Textbox(label="Name", placeholder=example, max_length=MAX_NAME, elem_id="name", scale=2)
        add = gr.Button("Add to my sliders", variant="primary", elem_id="keep")
    return {"status": status, "strip": strip, "curve": curve, "name": name, "add": add}
