"""Starts of searches from what a person means: "smile", "fringe", or any number that can be measured on a picture.

    seeds --> pictures --> scores (N,), and numbers that shall stay (N, M)
          --> codes (N, D) --ridge regression--> a weight of each --the first without the others--> start (D,)

A score that is linear in the code grows fastest along its weight; without the weight's projection onto the weights of
other numbers, these stay. Sources: Shen et al., "Interpreting the latent space of GANs for semantic face editing",
CVPR 2020 (the projection); Goetschalckx et al., "GANalyze", ICCV 2019 (any number of a picture will do).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.device import by_rows, how_many
from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.search import row_space
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.faces import FaceAligner
from lelsd_core.faces.measures import MEASURES, measure, see
from lelsd_core.generators.base import Generator
from lelsd_core.latents import LatentSpace
from lelsd_core.seeds import STARTS
from lelsd_core.segmenters import Segmenter, segment_synthesis
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors

STILL_MOUTH = ("turn", "mouth-open", "mouth-width", "smile")
NAMED: Mapping[str, tuple[str, ...]] = {  # measure that names a start -> others that stay
    "mouth-open": ("turn", "mouth-width"),
    "mouth-width": ("turn", "mouth-open"),
    "smile": ("turn", "lips"),
    "lips": STILL_MOUTH,
    "lip-colour": (*STILL_MOUTH, "mouth-light"),
    "eyes-open": ("turn", "gaze", "glasses"),
    "gaze": ("turn", "glasses"),
    "eye-shadow": ("turn", "skin-light", "glasses"),
    "glasses": ("turn", "skin-light", "eyes-open"),
    "brows": ("turn", "glasses"),
    "brow-tilt": ("turn", "glasses"),
    "brows-light": ("turn", "skin-light", "glasses"),
    "nose-length": ("turn", "nose-width", "glasses"),
    "nose-width": ("turn", "nose-length", "smile", "glasses"),
    "face-length": ("turn", "glasses", "hair-length"),
    "jaw": ("turn", "glasses"),
    "beard": (*STILL_MOUTH, "nose-width", "skin-light", "light"),
    "skin-light": ("turn", "background-light", "glasses", "hair-light"),
    "light": ("turn", "hair-length"),
    "fringe": ("turn",),
    "hair-length": ("turn",),
    "hair-volume": ("turn", "hair-length", "hair-light"),
    "hair-light": ("turn", "skin-light", "background-light", "hair-length"),
    "hair-blond": ("turn", "skin-light", "background-light", "hair-length"),
    "hair-red": ("turn", "skin-light", "background-light", "hair-light", "hair-length"),
    "collar": ("turn",),
    "clothes-light": ("turn", "skin-light"),
    "background-light": ("turn", "skin-light", "hair-light"),
    "background-blue": ("turn", "background-light"),
}
COUNT = 512  # samples; a style-based W needs half of them, DCGAN's Z gains from twice as many
BATCH, PIXELS = 16, 2**20  # samples, and pixels of pictures, rendered at a time
ENOUGH = 32  # samples that show a number are the fewest that its weight is computed from
STILL = 1e-6  # a standard deviation up to this is none
SHARE = 1e-3  # of a weight that must remain without what stays
RIDGES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3)  # strengths to choose from, as shares of the codes' variance

Scorer = Callable[[Tensor], Tensor]  # pictures (B, 3, R, R) in [-1, 1] -> a number (B,) of each, NaN if it has none


@dataclass(frozen=True, eq=False)
class Start:
    """Where a search can start from."""

    name: str  # of the number that it changes
    vector: Tensor  # (D,), of length 1; positive amounts make the number larger
    fit: float  # R² on samples that were left out, 1 at most: how well the number is linear in the code
    spread: float  # standard deviation of the samples' codes along the vector, in amounts
    ends: tuple[str, str] = ("less", "more")  # words for negative and positive amounts
    parts: tuple[str, ...] = ()  # the segmenter's parts that the number belongs to


@dataclass(frozen=True, eq=False)
class Measured:
    """What N samples of a generator show; its file serves all starts of the generator without any rendering."""

    numbers: Mapping[str, Tensor]  # (N,) for each of `MEASURES`, NaN where it is not seen
    seeds: Sequence[int]  # of the samples
    truncation: float | None  # ψ of the samples; None = none

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Measured:
        """What all samples of several parts with consecutive seeds show."""
        first = parts[0]
        numbers = {name: torch.cat([part.numbers[name] for part in parts]) for name in first.numbers}
        count = sum(len(part.seeds) for part in parts)
        return cls(numbers, range(first.seeds[0], first.seeds[0] + count), first.truncation)

    def save(self, path: str | Path, fingerprint: str) -> None:
        """Write it, for the generator with that fingerprint, as safetensors; the seeds must be consecutive."""
        facts = {"seeds": [self.seeds[0], len(self.seeds)], "truncation": self.truncation, "generator": fingerprint}
        facts |= {"numbers": list(self.numbers), "kind": "measured"}
        write_safetensors(path, {"numbers": torch.stack([*self.numbers.values()], 1)}, facts)

    @classmethod
    def load(cls, path: str | Path, generator: Generator) -> Measured:
        """Read it. UserError for a damaged file, or one of another generator."""
        tensors, facts = read_safetensors(path, "measured")
        try:
            first, count = facts["seeds"]
            if not generator.shares_codes_of(facts["generator"]):
                raise UserError(f"{Path(path).name} was measured on another generator than {generator.name}.")
            numbers = dict(zip(facts["numbers"], tensors["numbers"].float().unbind(1), strict=True))
            if missing := [name for name in MEASURES if name not in numbers]:
                raise ValueError(f"there is no {missing[0]}")
            return cls(numbers, range(first, first + count), facts["truncation"])
        except (KeyError, TypeError, ValueError) as problem:
            raise UserError(f"{Path(path).name} is not a whole file of measured samples: {problem}.") from None


class LatestMeasured:
    """Keeps what the latest samples of each generator show for its next start; safe across threads."""

    def __init__(self) -> None:
        self.kept: WeakKeyDictionary[Generator, tuple[tuple, Measured]] = WeakKeyDictionary()
        self.lock = threading.Lock()

    def fitting(
        self,
        generator: Generator,
        segmenter: Segmenter,
        aligner: FaceAligner,
        seeds: Sequence[int],
        truncation: float | None,
    ) -> Measured:
        """`measure_samples`, measured again only if the generator's latest ones were others."""
        task = (segmenter, aligner.frame, seeds, truncation)
        with self.lock:
            if self.kept.get(generator, (None,))[0] != task:
                self.kept[generator] = task, measure_samples(generator, segmenter, aligner, seeds, truncation)
            return self.kept[generator][1]


