"""What a search finds, by where its score is read and by the space and layers that it may write.

    spaces × readings × parts --> K directions at once --> held-out figures, all at the same change of the picture

    python -m tests.bench.evidence [--generator planted | NAME] [--parts PART ...] [--steps N] [--count K]

The generator "planted" has known factors (`tests.planted`): a direction has recovered one if it moves it at least
twice as far, in standard deviations of samples, as any other factor. On faces, landmarks tell how far the part's shape
moves, and its mean colour how far that does.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DILATE, FEATHER, DiscoverConfig
from lelsd_core.discovery.search import discover
from lelsd_core.evaluation.heldout import HeldOut, held_out
from lelsd_core.faces import FaceAligner
from lelsd_core.generators.base import Generator
from lelsd_core.localization import locality_gain, resized_mask
from lelsd_core.registry import build_frame, load_aligner, load_generator, load_segmenter
from lelsd_core.seeds import HELD_OUT
from lelsd_core.segmenters import Segmenter, part_mask
from lelsd_core.weights.catalogue import segmenter_of, spec_of
from tests import planted
from tests.toy import PictureHalves

READINGS = ("picture", "all maps", "weighted maps")  # the last: in proportion to the maps' sizes
GROUPS = ("coarse", "middle", "fine")
MASKS = {  # of local moves: dilation and feather, in shares of the frame's width; None: `BOXES`
    "usual": (DILATE, FEATHER),
    "wider": (1 / 16, 1 / 8),
    "wide": (1 / 8, 1 / 8),
    "box": None,
}
BOXES = {  # left, top, right, bottom in 64ths of the frame of faces
    "mouth": (20, 43, 44, 64),
    "nose": (23, 31, 41, 48),
    "eyes": (13, 23, 51, 36),
    "brows": (11, 17, 53, 30),
    "hair": (10, 0, 54, 24),
}
CHANGE = 0.05  # root mean square change of the picture at which directions are compared
ROUNDS = 3  # of the search for the amount that makes it
SAMPLES = (32, 12)  # held-out ones, and of pictures of 128 pixels and more
EYES = (33, 263)  # landmarks: the outer corners of both eyes


@dataclass(frozen=True)
class Setting:
    """Where directions live, which layers they may write, where the score is read, psi of the samples, local moves."""

    space: str
    group: str = ""  # of `GROUPS`; "" = all
    reading: str = "picture"
    truncation: float | None = None
    local: str = ""  # layer at which they are let in
    mask: str = "usual"  # key of `MASKS`
    compare: str = "vectors"

    def config(self, usual: DiscoverConfig, generator: Generator) -> DiscoverConfig:
        """The settings of its searches."""
        if self.local:
            usual = DiscoverConfig.shapes(generator, parts=usual.parts, steps=usual.steps, count=usual.count)
        config = usual.with_values(space=self.space, local=self.local, compare=self.compare)
        if self.local and MASKS[self.mask]:
            config = replace(config, dilate=MASKS[self.mask][0], feather=MASKS[self.mask][1])
        elif self.local:
            config = replace(config, box=tuple(edge / 64 for edge in BOXES[config.parts[0]]), dilate=0.0)
        if self.group:
            config = replace(config, slots=(self.group,))
        layers = () if self.reading == "picture" else tuple(generator.layers)
        weights = tuple(float(generator.layers[name].size) for name in layers) if "weighted" in self.reading else ()
        return replace(config, layers=layers, weights=weights, truncation=self.truncation)

    def __str__(self) -> str:
        psi = "" if self.truncation is None else f", ψ {self.truncation:g}"
        if self.local:
            return f"local {self.local} {self.space}, {self.mask} mask, {self.compare} apart | {self.reading}"
        return f"{self.space} {self.group}".strip() + f" | {self.reading}{psi}"


@dataclass(frozen=True)
class Finding:
    """Means over K directions that were found at once for a part, and over both ends."""

    score: float  # localization score on the picture
    gain: float  # its odds over those of the part's area
    variety: float  # 1 − |cosine| between what two directions change in a picture; 0 = all the same
    shape: float = 0.0  # motion of the part's landmarks, % of the eyes' distance
    colour: float = 0.0  # change of the part's mean colour, in [-1, 1] units
    recovered: str = ""  # known factors, where the generator has some


class Judge:
    """Measures the directions of one generator on the same held-out samples.

    Args:
        generator, segmenter: the networks.
        aligner: of its pictures, if they are faces.
    """

    def __init__(self, generator: Generator, segmenter: Segmenter, aligner: FaceAligner | None = None) -> None:
        self.generator, self.aligner = generator, aligner
        self.samples: HeldOut = held_out(generator, segmenter, HELD_OUT[: SAMPLES[generator.resolution >= 128]])
        self.known = planted.measured(self.samples.pictures).std(0) if generator.name == "planted" else None

    def finding(self, directions: Sequence[Direction]) -> Finding:
        """The figures of directions for one part, each at amounts that make the same change."""
        sized = [self.sized(direction) for direction in directions]
        changes = [[self.moved(d, end)[0] - self.samples.pictures for end in (d.low, d.high)] for d in sized]
        pairs = combinations([change[1].flatten(1) for change in changes], 2)
        variety = [float(1 - F.cosine_similarity(a, b).abs().mean()) for a, b in pairs]
        rows = [self.samples.evaluate(direction, lpips=False) for direction in sized]
        score, area = statistics.mean(row.score for row in rows), statistics.mean(row.area for row in rows)
        looks = [self.look(direction) for direction in sized] if self.aligner else [(0.0, 0.0)]
        shape, colour = (statistics.mean(values) for values in zip(*looks, strict=True))
        recovered = {name for d in sized if (name := self.factor(d))} if self.known is not None else set()
        variety = statistics.mean(variety) if variety else 0.0
        return Finding(score, locality_gain(score, area), variety, shape, colour, " ".join(sorted(recovered)))

    def moved(self, direction: Direction, amount: float) -> tuple[Tensor, Tensor]:
        """Pictures and part probabilities of all samples, moved."""
        pairs = [self.samples.moved(direction, amount, rows) for rows in self.samples.rows()]
        pictures, probabilities = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
        return pictures, probabilities

    def sized(self, direction: Direction) -> Direction:
        """The direction with the ends at which the picture changes by `CHANGE`."""
        ends = []
        for end in (direction.low, direction.high):
            for _ in range(ROUNDS):
                change = float(self.samples.effect(direction, end).change.mean())
                end *= min(4.0, max(0.25, CHANGE / max(change, 1e-9)))
            ends.append(end)
        return replace(direction, low=ends[0], high=ends[1])

    def look(self, direction: Direction) -> tuple[float, float]:
        """How far the part's landmarks and its mean colour move, over both ends."""
        samples, shapes, colours = self.samples, [], []
        masks = part_mask(samples.probabilities, samples.segmenter.parts, direction.parts)
        inside = resized_mask(masks, samples.pictures.shape[-2:])
        still = [self.landmarks(picture) for picture in samples.pictures.split(1)]
        for end in (direction.low, direction.high):
            pictures, _ = self.moved(direction, end)
            colour = ((pictures - samples.pictures) * inside).sum((2, 3)) / inside.sum((2, 3)).clamp_min(1)
            colours += colour.norm(dim=1).tolist()
            for before, picture, mask in zip(still, pictures.split(1), inside, strict=True):
                after = self.landmarks(picture)
                if before is None or after is None:
                    continue
                columns, rows = np.clip(before.round().astype(int), 0, mask.shape[-1] - 1).T
                of_part = mask[0].numpy()[rows, columns] > 0.5
                eyes = np.hypot(*(before[EYES[0]] - before[EYES[1]]))
                if of_part.any():
                    shapes.append(100 * np.hypot(*(after - before)[of_part].T).mean() / eyes)
        return float(np.mean(shapes or [0.0])), float(np.mean(colours))

    def landmarks(self, picture: Tensor) -> np.ndarray | None:
        """The mesh's points (478, 2) of a picture (1, 3, R, R), in its pixels; None if no face is seen."""
        (points,) = self.aligner.mesh(picture).numpy()
        return None if np.isnan(points).any() else points

    def factor(self, direction: Direction) -> str:
        """The planted factor that the direction moves at least twice as far as any other, or ""."""
        ends = [planted.measured(self.moved(direction, end)[0]) for end in (direction.low, direction.high)]
        effects = ((ends[1] - ends[0]).abs().mean(0) / self.known).tolist()
        (first, factor), (second, _) = sorted(zip(effects, planted.FACTORS, strict=True), key=lambda e: -e[0])[:2]
        return f"{factor.kind} ({factor.side})" if first >= 2 * second else ""


