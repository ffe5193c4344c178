"""The page as a process of its own, where nothing but temporary and cache folders can be written; public links."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from gradio import networking
from gradio.tunneling import CURRENT_TUNNELS

from demo.serve import announce_link, first_cause, public_link
from lelsd_core.errors import UserError
from lelsd_core.registry import load_editor
from tests.page_client import free_port, send_photo, wait_for

ROOT = Path(__file__).parents[1]
ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"
CACHES = ("TMPDIR", "HF_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR")
READ_ONLY = """
import os, runpy, sys
WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
def guard(event, arguments):
    path = arguments[0] if arguments else None
    writes = event in WRITES
    if event == "open":
        mode, flags = arguments[1] or "", arguments[2] or 0
        writes = any(c in mode for c in "wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes and not isinstance(path, int):
        full = os.path.abspath(os.fsdecode(path))
        if not full.startswith((os.environ["WRITABLE"], "/dev/", "/proc/")):
            print("refused", event, full, file=sys.stderr, flush=True)
            raise PermissionError(30, "Read-only file system", full)
sys.addaudithook(guard)
try:
    open("guarded", "w")
except PermissionError:
    pass
sys.argv = ["app.py", *sys.argv[1:]]
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The page behind a login, on a read-only file system, asked for a public link that it cannot get."""
    writable, log = tmp_path_factory.mktemp("writable"), tmp_path_factory.mktemp("log") / "log"
    folders = {name: str(writable / name) for name in CACHES}
    for folder in folders.values():
        Path(folder).mkdir()
    environment = (
        os.environ
        | folders
        | {
            "WRITABLE": str(writable),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HTTPS_PROXY": "http://127.0.0.1:9",  # nobody answers there: no link is ever made by a test
            "LELSD_AUTH": "ada:lovelace",
            "LELSD_MAX_UPLOAD_MB": "1",
            "LELSD_PORT": str(free_port()),
        }
    )
    with log.open("w") as file:
        command = [sys.executable, "-c", READ_ONLY, "--share"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{environment['LELSD_PORT']}"
    try:
        wait_for(lambda: process.poll() is not None or "No public link" in log.read_text())
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield SimpleNamespace(client=client, log=log, process=process)
    finally:
        process.kill()
        process.wait()


def test_without_a_public_link_the_page_says_why_and_stays_up(served):
    log = served.log.read_text()
    assert re.search(r"No public link: Gradio's share service cannot be used \(.+\)\. The page stays up at http", log)
    assert "Traceback" not in log
    assert "lovelace" not in log
    assert served.client.get("/").status_code == 200


def test_a_photo_is_edited_behind_a_login_and_nothing_else_is_written(served):
    client = served.client
    assert client.get("/config").status_code == 401
    assert client.post("/login", data={"username": "ada", "password": "wrong"}).status_code == 400
    assert client.post("/login", data={"username": "ada", "password": "lovelace"}).status_code == 200
    too_large = client.post("/gradio_api/upload", files={"files": ("big.png", bytes(1_000_001))})
    assert too_large.status_code == 413
    assert send_photo(client, ASTRONAUT)["picture"]
    first, *refused = [line for line in served.log.read_text().splitlines() if line.startswith("refused")]
    assert first.endswith("guarded"), "the guard works"
    assert all("site-packages" in line and line.endswith(".pyi") for line in refused), refused
    assert served.process.poll() is None


class Tunnel:
    """A tunnel that can be closed."""

    closed = False

    def kill(self) -> None:
        self.closed = True


@pytest.fixture
def page() -> SimpleNamespace:
    """As much of a page that is up as a link needs."""
    return SimpleNamespace(
        server_name="127.0.0.1",
        server_port=7860,
        share_token="t",
        share_server_protocol="https",
        local_url="http://127.0.0.1:7860/",
        share=False,
        share_url=None,
    )


def test_a_public_link_is_printed(page, monkeypatch, capsys):
    monkeypatch.setattr(networking, "setup_tunnel", lambda **_: "http://abc.gradio.live")
    announce_link(page)
    assert "public URL: https://abc.gradio.live" in capsys.readouterr().out
    assert (page.share, page.share_url) == (True, "https://abc.gradio.live")


def test_a_service_that_does_not_answer_is_given_up_and_a_late_link_is_closed(page, monkeypatch):
    answer, tunnel = threading.Event(), Tunnel()

    def slow(**_):
        answer.wait()
        monkeypatch.setattr("demo.serve.CURRENT_TUNNELS", [tunnel])
        return "http://abc.gradio.live"

    monkeypatch.setattr(networking, "setup_tunnel", slow)
    with pytest.raises(UserError, match=r"did not answer within 0\.05 s"):
        public_link(page, 0.05)
    answer.set()
    wait_for(lambda: tunnel.closed)
    assert tunnel.closed
    assert page.share is False
    assert CURRENT_TUNNELS == []


def test_a_service_that_accepts_and_says_nothing_is_given_up(page, monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(networking, "GRADIO_API_SERVER", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(UserError, match="did not answer"):
            public_link(page, 0.2)


def test_a_reason_is_the_first_line_of_the_innermost_cause():
    outer = RuntimeError("Could not get share link")
    outer.__cause__ = OSError("no route to host\nand more")
    assert first_cause(outer) == "no route to host"
    assert first_cause(ValueError()) == "ValueError"


def test_sliders_of_ones_own_must_be_of_the_chosen_generator(tmp_path, editor):
    mine = replace(editor.directions[0], name="mine")
    mine.save(tmp_path / "mine.safetensors")
    assert [d.name for d in load_editor("digiface-64", directions=tmp_path).directions] == ["mine"]
    replace(mine, fingerprint="b" * 64).save(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="'mine' was made for the generator"):
        load_editor("digiface-64", directions=tmp_path)


def wrong_start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The result of a start that must fail."""
    command = [sys.executable, "app.py", "--offline", *arguments]
    environment = os.environ | environment
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ([], {"LELSD_QUEUE_SIZE": "many"}, "LELSD_QUEUE_SIZE is 'many'"),
        (["--directions", "no/where"], {}, "There are no directions in no/where"),
    ],
)
def test_a_page_that_cannot_start_says_why_in_one_sentence(arguments, environment, words):
    done = wrong_start(*arguments, **environment)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
