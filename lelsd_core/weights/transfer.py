"""Transfers one file from one source into the cache that other tools share, and checks its SHA-256.

source, file  --HEAD: announced size and SHA-256-->  Target  --GET, under a lock-->  partial file  --SHA-256-->  path

The transfer, its retries, its lock and the cache are huggingface_hub's. The partial file is ours: `hf_hub_download`
(2.4.0) begins each call with a new one, so that after a stop or a crash the download would start again at zero bytes.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HTTPError
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers

from lelsd_core.errors import UserError
from lelsd_core.weights.cache import (
    cached,
    fault_of,
    hub_cache,
    key_of,
    remember,
    sha256_of,
    torch_cache,
    wrong_hash,
)
from lelsd_core.weights.catalogue import File, HubSource, TorchvisionSource

ReportBytes = Callable[[int, int], None]  # bytes that have arrived, bytes in all


class WrongFileError(Exception):
    """A source has another file than the known one, or does not send what it announced."""


@dataclass(frozen=True)
class Target:
    """A file as its server announces it, and where it goes.

    Args:
        url: where it is downloaded.
        path, lock: where it goes, and the file that is locked meanwhile.
        file: its size and SHA-256.
        key: under which an unknown SHA-256 was recorded.
        headers: of the request.
    """

    url: str
    path: Path
    lock: Path
    file: File
    key: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def announced(source: HubSource | TorchvisionSource, file: File) -> Target:
    """Ask a source for the headers of a file. WrongFileError if it is not the known one."""
    if isinstance(source, TorchvisionSource):
        size = get_hf_file_metadata(source.url, token=False).size
        lock = hub_cache() / ".locks" / "torchvision" / f"{file.name}.lock"
        return Target(source.url, torch_cache() / file.name, lock, replace(file, bytes=size))
    url = hf_hub_url(source.repository, file.path, revision=source.revision, endpoint=endpoint())
    metadata = get_hf_file_metadata(url, token=token(), endpoint=endpoint())
    etag, size, key = metadata.etag or "", metadata.size, key_of(source, file)
    if not re.fullmatch(r"[\w-]+", etag) or size is None:
        raise WrongFileError("its server tells neither ETag nor size as the Hub does")
    if file.bytes and size != file.bytes:
        raise WrongFileError(f"it has {size:,} bytes, expected {file.bytes:,}")
    sha256 = etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None  # of files in large storage, such as weights
    if sha256 and (fault := wrong_hash(sha256, file, key)):
        raise WrongFileError(fault)
    folder = repo_folder_name(repo_id=source.repository, repo_type="model")
    return Target(
        url,
        hub_cache() / folder / "blobs" / etag,
        hub_cache() / ".locks" / folder / f"{etag}.lock",
        replace(file, sha256=file.sha256 or sha256, bytes=size),
        key,
        {**build_hf_headers(token=token()), "Accept-Encoding": "identity"},
    )


def download(source: HubSource | TorchvisionSource, file: File, report: ReportBytes) -> Path:
    """The path of one file of a source, downloaded from where an earlier try ended.

    Raises:
        UserError: the disk is too full.
        WrongFileError: the source has another file, or sends another one.
        HTTPError, OSError: of the network or the disk; what has arrived is kept.
    """
    target = announced(source, file)
    for path in (target.path, target.lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(target.lock):  # the one that huggingface_hub takes, so that other tools wait, too
        copy = cached(source, file) if isinstance(source, HubSource) else None
        for path in filter(None, (copy, target.path)):
            if path.exists() and fault_of(path, target.file, target.key):
                path.resolve().unlink()
                path.unlink(missing_ok=True)
        if not target.path.exists():
            transfer(target, report)
    if isinstance(source, TorchvisionSource):
        return target.path
    options = {"revision": source.revision, "cache_dir": hub_cache(), "token": token(), "endpoint": endpoint()}
    path = Path(hf_hub_download(source.repository, file.path, **options))  # gives the file its name in the cache
    if fault := fault_of(path, file, target.key):
        raise WrongFileError(fault)
    return path


def transfer(target: Target, report: ReportBytes) -> None:
    """Bring the partial file to its full size; it gets its name only if it is the right file."""
    path, size = target.path.with_name(f"{target.path.name}.incomplete"), target.file.bytes
    start = path.stat().st_size if path.exists() else 0
    if size and start > size:
        path.unlink()
        start = 0
    check_room(target.file, target.file.size - start, path.parent)
    try:
        with open(path, "ab") as file:
            progress = partial(ProgressAdapter, report)
            http_get(
                target.url, file, resume_size=start, headers=target.headers, expected_size=size, tqdm_class=progress
            )
    except OSError as problem:
        if problem.errno or isinstance(problem, HTTPError):
            raise
    arrived, digest = path.stat().st_size, sha256_of(path)
    fault = wrong_hash(digest, target.file, target.key)
    if size and arrived != size:
        fault = f"it sent {arrived:,} bytes, expected {size:,}"
    if not fault:
        os.replace(path, target.path)
        remember(target.path, digest)
        return
    path.unlink()
    if not start:
        raise WrongFileError(fault)
    transfer(target, report)  # perhaps only what an earlier try had left was damaged


class ProgressAdapter:
    """Passes on to a function what huggingface_hub tells a progress bar."""

    def __init__(self, report: ReportBytes, *, total: int | None = None, initial: int = 0, **_: Any) -> None:
        self.report, self.done, self.total = report, initial, total or 0
        report(initial, self.total)

    def update(self, count: int) -> None:
        """So many more bytes have arrived."""
        self.done += count
        self.report(self.done, self.total)

    def __enter__(self) -> ProgressAdapter:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def check_room(file: File, needed: int, folder: Path) -> None:
    """UserError if the disk is too full for the bytes that are still to come."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        variable = "TORCH_HOME" if folder == torch_cache() else "HF_HOME"
        raise UserError(
            f"{file.name} needs {needed / 1e6:,.0f} MB more in {folder}, where {free / 1e6:,.0f} MB are free; "
            f"make room, or set {variable} to a folder on another disk."
        )


def token() -> str | bool:
    """The token of the environment for gated repositories; False, and none is sent, if there is none."""
    return os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or False


def endpoint() -> str | None:
    """The Hub's address; None = the one that huggingface_hub knows."""
    return os.environ.get("HF_ENDPOINT") or None
