"""One discovery step on a pretended GPU: nothing of it may stay on the CPU by mistake."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.samples import Samples
from lelsd_core.discovery.search import EarlyStopping, Search, Sphere, View, start
from tests.test_generators_contract import gradient_by_hand
from tests.toy import OnDevice, PictureHalves


def test_one_step_of_two_directions_runs_on_a_pretended_gpu(monkeypatch):
    graphs: list[str] = []

    def by_hand(output: torch.Tensor, source: torch.Tensor) -> tuple[torch.Tensor]:
        graphs.append(output.device.type)
        return (gradient_by_hand(output, source),)

    painter, segmenter = OnDevice(), PictureHalves()
    config = DiscoverConfig(parts=("left",), count=2, batch=2, samples=4, layers=("8.paint",), norm="slot")
    config = config.check(painter, segmenter)
    monkeypatch.setattr(torch.autograd, "grad", by_hand)
    monkeypatch.setattr(Search, "refuse_unseen", lambda *_: None)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda _: 1.0)  # a pretended tensor has no numbers to read
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for name, buffer in list(painter.named_buffers()):
            setattr(painter, name, mode.from_tensor(buffer).to("cuda"))
        given = torch.zeros(0, 6, device="cuda")
        sphere = Sphere(painter.spaces[0], config, given)
        run = start(sphere, config)
        search = Search(
            Samples(painter, segmenter, config),
            View(painter, segmenter, config),
            sphere,
            EarlyStopping(painter, segmenter, config, 4),
        )
        before = search.samples.batch(0)
        assert {t.device.type for t in (before.codes, *before.maps, before.answer)} == {"cuda"}
        search.step(run)
        assert run.vectors.device.type == run.vectors.grad.device.type == "cuda"
    assert graphs == ["cuda", "cuda"], "the score's graph and the one that keeps directions apart"
