"""Latent spaces: cutting codes into slots, masking columns, normalising."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lelsd_core.errors import UserError
from lelsd_core.latents import LatentSpace, Slot

SPACE = LatentSpace("S", (Slot("z", 2, movable=False), Slot("4.gain", 3), Slot("4.bias", 1)))
widths = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@given(widths, st.integers(1, 4))
def test_slots_put_together_are_the_code_again(sizes, rows):
    space = LatentSpace("X", tuple(Slot(str(i), size) for i, size in enumerate(sizes)))
    codes = torch.arange(rows * space.width, dtype=torch.float32).view(rows, -1)
    torch.testing.assert_close(torch.cat(space.split(codes), dim=-1), codes, rtol=0, atol=0)


def test_an_edit_may_write_every_movable_column_and_no_other():
    assert SPACE.column_mask().tolist() == [0, 0, 1, 1, 1, 1]


def test_patterns_choose_slots():
    assert SPACE.column_mask(["*.gain"]).tolist() == [0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("pattern", ["5.gain", "z"])
def test_a_pattern_that_fits_no_movable_slot_is_refused_with_the_known_names(pattern):
    with pytest.raises(UserError, match=r"slot in space S named .*4\.gain"):
        SPACE.column_mask([pattern])


@given(widths)
def test_unit_vectors_have_length_one_as_a_whole_or_in_each_slot(sizes):
    space = LatentSpace("X", tuple(Slot(str(i), size) for i, size in enumerate(sizes)))
    vectors = torch.randn(3, space.width, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(space.unit(vectors).norm(dim=-1), torch.ones(3))
    for part in space.split(space.unit_slots(vectors)):
        torch.testing.assert_close(part.norm(dim=-1), torch.ones(3))
