"""Seed ranges: no sample is used for two purposes."""

from __future__ import annotations

from itertools import combinations

from lelsd_core import seeds
from lelsd_core.cli import official
from lelsd_core.discovery.config import DiscoverConfig
from tests.toy import Halves, Painter


def test_no_two_ranges_share_a_seed():
    ranges = [value for value in vars(seeds).values() if isinstance(value, range)]
    assert set(ranges) == set(seeds.ALL)
    for one, other in combinations(ranges, 2):
        assert one.stop <= other.start or other.stop <= one.start, (one, other)


def test_the_official_recipe_draws_fresh_seeds_of_its_own():
    used: list[int] = []

    class Counting(Painter):
        def sample(self, seeds):
            used.extend(seeds)
            return super().sample(seeds)

        def __deepcopy__(self, _memo):
            return self

    config = DiscoverConfig(parts="left", steps=3, batch=2, least=1.0, most=4.0).check(Painter(), Halves())
    assert len(list(official.official_loop(Counting(), Halves(), config))) == 3
    assert used == list(seeds.OFFICIAL[:6])
