"""`UserError`, the exception for what users can fix: what is wrong, what was given, what would be right."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_NAMES = 30  # names listed in a message


class UserError(ValueError):
    """An error that the user can fix; the page and the command line show its message without a traceback."""


class RefusedError(ValueError):
    """A file that is not read, or not used; the text says why, and goes on after "because"."""


def check_folder(target: Path) -> None:
    """UserError if the folder that `target` would be written to does not exist."""
    if not target.resolve().parent.is_dir():
        raise UserError(f"There is no folder {target.resolve().parent} to write {target.name} to.")


def check_file(target: Path, *endings: str) -> None:
    """UserError if no file can be written to `target`: not one of these endings, a missing folder, or a folder."""
    if endings and target.suffix.lower() not in endings:
        raise UserError(f"{target.name} must end in {' or '.join(endings)}.")
    check_folder(target)
    if target.is_dir():
        raise UserError(f"{target} is a folder; give the name of a file to write.")


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the errors of the file system while a file is written into a UserError."""
    try:
        yield
    except OSError as problem:
        raise UserError(f"{os.fspath(path)} cannot be written: {problem.strerror or problem}.") from None


@contextmanager
def reading(name: str, expected: str) -> Iterator[None]:
    """Turn every exception while a file is read into a UserError with its name and what was expected.

    What other libraries say is left out: it speaks of their own functions, not of the file.
    """
    try:
        yield
    except UserError:
        raise
    except RefusedError as problem:
        raise UserError(f"{name} was refused because {problem}; {expected}.") from None
    except KeyError as problem:
        raise UserError(f"{name} is incomplete, {printable(problem.args[0])!r} is missing; {expected}.") from None
    except Exception:  # a damaged file can break a reader anywhere
        raise UserError(f"{name} is damaged, incomplete or foreign; {expected}.") from None


def print_anything() -> None:
    """Let this process print any text: signs that its output's encoding lacks are written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a test's may have no encoding
            stream.reconfigure(errors="backslashreplace")


def printable(text: object) -> str:
    """The start of a text from a file, in one line and without control characters."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(text)[:60])


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """The message for an unknown name, with the nearest known names, or all of them.

    Args:
        kind: what the name stands for: "direction", "device".
        name: as the user gave it.
        known: all names that exist.
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    listed = ", ".join(names[:MAX_NAMES]) + more or "none"
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {listed}."
    return f"There is no {kind} named {str(name)!r}; {hint}"
