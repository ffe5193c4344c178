"""End to end, in a real Chromium: another model is fetched from a Hub, finds its sliders, and takes the photo over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from demo.models import ModelManager
from demo.page import build_page
from tests.browser import SLOW, chromium, served, upload, watched_page
from tests.hub_server import Fault
from tests.tiny_flagship import E4E, NAME

pytestmark = pytest.mark.browser
ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"


def choose(page) -> None:
    """Open the models and take the small flagship from the list."""
    page.get_by_text("Model: digiface-64").click()
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name=NAME).click()


def test_a_model_is_fetched_finds_its_sliders_and_takes_the_photo_over(hub, quick, editor):
    hub()
    with served(build_page(ModelManager(editor), seed=45)) as address, chromium() as browser:
        page, problems = watched_page(browser)
        page.goto(address)
        upload(page, ASTRONAUT)
        choose(page)
        expect(page.locator("#about-model")).to_contain_text("MB are to be fetched", timeout=SLOW)
        page.get_by_role("button", name=f"Get {NAME}").click()
        expect(page.locator("#about-model")).to_contain_text("is ready, with", timeout=SLOW)
        page.get_by_role("button", name=f"Use {NAME}").click()
        expect(page.get_by_text(f"Model: {NAME}")).to_be_visible(timeout=SLOW)
        expect(page.locator("#note")).to_contain_text("Rebuilt in", timeout=SLOW)
        expect(page.get_by_label("range slider for Nose-2")).to_have_count(0)
        assert page.locator("#cards button").count() >= 3
        slider = page.locator("#sliders input[type=range]:visible").first
        slider.focus()
        before = page.locator("#picture img, #swipe img").last.get_attribute("src")
        slider.press("End")
        expect(page.locator("#picture img, #swipe img").last).not_to_have_attribute("src", before, timeout=SLOW)
        page.get_by_text("The face in the photo").click()
        expect(page.locator("#aligned img")).to_be_visible()
        page.get_by_label("Tune the model to this face").check()
        page.wait_for_timeout(1000)
        page.locator("#stop-refining").click()
        page.get_by_role("tab", name="Discover").click()
        expect(page.locator("#parts")).to_contain_text("earrings", timeout=SLOW)
        assert problems == []


def test_a_model_that_cannot_be_fetched_is_reported_and_the_page_goes_on(hub, quick, editor):
    hub({E4E: [Fault(status=404, times=99)]})
    with served(build_page(ModelManager(editor), seed=45)) as address, chromium() as browser:
        page, problems = watched_page(browser)
        page.goto(address)
        expect(page.locator("#swipe img").last).to_be_visible(timeout=SLOW)
        choose(page)
        page.get_by_role("button", name=f"Get {NAME}").click()
        expect(page.locator("#about-model")).to_contain_text("could not be prepared", timeout=SLOW)
        page.get_by_text("Details", exact=True).last.click()
        expect(page.get_by_text(re.compile("could not be fetched"))).to_be_visible()
        expect(page.get_by_role("button", name=f"Get {NAME}")).to_be_enabled()
        before = page.locator("#picture img, #swipe img").last.get_attribute("src")
        page.get_by_label("range slider for Smile", exact=True).press("End")
        expect(page.locator("#picture img, #swipe img").last).not_to_have_attribute("src", before, timeout=SLOW)
        assert problems == []
