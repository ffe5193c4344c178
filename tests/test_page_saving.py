"""What is saved of an edit on the page: animations, strips, recipes that come back, pictures that say what they are."""

from __future__ import annotations

import base64
import io
import json

import av
import numpy as np
import pytest
from PIL import Image

from demo.saving import LONGER
from demo.views import SWIPE, WHOLE
from lelsd_core.errors import UserError
from tests.page_events import Visitor


@pytest.fixture
def visitor(editor) -> Visitor:
    """With a random face that has two edits."""
    visitor = Visitor(editor)
    visitor.does(visitor.callbacks.show)
    visitor.moves(mouth=80)
    visitor.moves(mouth=80, skin=60)
    return visitor


def content(url: str, head: str) -> io.BytesIO:
    """The bytes of a data URL that begins as it must."""
    start, _, data = url.partition(",")
    assert start == f"data:{head};base64"
    return io.BytesIO(base64.b64decode(data))


def test_a_picture_says_that_it_is_generated_and_nothing_of_a_photo(visitor, astronaut):
    url = visitor.does(visitor.saving.download)["download_url"]
    made = Image.open(content(url, "image/png;name=edited.png"))
    assert "trainedAlgorithmicMedia" in made.text["XML:com.adobe.xmp"]
    assert json.loads(made.text["Recipe"])["amounts"].keys() == {"mouth", "skin"}
    visitor.open(astronaut)
    url = visitor.does(visitor.saving.download)["download_url"]
    assert (
        "compositeWithTrainedAlgorithmicMedia"
        in Image.open(content(url, "image/png;name=edited.png")).info["xmp"].decode()
    )


@pytest.mark.parametrize("view", [SWIPE, WHOLE])
def test_a_video_goes_through_the_edits_of_the_history(visitor, view):
    visitor.values["display"] = (view, True, False)
    *_, last = visitor.steps(visitor.saving.save_video)
    with av.open(content(last["download_url"], "video/mp4;name=edited.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in video.decode(video=0)]
        assert video.streams.video[0].codec_context.name == "h264"
    assert len(frames) > 40
    assert max(frames[0].shape) <= LONGER
    first, final = (
        np.asarray(step.picture).astype(int) for step in (visitor.history.steps[0], visitor.history.steps[-1])
    )
    for frame, expected in ((frames[0], first), (frames[-1], final)):
        small = np.asarray(Image.fromarray(frame.astype(np.uint8)).resize(expected.shape[:2])).astype(int)
        assert np.abs(small - expected).mean() < 6


def test_a_gif_of_one_edit_goes_there_and_back(visitor):
    visitor.does(visitor.callbacks.undo)
    *said, last = visitor.steps(visitor.saving.save_gif)
    with Image.open(content(last["download_url"], "image/gif;name=edited.gif")) as moving:
        assert moving.n_frames > 30
    assert said[0]["meter"].startswith("Rendering the animation: 1 of")
    visitor.does(visitor.callbacks.undo)
    with pytest.raises(UserError, match="no edit to be animated"):
        list(visitor.steps(visitor.saving.save_gif))


def test_a_strip_shows_the_moved_sliders_of_the_card_from_end_to_end(visitor):
    url = visitor.does(visitor.saving.save_strip, group="mouth")["download_url"]
    sheet = Image.open(content(url, "image/png;name=strip.png"))
    assert sheet.width > 4 * sheet.height


def test_a_recipe_is_applied_to_another_face(visitor, editor, tmp_path):
    url = visitor.does(visitor.saving.save_recipe)["download_url"]
    path = tmp_path / "recipe.json"
    path.write_bytes(content(url, "application/json;name=recipe.json").getvalue())
    another = Visitor(editor)
    another.does(another.opening.random_face, seed=9)
    another.does(another.saving.load_recipe, load_recipe=str(path))
    assert another.amounts == pytest.approx(visitor.amounts, rel=0.02)
    assert another.history.steps[-1].caption == "Recipe"
    path.write_text('{"amounts": {"mouth": 99, "tail": 1}}')
    note = another.does(another.saving.load_recipe, load_recipe=str(path))["note"]
    assert "left out: tail" in note
    high = next(d.high for d in editor.directions if d.name == "mouth")
    assert another.amounts == {"mouth": high}
    path.write_text('{"amounts": {"tail": 1}, "generator": "cats"}')
    with pytest.raises(UserError, match="made with the model cats"):
        another.does(another.saving.load_recipe, load_recipe=str(path))
    path.write_text("nothing")
    with pytest.raises(UserError, match="is not a recipe"):
        another.does(another.saving.load_recipe, load_recipe=str(path))
