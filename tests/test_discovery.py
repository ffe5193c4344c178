"""Discovery on a generator whose true directions are known, and on the one that ships."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.search import apartness, discover, draw_amounts
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import evaluate
from lelsd_core.specs import GENERATORS
from tests.toy import Blind, Halves, Painter

QUICK = DiscoverConfig(parts=("left",), steps=200, batch=4, samples=64, lr=0.05)


def last_of(config: DiscoverConfig, segmenter=None):
    """The last progress of a discovery on the painter."""
    *_, last = discover(Painter(), segmenter or Halves(), config)
    return last


def inside(vector: torch.Tensor, *factors: int) -> float:
    """Length of a unit vector's shadow on the span of true factors."""
    return float((Painter().factors(*factors) @ vector).norm())


@pytest.mark.parametrize(("part", "factors"), [("left", (0, 1)), ("right", (2, 3))])
def test_the_true_direction_is_found(part, factors):
    last = last_of(replace(QUICK, parts=(part,)))
    assert inside(last.directions[0].vector, *factors) > 0.98
    assert last.score > 0.95


def test_two_directions_are_both_true_and_different():
    first, second = (d.vector for d in last_of(replace(QUICK, count=2)).directions)
    assert min(inside(first, 0, 1), inside(second, 0, 1)) > 0.97
    assert abs(float(first @ second)) < 0.1


def test_the_same_seed_finds_the_same_direction_and_another_seed_another():
    one, again, other = (last_of(replace(QUICK, steps=20, seed=s)).directions[0].vector for s in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=0.01)


def test_progress_counts_and_a_closed_iterator_stops():
    run = discover(Painter(), Halves(), replace(QUICK, steps=5))
    assert (next(run).step, next(run).step) == (1, 2)
    run.close()
    assert [p.step for p in discover(Painter(), Halves(), replace(QUICK, steps=3, count=2))] == [1, 2, 3, 4, 5, 6]


def test_vectors_have_length_one_at_every_step():
    for progress in discover(Painter(), Halves(), replace(QUICK, steps=10, lr=0.5)):
        assert float(progress.directions[0].vector.norm()) == pytest.approx(1, abs=1e-5)


def test_a_part_that_is_never_seen_gives_no_nan():
    last = last_of(replace(QUICK, steps=10), Blind())
    assert last.score == 0
    assert last.directions[0].vector.isfinite().all()


def test_the_direction_knows_where_it_came_from():
    found = last_of(replace(QUICK, steps=4, seed=9)).directions[0]
    assert (found.generator, found.fingerprint, found.space) == ("painter", "a" * 64, "Z")
    assert found.parts == ("left",)
    assert found.facts["steps"] == 4
    assert found.facts["seed"] == 9


def test_amounts_lie_between_least_and_most_on_both_sides():
    amounts = draw_amounts(replace(QUICK, batch=1000, least=1.0, most=4.0), torch.Generator().manual_seed(0))
    assert amounts.abs().min() >= 1
    assert amounts.abs().max() <= 4
    assert 400 < (amounts > 0).sum() < 600


def test_apartness_is_zero_for_orthogonal_and_worst_for_equal_directions():
    assert float(apartness(torch.eye(3))) == 0
    equal = torch.tensor([[1.0, 0], [1.0, 0]])
    assert float(apartness(equal)) == pytest.approx(-0.5 * 2**0.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parts": ("lef",)}, "no part named 'lef'; did you mean left"),
        ({"parts": ()}, "No part was chosen"),
        ({"space": "W"}, "no latent space named 'W'"),
        ({"layers": ("9.paint",)}, "no layer named '9.paint'; did you mean 8.paint"),
        ({"slots": ("w*",)}, "no slot in space Z named"),
        ({"masks": "mean"}, "no way to combine masks named 'mean'"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"batch": 0}, "batch is 0"),
        ({"least": 5.0}, "amounts run from 5.0 to 4.0"),
    ],
)
def test_what_cannot_be_done_is_told_before_the_first_step(change, words):
    with pytest.raises(UserError, match=words):
        next(discover(Painter(), Halves(), replace(QUICK, **change)))


def test_the_model_that_ships_learns_within_forty_steps(editor):
    config = replace(GENERATORS["digiface-64"].discover, parts=("eyes",), steps=40)
    *_, last = discover(editor.generator, editor.segmenter, config)
    row = next(evaluate(editor.generator, editor.segmenter, last.directions, range(500_000, 500_032)))
    assert row.gain > 10
    moved = last.directions[0].vector.split(editor.generator.space("S").widths)
    assert moved[0].abs().max() == 0, "z is carried along, never moved"
