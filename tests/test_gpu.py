"""The page on a GPU that is lent call by call: what goes there and back survives pickling, errors keep their words."""

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

from demo import gpu
from demo.callbacks import VIEWS, Callbacks
from demo.gpu import SECONDS, LentEditor
from demo.page import build_page
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError
from lelsd_core.specs import GENERATORS

ROOT = Path(__file__).parents[1]
RECIPE = GENERATORS["digiface-64"].discover
SEED = 45


def carried(thing):
    """What arrives of a thing in another process."""
    return pickle.loads(bytes(ForkingPickler.dumps(thing)))


class Lender:
    """As much of the `spaces` package as is used: pickles both ways, loses the words of errors, counts its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []

    def GPU(self, duration):  # noqa: N802
        def decorate(task):
            assert not getattr(task, "lent", False)

            @wraps(task)
            def function(*arguments):
                self.note(task, duration, arguments)
                return carried(self.run(task, carried(arguments)))

            @wraps(task)
            def generator(*arguments):
                self.note(task, duration, arguments)
                results = self.run(task, carried(arguments))
                while (result := self.run(next, (results, None))) is not None:
                    yield carried(result)

            return generator if isgeneratorfunction(task) else function

        return decorate

    def note(self, task, duration, arguments) -> None:
        """One call more."""
        self.calls.append((task.__name__, duration(*arguments) if callable(duration) else duration))

    def run(self, task, arguments):
        """The task in the other process."""
        try:
            return task(*arguments)
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
    build_page(lent, RECIPE, seed=SEED, live=False)
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
    monkeypatch.setattr("demo.callbacks.MEASURED_ON", range(500_000, 500_008))
    do = Callbacks(lent, RECIPE, len(lent.directions) + 1)
    photo = do.open_photo(astronaut, VIEWS[0], True)
    session = next(photo)[0]
    photo.close()
    *_, (_, _, strip, found) = do.discover(session, ["eyes"], 2, 1)
    assert strip.width > 0
    longer, *_ = do.keep(session, found, "mine")
    assert longer.directions[-1].name == "mine"
    assert do.download(longer, True, 1.0).startswith("data:image/png")
    do.roll(VIEWS[0], True)
    assert {call for call, _ in lender.calls} == SECONDS.keys() - {"edit"}
    durations = dict(lender.calls)
    assert durations["discover"] == pytest.approx(10.2), "asked for by its steps"
    assert all(0 < seconds <= 60 for seconds in durations.values())


def test_every_networks_method_of_the_editor_is_looked_after():
    assert all(callable(getattr(Editor, name)) for name in SECONDS)


def test_errors_keep_their_words(lent, monkeypatch):
    with pytest.raises(UserError, match="No face was found"):
        list(lent.opening(Image.new("RGB", (200, 200), "green")))

    def short(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("lelsd_core.editor.render", short)
    session = lent.random_face(SEED)
    with pytest.raises(UserError, match="not enough memory"):
        lent.edit(session, {lent.directions[0].name: 1.0})


def test_without_the_package_nothing_is_wrapped_and_nothing_is_lent(monkeypatch):
    monkeypatch.setattr(gpu, "spaces", None)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert gpu.gpu(5)(len) is len
    assert not gpu.lent()


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("", False), ("false", False)])
def test_a_gpu_is_lent_where_the_space_says_so(monkeypatch, value, expected):
    monkeypatch.setattr(gpu, "spaces", SimpleNamespace())
    monkeypatch.setenv("SPACES_ZERO_GPU", value)
    assert gpu.lent() is expected


def test_the_package_is_imported_before_torch(tmp_path):
    (tmp_path / "spaces.py").write_text("import sys\nassert 'torch' not in sys.modules, 'torch came first'\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "app.py", "--directions", "no/where", "--offline"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "There are no directions" in done.stderr, done.stderr
