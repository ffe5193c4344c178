"""The state of a search, and its file: a search that was interrupted continues exactly where it was.

vectors, Adam's moments, random generator, best vectors, counters  <-->  FILE.safetensors
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters import Segmenter
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors

KIND = "discovery"
MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam
NUMBERS = ("step", "seen", "left_out", "score", "best_score", "since")
MIN_IMPROVEMENT = 0.002  # a held-out score must rise by this much to count as better


@dataclass(eq=False)
class RunState:
    """All that changes during a search."""

    vectors: Tensor  # (K, D), the parameter that Adam updates
    optimizer: torch.optim.Optimizer  # Adam
    scheduler: torch.optim.lr_scheduler.LRScheduler  # of its learning rate
    random: torch.Generator  # draws the amounts
    best: Tensor  # the directions (K, D) with the best held-out score so far
    micro: int  # samples rendered at a time; halved when memory runs out
    best_score: float = -1.0  # -1 before the first check of the held-out score
    since: int = 0  # checks since the best one
    step: int = 0  # over all directions
    seen: int = 0  # samples used
    left_out: int = 0  # those among them that showed no part or no change
    score: float = 0.0  # mean over the samples of the last step

    def finished(self, config: DiscoverConfig) -> bool:
        """Whether all steps are done, or the held-out score has stopped rising."""
        return self.step >= config.steps * config.count or 0 < config.patience <= self.since

    def record(self, held_out_score: float, vectors: Tensor) -> None:
        """Note a held-out score and the directions (K, D) that reached it."""
        if held_out_score > self.best_score + MIN_IMPROVEMENT:
            self.best_score, self.best, self.since = held_out_score, vectors, 0
        else:
            self.since += 1

    def save(self, path: str | Path, task: Mapping[str, Any]) -> None:
        """Write the state and the `search_task` it belongs to; the file appears whole or not at all."""
        moments = self.optimizer.state[self.vectors]
        tensors = {"vectors": self.vectors, "best": self.best, "random": self.random.get_state()}
        tensors |= {name: moments[name] for name in MOMENTS}
        numbers = {name: getattr(self, name) for name in NUMBERS} | {"lr": self.optimizer.param_groups[0]["lr"]}
        write_safetensors(path, tensors, {"kind": KIND, "task": task, "numbers": numbers})

    def load(self, path: str | Path, task: Mapping[str, Any]) -> None:
        """Continue from a file. UserError for a damaged file or one of another search."""
        tensors, facts = read_safetensors(path, KIND)
        saved = comparable(facts.get("task"))
        different = [name for name, value in comparable(task).items() if saved.get(name) != value]
        if different:
            raise UserError(
                f"{Path(path).name} belongs to another discovery (another {' and '.join(different)}); "
                "give another checkpoint file, or delete it to start afresh."
            )
        try:
            if any(tensors[name].shape != self.vectors.shape for name in ("vectors", "best", *MOMENTS)):
                raise ValueError("shapes")
            self.random.set_state(tensors["random"])
            for name in NUMBERS:
                setattr(self, name, type(getattr(self, name))(facts["numbers"][name]))
            rate = float(facts["numbers"]["lr"])
        except (KeyError, TypeError, ValueError, RuntimeError) as problem:
            raise UserError(f"{Path(path).name} is not a whole checkpoint of a discovery: {problem}.") from None
        with torch.no_grad():
            self.vectors.copy_(tensors["vectors"])
        self.best = tensors["best"].to(self.vectors)
        moments = {"step": torch.tensor(float(self.step))} | {name: tensors[name] for name in MOMENTS}
        groups = [{**group, "lr": rate, "params": [0]} for group in self.optimizer.state_dict()["param_groups"]]
        self.optimizer.load_state_dict({"state": {0: moments}, "param_groups": groups})
        self.scheduler.last_epoch = self.step


def search_task(config: DiscoverConfig, generator: Generator, segmenter: Segmenter, existing: Tensor) -> dict[str, Any]:
    """What a search does, as plain JSON, to recognise its checkpoint by; `existing`: directions to avoid."""
    return {
        "config": json.loads(json.dumps(asdict(config))),
        "generator": generator.fingerprint or generator.name,
        "segmenter": getattr(segmenter, "fingerprint", "") or segmenter.name,
        "given": hashlib.sha256(existing.cpu().float().numpy().tobytes()).hexdigest() if len(existing) else "",
    }


def comparable(task: object) -> dict[str, Any]:
    """A task without its micro-batches, which change the memory that a search takes and not what it finds."""
    task = dict(task) if isinstance(task, Mapping) else {}
    config = task.get("config")
    return task | {"config": {k: v for k, v in config.items() if k != "micro"}} if isinstance(config, Mapping) else task
