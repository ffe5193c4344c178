"""The paper's figures, drawn with matplotlib: PNG or PDF, by the ending of the file.

pictures with captions, in rows  -->  `sheet`  -->  file

Each figure is a table of `Tile`s, so that a test can read what stands where.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from lelsd_core.comparison.compare import Comparison
from lelsd_core.comparison.measures import Cell
from lelsd_core.comparison.tables import NOTHING, shown
from lelsd_core.directions import Direction, group_of, in_plain_words
from lelsd_core.errors import check_file, writing
from lelsd_core.provenance import PROGRAM

ENDINGS = (".png", ".pdf")
TILE = 1.05  # inches across, of a picture
TOP = 0.45  # inches above the first block, with the title
CAPTION, HEADING, TITLE = 7, 8, 10  # points
LINE = 0.14  # inches, of a caption
WRAP = 20  # letters of a row's heading in one line
DPI = 150
INK, FAINT, EMPTY = "#222222", "#777777", "#f2f2f2"
PER_PART = 4  # directions of a part in Figure 1
SHARES = (-1.0, -0.5, 0.0, 0.5, 1.0)  # of both sliders' ranges in Figure 3
Render = Callable[[Mapping[str, float]], Image.Image]  # amounts by direction name -> picture
INTERPOLATION_BELOW = 128  # pixels: smaller pictures are enlarged smoothly


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture with words around it; no picture leaves its place empty."""

    picture: Image.Image | None = None
    below: str = ""  # caption, in lines
    faint: str = ""  # a line below it in grey
    above: str = ""  # heading of its column
    left: str = ""  # heading of its row


def sheet(title: str, blocks: Sequence[tuple[str, Sequence[Sequence[Tile]]]], note: str = "") -> Figure:
    """A figure of blocks, one under the other, each with a heading and rows of tiles.

    All pictures are squares of the same size; columns are in line over all blocks.
    """
    columns = max(len(row) for _, rows in blocks for row in rows)
    tiles = [tile for _, rows in blocks for row in rows for tile in row]
    margin = 0.15 + 0.075 * max(len(line) for tile in tiles for line in tile.left.split("\n"))
    gap = 0.06
    width = margin + columns * (TILE + gap) + 0.1
    heights = [TOP + LINE * lines(note) + 0.1]
    for heading, rows in blocks:
        heights.append(0.28 if heading else 0.05)
        heights += [row_height(row) for row in rows]
    height = sum(heights)
    figure = Figure(figsize=(width, height), facecolor="white")

    def text(x: float, y: float, words: str, **style) -> None:
        figure.text(x / width, 1 - y / height, words, **({"color": INK, "fontsize": CAPTION} | style))

    text(0.1, 0.1, title, fontsize=TITLE, weight="bold", va="top")
    top = TOP
    for heading, rows in blocks:
        if heading:
            text(0.1, top + 0.05, heading, fontsize=HEADING + 1, weight="bold", va="top")
        top += 0.28 if heading else 0.05
        for row in rows:
            above = LINE * 1.2 * max(lines(tile.above) for tile in row)
            for column, tile in enumerate(row):
                x, y = margin + column * (TILE + gap), top + above
                text(x + TILE / 2, y - 0.03, tile.above, fontsize=HEADING, ha="center", va="bottom")
                text(x - 0.07, y + TILE / 2, tile.left, fontsize=HEADING, ha="right", va="center")
                captions = [*((words, INK) for words in tile.below.split("\n")), (tile.faint, FAINT)]
                for number, (words, colour) in enumerate(captions, start=1):
                    text(x + TILE / 2, y + TILE + LINE * number, words, ha="center", va="baseline", color=colour)
                place = (x / width, 1 - (y + TILE) / height, TILE / width, TILE / height)
                if tile.picture is None and tile.faint:
                    figure.add_artist(Rectangle(place[:2], *place[2:], facecolor=EMPTY, edgecolor="none"))
                if tile.picture is not None:
                    axes = figure.add_axes(place)
                    small = tile.picture.width < INTERPOLATION_BELOW
                    axes.imshow(tile.picture, interpolation="bicubic" if small else "antialiased")
                    axes.set_axis_off()
            top += row_height(row)
    text(0.1, top + 0.05, note, color=FAINT, va="top")
    return figure


def lines(words: str) -> int:
    """Number of lines of a text."""
    return words.count("\n") + 1 if words else 0


def row_height(row: Sequence[Tile]) -> float:
    """Inches of a row with the words above and below its pictures."""
    above = max(lines(tile.above) for tile in row)
    below = max(lines(tile.below) + lines(tile.faint) for tile in row)
    return TILE + LINE * (1.2 * above + below) + 0.1


def save_figure(figure: Figure, path: str | os.PathLike[str], about: str) -> None:
    """Write a figure in the format of the path's ending; its metadata say what it shows, and that a model made it.

    UserError for another ending, or if it cannot be written.
    """
    check_file(Path(path), *ENDINGS)
    titles = {".png": ("Software", "Description"), ".pdf": ("Creator", "Subject")}[Path(path).suffix.lower()]
    with writing(path):
        figure.savefig(path, dpi=DPI, metadata=dict(zip(titles, (PROGRAM, about), strict=True)))


