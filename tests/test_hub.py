"""Downloading: right bytes, whole or not at all, whatever the Hub does; and one sentence when it cannot be done."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest

from lelsd_core import hub, transfer
from lelsd_core.cache import hub_cache, local, record_file
from lelsd_core.catalog import CATALOG, Entry, File, Source
from lelsd_core.errors import UserError
from lelsd_core.hub import Progress, fetch
from tests.hub_server import Fault, HubServer

REVISION = 40 * "a"
DATA = random.Random(0).randbytes(3_000_000)
OTHER = random.Random(1).randbytes(len(DATA))
SHA256 = hashlib.sha256(DATA).hexdigest()
ONE, TWO = ("one/weights", "toy.pt"), ("two/weights", "toy.pt")


def source(repository: str, *, seen: bool = True, file: str = "toy.pt", revision: str = REVISION) -> Source:
    """A source of DATA; `seen`: its SHA-256 and size are known."""
    known = File(file, SHA256, len(DATA)) if seen else File(file)
    return Source(repository, revision, known, sure="A")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty cache, a catalogue with "toy" from two sources and "new", whose SHA-256 nobody has seen; no waiting."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "LELSD_WEIGHTS", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "PAUSE", 0.01)
    two = (source("one/weights"), source("two/weights"))
    monkeypatch.setitem(CATALOG, "toy", Entry("segmenter", "two copies", "MIT", two))
    monkeypatch.setitem(CATALOG, "new", Entry("segmenter", "unseen", "MIT", (source("one/weights", seen=False),)))
    return tmp_path


@pytest.fixture
def serve(home, monkeypatch):
    """serve(faults, **options) → a running server of DATA from both repositories, which HF_ENDPOINT names."""
    running: list[HubServer] = []

    def start(faults=None, files=None, **options) -> HubServer:
        server = HubServer({ONE: DATA, TWO: DATA} if files is None else files, faults or {}, **options)
        running.append(server.__enter__())
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        return server

    yield start
    for server in running:
        server.__exit__(None, None, None)


def sentence(name: str, **options) -> str:
    """What `fetch` says when it fails; one sentence, and the cache has nothing half-valid."""
    with pytest.raises(UserError) as caught:
        fetch(name, **options)
    assert "\n" not in str(caught.value)
    assert local(name) is None
    return str(caught.value)


def leftovers() -> list[Path]:
    """Files in the cache that are not a whole copy of DATA, notes and locks apart."""
    files = [path for path in hub_cache().rglob("*") if path.is_file() and path.parent.name == "blobs"]
    return [path for path in files if path.read_bytes() != DATA]


def test_a_file_comes_whole_with_progress_and_is_here_from_then_on(serve):
    server, seen = serve(), []
    assert local("toy") is None
    path = fetch("toy", report=seen.append)
    assert path.read_bytes() == DATA
    assert path == hub_cache() / "models--one--weights" / "snapshots" / REVISION / "toy.pt"
    assert seen[0] == Progress("toy", "toy.pt", 0, len(DATA))
    assert seen[-1] == Progress("toy", "toy.pt", len(DATA), len(DATA))
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    asked = len(server.requests)
    assert fetch("toy") == local("toy") == path
    assert len(server.requests) == asked, "what is here is not asked for again"


def test_the_cache_is_the_one_that_other_tools_read_and_write(serve):
    from huggingface_hub import hf_hub_download, scan_cache_dir

    server = serve()
    path = fetch("toy")
    bytes_sent = server.count("GET")
    assert hf_hub_download("one/weights", "toy.pt", revision=REVISION, cache_dir=hub_cache()) == str(path)
    assert server.count("GET") == bytes_sent
    report = scan_cache_dir(hub_cache())
    assert [repo.repo_id for repo in report.repos] == ["one/weights"]
    shutil.rmtree(hub_cache())
    hf_hub_download("two/weights", "toy.pt", revision=REVISION, cache_dir=hub_cache(), endpoint=server.url)
    assert local("toy").read_bytes() == DATA, "another tool's download is found"


def test_bytes_from_another_host_and_the_token_does_not_go_there(serve, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server = serve(redirect=True)
    assert fetch("toy").read_bytes() == DATA
    sent = {path.startswith("/cdn"): headers.get("authorization") for _, path, headers in server.requests}
    assert sent == {False: "Bearer hf_secret", True: None}


def test_no_token_but_the_environments_is_sent_and_no_word_about_this_machine(serve, home, monkeypatch):
    (home / "token").write_text("hf_from_a_file")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(home / "token"))
    server = serve()
    fetch("toy")
    assert {headers.get("authorization") for _, _, headers in server.requests} == {None}
    assert not any("torch" in headers.get("user-agent", "") for _, _, headers in server.requests)
    assert not any("/api/" in path for _, path, _ in server.requests)


@pytest.mark.parametrize("redirect", [False, True])
def test_a_cut_download_goes_on_where_it_was_cut(serve, redirect):
    server = serve({ONE: [Fault(cut=1_500_000, method="GET", times=1)]}, redirect=redirect)
    assert fetch("toy").read_bytes() == DATA
    ranges = [headers["range"] for _, _, headers in server.requests if "range" in headers]
    assert ranges
    assert all(int(r.removeprefix("bytes=").rstrip("-")) >= 2**20 for r in ranges)
    assert leftovers() == []


def test_a_server_that_ignores_ranges_sends_everything_again(serve):
    server = serve({ONE: [Fault(cut=1_500_000, method="GET", times=1), Fault(no_range=True)]})
    assert fetch("toy").read_bytes() == DATA
    assert server.count("GET", "one/") == 2


def test_what_arrived_before_the_last_cut_serves_the_next_day(serve):
    faults = [Fault(cut=1_500_000, method="GET", times=1), Fault(status=500, method="GET")]
    server = serve({ONE: faults, TWO: [Fault(status=404)]})
    words = sentence("toy")
    assert "one/weights/toy.pt: its server has trouble (500)" in words
    assert [path.suffix for path in leftovers()] == [".incomplete"]
    server.faults = {}
    seen = []
    assert fetch("toy", report=seen.append).read_bytes() == DATA
    assert seen[0].done >= 2**20
    assert leftovers() == []


def test_a_slow_download_arrives(serve):
    serve({ONE: [Fault(pause=0.005)]})
    assert fetch("toy").read_bytes() == DATA


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(status=404), "it is not there (404)"),
        (Fault(status=401), "it is not there, or wants a token (401)"),
        (Fault(status=403), "it is gated and wants a token (403)"),
        (Fault(status=500), "its server has trouble (500)"),
        (Fault(status=503, method="GET"), "its server has trouble (503)"),
        (Fault(status=429), "its server asks to wait (429)"),
        (Fault(status=429, retry_after=3600), "its server asks to wait (429)"),
        (Fault(body=OTHER), f"its SHA-256 is {hashlib.sha256(OTHER).hexdigest()}, expected {SHA256}"),
        (Fault(body=DATA + b"more"), "it sent 3,000,004 bytes, said 3,000,000"),
        (Fault(body=DATA[:-4]), "the connection broke off"),
        (Fault(cut=0, method="GET"), "the connection broke off"),
        (Fault(size=7), "it has 7 bytes, expected 3,000,000"),
    ],
    ids=lambda value: None if isinstance(value, Fault) else value[:24],
)
def test_the_next_source_is_tried_and_if_all_fail_each_reason_is_told(serve, fault, reason):
    server = serve({ONE: [fault]})
    assert fetch("toy").read_bytes() == DATA
    assert "two--weights" in str(local("toy"))
    shutil.rmtree(hub_cache())
    server.faults = {ONE: [fault], TWO: [Fault(status=404)]}
    words = sentence("toy")
    assert f"one/weights/toy.pt: {reason}" in words
    assert "two/weights/toy.pt: it is not there (404)" in words
    assert ("HF_TOKEN" in words) == ("token" in reason)
    assert "put toy.pt into the folder that the environment variable LELSD_WEIGHTS names" in words
    assert [path for path in leftovers() if path.suffix != ".incomplete"] == []


def test_a_source_that_announces_another_file_costs_no_download(serve):
    server = serve(files={ONE: OTHER, TWO: DATA})
    assert fetch("toy").read_bytes() == DATA
    assert server.count("GET", "one/") == 0


def test_a_busy_server_is_waited_for_as_long_as_it_asks(serve):
    server, start = serve({ONE: [Fault(status=429, retry_after=1, times=1)]}), time.monotonic()
    assert "one--weights" in str(fetch("toy"))
    assert time.monotonic() - start >= 1
    assert server.count("HEAD", "two/") == 0


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_server_that_stumbles_once_is_asked_again(serve, method):
    server = serve({ONE: [Fault(status=500, method=method, times=1)]})
    assert "one--weights" in str(fetch("toy"))
    assert server.count("HEAD", "two/") == 0


def test_no_connection_and_no_hub_are_told(home, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        assert "one/weights/toy.pt: no connection; two/weights/toy.pt: no connection" in sentence("toy")


def test_a_server_that_is_no_hub_is_told(serve, monkeypatch):
    monkeypatch.setattr("tests.hub_server.Handler.head", lambda self, status, _: plain(self))
    serve()
    assert "its server tells neither ETag nor size as the Hub does" in sentence("toy")


def plain(handler) -> None:
    """A web server's answer, without the Hub's headers."""
    handler.send_response(200)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def test_a_read_that_times_out_goes_on_or_is_told(serve, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    serve({ONE: [Fault(pause=1, method="GET")], TWO: [Fault(status=404)]})
    assert "one/weights/toy.pt: no answer in time" in sentence("toy")


def test_offline_says_so_and_how_to_get_the_file(serve, monkeypatch):
    server = serve()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = sentence("toy")
    assert "the network is switched off" in words
    assert "python -m lelsd_core weights fetch toy" in words
    assert server.requests == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    path = fetch("toy")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("toy") == path


def test_a_full_disk_is_told_before_the_download(serve, monkeypatch):
    server = serve()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    words = sentence("toy")
    assert "toy.pt needs 3 MB more in" in words
    assert "1 MB are free; make room, or set HF_HOME" in words
    assert server.count("GET") == 0


def test_requests_at_the_same_time_share_one_download_and_its_progress(serve):
    server, seen = serve({ONE: [Fault(pause=0.01)]}), [[] for _ in range(4)]
    paths, started = [None] * 4, threading.Event()

    def ask(i: int) -> None:
        paths[i] = fetch("toy", report=lambda progress: (seen[i].append(progress), started.set()))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    threads[0].start()
    started.wait(10)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert server.count("GET") == 1
    assert all(each[-1].done == len(DATA) for each in seen)


def test_requests_at_the_same_time_share_a_failure_and_the_next_one_starts_anew(serve):
    server, words = serve({ONE: [Fault(pause=0.005, body=OTHER)], TWO: [Fault(status=404)]}), []

    def ask() -> None:
        with pytest.raises(UserError) as caught:
            fetch("toy")
        words.append(str(caught.value))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(words) == 3
    server.faults = {}
    assert fetch("toy").read_bytes() == DATA


def test_a_report_that_raises_ends_the_download_and_what_arrived_stays(serve):
    serve()

    def stop(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("toy", report=stop)
    assert local("toy") is None
    seen = []
    assert fetch("toy", report=seen.append).read_bytes() == DATA
    assert seen[0].done >= 2**20


PROGRAM = """
import sys
from lelsd_core import transfer
from lelsd_core.catalog import CATALOG, Entry, File, Source
from lelsd_core.hub import fetch
transfer.CHUNK = 2**16
source = Source("one/weights", 40 * "a", File("toy.pt", sys.argv[1]), sure="A")
CATALOG["toy"] = Entry("segmenter", "toy", "MIT", (source,))
print(fetch("toy", report=lambda progress: print(progress.done, flush=True)))
"""


def another_process(server: HubServer, home: Path) -> subprocess.Popen:
    """The same download in a process of its own, through HF_ENDPOINT and HF_HOME alone."""
    environment = os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(home)}
    command = [sys.executable, "-c", PROGRAM, SHA256]
    root = Path(__file__).parents[1]
    return subprocess.Popen(command, env=environment, cwd=root, stdout=subprocess.PIPE, text=True)


def test_a_killed_download_leaves_nothing_half_valid_and_goes_on(serve, home):
    server = serve({ONE: [Fault(pause=0.05, times=2)]})
    with another_process(server, home) as process:
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


def test_two_processes_share_one_download(serve, home):
    server = serve({ONE: [Fault(pause=0.03)]})
    with another_process(server, home) as first, another_process(server, home) as second:
        ends = [process.communicate(timeout=60)[0].splitlines()[-1] for process in (first, second)]
    assert ends[0] == ends[1]
    assert Path(ends[0]).read_bytes() == DATA
    assert server.count("GET") == 1


def test_an_unseen_file_is_recorded_at_its_first_use_and_checked_ever_after(serve):
    server = serve()
    path = fetch("new")
    key = f"one/weights@{REVISION}/toy.pt"
    assert json.loads(record_file().read_text())["first use"] == {key: SHA256}
    path.resolve().write_bytes(OTHER)
    assert local("new") is None, "it changed on the disk"
    assert fetch("new").read_bytes() == DATA, "so it is fetched again"
    shutil.rmtree(hub_cache() / "models--one--weights")
    server.files = {ONE: OTHER}
    words = sentence("new")
    assert f"expected {SHA256}, as at its first use; if the new one is right, delete its line in" in words
    assert server.count("GET") == 2
    record_file().write_text("{}")
    assert fetch("new").read_bytes() == OTHER


def test_a_damaged_file_in_the_cache_is_replaced(serve):
    serve()
    blob = fetch("toy").resolve()
    blob.write_bytes(DATA[:-1] + b"x")
    os.utime(blob, ns=(1, 1))
    assert local("toy") is None
    assert fetch("toy").read_bytes() == DATA


def test_a_file_is_hashed_once(serve, monkeypatch):
    serve()
    path = fetch("toy")
    monkeypatch.setattr("lelsd_core.cache.sha256_of", lambda _: pytest.fail("hashed again"))
    assert local("toy") == path


def test_a_folder_of_two_files_comes_whole(serve, monkeypatch):
    files = {("one/folder", "config.json"): b"{}", ("one/folder", "pytorch_model.bin"): DATA}
    server = serve({("one/folder", "config.json"): [Fault(status=404, times=1)]}, files=files)
    folder = Source("one/folder", REVISION, File("pytorch_model.bin"), "A", beside=(File("config.json", bytes=2),))
    monkeypatch.setitem(CATALOG, "folder", Entry("generator", "two files", "MIT", (folder,)))
    assert "one/folder/pytorch_model.bin: it is not there (404)" in sentence("folder")
    assert server.count("GET") == 0
    path = fetch("folder")
    assert path.read_bytes() == DATA
    assert (path.parent / "config.json").read_bytes() == b"{}"


def test_a_file_that_holds_another_network_too_serves_both(serve, monkeypatch):
    serve()
    inside = Entry("generator", "inside", "MIT", (source("none/weights"),), within=("toy",))
    monkeypatch.setitem(CATALOG, "inside", inside)
    assert local("inside") is None
    path = fetch("toy")
    assert local("inside") == fetch("inside") == path


def test_a_file_by_hand_is_found_and_checked(home, monkeypatch):
    folder = home / "weights"
    (folder / "new").mkdir(parents=True)
    monkeypatch.setenv("LELSD_WEIGHTS", str(folder))
    assert local("toy") is None
    (folder / "toy.pt").write_bytes(DATA)
    (folder / "new" / "toy.pt").write_bytes(OTHER)
    assert local("toy") == folder / "toy.pt"
    assert local("new") == folder / "new" / "toy.pt"
    (folder / "toy.pt").write_bytes(OTHER)
    with pytest.raises(UserError, match=r"toy.pt is not toy: its SHA-256 is .* Get it again, or take it out of"):
        local("toy")


def test_what_the_hub_does_not_have_is_got_by_hand(home, monkeypatch):
    with pytest.raises(UserError, match=r"get deeplabv3_resnet101_coco-586e9e4e.pth from https://download.pytorch"):
        fetch("deeplabv3")
    (home / "deeplabv3_resnet101_coco-586e9e4e.pth").write_bytes(DATA)
    monkeypatch.setenv("LELSD_WEIGHTS", str(home))
    assert fetch("deeplabv3").read_bytes() == DATA


def test_an_unknown_name_is_told_with_the_nearest(home):
    with pytest.raises(UserError, match="no published weights named 'bisenett'; did you mean bisenet"):
        fetch("bisenett")
