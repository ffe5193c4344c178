"""What a discovery looks for and how long: plain data, so that the command line can read its defaults without torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lelsd_core.errors import UserError, unknown_name

if TYPE_CHECKING:
    from lelsd_core.generators.base import Generator
    from lelsd_core.segmenters import Segmenter

MASKS = ("average", "union", "intersection")  # keys of `localization.COMBINE`


def option(default: object, help_text: str) -> Any:
    """A config field whose help the command line shows."""
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class DiscoverConfig:
    """What to look for, and how long."""

    parts: tuple[str, ...] = option(("mouth",), "parts to change")
    space: str = option("", "latent space the direction lives in; empty = the finest")
    slots: tuple[str, ...] = option((), "slots it may write: names, patterns, coarse, middle, fine; none = all")
    layers: tuple[str, ...] = option((), "feature maps the score is read at; none = the picture")
    count: int = option(1, "directions to find at once")
    steps: int = option(300, "optimiser steps for each direction")
    batch: int = option(8, "samples in a step")
    samples: int = option(800, "different samples to learn from")
    lr: float = option(0.02, "learning rate of Adam, falling to zero along half a cosine")
    least: float = option(1.0, "smallest amount of a move, either way")
    most: float = option(4.0, "largest amount of a move, either way")
    masks: str = option("average", "masks before and after: average, union or intersection")
    apart: float = option(0.5, "weight c of the term that keeps directions apart")
    seed: int = option(0, "seed of the start, the samples and the amounts")

    def check(self, generator: Generator, segmenter: Segmenter) -> DiscoverConfig:
        """The config with its space filled in. UserError on the first thing that is wrong."""
        space = self.space or generator.space_names[-1]
        for kind, wanted, known in (
            ("latent space", (space,), generator.space_names),
            ("part", self.parts, segmenter.parts),
            ("layer", self.layers, tuple(generator.layers)),
            ("way to combine masks", (self.masks,), MASKS),
        ):
            for name in wanted:
                if name not in known:
                    raise UserError(unknown_name(kind, name, known))
        if not self.parts:
            raise UserError(f"No part was chosen; choose at least one of {', '.join(segmenter.parts)}.")
        for name in ("count", "steps", "batch", "samples"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 < self.least <= self.most:
            raise UserError(f"amounts run from {self.least} to {self.most}; they must be positive and in order.")
        return replace(self, space=space, slots=generator.expand_groups(self.slots, space))
