"""A real Chromium for the tests of the page: the system's own, or the one that Playwright installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from playwright.sync_api import Browser, Page, expect, sync_playwright

from demo.serve import look

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SLOW = 60_000  # milliseconds; for machines that are busy with something else
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Without any on this machine, Playwright's own error says how to install one."""
    system = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=system, args=FLAGS)
        yield browser
        browser.close()


def watched_page(browser: Browser, width: int = 1440, height: int = 1000) -> tuple[Page, list[str]]:
    """A page, and a list that fills with its script errors and with every request that leaves this machine."""
    page = browser.new_page(viewport={"width": width, "height": height})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: (
            request.url.startswith(("http://127.0.0.1", "data:", "blob:")) or problems.append("outside: " + request.url)
        ),
    )
    return page, problems


@contextmanager
def served(page: gr.Blocks) -> Iterator[str]:
    """The address of a page that is served as `app.py` serves it."""
    _, url, _ = page.launch(**look(page))
    yield url
    page.close()


def upload(page: Page, path: Path) -> None:
    """Give the page a photo and wait until its inversion is done."""
    page.set_input_files("#upload input[type=file]", path)
    note, text = page.locator("#note"), ""
    expect(note).to_contain_text("Rebuilt in", timeout=SLOW)
    while text != (text := note.inner_text()):  # it changes with each refined session
        page.wait_for_timeout(1500)
