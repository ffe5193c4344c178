"""Loads generators in background threads and reports progress.

    absent --start--> fetching --> loading --> filling: directions appear one by one --> ready
                         └───────────┴────────────┴──> failed, with a message; `start` tries again

An `Editor` never changes. A model with another direction gets a new `Editor`, and sessions are updated from it.
"""

from __future__ import annotations

import html
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lelsd_core.cli.parser import FLAGSHIP
from lelsd_core.device import is_out_of_memory
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError
from lelsd_core.galleries.local import fill_gallery, gallery_folder
from lelsd_core.registry import load_editor
from lelsd_core.weights.catalogue import find_network, generator_names, generator_spec
from lelsd_core.weights.hub import DownloadProgress, ensure, fetch, missing

if TYPE_CHECKING:
    import torch

SLOW = 0.5  # seconds for a picture above which users are informed
BUSY = ("fetching", "loading", "filling")  # stages of a model that is being prepared
USABLE = ("filling", "ready")  # stages of a model that has an editor
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelState:
    """Progress of a model.

    Args:
        name: of the generator.
        stage: "absent", "fetching", "loading", "filling", "ready" or "failed".
        message: one or two sentences for the user.
        share: of this stage, 0 to 1; None if unknown.
    """

    name: str
    stage: str
    message: str
    share: float | None = None


class ModelManager:
    """The models of one page, by generator name. Thread-safe.

    Args:
        first: the editor that the page opens with.
        device: for the other models.
        directions: by generator name, the folder or Hub repository of its directions; without one, directions are
            searched for and kept in the generator's own gallery.
        lend: for a GPU that is lent for one call at a time (`demo.gpu`): wraps each editor once it is loaded.
    """

    def __init__(
        self,
        first: Editor,
        device: str | torch.device = "cpu",
        *,
        directions: Mapping[str, str | Path] | None = None,
        lend: Callable[[Editor], Editor] | None = None,
    ) -> None:
        self.first, self.device, self.directions = first.generator.name, device, dict(directions or {})
        self.lend = lend
        self.announced: str | None = None  # the model that the page itself prepares, which every visitor may know of
        self._editors = {self.first: first}
        self._states = {self.first: ModelState(self.first, "ready", ready_message(first), 1.0)}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def start(self, name: str) -> None:
        """Prepare a model in the background, unless this is under way or done.

        Raises:
            UserError: an unknown name, or a GPU that is lent only to the models that were there at the start.
        """
        state = self.state(name)
        with self._lock:
            if self._states.get(name, state).stage not in ("absent", "failed"):
                return
            if self.lend:
                raise UserError(
                    f"{name} was not there when the page started, and the GPU is lent to no other models; "
                    f"restart the page, with LELSD_GENERATOR={name} if this is the one to have."
                )
            self._states[name] = ModelState(name, "fetching", f"Looking for the files of {name}.")
        threading.Thread(target=self._prepare, args=[name], name=f"prepare {name}", daemon=True).start()

    def load(self, name: str) -> ModelState:
        """Prepare a model in this thread; how that ended. UserError for an unknown name."""
        generator_spec(name)
        self._prepare(name)
        return self.state(name)

    def fill_first(self) -> None:
        """Search for directions of the first model, in this thread, if it has no published ones."""
        if generator_spec(self.first).directions is None:
            self._prepare(self.first)

    def state(self, name: str) -> ModelState:
        """Progress of a model. UserError for an unknown name."""
        with self._lock:
            if name in self._states:
                return self._states[name]
        generator_spec(name)
        megabytes = megabytes_of(name)
        size = f"; {megabytes:.0f} MB are to be fetched" if megabytes else ""
        return ModelState(name, "absent", f"{name} is not loaded{size}.")

    def offered(self) -> list[tuple[str, str]]:
        """The models that a visitor may choose, all, or, with a lent GPU, those that were to be loaded.

        Each with a line on what its pictures show, and its download, and its name.
        """
        names = [state.name for state in self.states()] if self.lend else generator_names()
        return [(in_a_line(name), name) for name in names]

    def states(self) -> tuple[ModelState, ...]:
        """Progress of all models that were started, the first model first."""
        with self._lock:
            return tuple(self._states.values())

    def editor(self, name: str) -> Editor:
        """A model with all directions that it has so far. UserError while it is not loaded."""
        with self._lock:
            if name in self._editors:
                return self._editors[name]
        raise UserError(f"{name} cannot be used yet. {self.state(name).message}")

    def describe(self, name: str) -> str:
        """What a model is, with its licences, and its progress. UserError for an unknown name."""
        spec, state = generator_spec(name), self.state(name)
        share = "" if state.share is None or state.stage == "ready" else f" ({state.share:.0%})"
        news = f"{state.message}{share}"
        if state.stage == "failed":
            details = f"<details><summary>Details</summary>{html.escape(state.message)}</details>"
            news = f"{name} could not be prepared; the other models stay usable. The button tries again.\n\n{details}"
        runs = f"Parts are found by {spec.segmenter}; it runs on {self.editor(self.first).generator.device}"
        runs += f" and takes up to {spec.memory:g} GB of memory." if spec.memory else "."
        return f"{spec.about}. Weights: {spec.licence}. Training data: {spec.data}. {runs}\n\n{news}"

    def close(self) -> None:
        """Start nothing more; threads end at their next step."""
        self._closed.set()

    def _report(self, name: str, stage: str, message: str, share: float | None = None) -> None:
        if self._closed.is_set() and stage != "failed":
            raise ClosedError
        with self._lock:
            self._states[name] = ModelState(name, stage, message, share)

    def _set_editor(self, name: str, editor: Editor) -> None:
        with self._lock:
            self._editors[name] = editor

    def _prepare(self, name: str) -> None:
        """Fetch, load, fill: the thread of one model. Failures do not touch the other models.

        On a lent GPU nothing is timed, and nothing searched for: only visitors' own calls are paid for.
        """
        try:
            if name in self._editors:
                editor = self._editors[name]
            else:
                self._fetch(name)
                self._report(name, "loading", f"Loading {name}.")
                editor = load_editor(name, self.device, directions=self.directions.get(name))
            editor = self.lend(editor) if self.lend else editor
            speed = "" if self.lend else speed_message(editor)
            self._set_editor(name, editor)
            if not (self.lend or self.directions.get(name) or generator_spec(name).directions):
                editor = self._fill(name, editor)
            self._report(name, "ready", ready_message(editor) + speed, 1.0)
        except ClosedError:
            self._report(name, "failed", f"{name} was stopped.")
        except UserError as error:
            self._report(name, "failed", str(error))
        except Exception as error:
            log.exception("%s could not be prepared", name)
            message = (
                f"could not be prepared ({type(error).__name__}); the other models stay usable, the log says more."
            )
            if is_out_of_memory(error):
                message = "does not fit into the memory of this machine; the other models stay usable."
            self._report(name, "failed", f"{name} {message}")

    def _fetch(self, name: str) -> None:
        """Download everything that a model needs. UserError, before the first byte, if something cannot be had."""

        def report(progress: DownloadProgress) -> None:
            done, total = progress.done / 1e6, progress.total / 1e6
            share = done / total if total else None
            self._report(name, "fetching", f"Fetching {progress.name}: {done:.0f} of {total:.0f} MB.", share)

        is_new = bool(missing(name))
        ensure(name, report=report)
        if is_new and generator_spec(name).shows_faces:
            with suppress(UserError):  # a second face detector; the one in checkpoints/ is enough
                fetch("yunet")

    def _fill(self, name: str, editor: Editor) -> Editor:
        """Search for the missing directions of a model and add each when it is found; returns the last editor."""
        present = {direction.name for direction in editor.directions}
        generator = editor.generator
        folder = gallery_folder(generator.fingerprint, generator.sha256)
        for progress in fill_gallery(generator, editor.segmenter, folder, aligner=editor.aligner):
            if progress.direction and progress.direction.name not in present:
                editor = editor.with_directions([progress.direction])
                self._set_editor(name, editor)
            share = (progress.done + (progress.share if progress.share < 1 else 0)) / progress.total
            message = progress.words or f"looking for {progress.name}."
            self._report(name, "filling", f"{count_sliders(editor)} so far; {message}", share)
        return editor


