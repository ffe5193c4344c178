"""The Discover tab: choose parts, watch a search on the current face, and add its direction as a slider."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from PIL import Image

from demo.callbacks import CARD, LAYERS, LINE, Callbacks, part_names
from demo.components import InlineImage, Updates, data_url, event
from demo.edit_tab import HOUR
from demo.face import Face, Now
from demo.gpu import LentEditor
from demo.keeping import file_of
from demo.lanes import Ticket
from demo.regions import CLICKED, NEXT, PANELS, PARTS, Painting, Regions, region_panels
from demo.views import before_and_after
from demo.words import (
    describe_direction,
    describe_place,
    describe_progress,
    group_of,
    in_plain_words,
    seconds_left,
)
from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig, usual_preset
from lelsd_core.discovery.search import Progress
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
USUAL = "usual"  # space and layers, those of the recipe
NO_START = "anything"  # for a search that starts anywhere
INTERVAL = 0.3  # least time in seconds between two updates of a running search
STOPPED = "Stopped. If there is a direction already, name it and add it to your sliders; or continue, or start again."
DONE = "The search is done. Name the direction and add it to your sliders."
MAX_COUNT = 4  # directions of a search
SEARCH = (
    "status",
    "curve",
    "strip",
    "found",
    "start_search",
    "stop",
    "continue_search",
    "add",
)  # what `run` changes
ADDED = (  # what `add_slider` changes
    *(*CARD, "face", "found", "status", "tabs", "name", "cards", "kept", "query"),
    *("start_search", "stop", "add", "saved_direction", "new_name", "history"),
)
RECIPE = ("recipe", "steps", "named_start")  # what `choose_recipe` changes


@dataclass(eq=False)
class Search:
    """A search that can be stopped between two steps and continued later."""

    generator: str
    config: DiscoverConfig
    results: Iterator[tuple[Progress, Session]]
    seconds: float = 0.0  # that it has taken
    average: float = 0.0  # of the latest scores
    scores: list[tuple[int, float]] = field(default_factory=list)  # step and average
    can_go_on: bool = False  # whether it has begun and is not done

    def note(self, progress: Progress, seconds: float) -> None:
        """Note what a step has reached, so many seconds after the start."""
        self.average = 0.9 * self.average + 0.1 * progress.score if self.scores else progress.score
        self.scores.append((progress.step, self.average))
        self.seconds, self.can_go_on = seconds, progress.step < progress.total

    @property
    def curve(self) -> pd.DataFrame:
        """The scores so far."""
        steps, scores = zip(*self.scores, strict=True) if self.scores else ((), ())
        return pd.DataFrame({"step": np.array(steps, float), "score": np.array(scores, float)})

    def suits(self, face: Face) -> bool:
        """Whether its directions are of the model of a face."""
        return face.session.generator == self.generator


class DiscoverCallbacks:
    """The events of the tab, on top of those of the Edit tab."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks
        self.regions = Regions(callbacks)

    def show_recipe(self, face: Face, parts: list[str], recipe: str) -> Updates:
        """Offer the number of steps that a recipe has, and the starts that shapes can have."""
        editor = self.callbacks.editor(face)
        visible = has_named_starts(editor, recipe)
        return {"steps": editor.config_for(parts, recipe).steps, "named_start": gr.update(visible=visible)}

    def show_spaces(self, face: Face) -> Updates:
        """Offer the latent spaces of the model that is used now."""
        return {"search_space": gr.update(choices=space_names(self.callbacks.editor(face)), value=USUAL)}

    def choose_recipe(self, face: Face, parts: list[str], recipe: str, recipe_chosen: bool) -> Updates:
        """Change to the recipe that suits the parts, unless a person chose one."""
        suited = usual_preset(parts, self.callbacks.editor(face).shaped)
        if recipe_chosen or not parts or recipe == suited:
            return {}
        return {"recipe": suited} | self.show_recipe(face, parts, suited)

    def choose_start(self, face: Face, named_start: str) -> Updates:
        """Check the parts that a start is about; a shape is wanted then, whatever usually suits these parts."""
        about = MEASURES[named_start].parts if named_start in NAMED else ()
        known = [part for part in self.callbacks.editor(face).segmenter.parts if part in about]
        return {"parts": known, "recipe_chosen": True} if known else {}

    def discover(
        self,
        request: gr.Request,
        face: Face,
        parts: list[str],
        steps: float,
        search_seed: float,
        recipe: str | None = None,
        named_start: str = NO_START,
        count: float = 1,
        search_space: str = USUAL,
        search_layers: str = USUAL,
        where: str = PARTS,
        region_name: str = "",
        mask: str = "",
        paintings: tuple[Painting, ...] = (),
        chosen_clusters: tuple[int, ...] = (),
    ) -> Iterator[Updates]:
        """Search for directions; yields status, curve, preview on the current face, and the directions so far.

        Searches of several visitors wait for each other; whoever waits is told for how long.
        """
        editor, count = self.callbacks.editor(face), int(min(max(count or 1, 1), MAX_COUNT))
        self.check_room(face, count)
        if where != PARTS:
            yield {"status": "Learning where that is on other faces."} | buttons(searching=True, paused=False)
            try:
                region = self.regions.region(face, where, region_name, mask, paintings, chosen_clusters)
                editor = editor.knowing([region])
            except UserError:
                yield {"status": "Nothing is searched for."} | buttons()
                raise
            parts = [region.parts[0]]
        recipe = recipe or usual_preset(parts, editor.shaped)
        config = replace(
            editor.config_for(parts or (), recipe),
            steps=int(min(max(steps or 0, 0), MAX_STEPS)),
            seed=int(min(max(search_seed or 0, 0), 2**31)),
            start=(named_start,) if named_start in NAMED and has_named_starts(editor, recipe) else (),
            count=count,
        )
        if search_space != USUAL:
            config = config.with_values(space=search_space)
        if search_layers != USUAL:
            config = config.with_values(slots=(search_layers,))
        editor.segmenter.parts.channels(config.parts)  # checks the names, before anybody waits
        self.callbacks.paused.pop(request.session_hash, None)
        search = Search(editor.generator.name, config, editor.discover(face.session, config))
        yield from self.run(request.session_hash, face, search)

    def continue_search(self, request: gr.Request, face: Face) -> Iterator[Updates]:
        """Go on with the search that was stopped last, where it was, on the face that is there now."""
        search = self.callbacks.paused.pop(request.session_hash, None)
        if search is None or not search.suits(face):
            raise UserError("There is no search of this model to continue; press Start searching.")
        self.check_room(face, search.config.count)
        yield from self.run(request.session_hash, face, search)

    def run(self, visitor: str, face: Face, search: Search) -> Iterator[Updates]:
        """Run a search until it is done or stopped, after those of other visitors."""
        running = self.callbacks.searches.start(visitor, lambda _: self.in_turn(visitor, face, search))
        yield {"status": "Starting.", "found": (), "curve": search.curve} | buttons(searching=True, paused=False)
        found: tuple[Direction, ...] = ()
        try:
            for updates in running:
                found = updates.get("found", found)
                yield {"curve": search.curve} | updates  # in each update: Gradio's plot fails without one
        except Exception:
            yield {"status": "The search ended with an error.", "curve": search.curve} | buttons(
                found=bool(found), paused=False
            )
            raise
        done = self.callbacks.searches.current(visitor, running.id) is not None
        goes_on = not done and search.can_go_on and not isinstance(self.callbacks.editor(face), LentEditor)
        if goes_on:
            self.pause(visitor, search)
        status = gr.skip() if found and done else DONE if done else STOPPED
        yield {"status": status, "curve": search.curve} | buttons(found=bool(found), paused=goes_on)

    def pause(self, visitor: str, search: Search) -> None:
        """Keep a search so that it can be continued; of many, the latest ones."""
        self.callbacks.paused[visitor] = search
        while len(self.callbacks.paused) > LINE:
            self.callbacks.paused.pop(next(iter(self.callbacks.paused)), None)

    def check_room(self, face: Face, count: int = 1) -> None:
        """UserError if the page has no sliders left for so many new directions."""
        if len(face.session.directions) + count > (most := self.callbacks.slider_count):
            raise UserError(f"Not enough of the page's {most} sliders are free; remove some under *My sliders*.")

    def in_turn(self, visitor: str, face: Face, search: Search) -> Iterator[Updates]:
        """Wait in line, then search."""
        with self.callbacks.searching.ticket(visitor) as ticket:
            for place, seconds in ticket.wait():
                yield {"status": describe_place(place, seconds)}
            yield from self.search(face, search, ticket)

    def search(self, face: Face, search: Search, ticket: Ticket) -> Iterator[Updates]:
        """The updates of a search; its ticket is told how long it is going to take."""
        config = search.config
        if config.start and not self.callbacks.editor(face).measured:
            yield {"status": f"Looking at samples to learn what “{config.start[0]}” is; this takes a while once."}
        updated, started = 0.0, time.perf_counter() - search.seconds
        for progress, result in search.results:
            now = time.perf_counter()
            search.note(progress, now - started)
            ticket.seconds = seconds_left(progress, search.seconds)
            found = result.directions[-config.count :]
            if now - updated < INTERVAL and progress.step < progress.total:
                yield {"found": found}
                continue
            updated = now
            session = face.session.with_directions(found)
            yield {
                "status": describe_progress(progress, search.average, ticket.seconds),
                "strip": self.strip(face.with_session(session), session.directions[-config.count :]),
                "found": found,
            }

    def stop_search(self, request: gr.Request) -> Updates:
        """End the visitor's search at its next step, or take it out of the line."""
        self.callbacks.searches.close(request.session_hash)
        return {}

    def strip(self, face: Face, directions: Sequence[Direction]) -> Image.Image:
        """The face, which has some directions, with each of them at the low end, at 0 and at the high end."""
        session, editor, rows = face.session, self.callbacks.editor(face), []
        for direction in directions:
            ends = [editor.render(session, {direction.name: amount}) for amount in (direction.low, direction.high)]
            pairs = [before_and_after(editor, face, edited, {}) for edited in (ends[0], session.original, ends[1])]
            rows.append([enlarge(after, STRIP_SIZE) for _, after in pairs])
        return grid(rows, gap=6)

    def add_slider(self, now: Now, found: tuple[Direction, ...], name: str) -> Iterator[Updates]:
        """Calibrate the directions of a search, add them as sliders, and show them there."""
        if not found:
            raise UserError("There is no direction yet; press Start first.")
        self.check_room(now.face, len(found))
        yield {"status": f"Measuring how far it can be moved, on {len(CALIBRATION_SEEDS)} faces.", **buttons()}
        editor = self.callbacks.editor(now.face.with_session(now.face.session.with_directions(found)))
        try:
            calibrated = [editor.calibrate(each, CALIBRATION_SEEDS) for each in found]
        except UserError:
            yield buttons(found=True)
            raise
        name = " ".join(name.split())[:MAX_NAME]
        yield self.with_sliders(now, [replace(each, name=name or each.name) for each in calibrated])

    def with_sliders(self, now: Now, directions: Sequence[Direction]) -> Updates:
        """Add directions as sliders, and open the card of the first of them on the Edit tab."""
        first = len(now.face.session.directions)
        updates = self.with_session(now, now.face.session.with_directions(directions), first)
        status = " ".join(map(describe_direction, updates["face"].session.directions[first:]))
        return updates | {"found": (), "status": status, "name": "", "tabs": gr.Tabs(selected="edit"), **buttons()}

    def with_session(self, now: Now, session: Session, shown: int) -> Updates:
        """The face with other directions, and their sliders; amounts stay, and the card of one number is opened."""
        callbacks, amounts, all_amounts = self.callbacks, now.amounts, replace(now.face, muted=frozenset()).amounts
        face, group = now.face.with_session(session), group_of(session.directions[shown])
        values = callbacks.percents(face, all_amounts(now.sliders))  # muted ones, too, stay where they are
        updates = callbacks.open_card(face, group) | callbacks.kept_updates(face, amounts, now.history)
        updates |= {"face": face, "sliders": callbacks.slider_updates(session, group, values)}
        return updates | {"cards": callbacks.card_pictures(face, amounts)}

    def load_direction(self, now: Now, direction_file: str) -> Updates:
        """Add the direction of an uploaded file as a slider. UserError if it is none, or of another generator."""
        self.check_room(now.face)
        direction = Direction.load(direction_file)
        direction.check(self.callbacks.editor(now.face).generator)
        return self.with_sliders(now, [direction])

    def remove_direction(self, now: Now, saved_direction: str | None) -> Updates:
        """Remove a slider that was discovered or added here. UserError for one that ships."""
        self.check_own(now.face, saved_direction)
        session = now.face.session
        rest = tuple(direction for direction in session.directions if direction.name != saved_direction)
        updates = self.with_session(now, replace(session, directions=rest), 0)
        names = gr.update(choices=[direction.name for direction in rest], value=None)
        return updates | {"saved_direction": names, "status": f"The slider “{saved_direction}” is removed."}

    def rename_direction(self, now: Now, saved_direction: str | None, new_name: str) -> Updates:
        """Give another name to a slider that was discovered or added here. UserError for one that ships."""
        session, name = now.face.session, " ".join(new_name.split())[:MAX_NAME]
        names = [each.name for each in session.directions]
        self.check_own(now.face, saved_direction)
        if not name or name in names:
            raise UserError(f"“{name}” is taken; choose another name." if name else "Write the new name first.")
        number = names.index(saved_direction)
        new = replace(session.directions[number], name=name)
        directions = (*session.directions[:number], new, *session.directions[number + 1 :])
        history = now.history.renamed(saved_direction, name)
        session = replace(session, directions=directions)
        now = now._replace(face=now.face.with_session(session), history=history)
        updates = self.with_session(now, session, number)
        chosen = gr.update(choices=[each.name for each in directions], value=name)
        updates |= {"history": history, "saved_direction": chosen, "new_name": ""}
        return updates | {"status": f"The slider “{saved_direction}” is called “{name}” now."}

    def check_own(self, face: Face, name: str | None) -> None:
        """UserError unless a slider was discovered or added here."""
        own = {each.name for each in face.session.directions} - {
            each.name for each in self.callbacks.editor(face).directions
        }
        if name not in own:
            raise UserError("Choose one of the sliders that you discovered or added; those of the model stay.")

    def save_direction(self, face: Face, found: tuple[Direction, ...], saved_direction: str | None) -> Updates:
        """The file of a direction of the face, or of the first one that a search has found, as a data URL."""
        by_name = {each.name: each for each in face.session.directions}
        chosen = by_name.get(saved_direction or "", next(iter(found or ()), None))
        if chosen is None:
            raise UserError("There is no direction to save yet; choose one of the sliders, or discover one.")
        name = f"{chosen.name}.safetensors".replace(" ", "-")
        return {"download_url": data_url(file_of(chosen), "application/octet-stream", name)}

    def list_directions(self, face: Face) -> Updates:
        """The directions that can be saved."""
        return {"saved_direction": gr.update(choices=[each.name for each in face.session.directions if not each.goal])}


