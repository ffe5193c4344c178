"""The page in a real Chromium, beside what Gradio itself costs: how long people wait, and what an idle page takes.

    python -m tests.bench.page [--generator digiface-64] [--rounds 4]

All is measured in turns, so that a busy machine slows both sides of a ratio; every time is printed, medians count.

floor of a slider's move     a queued event of a page of Gradio with one slider, which shows stored pictures
floor of the first picture   the text of an empty page of Gradio

Times are taken inside the page, from a key press or a click to the next picture, decoded. Each server is a process of
its own. This is no command of the library, which is installed without the page.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lelsd_core.cli.bench import EMPTY_PAGE
from lelsd_core.errors import UserError
from lelsd_core.weights.catalogue import generator_spec
from tests.page_client import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "tests" / "data" / "astronaut.png"
KEYS = ("PageUp", "ArrowRight", "PageDown", "ArrowRight")  # of each round, always to a new value
MOST_ROUNDS = 9  # then values come back, and the floor's pictures are in the browser's cache
RESTS = 350  # milliseconds after which page.js takes a slider to be at rest
SETTLED = 1100  # milliseconds after which the requests of a move are over
REFINING = 300  # milliseconds from the first picture of a photo until its refinement runs
IDLE = 10  # seconds
TIMEOUT = 60_000  # milliseconds
SECONDS = ("move", "queued", "first", "empty", "new_face")  # what is timed: see `one_round`
MEANS = ("requests_at_once", "requests_at_rest", "idle_share", "empty_idle_share")
NO_BROWSER = (
    "The page is measured in a browser; install it with `pip install -r tests/requirements.txt` and "
    "`python -m playwright install chromium`."
)
QUEUED_PAGE = """
import gradio as gr
from lelsd_core.images import enlarge, read_photo
photo = enlarge(read_photo({photo!r}), 512)
pictures = [photo.rotate(7 * i) for i in range(50)]
with gr.Blocks(analytics_enabled=False) as page:
    slider = gr.Slider(-100, 100, 0, step=1, label="Smile")
    shown = gr.Image(photo, format="jpeg", interactive=False, elem_id="picture")
    slider.input(lambda value: pictures[int(value) % 50], slider, shown, show_progress="hidden")
