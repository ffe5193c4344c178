"""The state of a discovery under way, as a file: a run that was cut off goes on as if it had not been.

vectors, Adam's two moments, the random generator, the best look, counters  <-->  FILE.safetensors
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.errors import UserError
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors

KIND = "discovery"
TENSORS = ("vectors", "best", "random", "exp_avg", "exp_avg_sq")


BETTER = 0.002  # a score must rise by this much to count as better


@dataclass(frozen=True, eq=False)
class Best:
    """The best look so far.

    Args:
        score: its held-out score, -1 before the first look.
        vectors: the directions (K, D) it had.
        since: looks since then.
    """

    score: float
    vectors: Tensor
    since: int = 0

    def after(self, score: float, vectors: Tensor) -> Best:
        """The best after one more look."""
        return Best(score, vectors) if score > self.score + BETTER else replace(self, since=self.since + 1)


@dataclass(frozen=True)
class Task:
    """What a discovery does, for telling whether a file belongs to it."""

    config: DiscoverConfig
    generator: str
    segmenter: str
    given: str

    @classmethod
    def of(cls, config: DiscoverConfig, generator: Any, segmenter: Any, given: Tensor) -> Task:
        """The task of a config with these networks and given directions (G, D)."""
        digest = hashlib.sha256(given.cpu().float().numpy().tobytes()).hexdigest() if len(given) else ""
        fingerprints = (getattr(network, "fingerprint", "") or network.name for network in (generator, segmenter))
        return cls(config, *fingerprints, digest)

    @property
    def facts(self) -> Mapping[str, Any]:
        """As JSON gives it back."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(eq=False)
class Run:
    """A discovery under way; its fields change with each step.

    Args:
        vectors: (K, D), the leaf that Adam moves.
        optimizer, scheduler: Adam and its learning rate.
        random: draws the amounts.
        best: the best look at the held-out score.
        step: steps done.
        seen, left_out: samples looked at, and those that did not count.
        score: mean score of the last step.
    """

    vectors: Tensor
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    random: torch.Generator
    best: Best
    step: int = 0
    seen: int = 0
    left_out: int = 0
    score: float = 0.0

    def save(self, path: str | Path, task: Task) -> None:
        """Write the run; the file appears whole or not at all."""
        moments = self.optimizer.state[self.vectors]
        tensors = {
            "vectors": self.vectors,
            "best": self.best.vectors,
            "random": self.random.get_state(),
            "exp_avg": moments["exp_avg"],
            "exp_avg_sq": moments["exp_avg_sq"],
        }
        numbers = {
            "step": self.step,
            "seen": self.seen,
            "left_out": self.left_out,
            "score": self.score,
            "best_score": self.best.score,
            "since": self.best.since,
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        write_safetensors(path, tensors, {"kind": KIND, "task": task.facts, "numbers": numbers})

    def load(self, path: str | Path, task: Task) -> None:
        """Go on from a file. UserError for a damaged file or one of another discovery."""
        tensors, facts = read_safetensors(path, KIND)
        different = [name for name, value in task.facts.items() if facts.get("task", {}).get(name) != value]
        if different:
            raise UserError(
                f"{Path(path).name} belongs to another discovery (another {' and '.join(map(str, different))}); "
                "give another checkpoint file, or delete it to start afresh."
            )
        try:
            numbers = facts["numbers"]
            vectors, best, random, exp_avg, exp_avg_sq = (tensors[name] for name in TENSORS)
            if not vectors.shape == best.shape == exp_avg.shape == exp_avg_sq.shape == self.vectors.shape:
                raise ValueError("shapes")
            self.random.set_state(random)
            self.step, self.seen, self.left_out = (int(numbers[name]) for name in ("step", "seen", "left_out"))
            self.best = Best(float(numbers["best_score"]), best.to(self.vectors), int(numbers["since"]))
            rate, self.score = float(numbers["lr"]), float(numbers["score"])
        except (KeyError, TypeError, ValueError, RuntimeError) as problem:
            raise UserError(f"{Path(path).name} is not a whole checkpoint of a discovery: {problem}.") from None
        with torch.no_grad():
            self.vectors.copy_(vectors)
        moments = {"step": torch.tensor(float(self.step)), "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
        groups = [{**group, "lr": rate, "params": [0]} for group in self.optimizer.state_dict()["param_groups"]]
        self.optimizer.load_state_dict({"state": {0: moments}, "param_groups": groups})
        self.scheduler.last_epoch = self.step
