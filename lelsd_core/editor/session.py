"""The state of one user's work: the photo, the inversion options, and the face with its latent codes and directions.

None of it holds a model, so that it is small and can be copied between processes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from lelsd_core.directions import Direction, limited, named_apart
from lelsd_core.errors import UserError, check_file, writing
from lelsd_core.evaluation.identity import SAME_PERSON
from lelsd_core.evaluation.metrics import InversionMetrics
from lelsd_core.faces import AlignedFace, Candidate, Nudge
from lelsd_core.faces.align import NO_NUDGE
from lelsd_core.images import read_file
from lelsd_core.inversion import BALANCED
from lelsd_core.inversion.pivotal import Tuning
from lelsd_core.seeds import MAX_SEED
from lelsd_core.transfer import KINDS, usual_kinds

SHOWN = 1280  # longer side in pixels of a photo on a page
MAX_RECIPE = 1_000_000  # bytes of a recipe file


@dataclass(frozen=True, eq=False)
class DetectedPhoto:
    """A photo with the faces that were detected in it."""

    photo: Image.Image  # RGB, upright, at full size
    faces: tuple[Candidate, ...]  # largest first

    @cached_property
    def shown(self) -> Image.Image:
        """The photo, reduced to at most `SHOWN` pixels for display."""
        small = self.photo.copy()
        small.thumbnail((SHOWN, SHOWN))
        return small

    @property
    def reduced(self) -> np.ndarray:
        """(3, 3): pixels of `shown` -> pixels of `photo`; a matrix (2, 3) times this starts from `shown`."""
        (width, height), small = self.photo.size, self.shown.size
        return np.diag([width / small[0], height / small[1], 1.0])

    def candidate(self, number: int) -> Candidate:
        """Face `number`, counted from 0, largest first. UserError if there are fewer."""
        if not 0 <= number < len(self.faces):
            count = "one face was" if len(self.faces) == 1 else f"{len(self.faces)} faces were"
            raise UserError(f"Face {number + 1} of this picture was asked for, but {count} found.")
        return self.faces[number]


@dataclass(frozen=True)
class InversionOptions:
    """How a photo is aligned and inverted."""

    face: int = 0  # index of the face, counted from 0, largest first
    aligned: bool | None = None  # True: use the centre of the photo as it is; False: detect the face; None: automatic
    nudge: Nudge = NO_NUDGE  # the user's correction of the alignment
    closeness: str = BALANCED  # key of `inversion.CLOSENESS`
    steps: int | None = None  # refinement steps; None = the closeness's own number
    tune: bool = False  # also tune the generator's weights to the person (see `Editor.can_tune`)


@dataclass(frozen=True, eq=False, repr=False)
class Session:
    """One inverted face, ready to be edited. A few kilobytes; never changed, each change makes a new session."""

    codes: Tensor  # (1, D) on the CPU, unedited; edits are amounts along directions from these codes
    space: str  # latent space of the codes
    directions: tuple[Direction, ...]  # the editor's directions and those discovered in this session
    original: Image.Image  # the unedited picture at the generator's resolution
    photo: Image.Image | None = None  # the aligned photo for display; None for a random face
    matrix: np.ndarray | None = None  # (2, 3), photo pixels -> frame pixels; None for a random face
    inversion_l1: float | None = None  # mean absolute error in [-1, 1] by the untuned generator; None for a random face
    encoder_metrics: InversionMetrics | None = None  # of the encoder's guess
    metrics: InversionMetrics | None = None  # of the current codes; None if not computed
    seconds: float = 0.0  # computing time of alignment and inversion
    note: str = ""  # one sentence for the user about the alignment
    preview: Image.Image | None = None  # the unedited picture as `Editor.preview` renders it; None for full pictures
    generator: str = ""  # name of the generator that the codes belong to
    tuning: Tuning | None = None  # change of the generator's weights for this person, if it was tuned
    sampled: Tensor | None = None  # (1, D') in the coarsest space, what a random face was lifted from; None for a photo
    truncation: float | None = None  # of that lift
    seed: int | None = None  # from which `Editor.random_face` makes it again

    def __repr__(self) -> str:
        source = "random face" if self.inversion_l1 is None else f"photo, inversion L1 {self.inversion_l1:.3f}"
        names = ", ".join(direction.name for direction in self.directions)
        return f"Session({self.generator}: {source}, codes {tuple(self.codes.shape)} in {self.space}, sliders: {names})"

    def with_directions(self, directions: Sequence[Direction]) -> Session:
        """The session with more directions at the end; names that are already used get a number."""
        return replace(self, directions=named_apart([*self.directions, *directions]))

    def with_layers(self, layers: Mapping[str, str | Sequence[str]]) -> Session:
        """The session with some directions, by name, limited to layers: "coarse", "middle", "fine", or their names.

        UserError for a direction that the session does not have.
        """
        return replace(self, directions=limited(self.directions, layers))

    def recipe(self, amounts: Mapping[str, float]) -> str:
        """The recipe of an edit of this face, see `recipe_text`; amounts by direction name, without parts of photos."""
        personal = {direction.name for direction in self.directions if direction.personal}
        moved = {name: amount for name, amount in amounts.items() if amount and name not in personal}
        layers = {d.name: d.layers for d in self.directions if d.layers and not d.goal and d.name in moved}
        return recipe_text(moved, layers, self.generator)


@dataclass(frozen=True)
class Locality:
    """Where an edit changed the picture."""

    parts: tuple[str, ...]  # the parts that were edited
    score: float  # share of the squared change inside the parts, in [0, 1]
    area: float  # share of the picture that the parts cover, in [0, 1]
    outside: float = 0.0  # mean change of the pixels outside the parts, in [0, 1]


@dataclass(frozen=True, eq=False)
class Edit:
    """An edited face at the generator's resolution, and its locality; None if no slider was moved."""

    picture: Image.Image
    locality: Locality | None


