"""The endpoints for programs: known answers through gradio_client and MCP, and a sentence for whatever else is sent."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import demo.api
from demo.api import API, MAX_STEPS, Api, Made, PictureFile, add_api
from demo.lanes import Lane
from demo.models import ModelManager
from demo.options import Settings
from demo.recipe import ENTRIES, EXAMPLE, LONGEST_NAME, Recipe, read_recipe, write_recipe
from demo.serve import serve
from lelsd_core.directions import Direction
from lelsd_core.editor import Editor, Session
from lelsd_core.editor import session as shell
from lelsd_core.errors import UserError
from lelsd_core.images import read_photo
from lelsd_core.seeds import HELD_OUT
from tests.page_client import free_port

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"
NAMES = ("random", "invert", "edit", "recipe", "discover", "sliders")
FILE = {"_type": "gradio.FileData"}
FACE = {"generator": "digiface-64", "seed": 45, "amounts": {}}


@pytest.fixture(scope="module")
def quick(editor) -> Editor:
    """The editor with a short refinement."""
    quick = copy(editor)
    quick.refinement_steps = 4
    return quick


@pytest.fixture(scope="module")
def api(quick) -> Api:
    return Api(ModelManager(quick), Lane(), Lane(), max_bytes=1_000_000)


def page_of(editor: Editor) -> gr.Blocks:
    """A page with nothing but the endpoints, queued as the whole page is."""
    with gr.Blocks(analytics_enabled=False) as page:
        add_api(ModelManager(editor), max_bytes=1_000_000)
        gr.on([], lambda: None, api_name="discover", api_visibility="private")  # as an event of the whole page
    return page.queue(api_open=False)


@pytest.fixture(scope="module")
def page(quick) -> Iterator[gr.Blocks]:
    page = page_of(quick)
    page.launch(prevent_thread_lock=True, quiet=True, run_history=False, ssr_mode=False, server_port=free_port())
    yield page
    page.close()


@pytest.fixture(scope="module")
def client(page) -> Client:
    return Client(page.local_url, verbose=False, analytics_enabled=False)


@pytest.fixture(scope="module")
def opened(quick) -> Session:
    """The astronaut's face."""
    return quick.open(ASTRONAUT)


@pytest.fixture(scope="module")
def inverted(client) -> tuple[str, dict[str, Any]]:
    """Picture and recipe of the astronaut's face."""
    return client.predict(handle_file(ASTRONAUT), api_name="/invert")


def same(file: str | io.BytesIO, picture: Image.Image) -> bool:
    """Whether a file holds a picture."""
    with Image.open(file) as image:
        return np.array_equal(np.asarray(image), np.asarray(picture))


# ---------------------------------------------------------------------------------------------- known answers


def test_these_endpoints_are_public_and_queued_in_their_lanes(page, client):
    public = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(public) == [f"/{name}" for name in NAMES]
    endpoints = [each for each in page.fns.values() if each.api_visibility == "public"]
    assert [each.concurrency_id for each in endpoints][:5] == [*["faces"] * 4, "searching"]
    assert all(each.queue and each.concurrency_limit is None for each in endpoints)
    assert all(each["description"] for each in public.values())


def test_a_random_face_is_the_editors(client, editor):
    picture, recipe = client.predict(seed=45, api_name="/random")
    assert same(picture, editor.random_face(45).original)
    assert recipe == FACE
    assert b"digitalsourcetype/trainedAlgorithmicMedia" in Path(picture).read_bytes()


def test_an_edit_is_the_editors_and_amounts_add_up_within_their_ranges(client, editor):
    hair = editor.directions[1]
    start = {**FACE, "amounts": {"smile": 1, "mouth-open": 1}}
    picture, recipe = client.predict(start, {"mouth-open": 0, hair.name: 1e9}, api_name="/edit")
    assert recipe == {**FACE, "amounts": {"smile": 1, hair.name: hair.high}}
    assert same(picture, editor.edit(editor.random_face(45), recipe["amounts"]).picture)
    unedited, _ = client.predict(FACE, api_name="/edit")
    assert same(unedited, editor.random_face(45).original)


def test_a_photo_is_edited_by_its_recipe_as_by_its_session(client, inverted, opened, editor):
    rebuilt, recipe = inverted
    assert same(rebuilt, opened.original)
    assert (recipe["generator"], recipe["amounts"], "seed" in recipe) == ("digiface-64", {}, False)
    picture, edited = client.predict(recipe, {"smile": 2}, api_name="/edit")
    assert same(picture, editor.edit(opened, {"smile": 2}).picture)
    assert edited == {**recipe, "amounts": {"smile": 2}}


