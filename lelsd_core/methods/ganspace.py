"""GANSpace: the principal components of W, or those of the first feature map, regressed back to Z.

    codes w (N, D)     --PCA-->  components (K, D)
    features x (N, F)  --PCA-->  coordinates (N, K)  --least squares: z ≈ coordinates · U-->  U (K, D)

Where W exists, the components are those of W; else those of the first layer's features, and each direction is what a
code changes by, in the mean, per unit of a component (section 3 of the paper). A component that acts on a group of
layers only is a candidate of its own. The paper's authors name components by looking at them; here, those with the
best scores for the wanted parts are returned.

Source: Härkönen, Hertzmann, Lehtinen, Paris, "GANSpace: Discovering Interpretable GAN Controls", NeurIPS 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lelsd_core.device import how_many
from lelsd_core.directions import Direction
from lelsd_core.generators.base import Generator
from lelsd_core.methods.candidates import best, candidate, reaches
from lelsd_core.methods.wanted import Report, Wanted
from lelsd_core.seeds import TRAINING
from lelsd_core.segmenters import Segmenter

COMPONENTS = 12
SAMPLES, NUMBERS = 10_000, 2**24  # codes, and at most so many numbers of their features
BATCH = 256  # codes whose features are computed at a time


def search(generator: Generator, segmenter: Segmenter, wanted: Wanted, report: Report) -> list[Direction]:
    """The best of the first components, on all layers and on each group of them."""
    vectors, count = components(generator, wanted.space, wanted.samples, wanted.seed)
    candidates = [
        candidate(generator, wanted, vector, layers, component=i, samples=count)
        for i, vector in enumerate(vectors)
        for layers in reaches(generator, wanted.space)
    ]
    return best(generator, segmenter, wanted, candidates, report)


@torch.no_grad()
def components(generator: Generator, space: str, samples: int | None = None, seed: int = 0) -> tuple[Tensor, int]:
    """Directions (K, D) of the largest principal components in W, or in Z, the largest first.

    Args:
        generator: of the samples.
        space: whose codes are decomposed; the first one's features instead.
        samples: number of codes; None = `SAMPLES`, fewer where their features are large.
        seed: of the randomised decomposition.

    Returns:
        The directions, and the number of samples.
    """
    name, layer = next(iter(generator.layers.items()))
    of_features = space == generator.space_names[0]
    fitting = how_many(NUMBERS, layer.channels * layer.size**2, SAMPLES) if of_features else SAMPLES
    count = max(samples or fitting, 2)
    codes = generator.sample_in(space, TRAINING[:count])
    if not of_features:
        return principal(codes, seed), count
    maps = [generator.synthesize(z, space, keep=(name,), image=False).features(name) for z in codes.split(BATCH)]
    features = torch.cat(maps).flatten(1)
    coordinates = (features - features.mean(0)) @ principal(features, seed).T
    return torch.linalg.lstsq(coordinates, codes - codes.mean(0)).solution, count


def principal(rows: Tensor, seed: int) -> Tensor:
    """The first principal axes (K, F) of rows (N, F), at most `COMPONENTS`, by a randomised decomposition."""
    rank = min(2 * COMPONENTS, *rows.shape)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _, sizes, axes = torch.pca_lowrank(rows, rank, niter=4)
    return axes.T[:COMPONENTS][sizes[:COMPONENTS] > 1e-5 * sizes[0]]
