"""`bench`: timings against floors that are measured in the same run, interleaved; every time is printed, medians count.

floor of an edit    one generator pass at batch 1
floor of a step     three generator and two segmenter passes, without gradients
floor of the start  an empty Gradio page that imports torch; for --help, a Python that does nothing
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lelsd_core.cli.costs import bench_methods
from lelsd_core.cli.flagship import flagship
from lelsd_core.cli.official import official
from lelsd_core.cli.parser import FLAGSHIP, GENERATOR
from lelsd_core.cli.timing import ROOT, alone, edit_times, interleaved
from lelsd_core.device import choose_device, synchronize
from lelsd_core.discovery.search import discover
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.evaluation.heldout import evaluate
from lelsd_core.generators import StyleGAN2
from lelsd_core.registry import load_editor, load_generator, load_segmenter
from lelsd_core.weights.catalogue import generator_spec, segmenter_of

EMPTY_PAGE = """
import torch, gradio as gr
with gr.Blocks(analytics_enabled=False) as page:
    gr.Markdown("empty")
page.launch(server_port={port}, quiet=True, ssr_mode=False, run_history=False)
"""
ONE_STEP = """
from lelsd_core.cli.bench import random_stylegan2
from lelsd_core.discovery.search import DiscoverConfig, discover
from lelsd_core.registry import load_segmenter
config = DiscoverConfig(parts=("background",), batch={batch}, micro={micro}, samples={batch})
step = next(discover(random_stylegan2(1024), load_segmenter("digiface-parts"), config))
assert step.seen == {batch}
"""
AT_WORK = """
import gradio
from lelsd_core.discovery.search import discover
from lelsd_core.registry import load_editor
editor = load_editor("{name}")
session = editor.open(editor.random_face(0).original, steps=2)
editor.edit(session, {{direction.name: 1.0 for direction in editor.directions}}, protect=1.0)
next(discover(editor.generator, editor.segmenter, editor.search_config))
"""
WHAT = ("edit", "discover", "start", "methods", "flagship")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time one thing; names and numbers are checked first."""
    if options.what not in WHAT:
        raise UserError(unknown_name("bench", options.what, WHAT))
    if options.repeats < 0:
        raise UserError(f"--repeats is {options.repeats}; it must be at least 1, or 0 for the default.")
    name = options.generator or (FLAGSHIP if options.what == "flagship" else GENERATOR)
    generator_spec(name)
    device = choose_device(options.device)
    if options.what == "flagship":
        photos = options.photos and Path(options.photos)
        return flagship(name, Path(options.out or "flagship"), photos, device, options.repeats or 21)
    if options.what == "start":
        return bench_start(options.repeats or 5)
    if options.what == "edit":
        return bench_edit(name, options.repeats or 101, device)
    if options.what == "methods":
        return bench_methods(name, options.part, options.methods, lambda: random_stylegan2(256), device)
    if options.memory:
        return bench_memory()
    times = bench_discover(name, options.repeats or 21, options.four_times, device)
    return times | (official(name, device) if options.official else {})


def bench_edit(name: str, repeats: int, device: torch.device) -> dict[str, Any]:
    """A slider's move over one generator pass at batch 1, and the peak memory of all work."""
    editor = load_editor(name, device)
    times: dict[str, Any] = edit_times(editor, editor.random_face(0), repeats)
    times["peak_gb"] = peak_gb(AT_WORK.format(name=name))
    print(f"a photo, an edit and a step of a search, beside Gradio: peak memory {times['peak_gb']:.2f} GB")
    return times