def buttons(*, searching: bool = False, found: bool = False, paused: bool | None = None) -> Updates:
    """Which buttons can be pressed; None: whether there is a search to continue stays as it is."""
    start, stop = (gr.update(interactive=on) for on in (not searching, searching))
    add = gr.update(interactive=found and not searching)
    goes_on = {} if paused is None else {"continue_search": gr.update(interactive=paused)}
    return {"start_search": start, "stop": stop, "add": add} | goes_on


def space_names(editor: Editor) -> list[tuple[str, str]]:
    """The latent spaces that a search can be in, after the usual one, as words and names."""
    return [(USUAL.capitalize(), USUAL), *((name, name) for name in editor.generator.space_names)]


def has_named_starts(editor: Editor, recipe: str) -> bool:
    """Whether a search by a recipe can start from a name: shapes of faces, whose landmarks are measured."""
    return recipe == "shape" and editor.aligner.frame.faces


def discover_tab(callbacks: Callbacks, edit: dict[str, Any]) -> dict[str, Any]:
    """Lay out the tab and connect its events.

    Args:
        callbacks: of the Edit tab.
        edit: its components by name, and the page's "tabs".

    Returns:
        The components of this tab by name.
    """
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=260):
            components = search_options(callbacks)
        with gr.Column(scale=6, min_width=300):
            components |= search_results()
    components["found"], components["recipe_chosen"] = gr.State((), time_to_live=HOUR), gr.State(False)
    discover, named = DiscoverCallbacks(callbacks), edit | components
    unqueued = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
    searching = {"concurrency_limit": LINE, "concurrency_id": "searching", "api_visibility": "private"}
    for name, begin in (("start_search", discover.discover), ("continue_search", discover.continue_search)):
        begun = event(begin, named, SEARCH)
        components[name].click(**begun, show_progress="hidden", trigger_mode="once", **searching)
    regions, c = discover.regions, components
    c["where"].input(**event(regions.choose_where, named, PANELS), **unqueued)
    for button, callback in (("paint_this", regions.paint_this), ("paint_another", regions.paint_another)):
        again = c[button].click(**event(callback, named, NEXT), **unqueued)
        again.success(None, None, None, js="() => window.lelsd.clearPaint()", **unqueued)
    c["find_clusters"].click(**event(regions.find_clusters, named, CLICKED), **searching)
    c["cluster_map"].select(**event(regions.click_cluster, named, CLICKED), **unqueued)
    components["stop"].click(**event(discover.stop_search, named), **unqueued)
    components["parts"].change(**event(discover.choose_recipe, named, RECIPE), **unqueued)
    chosen = components["recipe"].input(lambda: True, None, components["recipe_chosen"], **unqueued)
    chosen.then(**event(discover.show_recipe, named, RECIPE[1:]), **unqueued)
    components["named_start"].input(**event(discover.choose_start, named, ("parts", "recipe_chosen")), **unqueued)
    gr.on(
        [components["add"].click, components["name"].submit],
        **event(discover.add_slider, named, ADDED),
        show_progress="hidden",
        **searching,
    )
    components["direction_file"].upload(**event(discover.load_direction, named, ADDED), **unqueued)
    components["saved_direction"].focus(**event(discover.list_directions, named, ["saved_direction"]), **unqueued)
    components["rename_direction"].click(**event(discover.rename_direction, named, ADDED), **unqueued)
    components["remove_direction"].click(**event(discover.remove_direction, named, ADDED), **unqueued)
    made = components["save_direction"].click(**event(discover.save_direction, named, ["download_url"]), **unqueued)
    made.then(None, named["download_url"], None, js="(url) => window.lelsd.save(url)", **unqueued)
    return components


