"""Methods against each other: each finds a direction for each part, and all are measured on the same held-out samples.

    methods × parts  --find_directions-->  directions  --EqualDistance-->  a `Result` each, with pictures of one face

With a cache folder, directions and figures are files whose names hold a hash of everything that they depend on, so that
a comparison that was stopped goes on where it was, and one with another method or part does only what is new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import lelsd_core
from lelsd_core.comparison.measures import Cell, Distance, EqualDistance, Identity, Measured
from lelsd_core.directions import Direction
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.evaluation.heldout import HeldOut, held_out
from lelsd_core.evaluation.identity import DlibRecogniser, load_recogniser
from lelsd_core.generators.base import Generator
from lelsd_core.images import to_pil
from lelsd_core.methods.base import METHODS, find_directions
from lelsd_core.methods.wanted import Wanted
from lelsd_core.seeds import HELD_OUT
from lelsd_core.segmenters import Segmenter
from lelsd_core.weights.cache import local
from lelsd_core.weights.safetensors import write_text

if TYPE_CHECKING:
    from lelsd_core.faces import FaceAligner

Report = Callable[[float], None]  # called with the share of a direction's work that is done
SEARCH = 0.7  # about this share of it is the search


@dataclass(frozen=True)
class Plan:
    """What is compared, and how."""

    methods: tuple[str, ...]  # names of `METHODS`
    parts: tuple[str, ...]
    distance: Distance
    steps: tuple[float, ...]  # distances
    samples: int = 8  # the first held-out seeds
    seed: int = 0  # of whatever a method draws at random
    face: int = 0  # seed of the face that is shown
    train_steps: int | None = None  # of methods that train; None = each method's own
    layers: tuple[str, ...] = ("all",)  # feature maps at which the score is read, too
    class_index: str | None = None  # with which the generator was loaded, if it has classes


@dataclass(frozen=True, eq=False)
class Result:
    """A method's direction for a part, measured, or one sentence why there is none."""

    method: str
    title: str  # of the method
    part: str
    words: str = ""  # why there is no direction
    direction: Direction | None = None
    measured: Measured | None = None
    pictures: tuple[Image.Image | None, ...] = ()  # the shown face at the signed distances, in order; None = too far
    scores: tuple[float | None, ...] = ()  # localization score of each of these pictures


@dataclass(frozen=True, eq=False)
class Comparison:
    """All results of a plan, by part, in the order of its methods."""

    plan: Plan
    generator: str
    segmenter: str
    face: Image.Image  # that is shown, as it is
    results: tuple[Result, ...]

    @property
    def steps(self) -> tuple[float, ...]:
        """Signed distances of the pictures of a result, in order."""
        return (*(-step for step in self.plan.steps[::-1]), *self.plan.steps)


