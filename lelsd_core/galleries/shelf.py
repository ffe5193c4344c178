"""A folder of directions with a file that arranges them: the order of the sliders, and recipes that combine them.

gallery.toml:  version = 1
               generator = "blaze-256"
               order = ["smile", "mouth-open"]       # others follow by name

               [recipes]
               friendly = { smile = 3.0, brows-height = 2.0 }   # its picture: recipes/friendly.jpg
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lelsd_core.directions import Direction, clamp_amounts, load_directions
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.galleries.hub import fetch_folder, is_repository

FILE, PICTURES = "gallery.toml", "recipes"  # beside the directions: the file, and the folder of its recipes' pictures
VERSION = 1


@dataclass(frozen=True, eq=False)
class Recipe:
    """An edit that combines directions."""

    amounts: Mapping[str, float]  # by direction name, each within its slider's range
    picture: Path | None = None  # a small picture of what it does


@dataclass(frozen=True, eq=False)
class Gallery:
    """Directions in the order of their sliders, and recipes for them."""

    directions: tuple[Direction, ...]
    recipes: Mapping[str, Recipe] = field(default_factory=dict)


def read_gallery(source: str | Path) -> Gallery:
    """The gallery in a folder, one direction's file, or OWNER/NAME on the Hub.

    UserError if there are no directions, one is damaged, or the folder's `FILE` does not fit them.
    """
    path = Path(source).expanduser()
    if not path.exists():
        if not is_repository(str(source)):
            raise UserError(
                f"There is no folder {source}; give a folder of directions, a file, or OWNER/NAME on the Hub."
            )
        path = fetch_folder(str(source))
    directions = load_directions(path)
    return arranged(path / FILE, directions) if (path / FILE).is_file() else Gallery(directions)


def arranged(path: Path, directions: Sequence[Direction]) -> Gallery:
    """The gallery of some directions that a file arranges.

    UserError for a file that cannot be read, of another version or generator, or that names other directions or
    amounts that these do not have.
    """
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
        version, generator = facts["version"], facts["generator"]
        order, recipes = list(facts.get("order", ())), dict(facts.get("recipes", {}))
        recipes = {name: {each: float(amount) for each, amount in dict(r).items()} for name, r in recipes.items()}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UserError(f"{path} is not a usable gallery file: {problem}.") from None
    if version != VERSION:
        raise UserError(f"{path} is a gallery file of version {version}; this program reads version {VERSION}.")
    by_name = {direction.name: direction for direction in directions}
    for direction in directions:
        if direction.generator != generator:
            raise UserError(
                f"{path} arranges directions of {generator}, and {direction.name!r} beside it was made for "
                f"{direction.generator}; keep each generator's directions in a folder of their own."
            )
    for name in order:
        if name not in by_name:
            raise UserError(f"{path}: {unknown_name('direction', name, by_name)}")
    for recipe, amounts in recipes.items():
        try:
            within = clamp_amounts(directions, amounts)
        except UserError as problem:
            raise UserError(f"{path}, recipe {recipe!r}: {problem}") from None
        for name, amount in amounts.items():
            if amount != within[name]:
                raise UserError(
                    f"{path}, recipe {recipe!r}: {name} is {amount:g}, and its slider ends at {within[name]:g}."
                )
    rank = {name: place for place, name in enumerate(order)}
    pictures = {name: path.parent / PICTURES / f"{name}.jpg" for name in recipes}
    found = {name: picture for name, picture in pictures.items() if picture.is_file()}
    return Gallery(
        tuple(sorted(directions, key=lambda direction: rank.get(direction.name, len(rank)))),
        {name: Recipe(amounts, found.get(name)) for name, amounts in recipes.items()},
    )