def search_options(callbacks: Callbacks) -> dict[str, Any]:
    """Which parts should change, the recipe and the length of the search."""
    editor, usual_parts = callbacks.editor(), ["mouth"]
    places = region_panels(callbacks, part_names(editor), usual_parts)
    usual, usual_steps = usual_preset(usual_parts, editor.shaped), editor.config_for(usual_parts).steps
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
    with gr.Accordion("More settings", open=False, elem_id="search-settings"):
        info = "More steps, more local; 0 takes a named start as it is."
        steps = gr.Slider(0, 1200, usual_steps, step=20, label="Steps", info=info, elem_id="steps")
        info = "As unlike each other as they can be."
        count = gr.Slider(1, MAX_COUNT, 1, step=1, label="How many directions", info=info, elem_id="count")
        info = "Another number finds another direction."
        seed = gr.Number(1, label="Seed", info=info, precision=0, elem_id="discover-seed")
        info = "Whose codes are moved; the usual one depends on the kind of change."
        space = gr.Dropdown(space_names(editor), value=USUAL, label="Latent space", info=info, elem_id="search-space")
        info = "Coarse ones hold the shape of things, fine ones colour; not all spaces have layers."
        choices = [(name.capitalize(), name) for name in (USUAL, *LAYERS)]
        slots = gr.Radio(choices, value=USUAL, label="Layers that it may move", info=info, elem_id="search-layers")
    start = gr.Button("Start searching", variant="primary", elem_id="start")
    with gr.Row():
        stop = gr.Button("Stop", interactive=False, elem_id="stop", min_width=80)
        goes_on = gr.Button("Continue", interactive=False, elem_id="continue", min_width=80)
    chosen = places | {
        "recipe": recipe,
        "named_start": named_start,
        "steps": steps,
        "search_seed": seed,
        "count": count,
        "search_space": space,
        "search_layers": slots,
    }
    return chosen | {"start_search": start, "stop": stop, "continue_search": goes_on}


