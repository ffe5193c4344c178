"""Where published weights lie on this machine, and whether they are whole. No network.

name  --LELSD_WEIGHTS, then the shared cache of huggingface_hub-->  file  --size, SHA-256-->  path

A file is hashed once; its size and time stamp tell later that it is still the same. These notes, and the SHA-256 of
files that nobody had seen before, are in lelsd.json in the cache folder. Files got by hand lie in the folder that the
environment variable LELSD_WEIGHTS names: FILE, or NAME/FILE, which files called model.safetensors and the like need.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lelsd_core.errors import UserError
from lelsd_core.weights.catalogue import Entry, File, HubSource, entry_of

BY_HAND = "LELSD_WEIGHTS"
GENERAL_NAMES = ("config.json", "model.safetensors", "pytorch_model.bin")  # of many files: found as NAME/FILE only
_writing = threading.Lock()


def local(name: str) -> Path | None:
    """The path of published weights if they are on this machine and whole, otherwise None.

    Raises:
        UserError: unknown name, or a file in the folder LELSD_WEIGHTS that is damaged or another one.
    """
    entry = entry_of(name)
    for holder in entry.within:
        if path := local(holder):
            return path
    return by_hand(name, entry) or next(filter(None, map(in_cache, entry.sources)), None)


def by_hand(name: str, entry: Entry) -> Path | None:
    """The file that somebody put into the folder LELSD_WEIGHTS, if any; checked against every source of that name."""
    if not (folder := os.environ.get(BY_HAND)):
        return None
    wanted: dict[str, list[File]] = {entry.by_hand[0]: [File(entry.by_hand[0])]} if entry.by_hand else {}
    for source in entry.sources:
        wanted.setdefault(source.file.name, []).append(source.file)
    for file_name, choices in wanted.items():
        places = [Path(folder, name, file_name)]
        places += [Path(folder, file_name)] if file_name not in GENERAL_NAMES else []
        for path in filter(Path.is_file, places):
            faults = [fault_of(path, file, f"{name}/{file_name}") for file in choices]
            if all(faults):
                raise UserError(f"{path} is not {name}: {faults[0]}. Get it again, or take it out of {folder}.")
            return path
    return None


def in_cache(source: HubSource) -> Path | None:
    """The file of a source in huggingface_hub's cache, if it and all that belongs beside it are whole."""
    paths = [cached(source, file) for file in source.files]
    whole = all(p and not fault_of(p, f, key_of(source, f)) for p, f in zip(paths, source.files, strict=True))
    return paths[0] if whole else None


def faults_of(name: str) -> list[str]:
    """Files of an entry that are here and damaged, each with what is wrong with it."""
    entry = entry_of(name)
    try:
        by_hand(name, entry)
    except UserError as problem:
        return [str(problem)]
    copies = [(cached(source, file), file, key_of(source, file)) for source in entry.sources for file in source.files]
    faults = [(path, fault_of(path, file, key)) for path, file, key in copies if path]
    return [f"{path}: {fault}" for path, fault in faults if fault]


def cached(source: HubSource, file: File) -> Path | None:
    """Where a file lies in huggingface_hub's cache, whole or not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source.repository, file.path, cache_dir=hub_cache(), revision=source.revision)
    return Path(found) if isinstance(found, str) else None


def hub_cache() -> Path:
    """The folder that every tool using huggingface_hub shares; HF_HOME and HF_HUB_CACHE move it."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def key_of(source: HubSource, file: File) -> str:
    """Under which a file's SHA-256 is recorded at its first use."""
    return f"{source.repository}@{source.revision}/{file.path}"


def fault_of(path: Path, file: File, key: str) -> str | None:
    """What is wrong with a file, as the end of a sentence; None if nothing. An unseen SHA-256 is recorded."""
    size = path.stat().st_size
    if file.bytes and size != file.bytes:
        return f"it has {size:,} bytes, expected {file.bytes:,}"
    found = sha256_at(path)
    if fault := wrong_hash(found, file, key):
        return fault
    if file.sha256 is None:
        note("first use", key, found)
    return None


def wrong_hash(found: str, file: File, key: str) -> str | None:
    """What is wrong with a SHA-256, as the end of a sentence; None if it is the known one, or none is known."""
    recorded = read_record().get("first use", {}).get(key)
    if found == (file.sha256 or recorded or found):
        return None
    where = "" if file.sha256 else f", as at its first use; if the new one is right, delete its line in {record_file()}"
    return f"its SHA-256 is {found}, expected {file.sha256 or recorded}{where}"


def sha256_at(path: Path) -> str:
    """SHA-256 of a file, which is read only if its size or time stamp is new."""
    known = read_record().get("hashed", {}).get(str(path.resolve()))
    if known and known[:2] == stamp_of(path):
        return known[2]
    digest = sha256_of(path)
    remember(path, digest)
    return digest


def forget_hashes() -> None:
    """Every file will be hashed anew when it is next looked at."""
    rewrite(lambda record: record.pop("hashed", None))


def remember(path: Path, digest: str) -> None:
    """Note a file's SHA-256, and by what to tell that it is still the same file."""
    note("hashed", str(path.resolve()), [*stamp_of(path), digest])


def stamp_of(path: Path) -> list[int]:
    """Size and time of the last change of a file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def record_file() -> Path:
    """Where the notes are."""
    return hub_cache() / "lelsd.json"


def read_record() -> dict[str, Any]:
    """The notes; none if there is no file or an unreadable one."""
    try:
        record = json.loads(record_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def note(kind: str, key: str, value: Any) -> None:
    """Add to the notes."""
    rewrite(lambda record: record.setdefault(kind, {}).update({key: value}))


def rewrite(change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the notes; in a cache that is read-only nothing is noted, and files are hashed every time."""
    from huggingface_hub.utils import WeakFileLock

    path = record_file()
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _writing, WeakFileLock(path.with_suffix(".lock")):
            record = read_record()
            change(record)
            partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
            os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
