"""Downloads the files of named networks from the Hugging Face Hub, or from where torchvision publishes its weights.

name  --plan-->  networks to fetch, or a UserError before the first byte
      --each source in turn, see `transfer`-->  a cache that other tools share
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import constants
from huggingface_hub.errors import HTTPError

from lelsd_core.errors import UserError
from lelsd_core.weights.cache import BY_HAND, hub_cache, local, torch_cache
from lelsd_core.weights.catalogue import (
    CATALOGUE,
    File,
    HubSource,
    Network,
    TorchvisionSource,
    find_network,
    needed_by,
)
from lelsd_core.weights.transfer import WrongFileError, announced, download

Result = TypeVar("Result")
TRIES = 3  # at one source
PAUSE = 1.0  # seconds before a source is tried again, unless its server asks for more
LONGEST_WAIT = 60  # seconds that a server may ask for before the next source is tried
ANSWERS = {
    401: "it is not there, or needs a token",
    403: "it may not be read with this token",
    404: "it is not there",
    429: "its server asks to wait",
    **dict.fromkeys((500, 502, 503, 504), "its server has trouble"),
}
TROUBLES = {  # part of an exception's name -> reason
    "Timeout": "no answer in time",
    "ConnectError": "no connection",
    "RemoteProtocol": "the connection broke off",
    "ReadError": "the connection broke off",
}


@dataclass(frozen=True)
class DownloadProgress:
    """Progress of a download.

    Args:
        name: of the network.
        file: name of the file.
        done, total: bytes of this file; from `ensure`, bytes of all files together.
    """

    name: str
    file: str
    done: int
    total: int


Report = Callable[[DownloadProgress], None]


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
        check_package(CATALOGUE[part])
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


@dataclass(frozen=True)
class SharedDownload:
    """A download in progress, shared by all threads that asked for it."""

    result: Future[Path] = field(default_factory=Future)
    reports: list[Report] = field(default_factory=list)


_running: dict[str, SharedDownload] = {}
_running_lock = threading.Lock()


def fetch(name: str, *, report: Report | None = None) -> Path:
    """The path of a network's file, downloaded if it is not on this machine.

    Threads that ask for the same name share one download, its progress and its outcome.

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
    with _running_lock:
        is_first = network.name not in _running
        shared = _running.setdefault(network.name, SharedDownload())
        shared.reports.extend([report] if report else [])
    if is_first:
        try:
            shared.result.set_result(from_any_source(network, partial(download_all, network.name, shared.reports)))
        except BaseException as problem:
            shared.result.set_exception(problem)
            raise
        finally:
            with _running_lock:
                del _running[network.name]
    return shared.result.result()


def check_package(network: Network) -> None:
    """UserError if an optional package that the network needs is not installed."""
    if network.needs and find_spec(re.split(r"\W", network.needs)[0]) is None:
        raise UserError(f'{network.name} needs an optional package; get it with: pip install "{network.needs}"')


def check_possible(network: Network) -> None:
    """UserError if there is no address to download from, or the network is switched off."""
    if network.by_hand:
        file, address = network.by_hand
        raise UserError(
            f"{network.name} cannot be downloaded from here: get {file} from {address}, and put it into the folder "
            f"that the environment variable {BY_HAND} names, or give its path instead of the name."
        )
    if is_offline():
        source = network.all_sources[0]
        cache, _ = cache_of(source)
        raise UserError(
            f"{network.name} is not on this machine, and the network is switched off (--offline or HF_HUB_OFFLINE). "
            f"Where there is one, run: python -m lelsd_core weights fetch {network.name}. From another machine, copy "
            f"its {cache}, or put {source.file.name} into the folder that {BY_HAND} names."
        )


def cache_of(source: HubSource | TorchvisionSource) -> tuple[Path, str]:
    """The cache that a source is downloaded to, and the environment variable that moves it."""
    return (torch_cache(), "TORCH_HOME") if isinstance(source, TorchvisionSource) else (hub_cache(), "HF_HOME")


