"""One person's work: the photo, how it is to be opened, and the face with its codes and directions. No model in it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from lelsd_core.directions import Direction, named_apart
from lelsd_core.errors import UserError
from lelsd_core.evaluation.metrics import InversionMetrics
from lelsd_core.faces import AlignedFace, Candidate, Nudge
from lelsd_core.inversion import BALANCED
from lelsd_core.inversion.pivotal import Tuning

STILL = Nudge()
SHOWN = 1280  # pixels of a whole photo on a page, on its longer side


@dataclass(frozen=True, eq=False)
class DetectedPhoto:
    """A photo that was given.

    Args:
        photo: RGB, upright, all of it.
        faces: what can be taken from it, the largest face first.
    """

    photo: Image.Image
    faces: tuple[Candidate, ...]

    @cached_property
    def shown(self) -> Image.Image:
        """The photo as large as a page shows it."""
        small = self.photo.copy()
        small.thumbnail((SHOWN, SHOWN))
        return small

    @property
    def reduced(self) -> np.ndarray:
        """(3, 3): pixels of `shown` -> photo pixels; a matrix (2, 3) times this starts from `shown`."""
        (width, height), small = self.photo.size, self.shown.size
        return np.diag([width / small[0], height / small[1], 1.0])

    def candidate(self, number: int) -> Candidate:
        """Face `number`, counted from 0, the largest first. UserError if there are fewer."""
        if not 0 <= number < len(self.faces):
            count = "one face was" if len(self.faces) == 1 else f"{len(self.faces)} faces were"
            raise UserError(f"Face {number + 1} of this picture was asked for, but {count} found.")
        return self.faces[number]


@dataclass(frozen=True)
class InversionOptions:
    """How a photo is brought to codes.

    Args:
        face: which one, counted from 0, the largest first.
        aligned: take the photo's middle as it is (True), find the face (False), or see for oneself (None).
        nudge: what a person changes about the alignment.
        closeness: key of `inversion.CLOSENESS`.
        steps: of the refinement; None = as many as the closeness has.
        tune: also tune the generator to the person (StyleGAN2 only).
    """

    face: int = 0
    aligned: bool | None = None
    nudge: Nudge = STILL
    closeness: str = BALANCED
    steps: int | None = None
    tune: bool = False


@dataclass(frozen=True, eq=False)
class Session:
    """One face at work: a few kilobytes, no model.

    Args:
        codes: (1, D) on the CPU, never moved; edits are amounts on top of it.
        space: their latent space.
        directions: the shipped directions and those found in this session.
        original: the unedited picture at model size.
        photo: the aligned photo for people, None for a random face.
        matrix: (2, 3), photo pixels -> frame pixels; None for a random face.
        inversion_l1: mean absolute error of the inversion in [-1, 1], generator untuned; None for a random face.
        encoder_metrics, metrics: how true the inverter's guess was, and the inversion as it is now; None where not measured.
        seconds: what alignment and inversion took.
        note: one sentence for people about how the face was found.
        preview: the unedited picture as `Editor.preview` renders it; None where that renders whole pictures.
        generator: name of the generator whose codes these are.
        tuning: the generator's small change for this person, if it was tuned.
    """

    codes: Tensor
    space: str
    directions: tuple[Direction, ...]
    original: Image.Image
    photo: Image.Image | None = None
    matrix: np.ndarray | None = None
    inversion_l1: float | None = None
    encoder_metrics: InversionMetrics | None = None
    metrics: InversionMetrics | None = None
    seconds: float = 0.0
    note: str = ""
    preview: Image.Image | None = None
    generator: str = ""
    tuning: Tuning | None = None

    def with_directions(self, found: Sequence[Direction]) -> Session:
        """The session with more directions; names that are taken get a number."""
        both = named_apart([*self.directions, *found])
        return replace(self, directions=both)


@dataclass(frozen=True)
class Locality:
    """Share of an edit's squared change inside its parts, and the share of the picture that they cover."""

    parts: tuple[str, ...]
    score: float
    area: float


@dataclass(frozen=True, eq=False)
class Edit:
    """An edited face at model size, and where it changed; None if nothing was moved. The page's truth meter."""

    picture: Image.Image
    locality: Locality | None


def describe_metrics(session: Session) -> str:
    """How true a photo's inversion is, and how true the guess was: "L2 0.048 → 0.011", LPIPS and identity if known."""
    words = []
    for label, name in (("L2", "l2"), ("LPIPS", "lpips"), ("identity", "identity")):
        guess, now = getattr(session.encoder_metrics, name), getattr(session.metrics, name)
        if now is not None:
            words.append(
                f"{label} {now:.3f}"
                if session.encoder_metrics is session.metrics
                else f"{label} {guess:.3f} → {now:.3f}"
            )
    return ", ".join(words)


def describe(face: AlignedFace, number: int = 0) -> str:
    """How face `number` of a photo was found, in sentences for people."""
    if face.aligned_before:
        first = "This picture was aligned already; it is used as it is."
    elif face.faces > 1:
        which = f"number {number + 1} by size" if number else "the largest one"
        first = f"{face.faces} faces were found; {which} is used."
    else:
        first = "One face was found and aligned."
    return " ".join([first, *face.notes])


LARGEST = 1_000_000  # bytes; a recipe is a few lines


@dataclass(frozen=True)
class Recipe:
    """Amounts by direction name, and the generator that they were made for; None if the file does not say."""

    amounts: dict[str, float]
    generator: str | None = None


def read_recipe(path: str | Path) -> Recipe:
    """The recipe of a file. UserError if there is none, or it is something else."""
    if not Path(path).exists():
        raise UserError(f"There is no recipe {path}.")
    try:
        if Path(path).stat().st_size > LARGEST:
            raise ValueError
        facts = json.loads(Path(path).read_text(encoding="utf-8"))
        amounts = {str(name): finite(amount) for name, amount in facts["amounts"].items()}
        generator = facts.get("generator")
        return Recipe(amounts, None if generator is None else str(generator))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f'{path} is not a recipe; it should hold {{"amounts": {{"mouth": 2.5}}}}.') from None


def read_setting(text: str, flag: str = "--set", example: str = "mouth=2.5") -> tuple[str, float]:
    """NAME=AMOUNT -> (name, amount). UserError if it is something else."""
    name, _, amount = text.partition("=")
    try:
        return name.strip(), finite(amount)
    except ValueError:
        raise UserError(f"{flag} takes NAME=AMOUNT such as {example}, got {text!r}.") from None


def finite(amount: str | float) -> float:
    """An amount as a number; ValueError for one that is none, or without end."""
    number = float(amount)
    if not math.isfinite(number):
        raise ValueError
    return number
