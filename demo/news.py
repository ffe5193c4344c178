"""What an event answers: names of the page's components and what they show now; what is not named stays as it is.

callback -> News {"picture": ..., "sliders": [...]} --answering--> {component: value}, as Gradio wants it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

import gradio as gr
from gradio.components import Component

News = dict[str, Any]
Named = Mapping[str, Component | list[Component]]


def every(named: Named) -> list[Component]:
    """All components, lists opened up: the outputs of an event that may answer with any of them."""
    return [part for value in named.values() for part in (value if isinstance(value, list) else [value])]


def answering(call: Callable[..., Any], named: Named) -> Callable[..., Any]:
    """A callback that answers with `News`, or a generator of them, as an event of Gradio's."""

    def placed(news: News) -> dict[Component, Any]:
        found: dict[Component, Any] = {}
        for name, value in news.items():
            there = named[name]
            found |= dict(zip(there, value, strict=True)) if isinstance(there, list) else {there: value}
        return found or {every(named)[0]: gr.skip()}

    @wraps(call)
    def once(*values: Any) -> dict[Component, Any]:
        return placed(call(*values))

    @wraps(call)
    def again(*values: Any) -> Iterator[dict[Component, Any]]:
        for news in call(*values):
            yield placed(news)

    return again if isgeneratorfunction(call) else once