LATEST = LatestMeasured()


def named_start(
    generator: Generator,
    segmenter: Segmenter,
    aligner: FaceAligner,
    name: str,
    space: str,
    *,
    slots: Collection[str] = (),
    count: int = COUNT,
    truncation: float | None = None,
    seeds: Sequence[int] = STARTS,
    measured: Measured | None = None,
) -> Start:
    """The start of that name; samples that were measured for one serve all others.

    Args:
        generator, segmenter: the networks.
        aligner: of the generator's pictures.
        name: key of `NAMED`.
        space: latent space that the vector lives in.
        slots: those that it may write, names or patterns; none = all that are movable.
        count: number of samples, the first of `seeds`.
        truncation: ψ of the samples; None = none.
        measured: what samples show, with seeds and truncation of their own; None measures some.

    Raises:
        UserError: unknown name, space or slot; pictures without faces; a segmenter without the part; and as for
            `start_direction`.
    """
    if name not in NAMED:
        raise UserError(unknown_name("start", name, NAMED))
    if not aligner.frame.faces:
        raise UserError(f"{name!r} is measured on faces, which {generator.name} does not make; search without a start.")
    spec = MEASURES[name]
    parts = tuple(part for part in segmenter.parts if part in spec.parts)
    if not parts:
        marked = ", ".join(segmenter.parts)
        raise UserError(f"{name!r} needs a segmenter that marks {' or '.join(spec.parts)}; this one marks {marked}.")
    generator.space(space).written(slots)  # before slow work
    seen = measured or LATEST.fitting(generator, segmenter, aligner, seeds[:count], truncation)
    stay = [seen.numbers[other] for other in NAMED[name]]
    stay = [numbers for numbers in stay if numbers.isfinite().any()]  # a segmenter may not mark all of them
    codes = generator.sample_in(space, seen.seeds, truncation=seen.truncation)
    kept = torch.stack(stay, 1) if stay else None
    found = start_direction(generator.space(space), codes, seen.numbers[name], kept, slots=slots, name=name)
    return replace(found, ends=(spec.low, spec.high), parts=parts)


