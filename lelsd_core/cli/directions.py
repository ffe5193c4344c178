"""`directions`: imports directions of others, and shows what files of directions say."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lelsd_core.device import choose_device
from lelsd_core.directions import Direction, load_directions
from lelsd_core.errors import UserError, check_file, check_folder, unknown_name
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.imports import Choices, import_directions, kept_sign, read_foreign
from lelsd_core.registry import build_frame, load_aligner, load_generator, load_segmenter
from lelsd_core.weights.catalogue import segmenter_of, spec_of
from lelsd_core.weights.layouts import listed


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run one action."""
    actions = {"import": import_file, "show": show}
    if options.action not in actions:
        raise UserError(unknown_name("action of directions", options.action, actions))
    return actions[options.action](options)


def import_file(options: argparse.Namespace) -> dict[str, Any]:
    """FILE OUT: write the directions of a file of others; OUT is a file for one, a folder for several."""
    if len(options.files) != 2:
        raise UserError("`directions import` takes two names: FILE and OUT.")
    out = Path(options.files[1])
    single = out.suffix == ".safetensors"
    check_file(out, ".safetensors") if single else check_folder(out)
    file = read_foreign(options.files[0])  # before networks are loaded
    if single and len(file.pick(options.pick)) > 1:
        raise UserError(
            f"{file.name} holds {len(file.entries)} directions ({file.about}); name a folder for them, or one of them "
            "with --pick."
        )
    spec, device = spec_of(options.generator), choose_device(options.device)
    segmenter = load_segmenter(segmenter_of(options.generator, options.segmenter), device) if options.parts else None
    if segmenter:
        segmenter.parts.channels(options.parts)  # checks the names
    generator = load_generator(options.generator, device, class_index=options.class_index)
    choices = Choices(
        name=options.name or (out.stem if single else ""),
        pick=tuple(options.pick),
        parts=tuple(options.parts),
        space=options.space,
        rows=options.rows and tuple(options.rows),
        shorten=options.shorten,
    )
    directions = import_directions(file, generator, choices)
    aligner = load_aligner(build_frame(spec, generator.resolution)) if segmenter and spec.shows_faces else None
    written = []
    for direction in directions:
        if segmenter:
            direction = kept_sign(calibrate(generator, segmenter, direction, aligner=aligner), direction)
        path = out if single else out / f"{direction.name}.safetensors"
        direction.save(path)
        written.append({"file": str(path)} | row_of(direction))
        print(f"{path}: {in_words(direction)}")
    taken = {direction.facts["entry"] for direction in directions}
    if left := [entry.label for entry in file.entries if entry.label not in taken] if not options.pick else []:
        print(f"{len(left)} more can be chosen with --pick: {listed(left)}.")
    print(f"Taken to be for {generator.name}: {file.name} ({file.about}) does not say whose weights it belongs to.")
    return {"directions": written, "left_out": left, "source": file.about}


def show(options: argparse.Namespace) -> dict[str, Any]:
    """FILE or FOLDER ...: what each direction says of itself."""
    directions = [direction for name in options.files for direction in load_directions(name)]
    for direction in directions:
        origin = direction.facts.get("source_file")
        print(f"{direction.title} ({direction.generator}): {in_words(direction)}{f' From {origin}.' if origin else ''}")
    return {"directions": [row_of(direction) for direction in directions]}


def in_words(direction: Direction) -> str:
    """Space, parts, range and score of a direction."""
    parts = f" for {', '.join(direction.parts)}" if direction.parts else ""
    text = f"{direction.kind} in {direction.space}{parts}, {direction.low:.3g} to {direction.high:.3g}"
    if direction.score is None:
        return f"{text}, not measured: import it with --parts for that."
    return f"{text}; score {direction.score:.3f} on {direction.area:.1%} of the picture, gain {direction.gain:.1f}."


def row_of(direction: Direction) -> dict[str, Any]:
    """A direction for programs, without its vector."""
    names = ("name", "generator", "space", "parts", "ends", "low", "high", "score", "area", "gain", "layers", "kind")
    return {name: getattr(direction, name) for name in names} | {"facts": dict(direction.facts)}