def bench_discover(name: str, repeats: int, four_times: bool, device: torch.device) -> dict[str, Any]:
    """One step of a search over its floor; with `four_times`, also the score after four times as many steps."""
    import resource  # not on Windows

    segmenter, generator = load_segmenter(segmenter_of(name), device), load_generator(name, device)
    config = generator_spec(name).discover.check(generator, segmenter)
    codes = generator.sample_in(config.space, range(config.batch))
    with torch.inference_mode():
        picture = generator.synthesize(codes, config.space).image

    @torch.inference_mode()
    def floor() -> None:
        for _ in range(3):
            generator.synthesize(codes, config.space)
        for _ in range(2):
            segmenter.network(picture)
        synchronize(device)

    steps = discover(generator, segmenter, config)
    times: dict[str, Any] = interleaved({"floor_s": floor, "step_s": lambda: next(steps)}, repeats)
    times["step_over_floor"] = times["step_s"] / times["floor_s"]
    times["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"a step takes {times['step_over_floor']:.2f} floors (its untouched samples included)")
    for label, count in (("", config.steps), ("_four_times", 4 * config.steps)) if four_times else ():
        began = time.perf_counter()
        *_, last = discover(generator, segmenter, replace(config, steps=count))
        times[f"seconds{label}"] = seconds = time.perf_counter() - began
        times[f"score{label}"] = score = next(evaluate(generator, segmenter, last.directions)).score
        print(f"{count} steps: held-out score {score:.4f} in {seconds:.1f} s")
    return {"generator": name, **times}


def bench_memory(batch: int = 4) -> dict[str, Any]:
    """Peak memory of one step of a search with StyleGAN2 config-f at 1024: a whole batch, and one at a time."""
    result: dict[str, Any] = {"generator": "stylegan2-1024", "batch": batch}
    for label, micro in (("", batch), ("_micro_1", 1)):
        result[f"peak_gb{label}"] = peak = peak_gb(ONE_STEP.format(batch=batch, micro=micro))
        print(f"a step of batch {batch}, StyleGAN2 at 1024, {micro} at a time: peak memory {peak:.2f} GB", flush=True)
    return result


def bench_start(repeats: int) -> dict[str, Any]:
    """Process start to page ready over an empty Gradio page that imports torch, and to --help over a bare Python."""
    if not (ROOT / "app.py").exists():
        raise UserError("`bench start` times the page; run it in a copy of the repository, where app.py is.")
    pages = {
        "empty_page_s": lambda: until_ready(lambda port: ["-c", EMPTY_PAGE.format(port=port)]),
        "page_s": lambda: until_ready(lambda port: ["app.py", "--offline", "--port", str(port)]),
    }
    times = interleaved(pages, repeats, warm=1)
    times["page_over_empty"] = times["page_s"] / times["empty_page_s"]
    print(f"the page is ready after {times['page_over_empty']:.2f} times an empty page's time")
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "check": True}
    tasks = {
        "python_s": lambda: subprocess.run([sys.executable, "-c", "pass"], **quiet),
        "help_s": lambda: subprocess.run([sys.executable, "-m", "lelsd_core", "--help"], **quiet),
    }
    times |= interleaved(tasks, 4 * repeats)
    times["help_over_python_s"] = times["help_s"] - times["python_s"]
    print(f"--help takes {times['help_over_python_s']:.3f} s more than a bare Python")
    return times


def until_ready(arguments: Callable[[int], list[str]]) -> None:
    """Start a server on a free port, wait until its page answers, end it; `arguments(port)` are Python's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    server = subprocess.Popen([sys.executable, *arguments(port)], cwd=ROOT, env=environment, **quiet)
    try:
        while server.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                return
            except OSError:  # not ready yet
                time.sleep(0.02)
        raise UserError(f"The server of {arguments(port)[0]} ended with exit code {server.returncode} at its start.")
    finally:
        server.kill()
        server.wait()


def peak_gb(code: str) -> float:
    """Peak resident memory, in GB, of a fresh Python process that runs some code."""
    return alone(code)[1]


def random_stylegan2(resolution: int) -> StyleGAN2:
    """StyleGAN2 in the official widths (config-f) with random weights."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    weights = {f"mapping.fc{i}.weight": 100 * draw(512, 512) for i in range(8)}
    weights |= {f"mapping.fc{i}.bias": draw(512) for i in range(8)} | {"mapping.w_avg": torch.zeros(512)}
    tap = torch.tensor([1.0, 3.0, 3.0, 1.0])
    weights |= {"synthesis.b4.const": draw(512, 4, 4), "synthesis.resample_filter": tap.outer(tap) / 64}
    before, size = 512, 4
    while size <= resolution:
        channels = min(512, 32768 // size)
        for name in ("conv0", "conv1", "torgb") if size > 4 else ("conv1", "torgb"):
            part = f"synthesis.b{size}.{name}"
            outputs, width = (3, 1) if name == "torgb" else (channels, 3)
            weights |= {f"{part}.affine.weight": draw(before, 512), f"{part}.affine.bias": torch.ones(before)}
            weights |= {f"{part}.weight": draw(outputs, before, width, width), f"{part}.bias": draw(outputs)}
            if name != "torgb":
                weights |= {f"{part}.noise_strength": torch.tensor(0.1), f"{part}.noise_const": draw(size, size)}
                before = channels
        size *= 2
    return StyleGAN2(weights).eval()
