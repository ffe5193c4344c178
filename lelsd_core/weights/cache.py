"""Finds the files of named networks on this machine and checks them. No network access.

name  --shipped, LELSD_WEIGHTS, torch's cache, huggingface_hub's cache-->  file  --size, SHA-256-->  path

LELSD_WEIGHTS names a folder with files that were downloaded by other means: FILE, or NAME/FILE for files with general
names such as model.safetensors. A file is hashed once; lelsd.json in the cache of huggingface_hub records the SHA-256
with the file's size and time stamp, and the SHA-256 of files for which the catalogue has none, at their first use.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils import WeakFileLock

from lelsd_core.errors import UserError
from lelsd_core.weights import catalogue
from lelsd_core.weights.catalogue import File, HubSource, Network, Source, TorchvisionSource, find_network

BY_HAND = "LELSD_WEIGHTS"
GENERAL_NAMES = ("config.json", "model.safetensors", "pytorch_model.bin")


def local(name: str) -> Path | None:
    """The path of a network's file if it is on this machine and intact, otherwise None.

    Raises:
        UserError: unknown name; a shipped file that is missing or damaged; a wrong file in the folder LELSD_WEIGHTS.
    """
    network = find_network(name)
    if network.shipped:
        return shipped_file(network)
    if network.weights:
        return local(network.weights)
    if path := next(filter(None, map(local, network.within)), None) or by_hand(network):
        return path
    for source in network.all_sources:
        paths = [cached(source, file) for file in source.files]
        if all(path and not fault_of(path, f, key_of(source, f)) for path, f in zip(paths, source.files, strict=True)):
            return paths[0]
    return None


def shipped_file(network: Network) -> Path:
    """The path of a file that ships, hashed every time. UserError if it is missing or damaged."""
    path, expected = catalogue.CHECKPOINTS / network.shipped.path, network.shipped.sha256
    if not path.is_file():
        raise UserError(f"{path.name} of {network.name} is missing from {path.parent}; get the repository again.")
    if (digest := sha256_of(path)) != expected:
        raise UserError(f"{path.name} of {network.name} is damaged: its SHA-256 is {digest}, expected {expected}.")
    return path


def by_hand(network: Network) -> Path | None:
    """A network's file in the folder LELSD_WEIGHTS, checked against every source with that file name."""
    if not (folder := os.environ.get(BY_HAND)):
        return None
    files = [source.file for source in network.all_sources]
    files += [File(network.by_hand[0])] if network.by_hand else []
    for name in dict.fromkeys(file.name for file in files):
        places = [Path(folder, network.name, name)] + [Path(folder, name)] * (name not in GENERAL_NAMES)
        for path in filter(Path.is_file, places):
            faults = [fault_of(path, file, f"{network.name}/{name}") for file in files if file.name == name]
            if all(faults):
                raise UserError(f"{path} is not {network.name}: {faults[0]}. Replace it, or remove it from {folder}.")
            return path
    return None


def cached(source: Source, file: File) -> Path | None:
    """Where a file of a source lies in the cache of torch or of huggingface_hub, intact or not."""
    if isinstance(source, TorchvisionSource):
        path = torch_cache() / file.name
        return path if path.is_file() else None
    place = try_to_load_from_cache(source.repository, file.path, cache_dir=hub_cache(), revision=source.revision)
    return Path(place) if isinstance(place, str) else None


def torch_cache() -> Path:
    """Where torch.hub caches weights; TORCH_HOME and XDG_CACHE_HOME move it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or Path(cache, "torch")).expanduser() / "hub" / "checkpoints"


def hub_cache() -> Path:
    """The folder that all tools using huggingface_hub share; HF_HOME and HF_HUB_CACHE move it."""
    return Path(constants.HF_HUB_CACHE)


def faults_of(name: str) -> list[str]:
    """What is wrong with the files of a network that are on this machine, one sentence for each damaged file."""
    network = find_network(name)
    try:
        if network.shipped:
            shipped_file(network)
        by_hand(network)
    except UserError as problem:
        return [str(problem)]
    faults = []
    for source in network.all_sources:
        for file in source.files:
            path = cached(source, file)
            if path and (fault := fault_of(path, file, key_of(source, file))):
                faults.append(f"{path}: {fault}")
    return faults


def key_of(source: Source, file: File) -> str:
    """The key under which a file's SHA-256 is recorded at its first use."""
    return f"{source.repository}@{source.revision}/{file.path}" if isinstance(source, HubSource) else source.url


def fault_of(path: Path, file: File, key: str) -> str | None:
    """What is wrong with a file, as the end of a sentence, or None; an unknown SHA-256 is recorded under `key`."""
    size = path.stat().st_size
    if file.bytes and size != file.bytes:
        return f"it has {size:,} bytes, expected {file.bytes:,}"
    digest = sha256_at(path)
    if fault := wrong_hash(digest, file, key):
        return fault
    if file.sha256 is None:
        add_to_record("first use", {key: digest})
    return None


def wrong_hash(digest: str, file: File, key: str) -> str | None:
    """What is wrong with a SHA-256, as the end of a sentence; None if it matches, or no expected one is known."""
    expected = file.sha256 or read_record().get("first use", {}).get(key, digest)
    if digest.startswith(expected):  # torchvision publishes the first digits only
        return None
    advice = f", as at its first use; if the new one is right, delete its line in {record_file()}"
    return f"its SHA-256 is {digest}, expected {expected}{'' if file.sha256 else advice}"


def sha256_at(path: Path) -> str:
    """SHA-256 of a file, which is read only if its size or time stamp changed since it was recorded."""
    key, status = str(path.resolve()), path.stat()
    stamp = [status.st_size, status.st_mtime_ns]
    *recorded, digest = read_record().get("hashed", {}).get(key, [""])
    if recorded != stamp:
        digest = sha256_of(path)
        add_to_record("hashed", {key: [*stamp, digest]})
    return digest


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_file() -> Path:
    """Where SHA-256 are recorded."""
    return hub_cache() / "lelsd.json"


def read_record() -> dict[str, dict[str, Any]]:
    """The recorded SHA-256, by kind and key; empty if there is no file or an unreadable one."""
    try:
        record = json.loads(record_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def add_to_record(kind: str, values: dict[str, Any] | None) -> None:
    """Record values of a kind; None deletes all of the kind. Nothing is recorded in a read-only cache."""
    path = record_file()
    partial = path.with_suffix(".partial")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(path.with_suffix(".lock")):
            record = read_record()
            record[kind] = {} if values is None else record.get(kind, {}) | values
            partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
            os.replace(partial, path)
