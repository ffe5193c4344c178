"""Measure directions on held-out samples: score, area, range and locality gain of each.

python -m lelsd_core evaluate
"""

from __future__ import annotations

import argparse
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("--generator", default="digiface-64", help="registry name [%(default)s]")
    parser.add_argument("--directions", help="folder with directions [the generator's own]")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One row for each direction."""
    from dataclasses import asdict

    from lelsd_core.directions import load_directions
    from lelsd_core.errors import UserError, unknown_name
    from lelsd_core.evaluation import evaluate
    from lelsd_core.registry import CHECKPOINTS, GENERATORS, load_generator, load_segmenter

    if options.generator not in GENERATORS:
        raise UserError(unknown_name("generator", options.generator, GENERATORS))
    spec = GENERATORS[options.generator]
    directions = load_directions(options.directions or CHECKPOINTS / spec.directions)
    rows = []
    print(f"{'direction':12} {'part':12} {'score':>6} {'area':>6} {'gain':>6} {'low':>6} {'high':>6} {'change':>13}")
    for row in evaluate(load_generator(options.generator), load_segmenter(spec.segmenter), directions):
        rows.append(asdict(row))
        print(
            f"{row.direction:12} {row.part:12} {row.score:6.3f} {row.area:6.3f} {row.gain:6.1f} {row.low:6.1f} "
            f"{row.high:6.1f} {row.change[0]:6.3f} {row.change[1]:6.3f}",
            flush=True,
        )
    return {"rows": rows}
