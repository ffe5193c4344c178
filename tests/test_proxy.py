"""The page under a sub-path behind a proxy: its text, its events, its slider in motion and its files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from playwright.sync_api import expect

from demo.models import ModelManager
from demo.options import read_settings
from demo.page import build_page
from demo.serve import look
from tests.browser import SLOW, chromium, watched_page

PREFIX = "/faces"


@contextmanager
def proxy(target: str) -> Iterator[str]:
    """An address under which a server's pages are found below `PREFIX`, which is stripped, as nginx does it."""

    class Forwarding(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            if not self.path.startswith(f"{PREFIX}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            url = target + self.path.removeprefix(f"{PREFIX}/")
            with httpx.stream(self.command, url, headers=headers, content=body, timeout=120) as answer:
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                for part in answer.iter_raw():
                    self.wfile.write(part)
                    self.wfile.flush()
            self.close_connection = True

        do_GET = do_POST = do_HEAD = forward  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forwarding)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{PREFIX}/"
    server.shutdown()
    server.server_close()


@pytest.mark.browser
def test_the_page_works_under_a_sub_path(editor):
    page = build_page(ModelManager(editor), seed=45)
    _, url, _ = page.launch(root_path=PREFIX, **look(page))
    with proxy(url) as address, chromium() as browser:
        assert httpx.get(address.replace(PREFIX, "")).status_code == 404, "nothing is found without the prefix"
        text = httpx.get(address).text
        assert f'content="{address}preview.png"' in text
        assert httpx.get(f"{address}preview.png").headers["content-type"] == "image/png"
        shown, problems = watched_page(browser)
        failed: list[str] = []
        shown.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        shown.goto(address)
        expect(shown.locator("#splash")).to_have_count(0, timeout=SLOW)
        shown.locator("#view label", has_text="Edited").click()
        expect(shown.locator("#picture img")).to_be_visible(timeout=SLOW)
        asked: list[str] = []
        shown.on("request", lambda request: asked.append(request.url))
        shown.get_by_label("range slider for Smile", exact=True).focus()
        shown.keyboard.press("PageUp")
        shown.wait_for_function("() => document.querySelector('#picture img').src.startsWith('blob:')", timeout=SLOW)
        expect(shown.locator("#meter")).to_contain_text("inside", timeout=SLOW)
        assert any(f"{PREFIX}/live/" in each for each in asked)
        shown.locator("#random").click()
        expect(shown.locator("#note")).to_contain_text("made up", timeout=SLOW)
        assert problems == []
        assert failed == []
    page.close()


def test_the_sub_path_is_a_flag_and_a_variable():
    assert read_settings(["--root-path", "/faces"], {}).root_path == "/faces"
    assert read_settings([], {"LELSD_ROOT_PATH": "/a"}).root_path == "/a"
    assert read_settings([], {"GRADIO_ROOT_PATH": "/b"}).root_path == "/b"
    assert read_settings([], {}).root_path == ""
