"""The page's functions for programs: named endpoints for gradio_client, and tools for assistants with --mcp.

    seed or photo  --/random, /invert-->  picture, recipe  --/edit-->  picture, recipe
    recipe, photo  --/recipe-->  the edited photo, and the recipe of its face

A recipe (`demo.recipe`) holds all of a face and its edit: no endpoint keeps anything of its caller.

Gradio passes what a caller sends to an endpoint as it came: with its own input components a mistake would end in a
traceback. Files are the exception: a file is checked to be an upload, and put into Gradio's cache, before that.
"""

from __future__ import annotations

import inspect
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlparse

import gradio as gr
from gradio import processing_utils
from gradio.components.api_component import Api as AnyValue
from gradio.data_classes import ImageData
from gradio.utils import is_in_or_equal
from gradio_client.utils import is_file_obj_with_meta
from PIL import Image

from demo.components import picture_url, show_errors
from demo.lanes import Lane
from demo.models import USABLE, ModelManager, opening_seed
from demo.recipe import Recipe, read_amounts, read_name, read_recipe, read_whole, write_recipe
from lelsd_core.directions import Direction
from lelsd_core.editor import Editor, Session
from lelsd_core.errors import UserError
from lelsd_core.images import MAX_BYTES, read_photo
from lelsd_core.paste import USUAL
from lelsd_core.provenance import provenance
from lelsd_core.seeds import HELD_OUT

MAX_STEPS = 1200  # of a search, as on the page
CALIBRATION_SEEDS = HELD_OUT[:64]  # as on the page
INTERVAL = 1.0  # least time in seconds between two reports of a search
SERVED = "/gradio_api/file="  # in an address, before the path of a file that a page serves
NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
RECIPE = {
    "generator": {"type": "string"},
    "seed": {"type": "integer"},
    "space": {"type": "string"},
    "codes": {"type": "string"},
    "amounts": NUMBERS,
    "layers": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
}
SCHEMAS = {  # of the endpoints' parameters, as JSON schemas
    "seed": {"type": "integer"},
    "generator": {"type": "string"},
    "photo": ImageData.model_json_schema(),
    "recipe": {"type": "object", "properties": RECIPE},
    "amounts": NUMBERS,
    "part": {"type": "string"},
    "steps": {"type": "integer"},
}
API = """
### From a program
```python
from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")
picture, recipe = client.predict(seed=45, api_name="/random")
picture, recipe = client.predict(recipe, {"smile": 2}, api_name="/edit")
photo, recipe = client.predict(recipe, handle_file("photo.jpg"), api_name="/recipe")
```
Pictures are files. A *recipe* is JSON: the face (seed or codes), `amounts` and `layers`; `edit --recipe` reads it, too.
`/sliders` lists directions, parts and models; `/invert` takes a photo; `/discover` takes a part, steps and a seed, and
returns a direction's file with its range and scores. `generator` names another model. With `python app.py --mcp` all
of them are tools for assistants, at `/gradio_api/mcp/`.
"""


class Made(NamedTuple):
    """A picture, and the arguments of Pillow's `save` by which its file says how it was made."""

    picture: Image.Image
    about: dict[str, Any]


Answer = tuple[Made, dict[str, Any]]  # a picture, and the recipe of its face


