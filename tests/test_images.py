"""Pictures in and out: every kind of photo is read correctly or refused with a message, and written exactly."""

from __future__ import annotations

import io
import struct
import sys
from contextlib import suppress

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from pillow_heif import register_heif_opener

from lelsd_core.errors import UserError
from lelsd_core.images import OUTPUTS, change_map, read_photo, save_picture, to_pil, to_tensor

register_heif_opener()  # so that Pillow can write the HEIC files that are read here
RED_LEFT = np.zeros((40, 60, 3), np.uint8)
RED_LEFT[:, :30, 0] = 255


def saved(image: Image.Image, kind: str, **options) -> io.BytesIO:
    """The picture as a file in memory."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "HEIF", "AVIF", "BMP", "TIFF", "GIF"])
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
    with pytest.raises(UserError, match="JPEG"):
        read_photo(io.BytesIO(b"hello, I am text"))


def test_a_cut_off_file_is_refused_as_damaged():
    rng = np.random.default_rng(0)
    whole = saved(Image.fromarray(rng.integers(0, 255, (200, 200, 3), dtype=np.uint8)), "PNG").getvalue()
    with pytest.raises(UserError, match="damaged"):
        read_photo(io.BytesIO(whole[: len(whole) // 2]))


def test_one_pixel_is_refused_as_too_small():
    with pytest.raises(UserError, match=r"1×1 .* 32"):
        read_photo(saved(Image.new("RGB", (1, 1)), "PNG"))


@pytest.mark.parametrize(("side", "size"), [(20_000, "400 megapixels"), (9_000, "9000×9000 pixels")])
def test_a_huge_picture_is_refused_before_it_is_decoded(side, size):
    bomb = saved(Image.new("1", (side, side)), "PNG")
    with pytest.raises(UserError, match=f"{size}.* 64 megapixels"):
        read_photo(bomb)


def test_a_strip_that_is_too_long_is_refused():
    with pytest.raises(UserError, match=r"33000×40 .* 32000"):
        read_photo(saved(Image.new("RGB", (33_000, 40)), "PNG"))


def test_a_missing_file_and_a_huge_file_are_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png"):
        read_photo(tmp_path / "gone.png")
    with open(tmp_path / "big.png", "wb") as file:
        file.truncate(31_000_000)
    with pytest.raises(UserError, match=r"31 MB.* 30 MB"):
        read_photo(tmp_path / "big.png")


def srgb_with_red_and_blue_exchanged() -> bytes:
    """An RGB profile in which the file's red is blue: sRGB's own, two of its tags renamed."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tags = 132 + 12 * struct.unpack_from(">I", profile, 128)[0]
    table = profile[132:tags].replace(b"rXYZ", b"----").replace(b"bXYZ", b"rXYZ").replace(b"----", b"bXYZ")
    return (profile[:132] + table + profile[tags:]).replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))


def profile_in_which_cyan_ink_is_red() -> bytes:
    """A CMYK profile: paper with cyan ink is red, all other ink is black."""
    lab = {0: (255, 128, 128), 8: (138, 208, 195)}  # of the 16 corners C M Y K, in 8 bits: white, and sRGB's red
    corners = bytes(value for corner in range(16) for value in lab.get(corner, (0, 128, 128)))
    one = 1 << 16
    matrix = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, one)
    table = b"mft1" + bytes([0, 0, 0, 0, 4, 3, 2, 0]) + matrix + bytes(range(256)) * 4 + corners + bytes(range(256)) * 3
    table += bytes(-len(table) % 4)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    head = struct.pack(
        ">I4sI4s4s4s", 156 + 12 + len(white) + len(table), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    tags = struct.pack(">I", 2) + struct.pack(">4sII", b"wtpt", 156, len(white))
    tags += struct.pack(">4sII", b"A2B0", 156 + len(white), len(table))
    return head.ljust(128, b"\0") + tags + white + table


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_colours_are_those_that_the_profile_means(kind):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    file = saved(Image.fromarray(RED_LEFT), kind, icc_profile=srgb_with_red_and_blue_exchanged(), **options)
    left = read_photo(file).getpixel((10, 20))
    assert left[2] > 240 > 20 > max(left[:2])


def test_a_profile_also_holds_under_transparency():
    rgba = np.dstack([RED_LEFT, np.full((40, 60), 255, np.uint8)])
    rgba[:20, :, 3] = 0
    photo = read_photo(saved(Image.fromarray(rgba), "PNG", icc_profile=srgb_with_red_and_blue_exchanged()))
    assert photo.getpixel((10, 10)) == (255, 255, 255)
    assert photo.getpixel((10, 30))[2] > 240 > 20 > photo.getpixel((10, 30))[0]


@pytest.mark.parametrize("profile", [b"no profile", srgb_with_red_and_blue_exchanged()[:200]])
def test_a_broken_profile_is_left_out(profile):
    photo = read_photo(saved(Image.fromarray(RED_LEFT), "PNG", icc_profile=profile))
    assert (np.asarray(photo) == RED_LEFT).all()


def test_ink_has_the_colour_of_its_profile():
    cyan = Image.new("CMYK", (60, 40), (255, 0, 0, 0))
    photo = read_photo(saved(cyan, "TIFF", icc_profile=profile_in_which_cyan_ink_is_red()))
    red, green, blue = photo.getpixel((10, 20))
    assert red > 220 > 60 > max(green, blue)
    assert read_photo(saved(cyan, "TIFF")).getpixel((10, 20)) == (0, 255, 255)


def test_colours_of_a_lab_picture_are_read():
    lab = ImageCms.profileToProfile(
        Image.fromarray(RED_LEFT), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    left = read_photo(saved(lab, "TIFF")).getpixel((10, 20))
    assert left[0] > 240 > 20 > max(left[1:])


@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_sixteen_bits_of_colour_are_scaled(kind):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None, :, None].repeat(64, 0).repeat(3, 2)
    ramp[..., 0] = 0  # blue first: OpenCV's order
    values = np.asarray(read_photo(io.BytesIO(cv2.imencode(kind, ramp)[1].tobytes())))[0]
    assert values[-1].tolist() == [255, 255, 0]
    assert abs(int(values[32, 0]) - 129) <= 2


def test_floating_point_grey_is_scaled():
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    values = np.asarray(read_photo(saved(Image.fromarray(ramp), "TIFF")))[0, :, 0]
    assert (values[0], values[-1]) == (0, 255)


def test_a_palette_with_a_transparent_colour_is_laid_on_white():
    palette = Image.fromarray(RED_LEFT).quantize(2)
    black = palette.getpixel((50, 20))
    photo = read_photo(saved(palette, "PNG", transparency=black))
    assert photo.getpixel((50, 20)) == (255, 255, 255)
    assert photo.getpixel((10, 20)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(4000, 3000), (6000, 4400)])
