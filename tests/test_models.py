"""Models prepared in the background: every stage, every failure, and the first model untouched by all of them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from demo import models as module
from demo.models import BUSY, ModelManager, ModelState, background_model
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError
from lelsd_core.galleries.local import GalleryProgress
from lelsd_core.weights.hub import DownloadProgress
from tests.toy import Halves, Painter, toy_editor

NAME = "lsun-church-256"  # any published generator


def large() -> Editor:
    """What is loaded in place of the published generator: no sliders yet."""
    painter = Painter()
    painter.name = NAME
    editor = toy_editor(painter, Halves())
    editor.directions = ()
    return editor


def gallery() -> list[GalleryProgress]:
    """DownloadProgress of a gallery of two parts: one gets a direction, one never occurs."""
    direction = replace(toy_editor(Painter(), Halves()).directions[0], low=-2.0)
    return [
        GalleryProgress("left", 0, 2, 0.5),
        GalleryProgress("left", 1, 2, 1.0, direction),
        GalleryProgress("right", 2, 2, 1.0, None, "right: never seen."),
    ]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What a manager uses of the rest of the project; tests change it."""
    world = SimpleNamespace(missing=("e4e-church",), fetch=fetch, load=lambda *_, **__: large(), gallery=gallery)
    monkeypatch.setattr(module, "missing", lambda name: world.missing)
    monkeypatch.setattr(module, "ensure", lambda name, report: [world.fetch(part, report) for part in world.missing])
    monkeypatch.setattr(module, "fetch", lambda name: None)
    monkeypatch.setattr(module, "load_editor", lambda *arguments, **options: world.load(*arguments, **options))
    monkeypatch.setattr(module, "fill_gallery", lambda *_, **__: iter(world.gallery()))
    return world


def fetch(name: str, report: Callable[[DownloadProgress], None]) -> None:
    """A download in two reports."""
    for done in (100_000_000, 959_033_364):
        report(DownloadProgress(name, "file.pt", done, 959_033_364))


@pytest.fixture
def manager() -> Iterator[ModelManager]:
    """A manager whose first model is the toy."""
    manager = ModelManager(toy_editor(Painter(), Halves()))
    yield manager
    manager.close()


def finished(manager: ModelManager, name: str = NAME, seconds: float = 60) -> ModelState:
    """The state of a model once it is not being prepared any more."""
    end = time.monotonic() + seconds
    while manager.state(name).stage in BUSY:
        assert time.monotonic() < end, manager.state(name)
        time.sleep(0.005)
    return manager.state(name)


def test_the_first_model_is_ready_and_others_are_absent(manager: ModelManager, world: SimpleNamespace) -> None:
    assert manager.state("painter") == ModelState("painter", "ready", "painter is ready, with 1 slider.", 1.0)
    assert manager.state(NAME) == ModelState(NAME, "absent", f"{NAME} is not loaded; 959 MB are to be fetched.")
    world.missing = ()
    assert manager.state(NAME).message == f"{NAME} is not loaded."
    with pytest.raises(UserError, match=f"{NAME} cannot be used yet"):
        manager.editor(NAME)
    assert [state.name for state in manager.states()] == ["painter"]


def test_a_model_is_fetched_loaded_and_filled(manager: ModelManager, world: SimpleNamespace) -> None:
    states: list[ModelState] = []

    def noted(results: Iterator[object]) -> Iterator[object]:
        for result in results:
            yield result
            states.append(manager.state(NAME))  # what the manager made of it

    world.fetch = lambda name, report: fetch(name, lambda progress: list(noted(map(report, [progress]))))
    world.load = lambda *_, **__: states.append(manager.state(NAME)) or large()
    world.gallery = lambda: noted(gallery())
    manager.start(NAME)
    states.append(finished(manager))
    assert [(state.stage, state.message) for state in states] == [
        ("fetching", "Fetching e4e-church: 100 of 959 MB."),
        ("fetching", "Fetching e4e-church: 959 of 959 MB."),
        ("loading", f"Loading {NAME}."),
        ("filling", "0 sliders so far; looking for left."),
        ("filling", "1 slider so far; looking for left."),
        ("filling", "1 slider so far; right: never seen."),
        ("ready", f"{NAME} is ready, with 1 slider."),
    ]
    assert [state.share for state in states if state.stage == "filling"] == [0.25, 0.5, 1.0]
    assert [direction.name for direction in manager.editor(NAME).directions] == ["left"]
    assert [state.name for state in manager.states()] == ["painter", NAME]


