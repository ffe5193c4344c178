"""The models of one running page: one is there when it opens, others are prepared behind it and offered when ready.

    absent --start--> fetching --> loading --> filling: sliders appear one by one --> ready
                         └───────────┴────────────┴──> failed, in a sentence; start tries again

An `Editor` never changes, so a model that gets another slider gets another `Editor`; sessions catch up with it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lelsd_core.device import is_out_of_memory
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError
from lelsd_core.galleries.local import fill_gallery, gallery_folder
from lelsd_core.registry import load_editor
from lelsd_core.weights.catalogue import find_network, generator_spec
from lelsd_core.weights.hub import Progress, ensure, fetch, missing

if TYPE_CHECKING:
    import torch


SHIPPED, FLAGSHIP = "digiface-64", "ffhq-1024"
SLOW = 0.5  # seconds a picture from which a person is told
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelState:
    """Where a model stands.

    Args:
        name: the generator's.
        stage: "absent", "fetching", "loading", "filling", "ready" or "failed".
        words: one or two sentences for people.
        share: of this stage, 0 to 1; None where nobody knows.
    """

    name: str
    stage: str
    words: str
    share: float | None = None


@dataclass(frozen=True)
class Choice:
    """What a page opens with, and what it prepares behind that, if anything."""

    first: str
    wanted: str | None = None


def choose(*, cuda: bool, reachable: bool, offline: bool, cached: bool = False) -> Choice:
    """What `--generator auto` means.

    Args:
        cuda: whether there is a GPU that makes the large model quick.
        reachable: whether the Hub answers.
        offline: whether the network may not be used.
        cached: whether all files of the large model are on this machine, so that no network is needed.
    """
    available = cached or (reachable and not offline)
    return Choice(SHIPPED, FLAGSHIP if cuda and available else None)


class ModelManager:
    """The models of one page, by name; safe to use from any thread.

    Args:
        first: the editor that the page opens with.
        device: where others run.
        directions: folder, or repository on the Hub, of a generator's directions, by its name; others fill their own
            galleries.
    """

    def __init__(
        self,
        first: Editor,
        device: str | torch.device = "cpu",
        *,
        directions: Mapping[str, str | Path] | None = None,
    ) -> None:
        self.first, self.device, self.directions = first.generator.name, device, dict(directions or {})
        self._editors = {self.first: first}
        self._states = {self.first: ModelState(self.first, "ready", ready_words(first), 1.0)}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def start(self, name: str) -> None:
        """Prepare a model in the background, unless that is under way or done. UserError for an unknown name."""
        state = self.state(name)
        with self._lock:
            if self._states.get(name, state).stage not in ("absent", "failed"):
                return
            self._states[name] = ModelState(name, "fetching", f"Looking for the files of {name}.")
        threading.Thread(target=self._prepare, args=[name], name=f"prepare {name}", daemon=True).start()

    def fill_first(self) -> None:
        """Search sliders for the model that the page opened with, if none ship and none are published."""
        if generator_spec(self.first).directions is None:
            self._prepare(self.first)

    def state(self, name: str) -> ModelState:
        """Where a model stands. UserError for an unknown name."""
        with self._lock:
            if name in self._states:
                return self._states[name]
        return ModelState(name, "absent", absent_words(name))

    def states(self) -> tuple[ModelState, ...]:
        """Of all models that were ever started, the first one first."""
        with self._lock:
            return tuple(self._states.values())

    def editor(self, name: str) -> Editor:
        """A model with all sliders that it has by now. UserError while it is not loaded."""
        with self._lock:
            if name in self._editors:
                return self._editors[name]
        raise UserError(f"{name} cannot be used yet. {self.state(name).words}")

    def close(self) -> None:
        """Begin nothing new; what is under way ends at its next step."""
        self._closed.set()

    def _tell(self, name: str, stage: str, words: str, share: float | None = None) -> None:
        with self._lock:
            self._states[name] = ModelState(name, stage, words, share)

    def _put(self, name: str, editor: Editor) -> None:
        with self._lock:
            self._editors[name] = editor

    def _prepare(self, name: str) -> None:
        """Fetch, load, fill; the thread of one model. Whatever goes wrong, the other models stay as they are."""
        try:
            editor = self._loaded(name)
            speed = speed_words(editor)
            self._put(name, editor)
            if not (self.directions.get(name) or generator_spec(name).directions):
                editor = self._fill(name, editor)
            if self._closed.is_set():
                raise ClosedError
            self._tell(name, "ready", ready_words(editor) + speed, 1.0)
        except ClosedError:
            self._tell(name, "failed", f"{name} was stopped.")
        except UserError as problem:
            self._tell(name, "failed", str(problem))
        except Exception as problem:
            log.exception("%s could not be prepared", name)
            self._tell(name, "failed", trouble_words(name, problem))

    def _loaded(self, name: str) -> Editor:
        """The models of a name, from this shelf or from their files."""
        if name in self._editors:
            return self._editors[name]
        self._fetch(name)
        self._tell(name, "loading", f"Loading {name}.")
        return load_editor(name, self.device, directions=self.directions.get(name))

    def _fetch(self, name: str) -> None:
        """Everything that belongs to a model and is not here. UserError for what cannot be had."""

        def tell(progress: Progress) -> None:
            if self._closed.is_set():
                raise ClosedError
            done, total = progress.done / 1e6, progress.total / 1e6
            share = done / total if total else None
            self._tell(name, "fetching", f"Fetching {progress.name}: {done:.0f} of {total:.0f} MB.", share)

        absent = missing(name)
        ensure(name, report=tell)
        if absent and generator_spec(name).shows_faces:
            with suppress(UserError):  # another detector; what ships finds faces, too
                fetch("yunet")

    def _fill(self, name: str, editor: Editor) -> Editor:
        """Search the sliders that a generator does not have yet, and offer each as it is found; the last editor."""
        there = {direction.name for direction in editor.directions}
        generator, segmenter = editor.generator, editor.segmenter
        for news in fill_gallery(generator, segmenter, gallery_folder(generator.fingerprint)):
            if self._closed.is_set():
                raise ClosedError
            if news.direction and news.direction.name not in there:
                editor = editor.with_directions([news.direction])
                self._put(name, editor)
            share = (news.done + (news.share if news.share < 1 else 0)) / news.total
            words = f"{how_many(len(editor.directions))} so far; {news.words or f'looking for {news.part}.'}"
            self._tell(name, "filling", words, share)
        return editor


class ClosedError(Exception):
    """The page is closing."""


def absent_words(name: str) -> str:
    """What it would take to have a model. UserError for an unknown name."""
    generator_spec(name)
    megabytes = sum(find_network(part).megabytes for part in missing(name))
    return f"{name} is not loaded; {megabytes:.0f} MB are to be fetched." if megabytes else f"{name} is not loaded."


def how_many(sliders: int) -> str:
    """1 slider, 2 sliders."""
    return f"{sliders} slider{'' if sliders == 1 else 's'}"


def ready_words(editor: Editor) -> str:
    """What a loaded model offers."""
    name, count = editor.generator.name, len(editor.directions)
    return f"{name} is ready, with {how_many(count)}." if count else f"{name} is ready; no sliders were found for it."


def speed_words(editor: Editor) -> str:
    """How long a picture takes here, where a person would notice; "" where not."""
    seconds = seconds_a_picture(editor)
    if seconds < SLOW:
        return ""
    sketched = editor.generator.running_layer(editor.preview_size) is not None
    rough = f"; a sketch of {editor.preview_size} pixels follows the slider" if sketched else ""
    return f" A picture takes about {seconds:.1f} s on this machine{rough}."


def seconds_a_picture(editor: Editor) -> float:
    """How long one whole picture takes on this machine: the second of two."""
    for _ in range(2):
        began = time.perf_counter()
        editor.random_face(0)
    return time.perf_counter() - began


def trouble_words(name: str, problem: Exception) -> str:
    """A sentence for what nobody expected; the log has the rest."""
    if is_out_of_memory(problem):
        return f"{name} does not fit into the memory of this machine; the other models stay usable."
    return f"{name} could not be prepared ({type(problem).__name__}); the other models stay usable, the log says more."
