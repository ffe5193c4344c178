"""The pictures that the page shows of an edited face, in each view, and the small ones beside its controls.

session, edited picture  --before_and_after-->  pictures of the face or the whole photo  --in_view-->  what is shown
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from demo.components import Updates
from demo.face import Amounts, Face
from demo.words import group_of, in_plain_words
from lelsd_core.directions import Direction
from lelsd_core.editor import Editor
from lelsd_core.editor.renderer import Recent
from lelsd_core.images import change_map, enlarge, grid, spotlight
from lelsd_core.paste import USUAL, paste_detail

EDITED, SWIPE, CHANGE, PART, WHOLE = "Edited", "Swipe", "Change", "Part", "Whole photo"
VIEWS = (EDITED, SWIPE, CHANGE, PART)  # and `WHOLE`, for faces that come from a photo
TITLES = {
    EDITED: "Edited face",
    SWIPE: "Before | after",
    CHANGE: "Where it changed",
    PART: "The part, as the model sees it",
    WHOLE: "Whole photo, edited",
}
FACE_SIZE = 512  # least width in pixels of a face on the page
SMALL = 112  # pixels of small pictures
BEFORE = Recent(16)  # unedited faces at the size of the page
MARGIN = 0.35  # share of a part's width and height that its small picture shows around it


def before_and_after(
    editor: Editor, face: Face, edited: Image.Image, amounts: Amounts, *, whole: bool = False, detail: bool = True
) -> tuple[Image.Image, Image.Image]:
    """The face or the whole photo, reduced for display, unedited and edited.

    Args:
        editor: the models of the face.
        face: what is edited.
        edited: the edited picture, as large as `face.session.original`.
        amounts: that it was edited with.
        whole: whether to show the whole photo, if there is one, with the edits of its other faces.
        detail: whether to add the change to the photo, instead of showing what the generator renders.
    """
    session, detected = face.session, face.detected
    if whole and detected is not None:
        return detected.shown, pasted(editor, face, edited, amounts, reduced=True, detail=detail)
    if detail and session.photo is not None:
        scale = edited.width / session.photo.width
        matrix = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
        return session.photo, paste_detail(session.photo, session.original, edited, matrix)
    return BEFORE.get(session.original, lambda: enlarged(session.original)), enlarged(edited)


def pasted(
    editor: Editor, face: Face, edited: Image.Image, amounts: Amounts, *, reduced: bool = False, detail: bool = True
) -> Image.Image:
    """The whole photo with the edits of all its faces, at its own size or reduced for display."""
    detected, how = face.detected, USUAL if detail else "replace"
    photo = detected.shown if reduced else detected.photo
    others = [(session, editor.render(session, other), other) for session, other in face.others.values()]
    for session, picture, moves in [*others, (face.session, edited, amounts)]:
        matrix = session.matrix @ detected.reduced if reduced else session.matrix
        photo = editor.paste(replace(session, matrix=matrix), photo, picture, moves, how=how)
    return photo


def in_view(view: str, before: Image.Image, after: Image.Image, mask: np.ndarray | None = None) -> Updates:
    """The component that shows a view, and its value; the mask (h, w) in [0, 1] is that of the view `PART`."""
    if view == SWIPE:
        return {"swipe": (before, after)}
    if view == CHANGE:
        return {"picture": change_map(before, after)}
    return {"picture": spotlight(after, mask) if view == PART and mask is not None else after}


def saved_view(view: str, before: Image.Image, after: Image.Image, mask: np.ndarray | None = None) -> Image.Image:
    """A view as one picture; what is swiped is put side by side."""
    if view == SWIPE:
        return grid([[before, after]], gap=max(2, before.width // 128))
    return in_view(view, before, after, mask)["picture"]


def enlarged(picture: Image.Image) -> Image.Image:
    """A rendered face, at least `FACE_SIZE` pixels wide."""
    return picture if picture.width >= FACE_SIZE else enlarge(picture, FACE_SIZE)


def thumbnail(picture: Image.Image, side: int = SMALL) -> Image.Image:
    """A small copy."""
    return picture.resize((side, round(side * picture.height / picture.width)), Image.Resampling.LANCZOS)


def groups_of(directions: Sequence[Direction]) -> list[str]:
    """The groups of some directions' sliders, in the order of their first ones."""
    return list(dict.fromkeys(map(group_of, directions)))


def edited_groups(face: Face, amounts: Amounts) -> set[str]:
    """The groups of sliders with an amount other than 0."""
    return {group_of(direction) for direction in face.session.directions if amounts.get(direction.name)}


def parts_of(group: str, directions: Sequence[Direction]) -> tuple[str, ...]:
    """The parts that the sliders of a group change."""
    return tuple(dict.fromkeys(part for each in directions if group_of(each) == group for part in each.parts))


def group_at(editor: Editor, face: Face, labels: np.ndarray, x: float, y: float) -> str | None:
    """The group of sliders for a place of the face; None outside it, or if no slider changes that part.

    Args:
        editor: the models of the face.
        face: what was clicked.
        labels: its `Editor.part_labels`.
        x, y: shares of the picture's width and height.
    """
    height, width = labels.shape
    if not (0 <= x < 1 and 0 <= y < 1):
        return None
    part = tuple(editor.segmenter.parts)[labels[int(y * height), int(x * width)]]
    of_part = [d for d in face.session.directions if part in editor.segmenter.parts.expand(d.parts)]
    first = [direction for direction in of_part if group_of(direction) == part]
    return group_of((first or of_part)[0]) if of_part else None


def part_mask_of(editor: Editor, labels: np.ndarray, parts: Sequence[str]) -> np.ndarray:
    """Where a face shows some parts: (h, w) of 0 and 1."""
    known = [part for part in parts if part in editor.segmenter.parts]
    return np.isin(labels, editor.segmenter.parts.channels(known) if known else []).astype(np.float32)


def part_picture(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """A small square picture of a part in a face: lit up, with a margin around it."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    lit = spotlight(picture, mask)
    if not len(rows):
        return thumbnail(lit)
    scale, centre = picture.width / mask.shape[1], [(each[0] + each[-1] + 1) / 2 for each in (columns, rows)]
    side = min((1 + 2 * MARGIN) * max(columns[-1] - columns[0], rows[-1] - rows[0], mask.shape[0] / 8), mask.shape[0])
    left, top = (min(max(c - side / 2, 0), mask.shape[0] - side) * scale for c in centre)
    return thumbnail(lit.crop((round(left), round(top), round(left + side * scale), round(top + side * scale))))


def part_pictures(editor: Editor, face: Face, labels: np.ndarray, amounts: Amounts) -> list[tuple[Image.Image, str]]:
    """For each group of sliders its part in this face, and its name, with a dot if one of its sliders was moved."""
    directions, edited, entries = face.session.directions, edited_groups(face, amounts), []
    for group in groups_of(directions):
        mask = part_mask_of(editor, labels, parts_of(group, directions))
        words = in_plain_words(group) + (" •" if group in edited else "") + (" (muted)" if group in face.muted else "")
        entries.append((part_picture(face.session.original, mask), words))
    return entries
