"""Where the directions of a discovery may lie, and how far apart they are.

free vectors (K, D)  --writable columns, right angles to given directions, length 1-->  units (K, D)  -->  R of Eq. 3
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.latents import LatentSpace


class Sphere:
    """Where directions may lie: writable columns, unit length, at right angles to given directions.

    With `norm="whole"` a direction has length 1 and Corr is of whole vectors; with `norm="slot"` each slot that it
    writes has length 1, and R is the mean over these slots, so that no slot is left with a share of two directions.

    Args:
        space: the latent space.
        config: its slots and norm; checked.
        given: vectors (G, D) of given directions.
    """

    def __init__(self, space: LatentSpace, config: DiscoverConfig, given: Tensor) -> None:
        self.space, self.by_slot = space, config.norm == "slot"
        self.writable = space.column_mask(config.slots).to(given.device)
        names = space.written(config.slots)
        self.written = [slot.name in names for slot in space.slots]
        self.given = row_space(given * self.writable, space.widths if self.by_slot else (space.width,))

    def units(self, vectors: Tensor) -> Tensor:
        """Vectors (K, D) brought to where they may lie."""
        free = vectors * self.writable
        if len(self.given):
            free = free - (free @ self.given.T) @ self.given
        return self.space.unit_slots(free) if self.by_slot else self.space.unit(free)

    def apartness(self, units: Tensor) -> Tensor:
        """R of units (K, D), of the whole or the mean over slots."""
        if not self.by_slot:
            return apartness(units)
        pairs = zip(self.space.split(units), self.written, strict=True)
        return torch.stack([apartness(part) for part, written in pairs if written]).mean()


def row_space(vectors: Tensor, widths: Sequence[int]) -> Tensor:
    """Orthonormal rows (R, D) that span what vectors (G, D) span within each stretch of columns."""
    rows, start = [vectors[:0]], 0
    for width in widths:
        if len(vectors):
            _, sizes, basis = torch.linalg.svd(vectors[:, start : start + width], full_matrices=False)
            basis = basis[sizes > 1e-5]
            rows.append(F.pad(basis, (start, vectors.shape[1] - start - width)))
        start += width
    return torch.cat(rows)


def apartness(units: Tensor) -> Tensor:
    """R = −½ ‖Corr − I‖_F of unit vectors (K, D): 0 if they are orthogonal, else negative."""
    cosines = units @ units.T  # (K, K)
    return -0.5 * (cosines - torch.eye(len(units), device=units.device)).norm()
