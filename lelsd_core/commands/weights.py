"""Handle weights files: list, fetch and check published ones, convert any generator file, publish directions.

python -m lelsd_core weights list
python -m lelsd_core weights fetch ffhq-1024            its encoder and its segmenter, too; --only: the generator alone
python -m lelsd_core weights verify                     hash everything that is here
python -m lelsd_core weights convert stylegan2-ffhq-config-f.pt ffhq-1024.safetensors
python -m lelsd_core weights push-directions me/my-directions --dry-run

Downloads go to the cache that all tools using huggingface_hub share (HF_HOME moves it), and go on where they ended.
Files got by hand are found by name in the folder that the environment variable LELSD_WEIGHTS names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lelsd_core.commands.published import fetch_weights, list_weights, verify
from lelsd_core.commands.push import push_directions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("action", help=f"what to do: {', '.join(ACTIONS)}")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="fetch, verify: which; convert: IN OUT.safetensors; push-directions: OWNER/NAME on the Hub",
    )
    parser.add_argument("--only", action="store_true", help="fetch: the named files alone, not what belongs to them")
    parser.add_argument("--generator", default="digiface-64", help="push-directions: whose directions [%(default)s]")
    parser.add_argument("--directions", help="push-directions: folder with them [the generator's own]")
    parser.add_argument("--dry-run", action="store_true", help="push-directions: show what would be sent, send nothing")
    parser.set_defaults(usage_error=parser.error)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Do it."""
    from lelsd_core.errors import UserError, unknown_name

    if options.action not in ACTIONS:
        raise UserError(unknown_name("action of weights", options.action, ACTIONS))
    return ACTIONS[options.action](options)


def convert(options: argparse.Namespace) -> dict[str, Any]:
    """IN OUT.safetensors: read a generator in any format, write it as this project's safetensors."""
    from lelsd_core.errors import UserError, check_file

    if len(options.names) != 2:
        options.usage_error("convert takes two names: IN OUT.safetensors")
    given, target = (Path(name) for name in options.names)
    check_file(target, ".safetensors")
    if not given.exists():
        raise UserError(f"There is no file or folder {given} to convert.")
    from lelsd_core.formats.generators import convert as convert_file
    from lelsd_core.formats.generators import weights_file
    from lelsd_core.hub.cache import sha256_of

    source = weights_file(given)
    if target.exists() and target.samefile(source):
        raise UserError(f"{target.name} would overwrite itself; choose another name.")
    facts = convert_file(source, target, sha256_of(source))
    print(f"{target}: {facts['architecture']}, {facts['resolution']} pixels, from {facts['source']}.")
    return {"out": str(target), "sha256": sha256_of(target), **facts}


ACTIONS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "list": list_weights,
    "fetch": fetch_weights,
    "verify": verify,
    "convert": convert,
    "push-directions": push_directions,
}
