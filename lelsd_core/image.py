"""The only place for files and uint8: photos in, pictures out.

    file --read_photo--> PIL RGB, upright, no metadata        (B, 3, H, W) in [-1, 1]  <--to_tensor / to_pil-->  PIL

Photos are personal: what leaves here carries no EXIF, GPS, comment or colour profile of the original.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lelsd_core.errors import UserError, check_folder

MAX_PIXELS = 64_000_000
MAX_BYTES = 30_000_000
OUTPUTS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tiff")
MIN_SIDE = 32  # a face of half this size has nothing left to edit


def read_photo(source: str | os.PathLike[str] | IO[bytes], max_bytes: int = MAX_BYTES) -> Image.Image:
    """Read a photo as a person would see it.

    Args:
        source: path or open binary file: JPEG, PNG, WebP, BMP, TIFF, GIF (first frame); any mode.
        max_bytes: the largest file that is read.

    Returns:
        RGB, upright, at most 64 megapixels, without metadata.

    Raises:
        UserError: missing file, not a picture, too large, too small, or cut off.
    """
    if isinstance(source, (str, os.PathLike)):
        if not os.path.isfile(source):
            raise UserError(f"There is no file {os.fspath(source)}.")
        if (size := os.path.getsize(source)) > max_bytes:
            raise UserError(f"This file has {size / 1e6:.0f} MB; at most {max_bytes / 1e6:g} MB are read.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is stricter
            with Image.open(source) as opened:
                check_size(*opened.size)
                opened.draft("RGB", (2048, 2048))
                upright = ImageOps.exif_transpose(opened)
                return bare(upright)
    except Image.DecompressionBombError as problem:  # Pillow's own check, which comes first and tells a number
        count = int("".join(filter(str.isdigit, str(problem).partition(")")[0])) or 0) // 10**6
        raise UserError(
            f"This picture has {count} megapixels, too large; at most {MAX_PIXELS // 10**6} megapixels are read."
        ) from None
    except UnidentifiedImageError:
        raise UserError("This file is not a picture that can be read; use JPEG, PNG, WebP, BMP or TIFF.") from None
    except (OSError, SyntaxError, EOFError):
        raise UserError("This picture file is damaged or cut off; try saving or downloading it again.") from None


def check_size(width: int, height: int) -> None:
    """UserError if a picture is too large to decode or too small to hold a face."""
    if width * height > MAX_PIXELS:
        raise UserError(
            f"This picture has {width}×{height} pixels, too large; at most {MAX_PIXELS // 10**6} megapixels are read."
        )
    if min(width, height) < MIN_SIDE:
        raise UserError(
            f"This picture has only {width}×{height} pixels; at least {MIN_SIDE} each way are needed to find a face."
        )


def bare(image: Image.Image) -> Image.Image:
    """Any mode -> RGB without metadata: 16-bit grey scaled to 8, transparency laid on white, CMYK converted."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        grey = np.asarray(image, dtype=np.float64)
        top = 65535.0 if grey.max() > 255 else 255.0
        image = Image.fromarray((grey.clip(0, top) * (255 / top)).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return Image.fromarray(np.asarray(image.convert("RGB")))  # a new picture holds no EXIF, profile or comment


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
    """UserError if a picture cannot be written there: no such folder, or an ending that is no picture format."""
    target = Path(path)
    if target.suffix.lower() not in OUTPUTS:
        raise UserError(f"{target.name} does not end like a picture; use one of {', '.join(OUTPUTS)}.")
    check_folder(target)


def write_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture without metadata; its ending says the format. UserError if that cannot be done."""
    check_output(path)
    try:
        options = {"quality": 95, "subsampling": 0} if Path(path).suffix.lower() in (".jpg", ".jpeg") else {}
        picture.save(path, **options)
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