def test_a_model_can_be_used_while_its_sliders_are_searched(manager: ModelManager, world: SimpleNamespace) -> None:
    go_on, (first, *others) = threading.Event(), gallery()

    def slow() -> Iterator[GalleryProgress]:
        yield first
        go_on.wait(60)
        yield from others

    world.gallery = slow
    manager.start(NAME)
    while (state := manager.state(NAME)).stage != "filling":
        assert state.stage in BUSY, state
        time.sleep(0.005)
    early = manager.editor(NAME)
    session = early.random_face(1)
    go_on.set()
    finished(manager)
    assert early.directions == session.directions == ()  # editors and sessions never change
    late = manager.editor(NAME)
    assert late.generator is early.generator
    updated = late.update_session(session)
    assert [direction.name for direction in updated.directions] == ["left"]
    assert late.update_session(updated) is updated


def test_a_discovered_slider_keeps_its_place(manager: ModelManager, world: SimpleNamespace) -> None:
    own = replace(gallery()[1].direction, vector=-gallery()[1].direction.vector)
    editor = large()
    session = editor.random_face(1).with_directions([own])
    updated = editor.with_directions([gallery()[1].direction]).update_session(session)
    assert [direction.name for direction in updated.directions] == ["left", "left-2"]
    assert updated.directions[0] is session.directions[0]


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (UserError("it could not be fetched: no connection."), "it could not be fetched: no connection."),
        (RuntimeError("CUDA out of memory. Tried to"), f"{NAME} does not fit into the memory"),
        (KeyError("x"), f"{NAME} could not be prepared \\(KeyError\\); the other models stay usable"),
    ],
)
@pytest.mark.parametrize("where", ["fetch", "load", "gallery"])
def test_whatever_fails_the_first_model_stays_and_start_tries_again(
    manager: ModelManager, world: SimpleNamespace, where: str, problem: Exception, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise problem

    works = getattr(world, where)
    setattr(world, where, fail)
    manager.start(NAME)
    state = finished(manager)
    assert state.stage == "failed"
    assert re.match(words, state.message)
    assert manager.editor("painter").random_face(1)
    setattr(world, where, works)
    manager.start(NAME)
    assert finished(manager).stage == "ready"


def test_many_starts_are_one(manager: ModelManager, world: SimpleNamespace) -> None:
    loaded = []

    def load(*_: object, **__: object) -> Editor:
        loaded.append(1)
        return large()

    world.load = load
    threads = [threading.Thread(target=manager.start, args=[NAME]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    finished(manager)
    manager.start(NAME)
    finished(manager)
    manager.start("painter")
    assert loaded == [1]


def test_with_published_directions_nothing_is_searched(world: SimpleNamespace) -> None:
    loaded, searched = [], []

    def load(name: str, device: str, directions: str | None) -> Editor:
        loaded.append((name, device, directions))
        return large()

    world.load, world.gallery = load, lambda: searched.append(1) or []
    manager = ModelManager(toy_editor(Painter(), Halves()), "cpu", directions={NAME: "me/mine"})
    manager.start(NAME)
    assert finished(manager).stage == "ready"
    assert loaded == [(NAME, "cpu", "me/mine")]
    assert searched == []


@pytest.mark.parametrize("where", ["fetch", "gallery"])
def test_a_page_that_closes_ends_its_threads(manager: ModelManager, world: SimpleNamespace, where: str) -> None:
    under_way, go_on = threading.Event(), threading.Event()
    works = getattr(world, where)

    def slow(*arguments: object) -> object:
        under_way.set()
        go_on.wait(60)
        return works(*arguments)

    setattr(world, where, slow)
    manager.start(NAME)
    under_way.wait(60)
    manager.close()
    go_on.set()
    assert finished(manager) == ModelState(NAME, "failed", f"{NAME} was stopped.")


def test_a_slow_machine_is_mentioned(
    manager: ModelManager, world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "seconds_per_picture", lambda editor: 3.04)
    manager.start(NAME)
    assert finished(manager).message.endswith(" A picture takes about 3.0 s on this machine.")
    monkeypatch.setattr(Painter, "running_layer", lambda self, side: "8.paint")
    assert module.speed_message(large()).endswith("on this machine; a sketch of 256 pixels follows the slider.")


def test_an_unknown_model_is_refused_at_once(manager: ModelManager) -> None:
    with pytest.raises(UserError, match="did you mean lsun-church-256"):
        manager.start("lsun-church")


@pytest.mark.parametrize(
    ("cuda", "online", "cached", "expected"),
    [
        (True, True, False, "ffhq-1024"),
        (True, False, False, None),
        (True, False, True, "ffhq-1024"),
        (False, True, False, None),
        (False, True, True, None),
    ],
)
def test_the_large_model_is_for_a_gpu_and_files_that_can_be_had(cuda, online, cached, expected) -> None:
    assert background_model(cuda=cuda, online=online, cached=cached) == expected
