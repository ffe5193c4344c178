"""From the Hub to sliders: official-format files, small and filled by rule, fetched from a Hub on loopback.

photo --aligned as FFHQ's--> e4e --> codes --> sliders searched with BiSeNet --> edits --> a second start finds them
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from PIL import Image

from demo.models import ModelManager, ModelState
from lelsd_core.__main__ import main
from lelsd_core.editor import Editor, InversionOptions
from lelsd_core.errors import UserError
from lelsd_core.faces.frame import FfhqFrame
from lelsd_core.galleries import local as gallery
from lelsd_core.inversion import E4EInverter
from lelsd_core.registry import load_editor
from tests.hub_server import Fault
from tests.tiny_flagship import E4E, NAME


def settled(models: ModelManager) -> ModelState:
    """The model's state once nothing is under way any more."""
    until = time.monotonic() + 300
    while (state := models.state(NAME)).stage in ("fetching", "loading", "filling"):
        assert time.monotonic() < until, state
        time.sleep(0.02)
    return state


def test_from_a_photo_to_sliders_that_stay(
    hub, files, quick, editor: Editor, astronaut: Image.Image, monkeypatch, capsys
) -> None:
    server = hub()
    models = ModelManager(editor)
    megabytes = sum(map(len, files.values())) / 1e6
    assert models.state(NAME).message == f"{NAME} is not loaded; {megabytes:.0f} MB are to be fetched."
    models.start(NAME)
    state = settled(models)
    assert state.stage == "ready", state.message
    assert any("face_detection_yunet" in path for _, path, _ in server.requests)  # is not there, and does no harm
    large = models.editor(NAME)
    assert (large.generator.name, large.generator.resolution) == (NAME, 32)
    assert isinstance(large.inverter, E4EInverter)
    assert large.aligner.frame == FfhqFrame(32)
    names = {direction.name for direction in large.directions}
    assert len(names) >= 3
    assert names < set(large.segmenter.parts)  # others never occur

    *_, session = large.invert(astronaut, InversionOptions(steps=4))
    assert session.space == "W+"
    assert session.original.size == (32, 32)
    assert session.photo is not None
    amounts = {direction.name: direction.high for direction in large.directions}
    edit = large.edit(session, amounts)
    assert set(edit.locality.parts) == names
    assert not np.array_equal(edit.picture, session.original)
    assert np.array_equal(large.render(session, dict.fromkeys(amounts, 0.0)), session.original)

    seen = len(server.requests)
    monkeypatch.setattr(gallery, "discover", None)  # a second start searches nothing
    again = ModelManager(editor)
    again.start(NAME)
    assert settled(again).message == state.message
    assert len(server.requests) == seen  # and fetches nothing
    for ours, theirs in zip(again.editor(NAME).directions, large.directions, strict=True):
        assert torch.equal(ours.vector, theirs.vector)
    assert {d.name for d in load_editor(NAME).directions} == names

    assert main(["weights", "push-directions", "me/tiny", "--generator", NAME, "--dry-run"]) == 0
    card = capsys.readouterr().out
    assert all(f"| {name} | {name} |" in card for name in names)
    assert "Weights: of the test." in card


@pytest.mark.parametrize(
    ("fault", "words"), [(Fault(status=404), "404"), (Fault(status=403), "403"), (Fault(body=b"wrong"), NAME)]
)
def test_a_failed_download_leaves_the_page_as_it_was(hub, editor: Editor, fault: Fault, words: str) -> None:
    hub({E4E: [fault]})
    models = ModelManager(editor)
    models.start(NAME)
    state = settled(models)
    assert state.stage == "failed"
    assert "e4e-tiny could not be fetched" in state.message or words in state.message
    assert models.editor("digiface-64") is editor
    with pytest.raises(UserError, match="cannot be used yet"):
        models.editor(NAME)
