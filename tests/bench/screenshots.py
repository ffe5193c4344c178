"""Takes the pictures of the page that the README shows, in a real Chromium: `python -m tests.bench.screenshots`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, expect

from lelsd_core.animation import encode_animation
from lelsd_core.images import read_photo
from tests.browser import SLOW, chromium, watched_page
from tests.page_client import free_port

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "demo" / "screenshots"
SIZE = (1440, 900)
GIF_WIDTH, FPS = 720, 4


def main() -> None:
    """Start the page, drive it as a person would, and write the pictures."""
    port = free_port()
    with subprocess.Popen([sys.executable, "app.py", "--port", str(port), "--offline"], cwd=ROOT) as server:
        try:
            with chromium() as browser:
                page, problems = watched_page(browser, *SIZE)
                open_page(page, f"http://127.0.0.1:{port}")
                edit(page)
                discover(page)
                assert problems == [], problems
        finally:
            server.terminate()


def open_page(page: Page, address: str) -> None:
    """Wait for the server, and for the small pictures of the first face."""
    for _ in range(60):
        try:
            page.goto(address)
            break
        except Exception:  # it does not listen yet
            page.wait_for_timeout(1000)
    expect(page.locator("#swipe img").first).to_be_visible(timeout=SLOW)
    expect(page.locator("#ends img").first).to_be_visible(timeout=SLOW)


def edit(page: Page) -> None:
    """The example of the README's picture, and the way to it as a GIF."""
    frames: list[Path] = []

    def frame(times: int = 1) -> None:
        path = SHOTS / f"frame-{len(frames)}.png"
        page.screenshot(path=path)
        frames.extend([path] * times)

    frame(4)
    page.get_by_role("button", name="Example 1: ").click()
    expect(page.locator("#note")).to_contain_text("Rebuilt in", timeout=SLOW)
    page.wait_for_timeout(15_000)
    frame(4)
    for part, label, keys in (("Hair", "Fringe", "Home"), ("Hair", "Hair blond", "End"), ("Eyes", "Glasses", "End")):
        page.get_by_role("button", name=f": {part}").first.click()
        slider = page.get_by_label(f"range slider for {label}", exact=True)
        expect(slider).to_be_visible(timeout=SLOW)
        page.wait_for_timeout(2500)
        frame()
        for key in ("PageUp" if keys == "End" else "PageDown",) * 3 + (keys,):
            slider.press(key)
            page.wait_for_timeout(1500)
            frame()
        frame(3)
    page.screenshot(path=SHOTS / "edit.png")
    pictures = {path: read_photo(path).resize((GIF_WIDTH, GIF_WIDTH * SIZE[1] // SIZE[0])) for path in set(frames)}
    (SHOTS / "page.gif").write_bytes(encode_animation([pictures[path] for path in frames], "gif", fps=FPS))
    for path in set(frames):
        path.unlink()


def discover(page: Page) -> None:
    """A search that is done."""
    page.get_by_role("tab", name="Discover").click()
    page.locator("#start").click()
    expect(page.locator("#status")).to_contain_text("done", timeout=600_000)
    page.wait_for_timeout(2000)
    page.screenshot(path=SHOTS / "discover.png")


if __name__ == "__main__":
    main()
