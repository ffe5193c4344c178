"""Parts without labels: k-means over every pixel's features, for a person to look at and name.

    generator's samples  --embedding-->  pixels (N, C)  --k-means-->  centres  -->  "cluster 1" ... "cluster K"

After Collins et al., "Editing in Style: Uncovering the Local Semantics of GANs", CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters.features import FIT_SEEDS, FeatureSegmenter, fit_embedding, samples

PIXELS = 256  # of each sample
ROUNDS = 20
SOFTNESS = 0.3  # so that neighbouring clusters share a pixel, and their union has a smooth border
MOST = 200  # clusters; nobody can look at more


@torch.no_grad()
def fit_clusters(
    generator: Generator, count: int = 60, layers: Sequence[str] = (), seeds: Sequence[int] = FIT_SEEDS, seed: int = 0
) -> FeatureSegmenter:
    """Cluster the features of a generator.

    Args:
        generator: of any architecture.
        count: how many clusters.
        layers: which features; none = the usual ones of `fit_embedding`.
        seeds: samples to look at.
        seed: of the random start.

    Returns:
        A segmenter with the parts "cluster 1" ... ; give several a name with its `named`.
    """
    if not 2 <= count <= MOST:
        raise UserError(f"{count} clusters were asked for; 2 to {MOST} can be.")
    embed = fit_embedding(generator, layers)
    random = torch.Generator().manual_seed(seed)
    pixels = []
    for batch in samples(generator, seeds, tuple(embed.layers)):
        x = embed(batch).flatten(2)  # (B, C, pixels)
        picked = torch.randperm(x.shape[2], generator=random)[:PIXELS].to(x.device)
        pixels.append(x[:, :, picked].transpose(1, 2).flatten(0, 1))
    points = torch.cat(pixels)  # (N, C)
    centres = k_means(points, count, random)
    near = SOFTNESS * nearest(points, centres)[1].mean().clamp_min(1e-8)  # squared distance to the own centre
    weight, bias = 2 * centres / near, -centres.square().sum(1) / near
    parts = tuple(f"cluster {i + 1}" for i in range(count))
    return FeatureSegmenter(embed, weight, bias, parts, (generator.name, generator.fingerprint), "clusters")


def k_means(points: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Centres (count, C) of points (N, C): a k-means++ start, then Lloyd's rounds; an empty cluster stays."""
    first = torch.randint(len(points), (1,), generator=random).to(points.device)
    centres = points[first]
    distance = (points - centres).square().sum(1)
    for _ in range(count - 1):
        odds = distance.cpu() if distance.sum() > 0 else torch.ones(len(points))
        chosen = points[torch.multinomial(odds, 1, generator=random).to(points.device)]
        centres = torch.cat([centres, chosen])
        distance = torch.minimum(distance, (points - chosen).square().sum(1))
    for _ in range(ROUNDS):
        own = nearest(points, centres)[0]
        sums = torch.zeros_like(centres).index_add_(0, own, points)
        sizes = torch.bincount(own, minlength=count)[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp_min(1), centres)
    return centres


def nearest(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Index of each point's nearest centre, and the squared distance to it."""
    distances = points.square().sum(1, keepdim=True) - 2 * points @ centres.T + centres.square().sum(1)
    best = distances.min(1)
    return best.indices, best.values.clamp_min(0)


def parts_like(probabilities: Tensor, parts: Sequence[str], mask: Tensor) -> tuple[str, ...]:
    """The parts whose union is most like a mask: what to name, once a person has shown what they mean.

    Args:
        probabilities: (B, P, h, w) of `segment`.
        parts: their names.
        mask: (B, 1, h, w) in {0, 1}, where it was shown.
    """
    own = probabilities.argmax(1).flatten()
    sizes = torch.bincount(own, minlength=len(parts)).float()
    inside = torch.bincount(own, weights=mask.float().flatten(), minlength=len(parts))
    order = (inside / sizes.clamp_min(1)).argsort(descending=True)
    covered, reached = inside[order].cumsum(0), sizes[order].cumsum(0)
    best = int((covered / (reached + mask.sum() - covered)).argmax())  # intersection over union of the first ones
    return tuple(parts[int(i)] for i in order[: best + 1])
