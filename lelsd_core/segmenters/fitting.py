"""Fits segmenters on a generator's features: clusters, a linear head from labelled pictures, one painted region.

    samples       --embedding-->  pixels (N, C)                 --k-means-->        centres of "cluster 1" ...
    labelled codes --embedding-->  pixels (N, C), labels (N, P)  --least squares-->  weight and bias of each part

Sources: Collins et al., "Editing in Style", CVPR 2020 (clusters); Zhang et al., "DatasetGAN", and Tritrong et al.,
"Repurposing GANs for One-shot Semantic Part Segmentation", CVPR 2021 (few labels are enough).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.seeds import FEATURE_SEGMENTERS
from lelsd_core.segmenters.features import REST, Embedding, FeatureSegmenter, features_of, fit_embedding

MAX_CLUSTERS = 200
CLUSTER_PIXELS = 256  # of each sample
CLUSTER_ROUNDS = 20  # of k-means
CLUSTER_SOFTNESS = 0.3  # of the mean squared distance to the own centre: how soft the border between clusters is
MAX_PICTURES = 64  # with labels
SHARPNESS = 8.0  # factor from least-squares values, about 0 to 1, to logits
RIDGE = 0.2  # weight decay of a head, in units of a channel's variance
PAINTED_RIDGE = 2.0  # the same for one painted picture, which holds less information
BALANCE = 0.8  # 0 = every pixel has the same weight, 1 = every part has
PRIOR_WEIGHT = 0.2  # weight of a painted region's place at an area of 1; divided by the root of the area
PRIOR_BLUR = 0.3  # standard deviation of the place, in roots of the area
PRIOR_FLOOR = 0.5  # prior far from the painted place, in units of the area


@torch.no_grad()
def fit_clusters(
    generator: Generator,
    count: int = 60,
    layers: Sequence[str] = (),
    seeds: Sequence[int] = FEATURE_SEGMENTERS,
    seed: int = 0,
) -> FeatureSegmenter:
    """Clusters the features of a generator; the parts are "cluster 1" ..., and `named` joins several under one name.

    Args:
        generator: of any architecture.
        count: number of clusters, 2 to 200.
        layers: whose features; none = those of `fit_embedding`.
        seeds: of the samples to cluster.
        seed: of the k-means++ initialisation.
    """
    if not 2 <= count <= MAX_CLUSTERS:
        raise UserError(f"{count} clusters were asked for; 2 to {MAX_CLUSTERS} can be.")
    embed = fit_embedding(generator, layers)
    random = torch.Generator().manual_seed(seed)
    pixels = []
    for features in features_of(generator, generator.sample(seeds), generator.space_names[0], embed.layers):
        x = embed(features).flatten(2)  # (B, C, s²)
        chosen = torch.randperm(x.shape[2], generator=random)[:CLUSTER_PIXELS].to(x.device)
        pixels.append(x[:, :, chosen].transpose(1, 2).flatten(0, 1))
    points = torch.cat(pixels)  # (N, C)
    centres = k_means(points, count, random)
    softness = CLUSTER_SOFTNESS * nearest(points, centres)[1].mean().clamp_min(1e-8)
    weight, bias = 2 * centres / softness, -centres.square().sum(1) / softness  # −|x − centre|², but for |x|²
    names = [f"cluster {i + 1}" for i in range(count)]
    return FeatureSegmenter(embed, weight, bias, names, (generator.name, generator.fingerprint), "clusters")


def k_means(points: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Centres (count, C) of points (N, C): k-means++ initialisation, Lloyd's iterations; empty clusters stay put."""
    first = torch.randint(len(points), (1,), generator=random).to(points.device)
    centres = points[first]
    distance = (points - centres).square().sum(1)
    for _ in range(count - 1):
        odds = distance.cpu() if distance.sum() > 0 else torch.ones(len(points))
        chosen = points[torch.multinomial(odds, 1, generator=random).to(points.device)]
        centres = torch.cat([centres, chosen])
        distance = torch.minimum(distance, (points - chosen).square().sum(1))
    for _ in range(CLUSTER_ROUNDS):
        labels = nearest(points, centres)[0]
        sums = torch.zeros_like(centres).index_add_(0, labels, points)
        sizes = torch.bincount(labels, minlength=count)[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp_min(1), centres)
    return centres


