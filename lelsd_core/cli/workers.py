"""Work on many things at once: one process, or several that Ray starts and looks after.

    items  --one after the other, each whole to one worker-->  results, in the items' order

Each worker loads the models once and works as a single run does: batch 1, as many threads, so that results are equal
bit for bit. With GPUs, workers share them out evenly. Ray is optional (`pip install ray`) and does what process pools
do not: a worker that dies is started anew, and costs at most the item that it died over twice. It stays on this
machine: loopback only, behind a random token, without its dashboard and its usage reports, its logs deleted at the end.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

from lelsd_core.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
Build = Callable[[str], Callable[[Item], Result]]  # device -> models loaded and ready: item -> result

STORE = 80_000_000  # bytes of memory that Ray shares between processes: near its least; only paths and numbers travel
RESTARTS = 3  # of a worker, before what is left to it is given up
PRIVATE = {  # read by Ray when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on every system: one machine, addressed as 127.0.0.1
    "RAY_AUTH_MODE": "token",
}


def spread(
    build: Build[Item, Result], items: Sequence[Item], *, workers: int = 1, device: str = "cpu"
) -> Iterator[Result | UserError]:
    """Do the same with each item.

    Args:
        build: makes a worker, a function of one item, on a device; with its items and results it must be picklable.
        items: what to work on.
        workers: processes; 1 works in this one and needs no Ray.
        device: for "cuda" each worker gets a GPU, shared where there are fewer.

    Yields:
        For each item, in order, its result, or the `UserError` that its work ended with or that tells of a lost worker.

    Raises:
        UserError: no worker at all, or several without Ray.
    """
    check_workers(workers)
    workers = min(workers, len(items))
    return spread_over_processes(build, items, workers, device) if workers > 1 else here(build, items, device)


def check_workers(workers: int) -> None:
    """UserError unless that many workers can be had."""
    if workers < 1:
        raise UserError(f"workers is {workers}; it must be at least 1.")
    if workers > 1:
        load_ray()


def here(build: Build[Item, Result], items: Sequence[Item], device: str) -> Iterator[Result | UserError]:
    """One after the other in this process."""
    work = build(device) if items else None
    for item in items:
        yield result_or_problem(work, item)


def result_or_problem(work: Callable[[Item], Result], item: Item) -> Result | UserError:
    """The result, or the sentence why there is none."""
    try:
        return work(item)
    except UserError as problem:
        return problem


class Worker:
    """What runs in each process: the models, loaded when it starts."""

    def __init__(self, build: Build[Item, Result], device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.problem: UserError | None = None
        try:
            self.work = build(device)
        except UserError as problem:  # raised here it would look as if the process had died
            self.problem = problem

    def do(self, item: Item) -> Result | UserError:
        """The result of an item. UserError if the models could not be loaded."""
        if self.problem:
            raise self.problem
        return result_or_problem(self.work, item)


def spread_over_processes(
    build: Build[Item, Result], items: Sequence[Item], workers: int, device: str
) -> Iterator[Result | UserError]:
    """The same in several processes; whichever is free takes the next item."""
    ray = load_ray()
    from ray.util import ActorPool

    gpus = torch.cuda.device_count() if device == "cuda" else 0
    each = 1 / -(-workers // gpus) if gpus else 0  # of a GPU; Ray shows a worker its own one only
    kind = ray.remote(num_cpus=1, num_gpus=each, max_restarts=RESTARTS, max_task_retries=1)(Worker)
    with ray_running(ray, workers, gpus):
        started = [kind.remote(build, device, torch.get_num_threads()) for _ in range(workers)]
        pool = ActorPool(started)
        for item in items:
            pool.submit(lambda worker, given: worker.do.remote(given), item)
        for _ in items:
            try:
                yield pool.get_next()
            except ray.exceptions.RayTaskError as problem:
                raise problem.cause from None
            except ray.exceptions.RayActorError:
                yield UserError("The worker died over this one, most likely for want of memory; try fewer workers.")


@contextmanager
def ray_running(ray: Any, workers: int, gpus: int) -> Iterator[None]:
    """Ray on this machine alone, for as long as it is needed."""
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))  # for the workers
    folder = "/tmp" if sys.platform == "darwin" else None  # Ray's sockets need a short path
    kept = {name: os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "PYTHONPATH")}
    with tempfile.TemporaryDirectory(prefix="ray-", dir=folder, ignore_cleanup_errors=True) as logs:
        os.environ.update({"RAY_AUTH_TOKEN": token(), "PYTHONPATH": path})
        try:
            start(ray, num_cpus=workers, num_gpus=gpus, _temp_dir=logs)
            yield
        finally:
            ray.shutdown()
            for name, value in kept.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def start(ray: Any, **options: Any) -> None:
    """Start Ray: an own one, quiet, small. UserError if it does not."""
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level="critical",
            object_store_memory=STORE,
            **options,
        )
    except Exception as problem:  # Ray raises many kinds, all of them reasons to do without it
        reason = str(problem).strip().partition("\n")[0]
        raise UserError(f"Ray could not start here ({reason}); leave --workers at 1.") from problem


@cache
def token() -> str:
    """The password of this process's Ray, which goes on asking for the first one that it saw."""
    return secrets.token_hex(32)


def load_ray() -> Any:
    """Ray, told to keep to itself. UserError if it is not installed."""
    os.environ.update(PRIVATE)
    try:
        import ray
    except ImportError:
        raise UserError("Several workers need Ray: pip install ray; or leave --workers at 1.") from None
    return ray
