"""Animations and strips: amounts along the way, the files that come out, and the errors."""

from __future__ import annotations

import errno
import io
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image, ImageSequence

from lelsd_core.__main__ import main
from lelsd_core.animation import KINDS, amounts_along, encode_animation, rendered, save_animation, strip
from lelsd_core.errors import UserError

COLOURS = [(200, 40, 40), (40, 180, 60), (50, 60, 200)]
EDITS = some.lists(some.dictionaries(some.sampled_from("abc"), some.floats(-9, 9)), min_size=1, max_size=4)


@pytest.fixture
def frames(astronaut) -> list[Image.Image]:
    """A real picture of odd sides, in which a square changes its colour."""
    pictures = [astronaut.resize((65, 49)) for _ in COLOURS]
    for picture, colour in zip(pictures, COLOURS, strict=True):
        picture.paste(colour, (8, 8, 24, 24))
    return pictures


def decoded(content: bytes, kind: str) -> list[np.ndarray]:
    """The frames of an animation, (H, W, 3)."""
    if kind == "mp4":
        with av.open(io.BytesIO(content)) as container:
            return [bt709(frame.to_ndarray(format="yuv444p")) for frame in container.decode(video=0)]
    with Image.open(io.BytesIO(content)) as image:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]


def bt709(planes: np.ndarray) -> np.ndarray:
    """Y, Cb and Cr (3, H, W) of a video -> RGB (H, W, 3) by the formulas of BT.709."""
    y, blue, red = (planes - np.array([16, 128, 128])[:, None, None]) * (255 / np.array([219, 224, 224])[:, None, None])
    return np.dstack([y + 1.5748 * red, y - 0.1873 * blue - 0.4681 * red, y + 1.8556 * blue])


def test_the_way_to_an_edit_starts_and_stops_slowly():
    on_the_way = amounts_along([{}, {"smile": 4.0}], steps=3, rest=2)
    assert [frame["smile"] for frame in on_the_way] == [0, 0, 0.625, 2, 3.375, 4, 4]
    assert amounts_along([{}, {"smile": 4.0}], steps=1, rest=2, back=True) == [
        {"smile": amount} for amount in (0, 0, 2, 4, 4, 2, 0, 0)
    ]
    assert amounts_along([{"a": 1.0, "b": 2.0}, {"b": 4.0}], steps=1, rest=1)[1] == {"a": 0.5, "b": 3.0}


@given(EDITS, some.integers(0, 5), some.integers(1, 3))
def test_the_way_visits_each_edit_and_never_turns_in_between(edits, steps, rest):
    names = {name for edit in edits for name in edit}
    stops = [{name: edit.get(name, 0.0) for name in names} for edit in edits]
    on_the_way = amounts_along(edits, steps=steps, rest=rest)
    assert len(on_the_way) == rest * len(edits) + steps * (len(edits) - 1)
    assert on_the_way[:: steps + rest] == stops
    assert on_the_way[-1] == stops[-1]
    for leg, (start, end) in enumerate(pairwise(stops)):
        between = on_the_way[leg * (steps + rest) :][: steps + rest + 1]
        for name in names:
            amounts = [frame[name] for frame in between]
            assert amounts == sorted(amounts, reverse=start[name] > end[name])
    there_and_back = amounts_along(edits, steps=steps, rest=rest, back=True)
    assert there_and_back == there_and_back[::-1]
    assert there_and_back[: len(on_the_way)] == on_the_way
    assert len(there_and_back) == 2 * len(on_the_way) - rest


def test_equal_frames_are_rendered_once():
    seen = []
    pictures = rendered(lambda amounts: seen.append(amounts) or Image.new("L", (1, 1)), [{"a": 1}, {"a": 2}, {"a": 1}])
    assert seen == [{"a": 1}, {"a": 2}]
    assert pictures[0] is pictures[2] is not pictures[1]


def test_a_strip_goes_from_one_end_through_0_to_the_other(editor):
    asked = []
    direction = replace(editor.directions[0], name="a", low=-2.0, high=6.0)
    row = strip(lambda amounts: asked.append(amounts) or Image.new("RGB", (4, 3)), direction, {"a": 9.0, "b": 1.0})
    assert asked == [{"a": amount, "b": 1.0} for amount in (-2, -1, 0, 3, 6)]
    assert row.size == (5 * 4 + 4 * 2, 3)


def test_an_mp4_is_what_browsers_play(frames):
    content = encode_animation([*frames, frames[0]], "mp4", fps=10)
    shown = decoded(content, "mp4")
    assert [frame.shape for frame in shown] == [(48, 64, 3)] * 4, "even sides"
    for frame, picture in zip(shown, frames, strict=False):
        assert np.abs(frame[12:20, 12:20].mean((0, 1)) - picture.getpixel((16, 16))).max() < 8
        assert np.abs(frame - np.asarray(picture)[:48, :64]).mean() < 8
    with av.open(io.BytesIO(content)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 10)
        assert stream.codec_context.colorspace == 1, "BT.709"
        assert "comment" not in container.metadata
    assert 0 < content.find(b"moov") < content.find(b"mdat"), "it starts before it is all there"


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_gif_and_a_webp_loop_and_show_the_colours(frames, kind):
    content = encode_animation(frames, kind, fps=10)
    shown = decoded(content, kind)
    assert [frame.shape for frame in shown] == [(49, 65, 3)] * 3
    for frame, picture in zip(shown, frames, strict=True):
        assert np.abs(frame[12:20, 12:20].mean((0, 1)) - picture.getpixel((16, 16))).max() < 8
        assert np.abs(frame.astype(int) - np.asarray(picture)).mean() < 10
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert (image.info["loop"], image.info["duration"]) == (0, 100)


