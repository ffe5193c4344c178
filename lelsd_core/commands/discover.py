"""Find a new direction for some parts and save it.

python -m lelsd_core discover lips.safetensors --parts mouth --steps 300
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from lelsd_core.discover_config import DiscoverConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command: one for each field of `DiscoverConfig`; its default depends on the generator."""
    parser.add_argument("out", help="file to write; several directions get -2, -3 ... before the ending")
    parser.add_argument("--generator", default="digiface-64", help="registry name [%(default)s]")
    parser.add_argument("--segmenter", help="registry name [the generator's own]")
    for field in fields(DiscoverConfig):
        several = isinstance(field.default, tuple)
        kind = str if several else type(field.default)
        parser.add_argument(f"--{field.name}", type=kind, nargs="+" if several else None, help=field.metadata["help"])


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Discover, measure on held-out samples, save."""
    import time

    from tqdm import tqdm

    from lelsd_core.calibration import calibrate
    from lelsd_core.discovery import discover
    from lelsd_core.errors import UserError, unknown_name
    from lelsd_core.registry import GENERATORS, load_generator, load_segmenter

    out = Path(options.out)
    if not out.resolve().parent.is_dir():
        raise UserError(f"There is no folder {out.resolve().parent} to write {out.name} to.")
    if options.generator not in GENERATORS:
        raise UserError(unknown_name("generator", options.generator, GENERATORS))
    spec = GENERATORS[options.generator]
    given = {f.name: getattr(options, f.name) for f in fields(DiscoverConfig) if getattr(options, f.name) is not None}
    config = replace(spec.discover, **{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
    generator = load_generator(options.generator)
    segmenter = load_segmenter(options.segmenter or spec.segmenter)
    config = config.check(generator, segmenter)
    began = time.perf_counter()
    with tqdm(total=config.steps * config.count, disable=None) as bar:
        for progress in discover(generator, segmenter, config):
            bar.update()
            bar.set_postfix(score=f"{progress.score:.3f}", refresh=False)
    seconds = time.perf_counter() - began
    rows = []
    for number, direction in enumerate(progress.directions, start=1):
        path = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
        measured = calibrate(generator, segmenter, replace(direction, name=path.stem))
        measured.save(path)
        rows.append(measured)
        print(f"{path}: score {measured.score:.3f} on {measured.area:.1%} of the picture, gain {measured.gain:.1f}")
    return {
        "score": sum(row.score for row in rows) / len(rows),
        "area": sum(row.area for row in rows) / len(rows),
        "steps": progress.step,
        "seconds": seconds,
    }
