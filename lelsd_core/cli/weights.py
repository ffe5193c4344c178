"""Handle weights files: list, fetch and check published ones, convert any generator file, publish directions.

python -m lelsd_core weights list
python -m lelsd_core weights fetch ffhq-1024            its encoder and its segmenter, too; --only: the generator alone
python -m lelsd_core weights verify                     hash everything that is here
python -m lelsd_core weights convert stylegan2-ffhq-config-f.pt ffhq-1024.safetensors
python -m lelsd_core weights push-directions me/my-directions --dry-run

Downloads go to the cache that all tools using huggingface_hub share (HF_HOME moves it), and go on where they ended.
Files got by hand are found by name in the folder that the environment variable LELSD_WEIGHTS names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Do it."""
    from lelsd_core.errors import UserError, unknown_name

    if options.action not in ACTIONS:
        raise UserError(unknown_name("action of weights", options.action, ACTIONS))
    return ACTIONS[options.action](options)


def convert(options: argparse.Namespace) -> dict[str, Any]:
    """IN OUT.safetensors: read a generator in any format, write it as this project's safetensors."""
    from lelsd_core.errors import UserError, check_file

    if len(options.names) != 2:
        options.usage_error("convert takes two names: IN OUT.safetensors")
    given, target = (Path(name) for name in options.names)
    check_file(target, ".safetensors")
    if not given.exists():
        raise UserError(f"There is no file or folder {given} to convert.")
    from lelsd_core.weights.cache import sha256_of
    from lelsd_core.weights.checkpoints import convert as convert_file
    from lelsd_core.weights.checkpoints import weights_file

    source = weights_file(given)
    if target.exists() and target.samefile(source):
        raise UserError(f"{target.name} would overwrite itself; choose another name.")
    facts = convert_file(source, target, sha256_of(source))
    print(f"{target}: {facts['architecture']}, {facts['resolution']} pixels, from {facts['source']}.")
    return {"out": str(target), "sha256": sha256_of(target), **facts}


def list_weights(options: argparse.Namespace) -> dict[str, Any]:
    """Every entry of the catalogue, and whether it is here."""
    from lelsd_core.weights.catalogue import CATALOG

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
    from lelsd_core.weights.cache import faults_of, local
    from lelsd_core.weights.catalogue import entry_of

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
    from lelsd_core.weights.cache import local
    from lelsd_core.weights.catalogue import entry_of, needed_by
    from lelsd_core.weights.hub import Bar, check_possible, fetch

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
    from lelsd_core.specs import shipped
    from lelsd_core.weights.cache import forget_hashes
    from lelsd_core.weights.catalogue import CATALOG

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
    from lelsd_core.registry import find
    from lelsd_core.specs import shipped
    from lelsd_core.weights.cache import faults_of, local, sha256_at

    if name in shipped():
        try:
            path, digest, _ = find("weights", name, shipped())
        except UserError as problem:
            return None, [str(problem)]
        return {"name": name, "path": str(path), "sha256": digest}, []
    faults = faults_of(name)
    path = None if faults else local(name)
    return path and {"name": name, "path": str(path), "sha256": sha256_at(path)}, faults


def push_directions(options: argparse.Namespace) -> dict[str, Any]:
    """REPO: publish a generator's directions; --dry-run shows what would be sent."""
    from lelsd_core.errors import UserError
    from lelsd_core.galleries.hub import Origin, files_of, push
    from lelsd_core.registry import directions_of
    from lelsd_core.specs import generator_spec

    if len(options.names) != 1:
        options.usage_error("push-directions takes one name: OWNER/NAME of a repository on the Hub")
    (repository,) = options.names
    spec = generator_spec(options.generator)
    origin = Origin(spec.about, spec.licence, spec.data, spec.repository)
    directions = directions_of(options.generator, options.directions)
    for direction in directions:
        if direction.generator != options.generator:
            raise UserError(
                f"The direction {direction.name!r} belongs to {direction.generator!r}, not to {options.generator!r}; "
                "say whose they are with --generator."
            )
    files = files_of(repository, directions, origin)
    sizes = {name: len(content) for name, content in files.items()}
    listed = ", ".join(f"{name} ({size / 1e3:.0f} kB)" for name, size in sizes.items())
    if options.dry_run:
        print(files["README.md"].decode())
        print(f"{repository} would get: {listed}. Nothing was sent.")
        return {"repository": repository, "files": sizes, "commit": None}
    commit = push(repository, files)
    print(f"{repository} got: {listed}. See {commit}.")
    return {"repository": repository, "files": sizes, "commit": commit}


ACTIONS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "list": list_weights,
    "fetch": fetch_weights,
    "verify": verify,
    "convert": convert,
    "push-directions": push_directions,
}
