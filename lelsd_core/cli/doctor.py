"""`doctor`: what works on this machine, what is missing, and how to get it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import threading
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants

from lelsd_core.cli.parser import FLAGSHIP, GENERATOR
from lelsd_core.cli.timing import in_words, measure
from lelsd_core.device import AUTO, choose_device, describe, system_memory
from lelsd_core.errors import UserError
from lelsd_core.galleries.local import usual_parts
from lelsd_core.registry import load_editor, load_generator, load_segmenter
from lelsd_core.weights.cache import faults_of
from lelsd_core.weights.catalogue import generator_names, generator_spec
from lelsd_core.weights.hub import missing

TIMEOUT = 3.0  # seconds for the Hub's answer
LEAST_DISK = 5e9  # bytes; models of the Hub are up to 1.2 GB each
LEAST_MEMORY = 2e9  # bytes; the page with the shipped model takes up to 1.7 GB
PUBLISHED = {  # names of networks -> what they are for
    (FLAGSHIP,): "faces of 1024 pixels, whose searches are predicted once it is here",
    ("yunet", "sface"): "another face detector, and another network for identity",
}
METRICS = ("lpips-alex", "face-identity")
OPTIONAL = {  # optional packages -> what they are for
    "ray": "batches over several processes",
    "transformers": "the segmenter maskformer-cocostuff",
    "spaces": "GPUs that are lent call by call, on a ZeroGPU Space only",
}


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    what: str  # what was checked, in words
    remedy: str = ""  # how to get what is missing; "" if nothing is
    required: bool = False  # whether the program cannot work without it


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Print every check; the exit code is 1 if the model that ships does not work."""
    checks = []
    for check in run_checks(choose_device(options.device)):
        checks.append(check)
        print(f"  –  {check.what}: {check.remedy}" if check.remedy else f"  ✓  {check.what}", flush=True)
    options.code = int(any(check.required and check.remedy for check in checks))
    return {
        "ready": [check.what for check in checks if not check.remedy],
        "missing": [{"what": check.what, "how": check.remedy} for check in checks if check.remedy],
    }


def run_checks(device: torch.device) -> Iterator[Check]:
    """Check everything that networks on a device need; no check takes longer than a few seconds."""
    gradio = version("gradio") if find_spec("gradio") else "missing"
    packages = f"torch {torch.__version__}, gradio {gradio}"
    yield Check(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {packages}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check(f"Networks run on {device} ({describe(device)}); {cores} cores, {torch.get_num_threads()} threads")
    yield check_memory()
    yield check_disk(Path(constants.HF_HUB_CACHE))
    yield check_shipped_model(device)
    yield check_metrics()
    yield from check_searches(device)
    slow = "a GPU that torch can use; on a CPU a picture takes seconds" if device.type == "cpu" else ""
    yield Check("Models of 1024 pixels (FFHQ) while a slider moves", slow)
    yield check_hub()
    for names, use in PUBLISHED.items():
        remedy = f"python -m lelsd_core weights fetch {' '.join(names)}" if any(map(missing, names)) else ""
        yield Check(f"{', '.join(names)}, for {use}", remedy)
    for package, use in OPTIONAL.items():
        if package != "spaces" or "SPACE_ID" in os.environ:
            yield Check(f"{package}, for {use}", "" if find_spec(package) else f"pip install {package}")


def check_memory() -> Check:
    """The machine's memory."""
    if (memory := system_memory()) is None:
        return Check("Memory: this system does not report how much is free")
    free, total = memory
    what = f"Memory: {free / 1e9:.1f} GB free of {total / 1e9:.1f} GB"
    return Check(what, "close other programs; the page takes up to 1.7 GB" if free < LEAST_MEMORY else "")


def check_disk(folder: Path) -> Check:
    """Space for downloaded models in huggingface_hub's cache."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(existing).free
    what = f"Disk: {free / 1e9:.1f} GB free for models in {folder}"
    if not os.access(existing, os.W_OK):
        return Check(what, "it cannot be written to; set HF_HUB_CACHE to a folder that can")
    return Check(what, "make room, or set HF_HUB_CACHE to a folder elsewhere" if free < LEAST_DISK else "")


def check_shipped_model(device: torch.device) -> Check:
    """The shipped model: its files have the right SHA-256, it loads, and it renders a face on the device."""
    try:
        editor = load_editor(GENERATOR, device)
        editor.random_face(0)
    except (UserError, RuntimeError) as error:
        broken_file = isinstance(error, UserError)
        remedy = "get the repository again" if broken_file else f"torch fails on {device}; reinstall it"
        return Check(str(error).partition("\n")[0], remedy, required=True)
    pixels, licence = f"{editor.generator.resolution} pixels", generator_spec(GENERATOR).licence
    return Check(f"{GENERATOR} is whole (SHA-256) and renders pictures of {pixels}; licence of its weights: {licence}")


def check_metrics() -> Check:
    """The shipped networks of LPIPS and identity: their files have the right SHA-256."""
    faults = [fault for name in METRICS for fault in faults_of(name)]
    return Check(f"{' and '.join(METRICS)} are whole: LPIPS and identity are measured", " ".join(faults))


def check_searches(device: torch.device) -> Iterator[Check]:
    """How long searches will take, by passes that are measured: for each kind of generator that is on this machine."""
    kinds: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name in generator_names():
        spec = generator_spec(name)
        if spec.segmenter and not missing(name):
            kinds[spec.architecture, spec.resolution, spec.segmenter, spec.discover].append(name)
    for name, *others in kinds.values():
        config = generator_spec(name).discover
        try:
            generator = load_generator(name, device, dtype=AUTO)
            segmenter = load_segmenter(generator_spec(name).segmenter, device, generator=generator)
            cost = measure(generator, segmenter, config)
        except (UserError, RuntimeError) as error:
            yield Check(f"Searches with {name} are not predicted", str(error).partition("\n")[0])
            continue
        direction, gallery = in_words(cost.search(config)), in_words(cost.gallery(segmenter))
        parts, alike = len(usual_parts(segmenter)), f" (and {', '.join(others)})" if others else ""
        yield Check(f"{name}{alike}: a direction takes about {direction}, a gallery of {parts} about {gallery}")


def check_hub() -> Check:
    """Whether the Hugging Face Hub answers; only headers are requested."""
    if constants.HF_HUB_OFFLINE:
        return Check("The Hub is not asked: HF_HUB_OFFLINE is set", "unset it to download models")
    answers: list[str] = []

    def request() -> None:
        try:
            head = urllib.request.Request(constants.ENDPOINT, method="HEAD")
            urllib.request.urlopen(head, timeout=TIMEOUT).close()
            answers.append("")
        except urllib.error.HTTPError as answer:
            answers.append("" if answer.code < 500 else f"it answers {answer.code}")
        except (OSError, ValueError) as error:
            answers.append(str(getattr(error, "reason", error)))

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(TIMEOUT)  # resolving a host name has no timeout of its own
    problem = answers[0] if answers else f"no answer within {TIMEOUT:g} s"
    if problem:
        remedy = f"{problem}; check the network, or set HF_ENDPOINT to a mirror; what ships works without"
        return Check(f"The Hub cannot be reached at {constants.ENDPOINT}", remedy)
    return Check(f"The Hub is reachable at {constants.ENDPOINT}")