def starts_of(
    config: DiscoverConfig,
    generator: Generator,
    segmenter: Segmenter,
    aligner: FaceAligner | None,
    measured: Measured | None = None,
) -> list[Start]:
    """The starts that a checked config names. UserError as for `named_start`, and for pictures that are not aligned."""
    if config.start and aligner is None:
        raise UserError(f"{config.start[0]!r} is measured on faces, which {generator.name} does not make.")
    options = {"slots": config.slots, "truncation": config.truncation, "measured": measured}
    return [named_start(generator, segmenter, aligner, name, config.space, **options) for name in config.start]


def in_words(directions: Sequence[Direction], starts: Sequence[Start]) -> list[Direction]:
    """Directions of a search, the first of them with the words of their starts, and the names of what they change."""
    started = [
        replace(direction, ends=start.ends, facts=direction.facts | {"about": start.name})
        for direction, start in zip(directions, starts, strict=False)
    ]
    return [*started, *directions[len(started) :]]


@torch.inference_mode()
def scored_start(
    generator: Generator,
    scorer: Scorer,
    space: str,
    *,
    stay: Sequence[Scorer] = (),
    slots: Collection[str] = (),
    count: int = COUNT,
    truncation: float | None = None,
    seeds: Sequence[int] = STARTS,
    name: str = "score",
) -> Start:
    """The start that raises any score of pictures and keeps others; arguments and errors as for `named_start`."""
    generator.space(space).written(slots)
    seeds = seeds[:count]
    scores = []
    for codes in batches(generator, seeds, truncation):
        (pictures,) = by_rows(lambda rows: (generator.synthesize(rows, generator.space_names[-1]).image,), codes)
        scores.append(torch.stack([each(pictures.clamp(-1, 1)).float().cpu() for each in (scorer, *stay)], 1))
    numbers = torch.cat(scores)
    codes = generator.sample_in(space, seeds, truncation=truncation)
    return start_direction(generator.space(space), codes, numbers[:, 0], numbers[:, 1:], slots=slots, name=name)


