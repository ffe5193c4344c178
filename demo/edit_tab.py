"""Layout of the Edit tab: photo, random faces and models on the left, the picture in the middle, sliders on the right.

Each function adds its components to a dict, under the names that callbacks use for them (see `components.event`).
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from demo.callbacks import ALL, EXAMPLES, NO_NUDGE, VIEWS, Callbacks, group_choices, recipe_pictures
from demo.components import AmountSlider, InlineCompare, InlineImage, PhotoInput
from demo.models import ModelManager
from demo.words import slider_properties
from lelsd_core.inversion import BALANCED, CLOSENESS

HOUR = 3600  # seconds that a visitor's data is kept
POLL = 2.0  # seconds between two updates of a model that is being prepared
NUDGES = (  # label, field of `Nudge`, least and greatest value, step
    ("Shift right", "right", -0.2, 0.2, 0.01),
    ("Shift down", "down", -0.2, 0.2, 0.01),
    ("Zoom", "scale", 0.7, 1.4, 0.01),
    ("Turn", "turn", -20, 20, 0.5),
)


def edit_tab(callbacks: Callbacks, seed: int) -> dict[str, Any]:
    """Lay out the tab with the random face of a seed; returns the components by name."""
    first = callbacks.face_of_seed(seed, (VIEWS[0], True, False))
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=260):
            sources = photo_panel(callbacks) | face_sources(seed) | model_panel(callbacks.manager)
        with gr.Column(scale=5, min_width=300, elem_id="middle"):
            picture = picture_panel(first)
        with gr.Column(scale=4, min_width=280):
            chooser = slider_panel(callbacks)
            with gr.Column(elem_id="sliders"):
                sliders = [direction_slider(callbacks, number) for number in range(callbacks.slider_count)]
    states = {
        "face": gr.State(first["face"], time_to_live=HOUR),
        "inversion": gr.State(0, time_to_live=HOUR),  # number of the current inversion; a change starts refining
    }
    return states | sources | picture | chooser | {"sliders": sliders}


def photo_panel(callbacks: Callbacks) -> dict[str, Any]:
    """The upload, and how its face is chosen, aligned and inverted; hidden while there is no photo."""
    sources = ["upload", "webcam", "clipboard"]
    upload = PhotoInput(label="Your photo", sources=sources, type="pil", height=220, elem_id="upload", buttons=[])
    upload.max_bytes = callbacks.max_bytes
    with gr.Accordion("The face in the photo", open=False, visible=False, elem_id="fit") as panel:
        faces = gallery(label="Which face? The largest is first", visible=False, columns=4, elem_id="faces")
        choices = [(name.capitalize(), name) for name in CLOSENESS]
        info = "The closer the rebuilt face, the less room for edits."
        closeness = gr.Radio(choices, value=BALANCED, label="Inversion", info=info, elem_id="closeness")
        info = "Closer still, and slow; the change is kept for this face alone."
        tune = gr.Checkbox(False, visible=False, label="Tune the model to this face", info=info, elem_id="tune")
        info = "Take the picture's middle as it is."
        aligned = gr.Checkbox(False, label="Already aligned", info=info, elem_id="aligned-before")
        nudges = [nudge_slider(*nudge) for nudge in NUDGES]
        stop = gr.Button("Stop refining", elem_id="stop-refining")
    single = {"photo_panel": panel, "faces": faces, "closeness": closeness, "tune": tune, "aligned": aligned}
    lists = {"nudges": nudges, "photo_options": [aligned, *nudges, closeness, tune]}
    return {"upload": upload, "stop_refining": stop} | single | lists


def nudge_slider(label: str, field: str, minimum: float, maximum: float, step: float) -> gr.Slider:
    """A slider for a field of `Nudge`."""
    value = getattr(NO_NUDGE, field)
    return gr.Slider(minimum, maximum, value, step=step, label=label, buttons=["reset"], elem_id=f"nudge-{field}")


def gallery(pictures: list[Any] | None = None, **options: Any) -> gr.Gallery:
    """Small pictures to choose from."""
    return gr.Gallery(pictures, allow_preview=False, object_fit="cover", buttons=[], **options)


def face_sources(seed: int) -> dict[str, Any]:
    """Random faces and examples."""
    with gr.Row(equal_height=False, elem_id="face-row"):
        number = gr.Number(seed, label="Seed", precision=0, minimum=0, elem_id="seed", min_width=90)
        random = gr.Button("Random face", elem_id="random", min_width=130)
    examples = gallery([str(path) for path in EXAMPLES], label="Examples", columns=4, elem_id="examples")
    return {"seed": number, "random": random, "examples": examples}


def model_panel(manager: ModelManager) -> dict[str, Any]:
    """The model in use, and others that can be fetched and used."""
    first, offered = manager.first, manager.offered()
    with gr.Accordion(f"Model: {first}", open=False, elem_id="models") as panel:
        model = gr.Dropdown(offered, value=first, label="Model", filterable=False, elem_id="model")
        info = gr.Markdown(elem_id="about-model", elem_classes="caption")
        button = gr.Button("In use", interactive=False, elem_id="use-model")
    timer = gr.Timer(POLL, active=False)
    return {"model_panel": panel, "model": model, "model_info": info, "model_button": button, "model_timer": timer}


def picture_panel(first: dict[str, Any]) -> dict[str, Any]:
    """The edited picture, its view and locality, and the photo beside its inversion; `first` holds their values."""
    with gr.Column(elem_id="stage"):
        shown = {"buttons": ["fullscreen"]}
        texts = {"label": "Edited face", "alt_text": "The edited face"}
        picture = InlineImage(first["picture"], interactive=False, elem_id="picture", **texts, **shown)
        swipe = InlineCompare(label="Before and after", visible=False, max_height=720, elem_id="swipe", **shown)
    meter = gr.Markdown(first["meter"], elem_id="meter")
    with gr.Group():
        view = gr.Radio(VIEWS, value=VIEWS[0], label="View", elem_id="view")
        info = "Adds only the change to the photo; off, you see what the model paints."
        detail = gr.Checkbox(True, label="Keep the photo's detail", info=info, elem_id="detail")
        info = "Takes back whatever changes outside the parts that you edit."
        protect = gr.Checkbox(False, label="Protect the rest", info=info, elem_id="protect")
    with gr.Row():
        reset = gr.Button("Reset all", elem_id="reset", min_width=120)
        download = gr.Button("Download", variant="primary", elem_id="download", min_width=120)
    with gr.Row(equal_height=True):
        hidden = {"interactive": False, "visible": False, "buttons": [], "min_width": 120}
        photo = InlineImage(label="Your photo, aligned", elem_id="aligned", **hidden)
        rebuilt = InlineImage(label="Rebuilt by the model", elem_id="rebuilt", **hidden)
    note = gr.Markdown(first["note"], elem_id="note", elem_classes="caption")
    pictures = {"picture": picture, "swipe": swipe, "meter": meter, "aligned_photo": photo, "rebuilt": rebuilt}
    chosen = {"view": view, "display": [view, detail, protect], "reset": reset, "download": download}
    return pictures | chosen | {"note": note, "download_url": gr.Textbox(visible=False)}


def slider_panel(callbacks: Callbacks) -> dict[str, Any]:
    """Recipes, which set several sliders at once, and the part whose sliders are shown."""
    editor = callbacks.editor()
    shown = recipe_pictures(editor)
    recipes = gallery(shown, label="Looks to start from", columns=4, visible=bool(shown), elem_id="recipes")
    choices = group_choices(editor.directions)
    group = gr.Radio(choices, value=ALL, label="Sliders", visible=len(choices) > 2, elem_id="group")
    return {"recipes": recipes, "group": group}


def direction_slider(callbacks: Callbacks, number: int) -> gr.Slider:
    """Slider `number`: of a direction of the first model, or a hidden spare one."""
    directions = callbacks.editor().directions
    used = number < len(directions)
    return AmountSlider(
        **(slider_properties(directions[number]) if used else {"minimum": -1, "maximum": 1, "step": 0.1}),
        value=0.0,
        visible=used,
        interactive=True,
        buttons=["reset"],
        elem_id=f"slider-{number}",
    )
