"""The Compare tab: directions that several methods find for a part, beside each other on the current face.

method, part  --`find_directions`, once for all visitors-->  direction
direction, face  --both signs, each until the picture has changed as much as with the others-->  pictures and figures
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from demo.callbacks import LINE, Callbacks, part_names
from demo.components import InlineImage, Updates, event
from demo.face import Face
from demo.gpu import LentEditor
from demo.words import describe_place
from lelsd_core.comparison.measures import Cell, EqualDistance, choose_distance
from lelsd_core.directions import Direction
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import HeldOut
from lelsd_core.generators.base import Generator
from lelsd_core.images import enlarge, grid, to_pil
from lelsd_core.methods.base import METHODS, find_directions
from lelsd_core.methods.wanted import Wanted

MOST = 3  # methods at once
USUAL = ("lelsd", "stylespace", "ganspace")
SIDE = 256  # pixels of each picture
POLL = 0.3  # seconds between two looks at how far a method is
ABOUT = """Each row is a method, with its direction for this part both ways, each until your face has changed by the
same distance. A method takes seconds to minutes for each part, once; after that its direction is there for everybody.
`python -m lelsd_core compare` measures the same on held-out samples."""
SHARES = (0.25, 0.5, 1.0, 2.0)  # distances to choose from, over the least of the usual ones
COMPARED = ("compare_status", "compared", "compare_table", "start_compare", "stop_compare")
MISSING = "not reached"


class StoppedError(Exception):
    """The visitor does not want it any more."""


class Comparing:
    """The events of the tab."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks
        self.found: dict[tuple[str, str, str], Direction] = {}  # by generator, method and part; for all visitors

    def compare(
        self, request: gr.Request, face: Face, compare_part: str, methods: list[str], distance: float
    ) -> Iterator[Updates]:
        """Find a direction by each method and show what it does to the current face."""
        editor, visitor = self.callbacks.manager.editor(face.session.generator), request.session_hash
        if not 1 <= len(methods) <= MOST:
            raise UserError(f"Choose one to {MOST} methods; {len(methods)} are chosen.")
        editor.segmenter.parts.channels(compare_part)  # checks the name
        for name in methods:
            if problem := METHODS[name].refuses(editor.generator):
                raise UserError(problem)
        running = self.callbacks.searches.start(
            visitor, lambda stopped: self.in_turn(visitor, editor, face, compare_part, methods, distance, stopped)
        )
        yield {"compare_status": "Starting."} | buttons(busy=True)
        try:
            yield from running
        except StoppedError:
            pass
        except UserError:
            yield {"compare_status": "It could not be compared."} | buttons(busy=False)
            raise
        done = self.callbacks.searches.current(visitor, running.id) is not None
        yield ({} if done else {"compare_status": "Stopped."}) | buttons(busy=False)

    def in_turn(
        self,
        visitor: str | None,
        editor: Editor,
        face: Face,
        part: str,
        methods: list[str],
        distance: float,
        stopped: Callable[[], bool],
    ) -> Iterator[Updates]:
        """See `compare`; searches of other visitors come first."""
        generator = editor.generator
        with self.callbacks.searching.ticket(visitor) as ticket:
            for place, seconds in ticket.wait():
                yield {"compare_status": describe_place(place, seconds)}
            for name in methods:
                if (key := (generator.name, name, part)) in self.found:
                    continue
                for news in followed(partial(direction_of, editor, name, part), stopped):
                    if isinstance(news, Direction):
                        self.found[key] = news
                        continue
                    yield {"compare_status": f"{METHODS[name].title} looks for a direction: **{news:.0%}** done."}
            yield {"compare_status": "Moving your face by each of them."}
            found = [self.found[generator.name, name, part] for name in methods]
            pictures, rows = on_face(editor, face, found, part, distance)
        table = gr.update(value=rows, visible=True)
        shown = f"{METHODS[methods[0]].title} first; in the middle your face as it is."
        yield {"compared": gr.update(value=pictures, visible=True), "compare_table": table, "compare_status": shown}

    def stop_compare(self, request: gr.Request) -> Updates:
        """End the comparison at the next step of its method."""
        self.callbacks.searches.close(request.session_hash)
        return {}

    def show_choices(self, face: Face) -> Updates:
        """The parts and the methods of the model that is used now."""
        editor = self.callbacks.editor(face)
        names, methods = part_names(editor), usable_methods(editor.generator)
        chosen = [name for name in USUAL if name in dict(map(reversed, methods))]
        return {
            "compare_part": gr.update(choices=names, value="mouth" if "mouth" in names else names[0]),
            "methods": gr.update(choices=methods, value=chosen),
        }


def followed(find: Callable[[Callable[[float], None]], Direction], stopped: Callable[[], bool]) -> Iterator[Any]:
    """How far a method is, from 0 to 1, as often as somebody looks, and at last its direction.

    Args:
        find: finds the direction, in a thread of its own, and is given a function to report to.
        stopped: whether the visitor has stopped it; StoppedError then.
    """
    shares, results = [0.0], []

    def report(share: float) -> None:
        shares.append(share)
        if stopped():
            raise StoppedError

    def work() -> None:
        try:
            results.append(find(report))
        except Exception as problem:  # raised again below
            results.append(problem)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL)
        yield shares[-1]
    if isinstance(results[0], Exception):
        raise results[0]
    yield results[0]