def start_direction(
    space: LatentSpace,
    codes: Tensor,
    scores: Tensor,
    stay: Tensor | None = None,
    *,
    slots: Collection[str] = (),
    name: str = "score",
) -> Start:
    """The direction that raises a score and keeps other numbers, so far as all are linear in the code.

    The ridge regression has the strength of `RIDGES` that predicts the scores best, each from all other samples. Where
    a space repeats a code for each layer (W+), all layers get the same vector.

    Args:
        space: latent space of the codes.
        codes: (N, D).
        scores: (N,), NaN = unknown.
        stay: (N, M) numbers to keep, NaN = unknown; None = none. Samples with an unknown number are left out.
        slots: those that the vector may write, names or patterns; none = all that are movable.
        name: of the score, in errors.

    Raises:
        UserError: fewer than `ENOUGH` samples; a score that does not vary, that cannot be read from the codes, or that
            changes only with what shall stay; a space whose samples do not vary in these slots; an unknown slot.
    """
    columns = space.column_mask(slots).bool()
    numbers = torch.cat([scores[:, None], scores.new_empty(len(scores), 0) if stay is None else stay], 1).cpu().double()
    known = numbers.isfinite().all(1)
    if known.sum() < ENOUGH:
        raise UserError(
            f"{name!r} and what shall stay are seen in {int(known.sum())} of {len(known)} samples; it takes {ENOUGH}."
        )
    numbers = numbers[known]
    x = codes.cpu().double()[known][:, columns]
    spread, x = numbers.std(0), x - x.mean(0)
    if spread[0] <= STILL:
        raise UserError(f"{name!r} is the same on all samples, so that nothing changes it; choose another number.")
    if float(x.square().sum(1).mean()) <= STILL**2:
        raise UserError(f"Samples do not vary in these slots of {space.name}; start in another space, such as Z or W.")
    y = ((numbers - numbers.mean(0)) / spread)[:, spread > STILL]
    weights, fit = ridge(x, y)
    if fit <= 0:
        raise UserError(
            f"{name!r} cannot be read from codes of {space.name} (R² {fit:.2f}); use more samples, or another space."
        )
    weight, others = weights[0], row_space(F.normalize(weights[1:], dim=1))
    rest = weight - (weight @ others.T) @ others
    if rest.norm() <= SHARE * weight.norm():
        raise UserError(f"{name!r} changes only together with what shall stay; keep less.")
    rest = rest / rest.norm()
    vector = torch.zeros(space.width, dtype=rest.dtype).masked_scatter(columns, rest)
    return Start(name, vector.float(), fit, float((x @ rest).std()))


def ridge(x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """Ridge regression, its strength the one of `RIDGES` with the best prediction of y's first column.

    Args:
        x: (N, D), y: (N, K), both with columns of mean 0.

    Returns:
        Weights (K, D), and R² of the first column when each sample is predicted from all others, which has a closed
        form (Allen, "The relationship between variable selection and data augmentation", 1974).
    """
    left, sizes, right = torch.linalg.svd(x, full_matrices=False)
    variance, best, weights = float(sizes.square().sum()), -float("inf"), None
    for strength in RIDGES:
        kept = sizes.square() / (sizes.square() + strength * variance)  # of each principal component
        influence = left.square() @ kept + 1 / len(x)  # of a sample on its own prediction; 1/N by the mean
        residuals = (y[:, 0] - left @ (kept * (left.T @ y[:, 0]))) / (1 - influence)
        fit = 1 - float(residuals.square().sum() / y[:, 0].square().sum())
        if fit > best:
            best = fit
            weights = (left.T @ y).T * (sizes / (sizes.square() + strength * variance)) @ right
    return weights, best


@torch.inference_mode()
def measure_samples(
    generator: Generator,
    segmenter: Segmenter,
    aligner: FaceAligner,
    seeds: Sequence[int],
    truncation: float | None = None,
) -> Measured:
    """What N samples show, rendered and segmented a few at a time; arguments as for `named_start`."""

    def render(codes: Tensor) -> tuple[Tensor, Tensor]:
        synthesis = generator.synthesize(codes, generator.space_names[-1], keep=segmenter.needs)
        return synthesis.image, segment_synthesis(segmenter, synthesis)

    numbers = []
    for codes in batches(generator, seeds, truncation):
        pictures, probabilities = by_rows(render, codes)
        numbers.append(measure(see(aligner, pictures, probabilities, segmenter.parts)))
    return Measured(dict(zip(MEASURES, torch.cat(numbers).unbind(1), strict=True)), seeds, truncation)


def batches(generator: Generator, seeds: Sequence[int], truncation: float | None) -> Iterator[Tensor]:
    """Codes (B, D) of seeds in the generator's finest space, as many at a time as are rendered together."""
    rows = how_many(PIXELS, generator.resolution**2, BATCH)
    return iter(generator.sample_in(generator.space_names[-1], seeds, truncation=truncation).split(rows))
