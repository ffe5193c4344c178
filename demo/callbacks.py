"""What the Edit tab's controls call: component values in, `Updates` out. Models are shared, faces are a visitor's own.

a slider in motion  --preview-->  picture
a slider at rest    --settle-->   picture, meter, and one more step of the history, which the browser keeps
a new face          --dress-->    small pictures of its parts, of recipes, and of both ends of the shown sliders
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from demo import keeping, views
from demo.components import Updates
from demo.face import Amounts, Face, History, Now, Values, moved
from demo.gpu import LentEditor
from demo.lanes import Lane, SupersededError
from demo.models import ModelManager
from demo.running import Running
from demo.views import PART, SWIPE, TITLES, WHOLE
from demo.words import describe_card, describe_edit, group_of, in_plain_words, percent_of, slider_properties
from lelsd_core.directions import Direction, regions_in
from lelsd_core.editor import Editor, Locality, Session
from lelsd_core.errors import UserError
from lelsd_core.evaluation.identity import SAME_PERSON
from lelsd_core.images import MAX_BYTES
from lelsd_core.segmenters import FeatureSegmenter

SHOWN = ("picture", "swipe")  # what `preview` changes
EDITED = (*SHOWN, "meter", "history", "past", "undo", "redo", "cards", "kept", "query")  # what `show` changes
LINE = 8  # visitors who search, or wait for it
CHEAP = 64  # pixels of pictures up to which protection takes no time that anybody notices
ALL, LAYERS = "all", ("coarse", "middle", "fine")  # layers that looks can act on
CARD = ("cards", "group", "sliders", "card_title", "mute", "ends", "layers", "card_facts")  # what `open_card` changes


class Callbacks:
    """The events of the Edit tab, on a face that is there.

    Args:
        manager: the models, shared by all visitors.
        slider_count: sliders on the page, used and spare.
        max_bytes: size limit of an uploaded photo.
    """

    def __init__(self, manager: ModelManager, slider_count: int, max_bytes: int = MAX_BYTES) -> None:
        self.manager, self.slider_count, self.max_bytes = manager, slider_count, max_bytes
        self.inversions, self.searches = Running(), Running()
        self.paused: dict[str, Any] = {}  # searches that were stopped, by visitor, the oldest first
        self.dressings, self.ends = Running(), Running()  # small pictures in the making
        self.pictures = Lane()  # slider events skip Gradio's queue; one at a time uses all cores
        self.searching = Lane(LINE)
        self.protects = self.editor().generator.resolution <= CHEAP  # whether edits are protected to begin with

    def editor(self, face: Face | None = None) -> Editor:
        """The models of a face, or those that the page opens with."""
        editor = self.manager.editor(face.session.generator if face else self.manager.first)
        regions = regions_in(face.session.directions) if face else ()
        return knowing(editor, regions) if regions else editor

    # ---------------------------------------------------------------------------------------------- pictures

    def preview(self, now: Now) -> Updates:
        """Show a slider in motion: not protected, and with slow models a small preview; `settle` replaces it."""
        editor, session, small = self.editor(now.face), now.face.session, now
        if session.preview is not None:
            scale = session.preview.width / session.original.width
            matrix = None if session.matrix is None else session.matrix * scale
            face = now.face.with_session(replace(session, original=session.preview, matrix=matrix))
            small = now._replace(face=face)
        try:
            with self.pictures.turn(now.visitor, newest=True):
                return self.in_view(small, editor.preview(session, now.amounts))
        except SupersededError:
            return {}

    def settle(self, now: Now) -> Updates:
        """`show` a slider that came to rest, unless it is where it was."""
        same = moved(now.amounts) == now.history.current
        return {} if same and now.face.session.preview is None and not now.display.protect else self.show(now)

    def show(self, now: Now, caption: str = "") -> Updates:
        """Render the edited face in the chosen view, measure where it changed, and note a new edit in the history."""
        editor, face, amounts, history = self.editor(now.face), now.face, now.amounts, now.history
        with self.pictures.turn(now.visitor):
            edit = editor.edit(face.session, amounts, protect=float(now.display.protect))
            updates = self.in_view(now, edit.picture)
            likeness = self.likeness(editor, face.session, edit.picture, edit.locality)
            updates["meter"] = describe_edit(edit.locality, *likeness)
            if moved(amounts) != history.current or not history.steps:
                if views.edited_groups(face, amounts) != views.edited_groups(face, history.current):
                    updates["cards"] = self.card_pictures(face, amounts)
                history = history.add(amounts, views.thumbnail(edit.picture), face.session.directions, caption)
        return updates | self.history_updates(history) | self.kept_updates(face, amounts, history)

    def likeness(
        self, editor: Editor, session: Session, picture: Image.Image, locality: Locality | None
    ) -> tuple[float | None, float]:
        """How alike the person is after an edit, and from where on a network takes both for one person."""
        likeness = None if locality is None else editor.likeness(session, picture)
        return likeness, SAME_PERSON[editor.metric_networks.recogniser.name]

    def in_view(self, now: Now, edited: Image.Image) -> Updates:
        """An edited picture in the chosen view."""
        return views.in_view(now.display.view, *self.pair(now, edited, now.amounts), self.mask(now))

    def pair(self, now: Now, edited: Image.Image, amounts: Amounts) -> tuple[Image.Image, Image.Image]:
        """The face or the whole photo, unedited and edited, as the view wants it."""
        whole, detail = now.display.view == WHOLE, now.display.detail
        return views.before_and_after(self.editor(now.face), now.face, edited, amounts, whole=whole, detail=detail)

    def mask(self, now: Now) -> np.ndarray | None:
        """Where the face shows the parts of the open card, for the view that shows it."""
        if now.display.view != PART:
            return None
        editor, session = self.editor(now.face), now.face.session
        return views.part_mask_of(editor, editor.part_labels(session), views.parts_of(now.group, session.directions))

    def switch_view(self, now: Now) -> Updates:
        """`show`, with the component of the chosen view visible and the other one hidden."""
        updates = self.show(now)
        return updates | self.shown_component(now.display.view, updates) | {"start": self.start_picture(now)}

    def shown_component(self, view: str, updates: Updates) -> Updates:
        """The component of a view with its title and picture; the other one is hidden."""
        shown, hidden = ("swipe", "picture") if view == SWIPE else ("picture", "swipe")
        chosen = gr.update(value=updates[shown], visible=True, label=TITLES[view])
        return {shown: chosen, hidden: gr.update(visible=False)}

    def start_picture(self, now: Now) -> Image.Image:
        """The unedited picture, which the button "Before" shows as long as it is pressed."""
        return self.pair(now, now.face.session.original, {})[0]

    # ------------------------------------------------------------------------------------- history and values

    def undo(self, now: Now) -> Updates:
        """Show the edit before."""
        return self.go_to(now, now.history.position - 1)

    def redo(self, now: Now) -> Updates:
        """Show the edit that was undone."""
        return self.go_to(now, now.history.position + 1)

    def choose_step(self, event: gr.SelectData, now: Now) -> Updates:
        """Show an edit of the history."""
        return self.go_to(now, event.index)

    def go_to(self, now: Now, position: int) -> Updates:
        """Show an edit of the history, the nearest that there is."""
        history = now.history.at(position)
        return self.set_amounts(now._replace(history=history), history.current)

    def reset(self, now: Now) -> Updates:
        """All sliders at 0, as one more step."""
        return self.set_amounts(now, {})

    def reset_card(self, now: Now) -> Updates:
        """The sliders of the open card at 0."""
        inside = {direction.name for direction in now.face.session.directions if group_of(direction) == now.group}
        return self.set_amounts(now, {name: amount for name, amount in now.amounts.items() if name not in inside})

    def use_recipe(self, event: gr.SelectData, now: Now) -> Updates:
        """Set all sliders to a recipe's amounts, or to 0."""
        name, recipe = [pair for pair in self.editor(now.face).recipes.items() if pair[1].picture][event.index]
        return self.set_amounts(now, recipe.amounts, in_plain_words(name))

    def use_end(self, event: gr.SelectData, now: Now) -> Updates:
        """Set a slider of the open card to the end that was clicked; back to 0 if it is there already."""
        shown = [direction for direction in now.face.session.directions if group_of(direction) == now.group]
        direction, amounts = shown[event.index // 2], now.amounts
        end = direction.high if event.index % 2 else direction.low
        return self.set_amounts(now, amounts | {direction.name: 0.0 if amounts.get(direction.name) == end else end})

    def set_amounts(self, now: Now, amounts: Amounts, caption: str = "") -> Updates:
        """Set all sliders, those of amounts that are not given to 0, and show the edit; nothing stays muted."""
        face = replace(now.face, muted=frozenset())
        values = self.percents(face, amounts)
        updates = self.show(now._replace(face=face, sliders=values), caption)
        return updates | {"face": face, "sliders": self.padded(values), "mute": "Mute"}

    def percents(self, face: Face, amounts: Amounts) -> list[float]:
        """Slider values of amounts by direction name."""
        directions = face.session.directions[: self.slider_count]
        return [percent_of(direction, direction.clamp(amounts.get(direction.name, 0.0))) for direction in directions]

    def padded(self, values: Sequence[float]) -> list[float]:
        """A value for each slider of the page; spare ones are at 0."""
        return [*values, *[0.0] * (self.slider_count - len(values))]

    def history_updates(self, history: History) -> Updates:
        """The history, its strip of pictures, and whether there is something to undo and to redo."""
        strip = [(step.picture, step.caption) for step in history.steps]
        shown = gr.update(value=strip, visible=len(strip) > 1, selected_index=history.position)
        undo, redo = history.position > 0, history.position < len(history.steps) - 1
        buttons = {"undo": gr.update(interactive=undo), "redo": gr.update(interactive=redo)}
        return {"history": history, "past": shown} | buttons

    def kept_updates(self, face: Face, amounts: Amounts, history: History) -> Updates:
        """What the browser keeps, and the link of the edit."""
        shipped = self.editor(face).directions
        return {"kept": keeping.stored(face, amounts, shipped, history), "query": keeping.link_query(face, amounts)}

    # ------------------------------------------------------------------------------------------ parts and cards

    def choose_card(self, event: gr.SelectData, face: Face) -> Updates:
        """Open the card of a part."""
        return self.open_card(face, views.groups_of(face.session.directions)[event.index])

    def click_face(self, event: gr.SelectData, now: Now) -> Updates:
        """Open the card of the part of the face that was clicked; elsewhere nothing happens."""
        editor, session, detected = self.editor(now.face), now.face.session, now.face.detected
        x, y = (place + 0.5 for place in event.index)
        if now.display.view == WHOLE and detected is not None:
            across, down = session.matrix @ detected.reduced @ np.array([x, y, 1.0]) / session.original.width
        else:
            width, height = self.start_picture(now).size
            across, down = x / width, y / height
        group = views.group_at(editor, now.face, editor.part_labels(session), across, down)
        return self.open_card(now.face, group) if group else {}

    def open_card(self, face: Face, group: str) -> Updates:
        """Show the sliders of a group."""
        directions = face.session.directions[: self.slider_count]
        shown = [gr.update(visible=group_of(direction) == group) for direction in directions]
        groups = views.groups_of(directions)
        return {
            "cards": gr.update(selected_index=groups.index(group) if group in groups else None),
            "group": group,
            "sliders": shown + [gr.skip()] * (self.slider_count - len(shown)),
            "card_title": card_title(group),
            "mute": "Unmute" if group in face.muted else "Mute",
            "ends": gr.update(value=[], visible=False),
            "layers": self.layers_update(face, group),
            "card_facts": describe_card([direction for direction in directions if group_of(direction) == group]),
        }

    def layers_update(self, face: Face, group: str) -> dict[str, Any]:
        """The choice of layers, for cards with looks, whose generators have layers to choose from."""
        looks = [each for each in face.session.directions if group_of(each) == group and each.local is None]
        has_layers = all(self.editor(face).generator.groups.values())
        now = next((each.layers[0] for each in looks if each.layers), ALL)
        return gr.update(visible=bool(looks) and has_layers, value=now if now in LAYERS else ALL)

    def choose_layers(self, now: Now, layers: str) -> Updates:
        """Let the looks of the open card act on some layers only, or on all."""
        session, only = now.face.session, () if layers == ALL else (layers,)
        looks = [each.name for each in session.directions if group_of(each) == now.group and each.local is None]
        face = now.face.with_session(session.with_layers(dict.fromkeys(looks, only)))
        return self.show(now._replace(face=face)) | {"face": face}

    def mute(self, now: Now) -> Updates:
        """Take the sliders of the open card out of the edit, or back in; they stay where they are."""
        face = replace(now.face, muted=now.face.muted ^ {now.group})
        updates = self.show(now._replace(face=face), f"{in_plain_words(now.group)} muted")
        cards = self.card_pictures(face, face.amounts(now.sliders))
        return updates | {"face": face, "cards": cards, "mute": "Unmute" if now.group in face.muted else "Mute"}

    def show_ends(self, request: gr.Request, face: Face, group: str) -> Iterator[Updates]:
        """Render both ends of the sliders of the open card on this face, unless another card or face is opened."""
        yield from self.ends.start(request.session_hash, lambda _: self.end_pictures(request.session_hash, face, group))

    def end_pictures(self, visitor: str | None, face: Face, group: str) -> Iterator[Updates]:
        """See `show_ends`."""
        if isinstance(self.editor(face), LentEditor):  # each picture would cost a visitor's quota
            return
        pictures = []
        for direction in (d for d in face.session.directions if group_of(d) == group):
            for word, end in zip(direction.ends, (direction.low, direction.high), strict=True):
                pictures.append((self.small(visitor, face, {direction.name: end}), word))
                yield {}
        yield {"ends": gr.update(value=pictures, visible=bool(pictures), selected_index=None)}

    def dress(self, request: gr.Request, face: Face, sliders: Values) -> Iterator[Updates]:
        """Render the small pictures of a new face, its parts and recipes on it, unless another face is opened."""
        yield from self.dressings.start(
            request.session_hash, lambda _: self.dressed(request.session_hash, face, sliders)
        )

    def dressed(self, visitor: str | None, face: Face, sliders: Values) -> Iterator[Updates]:
        """See `dress`."""
        editor = self.editor(face)
        yield {"cards": self.card_pictures(face, face.amounts(sliders))}
        if isinstance(editor, LentEditor):
            return
        small = []
        for name, recipe in editor.recipes.items():
            if recipe.picture:
                small.append((self.small(visitor, face, recipe.amounts), in_plain_words(name)))
                yield {}
        if small:
            yield {"recipes": gr.update(value=small)}

    def close_small_pictures(self, visitor: str) -> None:
        """End what `dress` and `show_ends` do for a visitor."""
        self.dressings.close(visitor)
        self.ends.close(visitor)

    def small(self, visitor: str | None, face: Face, amounts: Amounts) -> Image.Image:
        """A small picture of an edit; the unedited face where it shows no such part. Visitors take turns."""
        with self.pictures.turn(visitor):
            try:
                return views.thumbnail(self.editor(face).render(face.session, amounts))
            except UserError:
                return views.thumbnail(face.session.original)

    def card_pictures(self, face: Face, amounts: Amounts) -> list[tuple[Image.Image, str]]:
        """The chooser of cards; see `views.part_pictures`."""
        editor = self.editor(face)
        return views.part_pictures(editor, face, editor.part_labels(face.session), amounts)

    # ------------------------------------------------------------------------------------------------ sliders

    def face_updates(self, face: Face, amounts: Mapping[str, float] | None = None) -> Updates:
        """What depends on a new face beside its picture: sliders, cards, recipes."""
        editor, values = self.editor(face), self.percents(face, amounts or {})
        group = next(iter(views.groups_of(face.session.directions)), "")
        recipes = recipe_pictures(editor)
        return self.open_card(face, group) | {
            "sliders": self.slider_updates(face.session, group, values),
            "recipes": gr.update(value=recipes, visible=bool(recipes), selected_index=None),
            "truncation": gr.update(visible=editor.generator.usual_truncation is not None),
            "dressed": time.monotonic_ns(),
        }

    def slider_properties(self, session: Session, group: str) -> list[dict[str, Any]]:
        """Arguments of all sliders as the page is built."""
        return [
            {"value": 0.0, "interactive": True, "buttons": ["reset"], "elem_id": f"slider-{number}"}
            | {"minimum": -100, "maximum": 100, "step": 2, "visible": False}
            | (self.labelled(session.directions[number], group) if number < len(session.directions) else {})
            for number in range(self.slider_count)
        ]

    def labelled(self, direction: Direction, group: str) -> dict[str, Any]:
        """What a direction's slider shows, and whether it is one of the group that is shown."""
        return slider_properties(direction) | {"visible": group_of(direction) == group}

    def slider_updates(self, session: Session, group: str, values: Sequence[float]) -> list[Any]:
        """All sliders: the session's directions at some values, those of a group visible, spare ones hidden."""
        directions = session.directions[: self.slider_count]
        used = [
            gr.update(**self.labelled(direction, group), value=value)
            for direction, value in zip(directions, values, strict=True)
        ]
        return used + [gr.update(visible=False, value=0.0)] * (self.slider_count - len(used))


@lru_cache(maxsize=LINE)
def knowing(editor: Editor, regions: tuple[FeatureSegmenter, ...]) -> Editor:
    """The editor that knows the regions of a visitor's directions; the same one from event to event."""
    return editor.knowing(regions)


def card_title(group: str) -> str:
    """The heading of a card."""
    return f"### {in_plain_words(group)}"


def recipe_pictures(editor: Editor) -> list[tuple[Any, str]]:
    """Picture and name of each of an editor's recipes."""
    return [(recipe.picture, in_plain_words(name)) for name, recipe in editor.recipes.items() if recipe.picture]


def part_names(editor: Editor) -> list[str]:
    """The parts that the editor's segmenter tells apart."""
    return list(editor.segmenter.parts.names)


def new_directions(editor: Editor, directions: Sequence[Direction]) -> list[Direction]:
    """Those directions that were made for the editor's generator."""
    usable = []
    for direction in directions:
        try:
            direction.check(editor.generator)
        except UserError:
            continue
        usable.append(direction)
    return usable
