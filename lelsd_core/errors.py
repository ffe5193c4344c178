"""The one exception a person sees: what is wrong, what was given, what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

MOST = 30  # names that a sentence lists


class UserError(ValueError):
    """Something that a person can put right; shown without a traceback on the page and on the command line."""


def check_folder(target: Path) -> None:
    """UserError if there is no folder to write to."""
    if not target.resolve().parent.is_dir():
        raise UserError(f"There is no folder {target.resolve().parent} to write {target.name} to.")


def check_file(target: Path, *endings: str) -> None:
    """UserError if no file can be written there: a name without one of these endings, a folder, or none to hold it."""
    if endings and target.suffix.lower() not in endings:
        raise UserError(f"{target.name} must end in {' or '.join(endings)}.")
    check_folder(target)
    if target.is_dir():
        raise UserError(f"{target} is a folder; give the name of a file to write.")


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """One sentence for a name that does not exist, the nearest names first."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    some = f"{', '.join(names[:MOST])} and {len(names) - MOST} more" if len(names) > MOST else ", ".join(names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {some or 'none'}."
    return f"There is no {kind} named {str(name)!r}; {hint}"