class Comparer:
    """Compares methods on one generator.

    Args:
        generator, segmenter: the networks.
        plan: what is compared. UserError for an unknown method, part or layer, a number out of range, or if no method
            is defined for the generator.
        aligner: of the generator's pictures, if they are faces: for methods that need numbers of faces, and identity.
        cache: folder in which directions and figures are kept, made if there is none; None = nowhere.
    """

    def __init__(
        self,
        generator: Generator,
        segmenter: Segmenter,
        plan: Plan,
        aligner: FaceAligner | None = None,
        cache: Path | None = None,
    ) -> None:
        self.generator, self.segmenter, self.aligner, self.cache = generator, segmenter, aligner, cache
        self.plan = check(plan, generator, segmenter)

    @cached_property
    def bench(self) -> EqualDistance:
        """Measures on the held-out samples."""
        return self.bench_of(held_out(self.generator, self.segmenter, HELD_OUT[: self.plan.samples]))

    @cached_property
    def shown(self) -> EqualDistance:
        """Measures on the face that is shown alone."""
        return self.bench_of(held_out(self.generator, self.segmenter, [self.plan.face]))

    def bench_of(self, samples: HeldOut) -> EqualDistance:
        """Measures on some samples."""
        plan, identity = self.plan, self.identity
        wanted = {"parts": plan.parts, "layers": plan.layers, "identity": identity}
        return EqualDistance(samples, plan.distance, plan.steps, **wanted)

    @property
    def identity(self) -> Identity | None:
        """The likeness of two faces; None if the pictures are of something else, or the recogniser is not at hand."""
        path = local(DlibRecogniser.name)
        if self.aligner is None or not self.aligner.frame.faces or path is None:
            return None
        recogniser, points = load_recogniser(DlibRecogniser, path), self.aligner.frame.points
        return lambda before, after: recogniser.likeness(before, after, points)

    def run(self, report: Callable[[str, float], None] = lambda doing, share: None) -> Comparison:
        """Compare; `report` is called with what is being done and the share of everything that is done."""
        work = [(part, method) for part in self.plan.parts for method in self.plan.methods]
        results = []
        for done, (part, method) in enumerate(work):
            doing = f"{METHODS[method].title}: {part}"
            results.append(self.result(part, method, lambda share, i=done, n=doing: report(n, (i + share) / len(work))))
            report(doing, (done + 1) / len(work))
        face = to_pil(self.shown.samples.pictures)
        return Comparison(self.plan, self.generator.name, self.segmenter.name, face, tuple(results))

    def result(self, part: str, method: str, report: Report = lambda share: None) -> Result:
        """A method's result for a part; a problem that a person could fix becomes its words."""
        empty = Result(method, METHODS[method].title, part)
        try:
            direction = self.direction(part, method, lambda share: report(SEARCH * share))
        except UserError as problem:
            return replace(empty, words=str(problem))
        measured = self.measured(direction)
        steps = self.shown.at_steps(direction, keep_pictures=True)
        low, high = (
            [(to_pil(picture) if known else None) for picture, known in zip(pictures, there, strict=True)]
            for pictures, there in zip(steps.pictures, steps.amounts.isfinite()[..., 0], strict=True)
        )
        below, above = steps.values.get("score", steps.amounts)[..., 0].tolist()
        scores = tuple(None if score != score else score for score in (*below[::-1], *above))
        pictures = (*low[::-1], *high)
        return replace(empty, direction=direction, measured=measured, pictures=pictures, scores=scores)

    def direction(self, part: str, method: str, report: Report) -> Direction:
        """A method's direction for a part, found or read from the cache."""
        plan = self.plan
        settings = {"method": method, "part": part, "seed": plan.seed, "steps": plan.train_steps}
        path = self.cached(f"{method}-{part}", settings, ".safetensors")
        if path and path.is_file():
            return Direction.load(path)
        takes = {"steps": plan.train_steps} if "steps" in METHODS[method].takes else {}
        wanted = Wanted((part,), seed=plan.seed, aligner=self.aligner, **takes)
        (direction,) = find_directions(method, self.generator, self.segmenter, wanted, progress=report)
        direction = replace(direction, name=f"{method}-{part}")
        if path:
            direction.save(path)
        return direction

    def measured(self, direction: Direction) -> Measured:
        """The figures of a direction, measured or read from the cache."""
        plan = self.plan
        vector = hashlib.sha256(direction.vector.numpy().tobytes()).hexdigest()
        settings = {"vector": vector, "distance": plan.distance.name, "distances": plan.steps, "samples": plan.samples}
        settings |= {"parts": plan.parts, "layers": plan.layers, "identity": self.identity is not None}
        settings |= {"seeds": HELD_OUT.start, "layers of it": direction.layers, "local": str(direction.local)}
        path = self.cached(direction.name, settings, ".json")
        if path and path.is_file():
            with suppress(OSError, ValueError, TypeError, KeyError):  # damaged: it is measured again
                kept = json.loads(path.read_text(encoding="utf-8"))
                return Measured(tuple(Cell(**cell) for cell in kept["cells"]), kept["uneven"])
        measured = self.bench(direction)
        if path:
            write_text(path, json.dumps(asdict(measured)) + "\n")
        return measured

    def cached(self, name: str, settings: Mapping[str, object], ending: str) -> Path | None:
        """The file in the cache for some settings with these networks; None without a cache."""
        if self.cache is None:
            return None
        networks = {"generator": self.generator.fingerprint, "segmenter": self.segmenter.fingerprint}
        if self.plan.class_index is not None:
            networks["class"] = self.plan.class_index
        everything = json.dumps({**settings, **networks, "version": lelsd_core.__version__}, sort_keys=True)
        plain = "".join(letter if letter.isalnum() else "-" for letter in name)
        return self.cache / f"{plain}-{hashlib.sha256(everything.encode()).hexdigest()[:12]}{ending}"


def check(plan: Plan, generator: Generator, segmenter: Segmenter) -> Plan:
    """The plan for these networks, with the methods and parts that were named, each once; errors as for `Comparer`."""
    for name in plan.methods:
        if name not in METHODS:
            raise UserError(unknown_name("method", name, METHODS))
    for part in plan.parts:
        segmenter.parts.channels(part)  # checks the name
    segmenter.check(generator)
    if plan.samples < 2:
        raise UserError(f"samples is {plan.samples}; at least 2 are needed for an interval.")
    if plan.samples > len(HELD_OUT):
        raise UserError(f"samples is {plan.samples}; there are {len(HELD_OUT)} held-out ones.")
    reasons = [METHODS[name].refuses(generator) for name in plan.methods]
    if all(reasons):
        raise UserError(" ".join(reasons) or "Name at least one method.")
    layers = generator.expand_layers(plan.layers)
    methods, parts = tuple(dict.fromkeys(plan.methods)), tuple(dict.fromkeys(plan.parts))
    return replace(plan, methods=methods, parts=parts, layers=layers)
