"""The generator with planted factors: each pair of styles varies what it should, where it should, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.planted import FACTORS, KINDS, SIDES, SIZE, Factor, measured, planted


@pytest.fixture(scope="module")
def styles() -> Tensor:
    generator = planted()
    return generator.lift(generator.sample(range(64)), "Z", "S")


def moved(styles: Tensor, factor: Factor, amount: float) -> Tensor:
    """Codes of S with one of the factor's styles raised by an amount and the other lowered."""
    slots = dict(
        zip((slot.name for slot in planted().spaces[-1].slots), planted().spaces[-1].split(styles.clone()), strict=True)
    )
    slots[factor.slot][:, factor.channels[0]] += amount
    slots[factor.slot][:, factor.channels[1]] -= amount
    return torch.cat(list(slots.values()), 1)


@pytest.mark.parametrize("factor", FACTORS, ids=lambda factor: f"{factor.kind}-{factor.side}")
def test_a_factors_styles_vary_it_more_than_all_else_and_only_its_half(styles, factor):
    generator = planted()
    before, after = (generator.synthesize(moved(styles, factor, a), "S").image for a in (-0.2, 0.2))
    natural = measured(generator.synthesize(styles, "S").image).std(0)
    kinds = [factor.kind for factor in FACTORS]
    natural = torch.stack([natural[[k == kind for k in kinds]].mean() for kind in kinds])  # of both halves
    effect = ((measured(after) - measured(before)) / natural).mean(0).abs()
    index = FACTORS.index(factor)
    assert effect[index] > 0.3
    assert effect[index] > 2 * max(effect[i] for i in range(len(FACTORS)) if i != index)
    if factor.side in SIDES:
        change = (after - before).square().sum((0, 1, 2)).unflatten(0, (2, SIZE // 2)).sum(1)  # (2,) by half
        assert change[SIDES.index(factor.side)] > 100 * change[1 - SIDES.index(factor.side)]


def test_all_factors_vary_among_samples_and_pictures_are_in_range(styles):
    pictures = planted().synthesize(styles, "S").image
    assert pictures.abs().max() < 1.5
    assert (measured(pictures).std(0) > torch.tensor([0.2, 0.2, 0.01, 0.01, 0.05, 0.05, 0.2])).all()
    assert len(FACTORS) == len(KINDS) * len(SIDES) + 1


def test_w_moves_several_factors_at_once_and_w_plus_does_not(styles):
    generator = planted()
    size = generator.space("W").width
    rows = {
        factor.slot: generator.rows[[s.name for s in generator.spaces[-1].slots].index(factor.slot)]
        for factor in FACTORS
    }
    assert len(set(rows.values())) == len(KINDS), "each kind has a row of W+ of its own"
    vector = torch.zeros(1, len(generator.space("W+").slots), size)
    vector[:, rows["4.conv1"]] = torch.randn(size, generator=torch.Generator().manual_seed(0))
    effect = generator.lift_vectors(vector.flatten(1), "W+", "S")[0]
    named = dict(zip((s.name for s in generator.spaces[-1].slots), generator.spaces[-1].split(effect), strict=True))
    assert named["4.conv1"].abs().sum() > 1
    assert not named["8.conv1"].any()
    everywhere = generator.lift_vectors(vector[:, rows["4.conv1"]], "W", "S")[0]
    assert all(
        part.abs().sum() > 1
        for part, slot in zip(generator.spaces[-1].split(everywhere), generator.spaces[-1].slots, strict=True)
        if slot.name.endswith("conv1")
    )
