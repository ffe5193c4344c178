"""The page on a GPU that is lent for one call at a time: values survive pickling, errors keep their messages."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from functools import wraps
from inspect import isgeneratorfunction
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from app import load_all
from demo import gpu, models
from demo.callbacks import Callbacks
from demo.gpu import SECONDS, LentEditor
from demo.models import ModelManager
from demo.options import Settings
from demo.page import build_page
from lelsd_core.editor import Editor, InversionOptions
from lelsd_core.errors import UserError
from lelsd_core.seeds import HELD_OUT
from lelsd_core.weights import catalogue
from tests.hub_server import Fault
from tests.page_events import Visitor
from tests.tiny_flagship import E4E, NAME

ROOT = Path(__file__).parents[1]
SEED = 45


def carried(thing):
    """A copy as another process receives it."""
    return pickle.loads(bytes(ForkingPickler.dumps(thing)))


class Lender:
    """As much of the `spaces` package as is used: pickles both ways, loses the words of errors, counts its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []
        self.running = 0  # generators

    def GPU(self, duration):  # noqa: N802
        def decorate(task):
            assert not getattr(task, "lent", False)

            @wraps(task)
            def function(*arguments, **options):
                self.note(task, duration, arguments, options)
                return carried(self.run(task, *carried((arguments, options))))

            @wraps(task)
            def generator(*arguments, **options):
                self.note(task, duration, arguments, options)
                results = self.run(task, *carried((arguments, options)))
                self.running += 1
                try:
                    while (result := self.run(next, (results, None), {})) is not None:
                        yield carried(result)
                finally:
                    self.running -= 1

            return generator if isgeneratorfunction(task) else function

        return decorate

    def note(self, task, duration, arguments, options) -> None:
        """One call more."""
        self.calls.append((task.__name__, duration(*arguments, **options) if callable(duration) else duration))

    def run(self, task, arguments, options):
        """The task in the other process."""
        try:
            return task(*arguments, **options)
        except gr.Error:
            raise
        except Exception as problem:
            raise gr.Error("ZeroGPU worker error: " + type(problem).__name__) from None


@pytest.fixture
def lender(monkeypatch) -> Lender:
    made = Lender()
    monkeypatch.setattr(gpu, "spaces", made)
    return made


@pytest.fixture
def lent(lender, editor) -> LentEditor:
    return LentEditor(editor, SEED, editor.random_face(SEED))


def test_a_page_is_built_before_anything_can_be_lent(lent, lender):
    build_page(ModelManager(lent), seed=SEED, live=False)
    assert lender.calls == []


def test_an_edit_is_what_it_is_on_a_gpu_of_ones_own(lent, lender, editor):
    session = lent.random_face(SEED + 1)
    name = editor.directions[0].name
    theirs, ours = lent.edit(session, {name: 2.0}), editor.edit(session, {name: 2.0})
    assert np.array_equal(np.asarray(theirs.picture), np.asarray(ours.picture))
    assert theirs.locality == ours.locality
    lent.edit(session, {name: 0.0})
    assert [call for call, _ in lender.calls] == ["random_face", "edit"], "sliders at rest cost nothing"


def test_a_photo_a_search_and_a_new_slider_go_there_and_back(lent, lender, astronaut, monkeypatch):
    monkeypatch.setattr("demo.discover_tab.CALIBRATION_SEEDS", HELD_OUT[:8])
    visitor = Visitor(lent, spare=1)
    visitor.open(astronaut)
    last = visitor.does(visitor.discovering.discover, parts=["eyes"], steps=2, search_seed=1)
    assert last["strip"].width > 0
    visitor.does(visitor.discovering.add_slider, name="mine")
    session = visitor.face.session
    assert session.directions[-1].name == "mine"
    assert visitor.does(visitor.saving.download)["download_url"].startswith("data:image/png")
    visitor.does(visitor.opening.random_clear_face)
    visitor.moves(mine=50)
    lent.paste(session, astronaut, session.original, {}, how="replace")
    lent.preview(session, {})
    lent.take(session, "background", session)
    assert {call for call, _ in lender.calls} == SECONDS.keys()
    durations = dict(lender.calls)
    assert durations["discover"] == pytest.approx(10.2), "asked for by its steps"
    assert all(0 < seconds <= 60 for seconds in durations.values())


