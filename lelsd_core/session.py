"""One person's work, and what an edit of it gives: small, and without any model.

Every change makes a new `Session`; amounts of sliders are never in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from lelsd_core.directions import Direction
from lelsd_core.faces import AlignedFace


@dataclass(frozen=True, eq=False)
class Session:
    """One person's work: a few kilobytes, no model.

    Args:
        codes: (1, D) on the CPU, never moved; edits are amounts on top of it.
        space: their latent space.
        directions: the shipped directions and those found in this session.
        original: the unedited picture at model size.
        photo: the aligned photo for people, None for a random face.
        matrix: (2, 3), photo pixels -> frame pixels; None for a random face.
        inversion_l1: mean absolute error of the inversion in [-1, 1], None for a random face.
        seconds: what the inversion took.
        note: one sentence for people about how the face was found.
        rough: the unedited picture as `Editor.preview` renders it; None where that renders whole pictures.
    """

    codes: Tensor
    space: str
    directions: tuple[Direction, ...]
    original: Image.Image
    photo: Image.Image | None = None
    matrix: np.ndarray | None = None
    inversion_l1: float | None = None
    seconds: float = 0.0
    note: str = ""
    rough: Image.Image | None = None


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


def describe(face: AlignedFace) -> str:
    """One sentence about how the face was found."""
    if face.aligned_before:
        return "This picture was aligned already; it is used as it is."
    if face.faces > 1:
        return f"{face.faces} faces were found; the largest one is used."
    return "One face was found and aligned."
