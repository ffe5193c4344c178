"""A generator whose local factors are known by construction, and the segmenter that knows its parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.search import Progress, discover
from lelsd_core.editor import Editor
from lelsd_core.generators import Generator, Layer, State, Step
from lelsd_core.latents import LatentSpace, Slot
from lelsd_core.segmenters import Parts, Segmenter

PARTS = ("left", "right")
SIZE = 8


class Painter(Generator):
    """Six factors: 0 and 1 paint the left half in two patterns, 2 and 3 the right half, 4 and 5 the whole picture."""

    def __init__(self) -> None:
        super().__init__()
        patterns = torch.randn(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        patterns[:2, ..., SIZE // 2 :] = 0
        patterns[2:4, ..., : SIZE // 2] = 0
        turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
        self.register_buffer("patterns", 0.1 * patterns)
        self.register_buffer("turn", turn)  # hides the factors: column i of a factor is not column i of a code
        self.name, self.fingerprint, self.resolution = "painter", "a" * 64, SIZE
        self.spaces = (LatentSpace("Z", (Slot("z", 6),)),)
        self.layers = {"8.paint": Layer("8.paint", 3, SIZE)}
        self.steps = (Step(self.layers["8.paint"], (0,), lambda _, slots: State(self.paint(slots[0]))),)

    def paint(self, codes: Tensor) -> Tensor:
        """Codes (B, 6) -> sum of patterns (B, 3, 8, 8)."""
        return torch.einsum("bf,fchw->bchw", codes @ self.turn, self.patterns)

    def sample(self, seeds: Sequence[int]) -> Tensor:
        return torch.stack([torch.randn(6, generator=torch.Generator().manual_seed(s)) for s in seeds])

    def lift_once(self, codes: Tensor, space: LatentSpace) -> Tensor:
        raise NotImplementedError  # one space, nothing to lift to

    def entry_weights(self) -> dict[str, Tensor]:
        return {"8.paint": self.patterns.flatten(1).T @ self.turn.T}

    def finish(self, state: State) -> Tensor:
        return state.x

    def factors(self, *wanted: int) -> Tensor:
        """(len(wanted), 6): the directions in Z of some factors, each of length 1."""
        return self.turn[:, list(wanted)].T


class OnDevice(Painter):
    """A painter whose samples are drawn where its weights are, as the contract of `Generator` asks for."""

    def sample(self, seeds):
        return super().sample(seeds).to(self.device)


class Halves(Segmenter):
    """Left half and right half, whatever the picture shows."""

    name, parts = "halves", Parts(PARTS)

    def segment(self, image, features=None) -> Tensor:
        """(B, 2, 8, 8) in {0, 1}."""
        masks = torch.zeros(len(image), 2, SIZE, SIZE)
        masks[:, 0, :, : SIZE // 2] = 1
        masks[:, 1, :, SIZE // 2 :] = 1
        return masks


class Blind(Halves):
    """Never sees the left part."""

    def segment(self, image, features=None) -> Tensor:
        return torch.stack([0 * image[:, 0], 0 * image[:, 0] + 1], 1).detach()


class PictureHalves(Halves):
    """Left half and right half of a picture of any size."""

    def segment(self, image, features=None) -> torch.Tensor:
        left = torch.arange(image.shape[-1], device=image.device) < image.shape[-1] // 2
        return torch.stack([left, ~left]).float()[None, :, None, :].expand(len(image), 2, *image.shape[-2:])


QUICK = DiscoverConfig(parts=("left",), steps=200, batch=4, samples=64, lr=0.05, least=1.0, most=4.0)


def last_of(config: DiscoverConfig, generator: Generator | None = None, segmenter=None, **more) -> Progress:
    """The last progress of a discovery, on the painter unless another generator is given."""
    *_, last = discover(generator or Painter(), segmenter or Halves(), config, **more)
    return last


def inside(vector: Tensor, *factors: int) -> float:
    """Length of a unit vector's projection onto the span of the painter's factors."""
    return float((Painter().factors(*factors) @ vector).norm())


def toy_editor(generator: Generator, segmenter: nn.Module) -> Editor:
    """An editor without photos, with one direction, "left"."""
    space = generator.spaces[-1]
    vector = F.normalize(torch.randn(space.width, generator=torch.Generator().manual_seed(0)), dim=0)
    left = Direction("left", generator.name, generator.fingerprint, space.name, vector, ("left",), low=-3.0, high=3.0)
    return Editor(generator, None, segmenter, None, [left])
