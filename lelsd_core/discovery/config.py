"""What a discovery looks for and how long: plain data, so that the command line can read its defaults without torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lelsd_core.errors import UserError, unknown_name

if TYPE_CHECKING:
    from lelsd_core.generators.base import Generator
    from lelsd_core.segmenters import Segmenter

MASKS = ("average", "union", "intersection")  # keys of `localization.COMBINE`
CHOICES = {  # field -> what it can be
    "difference": ("l2", "l1", "cosine"),  # keys of `localization.DIFFERENCES`
    "masks": MASKS,
    "region": ("foreground", "background"),
    "edges": ("binary", "soft"),
    "norm": ("whole", "slot"),
    "schedule": ("cosine", "halving", "constant"),  # keys of `discovery.SCHEDULES`
}
KINDS = {"masks": "way to combine masks"}  # field -> what messages call it


def option(default: object, help_text: str, kind: type | None = None) -> Any:
    """A config field whose help the command line shows; `kind` is the type of an entry where the default is empty."""
    several = isinstance(default, tuple)
    return field(default=default, metadata={"help": help_text, "kind": kind or (str if several else type(default))})


@dataclass(frozen=True)
class DiscoverConfig:
    """What to look for, and how long."""

    parts: tuple[str, ...] = option(("mouth",), "parts to change")
    space: str = option("", "latent space the direction lives in; empty = the finest")
    slots: tuple[str, ...] = option((), "slots it may write: names, patterns, coarse, middle, fine; none = all")
    layers: tuple[str, ...] = option((), "feature maps the score is read at; none = the picture")
    weights: tuple[float, ...] = option((), "weight of each of these maps in the mean; none = all alike", float)
    view: str = option("", "layer whose running RGB stands for the picture while searching; empty = the picture")
    difference: str = option("l2", "what counts as change: l2, l1 or cosine")
    count: int = option(1, "directions to find at once")
    norm: str = option("whole", "length 1, and directions apart: as a whole, or within each slot (W+, S)")
    steps: int = option(300, "optimiser steps for each direction")
    batch: int = option(8, "samples in a step")
    micro: int = option(0, "samples rendered at a time where memory is short; 0 = the whole batch")
    samples: int = option(800, "different samples to learn from")
    lr: float = option(0.02, "learning rate of Adam")
    schedule: str = option("cosine", "learning rate: half a cosine to zero, halving at each quarter, or constant")
    least: float = option(1.0, "smallest amount of a move, either way")
    most: float = option(4.0, "largest amount of a move, either way")
    masks: str = option("average", "masks before and after: average, union or intersection")
    region: str = option("foreground", "change the parts (foreground) or all the rest (background)")
    edges: str = option("binary", "masks are binary (arg-max) or soft (probabilities)")
    apart: float = option(0.5, "weight c of the term that keeps directions apart")
    patience: int = option(0, "stop after so many looks at a held-out score without a better one; 0 = never")
    look: int = option(20, "steps of each direction between two looks")
    seed: int = option(0, "seed of the start, the samples and the amounts")

    def check(self, generator: Generator, segmenter: Segmenter) -> DiscoverConfig:
        """The config with its space filled in. UserError on the first thing that is wrong."""
        space = self.space or generator.space_names[-1]
        parts = getattr(segmenter.parts, "names", segmenter.parts)  # groups have names too
        for kind, wanted, known in (
            ("latent space", (space,), generator.space_names),
            ("part", self.parts, parts),
            ("layer", (*self.layers, *filter(None, [self.view])), tuple(generator.layers)),
            *((KINDS.get(name, name), (getattr(self, name),), known) for name, known in CHOICES.items()),
        ):
            for name in wanted:
                if name not in known:
                    raise UserError(unknown_name(kind, name, known))
        if not self.parts:
            raise UserError(f"No part was chosen; choose at least one of {', '.join(parts)}.")
        if segmenter.needs:
            segmenter.check(generator)
        self._check_numbers()
        checked = replace(self, space=space, slots=generator.expand_groups(self.slots, space))
        checked.check_room(generator, 0)
        return checked

    def _check_numbers(self) -> None:
        """UserError for a number out of its range."""
        for name, least in (("count", 1), ("steps", 1), ("batch", 1), ("samples", 1), ("look", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        for name in ("micro", "patience"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
        if not 0 < self.least <= self.most:
            raise UserError(f"amounts run from {self.least} to {self.most}; they must be positive and in order.")
        maps = len(self.layers) or 1
        if self.weights and (len(self.weights) != maps or min(self.weights) < 0 or sum(self.weights) <= 0):
            raise UserError(f"weights are {self.weights}; {maps} must be given, none below 0 and not all 0.")

    def check_room(self, generator: Generator, given: int) -> None:
        """UserError if so many directions, `given` ones counted in, cannot all be at right angles."""
        space = generator.space(self.space)
        written = space.written(self.slots)
        widths = [slot.width for slot in space.slots if slot.name in written]
        room = min(widths) if self.norm == "slot" else sum(widths)
        if self.count + given > room:
            where = "the narrowest slot" if self.norm == "slot" else f"space {self.space}"
            known = f" beside {given} given" if given else ""
            raise UserError(f"count is {self.count}{known}; {where} has room for {room} directions at right angles.")
