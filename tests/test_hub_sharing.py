"""Several at once, stopped, killed: one download, nothing half-valid, and what arrived serves the next try."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lelsd_core.errors import UserError
from lelsd_core.weights import hub
from lelsd_core.weights.cache import hub_cache, local
from lelsd_core.weights.hub import DownloadProgress, fetch
from tests.hub_server import Fault, HubServer
from tests.toy_hub import DATA, ONE, OTHER, SHA256, TWO, leftovers, sentence


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it is so."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_requests_at_the_same_time_share_one_download_and_its_progress(serve):
    gate, seen, paths = threading.Event(), [[] for _ in range(4)], [None] * 4
    server = serve({ONE: [Fault(gate=gate)]})

    def ask(i: int) -> None:
        paths[i] = fetch("toy", report=seen[i].append)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: server.count("HEAD") == 4)  # all found nothing and asked
    gate.set()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert server.count("GET") == 1
    assert all(each[-1].done == len(DATA) for each in seen)


def test_requests_at_the_same_time_each_report_a_failure_and_the_next_one_starts_anew(serve):
    gate, words = threading.Event(), []
    server = serve({ONE: [Fault(gate=gate, body=OTHER)], TWO: [Fault(status=404)]})

    def ask() -> None:
        with pytest.raises(UserError) as caught:
            fetch("toy", report=lambda _: None)
        words.append(str(caught.value))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for(lambda: server.count("HEAD") == 3)
    gate.set()
    for thread in threads:
        thread.join()
    assert len(words) == 3
    assert leftovers() == []
    server.faults = {}
    assert fetch("toy").read_bytes() == DATA


def test_a_report_that_raises_ends_the_download_and_what_arrived_stays(serve):
    serve()

    def stop(progress: DownloadProgress) -> None:
        if progress.done >= 2**21:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("toy", report=stop)
    assert local("toy") is None
    seen = []
    assert fetch("toy", report=seen.append).read_bytes() == DATA
    assert seen[0].done >= 2**20


PROGRAM = """
import sys
from huggingface_hub import constants
from lelsd_core.weights.catalogue import CATALOGUE, File, HubSource, Network
from lelsd_core.weights.hub import fetch
constants.DOWNLOAD_CHUNK_SIZE = 2**16
source = HubSource("one/weights", 40 * "a", File("toy.pt", sys.argv[1]), sure="A")
CATALOGUE["toy"] = Network("toy", "segmenter", "toy", "MIT", sources=(source,))
print("ready", flush=True)
sys.stdin.readline()
print(fetch("toy", report=lambda progress: print(progress.done, flush=True)))
"""


def another_process(server: HubServer, home: Path) -> subprocess.Popen:
    """The same download in a process of its own, through HF_ENDPOINT and HF_HOME alone."""
    environment = os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(home)}
    command = [sys.executable, "-c", PROGRAM, SHA256]
    root = Path(__file__).parents[1]
    process = subprocess.Popen(command, env=environment, cwd=root, stdin=-1, stdout=-1, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_killed_download_leaves_nothing_half_valid_and_goes_on(serve, toys):
    server = serve({ONE: [Fault(pause=0.05, times=2)]})
    with another_process(server, toys) as process:
        print(file=process.stdin, flush=True)
        while int(process.stdout.readline()) < 500_000:
            pass
        process.send_signal(signal.SIGKILL)
    assert local("toy") is None
    (partial,) = leftovers()
    assert DATA.startswith(partial.read_bytes())
    arrived = partial.stat().st_size
    assert 0 < arrived < len(DATA)
    assert fetch("toy").read_bytes() == DATA
    assert leftovers() == []
    assert server.requests[-2][2].get("range") == f"bytes={arrived}-", "it went on from there"


def test_two_processes_share_one_download(serve, toys):
    gate = threading.Event()
    server = serve({ONE: [Fault(gate=gate)]})
    with another_process(server, toys) as first, another_process(server, toys) as second:
        for process in (first, second):
            print(file=process.stdin, flush=True)
        wait_for(lambda: server.count("HEAD") == 2)  # both found nothing and asked
        gate.set()
        ends = [process.communicate(timeout=60)[0].splitlines()[-1] for process in (first, second)]
    assert ends[0] == ends[1]
    assert Path(ends[0]).read_bytes() == DATA
    assert server.count("GET") == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_told_at_once_and_no_other_source_is_asked(serve, monkeypatch, number):
    server = serve()

    def refuses(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(hub, "open", refuses, raising=False)
    assert f"toy.pt cannot be written to {hub_cache()}: {os.strerror(number)}; make room there" in sentence("toy")
    assert server.count("HEAD", "two/") == 0
