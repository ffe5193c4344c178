"""Table 1 of the paper, as checks that run: for each method that is here, what it can do, and one sentence where not.

    method, networks  --`CHECKS`-->  columns A to G: "" where the claim holds, else why not

Searches are short, and the figures are those of a few held-out samples: enough to tell yes from no. A claim about a
region holds if the change lies in it by far more than chance: the lower end of the localization score's 95 % interval
must have so many times the odds of the region's area.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lelsd_core.comparison.measures import DISTANCES, EqualDistance
from lelsd_core.directions import Direction
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.evaluation.heldout import HeldOut, held_out
from lelsd_core.generators.base import Generator, Layer, State, Step, normal_rows
from lelsd_core.latents import LatentSpace, Slot
from lelsd_core.localization import locality_gain
from lelsd_core.methods.base import METHODS, find_directions
from lelsd_core.methods.wanted import Wanted
from lelsd_core.seeds import FEATURE_SEGMENTERS, HELD_OUT
from lelsd_core.segmenters import SURROUNDINGS, Parts, Segmenter, fit_clusters, paint, part_mask

QUICK = {"samples": 32, "steps": 60}  # of a search
JUDGES = 8  # held-out samples
CHANGE = (0.05,)  # root mean square change of the picture at which a direction is judged
CLUSTERS, WIDEST = 12, 0.4  # of features; share of the picture that the chosen one covers at most
BOX = (0.55, 0.1, 0.9, 0.35)  # left, top, right, bottom of the region that is painted, in shares of the frame
EQUAL = 1e-3  # difference of two renderings, in [-1, 1] units, that does not count
SIZE, WIDTH = 16, 24  # pixels and code of `Blobs`


class Blobs(Generator):
    """An architecture of its own: one layer that adds up fixed patterns, one space, no styles, no convolutions."""

    def __init__(self) -> None:
        super().__init__()
        patterns = normal_rows(range(WIDTH), 3 * SIZE * SIZE).view(WIDTH, 3, SIZE, SIZE)
        half = torch.arange(SIZE) < SIZE // 2
        for i in range(WIDTH):  # a third in each half, a third in both
            patterns[i] *= (half, ~half, half | ~half)[i % 3]
        mixed = torch.linalg.qr(normal_rows(range(WIDTH, 2 * WIDTH), WIDTH))[0]
        self.register_buffer("patterns", 0.1 * torch.einsum("ij,jchw->ichw", mixed, patterns))
        self.name, self.fingerprint, self.resolution = "blobs", "b" * 64, SIZE
        self.spaces = (LatentSpace("Z", (Slot("z", WIDTH),)),)
        self.layers = {"sum": Layer("sum", 3, SIZE)}
        self.steps = (Step(self.layers["sum"], (0,), lambda _, slots: State(self.added(slots[0]))),)

    def added(self, codes: Tensor) -> Tensor:
        """Codes (B, D) -> the sum of their patterns (B, 3, 16, 16)."""
        return torch.einsum("bi,ichw->bchw", codes, self.patterns)

    def sample(self, seeds: Sequence[int]) -> Tensor:
        return normal_rows(seeds, WIDTH)

    def lift_once(self, codes: Tensor, space: LatentSpace) -> Tensor:
        raise NotImplementedError  # there is one space

    def finish(self, state: State) -> Tensor:
        return state.x


class Halves(Segmenter):
    """The left and the right half of a picture."""

    name, parts = "halves", Parts(("left", "right"))

    def segment(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        left = torch.arange(image.shape[-1], device=image.device) < image.shape[-1] // 2
        return torch.stack([left, ~left]).float()[None, :, None, :].expand(len(image), -1, *image.shape[-2:])


class Stage:
    """What the checks of one method after the other need: networks, regions, and samples to judge by, made once.

    Args:
        generator, segmenter: the networks.
        part: a small part of the pictures.
    """

    def __init__(self, generator: Generator, segmenter: Segmenter, part: str) -> None:
        segmenter.parts.channels(part)  # checks the name
        self.generator, self.segmenter, self.part = generator, segmenter, part
        self.found: dict[tuple[str, int, tuple[str, ...]], Direction] = {}
        self.judges: dict[int, HeldOut] = {}

    @property
    def subject(self) -> tuple[str, ...]:
        """All parts that are no surroundings."""
        return tuple(part for part in self.segmenter.parts if part not in SURROUNDINGS)

    @cached_property
    def clusters(self) -> tuple[Segmenter, str]:
        """Clusters of the generator's features, and the largest of those that are not nearly everything."""
        clusters = fit_clusters(self.generator, CLUSTERS)
        samples = held_out(self.generator, clusters, FEATURE_SEGMENTERS[:JUDGES])
        areas = {name: float(part_mask(samples.probabilities, clusters.parts, name).mean()) for name in clusters.parts}
        return clusters, max(areas, key=lambda name: areas[name] * (areas[name] < WIDEST))

    @cached_property
    def painted(self) -> Segmenter:
        """A region that was painted on one picture."""
        side = self.generator.resolution
        left, top, right, bottom = (round(edge * side) for edge in BOX)
        mask = torch.zeros(side, side)
        mask[top:bottom, left:right] = 1
        codes = self.generator.sample(FEATURE_SEGMENTERS[:1])
        return paint(self.generator, codes, self.generator.space_names[0], mask)

    @cached_property
    def blobs(self) -> tuple[Generator, Segmenter]:
        """A generator of another architecture, and its segmenter."""
        return Blobs().eval().requires_grad_(False), Halves()

    def direction(self, method: str, generator: Generator, segmenter: Segmenter, parts: Sequence[str]) -> Direction:
        """The direction of a short search, once. UserError if there is none."""
        key = method, id(segmenter), tuple(parts)
        if key not in self.found:
            wanted = Wanted(tuple(parts), **{n: v for n, v in QUICK.items() if n in METHODS[method].takes})
            (self.found[key],) = find_directions(method, generator, segmenter, wanted)
        return self.found[key]

    def inside(
        self, method: str, least: float, generator: Generator, segmenter: Segmenter, parts: Sequence[str]
    ) -> str:
        """Whether a method's direction changes some parts by far more than the rest: "" or why not."""
        direction = self.direction(method, generator, segmenter, parts)
        if id(segmenter) not in self.judges:
            self.judges[id(segmenter)] = held_out(generator, segmenter, HELD_OUT[:JUDGES])
        (cell,) = EqualDistance(self.judges[id(segmenter)], DISTANCES["rms"], CHANGE)(direction).cells
        if cell.score is None:
            return f"it does not change the picture by {CHANGE[0]:g} within reach of its slider"
        sure = locality_gain(cell.low, cell.area)
        if sure >= least:
            return ""
        return f"score {cell.score:.2f} ({cell.low:.2f}–{cell.high:.2f}) on {cell.area:.2f} of the picture"


