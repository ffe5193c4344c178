"""Discover, measure and name the first directions of blaze-256, and draw their contact sheets.

    PYTHONPATH=. python checkpoints/blaze-256/make/first_directions.py [PART ...] [--measure]

Made as digiface-64's are, with the functions of its script, and measured on 64 held-out samples.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lelsd_core.seeds import HELD_OUT

sys.path.append(str(Path(__file__).resolve().parents[2] / "digiface-64" / "make"))
from make_directions import make

PARTS = ("background", "brows", "clothes", "eyes", "hair", "mouth", "nose", "skin")
ENDS = dict.fromkeys(PARTS, ("less", "more"))  # part -> what the low and the high end do

if __name__ == "__main__":
    make("blaze-256", ENDS, {}, HELD_OUT[:64], __doc__)
