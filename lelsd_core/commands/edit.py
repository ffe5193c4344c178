"""Edit the face of a photo.

    python -m lelsd_core edit photo.jpg edited.png --set mouth=3 --set hair=-4

The whole photo is written with the change added to it; --crop writes the aligned face as the model paints it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("photo", help="JPEG, PNG, WebP, HEIC, BMP or TIFF with a face")
    parser.add_argument("out", help="picture to write; its ending says the format")
    parser.add_argument("--generator", default="digiface-64", help="registry name [%(default)s]")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=AMOUNT", help="how far along a direction; may be repeated"
    )
    parser.add_argument("--recipe", help='JSON file with {"amounts": {NAME: AMOUNT}}; --set goes on top')
    parser.add_argument("--steps", type=int, help="refinement steps of the inversion [as the page]")
    parser.add_argument("--crop", action="store_true", help="write the aligned face instead of the whole photo")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Open the photo, move its codes, write the picture."""
    from lelsd_core.directions import clamp_amounts
    from lelsd_core.image import check_output, write_picture
    from lelsd_core.intake import read_photo
    from lelsd_core.paste import paste_change
    from lelsd_core.registry import load_editor

    wanted = read_recipe(options.recipe) | dict(read_setting(text) for text in options.set)
    check_output(options.out)  # told before the slow work, like everything else that a person can fix
    photo = read_photo(options.photo)
    editor = load_editor(options.generator)
    amounts = clamp_amounts(editor.directions, wanted)
    editor.warm_up()
    session = editor.open(photo, steps=options.steps)
    edited = editor.render(session, amounts)
    write_picture(
        edited if options.crop else paste_change(photo, session.original, edited, session.matrix), options.out
    )
    for name in wanted:
        if amounts[name] != wanted[name]:
            print(f"{name}: {wanted[name]:g} is outside its range; {amounts[name]:g} was used.")
    print(f"{session.note} Inversion error {session.inversion_l1:.3f} in {session.seconds:.1f} s. Wrote {options.out}.")
    return {"inversion_l1": session.inversion_l1, "seconds": session.seconds, "amounts": amounts}


def read_setting(text: str) -> tuple[str, float]:
    """NAME=AMOUNT -> (name, amount). UserError if it is something else."""
    from lelsd_core.errors import UserError

    name, _, amount = text.partition("=")
    try:
        return name.strip(), float(amount)
    except ValueError:
        raise UserError(f"--set takes NAME=AMOUNT such as mouth=2.5, got {text!r}.") from None


def read_recipe(path: str | None) -> dict[str, float]:
    """The amounts of a recipe file; none without a file. UserError if it is not a recipe."""
    from lelsd_core.errors import UserError

    if path is None:
        return {}
    try:
        amounts = json.loads(Path(path).read_text(encoding="utf-8"))["amounts"]
        return {str(name): float(amount) for name, amount in amounts.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f'{path} is not a recipe; it should hold {{"amounts": {{"mouth": 2.5}}}}.') from None
