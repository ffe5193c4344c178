"""Flags that say how a photo is brought to codes: which face, how it is aligned, how close its inversion comes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lelsd_core.editor import Fit

NUDGES = {"right": (-0.5, 0.5), "down": (-0.5, 0.5), "scale": (0.5, 2.0), "turn": (-180.0, 180.0)}


def add_fit(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    parser.add_argument("--face", type=int, default=1, metavar="N", help="which face, 1 is the largest [1]")
    parser.add_argument(
        "--aligned",
        action=argparse.BooleanOptionalAction,
        help="take the photo's middle as it is, or do look for a face [sees for itself]",
    )
    parser.add_argument(
        "--nudge",
        action="append",
        default=[],
        metavar="NAME=AMOUNT",
        help="move the alignment: right, down (shares of the frame), scale (factor), turn (degrees); may be repeated",
    )
    parser.add_argument("--closeness", help="easier (to edit), balanced or closer (to the photo) [balanced]")
    parser.add_argument("--steps", type=int, help="refinement steps of the inversion [as the closeness has]")
    parser.add_argument("--tune", action="store_true", help="also tune the generator to the person (StyleGAN2)")


def read_fit(options: argparse.Namespace) -> Fit:
    """Options -> fit. UserError for what makes no sense."""
    from lelsd_core.editor import Fit
    from lelsd_core.editor.recipe import read_setting
    from lelsd_core.errors import UserError, unknown_name
    from lelsd_core.faces import Nudge
    from lelsd_core.inversion import BALANCED, CLOSENESS, closeness_of

    given = options.closeness or BALANCED
    closeness = next((name for name in CLOSENESS if name.split()[0] == given), given)  # "closer" will do
    closeness_of(closeness)
    if options.face < 1:
        raise UserError(f"--face is {options.face}; faces are counted from 1, the largest first.")
    if options.steps is not None and options.steps < 0:
        raise UserError(f"--steps is {options.steps}; it must be at least 0.")
    nudges = dict(read_setting(text, "--nudge", "turn=5") for text in options.nudge)
    for name, amount in nudges.items():
        if name not in NUDGES:
            raise UserError(unknown_name("nudge", name, NUDGES))
        least, most = NUDGES[name]
        if not least <= amount <= most:
            raise UserError(f"--nudge {name}={amount:g} is out of range; {name} can be {least:g} to {most:g}.")
    return Fit(options.face - 1, options.aligned, Nudge(**nudges), closeness, options.steps, options.tune)
