"""End to end, in a real Chromium: photos, sliders, history, views, links, discovery; phones and keyboards."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from demo.models import ModelManager
from demo.page import build_page
from demo.views import TITLES
from tests.browser import SLOW, chromium, served, upload, watched_page

pytestmark = pytest.mark.browser
ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"
SIZES = {"desktop": (1440, 900), "small": (1024, 768), "phone": (390, 844)}


@pytest.fixture(scope="module")
def address(editor):
    with served(build_page(ModelManager(editor), seed=45)) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture
def opened(browser, address):
    """opened(size, query) → a page that shows its first face; it must raise no script error and ask nobody else."""
    seen = []

    def go(size: str = "desktop", query: str = ""):
        page, problems = watched_page(browser, *SIZES[size])
        page.goto(f"{address}{query}")
        expect(page.locator("#stage img").first).to_be_visible(timeout=SLOW)
        page.wait_for_function("() => document.querySelector('#sliders input[aria-valuetext]')", timeout=SLOW)
        seen.append((page, problems))
        return page

    yield go
    for page, problems in seen:
        page.close()
        assert problems == []


def source(page) -> str:
    """The address of the edited picture as it is on the page."""
    return page.locator("#picture img, #swipe img").last.get_attribute("src")


def pixels(page) -> np.ndarray:
    """That picture."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source(page).split(",")[1])))).astype(int)


def wait_for_another(page, before: str) -> None:
    """Until the picture is another one, and has been the same for a moment."""
    script = "src => [...document.querySelectorAll('#picture img:not(.held), #swipe img')].at(-1)?.src !== src"
    page.wait_for_function(script, arg=before, timeout=SLOW)
    while (now := source(page)) != before:
        before = now
        page.wait_for_timeout(700)


def view(page, name: str) -> None:
    """Choose a view."""
    page.locator("#view label", has_text=name).click()
    expect(page.locator("#picture, #swipe").get_by_text(TITLES[name])).to_be_visible(timeout=SLOW)


def slider(page, label: str):
    """A slider that is shown."""
    return page.get_by_label(f"range slider for {label}", exact=True)


def press(page, label: str, key: str) -> None:
    """Move a slider by keyboard, and wait for what it does."""
    before = source(page)
    slider(page, label).focus()
    page.keyboard.press(key)
    wait_for_another(page, before)


def open_card(page, part: str) -> None:
    """Show the sliders of a part."""
    page.get_by_role("button", name=re.compile(rf"^Part \d+: {part}")).click()
    expect(page.locator("#card-title")).to_contain_text(part)


def changed_by_part(editor, change: np.ndarray) -> dict[str, float]:
    """Mean change (512, 512) within each part of the astronaut's aligned face."""
    photo = Image.open(ASTRONAUT).convert("RGB")
    face = editor.aligner.cut(photo, *editor.aligner.find(photo)).picture
    numbers = editor.segmenter.segment(face).argmax(1)[0].numpy().repeat(8, 0).repeat(8, 1)
    return {part: float(change[numbers == i].mean()) for i, part in enumerate(editor.segmenter.parts)}


# -------------------------------------------------------------------------------------------- a photo, end to end


