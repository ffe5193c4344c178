"""Recipes: an edit as a small JSON file, which the page exports and the command line reads.

{"generator": "digiface-64", "amounts": {"mouth": 3.0, "hair": -4.0}}
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from lelsd_core.errors import UserError

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
