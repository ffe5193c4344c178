"""Classes of conditional models: number, name or a mixture → weights over all classes.

Names are ImageNet's for a model of 1000 classes whose file holds no names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lelsd_core.errors import UserError, unknown_name

IMAGENET = Path(__file__).with_name("imagenet_classes.txt")
Choice = int | str | Mapping[int | str, float]


def class_weights(choice: Choice | None, count: int, names: Mapping[str, str]) -> Tensor:
    """Weights (count,) that sum to 1.

    Args:
        choice: a class's number or name, or shares of several: {"golden retriever": 0.5, 207: 0.5}.
        count: how many classes the model has.
        names: number (as text) → name, as in the model's file; may be empty.

    Raises:
        UserError: no class was chosen, there is no such class, or the shares are not positive.
    """
    if choice is None:
        raise UserError(f"This model has {count} classes; choose one when loading: class_index=0 to {count - 1}.")
    shares = choice if isinstance(choice, Mapping) else {choice: 1.0}
    weights = torch.zeros(count)
    for each, share in shares.items():
        weights[class_number(each, count, names)] += float(share)
    if not shares or (weights < 0).any() or weights.sum() <= 0:
        raise UserError(f"Shares of classes must be positive, got {dict(shares)}.")
    return weights / weights.sum()


def class_number(choice: int | str, count: int, names: Mapping[str, str]) -> int:
    """The number of a class. UserError if it has none."""
    text = str(choice)
    if text.isdecimal() and int(text) < count:
        return int(text)
    if not names and count == 1000:
        names = {str(number): name for number, name in enumerate(IMAGENET.read_text(encoding="utf-8").splitlines())}
    known = {name.casefold(): int(number) for number, name in reversed(list(names.items()))}
    if isinstance(choice, str) and text.casefold() in known and known[text.casefold()] < count:
        return known[text.casefold()]
    if isinstance(choice, str) and known:
        raise UserError(unknown_name("class", choice, known))
    raise UserError(f"There is no class {choice!r}; this model has classes 0 to {count - 1}.")
