"""Photos in: every kind of file is read rightly or refused in one sentence."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lelsd_core.errors import UserError
from lelsd_core.image import change_map, check_output, read_photo, to_pil, to_tensor, write_picture

RED_LEFT = np.zeros((40, 60, 3), np.uint8)
RED_LEFT[:, :30, 0] = 255


def saved(image: Image.Image, kind: str, **options) -> io.BytesIO:
    """The picture as a file in memory."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_common_formats_are_read(kind):
    photo = read_photo(saved(Image.fromarray(RED_LEFT), kind))
    assert photo.mode == "RGB"
    assert photo.size == (60, 40)
    assert photo.getpixel((10, 20))[0] > 240 > 20 > photo.getpixel((50, 20))[0]


def test_a_photo_that_lies_on_its_side_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned right by 90 degrees to be shown
    photo = read_photo(saved(Image.fromarray(RED_LEFT), "JPEG", exif=exif))
    assert photo.size == (40, 60)
    assert photo.getpixel((20, 10))[0] > 200 > 50 > photo.getpixel((20, 50))[0]


def test_metadata_stays_behind():
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    photo = read_photo(saved(Image.fromarray(RED_LEFT), "JPEG", exif=exif, comment=b"secret"))
    assert not photo.info
    assert not photo.getexif()
    assert b"secret" not in saved(photo, "JPEG").getvalue()


def test_cmyk_becomes_rgb():
    photo = read_photo(saved(Image.fromarray(RED_LEFT).convert("CMYK"), "JPEG", quality=95))
    assert photo.mode == "RGB"
    assert photo.getpixel((10, 20))[0] > 200 > 60 > photo.getpixel((10, 20))[1]


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(64, 0)
    photo = read_photo(saved(Image.fromarray(ramp), "PNG"))
    values = np.asarray(photo)[0, :, 0]
    assert values[0] == 0
    assert values[-1] == 255
    assert abs(int(values[32]) - 129) <= 2


def test_transparency_is_laid_on_white():
    rgba = np.dstack([RED_LEFT, np.full((40, 60), 255, np.uint8)])
    rgba[:, 30:, 3] = 0
    photo = read_photo(saved(Image.fromarray(rgba), "PNG"))
    assert photo.getpixel((50, 20)) == (255, 255, 255)
    assert photo.getpixel((10, 20)) == (255, 0, 0)


def test_an_animation_gives_its_first_frame():
    frames = [Image.fromarray(RED_LEFT), Image.fromarray(RED_LEFT[:, ::-1].copy())]
    photo = read_photo(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert photo.getpixel((10, 20))[0] > 200


def test_text_is_refused_as_no_picture():
    with pytest.raises(UserError, match="not a picture that can be read; use JPEG"):
        read_photo(io.BytesIO(b"hello, I am text"))


def test_a_cut_off_file_is_refused_as_damaged():
    rng = np.random.default_rng(0)
    whole = saved(Image.fromarray(rng.integers(0, 255, (200, 200, 3), dtype=np.uint8)), "PNG").getvalue()
    with pytest.raises(UserError, match="damaged or cut off"):
        read_photo(io.BytesIO(whole[: len(whole) // 2]))


def test_one_pixel_is_refused_as_too_small():
    with pytest.raises(UserError, match="only 1×1 pixels; at least 32"):
        read_photo(saved(Image.new("RGB", (1, 1)), "PNG"))


@pytest.mark.parametrize(("side", "size"), [(20_000, "400 megapixels"), (9_000, "9000×9000 pixels")])
def test_a_huge_picture_is_refused_before_it_is_decoded(side, size):
    bomb = saved(Image.new("1", (side, side)), "PNG")
    with pytest.raises(UserError, match=f"has {size}, too large; at most 64 megapixels"):
        read_photo(bomb)


def test_a_missing_file_and_a_huge_file_are_named(tmp_path):
    with pytest.raises(UserError, match=r"There is no file .*gone\.png"):
        read_photo(tmp_path / "gone.png")
    with open(tmp_path / "big.png", "wb") as file:
        file.truncate(31_000_000)
    with pytest.raises(UserError, match="31 MB; at most 30 MB"):
        read_photo(tmp_path / "big.png")


def test_pixels_survive_the_way_to_a_tensor_and_back():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (np.asarray(to_pil(to_tensor(Image.fromarray(pixels)))) == pixels).all()


def test_values_beyond_the_range_are_clamped_only_at_the_edge():
    assert np.asarray(to_pil(torch.tensor([-5.0, 0.0, 5.0]).view(1, 3, 1, 1))).tolist() == [[[0, 128, 255]]]


def test_the_change_map_is_brightest_where_the_change_is():
    before = Image.fromarray(RED_LEFT)
    after = Image.fromarray(np.where(np.arange(60)[None, :, None] < 10, 255, RED_LEFT).astype(np.uint8))
    heat = np.asarray(change_map(before, after)).mean(2)
    assert heat[:, :10].min() > 100 > heat[:, 10:].max()


@pytest.mark.parametrize(("name", "words"), [("x.txt", "does not end like a picture"), ("no/x.png", "no folder")])
def test_an_output_that_cannot_be_written_is_told_before_the_work(tmp_path, name, words):
    with pytest.raises(UserError, match=words):
        check_output(tmp_path / name)


def test_a_written_picture_can_be_read_again(tmp_path):
    write_picture(Image.fromarray(RED_LEFT), tmp_path / "out.png")
    assert (np.asarray(read_photo(tmp_path / "out.png")) == RED_LEFT).all()
