"""Batches in one process, or in several worker processes that Ray starts and supervises.

    items  --each to one worker-->  results, in the order of the items

Each worker loads the models once and works at batch 1 with the same number of threads as a single run, so that results
are bit-equal. Ray is optional; unlike a process pool it restarts a worker that dies, which costs at most the item that
the worker died over twice. It runs on this machine only, on loopback, behind a random token, without usage reports.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from lelsd_core.errors import UserError

Task = Callable[[Any], Any]  # item -> result, with its models loaded
TOKEN = secrets.token_hex(32)  # one for the whole process: its Ray keeps asking for the first that it saw
OBJECT_STORE = 80_000_000  # bytes of memory that Ray shares between processes: near its minimum
RESTARTS = 3  # of a worker
PRIVATE = {  # environment variables that Ray reads when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on every system: one machine, at 127.0.0.1
    "RAY_AUTH_MODE": "token",
}


def spread(
    build: Callable[[str], Task], items: Sequence[Any], *, workers: int = 1, device: str = "cpu"
) -> Iterator[Any]:
    """Do the same with each item.

    Args:
        build: loads the models on a device and returns the task; picklable, with its items and results.
        items: what to work on.
        workers: number of processes; 1 works in this process and needs no Ray.
        device: for "cuda", each worker gets a GPU, or a share of one where there are fewer.

    Yields:
        For each item, in order, its result, or the `UserError` that it raised or that reports a lost worker.

    Raises:
        UserError: fewer than one worker, several without Ray, or models that cannot be loaded.
    """
    check_workers(workers)
    workers = min(workers, len(items))
    if workers > 1:
        yield from spread_with_ray(build, items, workers, device)
    elif items:
        task = build(device)
        for item in items:
            yield result_or_error(task, item)


def check_workers(workers: int) -> None:
    """UserError for fewer than one worker, or for several without Ray."""
    if workers < 1:
        raise UserError(f"workers is {workers}; it must be at least 1.")
    if workers > 1:
        import_ray()


def result_or_error(task: Callable[[Any], Any], argument: Any) -> Any:
    """The result of a task, or the `UserError` that it raised."""
    try:
        return task(argument)
    except UserError as error:
        return error


class Worker:
    """The actor of a worker process. Errors are returned: what is raised looks like a dead process, and is printed."""

    def __init__(self, build: Callable[[str], Task], device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.task = result_or_error(build, device)

    def loading_error(self) -> UserError | None:
        """Why the models could not be loaded."""
        return self.task if isinstance(self.task, UserError) else None

    def do(self, item: Any) -> Any:
        """The result of an item or its error, that of loading after a restart."""
        return self.loading_error() or result_or_error(self.task, item)


def spread_with_ray(build: Callable[[str], Task], items: Sequence[Any], workers: int, device: str) -> Iterator[Any]:
    """`spread` over several processes; a worker that is free takes the next item."""
    ray = import_ray()
    from ray.util import ActorPool

    gpus = torch.cuda.device_count() if device == "cuda" else 0
    gpus_each = 1 / -(-workers // gpus) if gpus else 0  # Ray makes only its own GPU visible to a worker
    actor = ray.remote(num_cpus=1, num_gpus=gpus_each, max_restarts=RESTARTS, max_task_retries=1)(Worker)
    with ray_running(ray, num_cpus=workers, num_gpus=gpus, object_store_memory=OBJECT_STORE):
        actors = [actor.remote(build, device, torch.get_num_threads()) for _ in range(workers)]
        for worker in actors:  # before the first item: Ray complains about items that are under way when it is stopped
            with suppress(ray.exceptions.RayActorError):  # dead; each of its items says so
                if error := ray.get(worker.loading_error.remote()):
                    raise error
        pool = ActorPool(actors)
        for item in items:
            pool.submit(lambda worker, item: worker.do.remote(item), item)
        for _ in items:
            try:
                yield pool.get_next()
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayActorError:
                yield UserError("The worker died over this one, probably for lack of memory; use fewer workers.")


@contextmanager
def ray_running(ray: Any, **limits: int) -> Iterator[None]:
    """Start Ray on this machine and stop it again. UserError if it does not start."""
    package_folder = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package_folder, os.environ.get("PYTHONPATH")]))
    folder = "/tmp" if sys.platform == "darwin" else None  # Ray's sockets need a short path
    silent = {"include_dashboard": False, "log_to_driver": False, "logging_level": "critical"}
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir=folder, ignore_cleanup_errors=True) as logs,
        patch.dict(os.environ, RAY_AUTH_TOKEN=TOKEN, PYTHONPATH=path),
    ):
        try:
            try:
                ray.init(address="local", _temp_dir=logs, **silent, **limits)
            except Exception as error:  # Ray raises many types
                reason = str(error).strip().partition("\n")[0]
                raise UserError(f"Ray could not start here ({reason}); leave --workers at 1.") from error
            yield
        finally:
            ray.shutdown()


def import_ray() -> Any:
    """Ray, configured to stay private. UserError if it is not installed."""
    os.environ.update(PRIVATE)
    try:
        import ray
    except ImportError:
        raise UserError("Several workers need Ray: pip install ray; or leave --workers at 1.") from None
    return ray