def test_a_jpeg_keeps_every_pixel(size):
    assert read_photo(saved(Image.new("L", size, 90), "JPEG")).size == size


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "HEIF", "TIFF"])
def test_the_place_where_a_photo_was_taken_stays_behind(kind):
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    exif.get_ifd(0x8825)[2] = (47.0, 22.0, 11.0)
    photo = read_photo(saved(Image.fromarray(RED_LEFT), kind, exif=exif.tobytes()))
    assert not photo.info
    assert not photo.getexif()
    assert b"secret" not in saved(photo, kind).getvalue()


def test_a_heic_photo_that_lies_on_its_side_is_turned_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = read_photo(saved(Image.fromarray(RED_LEFT), "HEIF", exif=exif.tobytes()))
    assert photo.size == (40, 60)


def test_a_heic_photo_without_its_package_raises(monkeypatch):
    heic = saved(Image.fromarray(RED_LEFT), "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match="pillow-heif"):
        read_photo(heic)


def test_a_photo_whose_turn_cannot_be_read_stays_as_it_lies():
    photo = read_photo(saved(Image.fromarray(RED_LEFT), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"))
    assert (np.asarray(photo) == RED_LEFT).all()


def test_only_picture_formats_reach_a_decoder():
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\n%%EndComments\nshowpage\n"
    with pytest.raises(UserError, match="not a picture"):
        read_photo(io.BytesIO(script))


def test_an_open_file_of_too_many_bytes_is_refused_before_it_is_decoded():
    with pytest.raises(UserError, match=r"31 MB.* 30 MB"):
        read_photo(io.BytesIO(bytes(31_000_000)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "HEIF", "AVIF", "BMP", "TIFF", "GIF"])
def test_damage_anywhere_is_one_sentence_or_a_picture(kind):
    random = np.random.default_rng(0)
    whole = saved(Image.fromarray(random.integers(0, 255, (48, 48, 3), dtype=np.uint8)), kind).getvalue()
    for _ in range(60):
        damaged = bytearray(whole[: random.integers(12, len(whole))] if random.random() < 0.3 else whole)
        for place in random.integers(0, min(len(damaged), 400), 3):
            damaged[place] = random.integers(256)
        with suppress(UserError):
            assert read_photo(io.BytesIO(bytes(damaged))).mode == "RGB"


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


@pytest.mark.parametrize(("name", "words"), [("x.txt", r"x\.txt .*\.png"), ("no/x.png", "no folder")])
def test_an_output_that_cannot_be_written_raises(tmp_path, astronaut, name, words):
    with pytest.raises(UserError, match=words):
        save_picture(astronaut, tmp_path / name)


@pytest.mark.parametrize("ending", OUTPUTS)
def test_what_is_written_is_the_photo_as_exactly_as_the_format_allows(tmp_path, astronaut, ending):
    save_picture(astronaut, tmp_path / f"out{ending}")
    error = np.abs(np.asarray(read_photo(tmp_path / f"out{ending}"), int) - np.asarray(astronaut, int)).mean()
    assert error < (2 if ending in (".jpg", ".jpeg", ".webp") else 1e-9)


def test_a_written_picture_can_be_read_again(tmp_path):
    save_picture(Image.fromarray(RED_LEFT), tmp_path / "out.png")
    assert (np.asarray(read_photo(tmp_path / "out.png")) == RED_LEFT).all()
