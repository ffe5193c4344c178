"""`bench methods`: what one direction costs by each method, and LELSD's cost over that of a search of all channels.

    a method, in a process of its own  -->  seconds, passes through the networks, peak memory, score at equal change
    seconds of a pass, of its gradient, of a segmentation  x  passes of a recipe  -->  LELSD : StyleSpace

Three searches for a channel are counted: as it is done here, by random projections (see `methods.stylespace`); by
gradient maps, for which a grid of the picture is backpropagated cell by cell; and by moving each channel by itself.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lelsd_core.cli.discover import aligner_of
from lelsd_core.cli.timing import alone, interleaved
from lelsd_core.device import choose_device, synchronize
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.evaluation.heldout import held_out
from lelsd_core.generators.base import Generator, State, Step
from lelsd_core.methods import candidates, stylespace
from lelsd_core.methods.base import METHODS, Wanted, find_directions
from lelsd_core.registry import load_generator, load_segmenter
from lelsd_core.seeds import HELD_OUT
from lelsd_core.segmenters import Segmenter, adapt
from lelsd_core.weights.catalogue import generator_spec, segmenter_of

BATCH, REPEATS = 2, 5
PICTURES = 1000  # that StyleSpace looks at, once for all parts
GRID = 32  # cells along each side of its gradient maps
SAMPLES = 800  # that LELSD learns from
SCORED = 64  # held-out samples, at a root mean square change of `candidates.CHANGE`
PAPER_CHANNELS = {"ffhq-1024, all of S": 9088, "ffhq-1024, without toRGB": 6048}
FIND = """
from lelsd_core.cli.costs import find
find({method!r}, {generator!r}, {part!r}, {device!r})
"""


def bench_methods(
    name: str, part: str, methods: Sequence[str], large: Callable[[], Generator], device: torch.device
) -> dict[str, Any]:
    """The cost of a direction by each method, and the ratios.

    Args:
        name: a generator of the catalogue with a segmenter.
        part: that the directions are for.
        methods: names; none = all that are defined for the generator.
        large: makes another generator whose passes are timed, too.
        device: where all runs.

    Raises:
        UserError: an unknown method or part, or one of the methods that is not defined for the generator.
    """
    generator, segmenter = load_generator(name, device), adapt(load_segmenter(segmenter_of(name), device))
    segmenter.parts.channels(part)
    for method in methods:
        if method not in METHODS:
            raise UserError(unknown_name("method", method, METHODS))
        if reason := METHODS[method].refuses(generator):
            raise UserError(reason)
    rows = []
    print("method        seconds   forward  backward  segmenter  peak GB  held-out score")
    for method in methods or [name for name, each in METHODS.items() if not each.refuses(generator)]:
        out, peak = alone(FIND.format(method=method, generator=name, part=part, device=str(device)))
        rows.append(row := {"method": method, **json.loads(out.splitlines()[-1]), "peak_gb": peak})
        print(
            f"{method:12} {row['seconds']:8.1f} {row['forward']:9.0f} {row['backward']:9.0f} {row['segmenter']:10.0f} "
            f"{peak:8.2f} {row['score']:15.3f}",
            flush=True,
        )
    ratios = []
    for each in (generator, large()):
        passes = time_passes(each, segmenter)
        label = each.name or f"{type(each).__name__} at {each.resolution}, random weights"
        channels = {label: int(each.spaces[-1].column_mask().sum())} if each.spaces[-1].name == "S" else {}
        for kind, count in (channels if each is generator else channels | PAPER_CHANNELS).items():
            ratios.append({"generator": kind, "channels": count, **passes.ratios(count)})
    print(f"LELSD ({SAMPLES} samples) : a search for a channel, of one part")
    for row in ratios:
        print(
            f"{row['generator']} ({row['channels']} channels): 1 : {row['projections']:.2g} by projections, 1 : "
            f"{row['gradient_maps']:.0f} by gradient maps of {PICTURES} pictures, 1 : {row['moves']:.0f} one by one"
        )
    return {"generator": name, "part": part, "rows": rows, "ratios": ratios}


@dataclass(frozen=True)
class Passes:
    """Seconds of a picture."""

    forward: float  # rendered
    both: float  # rendered, with its gradient
    segmenter: float  # segmented

    @property
    def backward(self) -> float:
        """Seconds of one more gradient of a picture that is rendered already."""
        return self.both - self.forward

    @property
    def lelsd(self) -> float:
        """Seconds of LELSD: each sample is rendered as it is, and moved with its gradient, and segmented both times."""
        return SAMPLES * (self.forward + self.both + 2 * self.segmenter)

    def ratios(self, channels: int) -> dict[str, float]:
        """Seconds of each search among some channels over LELSD's."""
        projected = self.both + (2 * stylespace.PROJECTIONS - 1) * self.backward + self.segmenter
        tried = stylespace.CHANNELS * 2 * (candidates.MOST_SAMPLES + candidates.TRIES * candidates.PROBES)
        searches = {
            "projections": stylespace.MOST_SAMPLES * projected + tried * (self.forward + self.segmenter),
            "gradient_maps": PICTURES * (self.both + (GRID**2 - 1) * self.backward + self.segmenter),
            "moves": PICTURES * ((1 + channels) * self.forward + self.segmenter),
        }
        return {name: seconds / self.lelsd for name, seconds in searches.items()}


