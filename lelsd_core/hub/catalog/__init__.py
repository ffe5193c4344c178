"""Published weights by name: where they lie on the Hugging Face Hub, how large they are, what they must hash to.

name  --CATALOG-->  Entry: what it is, licences, what belongs to it  --sources-->  repository, revision, file

Nothing here was guessed. What nobody has stated is "not stated" or None; a SHA-256 that nobody has seen is None, is
recorded when the file is first used, and checked ever after (see `cache`).
"""

from __future__ import annotations

from collections.abc import Mapping

from lelsd_core.errors import UserError, unknown_name
from lelsd_core.hub.catalog.entry import Entry, File, Source
from lelsd_core.hub.catalog.generators import GENERATORS
from lelsd_core.hub.catalog.networks import FACES, INVERTERS, PERCEPTUAL, SEGMENTERS

CATALOG: Mapping[str, Entry] = {**GENERATORS, **INVERTERS, **SEGMENTERS, **PERCEPTUAL, **FACES}

__all__ = ["CATALOG", "Entry", "File", "Source", "entry_of", "names_of", "needed_by"]


def entry_of(name: str) -> Entry:
    """What is known of published weights. UserError for an unknown name, the nearest names offered."""
    if name not in CATALOG:
        raise UserError(unknown_name("published weights", name, CATALOG))
    return CATALOG[name]


def names_of(kind: str) -> tuple[str, ...]:
    """Names of all entries of a kind."""
    return tuple(name for name, entry in CATALOG.items() if entry.kind == kind)


def needed_by(name: str) -> tuple[str, ...]:
    """Names of all that published weights are used with, themselves last unless another of these holds them."""
    entry = entry_of(name)
    return entry.parts if set(entry.parts) & set(entry.within) else (*entry.parts, name)
