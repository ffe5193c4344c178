"""Pictures in and out: files and PIL images on one side, tensors in [-1, 1] on the other. Only this module uses uint8.

file  --read_photo-->  PIL RGB  --to_tensor-->  (B, 3, H, W) in [-1, 1]  --to_pil-->  PIL RGB  --save_picture-->  file
"""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from lelsd_core.errors import UserError, check_file, writing

OUTPUTS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")  # file endings
QUALITY = {"quality": 95, "subsampling": 0}  # of JPEG and WebP: nearly lossless; the other formats are lossless


def to_tensor(image: Image.Image) -> Tensor:
    """PIL RGB -> (1, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1


def to_pil(pictures: Tensor) -> Image.Image:
    """The first of (B, 3, H, W), about [-1, 1], clamped -> PIL RGB."""
    return Image.fromarray(to_uint8(pictures)[0])


def to_uint8(pictures: Tensor) -> np.ndarray:
    """(B, 3, H, W), about [-1, 1], clamped -> (B, H, W, 3) uint8."""
    scaled = (pictures.detach() * 127.5 + 128).clamp_(0, 255).byte()  # + 127.5, and 0.5 to round by truncation
    return scaled.permute(0, 2, 3, 1).cpu().numpy()


def enlarge(image: Image.Image, side: int) -> Image.Image:
    """A picture, scaled to `side` pixels in width with smooth interpolation."""
    return image.resize((side, round(side * image.height / image.width)), Image.Resampling.BICUBIC)


def save_picture(picture: Image.Image, path: str | os.PathLike[str], about: Mapping[str, Any] | None = None) -> None:
    """Write a picture in the format of the path's ending.

    Args:
        picture: RGB.
        path: of the file.
        about: what the file says about itself, see `provenance`; None = nothing.

    Raises:
        UserError: another ending, or it cannot be written.
    """
    check_file(Path(path), *OUTPUTS)
    with writing(path):
        picture.save(path, **QUALITY, **(about or {}))


def change_map(before: Image.Image, after: Image.Image) -> Image.Image:
    """Where two pictures of one size differ: `before` in dark grey, the difference as a glow on top of it."""
    old, new = (np.asarray(picture, dtype=np.float32) for picture in (before, after))
    change = np.abs(new - old).mean(2, keepdims=True)
    strength = np.clip(change / 64, 0, 1) ** 0.7
    base = old.mean(2, keepdims=True) * 0.35
    glow = np.array([255.0, 96.0, 64.0]) * (1 - strength) + np.array([255.0, 235.0, 160.0]) * strength
    return Image.fromarray((base * (1 - strength) + glow * strength).clip(0, 255).astype(np.uint8))


def spotlight(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """A picture that is dark and grey outside a mask (h, w) in [0, 1]."""
    pixels = np.asarray(picture, dtype=np.float32)
    weight = Image.fromarray(np.uint8(255 * mask.clip(0, 1))).resize(picture.size, Image.Resampling.BILINEAR)
    share = np.asarray(weight, dtype=np.float32)[..., None] / 255
    dim = pixels.mean(2, keepdims=True) * 0.3 + 24
    return Image.fromarray((share * pixels + (1 - share) * dim).clip(0, 255).astype(np.uint8))


def outlines(picture: Image.Image, labels: np.ndarray) -> Image.Image:
    """A picture with white lines where labels (h, w) of its places change."""
    numbers = Image.fromarray(labels.astype(np.int32)).resize(picture.size, Image.Resampling.NEAREST)
    large, line = np.asarray(numbers), np.zeros((picture.height, picture.width), bool)
    line[1:] |= large[1:] != large[:-1]
    line[:, 1:] |= large[:, 1:] != large[:, :-1]
    return Image.fromarray(np.where(line[..., None], np.uint8(255), np.asarray(picture)))


def grid(rows: Sequence[Sequence[Image.Image]], gap: int = 2) -> Image.Image:
    """Pictures of one size in rows and columns, on white, `gap` pixels apart."""
    width, height = rows[0][0].size
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, len(rows) * (height + gap) - gap), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * (width + gap), y * (height + gap)))
    return sheet


MAX_PIXELS, MAX_BYTES = 64_000_000, 30_000_000
MAX_SIDE = 32_000  # OpenCV's warps take at most 32,767
MIN_SIDE = 32  # a face in a smaller picture has too few pixels to be edited
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")  # no other decoder of Pillow is allowed
HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands after "ftyp"
DECODER_ERRORS = (
    *(OSError, SyntaxError, EOFError, ValueError, TypeError),
    *(IndexError, RuntimeError, OverflowError, struct.error),
)
PhotoFile = str | os.PathLike[str] | IO[bytes]
PhotoSource = PhotoFile | Image.Image | np.ndarray


def read_photo(source: PhotoFile, max_bytes: int = MAX_BYTES) -> Image.Image:
    """Read a JPEG, PNG, WebP, HEIC, AVIF, BMP, TIFF or GIF (first frame) of any mode, of at most `max_bytes`.

    Returns:
        RGB, sRGB, upright, at most 64 megapixels, without metadata.

    Raises:
        UserError: missing file, not a picture, too large, too small, or truncated.
    """
    file, formats = read_file(source, max_bytes), FORMATS
    start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:] in HEIF:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            remedy = "install it with pip, or save the photo as JPEG"
            raise UserError(f"HEIC photos need the package pillow-heif: {remedy}.") from None
        register_heif_opener()
        formats = ("HEIF",)
    file.seek(0)
    with decoder_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large pictures (MAX_PIXELS is stricter) and odd metadata
        with Image.open(file, formats=formats) as image:
            check_size(*image.size)
            image.load()
            return to_rgb(image)


def to_photo(source: PhotoSource) -> Image.Image:
    """Path, open binary file, PIL image of any mode, or uint8 array (H, W, 3) or (H, W) -> RGB without metadata.

    Raises:
        UserError: another type, an array of another shape or dtype, or as for `read_photo`.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.shape[2:] not in ((), (3,)) or source.ndim < 2 or not source.size:
            problem = f"An array of shape {source.shape} and dtype {source.dtype} is not a photo"
            raise UserError(f"{problem}; give (H, W, 3) or (H, W) of uint8, 0 to 255.")
        source = Image.fromarray(np.ascontiguousarray(source))
    if isinstance(source, Image.Image):
        if source.mode == "RGB" and not source.info and not source.getexif():
            return source
        with decoder_errors():
            return to_rgb(source)
    if isinstance(source, (str, os.PathLike)) or hasattr(source, "read"):
        return read_photo(source)
    raise UserError(f"A {type(source).__name__} is not a photo; give a path, a PIL image or a uint8 array.")


