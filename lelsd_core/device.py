"""Where networks run, and what happens when memory is short.

wanted, LELSD_DEVICE, "auto"  --choose_device-->  cuda, mps or cpu
ways to do a thing, each needing less memory than the one before  --first_that_fits-->  its result, or one sentence
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from lelsd_core.errors import UserError, unknown_name

VARIABLE, AUTO = "LELSD_DEVICE", "auto"
KINDS = ("cuda", "mps", "cpu")  # the first one that is there is chosen
SHORT = ("out of memory", "not enough memory", "allocate memory")  # how torch says that memory is short
SCALE = 2.0**10  # of a loss on its way back; a power of two changes no float32 gradient
Result = TypeVar("Result")


def available() -> tuple[str, ...]:
    """Devices of this machine, best first: ("cuda:0", "cuda:1", "cpu")."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return (*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu")


def choose_device(wanted: str | None = None) -> torch.device:
    """The device to run on.

    Args:
        wanted: "auto", "cpu", "mps", "cuda", "cuda:1"; None = what LELSD_DEVICE says, else "auto": the best there is.

    Raises:
        UserError: no such device, or not on this machine.
    """
    wanted = (wanted or os.environ.get(VARIABLE) or AUTO).strip().lower()
    there = available()
    if wanted == AUTO:
        return torch.device(there[0].partition(":")[0])
    kind, colon, number = wanted.partition(":")
    if kind not in KINDS or (colon and not (kind == "cuda" and number.isdecimal())):
        raise UserError(unknown_name("device", wanted, (AUTO, *KINDS)))
    if not any(wanted in (name, name.partition(":")[0]) for name in there):
        raise UserError(
            f"This machine has no {wanted} that torch {torch.__version__} can use; it has {' and '.join(there)}."
        )
    return torch.device(wanted)


def dtype_on(device: torch.device, config: Mapping[str, Any], dtype: str | None) -> str | None:
    """What the dtype "auto" means for a network on a device; anything else is what was asked for.

    Float16 on cuda for networks whose config bounds their activations ("clamp"), as NVIDIA's do that were trained in
    half precision: with weights and styles scaled to at most 1 no sum overflows there. Without the bound, float32.
    """
    if dtype != AUTO:
        return dtype
    bounded = math.isfinite(config.get("clamp") or math.inf)
    return "float16" if device.type == "cuda" and bounded else None


def describe(device: torch.device) -> str:
    """One device in words: its name, and its memory where it has its own."""
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        return f"{facts.name}, {facts.total_memory / 1e9:.0f} GB"
    return "Apple GPU, shares the machine's memory" if device.type == "mps" else "CPU, no GPU that torch can use"


def on_device(network: Callable[[Tensor], Tensor], device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """The network for callers whose tensors are on the CPU: there and back."""
    return lambda given: network(given.to(device)).cpu()


def gradient(loss: Tensor, source: Tensor) -> Tensor:
    """d loss / d source; scaled on the way, so that maps in half precision do not round small gradients to 0."""
    (scaled,) = torch.autograd.grad(SCALE * loss, source)
    return scaled / SCALE


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an error says that memory is short: cuda's is a RuntimeError of its own kind, MPS's a plain one."""
    return isinstance(problem, MemoryError) or (
        isinstance(problem, RuntimeError) and any(words in str(problem) for words in SHORT)
    )


def free_memory() -> None:
    """Give memory that nothing uses back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def synchronize(device: torch.device | str) -> None:
    """Wait until a device has done what it was asked to do; a CPU always has. For those who look at the clock."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    if kind == "mps":
        torch.mps.synchronize()


def first_that_fits(*ways: Callable[[], Result]) -> Result:
    """The result of the first way that finds enough memory; where none does, the last one's error."""
    for way in ways[:-1]:
        try:
            return way()
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
        free_memory()  # after the error and all that its frames held are gone
    return ways[-1]()


def by_rows(render: Callable[[Tensor], tuple[Tensor, ...]], codes: Tensor) -> tuple[Tensor, ...]:
    """What `render` makes of codes (B, D); where memory is short, of one row after the other."""

    def one_by_one() -> tuple[Tensor, ...]:
        made = [render(row) for row in codes.split(1)]
        return tuple(torch.cat(tensors) for tensors in zip(*made, strict=True))

    return first_that_fits(lambda: render(codes), one_by_one)


@contextmanager
def report_out_of_memory() -> Iterator[None]:
    """Turn an error that says that memory is short into a sentence for people."""
    try:
        yield
    except (RuntimeError, MemoryError) as problem:
        if not is_out_of_memory(problem):
            raise
        reason = UserError(
            "There is not enough memory for this model; close other programs, or run it on the CPU with --device cpu."
        )
    else:
        return
    free_memory()
    raise reason
