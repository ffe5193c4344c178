"""The page in a real Chromium, beside what Gradio itself costs: how long people wait, and what an idle page takes.

    python -m tests.bench.page [--generator digiface-64] [--repeats 20]

All in one run, in turns, so that a busy machine slows both sides of a ratio; medians. The floors are pages of Gradio
with nothing behind them: one slider that returns a stored JPEG through the queue, and an empty page.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from playwright.sync_api import Browser, Page, expect

from lelsd_core.images import enlarge, read_photo
from tests.browser import SLOW, chromium, watched_page
from tests.page_client import free_port

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "tests" / "data" / "astronaut.png"
IDLE = 10  # seconds
PRESSED = """([picture, slider]) => new Promise((done) => {
const image = () => [...document.querySelectorAll(picture)].at(-1), range = document.querySelector(slider);
const before = image().src, start = performance.now(), old = Number(range.value);
const look = () => { const now = image(); if (now && now.src !== before)
  return now.decode().then(() => done(performance.now() - start), () => requestAnimationFrame(look));
  requestAnimationFrame(look); };
range.value = old >= Number(range.max) ? range.min : old + Number(range.step);
range.dispatchEvent(new Event('input', {bubbles: true})); look(); })"""


def main() -> None:
    """Measure, and print a line for each figure, with its aim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="digiface-64")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    with app(options.generator) as (address, server), floor() as plain, chromium() as browser:
        ours, theirs = slider_page(browser, address), plain_page(browser, plain)
        asked: list[str] = []
        ours.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
        moves, floors = [], []
        for _ in range(options.repeats):
            moves.append(ours.evaluate(PRESSED, ["#picture img", "#sliders .block:not(.hidden) input[type=range]"]))
            ours.wait_for_timeout(900)  # until it is settled
            floors.append(theirs.evaluate(PRESSED, ["#floor img", "#pick input[type=range]"]))
            theirs.wait_for_timeout(300)
        move, floor_move = statistics.median(moves), statistics.median(floors)
        show("slider to pixels", f"{move:.0f} ms, queued floor {floor_move:.0f} ms", move / floor_move, 0.75)
        show("requests a move, with the measured one at rest", "", len(asked) / options.repeats, 2)
        firsts = [(first_picture(browser, address), first_picture(browser, plain)) for _ in range(5)]
        first, empty = (statistics.median(times) for times in zip(*firsts, strict=True))
        show("first picture", f"{first:.2f} s, Gradio page {empty:.2f} s", first / empty, 1.3)
        show("new face while another one is refined (s)", "", new_face(ours), 1)
        ours.wait_for_timeout(4000)
        before = cpu_seconds(server.pid)
        ours.wait_for_timeout(1000 * IDLE)
        show("idle page (share of a core)", "", (cpu_seconds(server.pid) - before) / IDLE, 0.01)


def show(name: str, figures: str, value: float, aim: float) -> None:
    """A line of the table."""
    print(f"{name:50} {value:6.3f}  (aim {aim:g})  {figures}", flush=True)


@contextmanager
def app(generator: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """The page as the README starts it; its address, and its process."""
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--generator", generator, "--offline"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        next(line for line in server.stdout if "Running" in line)
        try:
            yield f"http://127.0.0.1:{port}/", server
        finally:
            server.terminate()


@contextmanager
def floor() -> Iterator[str]:
    """The address of a page with one slider, which picks one of two stored pictures through Gradio's queue."""
    picture = enlarge(read_photo(PHOTO), 512)
    pictures = [picture, picture.transpose(0)]
    with gr.Blocks(analytics_enabled=False) as page:
        slider = gr.Slider(0, 100, 0, step=1, label="Pick", elem_id="pick")
        shown = gr.Image(pictures[0], format="jpeg", interactive=False, elem_id="floor")
        slider.input(lambda value: pictures[int(value) % 2], slider, shown, trigger_mode="always_last")
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, run_history=False)
    yield address
    page.close()


def slider_page(browser: Browser, address: str) -> Page:
    """The page, its sliders ready, with the plain view."""
    page, _ = watched_page(browser)
    page.goto(address)
    expect(page.locator("#ends img").first).to_be_visible(timeout=SLOW)
    page.locator("#view label", has_text="Edited").click()
    expect(page.locator("#picture img")).to_be_visible(timeout=SLOW)
    page.wait_for_timeout(2000)
    return page


def plain_page(browser: Browser, address: str) -> Page:
    """The floor's page."""
    page, _ = watched_page(browser)
    page.goto(address)
    expect(page.locator("#floor img")).to_be_visible(timeout=SLOW)
    page.wait_for_timeout(2000)
    return page


def first_picture(browser: Browser, address: str) -> float:
    """Seconds from asking for a page to its first picture."""
    page, _ = watched_page(browser)
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_function("() => [...document.images].some((each) => each.complete && each.naturalWidth > 200)")
    seconds = time.perf_counter() - start
    page.close()
    return seconds


def new_face(page: Page) -> float:
    """Seconds from asking for a random face to its picture, while a photo is refined."""
    page.set_input_files("#upload input[type=file]", PHOTO)
    expect(page.locator("#note")).to_contain_text("One face was found", timeout=SLOW)
    page.get_by_text("Seed", exact=True).first.click()
    seed = page.locator("#seed input")
    seed.fill("7")
    start = time.perf_counter()
    seed.press("Enter")
    expect(page.locator("#note")).to_contain_text("seed 7", timeout=SLOW)
    return time.perf_counter() - start


def cpu_seconds(process: int) -> float:
    """Computing time of a process so far (Linux)."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
