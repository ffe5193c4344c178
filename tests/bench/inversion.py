"""Error and duration of inversions, and how well edits work on them; and the speed of e4e's encoder.

    python -m tests.bench.inversion [GENERATOR] [--closeness balanced] [--tune]

    example photo, its variants, held-out samples  --invert, timed-->  one `Case` each, and the worst of all

How well an edit works on an inversion: the locality gain of its direction there, over its gain on held-out samples.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from lelsd_core.cli.parser import GENERATOR
from lelsd_core.editor import DetectedPhoto, Editor, InversionOptions, Session
from lelsd_core.evaluation.heldout import HeldOut
from lelsd_core.evaluation.metrics import InversionMetrics
from lelsd_core.images import read_photo
from lelsd_core.inversion import CLOSENESS
from lelsd_core.inversion.pivotal import Tuning
from lelsd_core.registry import load_editor
from lelsd_core.seeds import HELD_OUT
from tests.bench.e4e import e4e

PHOTO = Path(__file__).parents[1] / "data" / "astronaut.png"
SEEDS = HELD_OUT[:8]
LEAST_AREA = 0.005  # of the picture; smaller parts are left out


@dataclass(frozen=True)
class Case:
    """One face at one closeness.

    Args:
        face, closeness: names of the face and of the closeness.
        first, last: metrics of the encoder's guess and of the end.
        first_s, seconds: until the guess and until the end, with alignment.
        kept: the smallest share of its stored gain that a direction keeps; None without directions.
        direction: its name.
    """

    face: str
    closeness: str
    first: InversionMetrics
    last: InversionMetrics
    first_s: float
    seconds: float
    kept: float | None
    direction: str | None


def invert(name: str, repeats: int, closenesses: Sequence[str], tune: bool = False) -> dict[str, Any]:
    """A table of all faces at each closeness, the gains over all of them, and e4e's time over the plain network's."""
    editor = load_editor(name)
    editor.warm_up()
    cases, kept = [], {}
    faces = dict(photos(editor))
    for closeness in closenesses:
        codes = []
        for face_name, photo in faces.items():
            case, session = run_case(editor, face_name, photo, InversionOptions(closeness=closeness, tune=tune))
            print(table_row(case), flush=True)
            cases.append(case)
            codes.append(session.codes)
        kept[closeness] = kept_gains(editor, torch.cat(codes))
        print(f"{closeness}, all faces: " + ", ".join(f"{n} {share:.2f}" for n, share in kept[closeness].items()))
    return {
        "rows": [asdict(case) for case in cases],
        "kept": kept,
        "least_kept": min((share for shares in kept.values() for share in shares.values()), default=None),
        **e4e(repeats),
    }


def table_row(case: Case) -> str:
    """A case as one printed line."""
    first, last = case.first, case.last
    kept = "" if case.kept is None else f"; {case.direction} keeps {case.kept:.2f}"
    return (
        f"{case.face:>14}, {case.closeness:<19} LPIPS {first.lpips:.3f} -> {last.lpips:.3f}, L1 {first.l1:.3f} -> "
        f"{last.l1:.3f}, identity {first.identity:.2f} -> {last.identity:.2f} in {case.first_s:.2f} and "
        f"{case.seconds:.1f} s{kept}"
    )


def photos(editor: Editor) -> Iterator[tuple[str, DetectedPhoto]]:
    """The shared photo and its variants, and some held-out samples of the generator, by name, with their faces."""
    for name, photo in variants(read_photo(PHOTO)):
        yield name, editor.detect(photo)
    for seed in SEEDS:
        yield f"seed {seed}", editor.detect(editor.random_face(seed).original, aligned=True)


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


def run_case(editor: Editor, name: str, photo: DetectedPhoto, options: InversionOptions) -> tuple[Case, Session]:
    """Invert a face against the clock; its row of the table, and the last session."""
    first, *_, session = editor.invert(photo, options)
    kept = kept_gains(editor, session.codes, session.tuning)
    worst = min(kept, key=kept.__getitem__, default=None)
    metrics = session.encoder_metrics, session.metrics
    return Case(name, options.closeness, *metrics, first.seconds, session.seconds, kept.get(worst), worst), session


@torch.inference_mode()
def kept_gains(editor: Editor, codes: Tensor, tuning: Tuning | None = None) -> dict[str, float]:
    """The share of its shipped gain that each direction keeps on codes (N, D), for parts that are visible."""
    generator, space = editor.renderer.tuned(tuning), editor.inverter.space
    samples = HeldOut(generator, editor.segmenter, space, codes)
    kept = {}
    for direction in editor.directions:
        row = samples.evaluate(direction)
        if row.area >= LEAST_AREA:
            kept[direction.name] = row.gain / direction.gain
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", nargs="?", default=GENERATOR)
    parser.add_argument("--closeness", nargs="+", default=list(CLOSENESS), choices=list(CLOSENESS))
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    invert(options.generator, 5, options.closeness, options.tune)