page.launch(server_port={port}, quiet=True, ssr_mode=False, run_history=False)
"""
SHOWN = """([kind, timeout]) => { window.shown = new Promise((done, fail) => {
  const picture = document.querySelector('#picture'), before = picture.querySelector('img').src;
  addEventListener(kind, (event) => { window.began = event.timeStamp; }, {capture: true, once: true});
  performance.clearResourceTimings();
  const changed = new MutationObserver(async () => {
    const image = picture.querySelector('img');
    if (!image || image.src === before) return;
    try { await image.decode(); } catch { return; }  // another one has taken its place
    changed.disconnect();
    done(performance.now() - window.began);
  });
  changed.observe(picture, {subtree: true, childList: true, attributeFilter: ['src']});
  setTimeout(() => fail(new Error('There was no new picture.')), timeout);
}); }"""
ASKED = """() => performance.getEntriesByType('resource').filter((each) => each.name.startsWith(location.origin))
  .map((each) => each.startTime - window.began)"""
FIRST = """([place, timeout]) => new Promise((done, fail) => {
  const seen = (each) => each.checkVisibility() && (each.src || each.innerText);
  const look = async () => {
    const shown = [...document.querySelectorAll(place)].find(seen);
    if (!shown) return requestAnimationFrame(look);
    await shown.decode?.();
    done(performance.now());
  };
  look();
  setTimeout(() => fail(new Error('There was nothing to see.')), timeout);
})"""


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print all times and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="digiface-64", help="registry name [%(default)s]")
    parser.add_argument("--rounds", type=int, default=4, help=f"1 to {MOST_ROUNDS} [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    options = parser.parse_args(arguments)
    try:
        samples = measure(options.generator, options.rounds)
    except UserError as error:
        raise SystemExit(f"tests.bench.page: {error}") from None
    for name in SECONDS:
        print(f"{name}_s: " + " ".join(f"{seconds:.3f}" for seconds in samples[name]))
    print(table(found := figures(samples)))
    if options.json:
        print(json.dumps({"generator": options.generator, **found}))


def figures(samples: dict[str, list[float]]) -> dict[str, float]:
    """Medians of times, means of numbers of requests and of shares, and ratios."""
    found = {f"{name}_s": statistics.median(samples[name]) for name in SECONDS}
    found |= {name: statistics.mean(samples[name]) for name in MEANS}
    found["move_over_queued"] = found["move_s"] / found["queued_s"]
    found["first_over_empty"] = found["first_s"] / found["empty_s"]
    return found


def table(found: dict[str, float]) -> str:
    """A line for each figure that has an aim, with what it is made of."""
    move, first = "{move_s:.3f} s over {queued_s:.3f} s", "{first_s:.2f} s over {empty_s:.2f} s"
    rows = (
        ("slider to pixels, over Gradio's queue", "move_over_queued", 0.75, move),
        ("requests of a key press, for its picture", "requests_at_once", 1, ""),
        ("requests when the slider rests", "requests_at_rest", 1, ""),
        ("seconds to a new face, beside a refinement", "new_face_s", 1, ""),
        ("first picture, over an empty page's text", "first_over_empty", 1.3, first),
        ("share of a core of an idle page", "idle_share", 0.01, "an empty page: {empty_idle_share:.3f}"),
    )
    lines = [f"{'':42} {'figure':>7} {'aim':>5}"]
    for name, key, aim, parts in rows:
        missed = "missed" if found[key] > aim else ""
        lines.append(f"{name:42} {found[key]:7.3f} {aim:5g}  {missed:6}  {parts.format(**found)}".rstrip())
    return "\n".join(lines)


def measure(generator: str, rounds: int) -> dict[str, list[float]]:
    """Start the page, its floors and a browser, and measure all: `one_round` so many times, then what is idle."""
    generator_spec(generator)
    if not 1 <= rounds <= MOST_ROUNDS:
        raise UserError(f"--rounds is {rounds}; it must be from 1 to {MOST_ROUNDS}.")
    if not Path("/proc/self/stat").exists():
        raise UserError("The computing time of a server is read from /proc, which only Linux has.")
    samples: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as running:
        start = running.enter_context
        browser = start(opened_browser())
        command = ["app.py", "--offline", "--generator", generator, "--port"]
        ours, server = start(served(lambda port: [*command, str(port)]))
        empty, idler = start(served(lambda port: ["-c", EMPTY_PAGE.format(port=port)]))
        queued, _ = start(served(lambda port: ["-c", QUEUED_PAGE.format(port=port, photo=str(PHOTO))]))
        slider, faces, floor = plain_view(browser, ours), plain_view(browser, ours), new_page(browser, queued)
        for turn in range(rounds + 1):
            for name, values in one_round(browser, slider, floor, faces, ours, empty).items():
                samples[name] += values if turn else []  # the first one warms up
        floor.close()
        faces.close()
        new_page(browser, empty).wait_for_timeout(3000)
        before = [cpu_seconds(process) for process in (server, idler)]
        slider.wait_for_timeout(1000 * IDLE)
        after = [cpu_seconds(process) for process in (server, idler)]
    for name, begin, end in zip(("idle_share", "empty_idle_share"), before, after, strict=True):
        samples[name].append((end - begin) / IDLE)
    return samples


def one_round(
    browser: Browser, slider: Page, floor: Page, faces: Page, ours: str, empty: str
) -> dict[str, list[float]]:
    """Each thing in turn.

    Args:
        browser: for the first pictures.
        slider, floor: pages whose slider is moved: the page, and its floor.
        faces: the page once more, for new faces.
        ours, empty: addresses of the page and of an empty one.

    Returns:
        Seconds from a key press to its picture ("move", "queued"), from going to a page to what it shows ("first",
        "empty"), and from a click to another face ("new_face"); numbers of requests of each key press.
    """
    samples: dict[str, list[float]] = defaultdict(list)
    for key in KEYS:
        samples["move"].append(press(slider, key))
        slider.wait_for_timeout(SETTLED)
        at_once, at_rest = requests(slider)
        samples["requests_at_once"].append(at_once)
        samples["requests_at_rest"].append(at_rest)
        samples["queued"].append(press(floor, key))
        floor.wait_for_timeout(RESTS)
    samples["first"].append(first_seen(browser, ours, "#splash img, #stage img"))
    samples["empty"].append(first_seen(browser, empty, ".prose"))
    samples["new_face"].append(new_face(faces))
    return samples


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """A browser. UserError without Playwright, and without a Chromium."""
    with ExitStack() as opened:
        try:
            from playwright.sync_api import Error
        except ImportError:
            raise UserError(NO_BROWSER) from None
        from tests.browser import chromium

        try:
            browser = opened.enter_context(chromium())
        except Error:
            raise UserError(NO_BROWSER) from None
        yield browser


@contextmanager
def served(arguments: Callable[[int], list[str]]) -> Iterator[tuple[str, int]]:
    """The address of a server once its page answers, and its process; `arguments(port)` are Python's."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    with subprocess.Popen([sys.executable, *arguments(port)], cwd=ROOT, stdout=subprocess.DEVNULL) as server:
        try:
            while not answers(address):
                if server.poll() is not None:
                    raise UserError(f"A server ended with exit code {server.returncode} at its start.")
                time.sleep(0.1)
            yield address, server.pid
        finally:
            server.kill()


