"""`bench`: the fields of its JSON, and that memory is measured in a process of its own."""

from __future__ import annotations

import json

import pytest

from lelsd_core.__main__ import main
from lelsd_core.cli import bench
from lelsd_core.errors import UserError


def test_an_edit_is_timed_over_a_generator_pass(capsys):
    assert main(["bench", "edit", "--repeats", "1", "--json"]) == 0
    times = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"forward_s", "edit_s", "encode_s"} <= times.keys()
    assert times["edit_over_forward"] == pytest.approx(times["edit_s"] / times["forward_s"])


def test_a_step_of_a_search_is_timed_over_its_floor(capsys):
    assert main(["bench", "discover", "--repeats", "1", "--json"]) == 0
    times = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert times["generator"] == "digiface-64"
    assert times["step_over_floor"] == pytest.approx(times["step_s"] / times["floor_s"])
    assert times["peak_gb"] > 0.1


def test_the_start_of_the_page_needs_the_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    with pytest.raises(UserError, match=r"app\.py"):
        bench.bench_start(1)


def test_the_peak_of_a_process_is_measured():
    small, large = bench.peak_gb("pass"), bench.peak_gb("x = bytearray(b'1' * 200_000_000)")
    assert 0.001 < small < 0.1
    assert 0.15 < large - small < 0.5


def test_a_whole_batch_and_single_samples_are_measured(monkeypatch, capsys):
    ran = []

    def run_small(code: str) -> float:
        exec(code.replace("1024", "16"), space := {})
        ran.append((space["step"].step, space["config"].batch, space["config"].micro))
        return float(len(ran))

    monkeypatch.setattr(bench, "peak_gb", run_small)
    assert main(["bench", "discover", "--memory", "--json"]) == 0
    assert ran == [(1, 4, 4), (1, 4, 1)]
    assert '"peak_gb": 1.0, "peak_gb_micro_1": 2.0' in capsys.readouterr().out