def test_layers_of_a_recipe_count(client, editor):
    name, layer = "clothes", next(iter(editor.generator.layers))
    start = {**FACE, "layers": {name: layer}}
    picture, recipe = client.predict(start, {name: 1}, api_name="/edit")
    session = editor.random_face(45)
    assert same(picture, editor.edit(session.with_layers({name: layer}), {name: 1}).picture)
    assert not same(picture, editor.edit(session, {name: 1}).picture)
    assert recipe["layers"] == {name: [layer]}


def test_the_shell_reads_a_recipe(tmp_path, inverted):
    recipe = {**inverted[1], "amounts": {"smile": 2.0}, "layers": {"smile": ["coarse"]}}
    (path := tmp_path / "recipe.json").write_text(json.dumps(recipe))
    assert shell.read_recipe(path) == ({"smile": 2.0}, {"smile": ("coarse",)}, "digiface-64")


def test_a_recipe_edits_another_photo_as_the_shell_does(client, opened, editor):
    picture, recipe = client.predict({**FACE, "amounts": {"smile": 2}}, handle_file(ASTRONAUT), api_name="/recipe")
    edit = editor.edit(opened, {"smile": 2})
    assert same(picture, editor.paste(opened, ASTRONAUT, edit))
    assert b"compositeWithTrainedAlgorithmicMedia" in Path(picture).read_bytes()
    assert recipe == write_recipe(opened, Recipe(amounts={"smile": 2}))
    again, _ = client.predict(recipe, api_name="/edit")
    assert same(again, edit.picture)


def test_a_direction_is_discovered_measured_and_written_to_a_file(client, editor, monkeypatch):
    monkeypatch.setattr(demo.api, "CALIBRATION_SEEDS", HELD_OUT[:16])
    path, facts = client.predict("mouth", steps=2, seed=3, api_name="/discover")
    direction = Direction.load(path)
    direction.check(editor.generator)
    assert facts["name"] == direction.name == Path(path).stem
    assert facts["range"] == [direction.low, direction.high]
    assert (facts["parts"], facts["score"], facts["ends"]) == (["mouth"], direction.score, list(direction.ends))
    assert direction.facts["steps"] == 2


def test_searches_wait_for_each_other(api):
    with api.searches.ticket("somebody else"):
        search = api.discover("mouth", steps=2)
        assert next(search) == (None, {"waiting": 1})
        search.close()
        assert len(api.searches._line) == 1


def test_sliders_are_listed_with_what_a_caller_needs(client, editor):
    listed = client.predict(api_name="/sliders")
    assert (listed["generator"], listed["generators"]) == ("digiface-64", ["digiface-64"])
    assert listed["parts"] == list(editor.segmenter.parts.names)
    assert [slider["name"] for slider in listed["sliders"]] == [direction.name for direction in editor.directions]
    smile = listed["sliders"][0]
    assert (smile["parts"], smile["ends"]) == (["mouth"], ["pouting", "smiling"])
    assert smile["range"] == [editor.directions[0].low, editor.directions[0].high]


def test_the_example_of_the_text_works(page):
    assert API.strip().count("\n") < 15
    code = re.search(r"```python\n(.*?)```", API, re.DOTALL)[1]
    code = code.replace("http://127.0.0.1:7860", page.local_url).replace("photo.jpg", str(ASTRONAUT))
    exec(code, names := {})
    assert read_photo(names["photo"]).size == (512, 512)
    assert names["recipe"]["amounts"] == {"smile": 2}


def test_large_pictures_are_jpeg():
    for size, kind in (((64, 64), "PNG"), ((2100, 2000), "JPEG")):
        with Image.open(PictureFile().postprocess(Made(Image.new("RGB", size), {})).path) as written:
            assert (written.size, written.format) == (size, kind)


def test_pictures_are_deleted_with_the_pages_other_files(page, client):
    client.predict(seed=45, api_name="/random")
    picture = next(path for paths in page.temp_file_sets for path in paths if path.endswith(".png"))
    assert Path(picture).is_file()


# --------------------------------------------------------------------------------------------------- mistakes


