"""Tell what this machine can run, what is missing, and how to get it.

python -m lelsd_core doctor
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants

from demo.models import missing_files
from lelsd_core.cli.common import add_device
from lelsd_core.device import describe
from lelsd_core.errors import UserError
from lelsd_core.registry import load_editor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    add_device(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Look at everything; the exit code is 1 if the model that ships does not work."""
    from lelsd_core.device import choose_device

    findings = []
    for finding in examine(choose_device(options.device)):
        findings.append(finding)
        print(finding.line, flush=True)
    options.code = int(any(finding.needed and finding.how for finding in findings))
    return {
        "ready": [finding.words for finding in findings if not finding.how],
        "missing": [{"what": finding.words, "how": finding.how} for finding in findings if finding.how],
    }


SHIPPED = "digiface-64"
PATIENCE = 3.0  # seconds for the Hub's answer
LEAST_DISK = 5e9  # bytes; models of the Hub are up to 1.2 GB each
LEAST_MEMORY = 2e9  # bytes; the page with the shipped model takes about 1 GB
WANTED = {  # published weights -> what they are for
    ("ffhq-1024",): "faces of 1024 pixels",
    ("yunet", "sface", "lpips-vgg"): "another detector of faces, and likeness in numbers",
}
OPTIONAL = {  # package -> what it is for
    "ray": ("ray", "batches over several processes"),
    "transformers": ("transformers", "the segmenter maskformer-cocostuff"),
    "spaces": ("spaces", "GPUs that are lent call by call, on a ZeroGPU Space only"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, in words; how to get it, where it is missing; whether nothing works without."""

    words: str
    how: str = ""
    needed: bool = False

    @property
    def line(self) -> str:
        """For people."""
        return f"  –  {self.words}: {self.how}" if self.how else f"  ✓  {self.words}"


def examine(device: torch.device) -> Iterator[Finding]:
    """Look at everything that networks on a device need, one finding after the other."""
    yield software()
    yield processors(device)
    yield memory()
    yield disk(Path(constants.HF_HUB_CACHE))
    yield shipped_model(device)
    yield large_models(device)
    yield hub()
    yield from published()
    yield from optional()


def software() -> Finding:
    """Python and the packages that everything stands on."""
    packages = ", ".join(f"{name} {version_of(name)}" for name in ("torch", "gradio"))
    return Finding(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {packages}")


def version_of(package: str) -> str:
    """The version of an installed package, "missing" without it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def processors(device: torch.device) -> Finding:
    """Where networks will run."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding(f"Networks run on {device} ({describe(device)}); {cores} cores, {torch.get_num_threads()} threads")


def memory() -> Finding:
    """The machine's own memory."""
    free, total = memory_bytes()
    if total is None:
        return Finding("Memory: this system does not tell how much there is")
    words = f"Memory: {free / 1e9:.1f} GB free of {total / 1e9:.1f} GB"
    return Finding(words, "close other programs; the page takes about 1 GB" if free < LEAST_MEMORY else "")


def memory_bytes() -> tuple[float, float | None]:
    """Free and all memory in bytes; (0, None) on systems that do not tell."""
    try:
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        known = {words[0]: 1024.0 * int(words[1]) for words in lines}
        return known["MemAvailable:"], known["MemTotal:"]
    except (OSError, KeyError):
        pass
    try:
        total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return 0.0, None
    return total, total  # macOS does not tell what is free


def disk(folder: Path) -> Finding:
    """Room for downloaded models in the folder that every tool using huggingface_hub shares."""
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    words = f"Disk: {free / 1e9:.1f} GB free for models in {folder}"
    if not os.access(there, os.W_OK):
        return Finding(words, "it cannot be written to; set HF_HUB_CACHE to a folder that can")
    return Finding(words, "make room, or set HF_HUB_CACHE to a folder elsewhere" if free < LEAST_DISK else "")


def shipped_model(device: torch.device) -> Finding:
    """The shipped model: all its files have the right SHA-256, it loads, and it paints a face on the device."""
    try:
        load_editor(SHIPPED, device).random_face(0)
    except (UserError, RuntimeError) as problem:
        how = "get the repository again" if isinstance(problem, UserError) else f"torch fails on {device}; reinstall it"
        return Finding(str(problem).partition("\n")[0], how, needed=True)
    return Finding(f"{SHIPPED} is whole (SHA-256) and paints faces of 64 pixels, at once on any CPU")


def large_models(device: torch.device) -> Finding:
    """Whether models of 1024 pixels can be used live."""
    if device.type == "cpu":
        how = "a GPU that torch can use; here a picture takes seconds"
        return Finding("Models of 1024 pixels (FFHQ) while a slider moves", how)
    return Finding(f"Models of 1024 pixels (FFHQ) run on {device}")


def hub() -> Finding:
    """Whether the Hugging Face Hub can be reached; asked for nothing but its headers."""
    if constants.HF_HUB_OFFLINE:
        return Finding("The Hub is not asked: HF_HUB_OFFLINE is set", "unset it to download models")
    reason = within(PATIENCE, lambda: head(constants.ENDPOINT))
    if reason:
        how = f"{reason}; check the network, or set HF_ENDPOINT to a mirror; what ships works without"
        return Finding(f"The Hub cannot be reached at {constants.ENDPOINT}", how)
    return Finding(f"The Hub is reachable at {constants.ENDPOINT}")


def head(address: str) -> str:
    """Ask a server for its headers; why there is no answer, "" if there is one."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE).close()
    except urllib.error.HTTPError as answer:
        return "" if answer.code < 500 else f"it answers {answer.code}"
    except (OSError, ValueError) as problem:
        return str(getattr(problem, "reason", problem))
    return ""


def within(seconds: float, task: Callable[[], str]) -> str:
    """What a task says, or that it took too long: looking up a name has no limit of its own."""
    answer: list[str] = []
    asking = threading.Thread(target=lambda: answer.append(task()), daemon=True)
    asking.start()
    asking.join(seconds)
    return answer[0] if answer else f"no answer within {seconds:g} s"


def published() -> Iterator[Finding]:
    """Weights from the Hub that make more possible, and whether they are on this machine."""
    for names, use in WANTED.items():
        missing = [part for name in names for part in missing_files(name)]
        how = f"python -m lelsd_core weights fetch {' '.join(names)}" if missing else ""
        yield Finding(f"{', '.join(names)}, for {use}", how)


def optional() -> Iterator[Finding]:
    """Packages that the project can do without; `spaces` is of use on a Space only."""
    for module, (package, use) in OPTIONAL.items():
        if module == "spaces" and "SPACE_ID" not in os.environ:
            continue
        there = find_spec(module) is not None
        yield Finding(f"{package}, for {use}", "" if there else f"pip install {package}")