class ClosedError(Exception):
    """The page is closing."""


def opening_seed(name: str) -> int:
    """Seed of the random face that a generator opens with. UserError for an unknown name."""
    return generator_spec(name).first_seed


def background_model(*, cuda: bool, online: bool, cached: bool = False) -> str | None:
    """The model that `--generator auto` prepares behind the page: the large one, if a GPU and its files are there.

    Args:
        cuda: whether there is a GPU.
        online: whether the Hub may be used and answers.
        cached: whether all files of the large model are on this machine.
    """
    return FLAGSHIP if cuda and (online or cached) else None


def count_sliders(editor: Editor) -> str:
    """1 slider, 2 sliders."""
    count = len(editor.directions)
    return f"{count} slider{'' if count == 1 else 's'}"


def megabytes_of(name: str) -> float:
    """What is to be fetched before a model can be used."""
    return sum(find_network(part).megabytes for part in missing(name))


def in_a_line(name: str) -> str:
    """A model's name, what its pictures show, and what is to be fetched."""
    shows = generator_spec(name).about.rpartition(", ")[2].removeprefix(f"{name} ")
    size = megabytes_of(name)
    return f"{name}: {shows}" + (f", {size:.0f} MB to fetch" if size else "")


def ready_message(editor: Editor) -> str:
    """That a model is loaded, and how many sliders it has."""
    sliders = f", with {count_sliders(editor)}" if editor.directions else "; it has no sliders yet"
    return f"{editor.generator.name} is ready{sliders}."


def speed_message(editor: Editor) -> str:
    """How long a picture takes on this machine, if it is slow; otherwise ""."""
    seconds = seconds_per_picture(editor)
    if seconds < SLOW:
        return ""
    has_preview = editor.generator.running_layer(editor.preview_size) is not None
    preview = f"; a sketch of {editor.preview_size} pixels follows the slider" if has_preview else ""
    return f" A picture takes about {seconds:.1f} s on this machine{preview}."


def seconds_per_picture(editor: Editor) -> float:
    """Time of one picture; the second of two, so that loading and warming up do not count."""
    for _ in range(2):
        start = time.perf_counter()
        editor.random_face(0)
    return time.perf_counter() - start
