"""Refinement at a fraction of the cost: the running picture of a lower layer stands for the whole one.

    codes  --synthesis, stopped early-->  running picture (1, 3, s, s)  + what the layers above add, area-resampled
           -->  the whole picture at s pixels, compared with the face at s pixels  -->  better codes

What the layers above add changes slowly, so it is rendered now and then, and no gradient goes through it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.generators.base import Generator, Synthesis

WHOLE_EVERY = 8  # pictures, between two looks at what the layers above add


class Sketch:
    """What one refinement asks of a generator, at a smaller resolution.

    Args:
        generator: one that has a running picture of at most `side` pixels. ValueError if not.
        side: pixels.
    """

    def __init__(self, generator: Generator, side: int) -> None:
        layer = generator.running_layer(side)
        if layer is None:
            raise ValueError(f"{generator.name} has no running picture of at most {side} pixels")
        self.generator, self.side, self.resolution = generator, side, generator.layers[layer].size
        self.made = 0

    def synthesize(self, codes: Tensor, space: str) -> Synthesis:
        """Codes (1, D) -> the whole picture at the sketch's size (1, 3, s, s), with the running picture's graph."""
        running = self.generator.preview(codes, space, side=self.side)
        if self.made % WHOLE_EVERY == 0:
            with torch.no_grad():
                self.above = self.reduced(self.generator.synthesize(codes, space).image) - running
        self.made += 1
        return Synthesis(running + self.above)

    def reduced(self, picture: Tensor) -> Tensor:
        """A picture or a map (B, C, R, R), area-resampled to the sketch's size."""
        return F.interpolate(picture, (self.resolution, self.resolution), mode="area")
