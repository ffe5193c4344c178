"""End to end, in a real Chromium: a photo, a slider moved by keyboard, a discovery, its slider."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from demo.models import ModelManager
from demo.page import build_page
from tests.browser import SLOW, chromium, served, upload, watched_page

pytestmark = pytest.mark.browser
ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"


@pytest.fixture(scope="module")
def address(editor):
    with served(build_page(ModelManager(editor), seed=45)) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


def pixels(page) -> np.ndarray:
    """The main picture as it is on the page."""
    data = page.locator("#picture img").get_attribute("src").split(",")[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)


def changed(page, before: np.ndarray) -> np.ndarray:
    """How much each pixel of the main picture differs from before, once it does."""
    page.wait_for_function(
        "src => document.querySelector('#picture img').src !== src", arg=page.source_before, timeout=SLOW
    )
    page.wait_for_timeout(500)
    return np.abs(pixels(page) - before).mean(2)


def changed_by_part(editor, change: np.ndarray) -> dict[str, float]:
    """Mean change (512, 512) within each part of the astronaut's aligned face."""
    photo = Image.open(ASTRONAUT).convert("RGB")
    face = editor.aligner.cut(photo, *editor.aligner.find(photo)).picture
    numbers = editor.segmenter.segment(face).argmax(1)[0].numpy().repeat(8, 0).repeat(8, 1)
    return {part: float(change[numbers == i].mean()) for i, part in enumerate(editor.segmenter.parts)}


def remember(page) -> np.ndarray:
    """Note the picture that is shown now."""
    page.source_before = page.locator("#picture img").get_attribute("src")
    return pixels(page)


def press(page, label: str, keys: list[str]) -> None:
    """Move a slider by keyboard."""
    page.get_by_label(f"range slider for {label}", exact=True).focus()
    for key in keys:
        page.keyboard.press(key)


def test_a_photo_is_edited_and_a_new_slider_is_found_and_used(browser, address, editor):
    page, problems = watched_page(browser)
    page.goto(address)
    expect(page.locator("#picture img")).to_be_visible(timeout=SLOW)
    upload(page, ASTRONAUT)
    expect(page.locator("#aligned img")).to_be_visible()

    before = remember(page)
    press(page, "Mouth", ["Home"])
    change = changed_by_part(editor, changed(page, before))
    assert max(change, key=change.get) == "mouth", change
    assert change["mouth"] > 3 * sum(change.values()) / len(change)
    expect(page.locator("#meter")).to_contain_text("inside mouth")

    page.get_by_role("tab", name="Discover a new direction").click()
    page.get_by_label("number input for Steps").fill("20")
    page.locator("#start").click()
    expect(page.locator("#status")).to_contain_text(re.compile("Step 20 of 20"), timeout=SLOW)
    expect(page.locator("#strip img")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("my lips")
    page.locator("#keep").click()
    expect(page.get_by_label("range slider for My lips", exact=True)).to_be_visible(timeout=SLOW)
    assert page.get_by_label("range slider for Mouth", exact=True).input_value() != "0", "other sliders stay"
    before = remember(page)
    press(page, "My lips", ["End"])
    assert changed(page, before).max() > 8

    page.locator("#reset").click()
    page.wait_for_timeout(1500)
    assert page.get_by_label("range slider for Mouth", exact=True).input_value() == "0"
    assert problems == []


def write_bad_files(folder: Path) -> dict[str, str]:
    """Files that cannot be edited, and the message for each."""
    Image.new("RGB", (300, 300), "green").save(folder / "green.png")
    (folder / "notes.png").write_text("not a picture")
    (folder / "cut.png").write_bytes(ASTRONAUT.read_bytes()[:100_000])
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    return {
        "green.png": "No face was found",
        "notes.png": "not a picture that can be read",
        "cut.png": "damaged or cut off",
        "dot.png": "only 1×1 pixels",
        "huge.png": "has 400 megapixels, too large; at most 64",
    }


def test_bad_input_is_reported_and_the_face_stays(browser, address, tmp_path):
    page, problems = watched_page(browser)
    page.goto(address)
    expect(page.locator("#picture img")).to_be_visible(timeout=SLOW)
    face = remember(page)
    for name, words in write_bad_files(tmp_path).items():
        page.set_input_files("#upload input[type=file]", tmp_path / name)
        expect(page.get_by_text(re.compile(words))).to_be_visible(timeout=SLOW)
        assert np.array_equal(pixels(page), face)
        page.locator("#upload").get_by_label(re.compile("remove|clear", re.IGNORECASE)).first.click()
    press(page, "Hair", ["Home"])
    assert changed(page, face).max() > 8, "the page goes on"
    assert problems == []


def test_a_discovery_can_be_stopped_and_kept(browser, address):
    page, problems = watched_page(browser)
    page.goto(address)
    page.get_by_role("tab", name="Discover a new direction").click()
    page.locator("#start").click()
    expect(page.locator("#status")).to_contain_text("Step", timeout=SLOW)
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped", timeout=SLOW)
    page.locator("#keep").click()
    expect(page.get_by_label("range slider for Mouth 2", exact=True)).to_be_visible(timeout=SLOW)
    assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(browser, address, theme):
    page, problems = watched_page(browser, 390, 844)
    page.goto(f"{address}?__theme={theme}")
    expect(page.locator("#picture img")).to_be_visible(timeout=SLOW)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    press(page, "Hair", ["ArrowRight"])
    assert page.evaluate("document.querySelector('#picture img').getBoundingClientRect().width") > 250
    assert problems == []
