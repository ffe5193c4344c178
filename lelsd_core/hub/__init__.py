"""Published weights by name: what there is (`catalog`), what is here (`cache`), and how the rest comes (`download`).

name  --entry_of-->  Entry  --local-->  path, or  --fetch-->  path
"""

from lelsd_core.hub.cache import local
from lelsd_core.hub.catalog import CATALOG, Entry, File, Source, entry_of, names_of, needed_by
from lelsd_core.hub.download import Bar, Progress, fetch, is_offline, why

__all__ = [
    "CATALOG",
    "Bar",
    "Entry",
    "File",
    "Progress",
    "Source",
    "entry_of",
    "fetch",
    "is_offline",
    "local",
    "names_of",
    "needed_by",
    "why",
]
