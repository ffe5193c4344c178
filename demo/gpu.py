"""Runs the editor's network calls on a GPU that is lent for one call at a time, as on ZeroGPU Spaces.

session, amounts  --pickled-->  one method of `Editor` in a forked process with the GPU  --pickled-->  picture

Arguments and results are on the CPU and hold no model. The `spaces` package must be imported before torch: until the
page is launched it emulates CUDA, in the main thread alone. What is on that device by then is lent, and what other
threads load is not. Outside the forked processes, lent weights read as zeros after the launch. `spaces` drops the
message of every error but Gradio's own, so a `UserError` is returned as a result and raised on this side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from lelsd_core.segmenters import FeatureSegmenter

Duration = float | Callable[..., float]
SECONDS: Mapping[str, Duration] = {  # upper estimates, which a visitor's quota must still hold
    "edit": 5,
    "render": 5,
    "preview": 5,
    "paste": 5,
    "random_face": 5,
    "find_clear_seed": 10,
    "part_labels": 5,
    "invert": 30,
    "take": 5,
    "discover": lambda session, config: 10 + 0.1 * config.steps * config.count,
    "calibrate": 30,
}


def is_lent() -> bool:
    """Whether this machine's GPU is lent for one call at a time."""
    return spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def on_lent_gpu(task: Callable[..., Any], seconds: Duration) -> Callable[..., Any]:
    """A function or generator function, run on the lent GPU; the task itself without the `spaces` package."""
    if spaces is None:
        return task

    @wraps(task)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            with report_out_of_memory():
                return task(*arguments, **options)
        except UserError as error:
            return error

    @wraps(task)
    def iterate(*arguments: Any, **options: Any) -> Iterator[Any]:
        try:
            with report_out_of_memory():
                yield from task(*arguments, **options)
        except UserError as error:
            yield error

    is_generator = isgeneratorfunction(task)
    remote = spaces.GPU(duration=seconds)(iterate if is_generator else call)

    def call_remote(*arguments: Any, **options: Any) -> Any:
        return raise_error(remote(*arguments, **options))

    def iterate_remote(*arguments: Any, **options: Any) -> Iterator[Any]:
        for result in remote(*arguments, **options):
            yield raise_error(result)

    return wraps(task)(iterate_remote if is_generator else call_remote)


def raise_error(result: Any) -> Any:
    """The result itself, unless it is a `UserError`, which is raised."""
    if isinstance(result, UserError):
        raise result
    return result


class LentEditor(Editor):
    """An editor that runs its networks on the lent GPU.

    Args:
        editor: the models, on the device of the lent GPU.
        seed, first: the random face that the page opens with, rendered beforehand, when no GPU can be lent.
    """

    def __init__(self, editor: Editor, seed: int | None = None, first: Session | None = None) -> None:
        vars(self).update(vars(editor))
        self.remote = {name: on_lent_gpu(getattr(editor, name), seconds) for name, seconds in SECONDS.items()}
        self.seed, self.first = seed, first
        for name in SECONDS.keys() - {"edit", "paste", "random_face"}:
            setattr(self, name, self.remote[name])

    def knowing(self, regions: Sequence[FeatureSegmenter]) -> Editor:
        """See `Editor.knowing`. UserError for any regions, which would be fitted on the lent GPU."""
        if regions:
            raise UserError("Regions of one's own are not to be had here, where the GPU is lent; duplicate the Space.")
        return self

    def edit(self, session: Session, amounts: Mapping[str, float], *, protect: float = 0.0) -> Edit:
        """See `Editor.edit`; amounts of 0 need no network."""
        edit = self.remote["edit"] if any(amounts.values()) else super().edit
        return edit(session, amounts, protect=protect)

    def paste(
        self, session: Session, photo: Image.Image, edited: Image.Image, amounts: Mapping[str, float], *, how: str
    ) -> Image.Image:
        """See `Editor.paste`; only replacing a face needs a network."""
        paste = self.remote["paste"] if how == "replace" else super().paste
        return paste(session, photo, edited, amounts, how=how)

    def random_face(self, seed: int, truncation: float | None = None) -> Session:
        """See `Editor.random_face`."""
        if self.first and seed == self.seed and truncation in (None, self.first.truncation):
            return self.first
        return self.remote["random_face"](seed, truncation)
