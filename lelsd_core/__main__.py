"""The command line: `python -m lelsd_core COMMAND`. Flags and words only; the commands are in `cli/`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib import import_module

COMMANDS = ("edit", "discover", "evaluate", "weights", "bench", "doctor")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; needs no torch, no Gradio and no OpenCV."""
    top = argparse.ArgumentParser(
        prog="python -m lelsd_core", description="Find and use directions that change one part of a GAN's picture."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"lelsd_core.cli.{name}")
        command = commands.add_parser(
            name,
            help=module.__doc__.splitlines()[0],
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="print one JSON object on the last line")
        command.set_defaults(run=module.run, code=0)
    return top


def run(options: argparse.Namespace) -> object:
    """What the command gives; a lack of memory is told like anything else that a person can fix."""
    try:
        return options.run(options)
    except (RuntimeError, MemoryError):
        from lelsd_core.device import report_out_of_memory

        with report_out_of_memory():
            raise


def main(arguments: list[str] | None = None) -> int:
    """Run one command. 0: done; 1: a person can fix it, or some of a batch failed; 2: unknown options (argparse)."""
    from lelsd_core.errors import UserError

    options = parser().parse_args(arguments)
    try:
        result = run(options)
        if options.json:
            print(json.dumps(result))
        sys.stdout.flush()
    except UserError as problem:
        print(f"lelsd_core: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lelsd_core: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads has heard enough, such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return options.code


if __name__ == "__main__":
    sys.exit(main())
