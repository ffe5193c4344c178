"""Network work on a GPU that is lent call by call, as on ZeroGPU Spaces; everywhere else these are plain calls.

session, amounts  --pickled-->  a forked process with the GPU, one method of `Editor`  --pickled-->  picture

Imported before torch, because the `spaces` package wants to be first. What goes there and back is on the CPU and holds
no model; errors other than Gradio's lose their words on the way, so a `UserError` travels as a result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

try:
    import spaces
except ImportError:
    spaces = None

from PIL import Image

from lelsd_core.device import report_out_of_memory
from lelsd_core.editor import Edit, Editor, Session
from lelsd_core.errors import UserError

Duration = float | Callable[..., float]
SECONDS: Mapping[str, Duration] = {  # what a visitor's quota must still hold; estimates with room to spare
    "edit": 5,
    "render": 5,
    "preview": 5,
    "paste": 5,
    "random_face": 5,
    "find_clear_seed": 10,
    "invert": 30,
    "discover": lambda session, config: 10 + 0.1 * config.steps * config.count,
    "calibrate": 30,
}


def lent() -> bool:
    """Whether this is a machine whose GPU is lent call by call."""
    return spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def gpu(seconds: Duration) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator for network work that takes about so many seconds; does nothing without the `spaces` package."""
    if spaces is None:
        return lambda task: task
    return lambda task: (of_generator if isgeneratorfunction(task) else of_function)(task, seconds)


def of_function(task: Callable[..., Any], seconds: Duration) -> Callable[..., Any]:
    """A function on the lent GPU."""

    @spaces.GPU(duration=seconds)
    @wraps(task)
    def there(*arguments: Any, **options: Any) -> Any:
        try:
            with report_out_of_memory():
                return task(*arguments, **options)
        except UserError as problem:
            return problem

    return wraps(task)(lambda *arguments, **options: told(there(*arguments, **options)))


def of_generator(task: Callable[..., Iterator[Any]], seconds: Duration) -> Callable[..., Iterator[Any]]:
    """A generator on the lent GPU."""

    @spaces.GPU(duration=seconds)
    @wraps(task)
    def there(*arguments: Any, **options: Any) -> Iterator[Any]:
        try:
            with report_out_of_memory():
                yield from task(*arguments, **options)
        except UserError as problem:
            yield problem

    @wraps(task)
    def here(*arguments: Any, **options: Any) -> Iterator[Any]:
        for result in there(*arguments, **options):
            yield told(result)

    return here


def told(result: Any) -> Any:
    """The result, unless it is an error that travelled as one: then that is raised."""
    if isinstance(result, UserError):
        raise result
    return result


class LentEditor(Editor):
    """An editor whose network work is done on the lent GPU, for pages that are served to many.

    Args:
        editor: the models, where the GPU will be.
        seed, first: the face that is there when the page opens, made before: nothing can be lent yet.
    """

    def __init__(self, editor: Editor, seed: int, first: Session) -> None:
        vars(self).update(vars(editor))
        self.work = {name: gpu(seconds)(getattr(editor, name)) for name, seconds in SECONDS.items()}
        self.seed, self.first = seed, first
        for name in SECONDS.keys() - {"edit", "paste", "random_face"}:
            setattr(self, name, self.work[name])

    def edit(self, session: Session, amounts: Mapping[str, float], *, protect: float = 0.0) -> Edit:
        """See `Editor.edit`; sliders at rest need no network."""
        edit = self.work["edit"] if any(amounts.values()) else super().edit
        return edit(session, amounts, protect=protect)

    def paste(
        self, session: Session, photo: Image.Image, edited: Image.Image, amounts: Mapping[str, float], *, how: str
    ) -> Image.Image:
        """See `Editor.paste`; only replacing a face needs a network."""
        paste = self.work["paste"] if how == "replace" else super().paste
        return paste(session, photo, edited, amounts, how=how)

    def random_face(self, seed: int) -> Session:
        """See `Editor.random_face`."""
        return self.first if seed == self.seed else self.work["random_face"](seed)
