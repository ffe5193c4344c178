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
from typing import Any

from lelsd_core.commands.options import add_device

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
    from lelsd_core.bench import timing
    from lelsd_core.errors import UserError, unknown_name
    from lelsd_core.specs import generator_spec

    if options.what not in WHAT:
        raise UserError(unknown_name("bench", options.what, WHAT))
    if options.repeats < 0:
        raise UserError(f"--repeats is {options.repeats}; it must be at least 1, or 0 for as many as it takes.")
    generator_spec(options.generator)
    if options.what == "start":
        return timing.start(options.repeats or 5)
    if options.what == "generator":
        from lelsd_core.bench import generators

        return generators.generator(options.repeats or 5)
    if options.what == "align":
        from lelsd_core.bench import photos

        return photos.align(options.generator, options.repeats or 15)
    if options.what == "discover" and options.memory:
        from lelsd_core.bench import generators

        return generators.discovery_memory()
    if options.what == "invert":
        from lelsd_core.bench import inversion

        return inversion.invert(options.generator, options.repeats or 5)
    from lelsd_core.device import choose_device

    device = choose_device(options.device)
    if options.what == "edit":
        return timing.edit(options.generator, options.repeats or 101, device)
    times = timing.discovery(options.generator, options.repeats or 21, options.four_times, device)
    if options.official:
        from lelsd_core.bench import official

        times |= official.official(options.generator, device)
    return times
