"""Timings: what searches cost by what a sample costs, repeated tasks, and durations in words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lelsd_core.cli import doctor, timing
from lelsd_core.cli.timing import Cost, in_words, measure, seconds_of
from lelsd_core.device import choose_device
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.errors import UserError
from lelsd_core.galleries import local as gallery
from tests.toy import Halves, Painter

COST = Cost(still=0.01, moved=0.1)


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({"steps": 10, "batch": 4, "samples": 8}, 40 * 0.1 + 8 * 0.01),  # two batches, used in turn
        ({"steps": 10, "batch": 4, "samples": 9, "count": 3}, 120 * 0.1 + 8 * 0.01),  # shared by all directions
        ({"steps": 10, "batch": 4, "samples": 800}, 40 * 0.1 + 40 * 0.01),  # no more than are used
        ({"steps": 1, "batch": 4, "samples": 1}, 4 * 0.1 + 4 * 0.01),
    ],
)
def test_a_search_costs_its_moved_samples_and_each_untouched_one_once(settings, seconds):
    assert COST.search(DiscoverConfig(**settings)) == pytest.approx(seconds)


def test_a_gallery_costs_two_quick_searches_and_calibrations_for_each_part(monkeypatch):
    monkeypatch.setattr(gallery, "QUICK", DiscoverConfig(steps=10, batch=4, samples=8))
    monkeypatch.setattr(gallery, "QUICK_SHAPE", {"steps": 5})
    monkeypatch.setattr(gallery, "CALIBRATION_SEEDS", range(5))
    monkeypatch.setattr(timing, "CALIBRATION_PASSES", 3)
    assert COST.gallery(Halves()) == pytest.approx(2 * (60 * 0.1 + 2 * 5 * 3 * 0.01) + 2 * 8 * 0.01)


def test_a_measured_cost_is_of_one_sample_where_as_many_are_rendered_as_in_a_search(monkeypatch):
    painter, rendered = Painter(), []
    painter.paint, paint = (
        lambda codes: rendered.append((codes.requires_grad, len(codes))) or paint(codes),
        painter.paint,
    )
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now + 0.12 * len(rendered))
    cost = measure(painter, Halves(), DiscoverConfig(parts="no matter", batch=8, micro=3, count=2, patience=1))
    assert cost == Cost(pytest.approx(0.04), pytest.approx(0.04), 3)
    assert set(rendered) == {(False, 3), (True, 3)}


def test_the_first_time_does_not_count(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)

    def task(seconds: list[float]) -> None:
        clock.now += seconds.pop(0)

    for seconds, median, left in (([9.0, 2.0, 1.0], 2.0, 1), ([0.125] * 9, 0.125, 5), ([0.0] * 50, 0.0, 30)):
        assert seconds_of(lambda seconds=seconds: task(seconds), Painter()) == pytest.approx(median)
        assert len(seconds) == left


def test_durations_are_told_in_their_usual_unit():
    assert [in_words(seconds) for seconds in (2.4, 89, 90, 700, 5399, 9000)] == [
        "2 s",
        "89 s",
        "2 min",
        "12 min",
        "90 min",
        "2.5 h",
    ]


def test_kinds_of_generators_that_are_here_are_predicted_once_each(hub_home, monkeypatch):
    measured = []
    monkeypatch.setattr(doctor, "measure", lambda generator, *_: measured.append(generator.name) or COST)
    told = [check.what for check in doctor.check_searches(choose_device("cpu"))]
    assert measured == ["blaze-256", "digiface-64"], "nothing that would have to be fetched"
    assert told[0].startswith(
        "blaze-256 (and blaze-256-sketch, blaze-256-ink, blaze-256-oil): a direction takes about 25 s"
    )
    assert told[1].startswith("digiface-64: a direction takes about 4 min, a gallery of 8 about 6 min")

    def fails(*_, **__):
        raise UserError("generator.safetensors is damaged")

    monkeypatch.setattr(doctor, "load_generator", fails)
    checks = list(doctor.check_searches(choose_device("cpu")))
    assert checks[0] == doctor.Check("Searches with blaze-256 are not predicted", "generator.safetensors is damaged")
