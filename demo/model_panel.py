"""Which model is used: the one that the page opened with, and others, fetched and offered while one goes on editing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr

from demo.callbacks import Callbacks, show_errors
from demo.news import News
from demo.words import describe_model
from lelsd_core.editor import DetectedPhoto, InversionOptions, Session
from lelsd_core.weights.catalogue import generator_names, generator_spec

POLL = 2.0  # seconds between two looks at a model that is being prepared
UNDER_WAY = ("fetching", "loading", "filling")


@dataclass(frozen=True)
class ModelPanel:
    """What a person sees of the models."""

    models: gr.Accordion
    model: gr.Dropdown
    about: gr.Markdown
    use: gr.Button
    timer: gr.Timer


def model_panel(first: str) -> ModelPanel:
    """Lay it out, closed, with the model that the page opened with."""
    with gr.Accordion(f"Model: {first}", open=False, elem_id="models") as models:
        model = gr.Dropdown(list(usable()), value=first, label="Model", filterable=False, elem_id="model")
        about = gr.Markdown(elem_id="about-model", elem_classes="caption")
        use = gr.Button("In use", interactive=False, elem_id="use-model")
    return ModelPanel(models, model, about, use, gr.Timer(POLL, active=False))


def usable() -> tuple[str, ...]:
    """Generators whose parts some segmenter tells apart."""
    return tuple(name for name in generator_names() if generator_spec(name).segmenter)


class Models:
    """The panel's events, on top of those of the whole page."""

    def __init__(self, do: Callbacks) -> None:
        self.do, self.shelf = do, do.shelf

    def look(self, session: Session, name: str) -> News:
        """Where a model stands, what the button does about it, and sliders that were found meanwhile."""
        state, used = self.shelf.state(name), session.generator == name
        usable = state.stage in ("filling", "ready")
        label = "In use" if used else f"Use {name}" if usable else f"Get {name}"
        news: News = {
            "models": gr.update(label=f"Model: {session.generator}"),
            "about": describe_model(generator_spec(name), state),
            "use": gr.update(value=label, interactive=not used and (usable or state.stage in ("absent", "failed"))),
            "timer": gr.Timer(active=any(other.stage in UNDER_WAY for other in self.shelf.states())),
        }
        later = self.do.editor(session).update_session(session)
        if len(later.directions) > len(session.directions):
            news |= {"session": later, "sliders": self.do.slider_updates(later, beside=len(session.directions))}
        return news

    def arrive(self, session: Session) -> News:
        """When a page opens: the model that is being prepared behind it, if any, is what people should hear of."""
        behind = [state.name for state in self.shelf.states() if state.name != session.generator]
        if not behind:
            return self.look(session, session.generator)
        return self.look(session, behind[-1]) | {"model": behind[-1], "models": gr.update(open=True)}

    def use(
        self,
        session: Session,
        source: DetectedPhoto | None,
        name: str,
        closeness: str,
        view: str,
        detail: bool,
        protect: bool,
    ) -> Iterator[News]:
        """Go on with another model: with the same photo, or with a face that it made up; or begin to fetch it."""
        with show_errors():
            if self.shelf.state(name).stage not in ("filling", "ready"):
                self.shelf.start(name)
                yield self.look(session, name)
                return
            editor = self.shelf.editor(name)
            first = editor.random_face(generator_spec(name).first_seed)
            if source is None:
                news = self.do.random_face(first, generator_spec(name).first_seed, view, detail, protect)
            else:
                source = editor.detect(source.photo)
                news = self.do.opened(first, source, InversionOptions(closeness=closeness), (view, detail, protect))
            parts = list(getattr(editor.segmenter.parts, "names", editor.segmenter.parts))
            chosen = [part for part in ("mouth",) if part in parts] or parts[:1]
            yield news | {"parts": gr.update(choices=parts, value=chosen)} | self.look(news["session"], name)
