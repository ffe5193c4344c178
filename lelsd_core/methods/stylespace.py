"""StyleSpace: the single channel of S whose gradient overlaps most with a part.

    squared gradient of a channel inside the part / everywhere  -->  overlap (D,), over many samples
    the channels with the largest overlaps  --moved, both signs, Eq. 2-->  the best

The paper finds local channels by their gradient maps: a channel belongs to a part if, in most samples, its gradient is
concentrated there. It backpropagates a coarse grid of the picture cell by cell, for all parts at once. Here the part
and the rest are told apart by a few random projections of each (see `probes`): it is the same overlap for one
part, at a small share of the cost. A channel is consistent in so far as its gradient is denser inside the part than
outside. Of the consistent ones with the largest overlaps those with the best scores are returned, as the gradient does
not tell how a channel does at a distance.

Source: Wu, Lischinski, Shechtman, "StyleSpace Analysis: Disentangled Controls for StyleGAN Image Generation" (CVPR
2021).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.device import how_many
from lelsd_core.directions import Direction
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.latents import LatentSpace
from lelsd_core.methods.candidates import best, candidate
from lelsd_core.methods.probes import Probes, probe
from lelsd_core.methods.wanted import Report, Wanted
from lelsd_core.seeds import TRAINING
from lelsd_core.segmenters import Segmenter

LEAST_SAMPLES, MOST_SAMPLES, PIXELS = 16, 256, 2**21  # fewer samples of large pictures
PROJECTIONS = 2  # of each sample and region
CHANNELS = 16  # with the largest overlaps, that are moved
CONSISTENT = 0.5  # share of the samples in which a channel must be denser inside
SILENT = 1e-6  # of the mean squared gradient of all channels, below which a channel does nothing


def search(generator: Generator, segmenter: Segmenter, wanted: Wanted, report: Report) -> list[Direction]:
    """The best channels; facts say which ones."""
    space = generator.space(wanted.space)
    fitting = max(LEAST_SAMPLES, how_many(PIXELS, generator.resolution**2, MOST_SAMPLES))
    seeds = TRAINING[: wanted.samples or fitting]
    probes = probe(
        generator,
        segmenter,
        wanted.parts,
        space.name,
        seeds,
        PROJECTIONS,
        seed=wanted.seed,
        report=lambda share: report(share / 2),
    )
    overlaps, consistency = channel_overlaps(probes)
    usable = (consistency > CONSISTENT) & space.column_mask().bool()
    ranked = torch.where(usable, overlaps, -1.0).argsort(descending=True)[: max(CHANNELS, 2 * wanted.count)]
    ranked = [int(i) for i in ranked if usable[i]]
    if len(ranked) < wanted.count:
        raise UserError(
            f"{len(ranked)} channels of {generator.name} change {' or '.join(wanted.parts)} more than the rest; "
            f"{wanted.count} were wanted."
        )
    candidates = [
        candidate(
            generator,
            wanted,
            F.one_hot(torch.tensor(i), space.width),
            channel=channel_name(space, i),
            overlap=float(overlaps[i]),
            consistency=float(consistency[i]),
            samples=len(seeds),
        )
        for i in ranked
    ]
    return best(generator, segmenter, wanted, candidates, lambda share: report((1 + share) / 2))


def channel_overlaps(probes: Probes) -> tuple[Tensor, Tensor]:
    """Overlap (D,) of each channel's squared gradient with the part, and its consistency (D,); silent ones have 0."""
    inside, outside = (gradients.square().mean(1) for gradients in (probes.inside, probes.outside))  # (N, D)
    total = (inside + outside).mean(0)
    area = probes.area[:, None]
    denser = inside * (1 - area) > outside * area
    loud = total > SILENT * total.mean()
    return torch.where(loud, inside.mean(0) / total, 0.0), denser.float().mean(0) * loud


def channel_name(space: LatentSpace, column: int) -> str:
    """The slot and the number of a column: "32.conv0 219"."""
    for slot in space.slots:
        if column < slot.width:
            return f"{slot.name} {column}"
        column -= slot.width
    raise IndexError(f"{space.name} has no column {column}")