def test_what_stays_the_same_in_a_gif_does_not_flicker(frames):
    first, *others = decoded(encode_animation(frames, "gif"), "gif")
    for other in others:
        assert np.array_equal(other[24:], first[24:])
        assert np.array_equal(other[:, 24:], first[:, 24:])


def test_frames_of_one_colour_are_an_animation_too():
    black = [Image.new("RGB", (64, 64))] * 3
    assert all(decoded(encode_animation(black, kind), kind)[0].max() < 1 for kind in KINDS)


def test_an_animation_that_makes_no_sense_raises(frames):
    with pytest.raises(UserError, match="kind of animation named 'avi'"):
        encode_animation(frames, "avi")
    with pytest.raises(UserError, match="at least one picture"):
        encode_animation([], "gif")
    with pytest.raises(UserError, match="one size; these have 64×64, 65×49 pixels"):
        encode_animation([*frames, Image.new("RGB", (64, 64))], "mp4")


def test_an_animation_is_written_where_the_path_says_or_not_at_all(frames, tmp_path, monkeypatch):
    save_animation(frames, tmp_path / "a.GIF")
    assert (tmp_path / "a.GIF").read_bytes() == encode_animation(frames, "gif")
    with pytest.raises(UserError, match=r"a\.avi must end in \.gif or \.mp4 or \.webp"):
        save_animation(frames, tmp_path / "a.avi")
    with pytest.raises(UserError, match="There is no folder"):
        save_animation(frames, tmp_path / "no" / "a.gif")
    monkeypatch.setattr(Path, "write_bytes", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(UserError, match=r"b\.gif cannot be written: No space left"):
        save_animation(frames, tmp_path / "b.gif")


def test_an_mp4_without_its_package_raises(frames, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match="package av"):
        encode_animation(frames, "mp4")


# ------------------------------------------------------------------------------------------------- in the shell


@pytest.fixture
def photo(tmp_path, astronaut, monkeypatch) -> Path:
    """A photo of 300 × 260 pixels, on a machine that shows at most 200."""
    monkeypatch.setattr("lelsd_core.editor.session.SHOWN", 200)
    astronaut.crop((90, 0, 390, 260)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_edit_writes_an_animation_of_the_whole_photo_there_and_back(photo):
    out = photo.with_name("out.mp4")
    assert main(["edit", str(photo), str(out), "--set", "hair=3", "--steps", "0"]) == 0
    shown = decoded(out.read_bytes(), "mp4")
    small = Image.open(photo)
    small.thumbnail((200, 200))
    assert shown[0].shape == (small.height // 2 * 2, 200, 3)
    assert np.abs(shown[0] - np.asarray(small)[: shown[0].shape[0]]).mean() < 5
    change = [np.abs(frame - shown[0]).mean() for frame in shown]
    assert max(change) == pytest.approx(change[len(change) // 2], abs=0.1)
    assert change[len(change) // 2] > 3 * change[-1]


def test_edit_writes_an_animation_of_the_face_alone(photo):
    out = photo.with_name("out.gif")
    assert main(["edit", str(photo), str(out), "--set", "hair=3", "--steps", "0", "--crop"]) == 0
    shown = decoded(out.read_bytes(), "gif")
    assert len(shown) > 20
    assert shown[0].shape == (64, 64, 3)
    assert np.array_equal(shown[0], shown[-1])


def test_edit_writes_a_strip_on_top_of_the_other_settings(photo):
    outs = [photo.with_name(f"{name}.png") for name in ("strip", "mouth", "hair")]
    common = ["--steps", "0", "--set", "mouth=3", "--crop"]
    assert main(["edit", str(photo), str(outs[0]), *common, "--strip", "hair", "--set", "hair=1"]) == 0
    assert main(["edit", str(photo), str(outs[1]), *common]) == 0
    assert main(["edit", str(photo), str(outs[2]), *common, "--set", "hair=99"]) == 0
    row, mouth, hair = (np.asarray(Image.open(out)) for out in outs)
    assert row.shape == (64, 5 * 66 - 2, 3)
    assert np.array_equal(row[:, 2 * 66 :][:, :64], mouth), "0 in the middle"
    assert np.array_equal(row[:, -64:], hair), "the highest amount at the end"


def test_a_folder_becomes_animations_too(photo):
    folder, out = photo.with_name("photos"), photo.with_name("out")
    folder.mkdir()
    photo.rename(folder / "a.png")
    arguments = ["--format", "gif", "--set", "mouth=3", "--steps", "0", "--crop"]
    assert main(["edit", str(folder), str(out), *arguments]) == 0
    assert Image.open(out / "a.gif").size == (64, 64)
