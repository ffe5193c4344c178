"""The events of a page without a browser: its callbacks, with what its components hold."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import gradio as gr

from demo.callbacks import Callbacks
from demo.components import event
from demo.discover_tab import DiscoverCallbacks
from demo.face import Display, Face, History, Now
from demo.models import ModelManager
from demo.opening import NO_NUDGE, Opening
from demo.page import build_page
from demo.saving import Saving
from demo.views import EDITED, groups_of
from lelsd_core.editor import Editor
from lelsd_core.inversion import BALANCED
from lelsd_core.registry import load_editor

PLAIN = (
    False,
    NO_NUDGE.right,
    NO_NUDGE.down,
    NO_NUDGE.scale,
    NO_NUDGE.turn,
    BALANCED,
    False,
)  # a photo as it is opened


@cache
def outputs() -> dict[str, set[str]]:
    """By callback, the names of the components that the page lets it change."""
    connected: dict[str, set[str]] = {}

    def connect(callback: Any, components: Any, changed: Iterable[str] = ()) -> dict[str, Any]:
        names = set(changed := list(changed))
        connected[callback.__qualname__] = connected.get(callback.__qualname__, names) & names
        return event(callback, components, changed)

    with patch("demo.page.event", connect), patch("demo.discover_tab.event", connect):
        build_page(ModelManager(load_editor("digiface-64")))
    return connected


def chosen(index: Any, value: Any = None) -> gr.SelectData:
    """The event of something that is chosen."""
    return gr.SelectData(None, {"index": index, "value": value})


class Visitor:
    """A visitor of a page: what the components hold, changed by each event as Gradio does it."""

    def __init__(self, editor: Editor | Callbacks, name: str = "test", spare: int = 8) -> None:
        own = isinstance(editor, Callbacks)
        self.callbacks = editor if own else Callbacks(ModelManager(editor), len(editor.directions) + spare)
        self.opening, self.saving = Opening(self.callbacks), Saving(self.callbacks)
        self.discovering = DiscoverCallbacks(self.callbacks)
        self.request = SimpleNamespace(session_hash=name, query_params={})
        session = self.callbacks.editor().random_face(45)
        self.values: dict[str, Any] = {
            "request": self.request,
            "face": Face(session, seed=45),
            "display": (EDITED, True, False),
            "group": groups_of(session.directions)[0],
            "sliders": [0.0] * self.callbacks.slider_count,
            "history": History(),
            "inversion": 0,
            "closeness": BALANCED,
            "photo_options": PLAIN,
            "waiting": None,
            "truncation": None,
            "seed": 45,
            "lock": False,
            "upload": None,
            "kept": None,
            "model": session.generator,
            "found": (),
            "name": "",
            "recipe": None,
            "named_start": "anything",
            "recipe_chosen": False,
            "search_space": "usual",
            "search_layers": "usual",
            "where": "parts",
            "region_name": "",
            "mask": "",
            "paintings": (),
            "chosen_clusters": (),
        }

    def __getattr__(self, name: str) -> Any:
        """What a component holds."""
        return self.values[name]

    def does(self, callback: Any, *arguments: Any, **values: Any) -> dict[str, Any]:
        """Let an event happen, with other values than the components hold; all that it changed."""
        changed: dict[str, Any] = {}
        for updates in self.steps(callback, *arguments, **values):
            changed |= updates
        return changed

    def steps(self, callback: Any, *arguments: Any, **values: Any):
        """The same, one update after the other."""
        names = callback.__code__.co_varnames[1 : callback.__code__.co_argcount][len(arguments) :]
        given = {"visitor": self.request.session_hash} | self.values | values
        given |= {"display": Display(*given["display"])}
        given |= {"now": Now(*(given[name] for name in Now._fields))}
        result = callback(*arguments, **{name: given[name] for name in names if name in given})
        self.values |= values
        allowed = outputs().get(callback.__qualname__)
        for updates in [result] if isinstance(result, dict) else result:
            assert allowed is None or updates.keys() <= allowed, updates.keys() - allowed
            for name, value in updates.items():
                if name == "display":
                    self.values[name] = (value[0]["value"], *self.values[name][1:])
                elif name == "sliders":
                    now = self.values["sliders"]
                    self.values["sliders"] = [value_of(new, old) for new, old in zip(value, now, strict=True)]
                else:
                    self.values[name] = value_of(value, self.values.get(name))
            yield updates

    def open(self, photo: Any, *, refined: bool = False) -> dict[str, Any]:
        """Open a photo, and refine it if that is wanted."""
        changed = self.does(self.opening.open_photo, upload=photo)
        if refined:
            for _ in self.steps(self.opening.refine):
                self.does(self.opening.adopt)
            changed |= self.does(self.opening.show_refined)
        return changed

    def moves(self, **percents: float) -> dict[str, Any]:
        """Bring sliders to rest at some values, by the names of their directions; others stay."""
        names = [direction.name.replace("-", "_") for direction in self.face.session.directions]
        sliders = list(self.sliders)
        for name, value in percents.items():
            sliders[names.index(name)] = value
        return self.does(self.callbacks.settle, sliders=sliders)

    @property
    def amounts(self) -> dict[str, float]:
        """The amounts that the sliders show, without zeros."""
        return {name: amount for name, amount in self.face.amounts(self.sliders).items() if amount}


def value_of(update: Any, before: Any) -> Any:
    """What a component holds after an update."""
    if isinstance(update, dict) and update.get("__type__") == "update":
        return update.get("value", before)
    return update
