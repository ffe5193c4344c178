"""Finds the local moves of a shipped generator's gallery and measures them.

    python checkpoints/make/make_shapes.py digiface-64 [NAME ...]

Most are refined by LELSD from a named start; where none gives what its name says on photos, the best one by eye of a
search without a start is kept. Each is calibrated on the held-out samples and saved among the generator's directions,
with the motion of its landmarks on them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lelsd_core.discovery.search import discover
from lelsd_core.discovery.starts import Measured, in_words, starts_of
from lelsd_core.evaluation.calibration import calibrate, range_samples
from lelsd_core.evaluation.heldout import held_out
from lelsd_core.evaluation.naming import motion
from lelsd_core.faces.measures import MEASURES
from lelsd_core.registry import build_frame, load_aligner, load_generator, load_segmenter
from lelsd_core.seeds import HELD_OUT
from lelsd_core.weights.catalogue import segmenter_of, spec_of

FRINGE = (10 / 64, 0.0, 54 / 64, 26 / 64)  # the forehead and the hair above it, in shares of the frame
FREE = {  # a search that starts anywhere
    "box": (8 / 64, 0.0, 56 / 64, 26 / 64),
    "dilate": 0.0,
    "feather": 0.1,
    "start": (),
    "count": 3,
    "steps": 120,
    **dict.fromkeys(("truncation", "least", "most")),
}
SHAPES: dict[str, dict[str, dict[str, Any]]] = {  # generator -> name -> fields of the search; by eye: "limits", ...
    "digiface-64": {
        "mouth-open": {"parts": "mouth"},
        "smile": {"parts": "mouth"},
        "brows-height": {"parts": "brows", "start": "brows"},
        "nose-length": {"parts": "nose"},
        "gaze": {"parts": "eyes"},
        "fringe": {"parts": "hair", "box": FRINGE, "dilate": 0.0},
    },
    "blaze-256": {
        "mouth-open": {"parts": "mouth"},
        "smile": {"parts": "mouth"},
        "brows-height": {"parts": "brows", "start": "brows"},
        "fringe": {"parts": "hair", **FREE, "take": (2, -1), "limits": (-6.0, 2.0)},
        "nose-length": {"parts": "nose"},
    },
}
SEEDS = {"digiface-64": HELD_OUT[:256], "blaze-256": HELD_OUT[:64]}  # that their sliders are measured on


def main() -> None:
    """Find all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", choices=SHAPES)
    parser.add_argument("names", nargs="*", help="[all]")
    options = parser.parse_args()
    spec, generator = spec_of(options.generator), load_generator(options.generator)
    segmenter = load_segmenter(segmenter_of(options.generator), generator=generator)
    aligner = load_aligner(build_frame(spec, generator.resolution))
    measured, count = Measured.load(spec.measured, generator), range_samples(generator)
    samples = held_out(generator, segmenter, HELD_OUT[:count])
    for name in options.names or SHAPES[options.generator]:
        fields = {"start": name, **SHAPES[options.generator][name]}
        limits, (number, sign) = fields.pop("limits", None), fields.pop("take", (0, 1))
        config, began = spec.shapes(generator).with_values(**fields).check(generator, segmenter), time.perf_counter()
        starts = starts_of(config, generator, segmenter, aligner, measured)
        *_, last = discover(generator, segmenter, config, starts=[start.vector for start in starts])
        direction = in_words(last.directions, starts)[number]
        ends = direction.ends if starts else (MEASURES[name].low, MEASURES[name].high)
        direction = replace(direction, name=name, ends=ends, vector=sign * direction.vector)
        direction = calibrate(generator, segmenter, direction, SEEDS[options.generator], limits=limits)
        moved = motion(samples, direction, aligner)
        facts = {**direction.facts, "motion": moved} | ({"fit": starts[0].fit} if starts else {})
        path = Path(spec.directions) / f"{name}.safetensors"
        replace(direction, facts=facts).save(path)
        figures = ", ".join(f"{each} {low:+.1f} {high:+.1f}" for each, (low, high) in moved.items())
        ends, took = " - ".join(direction.ends), time.perf_counter() - began
        print(f"{name}: {ends}, {direction.low:.1f} to {direction.high:.1f}, gain {direction.gain:.1f}, {figures}")
        for start in starts:
            print(f"    R² {start.fit:.2f}, cosine with its start {float(direction.vector @ start.vector):.2f}")
        print(f"    {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
