"""Settings of a search for directions: plain data, so that the command line reads its defaults without torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from lelsd_core.errors import UserError, unknown_name
from lelsd_core.seeds import TRAINING

if TYPE_CHECKING:
    from lelsd_core.generators.base import Generator
    from lelsd_core.latents import LatentSpace
    from lelsd_core.segmenters import Segmenter

MASKS = ("average", "union", "intersection")  # keys of `localization.COMBINE`
CHOICES = {  # field -> its possible values
    "difference": ("l2", "l1", "cosine"),  # keys of `localization.DIFFERENCES`
    "masks": MASKS,
    "region": ("foreground", "background"),
    "edges": ("binary", "soft"),
    "norm": ("whole", "slot", "free"),
    "compare": ("vectors", "changes"),
    "draw": ("sample", "batch"),
    "schedule": ("cosine", "halving", "constant"),  # keys of `search.SCHEDULES`
}
CHOICE_LABELS = {
    "masks": "way to combine masks",
    "draw": "way to draw amounts",
    "compare": "thing to keep apart",
}  # field -> its name in errors
MINIMUM = {"count": 1, "steps": 0, "batch": 1, "samples": 1, "look": 1, "micro": 0, "patience": 0}
LEAST, MOST = 1.0, 4.0  # amounts in a space whose samples all share the same code
LAYERED = ("W+", "Z+", "S", "Z")  # spaces with layers first: the paper's W+, or what is nearest to it
PAPER = {  # settings of the paper's text and its official code, where they are not the defaults
    "layers": ("all",),
    "norm": "free",
    "steps": 200,
    "batch": 4,
    "lr": 0.001,
    "beta2": 0.999,
    "schedule": "halving",
    "least": 0.0,
    "most": 1.0,
    "draw": "batch",
    "apart": 5 / 2**0.5,  # for two directions, 5 times the mean |cosine| of the official code
}
SHAPES = {  # settings of a search for local moves, where they are not the defaults
    "steps": 90,
    "batch": 4,
    "lr": 0.03,
    "apart": 0.7,
    "hold": 4.0,
}
LOCAL_SIZE = 1 / 16  # a local move is let in at the last map of at least this share of the picture's size, and 8 pixels
PRESETS = ("look", "shape", "paper")  # global moves in the finest space, local moves, the paper's recipe
DILATE, FEATHER = 1 / 32, 1 / 16  # of the soft mask of a local move, in shares of the frame's width
REACH = 0.25  # the fitted largest amount, in mean distances between the codes of two samples


def usual_preset(parts: Collection[str], shaped: Collection[str]) -> str:
    """The one of `PRESETS` for a new search for some parts: "shape" if all are among `shaped`, else "look"."""
    return "shape" if parts and {*parts} <= {*shaped} else "look"


def option(default: object, help_text: str, kind: type | None = None) -> Any:
    """A field with its help text for the command line; `kind` is the type of a value where the default is empty."""
    several = isinstance(default, tuple)
    return field(default=default, metadata={"help": help_text, "kind": kind or (str if several else type(default))})


@dataclass(frozen=True)
class DiscoverConfig:
    """Settings of a search; the help texts below describe the fields. A single name stands for a tuple of one."""

    parts: tuple[str, ...] = option(("mouth",), "parts to change")
    space: str = option("", "latent space the direction lives in; empty = the finest")
    slots: tuple[str, ...] = option(
        (), "slots it may write: names, patterns, coarse, middle, fine; none = all except toRGB"
    )
    layers: tuple[str, ...] = option(
        (), "feature maps the score is read at: names, all, coarse, middle, fine; none = the picture"
    )
    weights: tuple[float, ...] = option((), "weight of each of these maps in the mean; none = all alike", float)
    local: str = option("", "layer at which a move is let in around the parts, for shapes; empty = a global move")
    around: tuple[str, ...] = option((), "a local move is let in around these parts; none = those that shall change")
    box: tuple[float, ...] = option((), "or in this box: left, top, right, bottom in shares of the frame", float)
    painted: tuple[tuple[float, ...], ...] = option((), "")  # or in this mask, rows of numbers in [0, 1]
    dilate: float = option(DILATE, "a local move is let in whole up to this far from its mask, in frame widths")
    feather: float = option(FEATHER, "and fades out over this distance")
    view: str = option("", "layer whose running RGB stands for the picture while searching; empty = the picture")
    difference: str = option("l2", "what counts as change: l2, l1 or cosine")
    count: int = option(1, "directions to find at once")
    norm: str = option("whole", "length 1, and directions apart: whole, or in each slot; free = slot at the start only")
    steps: int = option(300, "optimiser steps for each direction; 0 = its start itself")
    batch: int = option(8, "samples in a step")
    micro: int = option(0, "samples rendered at a time; 0 = as many as fit")
    samples: int = option(800, "different samples to learn from")
    truncation: float | None = option(None, "psi of the samples, 0 to 1; none = no truncation", float)
    lr: float = option(0.02, "learning rate of Adam")
    beta2: float = option(0.99, "decay of Adam's mean of squared gradients")
    schedule: str = option("cosine", "learning rate: half a cosine to zero, halving at each quarter, or constant")
    least: float | None = option(None, "smallest amount of a move, either way; fitted to the space unless given", float)
    most: float | None = option(None, "largest amount of a move, either way; fitted to the space unless given", float)
    draw: str = option("sample", "one random amount for each sample, or one for the batch")
    masks: str = option("average", "masks before and after: average, union or intersection")
    region: str = option("foreground", "change the parts (foreground) or all the rest (background)")
    edges: str = option("binary", "masks are binary (arg-max) or soft (probabilities)")
    apart: float = option(0.5, "weight c of the term that keeps directions apart")
    compare: str = option("vectors", "what is kept apart: the vectors, or the changes of the pictures that they cause")
    start: tuple[str, ...] = option((), "names of the starts of the directions, such as smile; none = random")
    hold: float = option(0.4, "weight of the term that holds a direction to its start")
    patience: int = option(0, "early stopping: checks of the held-out score without a better one; 0 = never")
    look: int = option(20, "steps of each direction between two checks")
    seed: int = option(0, "seed of the start, the samples and the amounts")

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(entry.default, tuple) and not isinstance(value, tuple):
                object.__setattr__(self, entry.name, (value,) if isinstance(value, str) else tuple(value))

    @classmethod
    def paper(cls, generator: Generator, **fields: Any) -> DiscoverConfig:
        """The paper's recipe for a generator, with its layer-wise space and truncation; `fields` override it."""
        space = next(name for name in LAYERED if name in generator.space_names)
        return cls(**{**PAPER, "space": space, "truncation": generator.usual_truncation, **fields})

    @classmethod
    def shapes(cls, generator: Generator, **fields: Any) -> DiscoverConfig:
        """A search for local moves of a coarse code, which change shapes; `fields` override it.

        The space is W+, or the coarsest one of generators without it.
        """
        least = max(8, LOCAL_SIZE * generator.resolution)
        space = next(name for name in ("W+", *generator.space_names) if name in generator.space_names)
        small = [layer.name for layer in generator.layers.values() if layer.size <= least]
        layer = (small or list(generator.layers)[:1])[-1]
        return cls(**{**SHAPES, "space": space, "local": layer, **fields})

    def with_values(self, **values: Any) -> DiscoverConfig:
        """The config with other values; in another space without the slots and amounts that were meant for its own."""
        moved = values.get("space", self.space) != self.space
        return replace(self, **({"slots": (), "least": None, "most": None} if moved else {}) | values)

    def check(self, generator: Generator, segmenter: Segmenter) -> DiscoverConfig:
        """The config for these networks: every value checked, and what was left open filled in.

        An empty space becomes the finest one, a group of layers its layers. Without slots, those that feed a toRGB are
        left out: they recolour the whole picture. Amounts that are None become a share of the mean distance between the
        codes of two samples, so that they mean as much in every space. Checking a checked config changes nothing.

        Raises:
            UserError: an unknown part, space, slot, layer or choice, a number out of its range, a segmenter that reads
                the features of another generator, or more directions than fit into the space.
        """
        space = generator.space(self.space or generator.space_names[-1])
        generator.check_layers(filter(None, [self.view]))
        for name, values in CHOICES.items():
            if getattr(self, name) not in values:
                raise UserError(unknown_name(CHOICE_LABELS.get(name, name), getattr(self, name), values))
        segmenter.parts.channels(self.parts)  # checks the names
        segmenter.check(generator)
        slots = generator.expand_groups(self.slots, space.name)
        if self.local in generator.layers and not slots:  # other slots would not matter
            slots = generator.slots_up_to(self.local, space.name)
        if not slots and any(slot.name.endswith("torgb") for slot in space.slots):
            slots = tuple(slot.name for slot in space.slots if slot.movable and not slot.name.endswith("torgb"))
        config = replace(self, space=space.name, slots=slots, layers=generator.expand_layers(self.layers))
        config._check_local(generator, segmenter)
        config._check_starts()
        config.check_room(space, 0)
        return config._with_numbers(generator, space)

    def _check_local(self, generator: Generator, segmenter: Segmenter) -> None:
        """UserError for a place of a local move that does not fit the networks, or without a layer to be let in at."""
        from lelsd_core.local import LocalMove  # needs torch

        if not self.local:
            if self.around or self.box or self.painted:
                raise UserError(f"A local move needs a layer; choose one of {', '.join(generator.layers)}.")
            return
        generator.check_layers([self.local])
        if sum(map(bool, (self.around, self.box, self.painted))) > 1:
            raise UserError("A local move is let in around parts, in a box or in a painted region; give one of them.")
        if around := LocalMove.of(self).around:
            segmenter.parts.channels(around)  # checks the names
        order = list(generator.layers)
        for name in (*self.layers, *filter(None, [self.view])):
            if order.index(name) < order.index(self.local):
                raise UserError(f"The score is read at {name}, before the local move is let in at {self.local}.")

    def _check_starts(self) -> None:
        """UserError for unknown starts, or more of them than directions."""
        from lelsd_core.discovery.starts import NAMED  # needs torch

        for name in self.start:
            if name not in NAMED:
                raise UserError(unknown_name("start", name, NAMED))
        if len(self.start) > self.count:
            raise UserError(f"{len(self.start)} starts are given for {self.count} directions; raise count.")

    def _with_numbers(self, generator: Generator, space: LatentSpace) -> DiscoverConfig:
        """The config with its numbers checked, and with amounts that fit the generator."""
        for name, minimum in MINIMUM.items():
            if getattr(self, name) < minimum:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {minimum}.")
        maps = len(self.layers) or 1
        if self.weights and (len(self.weights) != maps or min(self.weights) < 0 or sum(self.weights) <= 0):
            raise UserError(f"weights are {self.weights}; {maps} must be given, none below 0 and not all 0.")
        if not 0 <= self.beta2 < 1:
            raise UserError(f"beta2 is {self.beta2}; it must be at least 0 and below 1.")
        if self.truncation is not None and generator.usual_truncation is None:
            raise UserError(f"{generator.name} has no truncation in its lifts; leave it out.")
        if self.truncation is not None and not 0 <= self.truncation <= 1:
            raise UserError(f"truncation is {self.truncation}; it must be from 0 to 1.")
        least, most = self.least, self.most
        if least is None or most is None:
            codes = generator.sample_in(space.name, TRAINING[:64], truncation=self.truncation).detach()
            columns = space.column_mask(self.slots).to(codes.device)
            differences = (codes[::2] - codes[1::2]) * columns  # of 32 random pairs
            distance = float(differences.norm(dim=1).mean())
            stretch = REACH * distance / MOST if distance > 1e-3 else 1.0
            most = MOST * stretch if most is None else most
            if least is None:
                least = LEAST * stretch if LEAST * stretch <= most else most * LEAST / MOST
        if not 0 <= least <= most or most == 0:
            raise UserError(f"amounts run from {least} to {most}; they must be in order, 0 or more, and not all 0.")
        return replace(self, least=least, most=most)

    def check_room(self, space: LatentSpace, others: int) -> None:
        """UserError if the directions, and `others` more, cannot all be at right angles in the space."""
        changed = space.written(self.slots)
        widths = [slot.width for slot in space.slots if slot.name in changed]
        room = sum(widths) if self.norm == "whole" else min(widths)
        if self.count + others > room:
            where = f"space {self.space}" if self.norm == "whole" else "the narrowest slot"
            beside = f" beside {others} given" if others else ""
            raise UserError(f"count is {self.count}{beside}; {where} has room for {room} directions at right angles.")
