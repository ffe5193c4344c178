"""Recipes of the page's endpoints: JSON that holds a face and its edit, so that no server needs to remember either.

    {"generator": "blaze-256", "seed": 45, "amounts": {"smile": 4.0}}                                  a random face
    {"generator": "blaze-256", "space": "S", "codes": "zcxMPg...", "amounts": {}, "layers": {...}}     a face of a photo
    {"amounts": {"smile": 4.0}}                                                                        an edit alone

The shell reads the amounts of all three (`edit --recipe`). What comes in is taken for hostile: of any type and size.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lelsd_core.directions import clamp_amounts, limited
from lelsd_core.editor import Editor, Session
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.seeds import MAX_SEED
from lelsd_core.transfer import part_named

EXAMPLE = '{"generator": "blaze-256", "seed": 45, "amounts": {"smile": 4}}'
ENTRIES = ("generator", "seed", "space", "codes", "amounts", "layers")
MOST_NAMES, LONGEST_NAME = 1000, 100  # in a dict or list, and letters
FLOAT32 = np.dtype("<f4")
UNSEEN = Image.new("RGB", (1, 1))  # in place of an unedited picture that nobody looks at


@dataclass(frozen=True, eq=False)
class Recipe:
    """A face and its edit. All parts are of the right type; whether they fit the generator is not known yet."""

    generator: str = ""  # "" = the page's first
    seed: int | None = None  # of a random face
    space: str = ""  # latent space of the codes
    codes: str | None = None  # of a photo's face: base64 of its float32, little-endian
    amounts: Mapping[str, float] = field(default_factory=dict)  # by direction name
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by direction name, as `Session.with_layers`

    def session(self, editor: Editor) -> Session:
        """The face with the editor's directions. UserError for a recipe without one, or with one of other networks."""
        if self.seed is not None:
            session = editor.random_face(self.seed)
        elif self.codes is not None:
            if self.space not in (spaces := editor.generator.space_names):
                raise UserError(unknown_name("latent space", self.space, spaces))
            codes = read_codes(self.codes, editor.generator.space(self.space).width)
            session = Session(codes, self.space, editor.directions, UNSEEN, generator=editor.generator.name)
        else:
            raise UserError(f"This recipe names no face; give it a seed, as in {EXAMPLE}, or what /invert returned.")
        return editor.with_takes(session.with_layers(self.layers), self.amounts)

    def check(self, editor: Editor) -> None:
        """UserError for directions or layers that the editor does not have."""
        clamp_amounts(editor.directions, {name: a for name, a in self.amounts.items() if not part_named(name)})
        for direction in limited(editor.directions, self.layers):
            direction.check(editor.generator)


def read_recipe(value: Any) -> Recipe:
    """Check the parts of a recipe one by one. UserError for a part of the wrong type or size, or an unknown one."""
    entries = read_dict(value, "A recipe")
    for name in entries:
        if name not in ENTRIES:
            raise UserError(unknown_name("entry of a recipe", name, ENTRIES))
    codes = entries.get("codes")
    if not (codes is None or isinstance(codes, str)):
        raise UserError("The codes of a recipe must be the text that /invert returned.")
    if codes is not None and entries.get("seed") is not None:
        raise UserError("A recipe holds one face; leave out its seed or its codes.")
    return Recipe(
        generator=read_name(entries.get("generator") or "", "The generator"),
        seed=None if entries.get("seed") is None else read_whole(entries["seed"], "The seed"),
        space=read_name(entries.get("space") or "", "The space"),
        codes=codes,
        amounts=read_amounts(entries.get("amounts")),
        layers={name: read_layers(names) for name, names in read_dict(entries.get("layers"), "layers").items()},
    )


def write_recipe(session: Session, recipe: Recipe) -> dict[str, Any]:
    """The JSON of a face and the edit of a recipe: amounts within the sliders' ranges, without zeros."""
    if recipe.seed is None:
        codes = session.codes.numpy().astype(FLOAT32).tobytes()
        face: dict[str, Any] = {"space": session.space, "codes": base64.b64encode(codes).decode()}
    else:
        face = {"seed": recipe.seed}
    amounts = clamp_amounts(session.directions, recipe.amounts)
    edit: dict[str, Any] = {"amounts": {name: amount for name, amount in amounts.items() if amount}}
    if recipe.layers:
        edit["layers"] = {name: list(layers) for name, layers in recipe.layers.items()}
    return {"generator": session.generator, **face, **edit}


def read_codes(text: str, width: int) -> Tensor:
    """Base64 of float32, little-endian -> (1, width). UserError for anything but `width` finite numbers."""
    with suppress(ValueError):
        if len(text) == 4 * math.ceil(FLOAT32.itemsize * width / 3):  # nothing larger is decoded
            numbers = np.frombuffer(base64.b64decode(text, validate=True), FLOAT32).astype(np.float32)
            if len(numbers) == width and np.isfinite(numbers).all():
                return torch.from_numpy(numbers)[None]
    raise UserError(f"The codes of this recipe are not {width} finite numbers; give them as /invert returned them.")


def read_amounts(value: Any) -> dict[str, float]:
    """Amounts by direction name; None = none. UserError for anything but finite numbers."""
    amounts = read_dict(value, "amounts")
    return {name: read_number(amount, f"The amount of {name!r}") for name, amount in amounts.items()}


def read_layers(value: Any) -> tuple[str, ...]:
    """A layer's name, or a list of them. UserError for anything else."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or len(names) > MOST_NAMES:
        raise UserError('layers must hold names, as in {"hair": ["coarse"]}.')
    return tuple(read_name(name, "A layer") for name in names)


def read_dict(value: Any, what: str) -> dict[str, Any]:
    """A JSON object with names of a sensible length; None = an empty one. UserError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{what} must be a JSON object; a whole recipe is {EXAMPLE}.")
    if len(value) > MOST_NAMES:
        raise UserError(f"{what} must hold at most {MOST_NAMES} names, not {len(value)}.")
    return {read_name(name, f"A name in {what}"): each for name, each in value.items()}


def read_name(value: Any, what: str) -> str:
    """A text of at most `LONGEST_NAME` letters. UserError for anything else."""
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise UserError(f"{what} must be a text of at most {LONGEST_NAME} letters.")
    return value


def read_whole(value: Any, what: str, least: int = 0, most: int = MAX_SEED) -> int:
    """A whole number in a range. UserError for anything else."""
    number = read_number(value, what)
    if not (number.is_integer() and least <= number <= most):
        raise UserError(f"{what} must be a whole number from {least} to {most}, not {number:g}.")
    return int(number)


def read_number(value: Any, what: str) -> float:
    """A finite number. UserError for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(OverflowError):  # of a whole number beyond all floats
            if math.isfinite(number := float(value)):
                return number
    raise UserError(f"{what} must be a finite number.")
