"""From edits to moving pictures, and to a row of pictures of one direction.

edits      --amounts_along-->  amounts of each frame  --rendered-->  pictures  --save_animation-->  GIF, MP4, WebP
direction  --strip-->  its pictures from one end to the other, in a row
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lelsd_core.directions import Direction
from lelsd_core.errors import UserError, check_file, unknown_name, writing
from lelsd_core.images import grid

FPS, STEPS, REST = 20, 16, 8  # frames per second, between two edits, and of each edit
SAMPLES, SHEET = 8, 1024  # frames of a GIF from which its colours are chosen, and pixels of them all side by side
THRESHOLDS = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])[..., None] - 7.5  # of 255 levels
BT709 = 1  # the number of that standard for colours in H.264
Amounts = Mapping[str, float]  # by direction name


def amounts_along(
    edits: Sequence[Amounts], *, steps: int = STEPS, rest: int = REST, back: bool = False
) -> list[dict[str, float]]:
    """The amounts of each frame on the way through some edits, which starts and stops smoothly at each of them.

    Args:
        edits: amounts by direction name; a direction that an edit leaves out is at 0.
        steps: frames between two edits.
        rest: frames for which each edit stays, at least 1.
        back: whether to go back to the first edit on the same way.

    Returns:
        rest · n + steps · (n − 1) frames, where n is the number of edits, those of the way back included.
    """
    names = dict.fromkeys(name for edit in edits for name in edit)
    stops = [{name: edit.get(name, 0.0) for name in names} for edit in edits]
    frames = stops[:1] * rest
    for start, end in pairwise(stops):
        for share in (ease(step / (steps + 1)) for step in range(1, steps + 1)):
            frames.append({name: start[name] + share * (end[name] - start[name]) for name in names})
        frames += [end] * rest
    return frames + frames[-rest - 1 :: -1] if back else frames


def ease(time: float) -> float:
    """The share of a way that is done at a time, both in [0, 1]: slow, fast, slow."""
    return time * time * (3 - 2 * time)


def rendered(render: Callable[[Amounts], Image.Image], frames: Iterable[Amounts]) -> list[Image.Image]:
    """The picture of each frame; equal frames are rendered once."""
    once = cache(lambda items: render(dict(items)))
    return [once(tuple(amounts.items())) for amounts in frames]


def strip(
    render: Callable[[Amounts], Image.Image], direction: Direction, amounts: Amounts | None = None, *, each_way: int = 2
) -> Image.Image:
    """A direction in a row of pictures, from its low end through 0 to its high end.

    Args:
        render: the picture of amounts by direction name.
        direction: what changes from left to right.
        amounts: of the other directions.
        each_way: pictures to each side of 0; there are 2 · each_way + 1.
    """
    below, above = ([end * i / each_way for i in range(1, each_way + 1)] for end in (direction.low, direction.high))
    return grid([[render({**(amounts or {}), direction.name: each}) for each in [*below[::-1], 0.0, *above]]])


def save_animation(
    pictures: Sequence[Image.Image],
    path: str | os.PathLike[str],
    *,
    fps: int = FPS,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write an animation in the format of the path's ending, one of `KINDS`.

    Arguments as for `encode_animation`; UserError as there, or if the file cannot be written.
    """
    check_file(Path(path), *(f".{kind}" for kind in KINDS))
    content = encode_animation(pictures, Path(path).suffix[1:].lower(), fps=fps, about=about)
    with writing(path):
        Path(path).write_bytes(content)


def encode_animation(
    pictures: Sequence[Image.Image], kind: str, *, fps: int = FPS, about: Mapping[str, Any] | None = None
) -> bytes:
    """The content of a file that shows pictures one after the other; GIF and WebP start again at the end.

    Args:
        pictures: RGB, of one size. MP4 leaves out the last row or column of an odd number.
        kind: one of `KINDS`.
        fps: pictures per second.
        about: what the file says about itself, see `provenance`.

    Raises:
        UserError: another kind, no pictures, pictures of several sizes, or no package that writes MP4.
    """
    if kind not in KINDS:
        raise UserError(unknown_name("kind of animation", kind, KINDS))
    if not pictures:
        raise UserError("An animation needs at least one picture.")
    if len(sizes := {picture.size for picture in pictures}) > 1:
        listed = ", ".join(f"{width}×{height}" for width, height in sorted(sizes))
        raise UserError(f"The pictures of an animation must be of one size; these have {listed} pixels.")
    buffer = io.BytesIO()
    KINDS[kind](pictures, buffer, fps, about or {})
    return buffer.getvalue()


def write_gif(pictures: Sequence[Image.Image], file: io.BytesIO, fps: int, about: Mapping[str, Any]) -> None:
    """One palette and one dither pattern for all frames: what does not change does not flicker, and takes no room."""
    sheet = grid([pictures[:: -(-len(pictures) // SAMPLES)]], gap=0)
    sheet.thumbnail((SHEET, SHEET), Image.Resampling.NEAREST)
    palette = sheet.quantize(255, kmeans=1)  # the last colour is left for "as before"
    frames = [dithered(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    frames[0].save(file, "GIF", append_images=frames[1:], **LOOP, duration=round(1000 / fps), disposal=1, **about)


def dithered(picture: Image.Image) -> Image.Image:
    """An RGB picture with a fine pattern added, which hides the steps between few colours."""
    pattern = np.tile(THRESHOLDS, (picture.height // 4 + 1, picture.width // 4 + 1, 1))
    pixels = np.asarray(picture) + pattern[: picture.height, : picture.width]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_webp(pictures: Sequence[Image.Image], file: io.BytesIO, fps: int, about: Mapping[str, Any]) -> None:
    pictures[0].save(file, "WEBP", append_images=pictures[1:], **LOOP, duration=round(1000 / fps), quality=90, **about)


def write_mp4(pictures: Sequence[Image.Image], file: io.BytesIO, fps: int, about: Mapping[str, Any]) -> None:
    """H.264 as every browser plays it: half the colour resolution, which needs even sides, and the index first."""
    try:
        import av
    except ImportError:
        raise UserError("MP4 needs the package av: install it with pip, or write a GIF.") from None
    width, height = (side // 2 * 2 for side in pictures[0].size)
    index_first = {"options": {"movflags": "faststart"}, "io_open": lambda *_: io.BytesIO(file.getvalue())}
    with av.open(file, "w", format="mp4", **index_first) as container:
        container.metadata["comment"] = about.get("comment", "")
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        for picture in pictures:
            frame = av.VideoFrame.from_image(picture.crop((0, 0, width, height)))
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode(None))


LOOP = {"save_all": True, "loop": 0}
KINDS = {"gif": write_gif, "mp4": write_mp4, "webp": write_webp}  # file ending -> writer