def time_passes(generator: Generator, segmenter: Segmenter) -> Passes:
    """Median seconds of a picture, in batches of `BATCH`."""
    space, device = generator.space_names[-1], generator.device
    codes = generator.sample_in(space, range(BATCH)).detach().requires_grad_()
    with torch.no_grad():
        picture = generator.synthesize(codes, space).image.clamp(-1, 1)

    @torch.no_grad()
    def forward() -> None:
        generator.synthesize(codes, space)
        synchronize(device)

    def both() -> None:
        torch.autograd.grad(generator.synthesize(codes, space).image.sum(), codes)
        synchronize(device)

    @torch.no_grad()
    def segment() -> None:
        segmenter.segment(picture)
        synchronize(device)

    tasks = {"forward": forward, "both": both, "segmenter": segment}
    return Passes(**{name: seconds / BATCH for name, seconds in interleaved(tasks, REPEATS, warm=1).items()})


def find(method: str, generator_name: str, part: str, device_name: str) -> None:
    """Find a direction for a part; prints its seconds, passes and held-out score as JSON. For a process of its own."""
    device, spec = choose_device(device_name), generator_spec(generator_name)
    generator, segmenter = (
        load_generator(generator_name, device),
        adapt(load_segmenter(segmenter_of(generator_name), device)),
    )
    wanted = Wanted(part, aligner=aligner_of(spec, generator))
    passes = count_passes(generator, segmenter)
    began = time.perf_counter()
    (found,) = find_directions(method, generator, segmenter, wanted)
    seconds = time.perf_counter() - began
    told = {"seconds": seconds, **{name: passes[name] for name in ("forward", "backward", "segmenter")}}
    samples = held_out(generator, segmenter, HELD_OUT[:SCORED])
    amount = candidates.amount_of_change(samples, found, found.facts["amounts"][1])
    row = samples.evaluate(replace(found, low=-amount, high=amount), lpips=False)
    print(json.dumps(told | {"score": row.score}))


def count_passes(generator: Generator, segmenter: Segmenter) -> Mapping[str, float]:
    """Counts the pictures that networks render, backpropagate and segment from now on, by "forward" and so on.

    A picture that is rendered in part counts for the share of the layers.
    """
    passes: Counter[str] = Counter()
    share = 1 / len(generator.steps)

    def add(name: str, rows: float) -> None:
        passes[name] += rows

    def counted(step: Step) -> Step:
        def run(state: State | None, slots: tuple[Tensor, ...]) -> State:
            after = step.run(state, slots)
            add("forward", len(after.x) * share)
            if after.x.requires_grad:
                after.x.register_hook(lambda grad: add("backward", len(grad) * share))
            return after

        return replace(step, run=run)

    segment = segmenter.segment

    def counted_segment(image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        probabilities = segment(image, features)
        add("segmenter", len(probabilities))
        return probabilities

    generator.steps, segmenter.segment = tuple(map(counted, generator.steps)), counted_segment
    return passes
