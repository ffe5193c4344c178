"""Entry point of the command line: `python -m lelsd_core COMMAND`, or `lelsd COMMAND` once installed."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path

from lelsd_core.cli.parser import build_parser
from lelsd_core.errors import UserError, print_anything


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: the command line without the program's name; None = this process's.

    Returns:
        0: done. 1: a problem that a person can fix, or some items of a batch failed. 130: interrupted. 141: the reader
        of a pipe closed it. Unknown options end in argparse with 2.
    """
    print_anything()
    program = "lelsd" if Path(sys.argv[0]).stem == "lelsd" else "python -m lelsd_core"
    options = build_parser(program).parse_args(arguments)
    try:
        result = run(options.command, options)
        if options.json:
            print(json.dumps(result))
        sys.stdout.flush()
    except UserError as error:
        print(f"lelsd_core: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lelsd_core: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return options.code


def run(command: str, options: object) -> object:
    """Import a command's module and run it; a lack of memory becomes a `UserError`."""
    module = import_module(f"lelsd_core.cli.{command}")
    try:
        return module.run(options)
    except (RuntimeError, MemoryError):
        from lelsd_core.device import report_out_of_memory  # brings torch, which not every command needs

        with report_out_of_memory():
            raise


if __name__ == "__main__":
    sys.exit(main())
