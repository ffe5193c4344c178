"""The engine of batches: order, refusals, workers that die, and that nothing leaves this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lelsd_core.cli.workers import spread
from lelsd_core.errors import UserError


def toy(device: str) -> Callable[[int], tuple]:
    """A worker that tells how it was set up; 3 is refused and 5 ends the process."""

    def work(item: int) -> tuple:
        if item == 3:
            raise UserError("Three cannot be done.")
        if item == 5:
            os._exit(1)
        told = {name: os.environ.get(name) for name in ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE")}
        return item * item, device, os.environ.get("CUDA_VISIBLE_DEVICES"), torch.get_num_threads(), told

    return work


def descendants(root: int) -> set[int]:
    """A process and everything that it started, from Linux's /proc."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(pids: set[int]) -> Iterator[str]:
    """The addresses, in the kernel's hexadecimal, at which processes wait for TCP connections."""
    held = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                held.add(os.readlink(link))
            except OSError:  # it was closed meanwhile
                continue
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
                yield fields[1].partition(":")[0]


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def test_a_worker_that_dies_costs_its_own_item_and_all_stays_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # somebody's cluster: not for this
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    results, addresses = [], set()
    for result in spread(toy, range(8), workers=2, device="cuda"):
        results.append(result)
        addresses |= set(listening(descendants(os.getpid()))) if sys.platform == "linux" else set()
    told = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
    for i in (0, 1, 2, 4, 6, 7):
        square, device, gpu, *rest = results[i]
        assert (square, device) == (i * i, "cuda")
        assert gpu in ("0", "1"), "each worker sees a GPU of its own"
        assert rest == [torch.get_num_threads(), told]
    assert str(results[3]) == "Three cannot be done."
    assert isinstance(results[5], UserError)
    assert "The worker died over this one" in str(results[5])
    assert addresses <= LOOPBACK
    assert addresses or sys.platform != "linux"
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert not list(tmp_path.iterdir()), "nothing is left at home"


def test_a_ray_that_does_not_start_is_told(monkeypatch):
    def refuse(**_) -> None:
        raise RuntimeError("No port is free.\nA long story.")

    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(UserError, match=r"Ray could not start here \(No port is free\.\); leave --workers at 1"):
        list(spread(toy, range(2), workers=2))
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_one_worker_works_here_and_passes_real_bugs_on():
    work = spread(lambda _: lambda item: 6 / item, [2, 0], workers=1)
    assert next(work) == 3
    with pytest.raises(ZeroDivisionError):
        next(work)
    assert list(spread(toy, [])) == []
