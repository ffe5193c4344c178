"""Latent spaces: cutting codes into slots, masking columns, normalising; unknown names anywhere."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.search import UnitSphere
from lelsd_core.errors import UserError
from lelsd_core.latents import LatentSpace, Slot
from lelsd_core.segmenters import Parts, part_mask
from tests.toy import Halves, Painter

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
    whole, by_slot = (
        UnitSphere(space, DiscoverConfig(norm=norm), torch.zeros(0, space.width)).project(vectors)
        for norm in ("whole", "slot")
    )
    torch.testing.assert_close(whole.norm(dim=-1), torch.ones(3))
    for part in space.split(by_slot):
        torch.testing.assert_close(part.norm(dim=-1), torch.ones(3))


CODES = torch.zeros(1, 6)
UNKNOWN = {
    "space": (lambda: Painter().space("Y"), "latent space .*'Y'.* Z"),
    "lift": (lambda: Painter().lift(CODES, "Z", "Y"), "latent space .*'Y'"),
    "code": (lambda: Painter().synthesize(CODES, "Y"), "latent space .*'Y'"),
    "layer": (lambda: Painter().synthesize(CODES, "Z", keep=("8.pain",)), "layer .*'8.pain'.* 8.paint"),
    "features": (lambda: Painter().synthesize(CODES, "Z").features("8.paint"), "layer .*'8.paint'"),
    "part": (lambda: Parts(Halves.parts).expand("lef"), "part .*'lef'.* left"),
    "mask": (lambda: part_mask(torch.zeros(1, 2, 8, 8), Halves.parts, "lef"), "part .*'lef'.* left"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_space_layer_or_part_is_the_same_error_everywhere(case):
    call, named = UNKNOWN[case]
    with pytest.raises(UserError, match=named):
        call()


def test_one_part_can_be_given_as_a_plain_string():
    probabilities = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    masks = [part_mask(probabilities, Halves.parts, parts) for parts in ("left", ("left",))]
    assert torch.equal(*masks)


def test_a_generator_describes_itself_in_one_line():
    assert repr(Painter()) == "<Painter 'painter': 8 pixels, spaces Z>"
