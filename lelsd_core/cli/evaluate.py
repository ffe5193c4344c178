"""`evaluate`: measures directions on held-out samples, one row each; with --full, the tables of a gallery's card."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lelsd_core.cli.edit import photos_of
from lelsd_core.cli.workers import check_workers, spread
from lelsd_core.device import choose_device
from lelsd_core.directions import Direction, regions_in
from lelsd_core.errors import UserError
from lelsd_core.evaluation.card import figures, independence_table, on_photos
from lelsd_core.evaluation.heldout import LARGE_SAMPLES, Evaluator, HeldOut, Row, held_out_seeds
from lelsd_core.registry import build_frame, directions_of, load_aligner, load_editor, load_generator, load_segmenter
from lelsd_core.segmenters import FeatureSegmenter, split_by
from lelsd_core.weights.catalogue import segmenter_of, spec_of

FULL = 64  # samples, at least, of an evaluation for a card


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One row for each direction."""
    check_workers(options.workers)
    segmenter, device = segmenter_of(options.generator, options.segmenter), str(choose_device(options.device))
    directions = directions_of(options.generator, options.directions)
    full, photos = options.full or bool(options.photos), ()
    if full:
        check_sheets(directions, options.directions or spec_of(options.generator).directions)
    if options.photos:
        photos, _ = photos_of(Path(options.photos))
    columns = "direction    part          score 95 % interval   area   gain    low   high        change         LPIPS"
    print(f"{columns}  kind, what moves in %")
    rows, result = [], {}
    names = options.generator, options.class_index, segmenter, regions_in(directions)
    build = partial(evaluator, *names, full, ())
    for row in spread(build, directions, workers=options.workers, device=device):
        rows.append(checked(row))
        print(
            f"{row.direction:12} {row.part:12} {row.score:6.3f} {row.interval[0]:6.3f} {row.interval[1]:6.3f} "
            f"{row.area:6.3f} {row.gain:6.1f} {row.low:6.1f} {row.high:6.1f} {row.change[0]:6.3f} {row.change[1]:6.3f} "
            f"{row.lpips[0]:6.3f} {row.lpips[1]:6.3f}  {row.kind}{in_words(row)}",
            flush=True,
        )
    if full:
        print("\n".join(["", *figures(directions, rows), "", *independence_table(rows)]))
    if photos:
        build = partial(evaluator, *names, True, photos)
        photo_rows = [checked(row) for row in spread(build, directions, workers=options.workers, device=device)]
        print("\n".join(["", f"On {len(photos)} photos:", "", *on_photos(rows, photo_rows)]))
        result["photos"] = [asdict(row) for row in photo_rows]
    return {"rows": [asdict(row) for row in rows]} | result


def checked(row: Row | UserError) -> Row:
    """The row; raises the `UserError` that took its place."""
    if isinstance(row, UserError):
        raise row
    return row


def check_sheets(directions: Sequence[Direction], source: str | Path | None) -> None:
    """UserError if a direction of a folder has no contact sheet beside it, to which a card could link."""
    if source is None or not Path(source).is_dir():
        return
    for direction in directions:
        if not (sheet := Path(source, f"{direction.name}.jpg")).is_file():
            raise UserError(
                f"There is no contact sheet {sheet}; checkpoints/make/make_gallery.py draws those of a gallery that "
                "ships, and without --full none is needed."
            )


def in_words(row: Row) -> str:
    """What a direction is about: " mouth-open -8.1 +20.2"."""
    if not row.about:
        return ""
    low, high = row.motion[row.about]
    return f" {row.about} {low:+.1f} {high:+.1f}"


def evaluator(
    generator: str,
    class_index: str | None,
    segmenter: str,
    regions: Sequence[FeatureSegmenter],
    identity: bool,
    photos: Sequence[Path],
    device: str,
) -> Evaluator:
    """Load the networks by name, for evaluating one direction after another, on samples or on photos.

    The segmenter also finds the regions of the directions.

    UserError for a file that is no photo, or without a face.
    """
    if photos:
        editor = load_editor(generator, device, segmenter=segmenter, class_index=class_index).knowing(regions)
        sessions = [editor.open(photo) for photo in photos]
        codes = torch.cat([session.codes for session in sessions]).float()
        samples = HeldOut(editor.generator, editor.segmenter, sessions[0].space, codes)
        return Evaluator(editor.generator, editor.segmenter, (), editor.aligner, identity=identity, samples=samples)
    network, spec = load_generator(generator, device, class_index=class_index), spec_of(generator)
    aligner = load_aligner(build_frame(spec, network.resolution)) if spec.shows_faces else None
    seeds = held_out_seeds(network, FULL if identity else LARGE_SAMPLES)
    parts = split_by(load_segmenter(segmenter, device, generator=network), regions).to(device)
    return Evaluator(network, parts, seeds, aligner, identity=identity)
