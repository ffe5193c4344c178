"""Find a new direction for some parts and save it.

python -m lelsd_core discover lips.safetensors --parts mouth --steps 300
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lelsd_core.cli.common import add_device, add_networks
from lelsd_core.discovery.config import DiscoverConfig

if TYPE_CHECKING:
    from lelsd_core.directions import Direction
    from lelsd_core.discovery.search import Progress
    from lelsd_core.generators.base import Generator
    from lelsd_core.segmenters import Segmenter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command: one for each field of `DiscoverConfig`; its default depends on the generator."""
    parser.add_argument("out", help="file to write; several directions get -2, -3 ... before the ending")
    add_networks(parser)
    parser.add_argument("--segmenter-weights", metavar="FILE", help="of a network named without them; or: torchvision")
    for field in fields(DiscoverConfig):
        several = isinstance(field.default, tuple)
        parser.add_argument(
            f"--{field.name}",
            type=field.metadata["kind"],
            nargs="+" if several else None,
            help=field.metadata["help"],
        )
    parser.add_argument("--against", nargs="+", default=[], metavar="FILE", help="directions to stay clear of")
    parser.add_argument("--checkpoint", help="file to write now and then, and to go on from if it is there")
    add_device(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Discover, measure on held-out samples, save."""
    import time

    from lelsd_core.device import choose_device
    from lelsd_core.directions import Direction
    from lelsd_core.errors import check_file
    from lelsd_core.galleries.local import fitted
    from lelsd_core.registry import load_generator, load_segmenter
    from lelsd_core.segmenters import Parts
    from lelsd_core.specs import segmenter_of, spec_of

    out = Path(options.out)
    check_file(out, ".safetensors")
    if options.checkpoint:
        check_file(Path(options.checkpoint))
    spec, wanted = spec_of(options.generator), segmenter_of(options.generator, options.segmenter)
    given = {f.name: getattr(options, f.name) for f in fields(DiscoverConfig) if getattr(options, f.name) is not None}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    against = [Direction.load(path) for path in options.against]
    device = choose_device(options.device)
    segmenter = load_segmenter(wanted, device, weights=options.segmenter_weights)
    Parts(segmenter.parts).expand(given.get("parts", spec.discover.parts))
    generator = load_generator(options.generator, device)  # the larger of both to fetch
    config = replace(fitted(replace(spec.discover, **given), generator), **given).check(generator, segmenter)
    began = time.perf_counter()
    progress = search(generator, segmenter, config, against, options.checkpoint)
    seconds = time.perf_counter() - began
    rows = measured(generator, segmenter, progress.directions, out)
    if config.view:
        tell_both_scores(generator, segmenter, config, rows)
    if options.checkpoint:
        Path(options.checkpoint).unlink(missing_ok=True)
    return {
        "score": sum(row.score for row in rows) / len(rows),
        "area": sum(row.area for row in rows) / len(rows),
        "steps": progress.step,
        "seconds": seconds,
        "left_out": progress.left_out,
    }


def search(
    generator: Generator,
    segmenter: Segmenter,
    config: DiscoverConfig,
    against: Sequence[Direction],
    checkpoint: str | None,
) -> Progress:
    """The last progress of a discovery, with a bar while it runs."""
    from lelsd_core.cli.common import progress_bar
    from lelsd_core.discovery.search import discover

    with progress_bar(config.steps * config.count) as bar:
        for progress in discover(generator, segmenter, config, against=against, checkpoint=checkpoint):
            bar.update(progress.step - bar.n)
            bar.set_postfix(score=f"{progress.score:.3f}", refresh=False)
    if progress.left_out:
        print(f"{progress.left_out} of {progress.seen} samples showed no part or no change and were left out.")
    return progress


def measured(generator: Generator, segmenter: Segmenter, found: Sequence[Direction], out: Path) -> list[Direction]:
    """The directions, measured, named after their files, and saved."""
    from lelsd_core.evaluation.calibration import calibrate

    rows = []
    for number, direction in enumerate(found, start=1):
        path = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
        row = calibrate(generator, segmenter, replace(direction, name=path.stem))
        row.save(path)
        rows.append(row)
        low, high = row.facts["interval"]
        print(
            f"{path}: score {row.score:.3f} ({low:.3f} to {high:.3f}) on {row.area:.1%} of the picture, "
            f"gain {row.gain:.1f}"
        )
    return rows


def tell_both_scores(
    generator: Generator, segmenter: Segmenter, config: DiscoverConfig, found: Sequence[Direction]
) -> None:
    """Print the held-out score on the layer that was searched with beside the one on the whole picture."""
    import torch

    from lelsd_core.discovery.search import EarlyStopping

    vectors = torch.stack([direction.vector for direction in found])
    for label, view in ((f"the running RGB of {config.view}", config.view), ("the whole picture", "")):
        score = EarlyStopping(generator, segmenter, replace(config, view=view)).score(vectors)
        print(f"held-out score on {label}: {score:.3f}")
