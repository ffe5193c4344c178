"""What is timed for `bench` and `doctor`: tasks in turns, edits, and the cost of searches, predicted from a sample's.

samples rendered as they are, and moved with their gradient  --measure-->  `Cost`  -->  seconds of what needs them
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lelsd_core.device import synchronize
from lelsd_core.directions import Direction
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import Samples
from lelsd_core.discovery.search import discover
from lelsd_core.editor import Editor, Session
from lelsd_core.galleries import local as gallery
from lelsd_core.generators.base import Generator
from lelsd_core.images import enlarge, to_pil
from lelsd_core.local import LocalMove
from lelsd_core.segmenters import Segmenter, adapt

ROOT = Path(__file__).resolve().parents[2]
LOCAL_MOVES = 8  # sliders that are moved at once
BUDGET, REPEATS = 0.4, 20  # seconds of a measurement, which is made twice at least, and how often at most
CALIBRATION_PASSES = 14  # over the samples of a calibration: as they are, and moved by the amounts that it tries


@dataclass(frozen=True)
class Cost:
    """Seconds of one sample, segmented, where so many are rendered at a time."""

    still: float  # as it is
    moved: float  # moved, with the gradient of its score
    rows: int = 1  # samples at a time

    def search(self, config: DiscoverConfig) -> float:
        """Seconds of a search, whose samples are rendered once and kept."""
        steps, rendered = config.steps * config.count, min(config.steps, max(1, config.samples // config.batch))
        return config.batch * (steps * self.moved + rendered * self.still)

    def gallery(self, segmenter: Segmenter) -> float:
        """Seconds of a gallery in which each usual part gets a direction: quick searches that share samples."""
        quick, calibration = gallery.QUICK, CALIBRATION_PASSES * len(gallery.CALIBRATION_SEEDS)
        steps = quick.steps + gallery.QUICK_SHAPE["steps"]
        each = steps * quick.batch * self.moved + len(gallery.ENDINGS) * calibration * self.still
        return len(gallery.usual_parts(segmenter)) * each + len(gallery.ENDINGS) * quick.samples * self.still


def measure(generator: Generator, segmenter: Segmenter, config: DiscoverConfig) -> Cost:
    """The cost of a sample where as many are rendered at a time as in a search with these networks and this config."""
    segmenter = adapt(segmenter)
    parts = gallery.usual_parts(segmenter)
    config = replace(config, parts=parts, count=1, patience=0).check(generator, segmenter)
    rows = Samples(generator, segmenter, config).micro
    config = replace(config, steps=REPEATS, batch=rows, micro=rows, samples=rows)
    samples = Samples(generator, segmenter, config)
    samples.batch(0)
    still = seconds_of(lambda: Samples(generator, segmenter, config).batch(0), generator)
    steps = discover(generator, segmenter, config, samples=samples)
    return Cost(still / rows, seconds_of(lambda: next(steps), generator) / rows, rows)


def seconds_of(task: Callable[[], object], generator: Generator) -> float:
    """Median seconds of a task on the generator's device, without its first time, when torch still loads things."""
    times: list[float] = []
    while len(times) < 2 or (sum(times) < BUDGET and len(times) < REPEATS):
        began = time.perf_counter()
        task()
        synchronize(generator.device)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def interleaved(tasks: dict[str, Callable[[], object]], repeats: int, warm: int = 3) -> dict[str, float]:
    """Median seconds of each task, run in turns so that a change of the machine's speed hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(-warm, repeats):
        for name, task in tasks.items():
            began = time.perf_counter()
            task()
            if turn >= 0:
                times[name].append(time.perf_counter() - began)
    for name, seconds in times.items():
        print(f"{name}: " + " ".join(f"{s:.4f}" for s in seconds))
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def edit_times(editor: Editor, session: Session, repeats: int) -> dict[str, float]:
    """Median seconds of a generator pass at batch 1, of an edit, of its preview, and of a picture as the page sends it.

    An edit takes amounts to a uint8 picture at the model's size; local edits move one and `LOCAL_MOVES` sliders, whose
    local moves are made for it, each in a place of its own.
    """
    amounts = {direction.name: direction.high / 4 for direction in session.directions}
    session = session.with_directions(local_sliders(editor))
    names = [direction.name for direction in session.directions[-LOCAL_MOVES:]]
    generator, codes = editor.generator, session.codes.to(editor.generator.device)

    @torch.inference_mode()
    def forward() -> None:
        generator.synthesize(codes, session.space)
        synchronize(generator.device)

    def encode() -> None:
        enlarge(to_pil(torch.zeros(1, 3, 64, 64)), 512).save(io.BytesIO(), "JPEG", quality=90, subsampling=0)

    edits = {"edit_s": lambda: editor.render(session, amounts), "preview_s": lambda: editor.preview(session, amounts)}
    edits["local_s"] = lambda: editor.render(session, {names[0]: 1.0})
    edits["eight_local_s"] = lambda: editor.render(session, dict.fromkeys(names, 1.0))
    times = interleaved({"forward_s": forward, **edits, "encode_s": encode}, repeats)
    times["edit_over_forward"] = times["edit_s"] / times["forward_s"]
    times["local_over_forward"] = times["local_s"] / times["forward_s"]
    times["eight_local_over_forward"] = times["eight_local_s"] / times["forward_s"]
    one, eight = times["local_over_forward"], times["eight_local_over_forward"]
    print(f"an edit takes {times['edit_over_forward']:.2f} generator passes")
    print(f"an edit by one local move takes {one:.2f}, by {LOCAL_MOVES} in different places {eight:.2f}")
    return times


def local_sliders(editor: Editor) -> list[Direction]:
    """Local moves of a generator along random vectors, each in a box of its own: no picture lacks those."""
    generator, config, random = editor.generator, editor.shape_config, torch.Generator().manual_seed(0)
    space, share = generator.space(config.space), 1 / LOCAL_MOVES
    places = [LocalMove.in_box(config.local, (0, i * share, 1, (i + 1) * share)) for i in range(LOCAL_MOVES)]
    vectors = torch.randn(LOCAL_MOVES, space.width, generator=random) * space.column_mask()
    return [
        Direction(f"local-{i}", generator.name, generator.fingerprint, space.name, vector / vector.norm(), local=place)
        for i, (place, vector) in enumerate(zip(places, vectors, strict=True))
    ]


def alone(code: str) -> tuple[str, float]:
    """What a fresh Python process prints that runs some code, and its peak resident memory in GB (Linux's VmHWM)."""
    measured = f"{code}\nprint(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    ran = subprocess.run([sys.executable, "-c", measured], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    printed, peak = ran.stdout.rstrip().rpartition("\n")[::2]
    return printed, int(peak) * 1024 / 1e9  # getrusage would count what the parent held when it forked


def in_words(seconds: float) -> str:
    """A duration in its usual unit: "45 s", "12 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
