"""Pictures as numbers and back, maps of change, and what is written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lelsd_core.errors import UserError
from lelsd_core.images import OUTPUTS, change_map, check_output, read_photo, save_picture, to_pil, to_tensor

RED_LEFT = np.zeros((40, 60, 3), np.uint8)
RED_LEFT[:, :30, 0] = 255


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


@pytest.mark.parametrize("ending", OUTPUTS)
def test_what_is_written_is_the_photo_as_exactly_as_the_format_allows(tmp_path, astronaut, ending):
    save_picture(astronaut, tmp_path / f"out{ending}")
    error = np.abs(np.asarray(read_photo(tmp_path / f"out{ending}"), int) - np.asarray(astronaut, int)).mean()
    assert error < (2 if ending in (".jpg", ".jpeg", ".webp") else 1e-9)


def test_a_written_picture_can_be_read_again(tmp_path):
    save_picture(Image.fromarray(RED_LEFT), tmp_path / "out.png")
    assert (np.asarray(read_photo(tmp_path / "out.png")) == RED_LEFT).all()
