"""When to stop a discovery: the score on samples it never learns from, looked at now and then.

directions --> held-out score, the same maps and masks as while searching --> best so far, looks since then
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import Batch, Samples
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters import Segmenter

FIRST_SEED = 800_000  # samples to stop by; neither learnt from nor measured on
COUNT = 64
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


class Judge:
    """Scores directions on held-out samples with a config's own maps and masks.

    Args:
        generator, segmenter: what renders and what tells the parts.
        config: checked; amounts are the middle of its range, both ways.
        count: how many samples.
    """

    def __init__(self, generator: Generator, segmenter: Segmenter, config: DiscoverConfig, count: int = COUNT) -> None:
        chunk = min(config.micro or 32, count)
        self.amount = (config.least + config.most) / 2
        self.samples = Samples(
            generator, segmenter, replace(config, batch=chunk, samples=count, micro=0), first=FIRST_SEED
        )

    @torch.no_grad()
    def score(self, vectors: Tensor) -> float:
        """Mean localization score of directions (K, D) over both ends and all samples that count."""
        total = counted = 0.0
        for number in range(self.samples.config.samples // self.samples.config.batch):
            batch = self.samples.batch(number)
            for vector in vectors.to(batch.codes):
                for amount in (-self.amount, self.amount):
                    scores, shown = self._scores(batch, amount * vector)
                    total, counted = total + float((scores * shown).sum()), counted + float(shown.sum())
        return total / max(counted, 1.0)

    def _scores(self, batch: Batch, way: Tensor) -> tuple[Tensor, Tensor]:
        view = self.samples.view
        return view.scores(batch, view.render(batch.codes + way))
