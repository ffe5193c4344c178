"""`evaluate`: measures directions on held-out samples, one row each."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from lelsd_core.cli.workers import check_workers, spread
from lelsd_core.device import choose_device
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import Evaluator
from lelsd_core.registry import build_frame, directions_of, load_aligner, load_generator, load_segmenter
from lelsd_core.weights.catalogue import segmenter_of, spec_of


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One row for each direction."""
    check_workers(options.workers)
    segmenter, device = segmenter_of(options.generator, options.segmenter), str(choose_device(options.device))
    directions = directions_of(options.generator, options.directions)
    rows = []
    columns = "direction    part          score 95 % interval   area   gain    low   high        change         LPIPS"
    print(f"{columns}  kind, largest motion in %")
    build = partial(evaluator, options.generator, segmenter)
    for row in spread(build, directions, workers=options.workers, device=device):
        if isinstance(row, UserError):
            raise row
        rows.append(asdict(row))
        print(
            f"{row.direction:12} {row.part:12} {row.score:6.3f} {row.interval[0]:6.3f} {row.interval[1]:6.3f} "
            f"{row.area:6.3f} {row.gain:6.1f} {row.low:6.1f} {row.high:6.1f} {row.change[0]:6.3f} {row.change[1]:6.3f} "
            f"{row.lpips[0]:6.3f} {row.lpips[1]:6.3f}  {row.kind}{in_words(row.motion or {})}",
            flush=True,
        )
    return {"rows": rows}


def in_words(motion: Mapping[str, tuple[float, float]]) -> str:
    """The largest motion of a part: " mouth-open -8.1 +20.2"."""
    if not motion:
        return ""
    name, (low, high) = max(motion.items(), key=lambda each: abs(each[1][1] - each[1][0]))
    return f" {name} {low:+.1f} {high:+.1f}"


def evaluator(generator: str, segmenter: str, device: str) -> Evaluator:
    """Load the networks by name, for evaluating one direction after another."""
    network, spec = load_generator(generator, device), spec_of(generator)
    aligner = load_aligner(build_frame(spec, network.resolution)) if spec.shows_faces else None
    return Evaluator(network, load_segmenter(segmenter, device, generator=network), aligner=aligner)