def any_dataset(method: str, stage: Stage) -> str:
    clusters, name = stage.clusters
    return stage.inside(method, 1.0, stage.generator, clusters, (name,))


def no_optimisation(method: str, stage: Stage) -> str:
    direction = stage.direction(method, stage.generator, stage.segmenter, (stage.part,))
    unseen = held_out(stage.generator, stage.segmenter, HELD_OUT[-1:])
    with torch.inference_mode():  # in which nothing can be optimised
        change = unseen.moved(direction, direction.high, slice(0, 1))[0] - unseen.pictures
    return "" if float(change.abs().max()) > EQUAL else "the face does not change"


def any_architecture(method: str, stage: Stage) -> str:
    generator, segmenter = stage.blobs
    return METHODS[method].refuses(generator) or stage.inside(method, 0.0, generator, segmenter, segmenter.parts[:1])


def one_picture(method: str, stage: Stage) -> str:
    direction = stage.direction(method, stage.generator, stage.segmenter, (stage.part,))
    samples = held_out(stage.generator, stage.segmenter, HELD_OUT[:2])
    with torch.inference_mode():
        both, alone = (samples.moved(direction, direction.high, slice(0, n))[0][0] for n in (2, 1))
    difference = float((both - alone).abs().max())
    return "" if difference < EQUAL else f"beside another one the picture differs by {difference:.2g}"


def global_edit(method: str, stage: Stage) -> str:
    return stage.inside(method, 1.0, stage.generator, stage.segmenter, stage.subject)


def local_edit(method: str, stage: Stage) -> str:
    return stage.inside(method, 3.0, stage.generator, stage.segmenter, (stage.part,))


def any_object(method: str, stage: Stage) -> str:
    return stage.inside(method, 2.0, stage.generator, stage.painted, stage.painted.parts[:1])


@dataclass(frozen=True)
class Check:
    """A column of Table 1."""

    claim: str
    how: str  # what is done to find out
    run: Callable[[str, Stage], str]  # name of a method -> "" if the claim holds for it, else why not


CHECKS: Mapping[str, Check] = {
    "A": Check(
        "any dataset",
        "finds a direction for a cluster of the generator's own features: no labels, no network of a dataset; odds > 1",
        any_dataset,
    ),
    "B": Check(
        "no test-time optimisation",
        "edits a face that was never seen in torch's inference mode, without any gradient",
        no_optimisation,
    ),
    "C": Check(
        "any architecture",
        "finds a direction in a generator of one layer and one space, which is none of this project's architectures",
        any_architecture,
    ),
    "D": Check(
        "one picture", "edits a picture alone as it does beside another one: no second one takes part", one_picture
    ),
    "E": Check(
        "global edits", "finds a direction for the whole subject, without its surroundings; odds > 1", global_edit
    ),
    "F": Check("local edits", "finds a direction for a small part; odds > 3", local_edit),
    "G": Check("any object", "finds a direction for a region that was painted on one picture; odds > 2", any_object),
}


def check_all(
    methods: Sequence[str], stage: Stage, report: Callable[[str, float], None] = lambda doing, share: None
) -> dict[str, dict[str, str]]:
    """Run all checks on some methods, by name: {method: {column: "" or why not}}.

    A method that finds nothing, or is not defined, does not hold, and says why; `report` is called with what is being
    done and the share of everything that is done.
    """
    for name in methods:
        if name not in METHODS:
            raise UserError(unknown_name("method", name, METHODS))
    answers: dict[str, dict[str, str]] = {name: {} for name in methods}
    work = [(name, column) for name in methods for column in CHECKS]
    for done, (name, column) in enumerate(work):
        report(f"{METHODS[name].title}: {CHECKS[column].claim}", done / len(work))
        try:
            answers[name][column] = CHECKS[column].run(name, stage)
        except UserError as problem:
            answers[name][column] = str(problem)
    report("", 1.0)
    return answers


def table1(answers: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The table in Markdown, what its columns stand for, and why a claim does not hold."""
    lines = [f"| method | {' | '.join(CHECKS)} |", "|---" * (len(CHECKS) + 1) + "|"]
    for name, columns in answers.items():
        signs = ["–" if columns[column] else "✓" for column in CHECKS]
        lines.append(f"| {METHODS[name].title} | {' | '.join(signs)} |")
    lines += ["", *(f"{column}: {check.claim}. It {check.how}." for column, check in CHECKS.items()), ""]
    for name, columns in answers.items():
        lines += [f"{METHODS[name].title}, {column}: {why}" for column, why in columns.items() if why]
    return lines
