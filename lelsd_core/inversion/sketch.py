"""Refinement at a fraction of the cost: the running picture of a lower layer stands for the whole one.

    face (1, 3, R, R)  --area-->  (1, 3, s, s)  − what the layers above add to the first codes' picture  -->  target
    codes  --synthesis, stopped early-->  running picture (1, 3, s, s)  --compared with the target-->  better codes

What the layers above add changes little while the codes move little, so it is taken as it is at the start.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.generators.base import Generator, Synthesis
from lelsd_core.inversion.base import Inversion


class Sketch:
    """A generator seen through its running picture: what refinement asks of a generator, at a smaller resolution.

    Args:
        generator: one that has a running picture of at most `side` pixels. ValueError if not.
        side: pixels.
    """

    def __init__(self, generator: Generator, side: int) -> None:
        layer = generator.running_layer(side)
        if layer is None:
            raise ValueError(f"{generator.name} has no running picture of at most {side} pixels")
        self.generator, self.side, self.resolution = generator, side, generator.layers[layer].size

    def synthesize(self, codes: Tensor, space: str) -> Synthesis:
        """Codes (B, D) -> running pictures (B, 3, s, s), with their graph."""
        return Synthesis(self.generator.preview(codes, space, side=self.side))

    @torch.no_grad()
    def target(self, face: Tensor, start: Inversion) -> Tensor:
        """What the running picture (1, 3, s, s) should be for the whole one to be the face (1, 3, R, R)."""
        whole = self.generator.synthesize(start.codes, start.space).image
        return self.reduced(face - whole) + self.synthesize(start.codes, start.space).image

    def reduced(self, picture: Tensor) -> Tensor:
        """A picture or a map (B, C, R, R), area-resampled to the sketch's size."""
        return F.interpolate(picture, (self.resolution, self.resolution), mode="area")
