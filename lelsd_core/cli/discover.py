"""`discover`: finds directions for some parts by a method, calibrates them on held-out samples, and saves them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lelsd_core.cli.region import load_region
from lelsd_core.device import choose_device
from lelsd_core.directions import Direction
from lelsd_core.discovery.config import PRESETS, DiscoverConfig, usual_preset
from lelsd_core.discovery.samples import EarlyStopping
from lelsd_core.discovery.search import discover
from lelsd_core.discovery.starts import Measured, in_words, starts_of
from lelsd_core.errors import UserError, check_file, unknown_name
from lelsd_core.evaluation import calibration
from lelsd_core.faces import FaceAligner
from lelsd_core.generators.base import Generator
from lelsd_core.methods.base import METHODS, Wanted, find_directions
from lelsd_core.registry import build_frame, load_aligner, load_generator, load_segmenter
from lelsd_core.segmenters import Segmenter, split_by
from lelsd_core.weights.catalogue import Network, segmenter_of, spec_of

METHOD_PRESETS = {"lelsd-local": "shape", "lelsd-paper": "paper"}  # methods that are presets of LELSD's search
EVERY_METHOD = ("parts", "count", "seed", "space")  # flags that all methods take
OF_LELSD = ("preset", "against", "checkpoint")  # flags of a search that are no fields of its config


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Find, calibrate on held-out samples, save; directions are named after their files."""
    out = Path(options.out)
    check_file(out, ".safetensors")
    if options.method not in METHODS:
        raise UserError(unknown_name("method", options.method, METHODS))
    if options.method in METHOD_PRESETS:
        if options.preset:
            raise UserError(f"--method {options.method} is a preset of its own; leave out --preset {options.preset}.")
        options.preset = METHOD_PRESETS[options.method]
    elif options.method != "lelsd":
        return run_method(options, out)
    if options.checkpoint:
        check_file(Path(options.checkpoint))
    spec = spec_of(options.generator)
    against, device = [Direction.load(path) for path in options.against], choose_device(options.device)
    generator, segmenter, config = load_networks(options, spec, device)
    aligner = aligner_of(spec, generator)
    if config.start and not spec.measured:
        print("Samples are measured for the start, which takes a while.", flush=True)
    measured = Measured.load(spec.measured, generator) if config.start and spec.measured else None
    starts = starts_of(config, generator, segmenter, aligner, measured)
    given = {"against": against, "starts": [start.vector for start in starts], "checkpoint": options.checkpoint}
    began = time.perf_counter()
    with tqdm(total=config.steps * config.count, disable=None) as bar:  # silent where stderr is no terminal
        for progress in discover(generator, segmenter, config, **given):
            bar.update(progress.step - bar.n)
            bar.set_postfix(score=f"{progress.score:.3f}", refresh=False)
    seconds = time.perf_counter() - began
    if progress.left_out:
        print(f"{progress.left_out} of {progress.seen} samples showed no part or no change and were left out.")
    directions = save_calibrated(in_words(progress.directions, starts), out, generator, segmenter, aligner)
    if config.view:  # held-out scores on the running RGB that the search used, and on the whole picture
        lengths = [direction.facts["amounts"][1] / config.most for direction in directions]  # 1 unless they were free
        vectors = torch.stack([length * each.vector for length, each in zip(lengths, directions, strict=True)])
        for label, view in ((f"the running RGB of {config.view}", config.view), ("the whole picture", "")):
            score = EarlyStopping(generator, segmenter, replace(config, view=view)).mean_score(vectors)
            print(f"held-out score on {label}: {score:.3f}")
    if options.checkpoint:
        Path(options.checkpoint).unlink(missing_ok=True)
    return figures(directions) | {"steps": progress.step, "seconds": seconds, "left_out": progress.left_out}


