"""One file of one repository on the Hugging Face Hub → huggingface_hub's cache, whole or not at all.

url  --HEAD: size and ETag as known?-->  --GET, from where an earlier try ended-->  bytes  --SHA-256-->  file

A file gets its name only when its size and SHA-256 are right, so that no tool ever sees half of it or another one;
until then it lies in BLOB.incomplete, and a download that was cut or killed goes on from there. huggingface_hub's own
download starts again instead; otherwise its functions, locks and layout are used throughout. Always plain HTTP.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lelsd_core.errors import UserError
from lelsd_core.hub.cache import fault_of, hub_cache, key_of, remember, sha256_of, wrong_hash
from lelsd_core.hub.catalog import File, Source

CHUNK = 2**20  # bytes between two reports
Tell = Callable[[int, int], None]  # bytes that are there, bytes in all


class WrongFileError(Exception):
    """A source has another file than the one that is known, or sends other bytes than it said."""


def download(source: Source, file: File, tell: Tell) -> Path:
    """Fetch one file, from where an earlier try ended. WrongFileError if it is not the one that is known."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import WeakFileLock

    key, access = key_of(source, file), {"token": token(), "endpoint": os.environ.get("HF_ENDPOINT") or None}
    url = hf_hub_url(source.repository, file.path, revision=source.revision, endpoint=access["endpoint"])
    promise = get_hf_file_metadata(url, **access)
    known = promised(file, key, promise.etag, promise.size)
    folder = repo_folder_name(repo_id=source.repository, repo_type="model")
    blob = hub_cache() / folder / "blobs" / promise.etag
    lock = hub_cache() / ".locks" / folder / f"{promise.etag}.lock"
    for path in (blob, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):  # huggingface_hub's own, so that other processes and tools wait
        if blob.exists() and fault_of(blob, known, key):
            blob.unlink()
        if not blob.exists():
            bring(url, blob, known, key, tell)
    options = {"revision": source.revision, "cache_dir": hub_cache(), **access}
    path = Path(hf_hub_download(source.repository, file.path, **options))  # finds the bytes and gives them their name
    if fault := fault_of(path, file, key):
        raise WrongFileError(fault)
    return path


def promised(file: File, key: str, etag: str | None, size: int | None) -> File:
    """The file as its server announces it. WrongFileError, before a byte is fetched, if that is not the one known."""
    if not re.fullmatch(r"[\w-]+", etag or "") or size is None:
        raise WrongFileError("its server tells neither ETag nor size as the Hub does")
    if file.bytes and size != file.bytes:
        raise WrongFileError(f"it has {size:,} bytes, expected {file.bytes:,}")
    sha256 = etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None  # of files in large storage, which weights are
    if sha256 and (fault := wrong_hash(sha256, file, key)):
        raise WrongFileError(fault)
    return replace(file, sha256=file.sha256 or sha256, bytes=size)


def bring(url: str, blob: Path, known: File, key: str, tell: Tell) -> None:
    """Fetch what is missing of a file, and all of it if what an earlier try had left turns out to be damaged."""
    partial = blob.with_name(f"{blob.name}.incomplete")
    went_on = partial.exists()
    transfer(url, partial, known, tell)
    try:
        settle(partial, blob, known, key)
    except WrongFileError:
        if not went_on:
            raise
        transfer(url, partial, known, tell)
        settle(partial, blob, known, key)


def transfer(url: str, partial: Path, known: File, tell: Tell) -> None:
    """Bring a partial file to its full size. The network's errors pass through; what has arrived stays."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    size, done = known.size, partial.stat().st_size if partial.exists() else 0
    check_room(known, size - done, partial.parent)
    if done >= size:
        return
    headers = {**build_hf_headers(token=token()), "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={done}-"} if done else {}
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        hf_raise_for_status(response)
        goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        with open(partial, "ab" if goes_on else "wb") as file:
            done = done if goes_on else 0
            tell(done, size)
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
                done += len(chunk)
                tell(done, size)
                if done > size:
                    break
    if done < size:
        raise ConnectionError("the connection broke off")


def check_room(file: File, need: int, folder: Path) -> None:
    """UserError if the disk is too full for what is still to come."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{file.name} needs {need / 1e6:,.0f} MB more in {hub_cache()}, where {free / 1e6:,.0f} MB are free; "
            "make room, or set HF_HOME to a folder on another disk."
        )


def settle(partial: Path, blob: Path, known: File, key: str) -> None:
    """Give a complete file its place in the cache if it is the right one; otherwise it goes, and WrongFileError."""
    size, digest = partial.stat().st_size, sha256_of(partial)
    fault = f"it sent {size:,} bytes, said {known.bytes:,}" if size != known.bytes else wrong_hash(digest, known, key)
    if fault:
        partial.unlink()
        raise WrongFileError(fault)
    os.replace(partial, blob)
    remember(blob, digest)


def token() -> str | bool:
    """What the environment gives to read gated repositories with; False, and none is sent, if it gives none."""
    return os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or False
