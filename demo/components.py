"""Gradio components that never write files or raise, and events that pass values by component name.

A callback's parameters are named like the components whose values they receive. It returns `Updates`, a dict whose
keys are the names of the components to change. `event` maps both to what Gradio expects.
"""

from __future__ import annotations

import base64
import inspect
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
from gradio import component_meta
from gradio.components import Component
from gradio.components.gallery import GalleryData, GalleryImage
from gradio.components.imageslider import SliderData
from gradio.data_classes import ImageData
from PIL import Image

from demo.face import Display, Now
from lelsd_core.device import report_out_of_memory
from lelsd_core.errors import UserError
from lelsd_core.images import MAX_BYTES, read_photo

component_meta.create_or_modify_pyi = lambda *_: None  # or Gradio writes interface files beside this one

Updates = dict[str, Any]
Components = Mapping[str, Component | list[Component]]
FROM_GRADIO = {"event": gr.SelectData, "request": gr.Request}  # parameters that Gradio itself fills in, by type
SMALL = 192  # pixels of a picture in a gallery; its buttons are half as wide, on fine screens twice as fine
LARGE = 4_000_000  # pixels above which a download is a JPEG
JPEG = {"quality": 90, "subsampling": 0}  # of pictures that are looked at


def event(callback: Callable[..., Any], components: Components, outputs: Iterable[str] = ()) -> dict[str, Any]:
    """The arguments `fn`, `inputs` and `outputs` of a Gradio event that calls a callback.

    Args:
        callback: function that returns `Updates`, or generator function that yields them. Its parameters are component
            names; `event` and `request`, if it has them, come first, then `now`, which stands for all of `Now`.
        components: the page's components by name. A list of components is one parameter and one update, also a list.
        outputs: names of all components that the callback may change.
    """
    parameters, outputs = list(inspect.signature(callback).parameters), list(outputs)
    special = [name for name in FROM_GRADIO if name in parameters or (name == "request" and "now" in parameters)]
    inputs = [name for name in parameters if name not in (*FROM_GRADIO, "now")]
    inputs = [*Now._fields[1:], *inputs] if "now" in parameters else inputs

    def call(values: Iterable[Any]) -> Any:
        values = iter(values)
        given = {name: next(values) for name in special}
        for name in inputs:
            component = components[name]
            given[name] = [next(values) for _ in component] if isinstance(component, list) else next(values)
        if "display" in given:
            given["display"] = Display(*given["display"])
        if "now" in parameters:
            given["visitor"] = given["request"].session_hash
            given["now"] = Now(*(given[name] for name in Now._fields))
        return callback(**{name: given[name] for name in parameters})

    def by_component(updates: Updates) -> dict[Component, Any] | None:
        if not outputs:
            return None
        changed: dict[Component, Any] = {}
        for name, value in updates.items():
            component = components[name]
            changed |= zip(component, value, strict=True) if isinstance(component, list) else {component: value}
        return changed or {components_of(components, outputs)[0]: gr.skip()}  # Gradio rejects an empty dict

    def function(*values: Any) -> dict[Component, Any]:
        with show_errors():
            return by_component(call(values))

    def generator(*values: Any) -> Iterator[dict[Component, Any]]:
        with show_errors():
            for updates in call(values):
                yield by_component(updates)

    fn = generator if inspect.isgeneratorfunction(callback) else function
    fn.__name__ = callback.__name__
    fn.__annotations__ = {name: FROM_GRADIO[name] for name in special}
    fn.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in special]
        + [inspect.Parameter("values", inspect.Parameter.VAR_POSITIONAL)]
    )
    return {"fn": fn, "inputs": components_of(components, inputs), "outputs": components_of(components, outputs)}


def components_of(components: Components, names: Iterable[str]) -> list[Component]:
    """The components with these names, lists flattened."""
    selected = (components[name] for name in names)
    return [part for value in selected for part in (value if isinstance(value, list) else [value])]


