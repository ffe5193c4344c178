"""Models prepared behind a page: every stage, every failure, and the page's first model untouched by all of them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from demo import models as module
from demo.models import Choice, ModelManager, ModelState, choose
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError
from lelsd_core.galleries.local import GalleryProgress
from lelsd_core.weights.hub import Progress
from tests.toy import Halves, Painter, toy_editor

NAME = "lsun-church-256"  # any published generator


def large() -> Editor:
    """What is loaded in place of the published generator: no sliders yet."""
    painter = Painter()
    painter.name = NAME
    editor = toy_editor(painter, Halves())
    editor.directions = ()
    return editor


def news() -> list[GalleryProgress]:
    """A gallery of two parts: one is found, one never occurs."""
    found = replace(toy_editor(Painter(), Halves()).directions[0], low=-2.0)
    return [
        GalleryProgress("left", 0, 2, 0.5),
        GalleryProgress("left", 1, 2, 1.0, found),
        GalleryProgress("right", 2, 2, 1.0, None, "right: never seen."),
    ]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What a shelf asks of the rest of the project; tests change it."""
    world = SimpleNamespace(missing=("e4e-church",), fetch=fetch, load=lambda *_, **__: large(), news=news)
    monkeypatch.setattr(module, "missing_files", lambda name: world.missing)
    monkeypatch.setattr(module, "fetch", lambda name, report: world.fetch(name, report))
    monkeypatch.setattr(module, "load_editor", lambda *given, **options: world.load(*given, **options))
    monkeypatch.setattr(module, "fill_gallery", lambda *_: iter(world.news()))
    return world


def fetch(name: str, report: Callable[[Progress], None]) -> None:
    """A download in two reports."""
    for done in (100_000_000, 959_033_364):
        report(Progress(name, "file.pt", done, 959_033_364))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[ModelState]:
    """Every state that any shelf goes through."""
    states: list[ModelState] = []
    tell = ModelManager._tell

    def told(self: ModelManager, *state: object) -> None:
        states.append(ModelState(*state))
        tell(self, *state)

    monkeypatch.setattr(ModelManager, "_tell", told)
    return states


@pytest.fixture
def shelf() -> Iterator[ModelManager]:
    """A shelf whose first model is the toy."""
    shelf = ModelManager(toy_editor(Painter(), Halves()))
    yield shelf
    shelf.close()


def settled(shelf: ModelManager, name: str = NAME, seconds: float = 60) -> ModelState:
    """The state of a model once nothing is under way any more."""
    until = time.monotonic() + seconds
    while shelf.state(name).stage in ("fetching", "loading", "filling"):
        assert time.monotonic() < until, shelf.state(name)
        time.sleep(0.005)
    return shelf.state(name)


def test_the_first_model_is_ready_and_others_are_absent(shelf: ModelManager, world: SimpleNamespace) -> None:
    assert shelf.state("painter") == ModelState("painter", "ready", "painter is ready, with 1 slider.", 1.0)
    assert shelf.state(NAME) == ModelState(NAME, "absent", f"{NAME} is not loaded; 959 MB are to be fetched.")
    world.missing = ()
    assert shelf.state(NAME).words == f"{NAME} is not loaded."
    with pytest.raises(UserError, match=f"{NAME} cannot be used yet"):
        shelf.editor(NAME)
    assert [state.name for state in shelf.states()] == ["painter"]


def test_a_model_is_fetched_loaded_and_filled(
    shelf: ModelManager, world: SimpleNamespace, told: list[ModelState]
) -> None:
    shelf.start(NAME)
    assert settled(shelf).stage == "ready"
    assert [(state.stage, state.words) for state in told] == [
        ("fetching", "Fetching e4e-church: 100 of 959 MB."),
        ("fetching", "Fetching e4e-church: 959 of 959 MB."),
        ("loading", f"Loading {NAME}."),
        ("filling", "0 sliders so far; looking for left."),
        ("filling", "1 slider so far; looking for left."),
        ("filling", "1 slider so far; right: never seen."),
        ("ready", f"{NAME} is ready, with 1 slider."),
    ]
    shares = [state.share for state in told if state.stage == "filling"]
    assert shares == [0.25, 0.5, 1.0]
    assert [direction.name for direction in shelf.editor(NAME).directions] == ["left"]
    assert [state.name for state in shelf.states()] == ["painter", NAME]