def direction_of(editor: Editor, method: str, part: str, report: Callable[[float], None]) -> Direction:
    """The direction of a method for a part."""
    return find_directions(method, editor.generator, editor.segmenter, Wanted((part,)), progress=report)[0]


def on_face(
    editor: Editor, face: Face, directions: list[Direction], part: str, distance: float
) -> tuple[Image.Image, list[list[str]]]:
    """A picture with a row for each direction, and a row of figures for each."""
    session, generator = face.session, editor.generator
    codes = session.codes.to(generator.device)
    samples = HeldOut(generator, editor.segmenter, session.space, codes)
    samples.check_shows((part,))
    identity = editor.metric_networks.likeness if editor.metric_networks.points else None
    bench = EqualDistance(samples, choose_distance(), [distance], parts=(part,), identity=identity)
    rows, figures = [], []
    original = enlarge(session.original, SIDE)
    for direction in directions:
        direction.check(generator)
        found = bench.at_steps(direction, keep_pictures=True)
        ends = [found.pictures[sign, 0] for sign in (0, 1)]
        low, high = (enlarge(to_pil(end), SIDE) if end.isfinite().all() else empty() for end in ends)
        rows.append([low, original, high])
        figures.append(figures_of(direction, bench.cell(found, 0)))
    return grid(rows, gap=6), figures


def empty() -> Image.Image:
    """Where a distance is not reached."""
    return Image.fromarray(np.full((SIDE, SIDE, 3), 128, np.uint8))


def figures_of(direction: Direction, cell: Cell) -> list[str]:
    """A row of the table."""

    def shown(value: float | None, form: str) -> str:
        return MISSING if value is None else format(value, form)

    name, likeness = METHODS[direction.facts["method"]].title, shown(cell.identity, ".2f")
    return [name, shown(cell.score, ".0%"), shown(cell.gain, ".0f"), shown(cell.outside, ".3f"), likeness]


def usable_methods(generator: Generator) -> list[tuple[str, str]]:
    """Titles and names of the methods that are defined for a generator and need nothing but a part."""
    return [(each.title, name) for name, each in METHODS.items() if not each.refuses(generator)]


def buttons(*, busy: bool) -> Updates:
    """Which buttons can be pressed."""
    return {"start_compare": gr.update(interactive=not busy), "stop_compare": gr.update(interactive=busy)}


def compare_tab(callbacks: Callbacks, edit: dict[str, Any]) -> dict[str, Any]:
    """Lay out the tab and connect its events; the components by name.

    Args:
        callbacks: of the Edit tab.
        edit: its components by name.
    """
    editor = callbacks.editor()
    names, methods = part_names(editor), usable_methods(editor.generator)
    distance = choose_distance()
    if isinstance(editor, LentEditor):
        gr.Markdown("Methods are not compared where the GPU is lent: duplicate the Space, or run it at home.")
        return {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=260):
            part = gr.Dropdown(
                names, value="mouth" if "mouth" in names else names[0], label="Part", elem_id="compare-part"
            )
            usual = [name for name in USUAL if not METHODS[name].refuses(editor.generator)]
            info = f"One to {MOST}."
            chosen = gr.CheckboxGroup(methods, value=usual, label="Methods", info=info, elem_id="methods")
            steps = [share * distance.steps[0] for share in SHARES]
            label, choices = f"Distance ({distance.name})", [(f"{step:g}", step) for step in steps]
            far = gr.Radio(choices, value=steps[1], label=label, elem_id="distance")
            start = gr.Button("Compare", variant="primary", elem_id="start-compare")
            stop = gr.Button("Stop", interactive=False, elem_id="stop-compare")
            gr.Markdown(ABOUT, elem_classes="caption")
        with gr.Column(scale=6, min_width=300):
            status = gr.Markdown("Choose a part and methods, then press **Compare**.", elem_id="compare-status")
            text = "Each method both ways, and the face as it is"
            hidden = {"interactive": False, "visible": False}
            picture = InlineImage(label=text, alt_text=text, buttons=["fullscreen"], elem_id="compared", **hidden)
            heads = ["Method", "Inside the part", "Gain", "LPIPS outside", "Likeness"]
            table = gr.Dataframe(headers=heads, interactive=False, visible=False, elem_id="compare-table")
    components = {
        "compare_part": part,
        "methods": chosen,
        "distance": far,
        "start_compare": start,
        "stop_compare": stop,
    }
    components |= {"compare_status": status, "compared": picture, "compare_table": table}
    comparing, named = Comparing(callbacks), edit | components
    begun = event(comparing.compare, named, COMPARED)
    lane = {"concurrency_limit": LINE, "concurrency_id": "searching", "api_visibility": "private"}
    start.click(**begun, show_progress="hidden", trigger_mode="once", **lane)
    unqueued = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
    stop.click(**event(comparing.stop_compare, named), **unqueued)
    return components
