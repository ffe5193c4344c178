"""Devices: which one to run on, half precision, and what to do if memory runs out."""

from __future__ import annotations

import ctypes
import gc
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from lelsd_core.errors import UserError, unknown_name

VARIABLE, AUTO = "LELSD_DEVICE", "auto"
KINDS = ("cuda", "mps", "cpu")
OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory")  # in the messages of torch's errors
M_ARENA_MAX = -8  # glibc's number of this setting
LOSS_SCALE = 2.0**10  # a power of two changes no float32 gradient
MEMORY = Path("/proc/meminfo")
Result = TypeVar("Result")


def available() -> tuple[str, ...]:
    """Devices of this machine, fastest first: ("cuda:0", "cuda:1", "cpu")."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return (*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu")


def choose_device(requested: str | None = None) -> torch.device:
    """The device to run on: "auto" (the fastest one), "cpu", "mps", "cuda", "cuda:1"; None = LELSD_DEVICE, else "auto".

    Raises:
        UserError: an unknown device, or one that this machine does not have.
    """
    name = (requested or os.environ.get(VARIABLE) or AUTO).strip().lower()
    devices = available()
    if name == AUTO:
        return torch.device(devices[0].partition(":")[0])
    kind, colon, number = name.partition(":")
    if kind not in KINDS or (colon and not (kind == "cuda" and number.isdecimal())):
        raise UserError(unknown_name("device", name, (AUTO, *KINDS)))
    if not any(name in (device, device.partition(":")[0]) for device in devices):
        usable = f"that torch {torch.__version__} can use; it has {' and '.join(devices)}"
        raise UserError(f"This machine has no {name} {usable}.")
    return torch.device(name)


def dtype_on(device: torch.device, config: Mapping[str, Any], dtype: str | None) -> str | None:
    """The dtype of a network's weights on a device, with "auto" resolved.

    Args:
        device: where the network runs.
        config: the network's configuration; "clamp" is the bound of its activations.
        dtype: name of a torch dtype, None for float32, or "auto": float16 on cuda for networks that clamp their
            activations, as NVIDIA's do that were trained in half precision, and float32 otherwise.

    Returns:
        The name of a dtype; None for float32.
    """
    if dtype != AUTO:
        return dtype
    bounded = math.isfinite(config.get("clamp") or math.inf)
    return "float16" if device.type == "cuda" and bounded else None


def describe(device: torch.device) -> str:
    """A device in words: its name, and the size of its own memory."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    return "Apple GPU, shares the machine's memory" if device.type == "mps" else "CPU, no GPU that torch can use"


def placed_like(tensor: Tensor, other: Tensor) -> Tensor:
    """The tensor on another's device and in its dtype; `tensor.to(other)` would be the CPU in ZeroGPU's emulation."""
    return tensor.to(other.device, other.dtype)


def gradient(loss: Tensor, source: Tensor) -> Tensor:
    """d loss / d source, with loss scaling, so that small gradients do not underflow in half precision."""
    (scaled,) = torch.autograd.grad(LOSS_SCALE * loss, source)
    return scaled / LOSS_SCALE


def share_heaps() -> None:
    """Let all threads allocate from one heap; for servers, on Linux with glibc.

    By default, glibc gives each thread a heap of its own. The page works in whichever thread is free, so that each
    thread would keep what a refinement needed: four photos in four threads, blaze-256, peak at 2.0 instead of 1.5 GB.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def system_memory() -> tuple[int, int] | None:
    """Bytes of the machine's memory that are free, and all of them; None where the system does not tell (not Linux)."""
    try:
        lines = (line.split() for line in MEMORY.read_text().splitlines())
        sizes = {words[0]: 1024 * int(words[1]) for words in lines}
        return sizes["MemAvailable:"], sizes["MemTotal:"]
    except (OSError, KeyError):
        return None


def free_bytes(device: torch.device) -> int | None:
    """Bytes that torch can still allocate on a device, those in its own cache included; None where it is not known.

    It is not where a GPU is only lent for a time, and not to this process.
    """
    if device.type == "cuda" and torch.cuda.is_initialized():
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    memory = system_memory() if device.type == "cpu" else None
    return memory and memory[0]


def peak_bytes(device: torch.device, task: Callable[[], object]) -> int:
    """Bytes of memory that a task takes at its peak on a CUDA device, beside what was allocated before."""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    task()
    return torch.cuda.max_memory_allocated(device) - before


def how_many(room: float, each: float, wanted: int) -> int:
    """How many of the wanted samples fit into a room, each of which takes so much of it; one at least."""
    return max(1, min(wanted, int(room / max(each, 1))))


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an error was caused by a lack of memory, on any device."""
    return isinstance(problem, MemoryError) or (
        isinstance(problem, RuntimeError) and any(words in str(problem) for words in OUT_OF_MEMORY)
    )


def free_memory() -> None:
    """Release cached memory that is no longer used."""
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where CUDA was not used
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def synchronize(device: torch.device | str) -> None:
    """Wait until all work on a device is done, before reading the clock."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    if kind == "mps":
        torch.mps.synchronize()


def first_that_fits(*attempts: Callable[[], Result]) -> Result:
    """The result of the first attempt that does not run out of memory; the last one's error if all do."""
    for attempt in attempts[:-1]:
        try:
            return attempt()
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
        free_memory()  # outside the handler, when the error and its frames are gone
    return attempts[-1]()


def by_rows(render: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    """`render` of tensors with B rows each; if memory runs out, of one row after the other, with the results joined."""

    def one_by_one() -> tuple[Tensor, ...]:
        rows = (tensor.split(1) for tensor in tensors)
        return tuple(map(torch.cat, zip(*map(render, *rows), strict=True)))

    return first_that_fits(lambda: render(*tensors), one_by_one)


@contextmanager
def report_out_of_memory() -> Iterator[None]:
    """Turn out-of-memory errors into a UserError."""
    try:
        yield
        return
    except (RuntimeError, MemoryError) as problem:
        if not is_out_of_memory(problem):
            raise
    free_memory()
    remedy = "close other programs, or run it on the CPU with --device cpu"
    raise UserError(f"There is not enough memory for this model; {remedy}.")
