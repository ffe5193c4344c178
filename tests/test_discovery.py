"""Discovery on a generator whose true directions are known, and on the one that ships."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lelsd_core.discovery.config import REACH, DiscoverConfig
from lelsd_core.discovery.samples import Samples
from lelsd_core.discovery.search import UnitSphere, discover, draw_amounts
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import evaluate
from lelsd_core.weights.catalogue import generator_spec
from tests.bench.generators import random_stylegan2
from tests.toy import QUICK, Blind, Halves, Painter, PictureHalves, inside, last_of


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
    last = last_of(replace(QUICK, steps=10), segmenter=Blind())
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


def test_correlation_is_zero_for_orthogonal_and_worst_for_equal_directions():
    sphere = UnitSphere(Painter().spaces[0], QUICK, torch.zeros(0, 6))
    assert float(sphere.correlation(torch.eye(3, 6))) == 0
    equal = torch.eye(1, 6).repeat(2, 1)
    assert float(sphere.correlation(equal)) == pytest.approx(-0.5 * 2**0.5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"parts": ("lef",)}, "part .*'lef'.* left"),
        ({"parts": "lef"}, "part .*'lef'.* left"),
        ({"parts": ()}, "part"),
        ({"space": "W"}, "latent space .*'W'"),
        ({"layers": ("9.paint",)}, "layer .*'9.paint'.* 8.paint"),
        ({"slots": ("w*",)}, r"slot in space Z .*'w\*'"),
        ({"masks": "mean"}, "way to combine masks .*'mean'"),
        ({"steps": 0}, "steps is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"least": 5.0}, "5.0 to 4.0"),
        ({"least": None, "most": 0.0}, "to 0.0"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_before_the_first_step(change, named):
    with pytest.raises(UserError, match=named):
        next(discover(Painter(), Halves(), replace(QUICK, **change)))


class Wide(Painter):
    """A painter whose codes lie twenty times further apart."""

    def sample(self, seeds):
        return 20 * super().sample(seeds)


OPEN = DiscoverConfig(parts="left")  # amounts, slots and micro-batches left open


def test_amounts_fit_the_distance_between_codes():
    near, far = (OPEN.check(generator, Halves()) for generator in (Painter(), Wide()))
    distance = 12**0.5  # of two standard normal draws in six columns, about
    assert near.most == pytest.approx(REACH * distance, rel=0.15)
    assert far.most == pytest.approx(20 * near.most)
    assert far.least == pytest.approx(20 * near.least)
    assert near.least == pytest.approx(near.most / 4)
    found = next(discover(Wide(), Halves(), OPEN)).directions[0]
    assert (found.low, found.high) == (-far.most, far.most), "discover itself fits them"


def test_given_amounts_stay_and_checking_twice_changes_nothing():
    config = replace(OPEN, most=2.0).check(Wide(), Halves())
    assert (config.least, config.most) == (0.5, 2.0), "the open end fits the given one"
    for generator in (Painter(), random_stylegan2(8)):
        config = OPEN.check(generator, PictureHalves())
        assert config.check(generator, PictureHalves()) == config


def test_where_samples_do_not_differ_amounts_are_one_to_four(editor):
    config = replace(OPEN, parts="mouth", slots="*.gain").check(editor.generator, editor.segmenter)
    assert (config.least, config.most) == (1.0, 4.0), "z is carried along, gains are the same for all samples"
    assert config.slots == ("*.gain",)


def test_slots_that_feed_a_to_rgb_are_left_out_unless_named():
    generator = random_stylegan2(8)
    names = {slot.name for slot in generator.space("S").slots}
    config = OPEN.check(generator, PictureHalves())
    assert names - set(config.slots) == {name for name in names if name.endswith("torgb")}
    assert replace(OPEN, slots="*").check(generator, PictureHalves()).slots == ("*",)


def test_micro_batches_hold_as_many_pictures_as_fit():
    large = Painter()
    large.resolution = 1024
    assert Samples(large, Halves(), OPEN).micro == 1
    assert Samples(Painter(), Halves(), OPEN).micro == OPEN.batch
    assert Samples(large, Halves(), replace(OPEN, micro=3)).micro == 3
    assert Samples(large, Halves(), replace(OPEN, micro=99)).micro == OPEN.batch


def test_the_model_that_ships_learns_within_forty_steps(editor):
    config = replace(generator_spec("digiface-64").discover, parts=("eyes",), steps=40)
    *_, last = discover(editor.generator, editor.segmenter, config)
    row = next(evaluate(editor.generator, editor.segmenter, last.directions, range(500_000, 500_032)))
    assert row.gain > 10
    moved = last.directions[0].vector.split(editor.generator.space("S").widths)
    assert moved[0].abs().max() == 0, "z is carried along, never moved"