@contextmanager
def show_errors() -> Iterator[None]:
    """Show a `UserError` or a lack of memory as a message on the page; other exceptions go to the log."""
    try:
        with report_out_of_memory():
            yield
    except UserError as error:
        raise gr.Error(str(error), print_exception=False, title="That did not work") from error


def data_url(content: bytes, kind: str, name: str = "") -> str:
    """Bytes of a MIME type as a data URL, with the name to save it under, if it has one."""
    named = f";name={quote(name)}" if name else ""
    return f"data:{kind}{named};base64,{base64.b64encode(content).decode()}"


def picture_url(picture: Image.Image, kind: str | None = None, name: str = "", **options: Any) -> str:
    """A picture as a data URL, JPEG or PNG; by default PNG, or JPEG if the picture is `LARGE`.

    Args:
        picture: RGB.
        kind: "JPEG" or "PNG".
        name: to save it under, without an ending.
        options: of Pillow's writer.
    """
    kind = kind or ("JPEG" if picture.width * picture.height > LARGE else "PNG")
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}) | options)
    ending = "jpg" if kind == "JPEG" else "png"
    return data_url(buffer.getvalue(), f"image/{kind.lower()}", f"{name}.{ending}" if name else "")


def inline(picture: Image.Image) -> ImageData:
    """A picture as a JPEG data URL: one request less, no temporary file, no public address of a face."""
    return ImageData(url=picture_url(picture, "JPEG", **JPEG), orig_name="face.jpg", mime_type="image/jpeg")


class InlineImage(gr.Image):
    """An output picture that never becomes a file on the server."""

    is_template = True

    def postprocess(self, value: Any) -> ImageData | None:
        return inline(value) if isinstance(value, Image.Image) else super().postprocess(value)


class InlineCompare(gr.ImageSlider):
    """Two pictures under a movable divider, neither of them a file on the server."""

    is_template = True

    def postprocess(self, value: Any) -> SliderData | None:
        if value is None or not all(isinstance(picture, Image.Image) for picture in value):
            return super().postprocess(value)
        return SliderData(root=tuple(inline(picture) for picture in value))


class InlineGallery(gr.Gallery):
    """Small pictures with captions to choose from, none of them a file on the server."""

    is_template = True

    def postprocess(self, value: Any) -> GalleryData:
        pairs = [pair if isinstance(pair, tuple) else (pair, None) for pair in value or []]
        return GalleryData(root=[GalleryImage(image=inline(small(picture)), caption=text) for picture, text in pairs])


def gallery(pictures: Any = None, **options: Any) -> InlineGallery:
    """An `InlineGallery` that is only chosen from."""
    return InlineGallery(pictures, allow_preview=False, object_fit="cover", buttons=[], **options)


def small(picture: Image.Image | Path) -> Image.Image:
    """A picture, or that of a file which ships, at most `SMALL` pixels wide and high."""
    reduced = picture.copy() if isinstance(picture, Image.Image) else read_photo(picture)
    reduced.thumbnail((SMALL, SMALL))
    return reduced


class AmountSlider(gr.Slider):
    """A slider from -100 (one end of its direction) to 100 (the other one); reads invalid typed values as 0."""

    is_template = True

    def preprocess(self, payload: float | None) -> float:
        value = float(payload) if isinstance(payload, (int, float)) else 0.0
        return value if math.isfinite(value) else 0.0


class PhotoInput(gr.Image):
    """An upload read by `read_photo`: checked before decoding, upright, without metadata."""

    is_template = True
    max_bytes = MAX_BYTES

    def postprocess(self, value: Any) -> ImageData | None:
        return inline(value) if isinstance(value, Image.Image) else super().postprocess(value)

    def preprocess(self, payload: ImageData | None) -> Image.Image | UserError | None:
        if payload is None or payload.path is None:
            return None
        try:
            return read_photo(payload.path, self.max_bytes)
        except UserError as error:  # raised by the callback, so that it is shown as a message
            return error
