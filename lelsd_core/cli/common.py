"""Flags that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


GENERATOR = "digiface-64"


def add_networks(parser: argparse.ArgumentParser, default: str | None = GENERATOR, usual: str = GENERATOR) -> None:
    """--generator and --segmenter: names or files; `usual` tells the default where only the command knows it."""
    parser.add_argument("--generator", default=default, help=f"registry name, file or folder [{usual}]")
    parser.add_argument("--segmenter", help="name, or a file of any kind [the generator's own]")


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device: where the networks run; read by `device.choose_device`, before slow work."""
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps [LELSD_DEVICE, or auto]")


def progress_bar(total: int, label: str = "", unit: str = "it") -> tqdm:
    """A bar on stderr, for a `with`; quiet where stderr is no terminal."""
    from tqdm import tqdm

    return tqdm(total=total, desc=label or None, unit=unit, disable=None)
