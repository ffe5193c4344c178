"""Time from a photo's pixels to an aligned face; every time is printed.

tests/data/astronaut.png --enlarged, mirrored at its sides--> 4000 × 3000 pixels --> AlignedFace
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from lelsd_core.images import read_photo
from lelsd_core.registry import load_editor

PHOTO = Path(__file__).parents[1] / "data" / "astronaut.png"
WIDTH, HEIGHT = 4000, 3000


def align(name: str, repeats: int) -> dict[str, Any]:
    """Seconds to find and align the face of a photo of 12 megapixels; decoding is not counted."""
    aligner = load_editor(name).aligner
    square = cv2.resize(np.asarray(read_photo(PHOTO)), (HEIGHT, HEIGHT), interpolation=cv2.INTER_CUBIC)
    side = (WIDTH - HEIGHT) // 2
    photo = Image.fromarray(cv2.copyMakeBorder(square, 0, 0, side, side, cv2.BORDER_REFLECT))
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        aligner.cut(photo, aligner.find(photo)[0])
        seconds.append(time.perf_counter() - began)
    print(f"align_s, first: {seconds[0]:.4f}, then: " + " ".join(f"{s:.4f}" for s in seconds[1:]))
    return {"align_s": statistics.median(seconds[1:])}


if __name__ == "__main__":
    align("digiface-64", 15)
