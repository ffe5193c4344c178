"""The score, on changes worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lelsd_core.discovery.config import MASKS
from lelsd_core.localization import (
    COMBINE,
    change_inside,
    combined_mask,
    cosine_distance,
    locality_gain,
    localization_score,
)

LEFT_HALF = torch.zeros(1, 1, 4, 4)
LEFT_HALF[..., :2] = 1
NOTHING = torch.zeros(1, 3, 4, 4)


def test_even_change_scores_the_area_of_the_mask():
    torch.testing.assert_close(localization_score(NOTHING, NOTHING + 1, LEFT_HALF), torch.tensor([0.5]))


def test_change_inside_scores_one_and_outside_zero():
    inside, outside = NOTHING + LEFT_HALF, NOTHING + (1 - LEFT_HALF)
    after = torch.cat([inside, outside])
    score = localization_score(NOTHING.repeat(2, 1, 1, 1), after, LEFT_HALF.repeat(2, 1, 1, 1))
    torch.testing.assert_close(score, torch.tensor([1.0, 0.0]))


def test_squares_count_so_twice_the_change_weighs_four_times():
    after = NOTHING + 2 * LEFT_HALF + (1 - LEFT_HALF)
    torch.testing.assert_close(localization_score(NOTHING, after, LEFT_HALF), torch.tensor([0.8]))


def test_with_absolute_differences_twice_the_change_weighs_twice():
    after = NOTHING + 2 * LEFT_HALF + (1 - LEFT_HALF)
    score = localization_score(NOTHING, after, LEFT_HALF, difference="l1")
    torch.testing.assert_close(score, torch.tensor([2 / 3]))


def test_the_cosine_sees_turns_and_no_lengths():
    before = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    opposite, right_angle, longer = torch.tensor([-1.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([9.0, 0.0])
    after = before.clone()
    after[0, :, 0, 0] = opposite  # counts 2, in the left half
    after[0, :, 0, 3] = right_angle  # counts 1, in the right half
    after[0, :, 3, 3] = longer  # counts nothing
    score = localization_score(before, after, LEFT_HALF, difference="cosine")
    torch.testing.assert_close(score, torch.tensor([2 / 3]))


def test_the_cosine_is_zero_between_zeros_and_has_a_finite_gradient_there():
    zeros = torch.zeros(1, 2, 1, 1, requires_grad=True)
    change = cosine_distance(torch.zeros(1, 2, 1, 1), zeros)
    change.sum().backward()
    assert change.item() == 0
    assert zeros.grad.isfinite().all()
    assert cosine_distance(torch.ones(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("masks", "region", "expected"),
    [
        ("average", "foreground", (1 + 0.5 * 4) / (1 + 4 + 9)),
        ("union", "foreground", (1 + 4) / (1 + 4 + 9)),
        ("intersection", "foreground", 1 / (1 + 4 + 9)),
        ("average", "background", (9 + 0.5 * 4) / (1 + 4 + 9)),
        ("union", "background", (9 + 4) / (1 + 4 + 9)),
        ("intersection", "background", 9 / (1 + 4 + 9)),
    ],
)
def test_a_part_that_moves_by_one_pixel_by_hand(masks, region, expected):
    before, after = torch.tensor([[[[1.0, 0.0, 0.0]]]]), torch.tensor([[[[1.0, 1.0, 0.0]]]])
    change = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    mask = combined_mask(before, after, masks=masks, region=region)
    score = localization_score(torch.zeros_like(change), change, mask)
    assert score.item() == pytest.approx(expected)


def test_change_inside_and_in_all_are_told_apart():
    inside, total = change_inside(NOTHING, NOTHING + 1, LEFT_HALF)
    assert (inside.item(), total.item()) == (8, 16)


def test_no_change_scores_zero_and_has_a_finite_gradient():
    after = NOTHING.clone().requires_grad_()
    score = localization_score(NOTHING, after, LEFT_HALF)
    score.sum().backward()
    assert score.item() == 0
    assert after.grad.isfinite().all()


def test_an_empty_mask_scores_zero():
    assert localization_score(NOTHING, NOTHING + 1, 0 * LEFT_HALF).item() == 0


def test_a_mask_is_resized_to_the_maps_by_area():
    fine = torch.zeros(1, 1, 8, 8)
    fine[..., :4] = 1
    score = localization_score(NOTHING, NOTHING + 1, fine)
    torch.testing.assert_close(score, torch.tensor([0.5]), atol=0.01, rtol=0)


@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_the_score_lies_in_0_1_and_ignores_the_size_of_the_change(seed, factor):
    random = torch.Generator().manual_seed(seed)
    before, change = (torch.randn(2, 3, 5, 5, generator=random) for _ in range(2))
    mask = torch.rand(2, 1, 5, 5, generator=random)
    score = localization_score(before, before + change, mask)
    assert ((score >= 0) & (score <= 1)).all()
    torch.testing.assert_close(localization_score(before, before + factor * change, mask), score, rtol=1e-3, atol=1e-4)


def test_maps_of_different_shape_are_refused():
    with pytest.raises(ValueError, match=r"feature maps differ in shape: \(1, 3, 4, 4\) before, \(1, 3, 8, 8\) after"):
        localization_score(NOTHING, torch.zeros(1, 3, 8, 8), LEFT_HALF)


def test_a_mask_without_its_channel_is_refused():
    with pytest.raises(ValueError, match=r"mask must be \(1, 1, h, w\), got \(1, 4, 4\)"):
        localization_score(NOTHING, NOTHING, LEFT_HALF[0])


def test_masks_combine_as_average_union_and_intersection():
    a, b = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    assert tuple(COMBINE) == MASKS
    assert [COMBINE[name](a, b).tolist() for name in MASKS] == [[1, 0.5, 0], [1, 1, 0], [1, 0, 0]]


def test_locality_gain_is_one_where_change_is_even_and_a_ratio_of_odds_elsewhere():
    assert locality_gain(0.2, 0.2) == pytest.approx(1)
    assert locality_gain(0.5, 0.2) == pytest.approx(4)
