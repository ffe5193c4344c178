"""A part of a second picture, as two directions that lead to the code of that picture: its shape and its look.

    shape   r_edit = r + M ⊙ (h(ω_other) − r)     a coarse layer; M: the part in both pictures, widened
    look    the same line at the last layer, of a code whose styles behind the coarse layer are the other's
            M: the part where it is then, narrowed, as its border shows what is behind it

Behind the shape, this picture's own styles paint: the part gets the light and the skin of its new place. The look
brings its own colours, and as it has let in the shape, both pictures agree where the border is. What lies behind all
other parts, the background, is only let in where both pictures show it.

Sources: Suzuki et al., "Spatially Controllable Image Synthesis with Internal Representation Collaging" (2018), for
feature maps let in; Collins et al., "Editing in Style" (CVPR 2020), for styles of a part. Both dispense with masks of
both pictures.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.faces.measures import BROWS, MOUTH
from lelsd_core.generators.base import Generator
from lelsd_core.local import LocalMove
from lelsd_core.seeds import MAX_SEED

KINDS = ("shape", "look")
ENDS = ("mine", "theirs")
TIGHT = {"dilate": 0.0, "feather": 1 / 64}  # of masks that are not widened
BEHIND = "background"  # the part that lies behind all others
PLAIN = frozenset({*MOUTH, *BROWS, "nose", "skin", "face", "ears", "neck"})  # parts whose look would not match the skin
NAME = re.compile(r"(?P<part>.+)-(?:shape|look)-from-seed-(?P<seed>[0-9]{1,10})")


class SeedPart(NamedTuple):
    """A part of a made-up face."""

    part: str
    seed: int


def part_named(name: str) -> SeedPart | None:
    """The part of a made-up face that a direction's name means, "hair-shape-from-seed-7"; None for another name."""
    found = NAME.fullmatch(name)
    return SeedPart(found["part"], int(found["seed"])) if found and int(found["seed"]) <= MAX_SEED else None


def usual_kinds(part: str) -> tuple[str, ...]:
    """What is taken of a part unless more is asked for: both, but of parts that the skin surrounds only the shape."""
    return KINDS[:1] if part in PLAIN else KINDS


def name_of(part: str, kind: str, source: int | str) -> str:
    """The name of the direction that takes the shape or the look of a part; `source` is a seed, or another word."""
    return f"{part}-{kind}-from-{f'seed-{source}' if isinstance(source, int) else source}"


def taken(
    generator: Generator, config: DiscoverConfig, part: str, codes: Tensor, mask: Tensor, source: int | str
) -> tuple[Direction, ...]:
    """The directions that take a part from another picture, of amounts from 0 to 1.

    Args:
        generator: renders both pictures.
        config: of its local moves: where shapes are let in, and how far around the part.
        part: of the segmenter, or a group.
        codes: (1, D) of the other picture, in the finest space.
        mask: (1, 1, h, w) of 0 and 1, the part in the other picture.
        source: the seed of the other picture, or a word for one that no seed makes again.

    Returns:
        Its shape and its look; the shape alone if there are no layers behind it.
    """
    names = list(generator.layers)
    behind = names.index(config.local) + 1
    widened = {"dilate": config.dilate, "feather": config.feather}
    if part == BEHIND:
        shape = LocalMove(config.local, (part,), painted=rows_of(mask), masks="intersection", **TIGHT)
        look = LocalMove(names[-1], (part,), **TIGHT)
    else:
        shape = LocalMove(config.local, (part,), painted=rows_of(mask), **widened)
        look = LocalMove(names[-1], painted=rows_of(inside(mask)), **TIGHT)
    places = {"shape": (shape, names[:behind]), "look": (look, names[behind:])}
    same = {"parts": (part,), "ends": ENDS, "low": 0.0, "high": 1.0, "goal": True}
    same |= {"facts": {"seed": source} if isinstance(source, int) else {}}
    owner = generator.name, generator.fingerprint, generator.space_names[-1], codes[0].float().cpu()
    return tuple(
        Direction(name_of(part, kind, source), *owner, layers=tuple(layers), local=place, **same)
        for kind, (place, layers) in places.items()
        if layers
    )


def inside(mask: Tensor) -> Tensor:
    """A mask (1, 1, h, w) of 0 and 1 without its border; the mask itself if nothing else is left."""
    reach = max(1, round(mask.shape[-1] * TIGHT["feather"]))
    narrowed = 1 - F.max_pool2d(1 - mask, 2 * reach + 1, stride=1, padding=reach)
    return narrowed if narrowed.any() else mask


def rows_of(mask: Tensor) -> tuple[tuple[float, ...], ...]:
    """A mask (1, 1, h, w) as `LocalMove.painted`."""
    return tuple(map(tuple, mask[0, 0].tolist()))
