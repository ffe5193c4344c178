"""Random directions: unit vectors from a seed, the floor that every method must beat.

As for all methods that do not know of parts, the best of `CANDIDATES` for the wanted parts are returned.
"""

from __future__ import annotations

import torch

from lelsd_core.directions import Direction
from lelsd_core.generators.base import Generator
from lelsd_core.methods.candidates import best, candidate
from lelsd_core.methods.wanted import Report, Wanted
from lelsd_core.segmenters import Segmenter

CANDIDATES = 16


def search(generator: Generator, segmenter: Segmenter, wanted: Wanted, report: Report) -> list[Direction]:
    """The best of `wanted.samples` vectors, which are drawn from N(0, I) and scaled to length 1."""
    count = max(wanted.samples or CANDIDATES, wanted.count)
    random = torch.Generator().manual_seed(wanted.seed)
    vectors = torch.randn(count, generator.space(wanted.space).width, generator=random)
    return best(generator, segmenter, wanted, [candidate(generator, wanted, vector) for vector in vectors], report)