def run_method(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Find directions by another method than LELSD, calibrate and save them. UserError for flags of LELSD's search."""
    method, given = METHODS[options.method], flags(options)
    taken = (*EVERY_METHOD, *(name for name in ("samples", "steps") if name in method.takes))
    others = [name for name in given if name not in taken] + [name for name in OF_LELSD if getattr(options, name)]
    if others:
        raise UserError(
            f"--{others[0]} belongs to LELSD's search; --method {method.name} takes --{', --'.join(taken)}."
        )
    spec, device = spec_of(options.generator), choose_device(options.device)
    segmenter, given = load_parts(options, given, device)
    wanted = Wanted(**{"parts": spec.discover.parts, **given})
    segmenter.parts.channels(wanted.parts)  # before the larger file is fetched
    generator = load_generator(options.generator, device, class_index=options.class_index)
    aligner = aligner_of(spec, generator)
    began = time.perf_counter()
    with tqdm(total=100, unit="%", disable=None) as bar:
        found = find_directions(
            method.name,
            generator,
            segmenter,
            replace(wanted, aligner=aligner),
            progress=lambda share: bar.update(int(100 * share) - bar.n),
        )
    seconds = time.perf_counter() - began
    if candidates := found[0].facts.get("candidates"):
        print(f"{method.title}: the best of {candidates}, by the localization score on training samples")
    directions = save_calibrated(found, out, generator, segmenter, aligner)
    return figures(directions) | {"method": method.name, "seconds": seconds}


def flags(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of `DiscoverConfig` that flags were given for."""
    values = {field.name: getattr(options, field.name, None) for field in fields(DiscoverConfig)}
    return {name: value for name, value in values.items() if value is not None}


def load_parts(
    options: argparse.Namespace, given: dict[str, Any], device: torch.device
) -> tuple[Segmenter, dict[str, Any]]:
    """The segmenter, and the flags that were given; a region of one's own is the part, unless they name others."""
    name = segmenter_of(options.generator, options.segmenter)
    segmenter = load_segmenter(name, device, weights=options.segmenter_weights)
    if not options.own:
        return segmenter, given
    region = load_region(options.own)
    return split_by(segmenter, [region.to(device)]), {"parts": region.parts[:1]} | given


def aligner_of(spec: Network, generator: Generator) -> FaceAligner | None:
    """The aligner of a generator's pictures, if they are faces."""
    return load_aligner(build_frame(spec, generator.resolution)) if spec.shows_faces else None


def save_calibrated(
    found: Sequence[Direction], out: Path, generator: Generator, segmenter: Segmenter, aligner: FaceAligner | None
) -> list[Direction]:
    """Calibrate directions on held-out samples and save them: the first to `out`, others with a number in the name."""
    directions = []
    for number, direction in enumerate(found, start=1):
        path = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
        direction = calibration.calibrate(generator, segmenter, replace(direction, name=path.stem), aligner=aligner)
        direction.save(path)
        directions.append(direction)
        (low, high), ends = direction.facts["interval"], " – ".join(direction.ends)
        print(
            f"{path}: {ends}; score {direction.score:.3f} ({low:.3f} to {high:.3f}) on {direction.area:.1%} of the "
            f"picture, gain {direction.gain:.1f}"
        )
    return directions


def figures(directions: Sequence[Direction]) -> dict[str, float]:
    """Mean held-out score and area."""
    return {name: sum(getattr(each, name) for each in directions) / len(directions) for name in ("score", "area")}


def load_networks(
    options: argparse.Namespace, spec: Network, device: torch.device
) -> tuple[Generator, Segmenter, DiscoverConfig]:
    """The networks, and the checked settings of a preset with the flags on top.

    Flags of local moves ask for shapes and those of another space for a look; without either, the parts decide. Names
    are checked before the larger files are fetched.
    """
    if options.preset not in (None, *PRESETS):
        raise UserError(unknown_name("preset", options.preset, PRESETS))
    segmenter, given = load_parts(options, flags(options), device)
    config = spec.discover.with_values(**given)
    segmenter.parts.channels(config.parts)
    generator = load_generator(options.generator, device, class_index=options.class_index)
    preset = options.preset or usual_preset(config.parts, spec.shaped)
    if not options.preset and given.keys() & {"local", "around", "box", "start"}:
        preset = "shape"
    elif not options.preset and given.keys() & {"space", "slots"}:
        preset = "look"
    if preset == "paper":
        config = DiscoverConfig.paper(generator, **{"micro": config.micro, **given})
    elif preset == "shape":
        config = spec.shapes(generator).with_values(**given)
    return generator, segmenter, config.check(generator, segmenter)
