"""Error and duration of inversions, and how well edits work on them; and the speed of e4e's encoder.

    example photo, its variants, held-out samples  --invert, timed-->  one `Case` each, and the worst of all

How well an edit works on an inversion: the locality gain of its direction there, over its gain on held-out samples.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from lelsd_core.editor import Editor
from lelsd_core.evaluation.heldout import HeldOut
from lelsd_core.images import read_photo
from lelsd_core.inversion import CLOSENESS, Inversion, likeness_weights
from lelsd_core.registry import load_editor
from lelsd_core.seeds import HELD_OUT
from tests.bench.e4e import e4e

PHOTO = Path(__file__).parents[1] / "data" / "astronaut.png"
SEEDS = HELD_OUT[:4]
MARKS = (3.0, 10.0)  # seconds after which the error is read
LEAST_AREA = 0.005  # of the picture; smaller parts are left out


@dataclass(frozen=True)
class Case:
    """One face at one closeness.

    Args:
        face, closeness: names of the face and of the closeness.
        first_l1, first_s: error and seconds of the first guess.
        l1_3s, l1_10s: the last error reached within 3 and 10 seconds.
        l1, seconds: at the end.
        kept: the smallest share of its stored gain that a direction keeps.
        direction: its name.
    """

    face: str
    closeness: str
    first_l1: float
    first_s: float
    l1_3s: float
    l1_10s: float
    l1: float
    seconds: float
    kept: float
    direction: str


def invert(name: str, repeats: int, closenesses: Sequence[str] = tuple(CLOSENESS)) -> dict[str, Any]:
    """A table of all faces at each closeness, the gains over all of them, and e4e's time over the plain network's."""
    editor = load_editor(name)
    editor.warm_up()
    cases, kept = [], {}
    faces = dict(aligned_faces(editor))
    for closeness in closenesses:
        codes = []
        for face_name, face in faces.items():
            case, inversion = run_case(editor, face_name, face, closeness)
            print(table_row(case), flush=True)
            cases.append(case)
            codes.append(inversion.codes)
        kept[closeness] = kept_gains(editor, torch.cat(codes))
        print(f"{closeness}, all faces: " + ", ".join(f"{n} {share:.2f}" for n, share in kept[closeness].items()))
    rows = [asdict(case) for case in cases]
    photo = [case for case in cases if case.face == "photo"]
    return {
        "rows": rows,
        "kept": kept,
        "first_s": max(case.first_s for case in photo),
        "l1_3s": min(case.l1_3s for case in photo),
        "l1_10s": min(case.l1_10s for case in photo),
        "least_kept": min(share for shares in kept.values() for share in shares.values()),
        **e4e(repeats),
    }


def table_row(case: Case) -> str:
    """A case as one printed line."""
    return (
        f"{case.face:>12}, {case.closeness:<19} first {case.first_l1:.3f} in {case.first_s:.2f} s, {case.l1_3s:.3f} at "
        f"3 s, {case.l1_10s:.3f} at 10 s, {case.l1:.3f} in {case.seconds:.1f} s; {case.direction} keeps {case.kept:.2f}"
    )


def aligned_faces(editor: Editor) -> Iterator[tuple[str, Tensor]]:
    """The shared photo and its variants, aligned, and some held-out samples of the generator, by name."""
    for name, photo in variants(read_photo(PHOTO)):
        yield name, editor.aligner.cut(photo, editor.aligner.find(photo)[0]).picture
    generator = editor.generator
    for seed in SEEDS:
        yield f"seed {seed}", editor.synthesize(generator.sample([seed]), generator.space_names[0]).clone()


def variants(photo: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """Variants of a photo: cropped, with a wide margin, turned, darker, compressed."""
    width, height = photo.size
    yield "photo", photo
    yield "tighter", photo.crop((width // 5, 0, 3 * width // 4, 11 * height // 20))
    wall = Image.new("RGB", (3 * width // 2, 3 * height // 2), (90, 90, 90))
    wall.paste(photo, (width // 4, height // 4))
    yield "looser", wall
    for degrees in (15, -15):
        yield f"turned {degrees}", photo.rotate(degrees, Image.Resampling.BICUBIC)
    yield "darker", ImageEnhance.Brightness(photo).enhance(0.5)
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=40)
    file.seek(0)
    yield "JPEG 40", read_photo(file)


def run_case(editor: Editor, name: str, face: Tensor, closeness: str) -> tuple[Case, Inversion]:
    """Invert a face against the clock; its row of the table, and the last inversion."""
    began = time.perf_counter()
    inversion = first = editor.inverter.encode(face)
    editor.synthesize(first.codes, first.space)
    first_s = seconds = time.perf_counter() - began
    reached = dict.fromkeys(MARKS, first.l1)
    weights = likeness_weights(editor.segmenter, face)
    for inversion in editor.inverter.refine(face, first, weights=weights, closeness=closeness):
        seconds = time.perf_counter() - began
        reached |= {mark: inversion.l1 for mark in MARKS if seconds <= mark}
    kept = kept_gains(editor, inversion.codes)
    worst = min(kept, key=kept.__getitem__)
    errors = {"first_l1": first.l1, "l1_3s": reached[MARKS[0]], "l1_10s": reached[MARKS[1]], "l1": inversion.l1}
    case = Case(name, closeness, first_s=first_s, seconds=seconds, kept=kept[worst], direction=worst, **errors)
    return case, inversion


@torch.inference_mode()
def kept_gains(editor: Editor, codes: Tensor) -> dict[str, float]:
    """The share of its shipped gain that each direction keeps on codes (N, D), for parts that are visible."""
    generator, space = editor.generator, editor.inverter.space
    samples = HeldOut(generator, editor.segmenter, space, codes)
    kept = {}
    for direction in editor.directions:
        row = samples.evaluate(direction)
        if row.area >= LEAST_AREA:
            kept[direction.name] = row.gain / direction.gain
    return kept


if __name__ == "__main__":
    invert("digiface-64", 5)