def gallery_sheet(title: str, render: Render, directions: Sequence[Direction]) -> Figure:
    """Figure 1: what the directions of each part do to one face, both ends of each.

    Args:
        title: of the figure.
        render: the picture of amounts by direction name.
        directions: in the order in which they are shown; of one part at most `PER_PART`.
    """
    groups: dict[str, list[Direction]] = {}
    for direction in directions:
        groups.setdefault(group_of(direction), []).append(direction)
    face, rows = render({}), []
    for group, members in groups.items():
        tiles = [Tile(face, left=in_plain_words(group))]
        for direction in members[:PER_PART]:
            name = in_plain_words(direction.name)
            for end, words in zip((direction.low, direction.high), direction.ends, strict=True):
                tiles.append(Tile(render({direction.name: end}), f"{name}\n{textwrap.shorten(words, WRAP)}"))
        rows.append(tiles)
    return sheet(title, [("", rows)])


def palette_sheet(title: str, render: Render, across: Direction, up: Direction) -> Figure:
    """Figure 3: one face under all combinations of two directions, one growing to the right, the other one upwards."""
    grid = []
    for share in SHARES[::-1]:
        row = []
        for other in SHARES:
            amounts = {across.name: amount_at(across, other), up.name: amount_at(up, share)}
            above = signed(amounts[across.name]) if share == SHARES[-1] else ""
            left = signed(amounts[up.name]) if other == SHARES[0] else ""
            row.append(Tile(render(amounts), above=above, left=left))
        grid.append(row)
    words = [f"{in_plain_words(each.name)} ({each.ends[0]} – {each.ends[1]})" for each in (across, up)]
    return sheet(title, [("", grid)], f"To the right: {words[0]}\nUpwards: {words[1]}")


def amount_at(direction: Direction, share: float) -> float:
    """The amount at a share of a slider's range, from -1, the low end, over 0 to 1, the high end."""
    return share * (direction.high if share > 0 else -direction.low)


def signed(amount: float) -> str:
    """An amount with its sign: "+2.5", "−3", "0"."""
    return f"{amount:+.3g}".replace("-", "−") if amount else "0"


def sequence_sheet(
    title: str, faces: Sequence[tuple[str, Sequence[Image.Image], Render]], edits: Sequence[tuple[str, float]]
) -> Figure:
    """Figure 5: faces of photos, and what edits make of them, each on top of those before.

    Args:
        title: of the figure.
        faces: name, pictures before any edit (the photo and its inversion), and renderer of each.
        edits: name of a direction and amount, in order.
    """
    rows = []
    for name, before, render in faces:
        tiles = [Tile(picture, word) for picture, word in zip(before, ("photo", "rebuilt"), strict=True)]
        amounts: dict[str, float] = {}
        for direction, amount in edits:
            amounts = amounts | {direction: amount}
            tiles.append(Tile(render(amounts), f"+ {in_plain_words(direction).lower()} {signed(amount)}"))
        rows.append([replace(tiles[0], left=textwrap.fill(name, WRAP)), *tiles[1:]])
    return sheet(title, [("", rows)])


def comparison_sheet(comparison: Comparison) -> Figure:
    """Figure 4: methods × parts × equal distances on one face.

    Under each picture stand its own localization score and, in grey, the mean of the held-out samples.
    """
    plan = comparison.plan
    blocks = [(part, comparison_rows(comparison, part)) for part in plan.parts]
    note = (
        f"Localization score of each picture (Eq. 2). Grey: mean of {plan.samples} held-out samples and both signs, ± "
        "half of its 95 % interval."
    )
    return sheet(f"{comparison.generator}: methods at equal {plan.distance.name}", blocks, note)


def comparison_rows(comparison: Comparison, part: str) -> list[list[Tile]]:
    """The rows of a part: a method each, from the farthest step of one sign over the face itself to the other's."""
    rows: list[list[Tile]] = []
    count, name = len(comparison.plan.steps), comparison.plan.distance.name
    heads = [signed(step) for step in comparison.steps]
    heads = [f"{name} {heads[0]}", *heads[1:count], "0", *heads[count:]]
    for result in (each for each in comparison.results if each.part == part):
        title = textwrap.fill(result.title, WRAP)
        above = heads if not rows else [""] * len(heads)
        if not result.measured:
            rows.append([Tile(None, textwrap.fill(result.words, WRAP), left=title)])
            continue
        cells = [*result.measured.cells[::-1], *result.measured.cells]
        tiles = [comparison_tile(*each) for each in zip(result.pictures, result.scores, cells, strict=True)]
        tiles.insert(count, Tile(comparison.face))
        row = [replace(tile, above=words) for tile, words in zip(tiles, above, strict=True)]
        rows.append([replace(row[0], left=title), *row[1:]])
    return rows


def comparison_tile(picture: Image.Image | None, score: float | None, cell: Cell) -> Tile:
    """A picture with its score and the mean of the samples at that distance; an empty place if it is not reached."""
    mean = NOTHING if cell.score is None else f"{cell.score:.2f} ± {(cell.high - cell.low) / 2:.2f}"
    return Tile(picture, "not reached" if picture is None else shown(score, ".2f"), mean)
