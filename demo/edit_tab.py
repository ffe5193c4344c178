"""Layout of the Edit tab: where faces come from on the left, the picture in the middle, parts and sliders on the right.

Each function adds its components to a dict, under the names that callbacks use for them (see `components.event`).
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from demo.callbacks import ALL, LAYERS, Callbacks
from demo.components import AmountSlider, InlineCompare, InlineImage, PhotoInput, gallery
from demo.keeping import STORAGE
from demo.models import ModelManager
from demo.opening import EXAMPLES, NO_NUDGE
from demo.views import TITLES, VIEWS
from demo.words import in_plain_words
from lelsd_core.inversion import BALANCED, CLOSENESS

HOUR = 3600  # seconds that a visitor's data is kept
POLL = 2.0  # seconds between two updates of a model that is being prepared
NUDGES = (  # label, field of `Nudge`, least and greatest value, step
    ("Shift right", "right", -0.2, 0.2, 0.01),
    ("Shift down", "down", -0.2, 0.2, 0.01),
    ("Zoom", "scale", 0.7, 1.4, 0.01),
    ("Turn", "turn", -20, 20, 0.5),
)
CAMERA = """<div class="other-sources"><button type="button" id="camera">Take a picture</button>
<span>or paste one (Ctrl+V)</span></div>"""

SAVED = """A video or GIF goes through the edits of the history; a strip shows a slider of the open card from one end to
the other. A recipe is the sliders alone, for another face or the shell. A link opens a made-up face with its edit."""


def edit_tab(callbacks: Callbacks, first: dict[str, Any], seed: int) -> dict[str, Any]:
    """Lay out the tab.

    Args:
        callbacks: of the tab.
        first: updates of the face that the page opens with, by component name.
        seed: of that face.

    Returns:
        The components by name.
    """
    with gr.Row(equal_height=False, elem_id="editor"):
        with gr.Column(scale=3, min_width=240, elem_id="left"):
            components = photo_panel(callbacks) | face_sources(callbacks, seed) | model_panel(callbacks.manager)
        with gr.Column(scale=6, min_width=300, elem_id="middle"):
            components |= picture_panel(first, protect=callbacks.protects)
        with gr.Column(scale=4, min_width=280, elem_id="right"):
            components |= card_panel(callbacks, first)
    return components | {
        "face": gr.State(first["face"], time_to_live=HOUR),
        "history": gr.State(first["history"], time_to_live=HOUR),
        "group": gr.State(first["group"]),  # whose sliders are shown
        "inversion": gr.State(0, time_to_live=HOUR),  # number of the current inversion; a change starts refining
        "refined": gr.State(0, time_to_live=HOUR),  # changes with each better inversion
        "dressed": gr.State(0, time_to_live=HOUR),  # changes with each face whose small pictures are to be made
        "waiting": gr.State(None, time_to_live=HOUR),  # amounts for the next photo
        "kept": gr.BrowserState(None, **STORAGE),
        "query": gr.Textbox(first["query"], visible=False),
        "download_url": gr.Textbox(visible=False),
        "live_key": gr.Textbox(visible=False),  # see `demo.live`
    }


def photo_panel(callbacks: Callbacks) -> dict[str, Any]:
    """The upload, and how its face is chosen, aligned and inverted; hidden while there is no photo."""
    upload = PhotoInput(label="Your photo", sources=["upload"], type="pil", height=190, elem_id="upload", buttons=[])
    upload.max_bytes = callbacks.max_bytes
    gr.HTML(CAMERA, elem_id="other-sources")
    faces = gallery(label="Which face? Each keeps its edit", visible=False, columns=4, elem_id="faces")
    with gr.Accordion("The face in the photo", open=False, visible=False, elem_id="fit") as panel:
        with gr.Row(equal_height=True):
            hidden = {"interactive": False, "visible": False, "buttons": [], "min_width": 100}
            photo = InlineImage(label="Your photo, aligned", elem_id="aligned", **hidden)
            rebuilt = InlineImage(label="Rebuilt by the model", elem_id="rebuilt", **hidden)
        choices = [(name.capitalize(), name) for name in CLOSENESS]
        info = "The closer, the less room for edits."
        closeness = gr.Radio(choices, value=BALANCED, label="How close", info=info, elem_id="closeness")
        info = "Closer still, and slow; the change is kept for this face alone."
        tune = gr.Checkbox(False, visible=False, label="Tune the model to this face", info=info, elem_id="tune")
        info = "Take the picture's middle as it is."
        aligned = gr.Checkbox(False, label="Already aligned", info=info, elem_id="aligned-before")
        nudges = [nudge_slider(*nudge) for nudge in NUDGES]
        stop = gr.Button("Stop refining", elem_id="stop-refining")
        with gr.Accordion("Details", open=False):
            facts = gr.Markdown(elem_id="inversion-facts", elem_classes="caption")
    single = {"photo_panel": panel, "faces": faces, "closeness": closeness, "tune": tune, "aligned": aligned}
    lists = {"nudges": nudges, "photo_options": [aligned, *nudges, closeness, tune]}
    pictures = {"aligned_photo": photo, "rebuilt": rebuilt, "inversion_facts": facts}
    return {"upload": upload, "stop_refining": stop} | single | lists | pictures


def nudge_slider(label: str, field: str, minimum: float, maximum: float, step: float) -> gr.Slider:
    """A slider for a field of `Nudge`."""
    value = getattr(NO_NUDGE, field)
    return gr.Slider(minimum, maximum, value, step=step, label=label, buttons=["reset"], elem_id=f"nudge-{field}")


def face_sources(callbacks: Callbacks, seed: int) -> dict[str, Any]:
    """Examples and random faces."""
    names = [(path, in_plain_words(path.stem.split("-", 1)[1])) for path in EXAMPLES]
    examples = gallery(names, label="Examples", columns=4, elem_id="examples")
    with gr.Row(equal_height=False, elem_id="face-row"):
        random = gr.Button("Random face", elem_id="random", min_width=120)
        more = gr.Button("Eight faces", elem_id="more-faces", min_width=100)
    row = gallery(label="Random faces: choose one", visible=False, columns=4, elem_id="row")
    with gr.Accordion("Seed", open=False, elem_id="seed-panel"):
        number = gr.Number(seed, label="Seed", minimum=0, elem_id="seed", info="Enter shows its face.")
        usual = callbacks.editor().generator.usual_truncation
        info = "Less is more usual, more is more varied."
        truncation = gr.Slider(
            0.2, 1.2, usual or 1.0, step=0.05, label="Truncation", info=info, visible=usual is not None, elem_id="psi"
        )
        lock = gr.Checkbox(False, label="Keep my sliders", info="For each random face that I open.", elem_id="lock")
    sources = {"examples": examples, "random": random, "more_faces": more, "row": row}
    return sources | {"seed": number, "truncation": truncation, "lock": lock}


def model_panel(manager: ModelManager) -> dict[str, Any]:
    """The model in use, and others that can be fetched and used."""
    first = manager.first
    with gr.Accordion(f"Model: {first}", open=False, elem_id="models") as panel:
        model = gr.Dropdown(manager.offered(), value=first, label="Model", filterable=False, elem_id="model")
        info = gr.Markdown(elem_id="about-model", elem_classes="caption")
        button = gr.Button("In use", interactive=False, elem_id="use-model")
    timer = gr.Timer(POLL, active=False)
    return {"model_panel": panel, "model": model, "model_info": info, "model_button": button, "model_timer": timer}


def picture_panel(first: dict[str, Any], *, protect: bool) -> dict[str, Any]:
    """The edited picture with its toolbar, its meter, its history, and what can be saved of it."""
    view = first["view_name"]
    with gr.Column(elem_id="stage"):
        shown = {"buttons": ["fullscreen"]}
        title, text = TITLES[VIEWS[0]], "The edited face; click a part of it to see its sliders"
        picture = InlineImage(
            first.get("picture"),
            interactive=False,
            elem_id="picture",
            label=title,
            alt_text=text,
            visible=view != "Swipe",
            **shown,
        )
        swipe = InlineCompare(
            first.get("swipe"), label=TITLES["Swipe"], visible=view == "Swipe", max_height=720, elem_id="swipe", **shown
        )
        start = InlineImage(first["start"], interactive=False, elem_id="start-picture", visible="hidden", buttons=[])
        view = gr.Radio(VIEWS, value=view, label="View", show_label=False, container=False, elem_id="view")
        with gr.Row(elem_id="toolbar", equal_height=True):
            small = {"min_width": 60, "size": "sm"}
            gr.Button("Before", elem_id="before", **small)
            undo = gr.Button("Undo", elem_id="undo", interactive=False, **small)
            redo = gr.Button("Redo", elem_id="redo", interactive=False, **small)
            reset = gr.Button("Reset all", elem_id="reset", **small)
            download = gr.Button("Download", variant="primary", elem_id="download", **small)
    meter = gr.Markdown(first["meter"], elem_id="meter")
    with gr.Row(elem_id="options"):
        small = {"container": False, "min_width": 120}
        detail = gr.Checkbox(True, label="Keep the photo's detail", visible=False, elem_id="detail", **small)
        protection = gr.Checkbox(protect, label="Protect the rest", elem_id="protect", **small)
    note = gr.Markdown(first["note"], elem_id="note", elem_classes="caption")
    past = gallery(label="History", visible=False, columns=8, elem_id="past")
    components = {"picture": picture, "swipe": swipe, "start": start, "undo": undo, "redo": redo, "reset": reset}
    components |= {"download": download, "meter": meter, "view": view, "display": [view, detail, protection]}
    return components | {"note": note, "past": past} | saving_panel()


def saving_panel() -> dict[str, Any]:
    """What can be saved of an edit beside the picture, and recipes that come back."""
    with gr.Accordion("Save and share", open=False, elem_id="saving"):
        with gr.Row():
            video = gr.Button("Video (MP4)", elem_id="save-video", min_width=100, size="sm")
            gif = gr.Button("GIF", elem_id="save-gif", min_width=60, size="sm")
            strip = gr.Button("Strip", elem_id="save-strip", min_width=60, size="sm")
        with gr.Row():
            link = gr.Button("Copy link", elem_id="copy-link", min_width=80, size="sm")
            recipe = gr.Button("Save recipe", elem_id="save-recipe", min_width=80, size="sm")
            load = gr.UploadButton(
                "Apply a recipe", file_types=[".json"], elem_id="load-recipe", size="sm", min_width=80
            )
        gr.Markdown(SAVED, elem_classes="caption")
    moving = {"save_video": video, "save_gif": gif, "save_strip": strip}
    return moving | {"save_recipe": recipe, "copy_link": link, "load_recipe": load}


def card_panel(callbacks: Callbacks, first: dict[str, Any]) -> dict[str, Any]:
    """Recipes, which set several sliders at once, the parts to choose from, and the sliders of one part."""
    recipes = gallery(
        first["recipe_pictures"],
        label="Looks to start from",
        columns=8,
        visible=bool(first["recipe_pictures"]),
        elem_id="recipes",
    )
    cards = gallery(first["cards"], label="Which part? Or click it in the picture", columns=5, elem_id="cards")
    with gr.Column(elem_id="card"):
        with gr.Row(equal_height=True, elem_id="card-head"):
            title = gr.Markdown(first["card_title"], elem_id="card-title")
            mute = gr.Button("Mute", size="sm", min_width=70, elem_id="mute")
            reset = gr.Button("Reset", size="sm", min_width=70, elem_id="reset-card")
        with gr.Column(elem_id="sliders"):
            sliders = [AmountSlider(**properties) for properties in first["slider_properties"]]
        ends = gallery(label="Both ends, on this face", visible=False, columns=4, elem_id="ends")
        info = "Looks alone: coarse layers hold the shape of things, fine ones colour."
        choices = [(name.capitalize(), name) for name in (ALL, *LAYERS)]
        layers = gr.Radio(choices, value=ALL, label="Let them act on", info=info, visible=False, elem_id="layers")
        with gr.Accordion("What was measured", open=False, elem_id="card-details"):
            facts = gr.Markdown(first["card_facts"], elem_id="card-facts", elem_classes="caption")
    taking = take_panel(callbacks)
    with gr.Accordion("Two sliders at once", open=False, elem_id="palette-panel") as palette_panel:
        with gr.Row():
            small = {"min_width": 110, "interactive": True}
            across = gr.Dropdown([], label="To the right", elem_id="palette-x", **small)
            up = gr.Dropdown([], label="Upwards", elem_id="palette-y", **small)
        draw = gr.Button("Draw the grid", size="sm", elem_id="draw-palette")
        grid = gallery(label="Click one to use it", visible=False, columns=5, elem_id="palette")
    settle = gr.Button("Settle", visible="hidden", elem_id="settle")
    shown = {"recipes": recipes, "cards": cards, "card_title": title, "mute": mute, "reset_card": reset}
    palette = {"palette_panel": palette_panel, "palette_x": across, "palette_y": up, "palette": grid, "draw": draw}
    shown["card_facts"] = facts
    return taking | shown | {"sliders": sliders, "ends": ends, "settle": settle, "layers": layers} | palette


def take_panel(callbacks: Callbacks) -> dict[str, Any]:
    """Where the part of the open card can be taken from."""
    with gr.Accordion("Take this part from another face", open=False, elem_id="take-panel"):
        upload = PhotoInput(
            label="From a photo", sources=["upload"], type="pil", height=120, elem_id="take-upload", buttons=[]
        )
        upload.max_bytes = callbacks.max_bytes
        names = [(path, in_plain_words(path.stem.split("-", 1)[1])) for path in EXAMPLES]
        examples = gallery(names, label="From an example", columns=4, elem_id="take-examples")
        random = gr.Button("From a made-up face", size="sm", elem_id="take-random")
        gr.Markdown("It becomes two sliders of this card: its shape, and its look.", elem_classes="caption")
    other = gr.State(None, time_to_live=HOUR)
    return {"take_upload": upload, "take_examples": examples, "take_random": random, "other": other}
