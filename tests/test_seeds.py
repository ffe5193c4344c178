"""Seed ranges: no sample is used for two purposes."""

from __future__ import annotations

from itertools import combinations

from lelsd_core import seeds


def test_no_two_ranges_share_a_seed():
    ranges = [value for value in vars(seeds).values() if isinstance(value, range)]
    assert set(ranges) == set(seeds.ALL)
    for one, other in combinations(ranges, 2):
        assert one.stop <= other.start or other.stop <= one.start, (one, other)
