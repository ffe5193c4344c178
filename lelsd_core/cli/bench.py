"""Time this machine against floors measured in the same run; ratios are what counts.

python -m lelsd_core bench edit
python -m lelsd_core bench discover [--official | --memory]
python -m lelsd_core bench start
python -m lelsd_core bench generator
python -m lelsd_core bench align
python -m lelsd_core bench invert
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lelsd_core.cli.common import add_device

if TYPE_CHECKING:
    import torch


WHAT = ("edit", "discover", "start", "generator", "align", "invert")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("what", help=f"what to time: {', '.join(WHAT)}")
    parser.add_argument("--generator", default="digiface-64", help="registry name [%(default)s]")
    parser.add_argument("--repeats", type=int, default=0, help="how often [enough for the time it takes]")
    parser.add_argument("--four-times", action="store_true", help="discover: also run with four times as many steps")
    parser.add_argument("--memory", action="store_true", help="discover: only the memory, of StyleGAN2 at 1024")
    parser.add_argument("--official", action="store_true", help="discover: also race the paper's own recipe")
    add_device(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time it; all that a person can fix is told before."""
    from lelsd_core.errors import UserError, unknown_name
    from lelsd_core.specs import generator_spec

    if options.what not in WHAT:
        raise UserError(unknown_name("bench", options.what, WHAT))
    if options.repeats < 0:
        raise UserError(f"--repeats is {options.repeats}; it must be at least 1, or 0 for as many as it takes.")
    generator_spec(options.generator)
    if options.what == "start":
        return start(options.repeats or 5)
    if options.what == "generator":
        from tests.bench import generators

        return generators.generator(options.repeats or 5)
    if options.what == "align":
        from tests.bench import align as photos

        return photos.align(options.generator, options.repeats or 15)
    if options.what == "discover" and options.memory:
        from tests.bench import generators

        return generators.discovery_memory()
    if options.what == "invert":
        from tests.bench import inversion

        return inversion.invert(options.generator, options.repeats or 5)
    from lelsd_core.device import choose_device

    device = choose_device(options.device)
    if options.what == "edit":
        return edit(options.generator, options.repeats or 101, device)
    times = discovery(options.generator, options.repeats or 21, options.four_times, device)
    if options.official:
        from lelsd_core.cli import official

        times |= official.official(options.generator, device)
    return times


ROOT = Path(__file__).resolve().parents[2]
EMPTY_PAGE = """
import torch, gradio as gr
with gr.Blocks(analytics_enabled=False) as page:
    gr.Markdown("empty")
page.launch(server_port={port}, quiet=True, ssr_mode=False, run_history=False)
"""


