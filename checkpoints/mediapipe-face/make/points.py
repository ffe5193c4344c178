"""Five points of made-up faces by MediaPipe: what the tests hold the way to find faces against.

    pip install torch==2.13.0 safetensors mediapipe==0.10.14        (tools for making, not requirements)
    python checkpoints/mediapipe-face/make/points.py tests/data/points.json --photo tests/data/astronaut.png

Each picture is enlarged to 512 pixels and read plain and mirrored, at each turn; the mean is stored. A seed is skipped
where MediaPipe finds no face in one of them, or where two readings of an iris are more than `AGREE` of the eye distance
apart: where it contradicts itself, it is no truth to measure by.

Points are iris centres, nose tip and mouth corners, left before right
as seen in the picture, in pixels from the left and upper edge; a face's are those of its 64-pixel picture.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import mediapipe as mp
import numpy as np
import torch

from lelsd_core.images import read_photo, to_uint8
from lelsd_core.registry import load_generator

LANDMARKS = (468, 473, 4, 61, 291)
MIRRORED = [1, 0, 2, 4, 3]  # which point a point becomes in the mirror
SIZE = 512
AGREE = 0.05


class Reader:
    """MediaPipe's face mesh: picture (H, W, 3) uint8 -> five points (5, 2), or None.

    Args:
        turns: degrees that pictures are turned by before they are read.
    """

    def __init__(self, turns: Sequence[float]) -> None:
        self.turns = turns
        self.mesh = mp.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True)

    def plain(self, pixels: np.ndarray) -> np.ndarray | None:
        """One reading."""
        found = self.mesh.process(np.ascontiguousarray(pixels)).multi_face_landmarks
        if not found:
            return None
        marks = found[0].landmark
        return np.array([(marks[i].x, marks[i].y) for i in LANDMARKS]) * [pixels.shape[1], pixels.shape[0]]

    def readings(self, pixels: np.ndarray) -> Iterator[np.ndarray | None]:
        """The points in each view, brought back to the picture."""
        height, width = pixels.shape[:2]
        for turn in self.turns:
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1.0)
            view = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE) if turn else pixels
            plain, mirrored = self.plain(view), self.plain(view[:, ::-1])
            if mirrored is not None:
                mirrored = np.stack([width - mirrored[MIRRORED, 0], mirrored[MIRRORED, 1]], 1)
            for points in (plain, mirrored):
                yield None if points is None else (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T

    def __call__(self, pixels: np.ndarray) -> np.ndarray | None:
        """The mean of all readings, if they agree about the eyes."""
        found = list(self.readings(pixels))
        if any(points is None for points in found):
            return None
        middle = np.mean(found, 0)
        eyes = np.stack(found)[:, :2]
        apart = np.linalg.norm(eyes[:, None] - eyes[None], axis=-1).max()
        return middle if apart <= AGREE * np.hypot(*(middle[1] - middle[0])) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--first-seed", type=int, default=600000)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--turns", type=float, nargs="+", default=[-10.0, 0.0, 10.0], help="degrees [-10 0 10]")
    parser.add_argument("--photo", help="a photo whose points are stored as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator, read = load_generator("digiface-64"), Reader(options.turns)
    result = {"photo": read(np.asarray(read_photo(options.photo))).round(2).tolist()} if options.photo else {}
    faces: dict[str, list] = {}
    seed = options.first_seed
    while len(faces) < options.count:
        with torch.inference_mode():
            picture = to_uint8(generator.synthesize(generator.sample([seed]), "Z").image)[0]
        points = read(cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC))
        if points is not None:
            faces[str(seed)] = (points * 64 / SIZE).round(3).tolist()
        seed += 1
    rows = ",\n".join(f'    "{seed}": {points}' for seed, points in faces.items())
    head = "".join(f'  "{name}": {json.dumps(value)},\n' for name, value in result.items())
    Path(options.out).write_text(f'{{\n{head}  "faces": {{\n{rows}\n  }}\n}}\n', encoding="utf-8")
    print(f"{len(faces)} faces among {seed - options.first_seed} seeds")


if __name__ == "__main__":
    main()
