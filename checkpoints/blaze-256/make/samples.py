"""Pictures of blaze-256 with what its features say of every pixel: what `label_samples.py` labels.

    PYTHONPATH=. python checkpoints/blaze-256/make/samples.py train.npz --first-seed 100000 --count 3000 --edited
    PYTHONPATH=. python checkpoints/blaze-256/make/samples.py heldout.npz --first-seed 500000 --count 256

Truncation is uniform in [0.7, 1]. `--edited` takes, half the time, each of the coarse, middle and fine codes from
another seed, and moves S: every channel by N(0, σ²) and one layer by N(0, (3σ)²), in standard deviations of the
channel, σ uniform in [0, 0.3]; so the segmenter also learns edited pictures. The features are the embedding of
`fit_embedding`, rotated to its 32 widest directions and stored as int8, in 1/127 of the largest number.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lelsd_core.generators.base import Generator
from lelsd_core.registry import load_generator
from lelsd_core.seeds import FEATURE_SEGMENTERS
from lelsd_core.segmenters.features import features_of, fit_embedding
from lelsd_core.weights.catalogue import CHECKPOINTS

TRUNCATION = (0.7, 1.0)
SPREAD, ONE_LAYER = 0.3, 3.0
DIRECTIONS = 32
BATCH = 10


def codes_of(generator: Generator, seeds: range, deviation: Tensor | None) -> Tensor:
    """Codes (B, D) in S of some seeds; mixed and moved where the channels' `deviation` (D,) is given."""
    random = torch.Generator().manual_seed(seeds[0])
    w = generator.lift(generator.sample(seeds), "Z", "W").unflatten(1, (3, -1))  # (B, 3, 512)
    if deviation is not None:
        other = torch.rand(*w.shape[:2], 1, generator=random) < 0.5
        w = torch.where(other, w.roll(1, 0), w)
    low, high = TRUNCATION
    amounts = low + (high - low) * torch.rand(len(w), 1, generator=random)
    codes = generator.lift(generator.truncate(w.flatten(1), amounts), "W", "S")
    if deviation is not None:
        sigma = SPREAD * torch.rand(len(codes), 1, generator=random)
        slots = generator.space("S").widths
        chosen = torch.randint(len(slots), (len(codes),), generator=random)
        layers = torch.arange(len(slots)).repeat_interleave(torch.tensor(slots))
        gain = 1 + (ONE_LAYER - 1) * (layers == chosen[:, None])
        codes = codes + sigma * gain * deviation * torch.randn(codes.shape, generator=random)
    return codes


def widest(points: Tensor) -> Tensor:
    """The principal directions (C, 32) of points (N, C)."""
    return torch.linalg.svd(points - points.mean(0), full_matrices=False).Vh[:DIRECTIONS].T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--first-seed", type=int, default=100_000)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--edited", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = load_generator(CHECKPOINTS / "blaze-256" / "generator.safetensors")
    embed = fit_embedding(generator, ("16.conv1", "32.conv1", "64.conv1"))
    reference = generator.lift(generator.sample(FEATURE_SEGMENTERS), "Z", "S")
    with torch.inference_mode():
        some = torch.cat([embed(x) for x in features_of(generator, reference[:24], "S", tuple(embed.layers))])
        points = some[:, :-2].permute(0, 2, 3, 1)[:, ::2, ::2].flatten(0, 2)
        basis = widest(points)
        largest = (points @ basis).abs().amax(0)
        images, features = [], []
        for start in tqdm(range(options.first_seed, options.first_seed + options.count, BATCH), mininterval=10):
            seeds = range(start, min(start + BATCH, options.first_seed + options.count))
            codes = codes_of(generator, seeds, reference.std(0) if options.edited else None)
            for code in codes.split(1):
                synthesis = generator.synthesize(code, "S", keep=tuple(embed.layers))
                images.append(((synthesis.image.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1))
                x = embed({name: synthesis.features(name) for name in embed.layers})[:, :-2]
                x = torch.einsum("bchw,ck->bhwk", x, basis) / largest
                features.append((127 * x.clamp(-1, 1)).round().to(torch.int8))
    seeds = np.arange(options.first_seed, options.first_seed + options.count)
    np.savez(options.out, images=torch.cat(images), features=torch.cat(features), seeds=seeds)


if __name__ == "__main__":
    main()
