"""Gradio components that behave: pictures inside the answer instead of public files, sliders that never raise."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import gradio as gr
from gradio import component_meta
from gradio.components.imageslider import SliderData
from gradio.data_classes import ImageData
from PIL import Image

from lelsd_core.errors import UserError
from lelsd_core.images import MAX_BYTES, read_photo

component_meta.create_or_modify_pyi = lambda *_: None  # or Gradio writes interface files beside this one


def inline(picture: Image.Image, name: str = "face.jpg") -> ImageData:
    """A picture as a JPEG data URL: one request less, no temporary file, no public address of a face."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, subsampling=0)
    url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return ImageData(url=url, orig_name=name, mime_type="image/jpeg")


class InlineImage(gr.Image):
    """An output picture that never becomes a file on the server."""

    is_template = True

    def postprocess(self, value: Any) -> ImageData | None:
        return inline(value) if isinstance(value, Image.Image) else super().postprocess(value)


class InlineCompare(gr.ImageSlider):
    """Before and after under one movable divider, both inline."""

    is_template = True

    def postprocess(self, value: Any) -> SliderData | None:
        if value is None or not all(isinstance(picture, Image.Image) for picture in value):
            return super().postprocess(value)
        return SliderData(root=tuple(inline(picture) for picture in value))


class AmountSlider(gr.Slider):
    """A slider whose hand-typed values never raise: empty means 0, and directions clamp to their own range."""

    is_template = True

    def preprocess(self, payload: float | None) -> float:
        value = float(payload) if isinstance(payload, (int, float)) else 0.0
        return value if math.isfinite(value) else 0.0


class PhotoInput(gr.Image):
    """An upload that is read by this project's own intake: checked before decoding, upright, without metadata."""

    is_template = True
    max_bytes = MAX_BYTES

    def preprocess(self, payload: ImageData | None) -> Image.Image | UserError | None:
        if payload is None or payload.path is None:
            return None
        try:
            return read_photo(payload.path, self.max_bytes)
        except UserError as problem:  # told by the callback, which knows how
            return problem