def is_offline() -> bool:
    """Whether the network is switched off, now or when huggingface_hub was imported."""
    return constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def from_any_source(network: Network, action: Callable[[HubSource | TorchvisionSource], Result]) -> Result:
    """The result of an action with the first source for which it works.

    Raises:
        UserError: it works for none, with the reason of each, or the disk refuses.
    """
    reasons = []
    for source in network.all_sources:
        try:
            return with_retries(partial(action, source))
        except (HTTPError, OSError, WrongFileError) as problem:
            if fault := disk_fault(problem):
                cache, variable = cache_of(source)
                raise UserError(
                    f"{source.file.name} cannot be written to {cache}: {fault}; make room there, or set {variable} to "
                    "a folder that can be written to."
                ) from None
            reasons.append(f"{source}: {reason_of(problem)}")
    needs_token = any("token" in reason for reason in reasons)
    advice = "set HF_TOKEN to a token that may read it, or " if needs_token else ""
    raise UserError(
        f"{network.name} could not be fetched ({'; '.join(reasons)}); {advice}try again later or from another network, "
        f"or put {network.all_sources[0].file.name} into the folder that the environment variable {BY_HAND} names."
    )


def with_retries(action: Callable[[], Result]) -> Result:
    """The result of an action, which is repeated while its server is only busy for a moment."""
    for _ in range(TRIES - 1):
        try:
            return action()
        except (HTTPError, OSError) as problem:
            wait = seconds_to_wait(problem)
            if wait is None:
                raise
            time.sleep(wait)
    return action()


def seconds_to_wait(problem: Exception) -> float | None:
    """Seconds after which the same source may answer better; None if it will not."""
    response = getattr(problem, "response", None)
    if response is None:
        return PAUSE if "ReadError" in type(problem).__name__ else None
    if response.status_code == 429:
        requested = response.headers.get("Retry-After", "")
        wait = float(requested) if requested.isdigit() else PAUSE
        return wait if wait <= LONGEST_WAIT else None
    return PAUSE if response.status_code in (408, 500, 502, 503, 504) else None


def disk_fault(problem: Exception) -> str | None:
    """What this machine's disk reports, which no other source would change; None for problems of the network."""
    network = isinstance(problem, (ConnectionError, TimeoutError)) or getattr(problem, "response", None) is not None
    if network or not isinstance(problem, OSError) or (problem.errno or 0) <= 0:  # name look-ups count below 0
        return None
    return problem.strerror


def reason_of(problem: Exception) -> str:
    """Why a source did not work, in a few words."""
    problem = problem.__cause__ if isinstance(problem, FileNotFoundError) and problem.__cause__ else problem
    if isinstance(problem, WrongFileError):
        return str(problem)
    if (response := getattr(problem, "response", None)) is not None:
        gated = response.headers.get("X-Error-Code") == "GatedRepo"
        answer = "it is gated and needs a token" if gated else ANSWERS.get(response.status_code, "it refused")
        return f"{answer} ({response.status_code})"
    kind = type(problem).__name__
    trouble = next((reason for part, reason in TROUBLES.items() if part in kind), None)
    return trouble or " ".join(str(problem).split())[:120] or kind


def download_all(name: str, reports: list[Report], source: HubSource | TorchvisionSource) -> Path:
    """The path of the weights of a source, downloaded after the files beside them."""
    for file in reversed(source.files):

        def report(done: int, total: int, file: File = file) -> None:
            for each in list(reports):
                each(DownloadProgress(name, file.name, done, total))

        path = download(source, file, report)
    return path


class Bar:
    """A report for the terminal: one bar for each file, and nothing where the output is piped."""

    def __init__(self) -> None:
        self.bars: dict[str, Any] = {}

    def __call__(self, progress: DownloadProgress) -> None:
        from tqdm import tqdm

        if progress.file not in self.bars:
            size = {"total": progress.total, "unit": "B", "unit_scale": True}
            self.bars[progress.file] = tqdm(desc=progress.file, disable=None, **size)
        bar = self.bars[progress.file]
        bar.update(progress.done - bar.n)
        if progress.done >= progress.total:
            self.bars.pop(progress.file).close()
