"""What `bench discover --memory` measures: a process of its own, and really a step of a discovery."""

from __future__ import annotations

import pytest

from lelsd_core.__main__ import main
from lelsd_core.cli.bench import peak_gb


def test_the_peak_of_a_process_is_measured() -> None:
    small, large = peak_gb("pass"), peak_gb("x = bytearray(b'1' * 200_000_000)")
    assert 0.001 < small < 0.1
    assert 0.15 < large - small < 0.5


def test_a_whole_batch_and_single_samples_are_measured(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    ran = []

    def run_small(code: str) -> float:
        exec(code.replace("1024", "16"), space := {})
        ran.append((space["step"].step, space["config"].batch, space["config"].micro))
        return float(len(ran))

    monkeypatch.setattr("lelsd_core.cli.bench.peak_gb", run_small)
    assert main(["bench", "discover", "--memory", "--json"]) == 0
    assert ran == [(1, 4, 4), (1, 4, 1)]
    assert '"peak_gb": 1.0, "peak_gb_micro_1": 2.0' in capsys.readouterr().out
