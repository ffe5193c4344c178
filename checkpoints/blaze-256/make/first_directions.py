"""Discover, measure and name the first directions of blaze-256, and draw their contact sheets.

    PYTHONPATH=. python checkpoints/blaze-256/make/first_directions.py [PART ...] [--measure]

Made as digiface-64's are, with the functions of its script, and measured on 64 held-out samples. The bounds of the
picture's change allow small parts more than the eye, so their ranges were chosen on the contact sheets.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lelsd_core.seeds import HELD_OUT

sys.path.append(str(Path(__file__).resolve().parents[2] / "digiface-64" / "make"))
from make_directions import make

ENDS = {  # part -> what the low and the high end do
    "background": ("darker", "brighter"),
    "brows": ("thicker", "thinner"),
    "clothes": ("darker", "bluer"),
    "eyes": ("darker", "wider"),
    "hair": ("darker", "lighter"),
    "mouth": ("redder", "paler"),
    "nose": ("darker", "brighter"),
    "skin": ("darker", "brighter"),
}
LIMITS = {"brows": (-15.0, 20.0), "eyes": (-12.5, 12.5), "mouth": (-15.0, 15.0), "nose": (-10.0, 20.0)}

if __name__ == "__main__":
    make("blaze-256", ENDS, {}, HELD_OUT[:64], __doc__, LIMITS)
