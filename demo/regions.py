"""A part of one's own for the Discover tab: painted on one or several faces, or clusters of features that are clicked.

a mask painted on a face   --`paint`-->     the region on every face, by its features and its place
masks on several faces     --`fit_head`-->  the same, learnt from these examples
places clicked in a face   --the clusters of the generator's features there-->  their union
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from demo.callbacks import Callbacks
from demo.components import InlineImage, Updates
from demo.edit_tab import HOUR
from demo.face import Face
from demo.gpu import LentEditor
from demo.views import enlarged
from demo.words import describe_place
from lelsd_core.editor import Editor, Session
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.images import outlines, spotlight
from lelsd_core.segmenters import FeatureSegmenter, fit_clusters, fit_region
from lelsd_core.segmenters.features import labels_of

PARTS, PAINTED, CLUSTERS = "parts", "painted", "clusters"
WHERE = (("A part", PARTS), ("What I paint", PAINTED), ("What I click", CLUSTERS))
MOST_FACES = 6  # that are painted for one region
LARGEST = 400_000  # letters of a mask that the page sends
COUNT = 16  # clusters
LONGEST = 24  # letters of a region's name
NEXT = ("canvas", "mask", "paintings", "paint_note")  # what painting changes
PANELS = ("part_panel", "paint_panel", "cluster_panel", "region_name", *NEXT)  # what `choose_where` changes
CLICKED = ("cluster_map", "chosen_clusters", "cluster_note")  # what clicking changes
TOOLS = """<div id="paint-tools"><label>Brush <input type="range" id="brush" min="3" max="30" value="9"
aria-label="Size of the brush"></label><button type="button" id="erase" aria-pressed="false">Erase</button>
<button type="button" id="clear-paint">Clear</button></div>"""
PAINT_NOTE = "Paint over what should change. With the keyboard: arrows move the brush, Space paints."
CLUSTER_NOTE = "Click what should change; click it again to take it out."


@dataclass(frozen=True, eq=False)
class Painting:
    """A face to be painted on, and its mask (h, w) of booleans once it is painted."""

    session: Session
    mask: np.ndarray | None = None


class Regions:
    """The events that say where a search should change a face."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks

    def choose_where(self, face: Face, where: str) -> Updates:
        """Show what a choice needs: parts, a face to paint on, or the map of clusters."""
        panels = zip(("part_panel", "paint_panel", "cluster_panel"), (PARTS, PAINTED, CLUSTERS), strict=True)
        shown: Updates = {name: gr.update(visible=where == choice) for name, choice in panels}
        shown |= {"region_name": gr.update(visible=where != PARTS)}
        return shown | (self.paint_this(face) if where == PAINTED else {})

    def paint_this(self, face: Face) -> Updates:
        """Begin to paint on the current face."""
        return {"canvas": enlarged(face.session.original), "mask": "", "paintings": (Painting(face.session),)} | {
            "paint_note": PAINT_NOTE
        }

    def paint_another(self, face: Face, mask: str, paintings: tuple[Painting, ...]) -> Updates:
        """Keep what is painted, and offer a random face to paint the same region on."""
        done = painted(paintings, mask)
        if len(done) >= MOST_FACES:
            raise UserError(f"{MOST_FACES} faces are enough; press Start searching.")
        editor = self.callbacks.editor(face)
        new = editor.random_face(editor.find_clear_seed(np.random.default_rng()))
        number = "One face is" if len(done) == 1 else f"{len(done)} faces are"
        note = f"{number} painted. Paint the same on this one, too."
        return {"canvas": enlarged(new.original), "mask": "", "paintings": (*done, Painting(new)), "paint_note": note}

    def find_clusters(self, request: gr.Request, face: Face) -> Iterator[Updates]:
        """Cluster the generator's features, which takes a while for the first visitor, and show them in the face."""
        with self.callbacks.searching.ticket(request.session_hash) as ticket:
            for place, seconds in ticket.wait():
                yield {"cluster_note": describe_place(place, seconds)}
            yield {"cluster_note": "Looking at samples of the model to see what belongs together."}
            clusters = clusters_of(self.callbacks.editor(face).generator)
        yield self.with_clusters(face, clusters, ())

    def click_cluster(self, event: gr.SelectData, face: Face, chosen_clusters: tuple[int, ...]) -> Updates:
        """Add the cluster at a place of the face to those that should change, or take it out."""
        clusters = clusters_of(self.callbacks.editor(face).generator)
        labels = labels_in(self.callbacks.editor(face), face.session, clusters)
        width, height = enlarged(face.session.original).size
        x, y = ((place + 0.5) / side for place, side in zip(event.index, (width, height), strict=True))
        clicked = int(labels[int(y * labels.shape[0]), int(x * labels.shape[1])])
        chosen = tuple(each for each in chosen_clusters if each != clicked)
        return self.with_clusters(face, clusters, (*chosen, *(() if clicked in chosen_clusters else (clicked,))))

    def with_clusters(self, face: Face, clusters: FeatureSegmenter, chosen: tuple[int, ...]) -> Updates:
        """The face with the borders of all clusters, and what the chosen ones are together lit up."""
        editor, picture = self.callbacks.editor(face), enlarged(face.session.original)
        labels, lit = labels_in(editor, face.session, clusters), picture
        if chosen:
            inside = labels_in(editor, face.session, joined(clusters, "region", chosen)) == 0
            lit = spotlight(picture, inside.astype(np.float32))
        shown = gr.update(value=outlines(lit, labels), visible=True)
        return {"cluster_map": shown, "chosen_clusters": chosen, "cluster_note": CLUSTER_NOTE}

    def region(
        self,
        face: Face,
        where: str,
        name: str,
        mask: str,
        paintings: tuple[Painting, ...],
        chosen_clusters: tuple[int, ...],
    ) -> FeatureSegmenter:
        """The segmenter of a region with a name. UserError if nothing, or everything, is painted or clicked."""
        generator, name = self.callbacks.editor(face).generator, " ".join(name.split())[:LONGEST] or "region"
        if where == CLUSTERS:
            if not chosen_clusters:
                raise UserError("Nothing is chosen yet; show the clusters and click what should change.")
            return joined(clusters_of(generator), name, chosen_clusters)
        done = painted(paintings, mask)
        sessions = [each.session for each in done]
        if {each.generator for each in sessions} != {face.session.generator}:
            raise UserError("That was painted on a face of another model; press *Paint on my face* and paint again.")
        finest = generator.space_names[-1]
        lifted = [generator.lift(each.codes.to(generator.device), each.space, finest) for each in sessions]
        masks = torch.from_numpy(np.stack([each.mask for each in done]))
        return fit_region(generator, torch.cat(lifted), finest, masks, name)


