"""Flags that several commands share."""

from __future__ import annotations

import argparse


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device: where the networks run; read by `device.choose_device`, before slow work."""
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps [LELSD_DEVICE, or auto]")