def search_results() -> dict[str, Any]:
    """Status, preview and curve of the search, and the name of its slider."""
    status = gr.Markdown("Choose what should change, then press **Start searching**.", elem_id="status")
    label, text = (
        "On the current face: one end, as it is, the other end",
        "The current face at both ends of the direction",
    )
    strip = InlineImage(label=label, alt_text=text, interactive=False, buttons=["fullscreen"], elem_id="strip")
    label = "Localization score: share of the change inside the part"
    curve = gr.LinePlot(x="step", y="score", y_lim=[0, 1], height=220, label=label, tooltip="none", elem_id="curve")
    with gr.Row(equal_height=False, elem_id="name-row"):
        example = "for example: red lips"
        name = gr.Textbox(label="Name", placeholder=example, max_length=MAX_NAME, elem_id="name", scale=2)
        add = gr.Button("Add to my sliders", variant="primary", interactive=False, elem_id="keep")
    with gr.Accordion("My sliders: files and names", open=False, elem_id="direction-files"):
        with gr.Row():
            label = "One of my sliders"
            saved = gr.Dropdown([], label=label, elem_id="saved-direction", scale=2, allow_custom_value=False)
            save = gr.Button("Save", elem_id="save-direction", min_width=80)
            remove = gr.Button("Remove", elem_id="remove-direction", min_width=80)
            load = gr.UploadButton("Add one from a file", file_types=[".safetensors"], elem_id="load-direction")
        with gr.Row(equal_height=False):
            new = gr.Textbox(label="New name", max_length=MAX_NAME, elem_id="new-name", scale=2)
            rename = gr.Button("Rename", elem_id="rename-direction", min_width=80)
    files = {
        "new_name": new,
        "rename_direction": rename,
        "saved_direction": saved,
        "save_direction": save,
        "direction_file": load,
        "remove_direction": remove,
    }
    return {"status": status, "strip": strip, "curve": curve, "name": name, "add": add} | files