def test_a_photo_is_edited_and_a_new_slider_is_found_used_and_kept(opened, editor):
    page = opened()
    upload(page, ASTRONAUT)
    before = pixels(page)
    press(page, "Mouth", "Home")
    change = changed_by_part(editor, np.abs(pixels(page) - before).mean(2))
    assert max(change, key=change.get) == "mouth", change
    assert change["mouth"] > 3 * sum(change.values()) / len(change)
    expect(page.locator("#meter")).to_contain_text("inside mouth")
    expect(page.locator("#meter")).to_contain_text("Likeness")

    page.get_by_role("tab", name="Discover").click()
    expect(page.locator("#keep")).to_be_disabled()
    expect(page.locator("#stop")).to_be_disabled()
    set_steps(page, 20)
    page.locator("#start").click()
    expect(page.locator("#status")).to_contain_text(re.compile("Step 20 of 20"), timeout=SLOW)
    expect(page.locator("#strip img")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("my lips")
    page.locator("#keep").click()
    expect(slider(page, "My lips")).to_be_visible(timeout=SLOW)
    assert slider(page, "Mouth").input_value() == "-100", "other sliders stay"
    before = pixels(page)
    press(page, "My lips", "End")
    assert np.abs(pixels(page) - before).max() > 8
    page.locator("#reset").click()
    expect(slider(page, "Mouth")).to_have_value("0")
    expect(slider(page, "My lips")).to_have_value("0")

    page.reload()
    expect(page.locator("#note")).to_contain_text(re.compile("A face that the generator made up"), timeout=SLOW)
    expect(slider(page, "My lips")).to_be_visible(timeout=SLOW)


def set_steps(page, steps: int) -> None:
    """Write the number of steps of a search."""
    page.locator("#search-settings > button").click()
    page.get_by_label("number input for Steps").fill(str(steps))
    expect(page.get_by_label("range slider for Steps")).to_have_value(str(steps))


def write_bad_files(folder: Path) -> dict[str, str]:
    """Files that cannot be edited, and the message for each."""
    Image.new("RGB", (300, 300), "green").save(folder / "green.png")
    (folder / "notes.png").write_text("not a picture")
    (folder / "cut.png").write_bytes(ASTRONAUT.read_bytes()[:100_000])
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    (folder / "paper.pdf").write_bytes(b"%PDF-1.4")
    return {
        "green.png": "No face was found",
        "notes.png": "not a picture that can be read",
        "cut.png": "damaged or cut off",
        "dot.png": "only 1×1 pixels",
        "huge.png": "has 400 megapixels, too large; at most 64",
        "paper.pdf": "paper.pdf is not a picture; use a JPEG",
    }


def test_bad_input_is_reported_and_the_face_stays(opened, tmp_path):
    page = opened()
    view(page, "Change")
    face = source(page)
    for name, words in write_bad_files(tmp_path).items():
        page.set_input_files("#upload input[type=file]", tmp_path / name)
        expect(page.get_by_text(re.compile(words))).to_be_visible(timeout=SLOW)
        assert source(page) == face
        clear = page.locator("#upload").get_by_label(re.compile("remove|clear", re.IGNORECASE))
        if clear.count():
            clear.first.click()
    open_card(page, "Hair")
    press(page, "Hair", "Home")


# ------------------------------------------------------------------------------------------------- a face that is there


def test_an_edit_is_compared_undone_saved_and_linked(opened, address, tmp_path):
    page = opened()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    view(page, "Edited")
    page.locator("#reset").click()
    page.wait_for_timeout(1500)
    plain = pixels(page)
    press(page, "Mouth", "End")
    edited = pixels(page)
    assert np.abs(edited - plain).max() > 8
    expect(page.locator("#undo")).to_be_enabled()

    before = page.locator("#before")
    before.dispatch_event("pointerdown")
    held = page.locator("#picture img.held").get_attribute("src").split(",")[1]
    assert np.abs(np.asarray(Image.open(io.BytesIO(base64.b64decode(held)))).astype(int) - plain).max() <= 2
    before.dispatch_event("pointerup")
    expect(page.locator("#picture img.held")).to_have_count(0)

    page.locator("body").press("Control+z")
    expect(slider(page, "Mouth")).to_have_value("0")
    page.locator("body").press("Control+Shift+z")
    expect(slider(page, "Mouth")).to_have_value("100")
    expect(page.get_by_role("button", name="Mouth 100")).to_be_visible()

    with page.expect_download() as saved:
        page.locator("#download").click()
    assert saved.value.suggested_filename == "edited.png"
    picture = np.asarray(Image.open(saved.value.path()).convert("RGB")).astype(int)
    assert np.abs(picture - edited).mean() < 2, "what is seen, which was sent as a JPEG"

    page.get_by_text("Save and share").click()
    page.locator("#copy-link").click()
    expect(page.locator("#message")).to_contain_text("The link is copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(address)
    other = opened(query=link.removeprefix(address))
    expect(slider(other, "Mouth")).to_have_value("100", timeout=SLOW)
    other.wait_for_timeout(1500)
    assert np.abs(pixels(other) - edited).mean() < 1

    page.reload()
    expect(slider(page, "Mouth")).to_have_value("100", timeout=SLOW)


def test_parts_are_chosen_in_the_picture_and_moved_by_one_click(opened):
    page = opened()
    view(page, "Edited")
    box = page.locator("#picture img").bounding_box()
    page.locator("#picture img").click(position={"x": box["width"] / 2, "y": box["height"] / 20})
    expect(page.locator("#card-title")).to_contain_text("Hair")
    page.get_by_role("button", name="Mute", exact=True).click()
    expect(page.get_by_role("button", name="Unmute")).to_be_visible()
    open_card(page, "Mouth")
    before = source(page)
    page.get_by_role("button", name="End 2: smiling").click()
    wait_for_another(page, before)
    expect(slider(page, "Smile")).to_have_value("100")
    before = source(page)
    page.get_by_role("button", name=re.compile("Look 1: ")).click()
    wait_for_another(page, before)
    expect(slider(page, "Smile")).not_to_have_value("100")
    for name in ("Swipe", "Change", "Part", "Edited"):
        view(page, name)


def test_a_slider_says_what_it_does_and_shows_what_is_used(opened):
    page = opened()
    smile = slider(page, "Smile")
    page.locator("#reset").click()
    expect(smile).to_have_attribute("aria-valuetext", "as it was")
    press(page, "Smile", "End")
    expect(smile).to_have_attribute("aria-valuetext", "100 percent smiling")
    box = page.get_by_label("number input for Smile", exact=True)
    box.fill("999")
    page.locator("#card-title").click()
    expect(box).to_have_value("100")
    box.fill("")
    page.locator("#card-title").click()
    expect(box).to_have_value("0")
    press(page, "Smile", "Home")
    expect(page.get_by_role("button", name="Reset Smile")).to_have_count(1)
    page.get_by_text("Smile", exact=True).first.dblclick()
    expect(smile).to_have_value("0")


def test_one_key_press_is_one_request_for_a_picture(opened):
    page = opened()
    view(page, "Edited")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    slider(page, "Mouth").focus()
    before = source(page)
    page.keyboard.press("ArrowRight")
    wait_for_another(page, before)
    assert len(asked) == 2, "a picture at once, and the measured one at rest"
    assert ["/live/" in url for url in asked] == [True, False]


def test_a_slider_that_comes_back_leaves_the_picture_that_was_there(opened):
    page = opened()
    view(page, "Edited")
    slider(page, "Mouth").focus()
    before = source(page)
    page.keyboard.press("PageUp")
    page.wait_for_function("() => document.querySelector('#picture img').src.startsWith('blob:')", timeout=SLOW)
    page.keyboard.press("PageDown")
    page.wait_for_function("src => document.querySelector('#picture img').src === src", arg=before, timeout=SLOW)


def test_the_first_picture_is_there_before_the_page_and_makes_room_for_it(browser, address):
    page = browser.new_page()
    page.route("**/assets/**", lambda route: route.abort())
    page.goto(address)
    expect(page.locator("#splash img")).to_be_visible()
    page.unroute("**/assets/**")
    page.goto(address)
    expect(page.locator("#stage img").first).to_be_visible(timeout=SLOW)
    expect(page.locator("#splash")).to_have_count(0)
    page.close()


def test_the_last_face_wins_at_once(opened):
    """Faces do not wait for the inversion of the one before (it takes seconds)."""
    page = opened()
    page.set_input_files("#upload input[type=file]", ASTRONAUT)
    expect(page.locator("#note")).to_contain_text("One face was found", timeout=SLOW)
    page.get_by_text("Seed", exact=True).first.click()
    seed = page.locator("#seed input")
    seed.fill("7")
    seed.press("Enter")
    expect(page.locator("#note")).to_contain_text("seed 7", timeout=5000)
    page.wait_for_timeout(3000)
    expect(page.locator("#note")).to_contain_text("seed 7")
    seed.fill("1.5")
    seed.press("Enter")
    expect(page.get_by_text("A seed is a whole number")).to_be_visible(timeout=SLOW)


def test_a_camera_and_a_clipboard_that_are_refused_can_be_left(opened):
    page = opened()
    page.locator("#camera").click()
    expect(page.locator("#message")).to_contain_text("The camera cannot be used")
    page.evaluate("document.body.dispatchEvent(new ClipboardEvent('paste', {bubbles: true}))")
    expect(page.locator("#message")).to_contain_text("no picture in the clipboard")
    upload(page, ASTRONAUT)


def test_a_picture_is_pasted(opened):
    page = opened()
    content = base64.b64encode(ASTRONAUT.read_bytes()).decode()
    page.evaluate(
        """content => {
        const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0)), data = new DataTransfer();
        data.items.add(new File([bytes], 'pasted.png', {type: 'image/png'}));
        document.body.dispatchEvent(new ClipboardEvent('paste', {bubbles: true, clipboardData: data})); }""",
        content,
    )
    expect(page.locator("#note")).to_contain_text("One face was found", timeout=SLOW)


# ----------------------------------------------------------------------------------------------------- discovery


def test_a_discovery_can_be_stopped_and_kept(opened):
    page = opened()
    page.get_by_role("tab", name="Discover").click()
    page.locator("#start").click()
    expect(page.locator("#status")).to_contain_text("Step", timeout=SLOW)
    expect(page.locator("#start")).to_be_disabled()
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped", timeout=SLOW)
    expect(page.locator("#stop")).to_be_disabled()
    reached = page.locator("#status").inner_text()
    page.locator("#continue").click()
    expect(page.locator("#status")).to_contain_text("Step", timeout=SLOW)
    assert "Stopped" in reached
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped", timeout=SLOW)
    page.locator("#keep").click()
    expect(slider(page, "Mouth 2")).to_be_visible(timeout=SLOW)


def test_a_region_is_painted_by_mouse_and_keyboard_and_searched_for(opened):
    page = opened()
    page.get_by_role("tab", name="Discover").click()
    page.locator("#where label", has_text="What I paint").click()
    layer = page.locator("#paint")
    expect(layer).to_be_visible(timeout=SLOW)
    page.locator("#start").click()
    expect(page.locator(".toast-body")).to_contain_text("Nothing is painted yet", timeout=SLOW)
    box = layer.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.85 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.85 * box["height"], steps=5)
    page.mouse.up()
    area = """() => document.querySelector('#paint').getContext('2d').getImageData(0, 0, 128, 128)
      .data.filter((value, i) => i % 4 === 3 && value > 127).length"""
    drawn = page.evaluate(area)
    layer.focus()
    for key in ("ArrowDown", "ArrowDown", " "):
        page.keyboard.press(key)
    assert (more := page.evaluate(area)) > drawn > 200
    page.locator("#erase").click()
    layer.focus()
    page.keyboard.press(" ")
    assert page.evaluate(area) < more
    page.get_by_label("Its name").fill("chin")
    set_steps(page, 20)
    page.locator("#start").click()
    expect(page.locator("#status")).to_contain_text("Step 20 of 20", timeout=SLOW)
    page.locator("#keep").click()
    expect(page.locator("#card-title")).to_contain_text("Chin", timeout=SLOW)
    page.locator("#card-details > button").click()
    expect(page.locator("#card-facts")).to_contain_text("inside chin")


def test_clusters_are_clicked_in_the_face(opened):
    page = opened()
    page.get_by_role("tab", name="Discover").click()
    page.locator("#where label", has_text="What I click").click()
    page.locator("#find-clusters").click()
    shown = page.locator("#cluster-map img")
    expect(shown).to_be_visible(timeout=SLOW)
    before = shown.get_attribute("src")
    box = shown.bounding_box()
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.78 * box["height"])
    page.wait_for_function("src => document.querySelector('#cluster-map img').src !== src", arg=before, timeout=SLOW)
    page.locator("#start").click()
    expect(page.locator("#status")).to_contain_text("Step", timeout=SLOW)
    page.locator("#stop").click()


