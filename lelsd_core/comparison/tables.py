"""A comparison as tables: rows for programs, CSV, and Markdown for people.

comparison  -->  `rows`: one for each method, part and distance  -->  `csv_text`, `markdown`
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from lelsd_core.comparison.compare import Comparison, Result
from lelsd_core.comparison.measures import FEW, REACH, Cell

NOTHING = "–"  # where there is no figure
FIGURES = {  # field of a row -> its heading and format
    "gain": ("gain", ".1f"),
    "features": ("score, maps", ".2f"),
    "f1": ("F1", ".2f"),
    "lpips": ("LPIPS", ".3f"),
    "outside": ("LPIPS outside", ".3f"),
    "change": ("RMS change", ".3f"),
    "identity": ("identity", ".2f"),
    "uneven": ("unevenness", ".2f"),
}


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each result and distance: fields of `Cell`, and of the pictures that the figure shows.

    A method without a direction has one row, whose "words" say why.
    """
    found = []
    for result in comparison.results:
        start = {"method": result.method, "part": result.part, "words": result.words}
        if not result.measured:
            found.append(start)
            continue
        count = len(comparison.plan.steps)
        for i, cell in enumerate(result.measured.cells):
            shown = {"shown_low": result.scores[count - 1 - i], "shown_high": result.scores[count + i]}
            figures = {name: value for name, value in asdict(cell).items() if name != "shares"}
            shares = {f"share {part}": value for part, value in cell.shares.items()}
            distance = {"distance": comparison.plan.distance.name}
            found.append(start | distance | figures | {"uneven": result.measured.uneven} | shown | shares)
    return found


def csv_text(comparison: Comparison) -> str:
    """The rows as CSV; an empty field where there is no figure."""
    table, buffer = rows(comparison), io.StringIO()
    names = dict.fromkeys(name for row in table for name in row)
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue()


def markdown(comparison: Comparison) -> str:
    """The scores, all other figures, and how much each part moves with another, as Markdown."""
    plan, measured = comparison.plan, [result for result in comparison.results if result.measured]
    pictures = 2 * plan.samples
    heads = ["part", "method", plan.distance.name, *(head for head, _ in FIGURES.values()), "pictures"]
    lines = [
        f"# Methods on {comparison.generator} at equal {plan.distance.name}",
        "",
        f"{plan.samples} held-out samples, both signs ({pictures} pictures a figure), segmenter "
        f"{comparison.segmenter}, seed {plan.seed}. Each sample is moved until its {plan.distance.name} from the "
        f"untouched picture is the one above the column; it is sought up to {REACH} times the slider's limit. In "
        "brackets the 95 % interval; where not all pictures reach a distance, how many do, and the figures are theirs.",
        "",
        "## Localization score",
        "",
        *score_table(comparison.results, plan.steps),
        "",
        "## All figures",
        "",
        f"Score on the feature maps {', '.join(plan.layers)}; F1 of the LPIPS change map; LPIPS of the whole picture, "
        f"and what of it lies outside the part; likeness of the first {FEW} faces, 1 = equal; unevenness over the "
        "amount, 0 = equal strides change the picture equally.",
        "",
        line(*heads),
        "|---" * len(heads) + "|",
    ]
    for result in measured:
        for cell in result.measured.cells:
            values = asdict(cell) | {"uneven": result.measured.uneven}
            figures = [shown(values[name], form) for name, (_, form) in FIGURES.items()]
            reached = f"{cell.reached}/{cell.of}"
            lines.append(line(result.part, result.title, f"{cell.step:g}", *figures, reached))
    if len(plan.parts) > 1:
        lines += ["", "## What else moves", "", *matrices(measured, plan.parts, len(plan.steps) // 2 - 1)]
    return "\n".join(lines) + "\n"


def score_table(results: Iterable[Result], steps: Sequence[float]) -> list[str]:
    """A line for each result, a column for each distance."""
    lines = ["| part | method | " + " | ".join(f"{step:g}" for step in steps) + " |", "|---" * (len(steps) + 2) + "|"]
    for result in results:
        cells = [scored(cell) for cell in result.measured.cells] if result.measured else [result.words]
        lines.append(line(result.part, result.title, *cells, *[""] * (len(steps) - len(cells))))
    return lines


def scored(cell: Cell) -> str:
    """A score with its interval: "0.32 (0.25–0.39)", and how many pictures reach the distance if not all do."""
    if cell.score is None:
        return f"not reached, 0/{cell.of}"
    short = f", {cell.reached}/{cell.of}" if cell.reached < cell.of else ""
    return f"{cell.score:.2f} ({cell.low:.2f}–{cell.high:.2f}){short}"


def matrices(results: Sequence[Result], parts: Sequence[str], step: int) -> list[str]:
    """For each method, which share of the change lies in each part (columns) when one part is moved (rows)."""
    distance = results[0].measured.cells[step].step if results else 0.0
    lines = [f"The share of the squared change in each part, in %, when one is moved, at the distance {distance:g}."]
    for method in dict.fromkeys(result.title for result in results):
        lines += ["", f"| {method} moves | " + " | ".join(parts) + " |", "|---" * (len(parts) + 1) + "|"]
        for result in results:
            if result.title == method:
                shares = result.measured.cells[step].shares
                lines.append(line(result.part, *(percent(shares[part]) for part in parts)))
    return lines


def line(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def shown(value: float | None, form: str) -> str:
    """A figure, or that there is none."""
    return NOTHING if value is None else f"{value:{form}}"


def percent(share: float | None) -> str:
    """A share in per cent."""
    return NOTHING if share is None else f"{100 * share:.0f}"
