"""`weights`: lists, fetches, verifies and converts weights files, and publishes directions."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lelsd_core.errors import UserError, check_file, unknown_name
from lelsd_core.weights.cache import add_to_record, faults_of, local, sha256_at, sha256_of
from lelsd_core.weights.catalogue import CATALOGUE, Network, find_network, generator_spec, needed_by
from lelsd_core.weights.hub import Bar, check_possible, fetch, plan


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run one action."""
    if options.action not in ACTIONS:
        raise UserError(unknown_name("action of weights", options.action, ACTIONS))
    return ACTIONS[options.action](options)


def convert(options: argparse.Namespace) -> dict[str, Any]:
    """IN OUT.safetensors: read a generator in any format, write it as this project's safetensors."""
    if len(options.names) != 2:
        options.usage_error("convert takes two names: IN OUT.safetensors")
    original, target = (Path(name) for name in options.names)
    check_file(target, ".safetensors")
    if not original.exists():
        raise UserError(f"There is no file or folder {original} to convert.")
    from lelsd_core.weights.checkpoints import (
        convert_checkpoint,  # these load torch, which a list does not need
        weights_file,
    )

    source = weights_file(original)
    if target.exists() and target.samefile(source):
        raise UserError(f"{target.name} would overwrite itself; choose another name.")
    facts = convert_checkpoint(source, target, sha256_of(source), options.class_index)
    print(f"{target}: {facts['architecture']}, {facts['resolution']} pixels, from {facts['source']}.")
    return {"out": str(target), "sha256": sha256_of(target), **facts}


def list_weights(options: argparse.Namespace) -> dict[str, Any]:
    """Every network of the catalogue that has a file of its own, and whether that is on this machine."""
    if options.names:
        options.usage_error("list takes no names")
    rows = [row_of(network) for network in with_own_file()]
    table = [("NAME", "KIND", "MB", "HERE", "SHA-256", "LICENCE; TRAINED ON")]
    for row in rows:
        size = f"{row['megabytes']:.0f}" if row["megabytes"] >= 1 else "<1" if row["megabytes"] else "?"
        state = "damaged" if row["fault"] else "here" if row["path"] else "by hand" if row["by_hand"] else "no"
        sha256 = "known" if row["sha256"] else "unseen"
        table.append((row["name"], row["kind"], size, state, sha256, f"{row['licence']}; {row['data']}"))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return {"rows": rows}


def with_own_file() -> list[Network]:
    """All networks that have a file of their own, wherever that comes from."""
    return [each for each in CATALOGUE.values() if each.shipped or each.all_sources or each.by_hand]


def row_of(network: Network) -> dict[str, Any]:
    """One network for people and programs."""
    faults = faults_of(network.name)
    path = None if faults else local(network.name)
    files = [network.shipped] if network.shipped else [source.file for source in network.all_sources]
    shipped_mb = path.stat().st_size / 1e6 if network.shipped and path else 0.0
    estimate = max(0.1, round(3 * network.megabytes / 1000, 1)) if network.megabytes else None
    return {
        **{key: getattr(network, key) for key in ("name", "kind", "about", "licence", "data")},
        "megabytes": network.megabytes or shipped_mb,
        "memory_gb": network.memory or estimate,  # to load and run it, as measured, otherwise three times its file
        "path": path and str(path),
        "fault": "; ".join(faults) or None,
        "sha256": files[0].sha256 if files else None,
        "sources": [str(source) for source in network.all_sources],
        "sure": network.sources[0].sure if network.sources else None,
        "by_hand": network.by_hand and " from ".join(network.by_hand),
        "belongs": list(network.parts),
    }


def fetch_weights(options: argparse.Namespace) -> dict[str, Any]:
    """Download networks by name, with all that they are used with unless --only."""
    if not options.names:
        options.usage_error("fetch takes at least one NAME; `weights list` shows them")
    names: list[str] = []
    for name in options.names:
        if options.only and local(name) is None:
            check_possible(find_network(name))
        if not options.only:
            plan(name)
            names += needed_by(name)
        names.append(name)
    paths = {}
    for name in dict.fromkeys(names):
        paths[name] = str(fetch(name, report=Bar()))
        print(f"{name}: {paths[name]}")
    return {"paths": paths, "by_hand": {}}


def verify(options: argparse.Namespace) -> dict[str, Any]:
    """Hash every file on this machine, or those that are named. UserError if one is damaged."""
    add_to_record("hashed", None)  # so that every file is hashed again
    rows, faults = [], []
    for network in [find_network(name) for name in options.names] or with_own_file():
        name, own_faults = network.name, faults_of(network.name)
        faults += own_faults
        if own_faults:
            continue
        if path := local(name):
            rows.append({"name": name, "path": str(path), "sha256": sha256_at(path)})
            print(f"{name}: intact, SHA-256 {rows[-1]['sha256']}, {path}")
        elif options.names:
            raise UserError(f"{name} is not on this machine; get it with: python -m lelsd_core weights fetch {name}.")
    if faults:
        raise UserError(
            f"Damaged: {'; '.join(fault.rstrip('.') for fault in faults)}. Get published files again with: python -m "
            "lelsd_core weights fetch NAME, and shipped ones with the repository."
        )
    return {"rows": rows}


def push_directions(options: argparse.Namespace) -> dict[str, Any]:
    """REPO: publish a generator's directions; --dry-run shows what would be sent."""
    from lelsd_core.galleries.hub import files_of, push
    from lelsd_core.registry import directions_of

    if len(options.names) != 1:
        options.usage_error("push-directions takes one name: OWNER/NAME of a repository on the Hub")
    (repository,) = options.names
    generator = generator_spec(options.generator)
    directions = directions_of(options.generator, options.directions)
    for direction in directions:
        if direction.generator != options.generator:
            raise UserError(
                f"The direction {direction.name!r} belongs to {direction.generator!r}, not to {options.generator!r}; "
                "name its generator with --generator."
            )
    files = files_of(repository, directions, generator)
    sizes = {name: len(content) for name, content in files.items()}
    listed, commit = ", ".join(f"{name} ({size / 1e3:.0f} kB)" for name, size in sizes.items()), None
    if options.dry_run:
        print(f"{files['README.md'].decode()}\n{repository} would get: {listed}. Nothing was sent.")
    else:
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
