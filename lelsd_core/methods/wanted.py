"""What a person wants of a method, and how it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lelsd_core.discovery.starts import Scorer
    from lelsd_core.faces import FaceAligner

Report = Callable[[float], None]  # called with the share that is done, from 0 to 1


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a method. Where a number is None, the method has its own default."""

    parts: tuple[str, ...]  # that the directions shall change; a single name stands for a tuple of one
    count: int = 1  # directions
    seed: int = 0  # of whatever the method draws at random
    samples: int | None = None  # that it looks at
    steps: int | None = None  # of methods that train
    space: str = ""  # latent space; empty = the method's usual one for the generator
    aligner: FaceAligner | None = (
        None  # of the generator's pictures, if they are faces, for numbers that are about faces
    )
    scorer: Scorer | None = None  # pictures (B, 3, R, R) in [-1, 1] -> numbers (B,), for methods that follow a score

    def __post_init__(self) -> None:
        parts = (self.parts,) if isinstance(self.parts, str) else tuple(self.parts)
        object.__setattr__(self, "parts", parts)
