"""`bench flagship`: what is to be known of a large model, in one go on a machine with a GPU and the Hub.

fetch, verify --> predict, then time: a gallery, a direction, a slider --> held-out scores
photos  --invert-->  identity and LPIPS beside e4e's --> OUT/flagship.json, flagship.jpg, directions/
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import lelsd_core
from lelsd_core.cli.edit import photos_of
from lelsd_core.cli.timing import edit_times, in_words, measure
from lelsd_core.cli.weights import verify
from lelsd_core.device import describe
from lelsd_core.directions import Direction
from lelsd_core.discovery.search import discover
from lelsd_core.editor import Editor, Session
from lelsd_core.editor.session import describe_metrics
from lelsd_core.errors import UserError, check_folder
from lelsd_core.evaluation.heldout import evaluate
from lelsd_core.galleries.local import fill_gallery
from lelsd_core.images import grid, save_picture
from lelsd_core.registry import load_editor
from lelsd_core.seeds import HELD_OUT
from lelsd_core.weights.catalogue import generator_spec, needed_by
from lelsd_core.weights.hub import Bar, ensure, fetch
from lelsd_core.weights.safetensors import write_text

EXAMPLE = Path(__file__).resolve().parents[2] / "demo" / "examples" / "1-astronaut.jpg"
SEEDS = HELD_OUT[:64]  # of the held-out scores; more pictures of 1024 pixels would not fit into a small GPU
PUBLISHED = {  # Alaluf et al., "HyperStyle" (CVPR 2022), Table 1
    "identity": 0.50,
    "lpips": 0.20,
    "of": "e4e without refinement, CelebA-HQ's test photos; identity is the cosine of another network, CurricularFace",
}
TILE = 256  # pixels of a picture on the contact sheet


def flagship(name: str, out: Path, photos: Path | None, device: torch.device, repeats: int) -> dict[str, Any]:
    """Fetch, check, time and measure a generator; writes the report, a contact sheet and the directions.

    Args:
        name: a generator of the catalogue.
        out: a new or empty folder to write to.
        photos: a folder of photos to invert; None = the example photo.
        device: a CPU works, too, and takes hours for 1024 pixels.
        repeats: of an edit.

    Raises:
        UserError: no photos, a folder that is not empty, no network, a damaged file, or no part of which a direction
            was found.
    """
    if photos is None and not EXAMPLE.exists():
        raise UserError("The example photo is not installed with the package; name a folder with --photos.")
    if photos is not None and not photos.is_dir():
        raise UserError(f"There is no folder {photos} of photos; --photos takes a folder.")
    paths = photos_of(photos)[0] if photos else [EXAMPLE]
    check_folder(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder; give a new one, so that nothing old is taken for measured.")
    ensure(name, report=Bar())
    for better in ("yunet", "sface"):
        with suppress(UserError):  # what ships is used instead
            fetch(better, report=Bar())
    hashes = {row["name"]: row["sha256"] for row in verify(argparse.Namespace(names=needed_by(name)))["rows"]}
    editor = load_editor(name, device)
    out.mkdir(exist_ok=True)
    report: dict[str, Any] = {
        "generator": name,
        "sha256": hashes,
        "device": f"{device}: {describe(device)}",
        "torch": torch.__version__,
        "version": lelsd_core.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "predicted": predict(editor),
    }
    directions, report["gallery"] = fill(editor, out / "directions")
    searched, report["search"] = search(editor, directions)
    report["scores"] = []
    for row in evaluate(editor.generator, editor.segmenter, [*directions, searched], SEEDS):
        print(f"{row.direction}: held-out score {row.score:.3f} on {row.area:.1%} of the picture", flush=True)
        report["scores"].append(asdict(row))
    report["published"], (opened, report["inversions"]) = PUBLISHED, invert(editor, paths)
    first = opened[0][-1] if opened else editor.random_face(generator_spec(name).first_seed)
    session = replace(first, directions=shown(editor, replace(first, directions=directions)))
    report["edits"] = edit_times(editor, session, repeats)
    report["peak_gb"] = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
    rows, report["sheet"] = contact_sheet(editor, opened, session)
    save_picture(grid([[picture.resize((TILE, TILE)) for picture in row] for row in rows]), out / "flagship.jpg")
    write_text(out / "flagship.json", json.dumps(report, indent=1) + "\n")
    print(f"Wrote {out / 'flagship.json'}, flagship.jpg and {len(directions)} directions.")
    return report


def shown(editor: Editor, session: Session) -> tuple[Direction, ...]:
    """A session's directions without the shapes of parts that its picture does not show."""
    found = []
    for direction in session.directions:
        with suppress(UserError):
            editor.render(session, {direction.name: direction.high})
            found.append(direction)
    return tuple(found)


