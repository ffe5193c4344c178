"""The state of one user's work: the photo, the inversion options, and the face with its latent codes and directions.

None of it holds a model, so that it is small and can be copied between processes.
"""

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

NO_NUDGE = Nudge()
SHOWN = 1280  # longer side in pixels of a photo on a page
MAX_RECIPE = 1_000_000  # bytes of a recipe file


@dataclass(frozen=True, eq=False)
class DetectedPhoto:
    """A photo with the faces that were detected in it.

    Args:
        photo: RGB, upright, at full size.
        faces: the faces, largest first.
    """

    photo: Image.Image
    faces: tuple[Candidate, ...]

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
    """How a photo is aligned and inverted.

    Args:
        face: index of the face, counted from 0, largest first.
        aligned: True uses the centre of the photo as it is, False detects the face, None decides by the photo.
        nudge: the user's correction of the alignment.
        closeness: key of `inversion.CLOSENESS`.
        steps: refinement steps; None = the closeness's own number.
        tune: also tune the generator's weights to the person (see `Editor.can_tune`).
    """

    face: int = 0
    aligned: bool | None = None
    nudge: Nudge = NO_NUDGE
    closeness: str = BALANCED
    steps: int | None = None
    tune: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Session:
    """One inverted face, ready to be edited. A few kilobytes; never changed, each change makes a new session.

    Args:
        codes: (1, D) on the CPU, unedited; edits are amounts along directions from here.
        space: latent space of the codes.
        directions: the editor's directions and those discovered in this session.
        original: the unedited picture at the generator's resolution.
        photo: the aligned photo for display; None for a random face.
        matrix: (2, 3), photo pixels -> frame pixels; None for a random face.
        inversion_l1: mean absolute error of the inversion in [-1, 1], by the untuned generator; None for a random face.
        encoder_metrics, metrics: metrics of the encoder's guess and of the current codes; None if not computed.
        seconds: computing time of alignment and inversion.
        note: one sentence for the user about the alignment.
        preview: the unedited picture as `Editor.preview` renders it; None if that renders full pictures.
        generator: name of the generator that the codes belong to.
        tuning: change of the generator's weights for this person, if it was tuned.
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

    def __repr__(self) -> str:
        source = "random face" if self.inversion_l1 is None else f"photo, inversion L1 {self.inversion_l1:.3f}"
        names = ", ".join(direction.name for direction in self.directions)
        return f"Session({self.generator}: {source}, codes {tuple(self.codes.shape)} in {self.space}, sliders: {names})"

    def with_directions(self, directions: Sequence[Direction]) -> Session:
        """The session with more directions at the end; names that are already used get a number."""
        return replace(self, directions=named_apart([*self.directions, *directions]))


@dataclass(frozen=True)
class Locality:
    """Where an edit changed the picture.

    Args:
        parts: the parts that were edited.
        score: share of the squared change inside the parts, in [0, 1].
        area: share of the picture that the parts cover, in [0, 1].
    """

    parts: tuple[str, ...]
    score: float
    area: float


@dataclass(frozen=True, eq=False)
class Edit:
    """An edited face at the generator's resolution, and its locality; None if no slider was moved."""

    picture: Image.Image
    locality: Locality | None


def describe_metrics(session: Session) -> str:
    """Metrics of the encoder's guess and of the inversion: "L2 0.048 → 0.011"; LPIPS and identity if computed."""
    words = []
    for label, name in (("L2", "l2"), ("LPIPS", "lpips"), ("identity", "identity")):
        guess, now = getattr(session.encoder_metrics, name), getattr(session.metrics, name)
        if now is not None:
            change = f"{now:.3f}" if session.encoder_metrics is session.metrics else f"{guess:.3f} → {now:.3f}"
            words.append(f"{label} {change}")
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


@dataclass(frozen=True)
class Recipe:
    """Amounts by direction name, and the generator they were made for; None if the file does not name it."""

    amounts: dict[str, float]
    generator: str | None = None


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe (JSON). UserError if the file is missing or holds something else."""
    if not Path(path).exists():
        raise UserError(f"There is no recipe {path}.")
    try:
        if Path(path).stat().st_size > MAX_RECIPE:
            raise ValueError
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        amounts = {str(name): finite(amount) for name, amount in content["amounts"].items()}
        generator = content.get("generator")
        return Recipe(amounts, None if generator is None else str(generator))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f'{path} is not a recipe; it should hold {{"amounts": {{"mouth": 2.5}}}}.') from None


def read_setting(text: str, flag: str = "--set", example: str = "mouth=2.5") -> tuple[str, float]:
    """NAME=AMOUNT -> (name, amount). UserError for anything else."""
    name, _, amount = text.partition("=")
    try:
        return name.strip(), finite(amount)
    except ValueError:
        raise UserError(f"{flag} takes NAME=AMOUNT such as {example}, got {text!r}.") from None


def finite(amount: str | float) -> float:
    """The amount as a number. ValueError if it is not a number, or infinite."""
    number = float(amount)
    if not math.isfinite(number):
        raise ValueError
    return number