class Api:
    """The endpoints. Each raises UserError for what its caller can put right.

    Callers see the docstrings: Gradio takes one line for each parameter and each result.

    Args:
        manager: the models.
        pictures: the lane of edits, which the page's own edits share.
        searches: the lane of searches.
        max_bytes: size limit of a photo.
    """

    def __init__(self, manager: ModelManager, pictures: Lane, searches: Lane, max_bytes: int = MAX_BYTES) -> None:
        self.manager, self.pictures, self.searches, self.max_bytes = manager, pictures, searches, max_bytes

    def random(self, seed: int, generator: str = "") -> Answer:
        """Make up a face; the same seed makes the same face.

        Args:
            seed: a whole number from 0 on
            generator: name of the model, see sliders; the page's own if left out

        Returns:
            the picture of the face
            its recipe, for edit
        """
        recipe = Recipe(read_name(generator, "The generator"), read_whole(seed, "The seed"))
        with self.pictures.turn(None):
            session = recipe.session(self.editor(recipe.generator))
        return answer(session.original, session, recipe)

    def invert(self, photo: Any, generator: str = "") -> Answer:
        """Find the largest face of a photo and rebuild it with a model. This takes some seconds to a minute.

        Args:
            photo: a JPEG, PNG, WebP, HEIC, AVIF, BMP, TIFF or GIF
            generator: name of the model, see sliders; the page's own if left out

        Returns:
            the face as the model rebuilds it
            its recipe, for edit
        """
        editor = self.editor(read_name(generator, "The generator"))
        session = editor.open(self.read(photo))
        return answer(session.original, session, Recipe())

    def edit(self, recipe: Any, amounts: Any = None) -> Answer:
        """Edit the face of a recipe: move some of its sliders; the others stay as the recipe has them.

        Args:
            recipe: what random, invert, edit or recipe returned
            amounts: how far to move each slider, by name and within its range, see sliders; 0 takes an edit back

        Returns:
            the edited face
            its recipe
        """
        recipe = read_recipe(recipe)
        recipe = replace(recipe, amounts={**recipe.amounts, **read_amounts(amounts)})
        editor = self.editor(recipe.generator)
        recipe.check(editor)
        with self.pictures.turn(None):
            session = recipe.session(editor)
            return answer(editor.render(session, recipe.amounts), session, recipe)

    def recipe(self, recipe: Any, photo: Any) -> Answer:
        """Edit the largest face of a photo as a recipe says; all else in the photo stays. This takes a minute at most.

        Args:
            recipe: what random, invert, edit or recipe returned, or amounts alone; its face is not used
            photo: a JPEG, PNG, WebP, HEIC, AVIF, BMP, TIFF or GIF

        Returns:
            the whole photo with the edited face
            the recipe of this face, for edit
        """
        recipe = replace(read_recipe(recipe), seed=None, codes=None)
        editor = self.editor(recipe.generator)
        recipe.check(editor)
        editor.check_edit(recipe.amounts, recipe.layers)
        image = self.read(photo)
        session = editor.with_takes(editor.open(image).with_layers(recipe.layers), recipe.amounts)
        with self.pictures.turn(None):
            edited = editor.render(session, recipe.amounts)
            picture = editor.paste(session, image, edited, recipe.amounts, how=USUAL)
        return answer(picture, session, recipe)

    def discover(
        self, part: str, steps: int | None = None, seed: int = 1, generator: str = ""
    ) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """Search for a new direction that changes one part of a face and leaves the rest alone. This takes minutes.

        Args:
            part: the part that shall change, see sliders
            steps: of the search, 1 to 1200; as many as suit the model if left out
            seed: another whole number finds another direction
            generator: name of the model, see sliders; the page's own if left out

        Returns:
            the direction as a safetensors file, which the shell's edit --directions takes
            its name, ends, range, held-out score and area
        """
        editor = self.editor(read_name(generator, "The generator"))
        config = editor.config_for([read_name(part, "The part")])
        steps = config.steps if steps is None else read_whole(steps, "The number of steps", 1, MAX_STEPS)
        config = replace(config, steps=steps, seed=read_whole(seed, "The seed"))
        editor.segmenter.parts.channels(config.parts)  # checks the name, before anybody waits
        session = editor.random_face(opening_seed(editor.generator.name))
        with self.searches.ticket(None) as ticket:
            for place, _ in ticket.wait():
                yield None, {"waiting": place}
            start = reported = time.perf_counter()
            for progress, result in editor.discover(session, config):
                now, direction = time.perf_counter(), result.directions[-1]
                ticket.seconds = (now - start) / max(progress.step, 1) * (progress.total - progress.step)
                if now - reported > INTERVAL:
                    reported = now
                    yield None, {"step": progress.step, "steps": progress.total, "score": progress.score}
            direction = editor.calibrate(direction, CALIBRATION_SEEDS)
        with tempfile.TemporaryDirectory() as folder:  # until Gradio has copied the file and asks for more
            direction.save(path := Path(folder) / f"{direction.name}.safetensors")
            yield str(path), facts_of(direction)

    def sliders(self, generator: str = "") -> dict[str, Any]:
        """List the sliders and parts of a model, and the other models that can be used now.

        Args:
            generator: name of the model; the page's own if left out

        Returns:
            the model's name, all usable models, the parts to discover, and for each slider its parts, ends and range
        """
        editor = self.editor(read_name(generator, "The generator"))
        return {
            "generator": editor.generator.name,
            "generators": [state.name for state in self.manager.states() if state.stage in USABLE],
            "parts": list(editor.segmenter.parts.names),
            "sliders": [facts_of(direction) for direction in editor.directions],
        }

    def editor(self, generator: str) -> Editor:
        """A model by name; "" = the page's first. UserError for one that is unknown or not loaded."""
        return self.manager.editor(generator or self.manager.first)

    def read(self, photo: Any) -> Image.Image:
        """A photo in Gradio's cache. UserError for anything else, whose path must not be believed."""
        if not is_file_obj_with_meta(photo):
            raise UserError('The photo must be a file; with gradio_client, give handle_file("photo.jpg").')
        return read_photo(photo["path"], self.max_bytes)


