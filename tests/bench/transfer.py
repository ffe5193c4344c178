"""Parts taken from a second picture, between the eight examples and eight made-up faces.

    python -m tests.bench.transfer [--generator digiface-64] [--steps 40] [--picture demo/screenshots/take.jpg]

Printed for each setting and part, as means over the pairs of faces that are turned alike: the change of the pixels
that no mask reaches, in percent; the seam, and in brackets how alike the person still is (1 = the same picture).

The seam is what the gradient of luma, where the mask fades, is above that of both pictures, in grey levels per pixel: 0
if every edge there is an edge of one of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.editor import Editor, Session
from lelsd_core.errors import UserError
from lelsd_core.faces.measures import LUMA
from lelsd_core.images import grid, read_photo, save_picture, to_tensor
from lelsd_core.local import LocalMove
from lelsd_core.paste import paste_detail
from lelsd_core.registry import load_editor
from lelsd_core.segmenters import part_mask
from lelsd_core.transfer import KINDS, usual_kinds

EXAMPLES = sorted((Path(__file__).parents[2] / "demo" / "examples").glob("*.jpg"))
PARTS = ("mouth", "eyes", "brows", "nose", "hair", "background")
STEPS_APART = (1, 5)  # from a face to those that its parts are taken from, in the list of faces
SHOWN = ((2, 4, "hair"), (3, 0, "mouth"), (4, 7, "eyes"), (2, 5, "hair"))  # photo, other photo, part


def settings(editor: Editor) -> dict[str, tuple[Editor, tuple[str, ...] | None]]:
    """Editors that take parts in different ways, and what they take; None = the usual."""

    def with_shape(**fields: Any) -> Editor:
        twin = editor.with_directions(())
        twin.shape_config = replace(editor.shape_config, **fields)
        return twin

    names = list(editor.generator.layers)
    place = names.index(editor.shape_config.local)
    last = {layer.size: name for name, layer in editor.generator.layers.items()}
    near = [name for name in last.values() if name != names[place]]
    return {
        "usual": (editor, None),
        "shape": (editor, KINDS[:1]),
        "shape and look": (editor, KINDS),
        **{f"usual, at {name}": (with_shape(local=name), None) for name in near[1:4]},
        "usual, narrow": (with_shape(dilate=0.0, feather=1 / 32), None),
        "usual, wide": (with_shape(dilate=1 / 16, feather=1 / 8), None),
    }


def measured(editor: Editor, mine: Session, other: Session, part: str, kinds: tuple[str, ...]) -> list[float] | None:
    """Change outside, seam and likeness; None for faces that do not fit."""
    try:
        session = editor.take(mine, part, other)
        new = dict(zip(KINDS, session.directions[len(mine.directions) :], strict=False))
        amounts = {direction.name: 1.0 for kind, direction in new.items() if kind in kinds}
        picture = editor.render(session, amounts)
    except UserError:
        return None
    probabilities = editor.renderer.unedited((mine.codes, mine.space)).probabilities

    def mask(move: LocalMove) -> Tensor:
        found = move.mask(lambda chosen: part_mask(probabilities, editor.segmenter.parts, chosen))
        return F.interpolate(found, (mine.original.height, mine.original.width), mode="bilinear")

    reached = torch.stack([mask(new[kind].local) for kind in kinds if kind in new]).amax(0)
    before, theirs, after = map(to_tensor, (mine.original, other.original, picture))
    outside = (after - before).abs().mean(1, keepdim=True)[reached < 0.01].mean() * 50
    fading = (reached > 0.05) & (reached < 0.95)
    seam = (gradient(after) - torch.maximum(gradient(before), gradient(theirs))).clamp_min(0)[fading].mean()
    likeness = editor.likeness(mine, picture)
    return [float(outside), float(seam), np.nan if likeness is None else likeness]


def gradient(picture: Tensor) -> Tensor:
    """The length of the gradient of luma, (1, 1, h, w) in grey levels per pixel."""
    luma = 127.5 * (picture * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    across, down = F.pad(luma.diff(dim=3), (0, 1)), F.pad(luma.diff(dim=2), (0, 0, 0, 1))
    return (across.square() + down.square()).sqrt()


def show(editor: Editor, faces: list[Session], path: Path) -> None:
    """Write a picture of `SHOWN`: photo, other photo, and the photo with the other one's part."""
    cells = []
    for mine, other, part in SHOWN:
        session = editor.take(faces[mine], part, faces[other])
        new = zip(KINDS, session.directions[len(faces[mine].directions) :], strict=False)
        edited = editor.render(session, {each.name: 1.0 for kind, each in new if kind in usual_kinds(part)})
        scale = edited.width / session.photo.width
        matrix = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
        made = paste_detail(session.photo, session.original, edited, matrix)
        cells.append([each.resize((144, 144)) for each in (session.photo, faces[other].photo, made)])
    save_picture(grid([[*left, *right] for left, right in zip(cells[::2], cells[1::2], strict=True)]), path)


def print_table(rows: Mapping[str, Mapping[str, list[list[float]]]]) -> None:
    """One line for each setting."""
    for name, parts in rows.items():
        means = {part: np.nanmean(np.array(found), 0) for part, found in parts.items() if found}
        cells = [f"{part} {outside:.2f} %, {seam:.2f} ({like:.2f})" for part, (outside, seam, like) in means.items()]
        print(f"{name}: {'; '.join(cells)}", flush=True)


def main() -> None:
    """Open the faces, then measure or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="digiface-64", help="[%(default)s]")
    parser.add_argument("--steps", type=int, help="refinement steps of the examples [as usual]")
    parser.add_argument("--picture", type=Path, help="file to write instead of measuring")
    options = parser.parse_args()
    editor, random = load_editor(options.generator), np.random.default_rng(3)
    faces = [editor.open(read_photo(path), steps=options.steps) for path in EXAMPLES]
    if options.picture:
        show(editor, faces, options.picture)
        return
    faces += [editor.random_face(editor.find_clear_seed(random)) for _ in range(8)]
    pairs = [(face, faces[(i + step) % len(faces)]) for i, face in enumerate(faces) for step in STEPS_APART]
    for name, (twin, kinds) in settings(editor).items():
        found = {
            part: [m for pair in pairs if (m := measured(twin, *pair, part, kinds or usual_kinds(part)))]
            for part in PARTS
        }
        print_table({name: found})


if __name__ == "__main__":
    main()
