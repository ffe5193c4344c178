"""Label samples of digiface-64 with MediaPipe: the data that its segmenter and its frame are made from.

    pip install torch==2.13.0 safetensors mediapipe==0.10.14        (tools for making, not requirements)
    python checkpoints/digiface-64/make/labels.py train_a.npz --first-seed 100000 --count 4000 --spread 0.15
    python checkpoints/digiface-64/make/labels.py train_b.npz --first-seed 104000 --count 4500 --spread 0.15
    python checkpoints/digiface-64/make/labels.py train_c.npz --first-seed 110000 --count 2200
    python checkpoints/digiface-64/make/labels.py train_d.npz --first-seed 112200 --count 2200
    python checkpoints/digiface-64/make/labels.py heldout.npz --first-seed 500000 --count 512 --agree

Each picture is enlarged to 256 pixels. Eyes, brows, lips, nose and the oval of the face come from the 478 landmarks,
the person from the selfie segmentation; hair = the rest of the person above the mouth, and below it or on the forehead
where the colour is the hair's; clothes (with the neck) = what is left. `--spread` s moves every gain and bias by
N(0, σ²), σ uniform in [0, s], so that the segmenter also learns edited pictures. Samples without a face are left out.
`--agree` labels the mirrored picture as well and stores which share of the pixels got the same label: where MediaPipe
contradicts itself, it is no truth to measure by.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import cv2
import mediapipe as mp
import numpy as np
import torch

from lelsd_core.registry import load_generator

PARTS = ("background", "hair", "skin", "brows", "eyes", "nose", "mouth", "clothes")
SIZE = 256
SEPARATION = 1.5  # standard deviations between the mean colours of hair and skin, at least
LEAST_OVAL = 0.15  # of the picture: a smaller "face" is a broken sample
MESH = mp.solutions.face_mesh
# Outline of the nose between the inner eye corners, the wings and the base; MediaPipe has no such contour.
NOSE = (168, 122, 196, 236, 198, 209, 49, 48, 64, 98, 97, 2, 326, 327, 294, 278, 279, 429, 420, 456, 419, 351)
POINTS = {"left iris": (468,), "right iris": (473,), "nose tip": (4,), "left mouth": (61,), "right mouth": (291,)}


def outline(connections: frozenset[tuple[int, int]]) -> list[int]:
    """The landmarks of a contour, whatever their order; drawn as a convex hull or a ring."""
    return sorted({index for pair in connections for index in pair})


REGIONS = {  # later ones are drawn over earlier ones
    "nose": [NOSE],
    "brows": [outline(MESH.FACEMESH_LEFT_EYEBROW), outline(MESH.FACEMESH_RIGHT_EYEBROW)],
    "eyes": [outline(MESH.FACEMESH_LEFT_EYE), outline(MESH.FACEMESH_RIGHT_EYE)],
    "mouth": [outline(MESH.FACEMESH_LIPS)],
}
OVAL = outline(MESH.FACEMESH_FACE_OVAL)


def pictures(first_seed: int, count: int, spread: float, generator) -> np.ndarray:
    """(count, 64, 64, 3) uint8, one seed each."""
    out = []
    for start in range(first_seed, first_seed + count, 50):
        seeds = range(start, min(start + 50, first_seed + count))
        codes = generator.lift(generator.sample(seeds), "Z", "S")
        movable = generator.spaces[-1].column_mask()
        for row, seed in enumerate(seeds):
            random = torch.Generator().manual_seed(seed)
            sigma = spread * torch.rand(1, generator=random)
            codes[row] += sigma * torch.randn(codes.shape[1], generator=random) * movable
        with torch.inference_mode():
            image = generator.synthesize(codes, "S").image
        out.append(((image.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(out)


def label(large: np.ndarray, points: np.ndarray, person: np.ndarray) -> np.ndarray:
    """256-pixel picture, its landmarks (478, 2) in pixels and person mask -> (64, 64) part numbers."""

    def fill(indices: Sequence[int]) -> np.ndarray:
        hull = cv2.convexHull(points[list(indices)].round().astype(np.int32))
        return cv2.fillPoly(np.zeros((SIZE, SIZE), np.uint8), [hull], 1)

    rows = np.arange(SIZE)[:, None]
    brow_row, eye_row, mouth_row = points[[105, 334], 1].mean(), points[[33, 263], 1].mean(), points[13, 1]
    oval = fill(OVAL).astype(bool)
    around = person & ~oval
    looks_like_hair = nearer_to(
        cv2.cvtColor(cv2.GaussianBlur(large, (9, 9), 0), cv2.COLOR_RGB2LAB).astype(np.float32),
        around & (rows < brow_row),
        oval & (rows > eye_row) & (rows < mouth_row),
    )
    parts = np.zeros((SIZE, SIZE), np.uint8)
    parts[oval] = PARTS.index("skin")
    parts[around] = PARTS.index("clothes")
    parts[reaching_up(around & ((rows <= mouth_row) | looks_like_hair), eye_row)] = PARTS.index("hair")
    parts[oval & (rows < brow_row) & looks_like_hair] = PARTS.index("hair")  # a fringe
    for name, contours in REGIONS.items():
        for contour in contours:
            drawn = cv2.dilate(fill(contour), np.ones((5, 5))) if name == "eyes" else fill(contour)
            parts[drawn.astype(bool)] = PARTS.index(name)
    cells = parts.reshape(64, 4, 64, 4).transpose(0, 2, 1, 3).reshape(64, 64, 16)
    votes = np.stack([(cells == i).sum(-1) for i in range(len(PARTS))])  # (P, 64, 64)
    return votes.argmax(0).astype(np.uint8)


def nearer_to(lab: np.ndarray, hair: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Where the colour (H, W, 3) fits a Gaussian over the `hair` pixels better than one over the `skin` pixels.

    Nowhere, if the two are too alike to be told apart: a bald head, or hair the colour of the face.
    """
    if hair.sum() < 200 or skin.sum() < 200:
        return np.zeros(hair.shape, bool)
    spread = np.sqrt((lab[hair].var(0) + lab[skin].var(0)) / 2 + 25)
    if (np.abs(lab[hair].mean(0) - lab[skin].mean(0)) / spread).max() < SEPARATION:
        return np.zeros(hair.shape, bool)

    def distance(region: np.ndarray) -> np.ndarray:
        pixels = lab[region]
        covariance = np.cov(pixels.T) + 25 * np.eye(3)  # at least 5 grey levels wide
        off = lab - pixels.mean(0)
        return np.einsum("hwi,ij,hwj->hw", off, np.linalg.inv(covariance), off) + np.log(np.linalg.det(covariance))

    return cv2.medianBlur((distance(hair) < distance(skin)).astype(np.uint8), 15).astype(bool)


