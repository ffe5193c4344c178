"""Downloads the files of named networks from the Hugging Face Hub, or from where torchvision publishes its weights.

name  --plan-->  networks to fetch, or a UserError before the first byte
      --each source in turn: HEAD-->  size and SHA-256  --GET, under a lock-->  partial file  --SHA-256-->  path

The requests, the lock and the cache are huggingface_hub's, and other tools share them. The partial file is ours:
`hf_hub_download` (2.4.0) begins each call with a new one, so that after a stop or a crash the download would start
again at zero bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HTTPError
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers
from tqdm import tqdm

from lelsd_core.errors import UserError
from lelsd_core.weights.cache import (
    BY_HAND,
    cached,
    fault_of,
    hub_cache,
    key_of,
    local,
    sha256_of,
    torch_cache,
    wrong_hash,
)
from lelsd_core.weights.catalogue import CATALOGUE, File, Network, Source, TorchvisionSource, find_network, needed_by

Result = TypeVar("Result")
TRIES = 3  # at one source
PAUSE = 1.0  # seconds before a source is tried again, unless its server asks for more
BUSY = (408, 429, 500, 502, 503, 504)  # statuses after which a server may soon answer better
LONGEST_WAIT = 60  # seconds that a server may ask for before the next source is tried
REASONS = {  # status of the answer, or part of an exception's name -> why a source did not work
    401: "it is not there, or needs a token",
    403: "it may not be read with this token",
    404: "it is not there",
    429: "its server asks to wait",
    **dict.fromkeys((500, 502, 503, 504), "its server has trouble"),
    "Timeout": "no answer in time",
    "ConnectError": "no connection",
    "RemoteProtocol": "the connection broke off",
    "ReadError": "the connection broke off",
}


class WrongFileError(Exception):
    """A source has another file than the known one, or does not send what it announced."""


@dataclass(frozen=True)
class DownloadProgress:
    """Progress of a download."""

    name: str  # of the network
    file: str  # name of the file
    done: int  # bytes of this file that have arrived; from `ensure`, of all files
    total: int  # bytes of this file; from `ensure`, of all files


Report = Callable[[DownloadProgress], None]
_reports: dict[str, list[Report]] = defaultdict(list)  # network -> reports of all threads that wait for its file


def missing(name: str, segmenter: str | None = None) -> tuple[str, ...]:
    """Names of the networks that a network is used with, itself included, and that are not on this machine.

    Args:
        name: of any network of the catalogue.
        segmenter: another segmenter than the catalogue's, by name or file.
    """
    names = needed_by(name, segmenter)
    return tuple(part for part in names if not CATALOGUE[part].shipped and local(part) is None)


def plan(name: str, segmenter: str | None = None) -> tuple[str, ...]:
    """The names of `missing`, once it is certain that all of them can be had; nothing is downloaded.

    Raises:
        UserError: unknown name, an optional package is missing, the network is switched off, or a file has no copy
            that can be reached and is the known one.
    """
    for part in needed_by(name, segmenter):
        package = CATALOGUE[part].needs
        if package and find_spec(re.split(r"\W", package)[0]) is None:
            raise UserError(f'{part} needs an optional package; get it with: pip install "{package}"')
    names = missing(name, segmenter)
    for part in names:
        check_possible(CATALOGUE[part])
    for part in names:
        from_any_source(CATALOGUE[part], lambda source: [announced(source, file) for file in source.files])
    return names


def ensure(name: str, segmenter: str | None = None, *, report: Report | None = None) -> None:
    """Download everything that a network is used with and that is not on this machine.

    Args:
        name, segmenter: as for `missing`.
        report: called as bytes arrive, with the bytes of all files together; an exception from it stops the download.

    Raises:
        UserError: as for `plan` before anything is downloaded, as for `fetch` later.
    """
    names = plan(name, segmenter)
    total, before, latest = int(1e6 * sum(CATALOGUE[part].megabytes for part in names)), 0, 0

    def report_sum(progress: DownloadProgress) -> None:
        nonlocal latest
        latest = max(latest, before + progress.done)
        if report:
            report(replace(progress, done=latest, total=max(latest, total)))

    for part in names:
        before += fetch(part, report=report_sum).stat().st_size


def fetch(name: str, *, report: Report | None = None) -> Path:
    """The path of a network's file, downloaded if it is not on this machine.

    Threads and processes that ask for the same file wait until one has downloaded it; threads share its progress.

    Args:
        name: of any network of the catalogue.
        report: called as bytes arrive, on the thread that downloads; an exception from it stops the download.

    Raises:
        UserError: unknown name, no network, no known copy, disk full, or no source had the file, with the reason of
            each. What has arrived is kept for the next try.
    """
    if path := local(name):
        return path
    network = find_network(CATALOGUE[name].weights or name)
    check_possible(network)
    reports, own = _reports[network.name], report or (lambda _: None)

    def report_bytes(file: str, done: int, total: int) -> None:
        for each in list(reports):
            each(DownloadProgress(network.name, file, done, total))

    def download_all(source: Source) -> Path:
        paths = [download(source, file, partial(report_bytes, file.name)) for file in reversed(source.files)]
        return paths[-1]  # the weights come last

    reports.append(own)
    try:
        return from_any_source(network, download_all)
    finally:
        reports.remove(own)


def check_possible(network: Network) -> None:
    """UserError if there is no address to download from, or the network is switched off."""
    if network.by_hand:
        file, address = network.by_hand
        raise UserError(
            f"{network.name} cannot be downloaded from here: get {file} from {address}, and put it into the folder "
            f"that the environment variable {BY_HAND} names, or give its path instead of the name."
        )
    if is_offline():
        cache = torch_cache() if network.torchvision else hub_cache()
        raise UserError(
            f"{network.name} is not on this machine, and the network is switched off (--offline or HF_HUB_OFFLINE). "
            f"Where there is one, run: python -m lelsd_core weights fetch {network.name}. From another machine, copy "
            f"its {cache}, or put {network.all_sources[0].file.name} into the folder that {BY_HAND} names."
        )


def is_offline() -> bool:
    """Whether the network is switched off, now or when huggingface_hub was imported."""
    return constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def from_any_source(network: Network, action: Callable[[Source], Result]) -> Result:
    """The result of an action with the first source for which it works, repeated while a server is only busy.

    Raises:
        UserError: it works for none, with the reason of each, or the disk refuses.
    """
    reasons = []
    for source in network.all_sources:
        for attempt in range(1, TRIES + 1):
            try:
                return action(source)
            except (HTTPError, OSError, WrongFileError) as problem:
                is_network = isinstance(problem, (HTTPError, ConnectionError, TimeoutError))
                if not is_network and (getattr(problem, "errno", 0) or 0) > 0:  # name look-ups count below 0
                    raise UserError(
                        f"{source.file.name} cannot be written to {hub_cache()}: {problem.strerror}; make room there, "
                        "or set HF_HOME to a folder that can be written to."
                    ) from None
                wait = seconds_to_wait(problem)
                if wait is None or attempt == TRIES:
                    reasons.append(f"{source}: {reason_of(problem)}")
                    break
            time.sleep(wait)
    needs_token = any("token" in reason for reason in reasons)
    advice = "set HF_TOKEN to a token that may read it, or " if needs_token else ""
    raise UserError(
        f"{network.name} could not be fetched ({'; '.join(reasons)}); {advice}try again later or from another network, "
        f"or put {network.all_sources[0].file.name} into the folder that the environment variable {BY_HAND} names."
    )


def seconds_to_wait(problem: Exception) -> float | None:
    """Seconds after which the same source may answer better; None if it will not."""
    response = getattr(problem, "response", None)
    if response is None:
        return PAUSE if "ReadError" in type(problem).__name__ else None
    requested = response.headers.get("Retry-After", "")
    wait = float(requested) if requested.isdigit() else PAUSE
    return wait if response.status_code in BUSY and wait <= LONGEST_WAIT else None


def reason_of(problem: Exception) -> str:
    """Why a source did not work, in a few words."""
    if isinstance(problem, FileNotFoundError) and problem.__cause__:
        problem = problem.__cause__
    if isinstance(problem, WrongFileError):
        return str(problem)
    if (response := getattr(problem, "response", None)) is not None:
        gated = response.headers.get("X-Error-Code") == "GatedRepo"
        answer = "it is gated and needs a token" if gated else REASONS.get(response.status_code, "it refused")
        return f"{answer} ({response.status_code})"
    kind = type(problem).__name__
    trouble = next((reason for part, reason in REASONS.items() if str(part) in kind), None)
    return trouble or " ".join(str(problem).split())[:120] or kind


def announced(source: Source, file: File) -> tuple[str, Path, File]:
    """Ask a source for the headers of a file. WrongFileError if it is not the known one.

    Returns:
        The address of the file, its path in the cache, and the file with its size and SHA-256 as far as announced.
    """
    if isinstance(source, TorchvisionSource):
        size = get_hf_file_metadata(source.url, token=False).size
        return source.url, torch_cache() / file.name, replace(file, bytes=size)
    url = hf_hub_url(source.repository, file.path, revision=source.revision, endpoint=endpoint())
    metadata = get_hf_file_metadata(url, token=token(), endpoint=endpoint())
    etag, size = metadata.etag or "", metadata.size
    if not re.fullmatch(r"[\w-]+", etag) or size is None:
        raise WrongFileError("its server tells neither ETag nor size as the Hub does")
    if file.bytes and size != file.bytes:
        raise WrongFileError(f"it has {size:,} bytes, expected {file.bytes:,}")
    sha256 = etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None  # of files in large storage, such as weights
    if sha256 and (fault := wrong_hash(sha256, file, key_of(source, file))):
        raise WrongFileError(fault)
    folder = repo_folder_name(repo_id=source.repository, repo_type="model")
    return url, hub_cache() / folder / "blobs" / etag, replace(file, sha256=file.sha256 or sha256, bytes=size)


def download(source: Source, file: File, report: Callable[[int, int], None]) -> Path:
    """The path of one file of a source, downloaded from where an earlier try ended.

    Raises:
        UserError: the disk is too full.
        WrongFileError: the source has another file, or sends another one.
        HTTPError, OSError: of the network or the disk; what has arrived is kept.
    """
    url, target, expected = announced(source, file)
    key, on_hub = key_of(source, file), not isinstance(source, TorchvisionSource)
    folder = repo_folder_name(repo_id=source.repository, repo_type="model") if on_hub else "torchvision"
    lock = hub_cache() / ".locks" / folder / f"{target.name}.lock"  # the one that huggingface_hub takes
    for path in (target, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        for path in filter(None, (cached(source, file), target)):
            if path.exists() and fault_of(path, expected, key):
                path.resolve().unlink()
                path.unlink(missing_ok=True)
        if target.exists():
            report(target.stat().st_size, target.stat().st_size)
        else:
            headers = build_hf_headers(token=token() if on_hub else False) | {"Accept-Encoding": "identity"}
            transfer(partial(http_get, url, headers=headers), target, expected, key, report)
    if not on_hub:
        return target
    options = {"revision": source.revision, "cache_dir": hub_cache(), "token": token(), "endpoint": endpoint()}
    path = Path(hf_hub_download(source.repository, file.path, **options))  # gives the file its name in the cache
    if fault := fault_of(path, file, key):
        raise WrongFileError(fault)
    return path


def transfer(
    get: Callable[..., None], target: Path, expected: File, key: str, report: Callable[[int, int], None]
) -> None:
    """Bring the partial file to its full size with `http_get`; it gets its name only if it is the right file."""
    path, size = target.with_name(f"{target.name}.incomplete"), expected.bytes
    start = path.stat().st_size if path.exists() else 0
    if size and start > size:
        path.unlink()
        start = 0
    needed, free = expected.size - start, shutil.disk_usage(path.parent).free
    if needed > free:
        raise UserError(
            f"{expected.name} needs {needed / 1e6:,.0f} MB more in {path.parent}, where {free / 1e6:,.0f} MB are free; "
            "make room, or set HF_HOME to a folder on another disk."
        )
    try:
        with open(path, "ab") as file:
            get(file, resume_size=start, expected_size=size, tqdm_class=partial(ProgressAdapter, report))
    except OSError as problem:
        if problem.errno or isinstance(problem, HTTPError):
            raise  # others mean that the size is wrong
    arrived, fault = path.stat().st_size, wrong_hash(sha256_of(path), expected, key)
    if size and arrived != size:
        fault = f"it sent {arrived:,} bytes, expected {size:,}"
    if not fault:
        os.replace(path, target)
        return
    path.unlink()
    if not start:
        raise WrongFileError(fault)
    transfer(get, target, expected, key, report)  # perhaps only what an earlier try had left was damaged


class ProgressAdapter:
    """Passes on to a function what huggingface_hub reports to a progress bar."""

    def __init__(self, report: Callable[[int, int], None], *, total: int | None, initial: int, **_: Any) -> None:
        self.report, self.done, self.total = report, initial, total or 0
        report(initial, self.total)

    def update(self, count: int) -> None:
        self.done += count
        self.report(self.done, self.total)

    def __enter__(self) -> ProgressAdapter:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def token() -> str | bool:
    """The token of the environment for gated repositories; False, and none is sent, if there is none."""
    return os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or False


def endpoint() -> str | None:
    """The Hub's address; None = the one that huggingface_hub knows."""
    return os.environ.get("HF_ENDPOINT") or None


class Bar:
    """A report for the terminal: one bar for each file, and nothing where the output is piped."""

    def __init__(self) -> None:
        self.bars: dict[str, tqdm] = {}

    def __call__(self, progress: DownloadProgress) -> None:
        if progress.file not in self.bars:
            size = {"total": progress.total, "unit": "B", "unit_scale": True}
            self.bars[progress.file] = tqdm(desc=progress.file, disable=None, **size)
        bar = self.bars[progress.file]
        bar.update(progress.done - bar.n)
        if progress.done >= progress.total:
            self.bars.pop(progress.file).close()
