"""`figure`: the paper's Figures 1, 3, 4 and 5 with this generator."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL.Image import Image
from tqdm import tqdm

from lelsd_core.cli import compare
from lelsd_core.cli.flagship import EXAMPLE, shown
from lelsd_core.cli.parser import COMPARED, GENERATOR
from lelsd_core.comparison.figures import (
    ENDINGS,
    SHARES,
    Render,
    gallery_sheet,
    palette_sheet,
    save_figure,
    sequence_sheet,
)
from lelsd_core.device import choose_device
from lelsd_core.directions import Direction, clamp_amounts, group_of
from lelsd_core.editor import Editor, Session
from lelsd_core.editor.session import read_setting
from lelsd_core.errors import UserError, check_file, unknown_name
from lelsd_core.images import read_photo
from lelsd_core.registry import directions_of, load_editor
from lelsd_core.weights.catalogue import spec_of

EDITS, SHARE = 5, 0.6  # one after the other, unless others are named, each by this share of its range


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Draw the figure that was named."""
    if options.which not in FIGURES:
        raise UserError(unknown_name("figure of the paper to draw", options.which, FIGURES))
    check_file(Path(options.out), *ENDINGS)
    options.generator = options.generator or (COMPARED if options.which == "4" else GENERATOR)
    result = FIGURES[options.which](options)
    print(f"Wrote {options.out}.")
    return {"figure": options.which, "out": options.out, "generator": options.generator} | result


def gallery(options: argparse.Namespace) -> dict[str, Any]:
    """Figure 1: the sliders of each part on one face."""
    editor, session = open_face(options)
    directions = shown(editor, session)
    with tqdm(disable=None, unit=" pictures") as bar:
        render = counted(partial(editor.render, session), bar)
        figure = gallery_sheet(f"{editor.generator.name}: one face, part by part", render, directions)
    save_figure(figure, options.out, about(editor, options))
    return {"directions": [direction.name for direction in directions]}


def palette(options: argparse.Namespace) -> dict[str, Any]:
    """Figure 3: all combinations of two sliders."""
    directions = {each.name: each for each in directions_of(options.generator, options.directions)}
    names = options.sliders or one_of_each_part(directions.values())[:2]
    clamp_amounts(tuple(directions.values()), dict.fromkeys(names, 0.0))  # checks the names
    if len(set(names)) < 2:
        raise UserError("A palette needs two different sliders; name them with --sliders.")
    editor, session = open_face(options)
    with tqdm(total=len(SHARES) ** 2, disable=None, unit=" pictures") as bar:
        render = counted(partial(editor.render, session), bar)
        title = f"{editor.generator.name}: two sliders at once"
        figure = palette_sheet(title, render, *(directions[name] for name in names))
    save_figure(figure, options.out, about(editor, options))
    return {"sliders": list(names)}


def sequence(options: argparse.Namespace) -> dict[str, Any]:
    """Figure 5: photos, and edits one on top of the other."""
    directions = {each.name: each for each in directions_of(options.generator, options.directions)}
    usual = {name: round(SHARE * directions[name].high, 1) for name in one_of_each_part(directions.values())[:EDITS]}
    given = dict(read_setting(text, "--edits") for text in options.edits or ())
    edits = clamp_amounts(tuple(directions.values()), given or usual)
    if options.photos is None and not EXAMPLE.exists():
        raise UserError("The example photo is not installed with the package; name photos with --photos.")
    photos = {Path(photo).stem: read_photo(photo) for photo in options.photos or [EXAMPLE]}
    editor = loaded(options)
    editor.check_edit(edits)
    sessions = {name: editor.open(photo) for name, photo in photos.items()}
    with tqdm(total=len(photos) * len(edits), disable=None, unit=" pictures") as bar:
        faces = [
            (name, (session.photo, session.original), counted(partial(editor.render, session), bar))
            for name, session in sessions.items()
        ]
        figure = sequence_sheet(f"{editor.generator.name}: one edit after the other", faces, list(edits.items()))
    save_figure(figure, options.out, about(editor, options))
    return {"photos": list(photos), "edits": edits}


def comparison(options: argparse.Namespace) -> dict[str, Any]:
    """Figure 4: `compare`, without its tables."""
    found = compare.compare(options)
    compare.draw(found, Path(options.out))
    return compare.as_json(found)


def loaded(options: argparse.Namespace) -> Editor:
    """The editor of the generator that was named."""
    networks = {name: getattr(options, name) for name in ("directions", "segmenter", "class_index")}
    return load_editor(options.generator, choose_device(options.device), **networks)


def open_face(options: argparse.Namespace) -> tuple[Editor, Session]:
    """The editor, and the face that is shown: of a photo, or made up. UserError for several photos, or one without."""
    if options.photos and len(options.photos) > 1:
        raise UserError(f"{len(options.photos)} photos are given; this figure shows one face.")
    photo = read_photo(options.photos[0]) if options.photos else None
    seed = spec_of(options.generator).first_seed if options.face is None else options.face
    editor = loaded(options)
    return editor, editor.open(photo) if photo else editor.random_face(seed)


def one_of_each_part(directions: Iterable[Direction]) -> list[str]:
    """The name of the first direction of each group of parts."""
    first: dict[str, str] = {}
    for direction in directions:
        first.setdefault(group_of(direction), direction.name)
    return list(first.values())


def counted(render: Render, bar: tqdm) -> Render:
    """The renderer, which moves a progress bar on."""

    def picture(amounts: Mapping[str, float]) -> Image:
        bar.update()
        return render(amounts)

    return picture


def about(editor: Editor, options: argparse.Namespace) -> str:
    """What the file says about itself."""
    edited = options.photos or options.which == "5"
    return f"{'Photos edited with' if edited else 'Faces made up by'} the generative model {editor.generator.name}."


FIGURES: Mapping[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "1": gallery,
    "3": palette,
    "4": comparison,
    "5": sequence,
}