def describe_metrics(session: Session) -> str:
    """Metrics of the encoder's guess and of the inversion: "L2 0.048 → 0.011, LPIPS 0.310 → 0.150", and identity."""
    words = []
    for label, name in (("L2", "l2"), ("LPIPS", "lpips"), ("identity", "identity")):
        guess, now = getattr(session.encoder_metrics, name), getattr(session.metrics, name)
        if now is not None:
            change = f"{now:.3f}" if session.encoder_metrics is session.metrics else f"{guess:.3f} → {now:.3f}"
            words.append(f"{label} {change}")
    if network := session.metrics.identity_network:
        words[-1] += f" by {network}, which takes {SAME_PERSON[network]:g} and more for the same person"
    return ", ".join(words)


def describe_alignment(face: AlignedFace, number: int = 0) -> str:
    """How face `number` of a photo was detected and aligned, in sentences for the user."""
    candidate = face.candidate
    if candidate.aligned_before:
        first = "This picture was aligned already; it is used as it is."
    elif candidate.faces > 1:
        which = f"number {number + 1} by size" if number else "the largest one"
        first = f"{candidate.faces} faces were found; {which} is used."
    else:
        first = "One face was found and aligned."
    return " ".join([first, *candidate.notes])


Layers = dict[str, tuple[str, ...]]  # by direction name, the layers that it is limited to


def read_recipe(path: str | Path) -> tuple[dict[str, float], Layers, str | None]:
    """Amounts and layers by direction name of a recipe (JSON), and the name of its generator, if the file says it.

    Raises:
        UserError: a missing file, or another one.
    """
    return parse_recipe(read_file(path, MAX_RECIPE).getvalue(), path)


def parse_recipe(text: str | bytes, name: str | Path = "This") -> tuple[dict[str, float], Layers, str | None]:
    """What `read_recipe` returns, from a recipe's text or its bytes. UserError, which says `name`, for other text."""
    try:
        content = json.loads(text)
        amounts = {str(name): finite(amount) for name, amount in content["amounts"].items()}
        layers = {
            str(n): (o,) if isinstance(o, str) else tuple(map(str, o)) for n, o in content.get("layers", {}).items()
        }
        generator = content.get("generator")
        return amounts, layers, None if generator is None else str(generator)
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f'{name} is not a recipe; it should hold {{"amounts": {{"mouth": 2.5}}}}.') from None


