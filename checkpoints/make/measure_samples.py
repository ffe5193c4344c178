"""Makes a generator's measured.safetensors: what its samples show, so that named starts cost no rendering.

PYTHONPATH=. python checkpoints/make/measure_samples.py blaze-256 --count 1024 --truncation 0.7
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from lelsd_core.discovery.starts import Measured, measure_samples
from lelsd_core.registry import build_frame, load_aligner, load_generator, load_segmenter
from lelsd_core.seeds import STARTS
from lelsd_core.weights.catalogue import segmenter_of, spec_of

STEP = 32  # samples between two updates of the bar


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator")
    parser.add_argument("--count", type=int, default=1024, help="samples [%(default)s]")
    parser.add_argument("--truncation", type=float, help="psi of the samples [none]")
    options = parser.parse_args()
    generator = load_generator(options.generator)
    segmenter = load_segmenter(segmenter_of(options.generator), generator=generator)
    aligner = load_aligner(build_frame(spec_of(options.generator), generator.resolution))
    seeds, found = STARTS[: options.count], []
    for first in tqdm(range(0, len(seeds), STEP)):
        found.append(measure_samples(generator, segmenter, aligner, seeds[first : first + STEP], options.truncation))
    path = Path(__file__).parents[1] / options.generator / "measured.safetensors"
    Measured.joined(found).save(path, generator.fingerprint)
    print(f"wrote {path}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