def settings_of(generator: Generator) -> list[Setting]:
    """All spaces with the score at the picture; those with layers also by group and at the maps."""
    found = []
    for space in generator.space_names:
        groups = [g for g in GROUPS if generator.group_slots(g, space)] if space != "W" else []
        readings = READINGS if space in ("W+", "S") else READINGS[:2]
        found += [Setting(space, reading=reading) for reading in readings]
        if space == "W+":
            found += [Setting(space, group, reading) for group in groups for reading in READINGS[:2]]
            found.append(Setting(space, reading="all maps", truncation=generator.usual_truncation))
    usual = DiscoverConfig.shapes(generator)
    sizes = {layer.size: name for name, layer in generator.layers.items()}  # the last layer of each size
    layers = [name for size, name in sizes.items() if 4 < size <= generator.resolution // 4]
    found += [Setting(usual.space, local=usual.local, mask=m, compare=usual.compare) for m in MASKS]
    found += [Setting(usual.space, local=layer, compare=usual.compare) for layer in layers if layer != usual.local]
    found.append(Setting(usual.space, local=usual.local, compare="changes"))
    coarse = [space for space in generator.space_names[:-1] if space != usual.space]
    return found + [Setting(space, local=usual.local, compare=usual.compare) for space in coarse]


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="planted", help="[%(default)s]")
    parser.add_argument("--parts", nargs="+", help="[left; mouth and hair]")
    parser.add_argument("--steps", type=int, default=100, help="of each direction [%(default)s]")
    parser.add_argument("--count", type=int, default=3, help="directions at once [%(default)s]")
    parser.add_argument("--only", nargs="+", default=[""], help='beginnings of rows, such as "W+ coarse" [all]')
    options = parser.parse_args(arguments)
    if options.generator == "planted":
        generator, segmenter, aligner = planted.planted(), PictureHalves(), None
        usual, parts = DiscoverConfig(samples=400), options.parts or ["left"]
    else:
        spec = spec_of(options.generator)
        generator = load_generator(options.generator)
        segmenter = load_segmenter(segmenter_of(options.generator), generator=generator)
        aligner, usual = load_aligner(build_frame(spec, generator.resolution)), spec.discover
        parts = options.parts or ["mouth", "hair"]
    judge = Judge(generator, segmenter, aligner)
    print("| space and layers | score read at | part | score | gain | variety | shape % | colour | recovered |")
    for setting in settings_of(generator):
        if not str(setting).startswith(tuple(options.only)):
            continue
        for part in parts:
            if setting.mask == "box" and part not in BOXES:
                continue
            usual = replace(usual, parts=(part,), steps=options.steps, count=options.count)
            *_, last = discover(generator, segmenter, setting.config(usual, generator))
            f = judge.finding(last.directions)
            figures = f"{f.score:.2f} | {f.gain:.1f} | {f.variety:.2f} | {f.shape:.1f} | {f.colour:.2f} | {f.recovered}"
            print(f"| {setting} | {part} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
