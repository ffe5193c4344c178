"""Fetching published weights from the Hugging Face Hub into the cache that other tools share.

name  --local?-->  path
      --each source in turn, until one has the right file (see `transfer`)-->  path
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lelsd_core.errors import UserError
from lelsd_core.weights.cache import (
    BY_HAND,
    cached,
    fault_of,
    hub_cache,
    key_of,
    local,
    remember,
    sha256_of,
    wrong_hash,
)
from lelsd_core.weights.catalogue import Entry, File, HubSource, entry_of

TRIES = 3  # in a row that bring no new byte, at one source
LONGEST_WAIT = 60  # seconds that a server may ask for before the next source is tried
PAUSE = 1.0  # seconds before a source is tried again, unless it says how many
ANSWERS = {
    401: "it is not there, or wants a token",
    403: "it may not be read with this token",
    404: "it is not there",
    429: "its server asks to wait",
    **dict.fromkeys((500, 502, 503, 504), "its server has trouble"),
}
TROUBLES = {
    "Timeout": "no answer in time",
    "ConnectError": "no connection",
    "RemoteProtocol": "the connection broke off",
}
TRUE = ("1", "ON", "YES", "TRUE")  # what huggingface_hub takes for yes


@dataclass(frozen=True)
class Progress:
    """How far a download is: the entry's name, the file's, and bytes."""

    name: str
    file: str
    done: int
    total: int


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Download:
    """A download under way, for everybody who asked for it."""

    result: Future[Path] = field(default_factory=Future)
    reports: list[Report] = field(default_factory=list)

    def tell(self, progress: Progress) -> None:
        """Pass progress on."""
        for report in list(self.reports):
            report(progress)


class Bar:
    """A report for the terminal: one bar for each file, nothing where the output is piped."""

    def __init__(self) -> None:
        self.bars: dict[str, Any] = {}

    def __call__(self, progress: Progress) -> None:
        from tqdm import tqdm

        if progress.file not in self.bars:
            size = {"total": progress.total, "unit": "B", "unit_scale": True}
            self.bars[progress.file] = tqdm(desc=progress.file, disable=None, **size)
        bar = self.bars[progress.file]
        bar.update(progress.done - bar.n)
        if progress.done >= progress.total:
            self.bars.pop(progress.file).close()


_running: dict[str, Download] = {}
_guard = threading.Lock()


def fetch(name: str, *, report: Report | None = None) -> Path:
    """The path of published weights, downloaded if they are not here. Requests for the same name share one download.

    Args:
        name: key of `catalog.CATALOG`.
        report: called as bytes arrive, on the thread that downloads; an exception from it ends the download.

    Raises:
        UserError: unknown name; no copy on the Hub; network switched off; disk full; or no source had the file, and
            then why, one by one. What has arrived stays for the next try.
    """
    entry = entry_of(name)
    if path := local(name):
        return path
    check_possible(name, entry)
    with _guard:
        mine = name not in _running
        shared = _running.setdefault(name, Download())
        shared.reports.extend([report] if report else [])
    if mine:
        try:
            shared.result.set_result(from_any_source(name, entry, shared.tell))
        except BaseException as problem:
            shared.result.set_exception(problem)
            raise
        finally:
            with _guard:
                del _running[name]
    return shared.result.result()


def check_possible(name: str, entry: Entry) -> None:
    """UserError if there is nowhere to fetch from, or no network to fetch through."""
    if entry.by_hand:
        file, address = entry.by_hand
        raise UserError(
            f"The Hub has no copy of {name} that is known: get {file} from {address}, and put it into the folder that "
            f"the environment variable {BY_HAND} names, or give its path instead of the name."
        )
    if is_offline():
        raise UserError(
            f"{name} is not on this machine, and the network is switched off (--offline or HF_HUB_OFFLINE); where "
            f"there is one, run: python -m lelsd_core weights fetch {name}. From another machine, copy its "
            f"{hub_cache()} here, or put {entry.sources[0].file.name} into the folder that {BY_HAND} names."
        )


def is_offline() -> bool:
    """Whether the network is switched off, now or when huggingface_hub was imported."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in TRUE