def recipe_text(
    amounts: Mapping[str, float], layers: Mapping[str, Sequence[str]] | None = None, generator: str | None = None
) -> str:
    """The recipe (JSON) that `parse_recipe` turns back into these values. ValueError for infinite amounts."""
    limits = {"layers": dict(layers)} if layers else {}
    named = {"generator": generator} if generator else {}
    return json.dumps({**named, "amounts": dict(amounts), **limits}, indent=2, allow_nan=False)


def write_recipe(
    path: str | Path,
    amounts: Mapping[str, float],
    layers: Mapping[str, Sequence[str]] | None = None,
    generator: str | None = None,
) -> None:
    """Write a recipe that `read_recipe` reads. UserError unless the path ends in .json and can be written."""
    check_file(Path(path), ".json")
    with writing(path):
        Path(path).write_text(recipe_text(amounts, layers, generator) + "\n")


def read_setting(text: str, flag: str = "--set", example: str = "mouth=2.5") -> tuple[str, float]:
    """NAME=AMOUNT -> (name, amount). UserError for anything else."""
    name, _, amount = text.partition("=")
    try:
        return name.strip(), finite(amount)
    except ValueError:
        raise UserError(f"{flag} takes NAME=AMOUNT such as {example}, got {text!r}.") from None


def read_slider(text: str) -> tuple[str, float, tuple[str, ...]]:
    """NAME=AMOUNT or NAME=AMOUNT@LAYERS -> (name, amount, layers), () for all. UserError for anything else."""
    setting, _, layers = text.partition("@")
    name, amount = read_setting(setting)
    return name, amount, tuple(filter(None, map(str.strip, layers.split(","))))


class Taking(NamedTuple):
    """A part that is asked for, of a photo or of a made-up face."""

    part: str
    source: Path | int  # the photo, or the seed
    strength: float  # from 0 to 1
    kinds: tuple[str, ...]  # its shape, its look, or both


def read_take(text: str) -> Taking:
    """PART=PHOTO or PART=seed:N; at the end perhaps @ and a strength, shape or look. UserError for anything else."""
    part, _, rest = (each.strip() for each in text.partition("="))
    source, _, how = rest.rpartition("@")
    words = [word.strip() for word in how.split(",")]
    numbers = [number for word in words if (number := number_or_none(word)) is not None]
    kinds = tuple(kind for kind in KINDS if kind in words)
    if not source or len(numbers) + len(kinds) != len(words) or len(numbers) > 1:  # "@" belongs to a file's name
        source, numbers, kinds = rest, [], ()
    if not part or not source:
        raise UserError(f"--take takes PART=PHOTO or PART=seed:N such as mouth=seed:7@0.5, got {text!r}.")
    strength, kinds = numbers[0] if numbers else 1.0, kinds or usual_kinds(part)
    if not 0 <= strength <= 1:
        raise UserError(f"--take {text}: the strength is {strength:g}; it must be from 0 to 1.")
    if not source.startswith("seed:"):
        return Taking(part, Path(source), strength, kinds)
    seed = source.removeprefix("seed:")
    if not (seed.isascii() and seed.isdigit() and int(seed) <= MAX_SEED):
        raise UserError(f"--take {text}: a seed is a whole number from 0 to {MAX_SEED}, not {seed!r}.")
    return Taking(part, int(seed), strength, kinds)


def number_or_none(text: str) -> float | None:
    """A finite number; None for another text."""
    try:
        return finite(text)
    except ValueError:
        return None


def finite(amount: str | float) -> float:
    """The amount as a number. ValueError if it is not a number, or infinite."""
    number = float(amount)
    if not math.isfinite(number):
        raise ValueError
    return number
