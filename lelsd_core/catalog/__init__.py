"""Published weights by name: where they lie on the Hugging Face Hub, how large they are, what they must hash to.

name  --CATALOG-->  Entry: what it is, licences, what belongs to it  --sources-->  repository, revision, file

Nothing here was guessed. What nobody has stated is "not stated" or None; a SHA-256 that nobody has seen is None, is
recorded when the file is first used, and checked ever after (see `cache`).
"""

from __future__ import annotations

from collections.abc import Mapping

from lelsd_core.catalog.entry import Entry, File, Source
from lelsd_core.catalog.generators import GENERATORS
from lelsd_core.catalog.networks import FACES, INVERTERS, PERCEPTUAL, SEGMENTERS
from lelsd_core.errors import UserError, unknown_name

CATALOG: Mapping[str, Entry] = {**GENERATORS, **INVERTERS, **SEGMENTERS, **PERCEPTUAL, **FACES}

__all__ = ["CATALOG", "Entry", "File", "Source", "entry_of"]


def entry_of(name: str) -> Entry:
    """What is known of published weights. UserError for an unknown name, the nearest names offered."""
    if name not in CATALOG:
        raise UserError(unknown_name("published weights", name, CATALOG))
    return CATALOG[name]
