"""Tables of a gallery for its card, in Markdown: figures, which slider moves what, and how it does on photos.

rows of all directions on held-out samples, and on photos  -->  `figures`, `independence`, `on_photos`
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lelsd_core.directions import Direction
from lelsd_core.evaluation.heldout import Row

ALIKE = 50.0  # per cent of another slider's own range, from which on two sliders do much of the same


def figures(directions: Sequence[Direction], rows: Sequence[Row], folder: str = "directions") -> list[str]:
    """A line for each direction, with a link to its contact sheet."""
    lines = [
        "| slider | kind | score, 95 % interval | area | gain | range | what moves | LPIPS | likeness |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for direction, row in zip(directions, rows, strict=True):
        cells = [
            f"[{direction.title}]({folder}/{direction.name}.jpg)",
            row.kind,
            f"{row.score:.2f} ({row.interval[0]:.2f}–{row.interval[1]:.2f})",
            f"{row.area:.3f}",
            f"{row.gain:.1f}",
            f"{row.low:g} to {row.high:g}",
            f"{row.about} {both(row.motion[row.about], '+.1f')}" if row.about else "",
            both(row.lpips, ".3f") if row.lpips else "",
            both(row.identity, ".2f") if row.identity else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def shift(row: Row, name: str) -> float:
    """How much more of a measure there is at a row's high end than at its low one."""
    low, high = row.motion[name]
    return high - low


def share(moved: Row, row: Row) -> float:
    """What one row moves of what another is about, over what the latter moves of it itself; NaN if that is nothing."""
    own = shift(row, row.about)
    return shift(moved, row.about) / own if own else math.nan


def independence(rows: Sequence[Row]) -> list[list[float]]:
    """What each slider moves of what each one is about, in % of the change that the latter's own slider makes.

    Rows and columns are the sliders that are about something; the diagonal is 100.
    """
    known = [row for row in rows if row.about]
    return [[100 * share(moved, row) for row in known] for moved in known]


def independence_table(rows: Sequence[Row]) -> list[str]:
    """`independence` as a table, and a line that names the pairs that are `ALIKE` both ways."""
    known, matrix = [row for row in rows if row.about], independence(rows)
    lines = ["| moved | " + " | ".join(row.direction for row in known) + " |", "|---" * (len(known) + 1) + "|"]
    for row, numbers in zip(known, matrix, strict=True):
        lines.append(f"| {row.direction} | " + " | ".join(f"{number:.0f}" for number in numbers) + " |")
    pairs = [
        f"{known[i].direction} and {known[j].direction}"
        for i in range(len(known))
        for j in range(i)
        if min(abs(matrix[i][j]), abs(matrix[j][i])) >= ALIKE
    ]
    return [*lines, "", f"Pairs that do more than {ALIKE:.0f} % of each other's: {'; '.join(pairs) or 'none'}."]


def on_photos(rows: Sequence[Row], photo_rows: Sequence[Row]) -> list[str]:
    """A line for each slider that is about something: what it does to photos, against what it does to samples."""
    lines = [
        "| slider | about | samples | photos | ratio | LPIPS outside | likeness |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, photos in zip(rows, photo_rows, strict=True):
        if not row.about:
            continue
        cells = [row.direction, row.about, *(both(each.motion[row.about], "+.1f") for each in (row, photos))]
        cells += [
            f"{share(photos, row):.2f}",
            both(photos.outside, ".3f"),
            both(photos.identity, ".2f") if photos.identity else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def both(ends: Sequence[float], form: str) -> str:
    """The numbers of the low and the high end."""
    return f"{ends[0]:{form}}, {ends[1]:{form}}"
