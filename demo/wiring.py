"""Which event calls what: faces that come in, sliders that move, models that change.

a new face: its guess at once, all of it --turn--> refined in steps, unless another face comes --> shown once more
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from demo.callbacks import Callbacks
from demo.edit_tab import EXAMPLES, Sources, Stage
from demo.model_panel import Models
from demo.news import News, answering, every
from lelsd_core.images import read_photo

PRIVATE = {"api_visibility": "private"}
QUIET = {"show_progress": "hidden", **PRIVATE}
MODELS = {"concurrency_id": "models", **PRIVATE}  # network work that takes a while: one at a time
SAVE = """(url) => { const a = document.createElement('a'); a.href = url;
a.download = 'edited.' + (url.startsWith('data:image/jpeg') ? 'jpg' : 'png');
document.body.appendChild(a); a.click(); a.remove(); }"""
# Gradio tells when a slider is let go by pointer; this makes it tell when a key is let go, too
KEYS = """() => { document.addEventListener('keyup', (event) => {
if (event.target.matches('#sliders input[type=range]'))
  event.target.dispatchEvent(new PointerEvent('pointerup', {bubbles: true})); }); }"""


def wire_faces(do: Callbacks, sources: Sources, stage: Stage) -> None:
    """A new face, wherever it comes from. The last one wins: whatever is still refined for another is given up."""
    refining = stage.turn.change(
        answering(do.refine, stage.refined),
        [stage.session, stage.source, stage.fit],
        every(stage.refined),
        trigger_mode="always_last",
        show_progress="minimal",
        show_progress_on=[stage.note],
        **MODELS,
    )
    refining.success(answering(do.show, stage.edited), stage.edit, every(stage.edited), **QUIET)
    named = stage.named(sources)
    new = {"outputs": every(named), "cancels": [refining], "show_progress_on": [stage.note], **MODELS}
    last = {**new, "trigger_mode": "always_last"}  # by default an event that comes while another runs would be lost
    panel, how = sources.fit, [sources.fit.closeness, *stage.how]

    def open_example(event: gr.SelectData, session: Any, *given: Any) -> News:
        return do.open_photo(session, read_photo(EXAMPLES[event.index]), *given)

    sources.upload.input(answering(do.open_photo, named), [stage.session, sources.upload, *how], **last)
    sources.examples.select(answering(open_example, named), [stage.session, *how], **last)
    sources.seed.submit(answering(do.random_face, named), [stage.session, sources.seed, *stage.how], **new)
    sources.roll.click(answering(do.roll, named), [stage.session, *stage.how], **new)
    photo, rest = [stage.session, stage.source, stage.fit], [*panel.given, *stage.how, *stage.sliders]
    panel.faces.select(answering(do.choose_face, named), [*photo, *rest], **last)
    fitted = [part.input for part in panel.given]
    gr.on(fitted, answering(do.refit, named), [*photo, *rest], **last)
    panel.stop.click(None, cancels=[refining], queue=False, **PRIVATE)


def wire_stage(do: Callbacks, stage: Stage, live: bool) -> None:
    """Sliders, views, reset and download; `live` slider moves skip the queue."""
    show = {"inputs": stage.edit, "outputs": every(stage.edited), **QUIET}
    moves = {"queue": not live, "trigger_mode": "always_last", **show}
    gr.on([slider.input for slider in stage.sliders], answering(do.slide, stage.edited), **moves)
    gr.on([slider.release for slider in stage.sliders], answering(do.settle, stage.edited), **moves)
    gr.on([part.input for part in stage.how], answering(do.switch_view, stage.edited), **show)
    at_rest = f"() => Array({len(stage.sliders)}).fill(0)"
    resting = stage.reset.click(None, None, stage.sliders, js=at_rest, **PRIVATE)
    resting.then(answering(do.show, stage.edited), **show)
    address = gr.Textbox(visible=False)
    stage.save.click(do.download, stage.edit, address, **PRIVATE).then(None, address, None, js=SAVE, **PRIVATE)


def wire_models(do: Callbacks, page: gr.Blocks, sources: Sources, stage: Stage, parts: gr.CheckboxGroup) -> None:
    """Other models: told of while they are prepared, taken up with one click."""
    models, panel = Models(do), sources.models
    named = stage.named(sources) | {"parts": parts}
    named |= {name: getattr(panel, name) for name in ("models", "model", "about", "use", "timer")}
    looked = {"inputs": [stage.session, panel.model], "outputs": every(named), **QUIET}
    page.load(None, js=KEYS, **PRIVATE)
    page.load(answering(models.arrive, named), [stage.session], every(named), **QUIET)
    gr.on([panel.model.input, panel.timer.tick], answering(models.look, named), **looked)
    given = [stage.session, stage.source, panel.model, sources.fit.closeness, *stage.how]
    panel.use.click(answering(models.use, named), given, every(named), show_progress_on=[stage.note], **MODELS)