def predict(editor: Editor) -> dict[str, float]:
    """Seconds of a search and of a whole gallery, as predicted, and of what that is predicted from."""
    cost = measure(editor.generator, editor.segmenter, editor.search_config)
    seconds = {"search_s": cost.search(editor.search_config), "gallery_s": cost.gallery(editor.segmenter)}
    words = f"a direction takes about {in_words(seconds['search_s'])}, a gallery up to {in_words(seconds['gallery_s'])}"
    gpu = "" if editor.generator.device.type != "cpu" else " (on the CPU; a GPU is far faster)"
    print(f"Predicted: {words}{gpu}.", flush=True)
    return seconds | asdict(cost)


def fill(editor: Editor, folder: Path) -> tuple[tuple[Direction, ...], dict[str, Any]]:
    """The directions of a gallery, and its seconds: in all, and until each part had a direction or a reason for none.

    UserError if no part has one.
    """
    directions, parts, began = [], {}, time.perf_counter()
    for progress in fill_gallery(editor.generator, editor.segmenter, folder, aligner=editor.aligner):
        if progress.share == 1:
            seconds, found = time.perf_counter() - began, progress.direction
            parts[progress.name] = {"until_s": seconds, "without": progress.words or None}
            directions += [found] if found else []
            print(f"{progress.name}: {progress.words or 'found'} after {in_words(seconds)}", flush=True)
    if not directions:
        raise UserError(f"No direction was found for any part of {editor.generator.name}: {progress.words}")
    return tuple(directions), {"seconds": time.perf_counter() - began, "parts": parts}


def search(editor: Editor, directions: Sequence[Direction]) -> tuple[Direction, dict[str, Any]]:
    """The direction of a search with the generator's own settings, for the mouth or else the first part, and facts."""
    part = "mouth" if any("mouth" in d.parts for d in directions) else directions[0].parts[0]
    config, began = replace(editor.search_config, parts=part), time.perf_counter()
    *_, last = discover(editor.generator, editor.segmenter, config)
    seconds = time.perf_counter() - began
    print(f"A search for {part} took {in_words(seconds)}, {last.step} steps.", flush=True)
    return replace(last.directions[0], name=f"{part}, searched"), {"part": part, "seconds": seconds, "steps": last.step}


def invert(editor: Editor, photos: Sequence[Path]) -> tuple[list[tuple[Session, Session]], list[dict[str, Any]]]:
    """Each face as the encoder has it and as it is refined, and a row of figures for each photo, or its problem."""
    opened, rows = [], []
    for path in photos:
        try:
            first, *_, last = editor.invert(path)
        except UserError as problem:
            rows.append({"photo": path.name, "problem": str(problem)})
            continue
        opened.append((first, last))
        metrics = {"encoder": asdict(first.metrics), "refined": asdict(last.metrics)}
        rows.append({"photo": path.name, "encoder_s": first.seconds, "refined_s": last.seconds, **metrics})
        e4e = f"e4e's published ones are LPIPS {PUBLISHED['lpips']:.2f}, identity {PUBLISHED['identity']:.2f}"
        print(f"{path.name}: {describe_metrics(last)}; {e4e}", flush=True)
    return opened, rows


def contact_sheet(
    editor: Editor, opened: Sequence[tuple[Session, Session]], session: Session
) -> tuple[list[list[Image.Image]], list[str]]:
    """Rows of pictures, and a word on each row: photos and their inversions, and a session's directions."""
    rows = [[last.photo, first.original, last.original] for first, last in opened]
    words = ["photo, as the encoder has it, refined"] * len(rows)
    for direction in session.directions:
        ends = (direction.low, direction.low / 2, 0.0, direction.high / 2, direction.high)
        rows.append([editor.render(session, {direction.name: amount}) for amount in ends])
        words.append(f"{direction.name}, {direction.low:g} to {direction.high:g}")
    return rows, words
