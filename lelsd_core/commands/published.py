"""What `weights` does with published weights: list what there is, fetch, check what is here."""

from __future__ import annotations

import argparse
from typing import Any


def list_weights(options: argparse.Namespace) -> dict[str, Any]:
    """Every entry of the catalogue, and whether it is here."""
    from lelsd_core.hub import CATALOG

    if options.names:
        options.usage_error("list takes no names")
    rows = [row_of(name) for name in CATALOG]
    table = [("NAME", "KIND", "MB", "HERE", "SHA-256", "LICENCE; TRAINED ON")]
    for row in rows:
        size = f"{row['megabytes']:.0f}" if row["megabytes"] >= 1 else "<1" if row["megabytes"] else "?"
        here = "damaged" if row["fault"] else "here" if row["path"] else "by hand" if row["by_hand"] else "no"
        known = "known" if row["sha256"] else "unseen"
        table.append((row["name"], row["kind"], size, here, known, f"{row['licence']}; {row['data']}"))
    widths = [max(len(line[i]) for line in table) for i in range(5)]
    for *cells, last in table:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]))
    print("digiface-64, all that belongs to it, and the two networks that find faces ship with the project.")
    return {"rows": rows}


def row_of(name: str) -> dict[str, Any]:
    """One entry for people and programs."""
    from lelsd_core.hub import entry_of
    from lelsd_core.hub.cache import faults_of, local

    entry, faults = entry_of(name), faults_of(name)
    path = None if faults else local(name)
    return {
        "name": name,
        "kind": entry.kind,
        "about": entry.about,
        "megabytes": entry.megabytes,
        "memory_gb": entry.memory_gb,
        "licence": entry.licence,
        "data": entry.data,
        "path": path and str(path),
        "fault": "; ".join(faults) or None,
        "sha256": entry.sources[0].file.sha256 if entry.sources else None,
        "sources": [str(source) for source in entry.sources],
        "sure": entry.sources[0].sure if entry.sources else None,
        "by_hand": entry.by_hand and " from ".join(entry.by_hand),
        "belongs": list(entry.parts),
    }


def fetch_weights(options: argparse.Namespace) -> dict[str, Any]:
    """Download by name, with all that belongs to a generator unless told otherwise."""
    from lelsd_core.hub import Bar, entry_of, fetch, local, needed_by
    from lelsd_core.hub.download import check_possible

    if not options.names:
        options.usage_error("fetch takes at least one NAME; `weights list` tells which there are")
    wanted = [part for name in options.names for part in ((name,) if options.only else needed_by(name))]
    for name in options.names:
        if local(name) is None:
            check_possible(name, entry_of(name))  # before hours of other downloads
    paths, by_hand = {}, {}
    for name in dict.fromkeys((*wanted, *options.names)):
        entry = entry_of(name)
        if entry.by_hand and name not in options.names and local(name) is None:
            by_hand[name] = " from ".join(entry.by_hand)
            print(f"{name}: the Hub has no copy that is known; if you want it, get {by_hand[name]}.")
            continue
        paths[name] = str(fetch(name, report=Bar()))
        print(f"{name}: {paths[name]}")
    return {"paths": paths, "by_hand": by_hand}


def verify(options: argparse.Namespace) -> dict[str, Any]:
    """Hash every file that ships or is here, or those that are named. UserError if one is not what it should be."""
    from lelsd_core.errors import UserError, unknown_name
    from lelsd_core.hub import CATALOG
    from lelsd_core.hub.cache import forget_hashes
    from lelsd_core.specs import shipped

    known = dict.fromkeys((*shipped(), *CATALOG))
    for name in options.names:
        if name not in known:
            raise UserError(unknown_name("weights", name, known))
    forget_hashes()
    rows, faults = [], []
    for name in options.names or known:
        row, wrong = verified(name)
        faults += wrong
        if row:
            rows.append(row)
            print(f"{name}: whole, SHA-256 {row['sha256']}, {row['path']}")
        elif not wrong and options.names:
            raise UserError(f"{name} is not on this machine; get it with: python -m lelsd_core weights fetch {name}.")
    if faults:
        raise UserError(
            f"Damaged: {'; '.join(fault.rstrip('.') for fault in faults)}. Get what was published with: python -m "
            "lelsd_core weights fetch NAME, and what ships with the repository."
        )
    return {"rows": rows}


def verified(name: str) -> tuple[dict[str, str] | None, list[str]]:
    """Name, path and SHA-256 of weights that are here and whole, or None; and what is wrong with those that are not."""
    from lelsd_core.errors import UserError
    from lelsd_core.hub.cache import faults_of, local, sha256_at
    from lelsd_core.registry import find
    from lelsd_core.specs import shipped

    if name in shipped():
        try:
            path, digest, _ = find("weights", name, shipped())
        except UserError as problem:
            return None, [str(problem)]
        return {"name": name, "path": str(path), "sha256": digest}, []
    faults = faults_of(name)
    path = None if faults else local(name)
    return path and {"name": name, "path": str(path), "sha256": sha256_at(path)}, faults
