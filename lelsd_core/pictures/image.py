"""The only place for uint8: pictures as numbers for the networks, and back for people.

file --intake.read_photo--> PIL RGB --to_tensor--> (B, 3, H, W) in [-1, 1] --to_pil--> PIL RGB --write_picture--> file
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lelsd_core.errors import UserError, check_file

FINE = {"quality": 95, "subsampling": 0}  # a JPEG that hardly loses anything
OUTPUTS: Mapping[str, Mapping[str, Any]] = {  # by ending, how it is written
    ".png": {},
    ".jpg": FINE,
    ".jpeg": FINE,
    ".webp": {"quality": 95},
    ".bmp": {},
    ".tif": {},
    ".tiff": {},
}


def to_tensor(image: Image.Image) -> Tensor:
    """PIL RGB -> (1, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1


def to_pil(pictures: Tensor) -> Image.Image:
    """The first of (B, 3, H, W), about [-1, 1], clamped -> PIL RGB."""
    return Image.fromarray(to_uint8(pictures)[0])


def to_uint8(pictures: Tensor) -> np.ndarray:
    """(B, 3, H, W), about [-1, 1], clamped -> (B, H, W, 3) uint8."""
    scaled = (pictures.detach() * 127.5 + 128).clamp_(0, 255).byte()  # + 127.5 and a rounding half, truncated
    return scaled.permute(0, 2, 3, 1).cpu().numpy()


def enlarge(image: Image.Image, side: int) -> Image.Image:
    """A small picture, smoothly enlarged to `side` pixels wide."""
    return image.resize((side, round(side * image.height / image.width)), Image.Resampling.BICUBIC)


def check_output(path: str | os.PathLike[str]) -> None:
    """UserError if a picture cannot be written there: no such folder, a folder, or an ending of no picture."""
    target = Path(path)
    if target.suffix.lower() not in OUTPUTS:
        raise UserError(f"{target.name} does not end like a picture; use one of {', '.join(OUTPUTS)}.")
    check_file(target)


def write_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture without metadata; its ending says the format. UserError if that cannot be done."""
    check_output(path)
    try:
        picture.save(path, **OUTPUTS[Path(path).suffix.lower()])
    except OSError as problem:
        raise UserError(f"{path} cannot be written: {problem.strerror or problem}.") from None


def change_map(before: Image.Image, after: Image.Image) -> Image.Image:
    """Where two pictures differ: the first one in dim grey, the difference in light on top of it."""
    old, new = (np.asarray(picture, dtype=np.float32) for picture in (before, after))
    change = np.abs(new - old).mean(2, keepdims=True)
    strength = np.clip(change / 64, 0, 1) ** 0.7
    base = old.mean(2, keepdims=True) * 0.35
    glow = np.array([255.0, 96.0, 64.0]) * (1 - strength) + np.array([255.0, 235.0, 160.0]) * strength
    return Image.fromarray((base * (1 - strength) + glow * strength).clip(0, 255).astype(np.uint8))


def grid(rows: Sequence[Sequence[Image.Image]], gap: int = 2) -> Image.Image:
    """Pictures of one size in rows and columns, on white."""
    width, height = rows[0][0].size
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, len(rows) * (height + gap) - gap), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * (width + gap), y * (height + gap)))
    return sheet
