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
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils import WeakFileLock

from lelsd_core.errors import UserError
from lelsd_core.weights import catalogue
from lelsd_core.weights.catalogue import File, HubSource, Network, find_network

BY_HAND = "LELSD_WEIGHTS"
GENERAL_NAMES = ("config.json", "model.safetensors", "pytorch_model.bin")
_record_lock = threading.Lock()


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
    for holder in network.within:
        if path := local(holder):
            return path
    return by_hand(network) or in_torch_cache(network) or next(filter(None, map(in_hub_cache, network.sources)), None)


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


def in_torch_cache(network: Network) -> Path | None:
    """A file that torchvision downloaded, if it is intact."""
    if not network.torchvision:
        return None
    path = torch_cache() / network.torchvision.file.name
    return path if path.is_file() and not fault_of(path, network.torchvision.file, "") else None


def torch_cache() -> Path:
    """Where torch.hub caches weights; TORCH_HOME and XDG_CACHE_HOME move it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or Path(cache, "torch")).expanduser() / "hub" / "checkpoints"


def in_hub_cache(source: HubSource) -> Path | None:
    """The file of a source in huggingface_hub's cache, if it and the files beside it are intact."""
    paths = [cached(source, file) for file in source.files]
    intact = all(p and not fault_of(p, f, key_of(source, f)) for p, f in zip(paths, source.files, strict=True))
    return paths[0] if intact else None


def cached(source: HubSource, file: File) -> Path | None:
    """Where a file lies in huggingface_hub's cache, intact or not."""
    path = try_to_load_from_cache(source.repository, file.path, cache_dir=hub_cache(), revision=source.revision)
    return Path(path) if isinstance(path, str) else None


def faults_of(name: str) -> list[str]:
    """What is wrong with the files of a network that are on this machine, one sentence for each damaged file."""
    network = find_network(name)
    try:
        if network.shipped:
            shipped_file(network)
        by_hand(network)
    except UserError as problem:
        return [str(problem)]
    copies = [(cached(source, file), file, key_of(source, file)) for source in network.sources for file in source.files]
    if network.torchvision:
        copies.append((torch_cache() / network.torchvision.file.name, network.torchvision.file, ""))
    faults = [(path, fault_of(path, file, key)) for path, file, key in copies if path and path.is_file()]
    return [f"{path}: {fault}" for path, fault in faults if fault]


def hub_cache() -> Path:
    """The folder that all tools using huggingface_hub share; HF_HOME and HF_HUB_CACHE move it."""
    return Path(constants.HF_HUB_CACHE)


def key_of(source: HubSource, file: File) -> str:
    """The key under which a file's SHA-256 is recorded at its first use."""
    return f"{source.repository}@{source.revision}/{file.path}"


def fault_of(path: Path, file: File, key: str) -> str | None:
    """What is wrong with a file, as the end of a sentence, or None; an unknown SHA-256 is recorded under `key`."""
    size = path.stat().st_size
    if file.bytes and size != file.bytes:
        return f"it has {size:,} bytes, expected {file.bytes:,}"
    digest = sha256_at(path)
    if fault := wrong_hash(digest, file, key):
        return fault
    if file.sha256 is None:
        add_to_record("first use", key, digest)
    return None


def wrong_hash(digest: str, file: File, key: str) -> str | None:
    """What is wrong with a SHA-256, as the end of a sentence; None if it matches, or no expected one is known."""
    recorded = read_record().get("first use", {}).get(key)
    expected = file.sha256 or recorded or digest
    if digest.startswith(expected):  # torchvision publishes the first digits only
        return None
    advice = (
        "" if file.sha256 else f", as at its first use; if the new one is right, delete its line in {record_file()}"
    )
    return f"its SHA-256 is {digest}, expected {expected}{advice}"


def sha256_at(path: Path) -> str:
    """SHA-256 of a file, which is read only if its size or time stamp changed since it was recorded."""
    record = read_record().get("hashed", {}).get(str(path.resolve()))
    if record and record[:2] == stamp_of(path):
        return record[2]
    digest = sha256_of(path)
    remember(path, digest)
    return digest


def remember(path: Path, digest: str) -> None:
    """Record a file's SHA-256 with its size and time stamp."""
    add_to_record("hashed", str(path.resolve()), [*stamp_of(path), digest])


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp_of(path: Path) -> list[int]:
    """Size and time of the last change of a file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def forget_hashes() -> None:
    """Make every file be hashed again at its next check."""
    change_record(lambda record: record.pop("hashed", None))


def record_file() -> Path:
    """Where SHA-256 are recorded."""
    return hub_cache() / "lelsd.json"


def read_record() -> dict[str, Any]:
    """The recorded SHA-256; empty if there is no file or an unreadable one."""
    try:
        record = json.loads(record_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def add_to_record(kind: str, key: str, value: Any) -> None:
    """Record one value."""
    change_record(lambda record: record.setdefault(kind, {}).update({key: value}))


def change_record(change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the record; in a read-only cache nothing is recorded, and files are hashed every time."""
    path = record_file()
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _record_lock, WeakFileLock(path.with_suffix(".lock")):
            record = read_record()
            change(record)
            partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
            os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
