"""Local directions of first order: what changes the part most, among what hardly changes the rest.

    J: the Jacobian of a picture by its code, rows inside the part and rows outside it
    A = E[J_inᵀ J_in],  B = E[J_outᵀ J_out]       low-rank: few directions of the code change a region
    N: eigenvectors of B with the smallest eigenvalues, its null space but for a share of its trace
    max ‖J_in n‖ with n in the span of N   -->   eigenvectors of N Nᵀ A N Nᵀ

In the manner of LowRankGAN, which projects the directions of a region into the null space of the rest, and of ReSeFa,
which weighs the two against each other. They take one picture at a time; here A and B are means over samples, so that a
direction does the same to all. How much of B counts as null is chosen, with the vector, by the scores for the parts. A
and B come from random projections (see `probes`), in a basis of the codes' principal components.

Sources: Zhu et al., "Low-Rank Subspaces in GANs", NeurIPS 2021; Zhu et al., "Region-Based Semantic Factorization in
GANs", ICML 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lelsd_core.device import how_many
from lelsd_core.directions import Direction
from lelsd_core.generators.base import Generator
from lelsd_core.methods.candidates import best, candidate
from lelsd_core.methods.probes import probe
from lelsd_core.methods.wanted import Report, Wanted
from lelsd_core.seeds import TRAINING
from lelsd_core.segmenters import Segmenter

LEAST_SAMPLES, MOST_SAMPLES, PIXELS = 8, 64, 2**20  # fewer samples of large pictures
DIMENSIONS = 128  # of the basis, at most
SPREAD_SAMPLES = 1024  # whose principal components are the basis
SHARES = (1e-1, 1e-2, 1e-3)  # of B's trace that counts as null
VECTORS = 4  # of each share


def search(generator: Generator, segmenter: Segmenter, wanted: Wanted, report: Report) -> list[Direction]:
    """The best of the first vectors in null spaces of several sizes."""
    fitting = max(LEAST_SAMPLES, how_many(PIXELS, generator.resolution**2, MOST_SAMPLES))
    seeds = TRAINING[: wanted.samples or fitting]
    basis = spread(generator, wanted.space)  # (K, D)
    probes = probe(
        generator,
        segmenter,
        wanted.parts,
        wanted.space,
        seeds,
        -(-2 * len(basis) // len(seeds)),  # twice as many projections as dimensions
        seed=wanted.seed,
        report=lambda share: report(share / 2),
    )
    inside, outside = (gram(gradients @ basis.T) for gradients in (probes.inside, probes.outside))
    candidates = [
        candidate(generator, wanted, vector @ basis, null_share=share, samples=len(seeds))
        for share in SHARES
        for vector in local_vectors(inside, outside, share)
    ]
    return best(generator, segmenter, wanted, candidates, lambda share: report((1 + share) / 2))


def spread(generator: Generator, space: str) -> Tensor:
    """An orthonormal basis (K, D) of the codes that samples have: the largest principal components, on the CPU."""
    codes = generator.sample_in(space, TRAINING[:SPREAD_SAMPLES]).cpu()
    _, sizes, axes = torch.linalg.svd(codes - codes.mean(0), full_matrices=False)
    return axes[:DIMENSIONS][sizes[:DIMENSIONS] > 1e-4 * sizes[0]]


def gram(gradients: Tensor) -> Tensor:
    """The mean of g gᵀ over all projections g (N, P, K) of all samples: (K, K), float64."""
    rows = gradients.flatten(0, 1).double()
    return rows.T @ rows / len(rows)


def local_vectors(inside: Tensor, outside: Tensor, share: float) -> Tensor:
    """Vectors (at most `VECTORS`, K) of length 1 that change the inside most and keep the outside, the best first.

    Args:
        inside, outside: A and B, (K, K).
        share: of the trace of B that the null space holds.
    """
    values, vectors = torch.linalg.eigh(outside)  # ascending
    null = vectors[:, values.cumsum(0) <= share * values.sum()]  # (K, R)
    _, within = torch.linalg.eigh(null.T @ inside @ null)
    return (null @ within).T.flip(0)[:VECTORS].float()
