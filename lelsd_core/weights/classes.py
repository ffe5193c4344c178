"""Classes of conditional models: number, name or a mixture → weights over all classes.

Names are ImageNet's for a model of 1000 classes whose file holds no names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lelsd_core.errors import UserError, unknown_name

IMAGENET = Path(__file__).with_name("imagenet_classes.txt")
Choice = int | str | Mapping[int | str, float]


def class_names(count: int, names: Mapping[str, str]) -> tuple[str, ...]:
    """The names of all classes in order, their numbers where there are none.

    `names`: number (as text) → name, as in the model's file; may be empty.
    """
    if not names and count == 1000:
        return tuple(IMAGENET.read_text(encoding="utf-8").splitlines())
    return tuple(str(names.get(str(number), number)) for number in range(count))


def class_weights(choice: Choice | None, names: Sequence[str]) -> Tensor:
    """Weights (classes,) that sum to 1.

    Args:
        choice: a class's number or name, or shares of several: {"golden retriever": 0.5, 207: 0.5}.
        names: of all classes of the model, see `class_names`.

    Raises:
        UserError: no class was chosen, there is no such class, or the shares are not positive.
    """
    if choice is None:
        last = len(names) - 1
        raise UserError(
            f"This model has {last + 1} classes; choose one by its number, 0 to {last}, or its name: --class in the "
            "shell, class_index in a program."
        )
    shares = choice if isinstance(choice, Mapping) else {choice: 1.0}
    weights = torch.zeros(len(names))
    for each, share in shares.items():
        weights[class_number(each, names)] += float(share)
    if not shares or (weights < 0).any() or weights.sum() <= 0:
        raise UserError(f"Shares of classes must be positive, got {dict(shares)}.")
    return weights / weights.sum()


def class_number(choice: int | str, names: Sequence[str]) -> int:
    """The number of a class. UserError if it has none."""
    text, count = str(choice), len(names)
    if text.isdecimal() and int(text) < count:
        return int(text)
    known = {name.casefold(): number for number, name in reversed(list(enumerate(names))) if not name.isdecimal()}
    if isinstance(choice, str) and text.casefold() in known:
        return known[text.casefold()]
    if isinstance(choice, str) and known:
        raise UserError(unknown_name("class", choice, known))
    raise UserError(f"There is no class {choice!r}; this model has classes 0 to {count - 1}.")
