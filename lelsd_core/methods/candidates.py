"""Candidates: directions of methods that do not know of parts, of which the best for the wanted parts are chosen.

    candidates  --the amount that changes pictures by `CHANGE`-->  both signs, Eq. 2  -->  the best

They are compared by their localization score on the picture, all at the same change of it, on samples that are used for
searches and never for evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lelsd_core.device import how_many
from lelsd_core.directions import Direction
from lelsd_core.discovery.config import MOST, REACH
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import HeldOut, held_out
from lelsd_core.generators.base import Generator
from lelsd_core.methods.wanted import Report, Wanted
from lelsd_core.seeds import TRAINING
from lelsd_core.segmenters import Segmenter

CHANGE = 0.05  # root mean square change of the whole picture in [-1, 1] units at which candidates are compared
LEAST = CHANGE / 2  # a candidate that does not reach it is none
MOST_SAMPLES, LEAST_SAMPLES, PIXELS = 16, 4, 2**19  # that candidates are compared on: fewer of large pictures
PROBES = 2  # samples that tell an amount
TRIES, STRIDE = 4, 8.0  # of an amount, and the factor that it changes by at most in one of them


def candidate(
    generator: Generator, wanted: Wanted, vector: Tensor, layers: tuple[str, ...] = (), **facts: Any
) -> Direction:
    """A direction of length 1 in the wanted space, limited to some layers, and how it was found.

    Columns that no edit may change are left out.
    """
    vector = vector.detach().float().cpu() * generator.space(wanted.space).column_mask()
    return Direction(
        name="-".join(wanted.parts),
        generator=generator.name,
        fingerprint=generator.fingerprint,
        space=wanted.space,
        vector=vector / vector.norm(),
        parts=wanted.parts,
        layers=layers,
        facts=facts,
    )


def reaches(generator: Generator, space: str) -> list[tuple[str, ...]]:
    """Layers that a direction in a space can act on: (), which is all, and the groups that a part of it enters."""
    finest = generator.space_names[-1]
    reach = generator.lift_vectors(torch.ones(1, generator.space(space).width, device=generator.device), space, finest)
    if reach is None:
        return [()]
    entered = (reach[0] != 0).cpu()
    shares = {
        group: entered & generator.layer_columns([group]).bool() for group, names in generator.groups.items() if names
    }
    return [(), *((group,) for group, share in shares.items() if share.any() and not torch.equal(share, entered))]


def best(
    generator: Generator, segmenter: Segmenter, wanted: Wanted, candidates: Sequence[Direction], report: Report
) -> list[Direction]:
    """The `wanted.count` candidates with the best scores, the best first; of candidates with one vector, one.

    Their facts get "candidates" (how many there were), "chosen_by", "training_score" and "amounts".

    Raises:
        UserError: no sample shows the parts, or too few candidates change the pictures.
    """
    samples = samples_for(generator, segmenter, wanted.parts)
    unit = usual_amount(generator, wanted.space)
    scored: list[tuple[float, Direction]] = []
    for i, each in enumerate(candidates):
        amount = amount_of_change(samples, each, unit)
        row = samples.evaluate(replace(each, low=-amount, high=amount), lpips=False)
        if min(row.change) >= LEAST:
            chosen = {"candidates": len(candidates), "chosen_by": "localization score on training samples"}
            facts = dict(each.facts) | chosen | {"training_score": row.score, "amounts": (amount / MOST, amount)}
            scored.append((row.score, replace(each, low=-amount, high=amount, facts=facts)))
        report((i + 1) / len(candidates))
    scored.sort(key=lambda pair: -pair[0])
    found: list[Direction] = []
    for _, each in scored:
        if not any(torch.equal(each.vector, other.vector) for other in found):
            found.append(each)
    if len(found) < wanted.count:
        raise UserError(
            f"Only {len(found)} of {len(candidates)} candidates change the pictures of {generator.name} enough; "
            f"{wanted.count} were wanted."
        )
    return found[: wanted.count]


def samples_for(generator: Generator, segmenter: Segmenter, parts: Sequence[str]) -> HeldOut:
    """Training samples that candidates are compared on, and nothing is fitted to. UserError if none shows the parts."""
    count = max(LEAST_SAMPLES, how_many(PIXELS, generator.resolution**2, MOST_SAMPLES))
    samples = held_out(generator, segmenter, TRAINING[-count:])
    samples.check_shows(parts)
    return samples


def usual_amount(generator: Generator, space: str) -> float:
    """Where the search for an amount starts: a share of the mean distance between samples' codes, as in LELSD."""
    codes = generator.sample_in(space, TRAINING[:64])
    distance = float(
        ((codes[::2] - codes[1::2]) * generator.space(space).column_mask().to(codes.device)).norm(dim=1).mean()
    )
    return REACH * distance if distance > 1e-3 else MOST


def amount_of_change(samples: HeldOut, direction: Direction, first: float) -> float:
    """About the amount by which a direction changes pictures by `CHANGE`, in the mean of both signs.

    It is found by secants through 0, as changes grow almost in proportion; `first` is tried first.
    """
    amount = first
    for _ in range(TRIES):
        ends = [samples.effect(direction, signed, PROBES).change.mean() for signed in (-amount, amount)]
        factor = CHANGE / max(float(sum(ends)) / 2, 1e-9)
        if abs(factor - 1) < 0.1:
            break
        amount *= min(max(factor, 1 / STRIDE), STRIDE)
    return amount
