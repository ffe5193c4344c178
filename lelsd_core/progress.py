"""Progress of slow work on the command line: a bar for a person, nothing for a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(total: int, label: str = "", unit: str = "it") -> tqdm:
    """A bar on stderr, for a `with`; quiet where stderr is no terminal."""
    from tqdm import tqdm

    return tqdm(total=total, desc=label or None, unit=unit, disable=None)
