"""LELSD as one of the methods: a search with the settings that the generator has here, or with the paper's.

Source: Pajouheshgar, Zhang, Süsstrunk, "Optimizing Latent Space Directions for GAN-based Local Image Editing", ICASSP
2022 (arXiv:2111.12583); see `discovery.search`. All directions are found at once and kept apart (Eq. 3).
"""

from __future__ import annotations

from dataclasses import replace

from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.search import discover
from lelsd_core.generators.base import Generator
from lelsd_core.methods.wanted import Report, Wanted
from lelsd_core.segmenters import Segmenter
from lelsd_core.weights.catalogue import CATALOGUE, Network


def search_looks(generator: Generator, segmenter: Segmenter, wanted: Wanted, report: Report) -> list[Direction]:
    """Global moves."""
    return search(generator, segmenter, spec(generator).discover, wanted, report)


def search_shapes(generator: Generator, segmenter: Segmenter, wanted: Wanted, report: Report) -> list[Direction]:
    """Local moves of a coarse code."""
    return search(generator, segmenter, spec(generator).shapes(generator), wanted, report)


def search_paper(generator: Generator, segmenter: Segmenter, wanted: Wanted, report: Report) -> list[Direction]:
    """Global moves with the paper's recipe."""
    return search(generator, segmenter, DiscoverConfig.paper(generator), wanted, report)


def local_spaces(generator: Generator) -> tuple[str, ...]:
    """The space of local moves."""
    return (DiscoverConfig.shapes(generator).space,)


def paper_spaces(generator: Generator) -> tuple[str, ...]:
    """All spaces, the paper's first."""
    usual = DiscoverConfig.paper(generator).space
    return (usual, *(name for name in generator.space_names if name != usual))


def spec(generator: Generator) -> Network:
    """What the catalogue knows of a generator: its settings of a search."""
    return CATALOGUE.get(generator.name) or Network(generator.name, "generator", "")


def search(
    generator: Generator, segmenter: Segmenter, config: DiscoverConfig, wanted: Wanted, report: Report
) -> list[Direction]:
    """The directions of a whole search with a config, in which what is wanted takes the place of its own values."""
    usual = config.space or generator.space_names[-1]
    values = {"samples": wanted.samples, "steps": wanted.steps, "space": wanted.space}
    given = {name: value for name, value in values.items() if value is not None and (name, value) != ("space", usual)}
    config = replace(config.with_values(**given), parts=wanted.parts, count=wanted.count, seed=wanted.seed)
    for progress in discover(generator, segmenter, config):
        report(progress.step / progress.total)
    return list(progress.directions)