def from_any_source(name: str, entry: Entry, tell: Report) -> Path:
    """Try the sources in their order. UserError with everybody's reason if none has the file."""
    from huggingface_hub.errors import HTTPError

    reasons = []
    for source in entry.sources:
        try:
            return [from_source(name, source, file, tell) for file in reversed(source.files)][-1]
        except (HTTPError, OSError, WrongFileError) as problem:
            if fault := fault_of_machine(problem):
                raise UserError(
                    f"{source.file.name} cannot be written to {hub_cache()}: {fault}; make room there, or set HF_HOME "
                    "to a folder that can be written to."
                ) from None
            reasons.append((source, why(problem)))
    tried = "; ".join(f"{source}: {reason}" for source, reason in reasons)
    wants_token = any("token" in reason for _, reason in reasons)
    advice = "set HF_TOKEN to a token of somebody who may read it, or " if wants_token else ""
    raise UserError(
        f"{name} could not be fetched ({tried}); {advice}try again later or from another network, or put "
        f"{entry.sources[0].file.name} into the folder that the environment variable {BY_HAND} names."
    )


def from_source(name: str, source: HubSource, file: File, tell: Report) -> Path:
    """One file of one source; a connection that breaks is taken up again, and a busy server is waited for."""
    from huggingface_hub.errors import HTTPError

    if (path := cached(source, file)) and fault_of(path, file, key_of(source, file)):
        path.resolve().unlink()  # damaged since; it must not stand in the way of a whole one
        path.unlink(missing_ok=True)
    failures, arrived = 0, 0

    def count(done: int, total: int) -> None:
        nonlocal failures, arrived
        failures, arrived = (0, done) if done > arrived else (failures, arrived)
        tell(Progress(name, file.name, done, total))

    while True:
        try:
            return download(source, file, count)
        except (HTTPError, OSError) as problem:
            failures += 1
            wait = patience(problem, arrived)
            if wait is None or failures >= TRIES:
                raise
            time.sleep(wait)


def patience(problem: Exception, arrived: int) -> float | None:
    """Seconds after which the same source may answer better; None if it will not."""
    from huggingface_hub.errors import HTTPError

    response = getattr(problem, "response", None)
    if response is None:
        broke_off = arrived and isinstance(problem, (HTTPError, ConnectionError))
        return PAUSE if broke_off else None
    if response.status_code == 429:
        asked = response.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdigit() else PAUSE
        return wait if wait <= LONGEST_WAIT else None
    return PAUSE if response.status_code in (408, 500, 502, 503, 504) else None


def fault_of_machine(problem: Exception) -> str | None:
    """What this machine's own disk says, which no other source would change; None for faults of the network."""
    network = isinstance(problem, (ConnectionError, TimeoutError)) or getattr(problem, "response", None) is not None
    if network or not isinstance(problem, OSError) or (problem.errno or 0) <= 0:  # getaddrinfo counts below 0
        return None
    return problem.strerror


def why(problem: Exception) -> str:
    """Why a source did not work, in a few words."""
    problem = problem.__cause__ if isinstance(problem, FileNotFoundError) and problem.__cause__ else problem
    if isinstance(problem, WrongFileError):
        return str(problem)
    if (response := getattr(problem, "response", None)) is not None:
        gated = response.headers.get("X-Error-Code") == "GatedRepo"
        said = "it is gated and wants a token" if gated else ANSWERS.get(response.status_code, "it refused")
        return f"{said} ({response.status_code})"
    kind = type(problem).__name__
    for word, said in TROUBLES.items():
        if word in kind:
            return said
    return " ".join(str(problem).split())[:120] or kind


CHUNK = 2**20  # bytes between two reports
Tell = Callable[[int, int], None]  # bytes that are there, bytes in all


class WrongFileError(Exception):
    """A source has another file than the one that is known, or sends other bytes than it said."""


def download(source: HubSource, file: File, tell: Tell) -> Path:
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
