"""Parts from a few examples: a linear head fitted on 1 to 20 labelled pictures, or one region painted by hand.

    codes of the examples  --embedding-->  pixels (N, C), labels (N, P)  --least squares-->  a linear reading

Least squares has one exact answer, in less than a second. After Zhang et al., "DatasetGAN", CVPR 2021, which showed how
few labels a generator's features need, and Tritrong et al., "Repurposing GANs for One-shot Semantic Part Segmentation",
CVPR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters.features import (
    BATCH,
    FIT_SEEDS,
    REST,
    Embedding,
    FeatureSegmenter,
    features_of,
    fit_embedding,
    samples,
)

MOST = 64  # labelled pictures
SHARPNESS = 8.0  # from least-squares answers, about 0 to 1, to logits
RIDGE = 0.2  # of a channel's variance: how far the weights are held back
PAINTED_RIDGE = 2.0  # the same for a single picture, which says less
PLACE_TRUST = 0.2  # weight of a painted region's place at an area of 1; it grows as one over the root of the area
PLACE_BLUR = 0.3  # how far the region may lie elsewhere, in roots of its area
PLACE_FLOOR = 0.5  # of its area: how likely it is far away from where it was painted
BALANCE = 0.8  # 0 = every pixel counts the same, 1 = every part does


@torch.no_grad()
def fit_head(
    generator: Generator, codes: Tensor, space: str, labels: Tensor, parts: Sequence[str], layers: Sequence[str] = ()
) -> FeatureSegmenter:
    """Learn parts from labelled pictures.

    Args:
        generator: made the pictures.
        codes: (N, D) their codes in `space`.
        labels: (N, h, w) the number of each pixel's part.
        parts: names of the parts.
        layers: which features; none = the usual ones of `fit_embedding`.

    Raises:
        UserError: labels of another shape, or that name parts which are not there.
    """
    check_labels(codes, labels, parts)
    embed = fit_embedding(generator, layers)
    truth = F.one_hot(labels.long(), len(parts)).permute(0, 3, 1, 2).float()  # (N, P, h, w)
    return reading(generator, embed, *examples(generator, embed, codes, space, truth), parts, "head")


def check_labels(codes: Tensor, labels: Tensor, parts: Sequence[str]) -> None:
    """UserError for labels that do not fit the codes or the parts."""
    if labels.ndim != 3 or len(labels) != len(codes) or not 1 <= len(codes) <= MOST:
        raise UserError(
            f"Labels are {tuple(labels.shape)} for {len(codes)} pictures; (pictures, height, width) were expected, "
            f"for 1 to {MOST} pictures."
        )
    if len(parts) < 2 or len(set(parts)) != len(parts):
        raise UserError(f"The parts are {', '.join(parts) or 'none'}; two or more different names were expected.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(parts):
        raise UserError(f"Labels run from {low} to {high}, but the {len(parts)} parts are 0 to {len(parts) - 1}.")


def examples(generator: Generator, embed: Embedding, codes: Tensor, space: str, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (N, C) of the codes' pictures and the share (N, P) of each part in them."""
    rows = []
    for batch in codes.to(generator.device).split(BATCH):
        rows.append(
            embed(features_of(generator, batch, space, tuple(embed.layers))).flatten(2).transpose(1, 2).flatten(0, 1)
        )
    shares = F.interpolate(truth.to(generator.device), (embed.size, embed.size), mode="area")
    return torch.cat(rows), shares.flatten(2).transpose(1, 2).flatten(0, 1)


def reading(
    generator: Generator, embed: Embedding, points: Tensor, shares: Tensor, parts: Sequence[str], about: str
) -> FeatureSegmenter:
    """The segmenter whose linear reading is nearest to the examples."""
    weight, bias = least_squares(points, shares)
    made_for = (generator.name, generator.fingerprint)
    return FeatureSegmenter(embed, SHARPNESS * weight, SHARPNESS * bias, parts, made_for, about)


def least_squares(points: Tensor, shares: Tensor, ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
    """Weight (P, C) and bias (P,) of the ridge regression from points to shares, rare parts counting more."""
    often = shares.mean(0).clamp_min(1e-4)  # (P,)
    counts = (shares / often**BALANCE).sum(1, keepdim=True)
    counts = counts / counts.sum()
    centre, level = (counts * points).sum(0), (counts * shares).sum(0)
    x, y = (points - centre).double(), (shares - level).double()
    gram = x.T @ (counts * x)
    held = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weight = torch.linalg.solve(gram + held, x.T @ (counts * y)).T.float()  # (P, C)
    return weight, level - weight @ centre


@torch.no_grad()
def paint(
    generator: Generator, codes: Tensor, space: str, mask: Tensor, name: str = "painted", layers: Sequence[str] = ()
) -> FeatureSegmenter:
    """Carry a region from one picture to all others, by the features under the brush and by its place.

    The fewer pixels were painted, the less they say of what the region looks like, and the more its place counts. The
    border is put where the region is as large on the generator's own samples, on average, as it was painted.

    Args:
        generator: made the picture.
        codes: (1, D) its codes in `space`.
        mask: (1, 1, h, w) or (h, w) in [0, 1], 1 where it was painted.
        name: what it is called; everything else is "rest".
        layers: which features; none = the usual ones of `fit_embedding`.

    Raises:
        UserError: nothing or everything was painted, or on more than one picture.
    """
    shown = mask.float().reshape(1, 1, *mask.shape[-2:]) if mask.numel() == mask.shape[-2:].numel() else None
    if shown is None or len(codes) != 1:
        raise UserError(f"A mask of {tuple(mask.shape)} for {len(codes)} pictures was given; one of each was expected.")
    if not 0 < float(shown.mean()) < 1:
        raise UserError("Nothing, or the whole picture, was painted; paint the part that you mean and leave the rest.")
    embed = fit_embedding(generator, layers)
    points, share = examples(generator, embed, codes, space, shown)  # (N, C), (N, 1)
    weight = least_squares(points, torch.cat([share, 1 - share], 1), PAINTED_RIDGE)[0].diff(dim=0)[0].neg()
    crowd = samples(generator, FIT_SEEDS[:32], tuple(embed.layers))
    values = torch.stack([torch.einsum("c,bchw->bhw", weight, embed(batch)) for batch in crowd])
    spread, place = values.std(), likely_place(share.reshape(embed.size, embed.size))
    likely = (values / spread + place).flatten()
    border = likely.kthvalue(max(1, round(len(likely) * (1 - float(share.mean()))))).values
    both = SHARPNESS * torch.stack([weight / spread, torch.zeros_like(weight)])
    bias = SHARPNESS * torch.stack([place - border, torch.zeros_like(place)])
    return FeatureSegmenter(embed, both, bias, (name, REST), (generator.name, generator.fingerprint), "painted")


def likely_place(share: Tensor) -> Tensor:
    """How much more likely (s, s) each place is to show a region, from where it was painted on one picture (s, s)."""
    from torchvision.transforms.functional import gaussian_blur

    area = share.mean()
    reach = PLACE_BLUR * float(area.sqrt()) * len(share)  # pixels
    radius = min(max(1, round(3 * reach)), len(share) - 1)
    near = gaussian_blur(share[None], 2 * radius + 1, max(reach, 0.1))[0]
    return PLACE_TRUST / area.sqrt() * (near + PLACE_FLOOR * area).log()