def test_a_model_can_be_used_while_its_sliders_are_searched(shelf: ModelManager, world: SimpleNamespace) -> None:
    go_on, given = threading.Event(), news()

    def slow() -> Iterator[GalleryProgress]:
        yield given[0]
        go_on.wait(60)
        yield from given[1:]

    world.news = slow
    shelf.start(NAME)
    while shelf.state(NAME).stage != "filling":
        time.sleep(0.005)
    early = shelf.editor(NAME)
    session = early.random_face(1)
    go_on.set()
    settled(shelf)
    assert early.directions == session.directions == ()  # what somebody holds never changes
    late = shelf.editor(NAME)
    assert late.generator is early.generator
    updated = late.update_session(session)
    assert [direction.name for direction in updated.directions] == ["left"]
    assert late.update_session(updated) is updated


def test_a_slider_of_ones_own_keeps_its_place(shelf: ModelManager, world: SimpleNamespace) -> None:
    own = replace(news()[1].direction, vector=-news()[1].direction.vector)
    editor = large()
    session = editor.random_face(1).with_directions([own])
    updated = editor.with_directions([news()[1].direction]).update_session(session)
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
@pytest.mark.parametrize("where", ["fetch", "load", "news"])
def test_whatever_fails_the_first_model_stays_and_start_tries_again(
    shelf: ModelManager, world: SimpleNamespace, where: str, problem: Exception, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise problem

    works = getattr(world, where)
    setattr(world, where, fail)
    shelf.start(NAME)
    state = settled(shelf)
    assert state.stage == "failed"
    assert re.match(words, state.words)
    assert shelf.editor("painter").random_face(1)
    setattr(world, where, works)
    shelf.start(NAME)
    assert settled(shelf).stage == "ready"


def test_many_starts_are_one(shelf: ModelManager, world: SimpleNamespace) -> None:
    loaded = []

    def load(*_: object, **__: object) -> Editor:
        loaded.append(1)
        return large()

    world.load = load
    threads = [threading.Thread(target=shelf.start, args=[NAME]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settled(shelf)
    shelf.start(NAME)
    settled(shelf)
    shelf.start("painter")
    assert loaded == [1]


def test_with_somebodys_directions_nothing_is_searched(world: SimpleNamespace, told: list[ModelState]) -> None:
    given = []

    def load(name: str, device: str, directions: str | None) -> Editor:
        given.append((name, device, directions))
        return large()

    world.load = load
    shelf = ModelManager(toy_editor(Painter(), Halves()), "cpu", directions={NAME: "me/mine"})
    shelf.start(NAME)
    assert settled(shelf).stage == "ready"
    assert given == [(NAME, "cpu", "me/mine")]
    assert "filling" not in {state.stage for state in told}


@pytest.mark.parametrize("where", ["fetch", "news"])
def test_a_page_that_closes_ends_what_is_under_way(shelf: ModelManager, world: SimpleNamespace, where: str) -> None:
    under_way, go_on = threading.Event(), threading.Event()
    works = getattr(world, where)

    def slow(*given: object) -> object:
        under_way.set()
        go_on.wait(60)
        return works(*given)

    setattr(world, where, slow)
    shelf.start(NAME)
    under_way.wait(60)
    shelf.close()
    go_on.set()
    assert settled(shelf) == ModelState(NAME, "failed", f"{NAME} was stopped.")


def test_a_slow_machine_is_told(shelf: ModelManager, world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "seconds_a_picture", lambda editor: 3.04)
    shelf.start(NAME)
    assert settled(shelf).words.endswith(" A picture takes about 3.0 s on this machine.")
    monkeypatch.setattr(Painter, "running_layer", lambda self, side: "8.paint")
    assert module.speed_words(large()).endswith("on this machine; a sketch of 256 pixels follows the slider.")


def test_an_unknown_model_is_refused_at_once(shelf: ModelManager) -> None:
    with pytest.raises(UserError, match="did you mean lsun-church-256"):
        shelf.start("lsun-church")


@pytest.mark.parametrize(
    ("cuda", "reachable", "offline", "cached", "wanted"),
    [
        (True, True, False, False, "ffhq-1024"),
        (True, False, False, False, None),
        (True, True, True, False, None),
        (True, False, True, True, "ffhq-1024"),
        (False, True, False, False, None),
        (False, True, False, True, None),
    ],
)
def test_the_large_model_is_for_a_gpu_that_can_have_it(cuda, reachable, offline, cached, wanted) -> None:
    choice = choose(cuda=cuda, reachable=reachable, offline=offline, cached=cached)
    assert choice == Choice("digiface-64", wanted)
