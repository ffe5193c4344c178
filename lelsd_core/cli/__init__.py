"""The command line: `parser` holds all flags; each command is a module with `run(options) -> JSON object`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(total: int, label: str = "", unit: str = "it") -> tqdm:
    """A progress bar on stderr, to be used in a `with`; silent where stderr is no terminal."""
    from tqdm import tqdm  # `--help` needs no package

    return tqdm(total=total, desc=label or None, unit=unit, disable=None)