def test_each_event_of_an_inversion_has_the_gpu_to_itself(lent, lender, editor, astronaut):
    visitor = Visitor(lent)
    lender.calls.clear()
    visitor.does(visitor.opening.open_photo, upload=astronaut)
    assert lender.calls[0][0] == "invert"
    assert lender.running == 0, "the GPU is given back when the event ends"
    refining = visitor.steps(visitor.opening.refine)
    next(refining)
    assert lender.running == 1
    visitor.does(visitor.opening.adopt)
    ours = editor.invert(astronaut)
    next(ours)
    assert visitor.face.session.codes.equal(next(ours).codes)
    visitor.does(visitor.opening.stop_refining)
    assert list(refining) == []
    assert lender.running == 0
    assert [call for call, _ in lender.calls if call == "invert"] == ["invert", "invert"]


def test_models_are_loaded_before_the_launch_and_no_others_are_offered(lent, lender, hub, monkeypatch, capsys):
    monkeypatch.setattr(models, "FLAGSHIP", NAME)
    monkeypatch.setattr(catalogue, "generator_names", lambda: ("digiface-64", "lsun-church-256"))
    server, manager = hub(), ModelManager(lent, lend=LentEditor)
    load_all(manager, Settings(generator="digiface-64"))
    assert server.requests == [], "a Space that names its generator gets no other"
    load_all(manager, Settings())
    assert capsys.readouterr().out == f"{NAME} is ready; it has no sliders yet.\n"
    large = manager.editor(NAME)
    assert large.random_face(1).original.size == (32, 32)
    assert [call for call, _ in lender.calls] == ["random_face"], "neither timed nor searched"
    assert [name for _, name in manager.offered()] == ["digiface-64", NAME]
    with pytest.raises(UserError, match="restart the page, with LELSD_GENERATOR=lsun-church-256"):
        manager.start("lsun-church-256")


def test_a_model_that_cannot_be_fetched_is_told_and_the_page_starts_without_it(lent, hub):
    hub({E4E: [Fault(status=404)]})
    manager = ModelManager(lent, lend=LentEditor)
    assert "e4e-tiny could not be fetched" in manager.load(NAME).message
    visitor = Visitor(Callbacks(manager, len(lent.directions)))
    status = visitor.does(visitor.opening.model_status, model=NAME)["model_info"]
    assert f"{NAME} could not be prepared" in status
    assert "e4e-tiny could not be fetched" in status, "under Details"
    assert visitor.does(visitor.opening.show_news)["model_info"] != status, "which is nobody's first page"


def test_every_networks_method_of_the_editor_is_looked_after():
    assert all(callable(getattr(Editor, name)) for name in SECONDS)


def test_errors_keep_their_words(lent, astronaut, monkeypatch):
    with pytest.raises(UserError, match="No face was found"):
        lent.detect(Image.new("RGB", (200, 200), "green"))
    with pytest.raises(UserError, match="closeness"):
        list(lent.invert(lent.detect(astronaut), InversionOptions(closeness="no such")))

    def short(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("lelsd_core.editor.renderer.Unedited.edited", short)
    session = lent.random_face(SEED)
    with pytest.raises(UserError, match="not enough memory"):
        lent.edit(session, {lent.directions[0].name: 1.0})


def test_without_the_package_nothing_is_wrapped_and_nothing_is_lent(monkeypatch):
    monkeypatch.setattr(gpu, "spaces", None)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert gpu.on_lent_gpu(len, 5) is len
    assert not gpu.is_lent()


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("", False), ("false", False)])
def test_a_gpu_is_lent_where_the_space_says_so(monkeypatch, value, expected):
    monkeypatch.setattr(gpu, "spaces", SimpleNamespace())
    monkeypatch.setenv("SPACES_ZERO_GPU", value)
    assert gpu.is_lent() is expected


def test_the_package_is_imported_before_torch(tmp_path):
    (tmp_path / "spaces.py").write_text("import sys\nassert 'torch' not in sys.modules, 'torch came first'\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "app.py", "--directions", "nowhere/at/all", "--offline"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "There is no folder" in done.stderr, done.stderr