LONG = "x" * 5_000
MISTAKES = {
    "a seed in words": ("random", ["many"], "The seed must be a finite number."),
    "a seed beyond all floats": ("random", [10**400], "The seed must be a finite number."),
    "a broken seed": ("random", [1.5], "The seed must be a whole number from 0 to 2147483647, not 1.5."),
    "a seed that is true": ("random", [True], "The seed must be a finite number."),
    "an unknown model": ("random", [1, "digiface"], "There is no generator named 'digiface'; did you mean"),
    "a model that is not loaded": ("random", [1, "ffhq-1024"], "ffhq-1024 cannot be used yet."),
    "a very long name": ("random", [1, LONG], "The generator must be a text of at most 100 letters."),
    "a file as a model": ("random", [1, str(ASTRONAUT)], "There is no generator named"),
    "a path as a photo": ("invert", [str(ASTRONAUT)], 'give handle_file("photo.jpg")'),
    "a path that was not uploaded": ("invert", [{"path": str(ASTRONAUT)}], "The photo must be a file"),
    "no photo": ("invert", [None], "The photo must be a file"),
    "no recipe": ("edit", [None], f"This recipe names no face; give it a seed, as in {EXAMPLE}"),
    "a recipe in words": ("edit", ["smile"], "A recipe must be a JSON object"),
    "an unknown entry": ("edit", [{"sed": 1}], "There is no entry of a recipe named 'sed'; did you mean seed"),
    "two faces": ("edit", [{"seed": 1, "codes": "AAAA"}], "A recipe holds one face"),
    "codes of another type": ("edit", [{"codes": [1, 2]}], "The codes of a recipe must be the text"),
    "codes without a space": ("edit", [{"codes": "AAAA"}], "There is no latent space named ''"),
    "codes that are too short": ("edit", [{"codes": "AAAA", "space": "S"}], "are not 2020 finite numbers"),
    "an unknown slider": ("edit", [FACE, {"smle": 1}], "There is no direction named 'smle'; did you mean smile"),
    "an amount in words": ("edit", [FACE, {"smile": "2"}], "The amount of 'smile' must be a finite number."),
    "amounts in a list": ("edit", [FACE, [1]], "amounts must be a JSON object"),
    "too many amounts": ("edit", [FACE, {str(i): 0 for i in range(2000)}], "at most 1000 names, not 2000."),
    "a long name of an amount": ("edit", [FACE, {LONG: 1}], "A name in amounts must be a text of at most 100"),
    "an unknown layer": ("edit", [{**FACE, "layers": {"smile": ["x"]}}], "There is no layer named 'x'"),
    "layers of an unknown slider": ("edit", [{**FACE, "layers": {"x": "fine"}}], "There is no direction named 'x'"),
    "layers of another type": ("edit", [{**FACE, "layers": {"smile": 1}}], "layers must hold names"),
    "an unknown slider for a photo": ("recipe", [{"amounts": {"x": 1}}, None], "There is no direction named 'x'"),
    "an unknown part": ("discover", ["tail"], "There is no part named 'tail'"),
    "a part of another type": ("discover", [["mouth"]], "The part must be a text"),
    "no steps": ("discover", ["mouth", 0], f"The number of steps must be a whole number from 1 to {MAX_STEPS}, not 0."),
    "too many steps": ("discover", ["mouth", 10**6], "not 1e+06."),
    "another model's sliders": ("sliders", ["x"], "There is no generator named 'x'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_answered_in_a_sentence_and_leaves_no_traceback(case, client, capfd):
    name, arguments, words = MISTAKES[case]
    with pytest.raises(AppError) as error:
        client.predict(*arguments, api_name=f"/{name}")
    message = str(error.value)
    assert words in message
    assert message.endswith((".", "?", "};"))
    assert len(message) < 500
    assert "\n" not in message
    assert "Traceback" not in capfd.readouterr().err


def test_files_that_are_no_photos_are_refused(client, tmp_path, capfd):
    (text := tmp_path / "photo.jpg").write_text("no picture")
    (large := tmp_path / "large.png").write_bytes(bytes(1_000_001))
    for path, words in ((text, "is not a picture"), (large, "1 MB")):
        with pytest.raises(AppError, match=words):
            client.predict(handle_file(path), api_name="/invert")
    assert "Traceback" not in capfd.readouterr().err


def test_addresses_inside_this_machine_are_not_read_but_an_uploads_is(page, client, inverted, capfd):
    for address in (f"{page.local_url}config", f"{page.local_url}gradio_api/file=/etc/passwd", "http://127.0.0.1:9/x"):
        with pytest.raises(AppError, match=r"The photo cannot be fetched from this address\."):
            client.predict(handle_file(address), api_name="/invert")
    uploaded = httpx.post(f"{page.local_url}gradio_api/upload", files={"files": ASTRONAUT.open("rb")}).json()[0]
    _, recipe = client.predict(handle_file(f"{page.local_url}gradio_api/file={uploaded}"), api_name="/invert")
    assert recipe == inverted[1]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("photo", [{"path": "/etc/hostname", "meta": FILE}, {"path": str(ASTRONAUT), "meta": FILE}])
def test_a_file_of_the_server_is_not_read(page, photo):
    fn = next(each for each in page.fns.values() if each.api_name == "invert")
    job = {"data": [photo, ""], "fn_index": fn._id, "session_hash": "hostile"}
    with httpx.Client(base_url=page.local_url) as raw:
        raw.post("/gradio_api/queue/join", json=job).raise_for_status()
        with raw.stream("GET", "/gradio_api/queue/data", params={"session_hash": "hostile"}) as lines:
            last = next(line for line in lines.iter_lines() if "process_completed" in line)
    assert json.loads(last[6:])["success"] is False


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
recipes = json_values | st.dictionaries(st.sampled_from(ENTRIES), json_values, max_size=6)
codes = st.floats(width=32).map(lambda scale: np.linspace(-scale, scale, 2020).astype("<f4").tobytes())


def answer(api: Api, *arguments: Any) -> Any:
    """What an edit returns, or its `UserError`."""
    try:
        return api.edit(*arguments)
    except UserError as error:
        return error


@given(recipes, json_values)
def test_any_recipe_is_edited_or_answered_in_a_sentence(api, recipe, amounts):
    result = answer(api, recipe, amounts)
    if isinstance(result, UserError):
        assert len(str(result)) < 600
        return
    made, written = result
    assert made.picture.size == (64, 64)
    assert write_recipe(read_recipe(written).session(api.editor("")), read_recipe(written)) == written


@given(codes=codes | st.binary(max_size=99), amount=st.floats(allow_nan=False, allow_infinity=False))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy: there are infinite codes among them
def test_any_codes_are_rendered_or_answered_in_a_sentence(api, codes, amount):
    usable = len(codes) == 8080 and np.isfinite(np.frombuffer(codes, "<f4")).all()
    text = base64.b64encode(codes).decode()
    result = answer(api, {"space": "S", "codes": text}, {"hair-blond": amount})
    if isinstance(result, UserError):
        assert not usable or "shows no" in str(result)
        return
    assert usable
    assert result[0].picture.size == (64, 64)
    assert result[1]["codes"] == text


def test_names_of_a_recipe_are_short_before_they_are_compared():
    with pytest.raises(UserError, match=f"at most {LONGEST_NAME} letters"):
        read_recipe({"x" * 10**7: 1})


# ------------------------------------------------------------------------------------------------- assistants


def test_assistants_have_the_same_functions_as_tools(quick, editor, monkeypatch, capfd):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    page, port = page_of(quick), free_port()
    monkeypatch.setattr(page, "block_thread", lambda: None)
    serve(page, Settings(port=port, mcp=True))
    photo = "data:image/png;base64," + base64.b64encode(ASTRONAUT.read_bytes()).decode()

    async def talk() -> SimpleNamespace:
        address = f"http://127.0.0.1:{port}/gradio_api/mcp/"
        async with streamable_http_client(address) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            return SimpleNamespace(
                tools=(await session.list_tools()).tools,
                made=await session.call_tool("random", {"seed": 45}, progress_callback=ignore),
                edited=await session.call_tool("edit", {"recipe": FACE, "amounts": {"smile": 2}}),
                refused=await session.call_tool("edit", {"recipe": FACE, "amounts": {"smle": 2}}),
                inverted=await session.call_tool("invert", {"photo": photo}),
            )

    async def ignore(*_: Any) -> None:
        pass

    try:
        said = asyncio.run(talk())
    finally:
        page.close()
    assert [tool.name for tool in said.tools] == list(NAMES)
    for tool in said.tools:
        assert all(schema["description"] for schema in tool.inputSchema["properties"].values())
    picture, _, recipe = said.made.content
    assert same(io.BytesIO(base64.b64decode(picture.data)), editor.random_face(45).original)
    assert str(FACE) in recipe.text
    assert "'smile': 2" in said.edited.content[0].text
    assert said.refused.isError
    assert "There is no direction named 'smle'" in said.refused.content[0].text
    assert not said.inverted.isError
    assert "Traceback" not in capfd.readouterr().err