def answers(address: str) -> bool:
    """Whether there is a page."""
    try:
        urllib.request.urlopen(address, timeout=5).read()
    except OSError:
        return False
    return True


def new_page(browser: Browser, address: str) -> Page:
    """A page, with time for what it does of itself."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(TIMEOUT)
    page.goto(address)
    page.wait_for_timeout(2500)
    return page


def plain_view(browser: Browser, address: str) -> Page:
    """The page with the plain view, all sliders at 0."""
    page = new_page(browser, address)
    page.locator("#view label", has_text="Edited").click()
    page.locator("#picture img").wait_for()
    page.locator("#reset").click()
    page.wait_for_timeout(1000)
    return page


def until_shown(page: Page, kind: str, act: Callable[[], object]) -> float:
    """Seconds from the event that `act` causes, such as "keydown", to the next picture, decoded."""
    page.evaluate(SHOWN, [kind, TIMEOUT])
    act()
    return page.evaluate("() => window.shown") / 1000


def press(page: Page, key: str) -> float:
    """Seconds from a key press on a slider to its picture."""
    page.get_by_label("range slider for Smile", exact=True).focus()
    return until_shown(page, "keydown", lambda: page.keyboard.press(key))


def requests(page: Page) -> tuple[int, int]:
    """How much a page has asked its server since `until_shown`: before a slider counts as at rest, and from then on."""
    times = page.evaluate(ASKED)
    at_once = sum(each < RESTS for each in times)
    return at_once, len(times) - at_once


def first_seen(browser: Browser, address: str, place: str) -> float:
    """Seconds from going to an address, with nothing in the browser's cache, to the picture or text at a place."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.goto(address, wait_until="commit")
    seconds = page.evaluate(FIRST, [place, TIMEOUT]) / 1000
    page.wait_for_timeout(500)  # what it does of itself slows nothing else then
    page.close()
    return seconds


def new_face(page: Page) -> float:
    """Seconds from asking for a random face to its picture, while a photo is refined."""
    until_shown(page, "change", lambda: page.set_input_files("#upload input[type=file]", PHOTO))
    page.wait_for_timeout(REFINING)
    seconds = until_shown(page, "click", page.locator("#random").click)
    page.locator("#note", has_text="made up").wait_for()
    page.wait_for_timeout(1000)  # for its small pictures
    return seconds


def cpu_seconds(process: int) -> float:
    """Computing time of a process so far (Linux)."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
