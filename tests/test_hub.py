"""Downloading: right bytes, whole or not at all, whatever the Hub does; and one sentence when it cannot be done."""

from __future__ import annotations

import hashlib
import shutil
import socket
import time
from collections import namedtuple

import pytest

from lelsd_core.weights import hub
from lelsd_core.weights.cache import hub_cache, local
from lelsd_core.weights.hub import DownloadProgress, fetch
from tests.hub_server import Fault
from tests.toy_hub import DATA, ONE, OTHER, REVISION, SHA256, TWO, leftovers, sentence


def test_a_file_comes_whole_with_progress_and_is_here_from_then_on(serve):
    server, seen = serve(), []
    assert local("toy") is None
    path = fetch("toy", report=seen.append)
    assert path.read_bytes() == DATA
    assert path == hub_cache() / "models--one--weights" / "snapshots" / REVISION / "toy.pt"
    assert seen[0] == DownloadProgress("toy", "toy.pt", 0, len(DATA))
    assert seen[-1] == DownloadProgress("toy", "toy.pt", len(DATA), len(DATA))
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


def test_no_token_but_the_environments_is_sent_and_no_word_about_this_machine(serve, toys, monkeypatch):
    (toys / "token").write_text("hf_from_a_file")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(toys / "token"))
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


@pytest.mark.parametrize("left", [OTHER[:1_000_000], OTHER, OTHER + b"more"], ids=["some", "all", "too much"])
def test_what_an_earlier_try_left_damaged_is_fetched_again(serve, left):
    serve()
    partial = hub_cache() / "models--one--weights" / "blobs" / f"{SHA256}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(left)
    assert "one--weights" in str(fetch("toy"))
    assert fetch("toy").read_bytes() == DATA
    assert leftovers() == []


def test_a_cache_without_links_serves_too(serve, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", True)
    serve()
    path = fetch("toy")
    assert not path.is_symlink()
    assert local("toy") == path
    path.write_bytes(OTHER)
    assert local("toy") is None
    assert fetch("toy").read_bytes() == DATA


def test_a_slow_download_arrives(serve):
    serve({ONE: [Fault(pause=0.005)]})
    assert fetch("toy").read_bytes() == DATA


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(status=404), "it is not there (404)"),
        (Fault(status=401), "it is not there, or needs a token (401)"),
        (Fault(status=403), "it is gated and needs a token (403)"),
        (Fault(status=403, after=1, method="HEAD"), "it is gated and needs a token (403)"),
        (Fault(status=400, after=1, method="HEAD"), "it refused (400)"),
        (Fault(status=500), "its server has trouble (500)"),
        (Fault(status=503, method="GET"), "its server has trouble (503)"),
        (Fault(status=429), "its server asks to wait (429)"),
        (Fault(status=429, retry_after=3600), "its server asks to wait (429)"),
        (Fault(body=OTHER), f"its SHA-256 is {hashlib.sha256(OTHER).hexdigest()}, expected {SHA256}"),
        (Fault(body=DATA + b"more"), "it sent 3,000,004 bytes, expected 3,000,000"),
        (Fault(body=DATA[:-4]), "it sent 2,999,996 bytes, expected 3,000,000"),
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


def test_no_connection_and_no_hub_are_told(toys, monkeypatch):
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
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    words = sentence("toy")
    assert "toy.pt needs 3 MB more in" in words
    assert "1 MB are free; make room, or set HF_HOME" in words
    assert server.count("GET") == 0
