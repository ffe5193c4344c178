"""What outlives a page: its link, and what the browser keeps. Neither ever holds a photo or the codes of one.

    generator, seed, slider values       -->  link: ?generator=blaze-256&seed=35&smile=60
    the same, and directions found here  -->  the browser's own storage, for a reload or a restart of the server

Both come back from outside and are checked like any input.
"""

from __future__ import annotations

import base64
import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from demo.face import Amounts, Face, History
from demo.words import amount_of, percent_of
from lelsd_core.directions import Direction
from lelsd_core.errors import UserError
from lelsd_core.seeds import MAX_SEED

STORAGE = {"storage_key": "lelsd", "secret": "kept in this browser"}  # not secret: the key of a drawer
MOST_FOUND = 24  # directions that are read back
MOST_BYTES = 2_000_000  # of one of them
LONGEST = 40  # letters of a caption
MOST_STEPS = 8  # of a history that is kept, the last ones


@dataclass(frozen=True)
class Kept:
    """What was kept of a face and its edit."""

    generator: str = ""  # "" = any
    seed: int | None = None  # None for a photo
    truncation: float | None = None
    percents: Mapping[str, float] = field(default_factory=dict)  # slider values by direction name
    found: tuple[str, ...] = ()  # files of directions, in base64
    steps: tuple[tuple[str, Mapping[str, float]], ...] = ()  # caption and slider values of each edit of the history


def link_query(face: Face, amounts: Amounts) -> str:
    """The part of a link behind the question mark."""
    facts: dict[str, Any] = {"generator": face.session.generator}
    if face.seed is not None:
        facts |= {"seed": face.seed}
        facts |= {} if face.truncation is None else {"truncation": f"{face.truncation:g}"}
    return urlencode(facts | percents(face, amounts))


def stored(face: Face, amounts: Amounts, shipped: Sequence[Direction], history: History) -> dict[str, Any]:
    """What the browser keeps; directions that do not ship go along, and the edits up to the one that is shown."""
    steps = history.steps[1 : history.position + 1][-MOST_STEPS:]  # the first is the face as it was
    known = {direction.name for direction in shipped}
    ours = [each for each in face.session.directions if each.name not in known and not each.goal]
    return {
        "generator": face.session.generator,
        "seed": face.seed,
        "truncation": face.truncation,
        "percents": percents(face, amounts),
        "steps": [[step.caption, percents(face, step.amounts)] for step in steps],
        "found": [base64.b64encode(file_of(direction)).decode() for direction in ours[:MOST_FOUND]],
    }


def percents(face: Face, amounts: Amounts) -> dict[str, int]:
    """Slider values by direction name, without zeros."""
    shared = [direction for direction in face.session.directions if not direction.personal]
    return {d.name: percent_of(d, amounts[d.name]) for d in shared if amounts.get(d.name)}


def read_link(query: Mapping[str, str]) -> Kept | None:
    """What a link asks for; None for one without any of it. What makes no sense in it is left out."""
    rest = dict(query)
    generator, seed = rest.pop("generator", ""), whole(rest.pop("seed", None))
    truncation = number(rest.pop("truncation", None))
    values = {name: value for name, text in rest.items() if (value := number(text)) is not None}
    return Kept(generator, seed, truncation, values) if generator or seed is not None or values else None


def read_stored(value: Any) -> Kept | None:
    """What the browser kept; None if it is nothing that this page wrote."""
    if not isinstance(value, dict) or not isinstance(values := value.get("percents"), dict):
        return None
    found = tuple(text for text in listed(value.get("found")) if isinstance(text, str))
    steps = tuple(
        (str(step[0])[:LONGEST], read_percents(step[1]))
        for step in listed(value.get("steps"))
        if isinstance(step, list) and len(step) == 2 and isinstance(step[1], dict)
    )
    seed, truncation = whole(value.get("seed")), number(value.get("truncation"))
    generator = str(value.get("generator") or "")
    return Kept(generator, seed, truncation, read_percents(values), found, steps[-MOST_STEPS:])


def read_percents(values: Mapping[Any, Any]) -> dict[str, float]:
    """Slider values by direction name; what is no number is left out."""
    return {str(name): n for name, each in values.items() if (n := number(each)) is not None}


def found_directions(kept: Kept) -> list[Direction]:
    """The directions that were kept; those that cannot be read are left out."""
    directions = []
    for text in kept.found[:MOST_FOUND]:
        with suppress(UserError, ValueError):
            if len(text) <= MOST_BYTES:
                directions.append(direction_of(base64.b64decode(text, validate=True)))
    return directions


def kept_amounts(values: Mapping[str, float], directions: Sequence[Direction]) -> dict[str, float]:
    """The amounts of slider values, for those directions that there are."""
    return {d.name: amount_of(d, values[d.name]) for d in directions if d.name in values}


def file_of(direction: Direction) -> bytes:
    """The content of a direction's file."""
    with tempfile.TemporaryDirectory() as folder:
        direction.save(path := Path(folder) / "direction.safetensors")
        return path.read_bytes()


def direction_of(content: bytes) -> Direction:
    """The direction of a file's content. UserError as for `Direction.load`."""
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / "direction.safetensors").write_bytes(content)
        return Direction.load(path)


def listed(value: Any) -> list[Any]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def whole(value: Any) -> int | None:
    """A seed; None for anything else."""
    seed = number(value)
    return int(seed) if seed is not None and seed.is_integer() and 0 <= seed <= MAX_SEED else None


def number(value: Any) -> float | None:
    """A finite number, or the text of one; None for anything else."""
    with suppress(TypeError, ValueError):
        if math.isfinite(result := float(value)):
            return result
    return None
