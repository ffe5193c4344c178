"""SeFa: the directions that the first weights behind a code amplify most.

    A: the weights (outputs, D) that a layer, or a group of layers, reads the code through
    argmax ‖A n‖² with ‖n‖ = 1  -->  eigenvectors of AᵀA with the largest eigenvalues

No samples are needed for the directions. The code enters a StyleGAN through the affine maps of its layers, a BigGAN
through its first matrix and its conditional batch normalisations, a DCGAN through its first transposed convolution
(see `Generator.entry_weights`). The eigenvectors of each group of layers are candidates; those with the best scores for
the wanted parts are returned.

Source: Shen, Zhou, "Closed-Form Factorization of Latent Semantics in GANs", CVPR 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lelsd_core.directions import Direction
from lelsd_core.generators.base import Generator
from lelsd_core.methods.candidates import best, candidate, reaches
from lelsd_core.methods.wanted import Report, Wanted
from lelsd_core.segmenters import Segmenter

VECTORS = 12  # eigenvectors of each group of layers


def search(generator: Generator, segmenter: Segmenter, wanted: Wanted, report: Report) -> list[Direction]:
    """The best of the first eigenvectors of all layers, and of each group of them."""
    candidates = [
        candidate(generator, wanted, vector, layers, eigenvector=i)
        for layers in reaches(generator, wanted.space)
        for i, vector in enumerate(eigenvectors(generator, layers))
    ]
    return best(generator, segmenter, wanted, candidates, report)


def eigenvectors(generator: Generator, layers: tuple[str, ...] = ()) -> Tensor:
    """The first eigenvectors (K, D) of AᵀA for some layers, names or groups; () = all."""
    chosen = generator.expand_layers(layers or ("all",))
    weights = torch.cat([weight for name, weight in generator.entry_weights().items() if name in chosen])
    values, vectors = torch.linalg.eigh((weights.T @ weights).double())  # ascending
    kept = values.flip(0)[:VECTORS] > 1e-9 * values[-1]
    return vectors.T.flip(0)[:VECTORS][kept].float()