def test_a_search_of_one_visitor_blocks_nobody(opened):
    first, second = opened(), opened()
    for page in (first, second):
        page.get_by_role("tab", name="Discover").click()
        set_steps(page, 400)
        page.locator("#start").click()
    expect(first.locator("#status")).to_contain_text("Step", timeout=SLOW)
    expect(second.locator("#status")).to_contain_text("Another visitor's search is before yours", timeout=SLOW)
    second.get_by_role("tab", name="Edit").click()
    upload(second, ASTRONAUT)
    press(second, "Mouth", "End")
    first.close(run_before_unload=True)
    second.get_by_role("tab", name="Discover").click()
    expect(second.locator("#status")).to_contain_text("Step", timeout=SLOW)
    second.locator("#stop").click()
    expect(second.locator("#status")).to_contain_text("Stopped", timeout=SLOW)


# -------------------------------------------------------------------------------------------------- sizes, keyboards


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_picture_and_its_tools_stay_in_sight_and_nothing_is_cut_off(opened, size, theme):
    page = opened(size, f"?__theme={theme}")
    width, height = SIZES[size]
    upload(page, ASTRONAUT)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    slider(page, "Mouth").scroll_into_view_if_needed()
    press(page, "Mouth", "End")
    for name in ("#picture img", "#toolbar", "#before", "#download"):
        box = page.locator(name).first.bounding_box()
        assert box["y"] >= -1, name
        assert box["y"] + box["height"] <= height + 1, name
    assert page.locator("#picture img").bounding_box()["width"] > 240
    box = slider(page, "Mouth").bounding_box()
    assert 0 <= box["y"] <= height, "slider and face share the screen"
    for tab in ("Discover", "Compare", "About", "Edit"):
        page.evaluate("scrollTo(0, 0)")
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_axe_finds_nothing_serious(opened, size, theme):
    page = opened(size, f"?__theme={theme}")
    expect(page.locator("#ends img").first).to_be_visible(timeout=SLOW)
    for tab in ("Discover", "Compare", "About", "Edit"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(700)
        if "Discover" in tab:
            page.locator("#search-settings > button").click()
            page.locator("#where label", has_text="What I paint").click()
            expect(page.locator("#paint")).to_be_visible(timeout=SLOW)
        found = Axe().run(page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert not serious, [(each["id"], each["nodes"][0]["html"][:200]) for each in serious]


def test_everything_is_reached_by_keyboard_and_what_has_the_focus_is_outlined(opened):
    page = opened()
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(70):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e), r = e.closest('label') ?? e;
            const outlined = s.outlineStyle !== 'none' || getComputedStyle(r).outlineStyle !== 'none';
            return {name: e.getAttribute('aria-label') ?? e.innerText ?? '', id: e.id || e.closest('[id]')?.id,
                    outlined, tag: e.tagName, type: e.type}; }"""
        )
        reached |= {focus["id"] or "", focus["name"].strip()}
        if focus["tag"] in ("BUTTON", "INPUT", "SELECT") and focus["type"] != "file":
            assert focus["outlined"], focus
    assert {"before", "undo", "reset", "download", "random", "Edit"} - {"undo"} <= reached
    assert "range slider for Smile" in reached
    assert "number input for Smile" not in reached, "one stop for each slider"
    assert any(name.startswith("Example 2: ") for name in reached)
    assert "Part 1: Mouth •" in reached


def test_the_divider_is_moved_by_keyboard_and_told(opened):
    page = opened()
    divider = page.get_by_role("slider", name="Divider between before and after")
    expect(divider).to_have_attribute("aria-valuenow", "50", timeout=SLOW)
    divider.focus()
    page.keyboard.press("ArrowRight")
    expect(divider).to_have_attribute("aria-valuenow", re.compile("5[456]"))
    page.keyboard.press("Home")
    expect(divider).to_have_attribute("aria-valuenow", re.compile("^[01]$"))