def read_file(source: PhotoFile, max_bytes: int) -> IO[bytes]:
    """The content of a file, in memory. UserError if the file is missing or larger than `max_bytes`."""
    if isinstance(source, (str, os.PathLike)):
        if not os.path.isfile(source):
            raise UserError(f"There is no file {os.fspath(source)}.")
        try:
            with open(source, "rb") as file:
                return read_file(file, max_bytes)
        except OSError as problem:
            raise UserError(f"{os.fspath(source)} cannot be read: {problem.strerror}.") from None
    if source.seekable():
        source.seek(0)
    content = source.read(max_bytes + 1)
    if len(content) > max_bytes:
        size = source.seek(0, os.SEEK_END) if source.seekable() else len(content)
        megabytes = max(size, len(content)) / 1e6
        raise UserError(f"This file has {megabytes:.0f} MB; at most {max_bytes / 1e6:g} MB are read.")
    return io.BytesIO(content)


@contextmanager
def decoder_errors() -> Iterator[None]:
    """Turn the errors of Pillow's decoders into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Image.DecompressionBombError as problem:  # raised before `check_size`; its message has the number of pixels
        count = int("".join(filter(str.isdigit, str(problem).partition(")")[0])) or 0) // 10**6
        most = f"at most {MAX_PIXELS // 10**6} megapixels are read"
        raise UserError(f"This picture has {count} megapixels, too large; {most}.") from None
    except UnidentifiedImageError:
        formats = "JPEG, PNG, WebP, HEIC, BMP or TIFF"
        raise UserError(f"This file is not a picture that can be read; use {formats}.") from None
    except DECODER_ERRORS:
        raise UserError("This picture file is damaged or cut off; try saving or downloading it again.") from None


def check_size(width: int, height: int) -> None:
    """UserError if a picture is too large to be decoded, or too small to hold a face; sizes in pixels."""
    size = f"This picture has {width}×{height} pixels"
    if width * height > MAX_PIXELS:
        raise UserError(f"{size}, too large; at most {MAX_PIXELS // 10**6} megapixels are read.")
    if max(width, height) > MAX_SIDE:
        raise UserError(f"{size}; at most {MAX_SIDE} each way are read.")
    if min(width, height) < MIN_SIDE:
        raise UserError(f"This picture has only {width}×{height} pixels; at least {MIN_SIDE} each way are needed.")


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode -> sRGB, upright, without metadata: profile applied, 16 bits scaled to 8, transparency on white."""
    with suppress(*DECODER_ERRORS):  # EXIF data that cannot be read
        image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        grey = np.nan_to_num(np.asarray(image, dtype=np.float64))
        whites = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        white = next((white for white in whites if grey.max() <= white), whites[-1])  # the smallest one that fits
        eight_bits = (grey.clip(0, white) * (255 / white)).round().astype(np.uint8)
        image, profile = Image.fromarray(eight_bits), None
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    image = apply_profile(image.convert("RGB") if alpha else image, profile)
    if alpha:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    return Image.fromarray(np.asarray(image))  # a new image has no EXIF data, profile or comment


def apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A picture -> sRGB by its colour profile; by Pillow's usual conversion if there is no readable profile."""
    try:
        if image.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
            if "sRGB" in ImageCms.getProfileDescription(source):
                return image.convert("RGB")
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, *DECODER_ERRORS):
        return image.convert("RGB")