def reaching_up(region: np.ndarray, row: float) -> np.ndarray:
    """The connected pieces of a region (H, W) that reach above a row: long hair does, dark shoulders do not."""
    _, pieces = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    above = np.unique(pieces[: int(max(row, 1))])
    return region & np.isin(pieces, above[above > 0])


class Labeller:
    """MediaPipe's face mesh and selfie segmentation on 64-pixel pictures."""

    def __init__(self) -> None:
        self.mesh = MESH.FaceMesh(static_image_mode=True, refine_landmarks=True, min_detection_confidence=0.5)
        self.selfie = mp.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)

    def agreement(self, picture: np.ndarray, parts: np.ndarray) -> float:
        """Share of the pixels that get the same label in the mirrored picture; 0 if no face is found there."""
        mirrored = self(np.ascontiguousarray(picture[:, ::-1]))
        return 0.0 if mirrored is None else float((mirrored[0][:, ::-1] == parts).mean())

    def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """(64, 64, 3) uint8 -> part numbers (64, 64) and the landmarks (478, 2) in 64-pixel units, or None."""
        large = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        found = self.mesh.process(large).multi_face_landmarks
        if not found:
            return None
        points = np.array([(p.x * SIZE, p.y * SIZE) for p in found[0].landmark], np.float32)
        oval = cv2.contourArea(cv2.convexHull(points[OVAL]))
        if oval < LEAST_OVAL * SIZE * SIZE:
            return None
        mirrored = np.ascontiguousarray(large[:, ::-1])
        masks = self.selfie.process(large).segmentation_mask + self.selfie.process(mirrored).segmentation_mask[:, ::-1]
        person = cv2.GaussianBlur(masks, (13, 13), 0) > 1.1
        return label(large, points, person), points / 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--first-seed", type=int, default=100_000)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--spread", type=float, default=0.0)
    parser.add_argument("--agree", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = pictures(options.first_seed, options.count, options.spread, load_generator("digiface-64"))
    labeller = Labeller()
    results = [labeller(image) for image in images]
    found = np.array([result is not None for result in results])
    points = np.stack([[r[1][i[0]] for i in POINTS.values()] for r in results if r is not None])
    labels = np.stack([r[0] for r in results if r is not None])
    agree = [labeller.agreement(*pair) for pair in zip(images[found], labels, strict=True)] if options.agree else []
    np.savez_compressed(
        options.out,
        images=images[found],
        labels=labels,
        agree=np.array(agree),
        points=points,
        seeds=np.arange(options.first_seed, options.first_seed + options.count)[found],
    )
    print(f"{found.sum()} of {len(found)} labelled; mean points {points.mean(0).round(1).tolist()}")


if __name__ == "__main__":
    main()
