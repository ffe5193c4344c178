"""InterFaceGAN: the normal of the plane that separates codes of pictures with much of a number from those with little.

    samples --score--> the `EXTREME` shares with the largest and the smallest scores  --linear SVM-->  normal n₁
    conditional: n₁ without its projection on the normals n₂ ... of what shall stay

Scores are those of `Wanted.scorer`; else the numbers that `faces.measures` knows of the parts, where the pictures are
faces and an aligner is given; else light, colour and area of the parts. Each number gives a normal, and another one
where something shall stay; those with the best scores for the parts are returned.

The support vector machine has the squared hinge loss ½‖w‖² + C Σ max(0, 1 − y (w·x + b))², whose minimum scipy finds.

Source: Shen, Gu, Tang, Zhou, "Interpreting the Latent Space of GANs for Semantic Face Editing", CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lelsd_core.device import by_rows
from lelsd_core.directions import Direction
from lelsd_core.discovery.search import row_space
from lelsd_core.discovery.starts import ENOUGH, LATEST, NAMED, batches
from lelsd_core.errors import UserError
from lelsd_core.faces.measures import MEASURES
from lelsd_core.generators.base import Generator
from lelsd_core.methods.candidates import best, candidate
from lelsd_core.methods.scores import COLOURS, colour, region
from lelsd_core.methods.wanted import Report, Wanted
from lelsd_core.seeds import STARTS
from lelsd_core.segmenters import Segmenter

SAMPLES = 512
EXTREME = 0.3  # share of the samples with the largest scores, and of those with the smallest
WEIGHT = 1.0  # C, for codes of root mean square length 1
KEPT = 1e-3  # of a normal that must remain without what stays


@dataclass(frozen=True, eq=False)
class Labels:
    """A number of each sample, and others that shall stay as they are."""

    scores: Tensor  # (N,), NaN = unknown
    stay: Mapping[str, Tensor]  # (N,) each


def search(generator: Generator, segmenter: Segmenter, wanted: Wanted, report: Report) -> list[Direction]:
    """The best of the normals of all numbers, as they are and conditional."""
    count = wanted.samples or SAMPLES
    seeds = STARTS[:count]
    codes = generator.sample_in(wanted.space, seeds).cpu()
    labelled = label(generator, segmenter, wanted, seeds, lambda share: report(share / 2))
    candidates = []
    for name, labels in labelled.items():
        normal = boundary(codes, labels.scores)
        if normal is None:
            continue
        candidates.append(candidate(generator, wanted, normal, number=name, samples=count))
        others = {other: boundary(codes, scores) for other, scores in labels.stay.items()}
        others = {other: each for other, each in others.items() if each is not None}
        if others:
            axes = row_space(torch.stack([*others.values()]))
            rest = normal - (normal @ axes.T) @ axes
            if rest.norm() > KEPT:
                candidates.append(candidate(generator, wanted, rest, number=name, stay=tuple(others), samples=count))
    if not candidates:
        raise UserError(f"No number of {' or '.join(wanted.parts)} is seen in enough of {count} samples and varies.")
    return best(generator, segmenter, wanted, candidates, lambda share: report((1 + share) / 2))


def numbers_of(wanted: Wanted, segmenter: Segmenter) -> tuple[str, ...]:
    """Those of `MEASURES` that are about the wanted parts of a face; none without an aligner of faces."""
    if wanted.scorer or not wanted.aligner or not wanted.aligner.frame.faces:
        return ()
    parts = {*segmenter.parts.expand(wanted.parts), *wanted.parts}
    return tuple(name for name in NAMED if parts & {*MEASURES[name].parts})


def label(
    generator: Generator, segmenter: Segmenter, wanted: Wanted, seeds: range, report: Report
) -> dict[str, Labels]:
    """What samples are labelled with, by name."""
    if names := numbers_of(wanted, segmenter):
        seen = LATEST.fitting(generator, segmenter, wanted.aligner, seeds, None).numbers
        report(1.0)
        return {name: Labels(seen[name], {other: seen[other] for other in NAMED[name]}) for name in names}
    scored = []
    for codes in batches(generator, seeds, None):
        scored.append(by_rows(lambda rows: scores_of(generator, segmenter, wanted, rows), codes))
        report(sum(len(each[0]) for each in scored) / len(seeds))
    names = ("score",) if wanted.scorer else (*COLOURS, "area")
    columns = dict(zip(names, map(torch.cat, zip(*scored, strict=True)), strict=True))
    return {
        name: Labels(scores, {other: each for other, each in columns.items() if other != name})
        for name, scores in columns.items()
    }


@torch.inference_mode()
def scores_of(generator: Generator, segmenter: Segmenter, wanted: Wanted, codes: Tensor) -> tuple[Tensor, ...]:
    """The scorer's numbers (B,) of codes in the finest space; without one, colours and area of the parts, (B,) each."""
    synthesis = generator.synthesize(codes, generator.space_names[-1], keep=segmenter.needs)
    if wanted.scorer:
        return (wanted.scorer(synthesis.image.clamp(-1, 1)).float().cpu(),)
    mask = region(segmenter, synthesis, wanted.parts)
    return (*(colour(synthesis.image, mask, name).cpu() for name in COLOURS), mask.mean((1, 2, 3)).cpu())


def boundary(codes: Tensor, scores: Tensor) -> Tensor | None:
    """The normal (D,), of length 1, of the plane between codes with large scores and with small ones.

    Args:
        codes: (N, D).
        scores: (N,), NaN = unknown.

    Returns:
        It points to larger scores. None if they do not vary, or fewer than `ENOUGH` are known.
    """
    from scipy.optimize import minimize  # slow to import

    known = scores.isfinite()
    x, numbers = codes[known].double().numpy(), scores[known].double().numpy()
    few = int(EXTREME * len(numbers))
    if len(numbers) < ENOUGH or np.ptp(numbers) == 0:
        return None
    order = numbers.argsort()
    x, y = x[np.concatenate([order[:few], order[-few:]])], np.repeat([-1.0, 1.0], few)
    x = x - x.mean(0)
    x = x / max(np.sqrt(np.square(x).sum(1).mean()), 1e-12)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        normal, offset = weights[:-1], weights[-1]
        slack = np.clip(1 - y * (x @ normal + offset), 0, None)
        pull = 2 * WEIGHT * y * slack
        value = normal @ normal / 2 + WEIGHT * np.square(slack).sum()
        return value, np.append(normal - pull @ x, -pull.sum())

    normal = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x[:-1]
    length = np.linalg.norm(normal)
    return torch.from_numpy(normal / length).float() if length > 0 else None