def nearest(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Index (N,) of each point's nearest centre, and the squared distance (N,) to it."""
    distances = points.square().sum(1, keepdim=True) - 2 * points @ centres.T + centres.square().sum(1)
    best = distances.min(1)
    return best.indices, best.values.clamp_min(0)


def parts_like(probabilities: Tensor, parts: Sequence[str], mask: Tensor) -> tuple[str, ...]:
    """The parts whose union has the highest intersection over union with a mask, found greedily.

    `probabilities` (B, P, h, w) are those of `Segmenter.segment`, `mask` is (B, 1, h, w) in {0, 1}.
    """
    labels = probabilities.argmax(1).flatten()
    sizes = torch.bincount(labels, minlength=len(parts)).float()
    inside = torch.bincount(labels, weights=mask.float().flatten(), minlength=len(parts))
    order = (inside / sizes.clamp_min(1)).argsort(descending=True)
    intersection, union_size = inside[order].cumsum(0), sizes[order].cumsum(0)
    best = int((intersection / (union_size + mask.sum() - intersection)).argmax())
    return tuple(parts[int(i)] for i in order[: best + 1])


@torch.no_grad()
def fit_head(
    generator: Generator, codes: Tensor, space: str, labels: Tensor, parts: Sequence[str], layers: Sequence[str] = ()
) -> FeatureSegmenter:
    """Fits a linear head on 1 to 64 labelled pictures by least squares, in less than a second.

    Args:
        generator: the generator of the pictures.
        codes: (N, D) latent codes of the pictures, in `space`.
        space: name of the latent space.
        labels: (N, h, w) index of each pixel's part.
        parts: names of the parts.
        layers: whose features; none = those of `fit_embedding`.

    Raises:
        UserError: labels of another shape, or outside the parts; fewer than two parts, or two of the same name.
    """
    if labels.ndim != 3 or len(labels) != len(codes) or not 1 <= len(codes) <= MAX_PICTURES:
        expected = f"(pictures, height, width) were expected, for 1 to {MAX_PICTURES} pictures"
        raise UserError(f"Labels are {tuple(labels.shape)} for {len(codes)} pictures; {expected}.")
    if len(parts) < 2 or len(set(parts)) != len(parts):
        raise UserError(f"The parts are {', '.join(parts) or 'none'}; two or more different names were expected.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(parts):
        raise UserError(f"Labels run from {low} to {high}, but the {len(parts)} parts are 0 to {len(parts) - 1}.")
    embed = fit_embedding(generator, layers)
    masks = F.one_hot(labels.long(), len(parts)).permute(0, 3, 1, 2).float()  # (N, P, h, w)
    weight, bias = least_squares(*labelled_pixels(generator, embed, codes, space, masks), RIDGE)
    made_for = (generator.name, generator.fingerprint)
    return FeatureSegmenter(embed, SHARPNESS * weight, SHARPNESS * bias, parts, made_for, "head")


def labelled_pixels(
    generator: Generator, embed: Embedding, codes: Tensor, space: str, masks: Tensor
) -> tuple[Tensor, Tensor]:
    """Embedded pixels (N, C) of the pictures of some codes, and the share (N, P) of each mask (B, P, h, w) in them."""
    embedded = torch.cat([embed(features) for features in features_of(generator, codes, space, embed.layers)])
    shares = F.interpolate(masks.to(generator.device), (embed.size, embed.size), mode="area")
    return tuple(maps.flatten(2).transpose(1, 2).flatten(0, 1).contiguous() for maps in (embedded, shares))


def least_squares(points: Tensor, shares: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Weight (P, C) and bias (P,) of the ridge regression from points to shares; pixels of rare parts weigh more."""
    frequency = shares.mean(0).clamp_min(1e-4)  # (P,)
    weights = (shares / frequency**BALANCE).sum(1, keepdim=True)
    weights = weights / weights.sum()
    centre, level = (weights * points).sum(0), (weights * shares).sum(0)
    x, y = (points - centre).double(), (shares - level).double()
    gram = x.T @ (weights * x)
    decay = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weight = torch.linalg.solve(gram + decay, x.T @ (weights * y)).T.float()  # (P, C)
    return weight, level - weight @ centre


def fit_region(generator: Generator, codes: Tensor, space: str, masks: Tensor, name: str) -> FeatureSegmenter:
    """Learns a region from where it is in 1 to 64 pictures; its parts are the region and "rest".

    Args:
        generator: the generator of the pictures.
        codes: (N, D) latent codes of the pictures, in `space`.
        space: name of the latent space.
        masks: (N, h, w) of booleans, true in the region.
        name: of the region.

    Raises:
        UserError: as for `paint` and `fit_head`.
    """
    if len(codes) == 1:
        return paint(generator, codes, space, masks.float()[:, None], name)
    return fit_head(generator, codes, space, (~masks).long(), (name, REST))


@torch.no_grad()
def paint(
    generator: Generator, codes: Tensor, space: str, mask: Tensor, name: str = "painted", layers: Sequence[str] = ()
) -> FeatureSegmenter:
    """Transfers a region painted on one picture to all others, by its features and its place.

    The smaller the region, the more its place weighs against its features. The threshold gives the region, on average
    over the generator's samples, the area that was painted.

    Args:
        generator: the generator of the picture.
        codes: (1, D) latent code of the picture, in `space`.
        space: name of the latent space.
        mask: (1, 1, h, w) or (h, w) in [0, 1], 1 where painted.
        name: of the region; everything else is "rest".
        layers: whose features; none = those of `fit_embedding`.

    Raises:
        UserError: nothing or everything is painted, or there are several pictures.
    """
    if mask.numel() != mask.shape[-2:].numel() or len(codes) != 1:
        raise UserError(f"A mask of {tuple(mask.shape)} for {len(codes)} pictures was given; one of each was expected.")
    mask = mask.float().reshape(1, 1, *mask.shape[-2:])
    if not 0 < float(mask.mean()) < 1:
        raise UserError("Nothing, or the whole picture, was painted; paint the part that you mean and leave the rest.")
    embed = fit_embedding(generator, layers)
    points, share = labelled_pixels(generator, embed, codes, space, mask)  # (N, C), (N, 1)
    weight = least_squares(points, torch.cat([share, 1 - share], 1), PAINTED_RIDGE)[0].diff(dim=0)[0].neg()
    samples = generator.sample(FEATURE_SEGMENTERS[:32])
    batches = features_of(generator, samples, generator.space_names[0], embed.layers)
    values = torch.stack([torch.einsum("c,bchw->bhw", weight, embed(features)) for features in batches])
    deviation, prior = values.std(), place_prior(share.reshape(embed.size, embed.size))
    total = (values / deviation + prior).flatten()
    threshold = total.kthvalue(max(1, round(len(total) * (1 - float(share.mean()))))).values
    weights = SHARPNESS * torch.stack([weight / deviation, torch.zeros_like(weight)])
    bias = SHARPNESS * torch.stack([prior - threshold, torch.zeros_like(prior)])
    return FeatureSegmenter(embed, weights, bias, (name, REST), (generator.name, generator.fingerprint), "painted")


def place_prior(share: Tensor) -> Tensor:
    """Log prior (s, s) of a region at each pixel, from the pixels' painted shares (s, s) on one picture."""
    from torchvision.transforms.functional import gaussian_blur  # slow to import

    area = share.mean()
    deviation = PRIOR_BLUR * float(area.sqrt()) * len(share)  # pixels
    radius = min(max(1, round(3 * deviation)), len(share) - 1)
    blurred = gaussian_blur(share[None], 2 * radius + 1, max(deviation, 0.1))[0]
    return PRIOR_WEIGHT / area.sqrt() * (blurred + PRIOR_FLOOR * area).log()