def edit(name: str, repeats: int, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Slider amounts -> uint8 picture at model size, over one generator pass at batch 1."""
    import torch

    from lelsd_core.device import settle
    from lelsd_core.images import enlarge, to_pil
    from lelsd_core.registry import load_editor

    editor = load_editor(name, device)
    session = editor.random_face(0)
    amounts = {direction.name: direction.high / 4 for direction in editor.directions}
    generator, codes = editor.generator, session.codes.to(device)

    @torch.inference_mode()
    def forward() -> None:
        generator.synthesize(codes, session.space)
        settle(device)

    times = interleaved(
        {
            "forward_s": forward,
            "edit_s": lambda: editor.render(session, amounts),
            "encode_s": lambda: jpeg(enlarge(to_pil(torch.zeros(1, 3, 64, 64)), 512)),
        },
        repeats,
    )
    times["edit_over_forward"] = times["edit_s"] / times["forward_s"]
    print(f"an edit takes {times['edit_over_forward']:.2f} generator passes")
    return times


def jpeg(picture: Any) -> bytes:
    """A picture as the page sends it."""
    import io

    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def discovery(name: str, repeats: int, four_times: bool, device: torch.device | str = "cpu") -> dict[str, Any]:
    """One step of a discovery over its floor; and, if wanted, what four times as many steps bring."""
    import resource

    import torch

    from lelsd_core.device import settle
    from lelsd_core.discovery.search import discover
    from lelsd_core.registry import load_generator, load_segmenter
    from lelsd_core.specs import generator_spec, segmenter_of

    spec = generator_spec(name)
    segmenter, generator = load_segmenter(segmenter_of(name), device), load_generator(name, device)
    config = spec.discover.check(generator, segmenter)
    codes = generator.lift(generator.sample(range(config.batch)), generator.space_names[0], config.space)
    with torch.inference_mode():
        picture = generator.synthesize(codes, config.space).image

    @torch.inference_mode()
    def floor() -> None:
        for _ in range(3):
            generator.synthesize(codes, config.space)
        for _ in range(2):
            segmenter.network(picture)
        settle(device)

    steps = discover(generator, segmenter, config)
    for _ in range(3):
        next(steps)
    times = interleaved({"floor_s": floor, "step_s": lambda: next(steps)}, repeats)
    times["step_over_floor"] = times["step_s"] / times["floor_s"]
    times["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"a step takes {times['step_over_floor']:.2f} floors (its untouched samples included)")
    longer = compare_longer(generator, segmenter, config) if four_times else {}
    return {"generator": name, **times, **longer}


def compare_longer(generator: Any, segmenter: Any, config: Any) -> dict[str, Any]:
    """Held-out score (at the amounts learned with) and seconds of the mouth: as configured and four times as long."""
    from dataclasses import replace

    from lelsd_core.discovery.search import discover
    from lelsd_core.evaluation.heldout import evaluate

    result: dict[str, Any] = {}
    for label, steps in (("", config.steps), ("_four_times", 4 * config.steps)):
        began = time.perf_counter()
        *_, last = discover(generator, segmenter, replace(config, steps=steps))
        seconds = time.perf_counter() - began
        score = next(evaluate(generator, segmenter, last.directions)).score
        print(f"{steps} steps: held-out score {score:.4f} in {seconds:.1f} s")
        result |= {f"score{label}": score, f"seconds{label}": seconds}
    return result


def start(repeats: int) -> dict[str, Any]:
    """Process start to page ready over an empty Gradio page that imports torch, and to --help over a bare Python."""
    times = interleaved(
        {
            "empty_page_s": lambda: until_ready(lambda port: ["-c", EMPTY_PAGE.format(port=port)]),
            "page_s": lambda: until_ready(lambda port: ["app.py", "--offline", "--port", str(port)]),
        },
        repeats,
        warm=1,
    )
    times["page_over_empty"] = times["page_s"] / times["empty_page_s"]
    print(f"the page is ready after {times['page_over_empty']:.2f} times an empty page's time")
    shell = {"python_s": ["-c", "pass"], "help_s": ["-m", "lelsd_core", "--help"]}
    times |= interleaved({name: lambda a=a: run_python(a) for name, a in shell.items()}, 4 * repeats)
    times["help_over_python_s"] = times["help_s"] - times["python_s"]
    print(f"--help takes {times['help_over_python_s']:.3f} s more than a bare Python")
    return times


def run_python(arguments: list[str]) -> None:
    """Run a Python program to its end and drop what it says."""
    subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


def until_ready(arguments: Callable[[int], list[str]]) -> None:
    """Start a server on a free port, wait until its page answers, end it."""
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
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"the server ended with {server.returncode} before its page was ready")
    finally:
        server.kill()
        server.wait()


def peak_gb(code: str) -> float:
    """Peak resident memory, in GB, of a fresh Python process that runs some code; read from Linux's /proc."""
    measured = f"{code}\nprint(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    ran = subprocess.run([sys.executable, "-c", measured], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return int(ran.stdout.split()[-1]) * 1024 / 1e9  # getrusage would count what the parent held when it forked


def interleaved(tasks: dict[str, Callable[[], object]], repeats: int, warm: int = 3) -> dict[str, float]:
    """Median seconds of each task, run in turns so that a change of the machine's speed hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(-warm, repeats):
        for name, task in tasks.items():
            began = time.perf_counter()
            task()
            if turn >= 0:
                times[name].append(time.perf_counter() - began)
    for name, seconds in times.items():
        print(f"{name}: " + " ".join(f"{s:.4f}" for s in seconds))
    return {name: statistics.median(seconds) for name, seconds in times.items()}