def answer(picture: Image.Image, session: Session, recipe: Recipe) -> Answer:
    """A picture of a face, edited as a recipe says, and the recipe of both."""
    written = write_recipe(session, recipe)
    return Made(picture, provenance(session, written["amounts"])), written


def facts_of(direction: Direction) -> dict[str, Any]:
    """A direction in JSON, for those who move it."""
    same = {name: getattr(direction, name) for name in ("name", "generator", "kind", "score", "area")}
    return same | {
        "parts": list(direction.parts),
        "ends": list(direction.ends),
        "range": [direction.low, direction.high],
    }


class SentPhoto(AnyValue):
    """A photo: an upload, or an address that Gradio fetches it from, which may be that of an upload."""

    is_template = True

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> str | None:
        if SERVED in (address := str(url_or_file_path)):  # Gradio fetches nothing from this machine
            path = unquote(urlparse(address).path.partition(SERVED)[2])
            if is_in_or_equal(path, self.GRADIO_CACHE) and Path(path).is_file():
                url_or_file_path = path
        with suppress(Exception):  # of many kinds: no such host, no network, a host inside this one, no file
            return await super().async_move_resource_to_block_cache(url_or_file_path)
        raise gr.Error("The photo cannot be fetched from this address.", print_exception=False)


class PictureFile(gr.Image):
    """An output picture as a file in Gradio's cache, which the page deletes: PNG, or JPEG if it is large."""

    is_template = True

    def postprocess(self, value: Made | None) -> ImageData | None:
        if value is None:
            return None
        path = processing_utils.save_base64_to_cache(picture_url(value.picture, **value.about), self.GRADIO_CACHE)
        return ImageData(path=path, orig_name=Path(path).name)


def add_api(
    manager: ModelManager,
    *,
    pictures: Lane | None = None,
    searches: Lane | None = None,
    max_bytes: int = MAX_BYTES,
    faces: str = "faces",
    searching: str = "searching",
) -> None:
    """Add the endpoints to a page; to be called inside its `gr.Blocks`, where they are not to be seen.

    This comes before the page's own events: Gradio names an event after its callback, and the second of one name gets
    a number. All endpoints are queued, because tools call unqueued ones without a login.

    Args:
        manager, pictures, searches, max_bytes: see `Api`; lanes that are None are of the endpoints alone.
        faces, searching: `concurrency_id` of faces and their edits, and of searches; their limits are set elsewhere.
    """
    api = Api(manager, pictures or Lane(), searches or Lane(), max_bytes)
    with gr.Column(visible=False):
        face = [PictureFile(label="picture"), gr.JSON(label="recipe")]
        found = [gr.File(label="direction"), gr.JSON(label="facts")]
        for call, outputs, lane in (
            (api.random, face, faces),
            (api.invert, face, faces),
            (api.edit, face, faces),
            (api.recipe, face, faces),
            (api.discover, found, searching),
            (api.sliders, [gr.JSON(label="sliders")], None),
        ):
            queued = {"concurrency_id": lane, "concurrency_limit": None}  # None: never below the limit set elsewhere
            gr.on([], with_messages(call), inputs_of(call), outputs, api_name=call.__name__, **queued)


def inputs_of(call: Callable[..., Any]) -> list[AnyValue]:
    """A component for each parameter of an endpoint, which passes its value on as it is."""
    inputs = []
    for name, parameter in inspect.signature(call).parameters.items():
        default = None if parameter.default is parameter.empty else parameter.default
        inputs.append((SentPhoto if name == "photo" else AnyValue)(default, SCHEMAS[name], name))
    return inputs


def with_messages(call: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, whose `UserError`s become Gradio's."""

    @wraps(call)
    def iterate(*values: Any) -> Iterator[Any]:
        with show_errors():
            yield from call(*values)

    return iterate if inspect.isgeneratorfunction(call) else show_errors()(call)