@lru_cache(maxsize=4)
def clusters_of(generator: Generator) -> FeatureSegmenter:
    """The clusters of a generator's features, the same for all visitors."""
    return fit_clusters(generator, COUNT)


def joined(clusters: FeatureSegmenter, name: str, chosen: tuple[int, ...]) -> FeatureSegmenter:
    """The region of some clusters, by number, with a name."""
    return clusters.named({name: [clusters.parts[number] for number in chosen]})


def labels_in(editor: Editor, session: Session, clusters: FeatureSegmenter) -> np.ndarray:
    """The number of the cluster, or part, of each place in a face, (h, w)."""
    return labels_of(editor.generator, clusters, session.codes, session.space)[0].cpu().numpy()


def painted(paintings: tuple[Painting, ...], mask: str) -> tuple[Painting, ...]:
    """All faces that are painted, the last of them as the page sends its mask. UserError if that is empty."""
    *done, last = paintings
    mask = read_mask(mask)
    if mask is None or not mask.any():
        if done:
            return tuple(done)
        raise UserError("Nothing is painted yet; paint over the part of the face that should change.")
    return (*done, replace(last, mask=mask))


def read_mask(text: str) -> np.ndarray | None:
    """A mask (h, w) of booleans from the PNG that the page sends as a data URL; None if there is none.

    UserError for anything else.
    """
    if not text:
        return None
    try:
        head, _, content = text[:LARGEST].partition(",")
        picture = Image.open(io.BytesIO(base64.b64decode(content, validate=True)), formats=["PNG"])
        if not head.startswith("data:image/png") or max(picture.size) > 512:
            raise ValueError(head)
        return np.asarray(picture.convert("RGBA"))[..., 3] > 127
    except (ValueError, OSError, binascii.Error, UnidentifiedImageError, SyntaxError):
        raise UserError("The painted mask cannot be read; clear it and paint again.") from None


def region_panels(callbacks: Callbacks, parts: list[str], chosen: list[str]) -> dict[str, Any]:
    """Lay out the choice of where a search should change the face: its components by name."""
    visible = not isinstance(callbacks.editor(), LentEditor)  # fitting would cost a visitor's quota
    where = gr.Radio(WHERE, value=PARTS, label="Where", visible=visible, elem_id="where")
    with gr.Column(elem_id="part-panel") as part_panel:
        choice = gr.CheckboxGroup(parts, value=chosen, label="What should change", elem_id="parts")
    with gr.Column(visible=False, elem_id="paint-panel") as paint_panel:
        text = "A face to paint on"
        canvas = InlineImage(label=text, alt_text=text, interactive=False, buttons=[], elem_id="canvas")
        gr.HTML(TOOLS)
        note = gr.Markdown(PAINT_NOTE, elem_classes="caption", elem_id="paint-note")
        with gr.Row():
            this = gr.Button("Paint on my face", size="sm", min_width=100, elem_id="paint-this")
            other = gr.Button("Paint another face, too", size="sm", min_width=120, elem_id="paint-another")
    with gr.Column(visible=False, elem_id="cluster-panel") as cluster_panel:
        find = gr.Button("Show what belongs together", size="sm", elem_id="find-clusters")
        text = "Click what should change"
        shown = InlineImage(
            label=text, alt_text=text, interactive=False, buttons=[], visible=False, elem_id="cluster-map"
        )
        cluster_note = gr.Markdown("", elem_classes="caption", elem_id="cluster-note")
    example = "for example: chin"
    name = gr.Textbox(label="Its name", placeholder=example, max_length=LONGEST, visible=False, elem_id="region-name")
    panels = {"where": where, "part_panel": part_panel, "paint_panel": paint_panel, "cluster_panel": cluster_panel}
    painting = {"canvas": canvas, "paint_note": note, "paint_this": this, "paint_another": other}
    states = {"paintings": gr.State((), time_to_live=HOUR), "chosen_clusters": gr.State(())}
    clicking = {"find_clusters": find, "cluster_map": shown, "cluster_note": cluster_note}
    mask = gr.Textbox(visible="hidden", elem_id="mask")
    return {"parts": choice, "region_name": name, "mask": mask} | panels | painting | states | clicking
