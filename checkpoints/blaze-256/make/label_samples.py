"""Label samples of blaze-256: the data that its segmenter is made from.

    pip install torch==2.13.0 safetensors mediapipe==0.10.14        (tools for making, not requirements)
    python checkpoints/blaze-256/make/label_samples.py train.npz heldout.npz     (of samples.py; learns from the first)

Two sources. MediaPipe's face mesh gives brows, eyes, nose, mouth and the oval of the face, and its selfie segmentation
the person. The generator's own features tell hair, skin, ears, neck, clothes and background apart: a small classifier
reads them, learnt on the pixels that rules of place and colour are sure of (`sure_parts`), in all pictures of the first
file; what the rules get wrong in one picture, the others outvote. A guided filter moves its borders to the picture's
edges. Writes `*_labels.npz` beside each file: pictures and labels at 128 pixels, without the samples that have no face.

Sources: Zhang et al., "DatasetGAN", CVPR 2021 (labels from features); He et al., "Guided Image Filtering", ECCV 2010.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import mediapipe as mp
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[2] / "digiface-64" / "make"))
from labels import MESH, OVAL, REGIONS

PARTS = ("background", "hair", "skin", "brows", "eyes", "nose", "mouth", "ears", "neck", "clothes")
LEARNT = ("background", "hair", "skin", "ears", "neck", "clothes")  # from features; the others from the mesh
UNSURE = len(LEARNT)
SIDE, COARSE, FINE = 256, 64, 128  # of pictures, features and labels
LEAST_OVAL = 0.1  # of the picture: a smaller "face" is a broken sample
NO_PERSON = 0.1
LEAST_HAIR = 0.005  # of the picture: a smaller piece is something else
FAR, NEAR = 3.5, 2.5  # standard deviations from a mean colour
STEPS, LEARNT_PIXELS = 3000, 4096
RADIUS, EDGE = 6, 2e-3  # of the guided filter: half its window, the variance of an edge


class Reading(NamedTuple):
    """What MediaPipe sees in a picture."""

    points: np.ndarray  # (478, 2), in pixels
    person: np.ndarray  # (256, 256) in [0, 1]

    def fill(self, indices: Sequence[int]) -> np.ndarray:
        """The convex hull of some landmarks, (256, 256) bool."""
        hull = cv2.convexHull(self.points[list(indices)].round().astype(np.int32))
        return cv2.fillPoly(np.zeros((SIDE, SIDE), np.uint8), [hull], 1).astype(bool)


class Reader:
    """MediaPipe's face mesh and selfie segmentation."""

    def __init__(self) -> None:
        self.mesh = MESH.FaceMesh(static_image_mode=True, refine_landmarks=True, min_detection_confidence=0.5)
        self.selfie = mp.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)

    def __call__(self, picture: np.ndarray) -> Reading | None:
        """Reads (256, 256, 3) uint8; None if there is no face."""
        found = self.mesh.process(picture).multi_face_landmarks
        if not found:
            return None
        points = np.array([(p.x * SIDE, p.y * SIDE) for p in found[0].landmark], np.float32)
        mirrored = self.selfie.process(np.ascontiguousarray(picture[:, ::-1])).segmentation_mask[:, ::-1]
        reading = Reading(points, (self.selfie.process(picture).segmentation_mask + mirrored) / 2)
        return reading if reading.fill(OVAL).mean() >= LEAST_OVAL else None


def sure_parts(picture: np.ndarray, reading: Reading) -> np.ndarray:
    """(256, 256) numbers in `LEARNT`, or `UNSURE` where place and colour leave a doubt."""
    points, person = reading
    x, y = np.arange(SIDE)[None, :], np.arange(SIDE)[:, None]
    oval = reading.fill(OVAL)
    left, right = points[OVAL, 0].min(), points[OVAL, 0].max()
    width, chin, middle = right - left, points[152, 1], (left + right) / 2
    brow, eye, base, mouth = points[[105, 334], 1].mean(), points[[33, 263], 1].mean(), points[2, 1], points[13, 1]
    features = cv2.dilate(sum(reading.fill(c) for cs in REGIONS.values() for c in cs).astype(np.uint8), np.ones((9, 9)))
    lab = cv2.cvtColor(cv2.GaussianBlur(picture, (9, 9), 0), cv2.COLOR_RGB2LAB).astype(np.float32)
    inside = cv2.erode(oval.astype(np.uint8), np.ones((9, 9))).astype(bool)
    beside = ~cv2.dilate(oval.astype(np.uint8), np.ones((7, 7))).astype(bool)
    to_skin = distance(lab, inside & (y > brow) & (y < mouth) & (features == 0))
    to_hair = distance(lab, beside & (person > 0.9) & (y < brow) & (to_skin > FAR))
    skin = (to_skin < FAR) & (to_skin < to_hair)
    hair = (to_hair < FAR) & (to_skin > NEAR) & (to_hair < to_skin)
    outside = np.maximum(left - x, x - right) / width  # the oval's columns, in its width
    central = np.abs(x - middle) / width
    band = beside & (y > mouth) & (y < chin) & (outside < 0.25)
    short = np.concatenate(  # where nothing hangs beside the jaw, what is below is no hair; (1, 256)
        [np.full(len(half), person[:, half][band[:, half]].mean() < 0.2) for half in np.split(x[0], [int(middle)])]
    )[None]
    parts = np.full((SIDE, SIDE), UNSURE, np.uint8)
    rules = {
        "background": (person < 0.04) & beside,
        "hair": hair & ((y < brow) | beside & (person > 0.7) & ((y < eye) | (outside > -0.1) & (y < chin))),
        "skin": inside & (y > brow) & (y < mouth) | skin & (inside | (y < brow) & (to_skin < NEAR) & (central < 0.4)),
        "neck": (to_skin < FAR) & beside & (y > chin) & (central < 0.3) & (y < chin + 0.4 * width),
        "ears": skin & (to_skin < NEAR) & beside & (person > 0.3) & (y > eye) & (y < base) & (np.abs(outside) < 0.2),
        "clothes": (person > 0.8) & (to_skin > FAR) & (short | (to_hair > NEAR)) & (y > chin + 0.15 * width) & beside,
    }
    for name, rule in rules.items():
        parts[rule] = LEARNT.index(name)
    return parts


def distance(lab: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Mahalanobis distance (H, W) of colours (H, W, 3) from those of a region; infinite if it is too small."""
    if region.sum() < 200:
        return np.full(region.shape, np.inf, np.float32)
    pixels = lab[region]
    off = lab - np.median(pixels, 0)
    covariance = np.cov(pixels.T) + 16 * np.eye(3)  # at least 4 grey levels wide
    return np.sqrt(np.einsum("hwi,ij,hwj->hw", off, np.linalg.inv(covariance), off))


def inputs_of(features: np.ndarray, reading: Reading) -> np.ndarray:
    """What the classifier reads of a picture: features (64, 64, K) int8, the person, the place in the face's frame."""
    left, right = reading.points[OVAL, 0].min(), reading.points[OVAL, 0].max()
    grid = (np.arange(COARSE) + 0.5) * SIDE / COARSE
    x = (grid - (left + right) / 2) / (right - left)
    y = (grid - reading.points[4, 1]) / (right - left)
    person = cv2.resize(reading.person, (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    maps = np.stack([np.broadcast_to(x, person.shape), np.broadcast_to(y[:, None], person.shape), person], 2)
    return np.concatenate([features / 64.0, maps], 2).astype(np.float32)


def learnt(inputs: Tensor, sure: Tensor) -> nn.Module:
    """Classifier of pixels (N, C) with sure parts (N,): one hidden layer; rare parts weigh as much as common ones."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(inputs.shape[1], 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, len(LEARNT)))
    weight = 1 / torch.bincount(sure, minlength=len(LEARNT)).float().sqrt()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(sure), (LEARNT_PIXELS,))
        loss = F.cross_entropy(network(inputs[rows]), sure[rows], weight, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def label(picture: np.ndarray, reading: Reading, probabilities: np.ndarray) -> np.ndarray:
    """Picture (256, 256, 3), its reading and probabilities (64, 64, 6) -> part numbers (128, 128)."""
    guide = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    large = guided(guide, cv2.resize(probabilities, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))
    rows = np.arange(SIDE)[:, None]
    oval = cv2.erode(reading.fill(OVAL).astype(np.uint8), np.ones((9, 9))).astype(bool)
    large[..., LEARNT.index("skin")] += oval & (rows > reading.points[[105, 334], 1].mean())
    large[..., LEARNT.index("background")] += reading.person < NO_PERSON
    parts = np.array([PARTS.index(name) for name in LEARNT], np.uint8)[large.argmax(2)]
    astray = (parts == PARTS.index("hair")) & ~reaching_up(
        parts == PARTS.index("hair"), reading.points[[33, 263], 1].mean()
    )
    person = astray & (reading.person > 0.5) & (rows > reading.points[13, 1])
    parts[astray], parts[person] = PARTS.index("background"), PARTS.index("clothes")
    for name, contours in REGIONS.items():
        for contour in contours:
            drawn = reading.fill(contour)
            if name == "eyes":
                drawn = cv2.dilate(drawn.astype(np.uint8), np.ones((3, 3))).astype(bool)
            visible = (parts != PARTS.index("hair")) | (name != "brows")
            parts[drawn & visible] = PARTS.index(name)
    masks = [(parts == i).astype(np.float32) for i in range(len(PARTS))]
    votes = [cv2.resize(mask, (FINE, FINE), interpolation=cv2.INTER_AREA) for mask in masks]
    return np.stack(votes).argmax(0).astype(np.uint8)


def reaching_up(region: np.ndarray, row: float) -> np.ndarray:
    """The pieces of a region (H, W) that reach above a row and are large there: hair does, shoulders do not.

    Thin bridges do not count.
    """
    opened = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_OPEN, np.ones((7, 7)))
    _, pieces, facts, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    above = [
        i for i in np.unique(pieces[: int(max(row, 1))]) if i and facts[i, cv2.CC_STAT_AREA] > LEAST_HAIR * SIDE**2
    ]
    return region & cv2.dilate(np.isin(pieces, above).astype(np.uint8), np.ones((9, 9))).astype(bool)


def guided(guide: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Maps (H, W, P) smoothed along the edges of a grey picture (H, W)."""

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (2 * RADIUS + 1, 2 * RADIUS + 1))

    centre, guide = mean(guide), guide[..., None]
    spread = mean(guide[..., 0] ** 2) - centre**2
    slope = (mean(guide * maps) - centre[..., None] * mean(maps)) / (spread + EDGE)[..., None]
    return mean(slope) * guide + mean(mean(maps) - slope * centre[..., None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", nargs="+", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    reader, network = Reader(), None
    for path in options.samples:
        file = np.load(path)
        pictures, features = file["images"], file["features"]
        readings = [reader(picture) for picture in tqdm(pictures, mininterval=10)]
        found = [i for i, reading in enumerate(readings) if reading is not None]
        inputs = torch.from_numpy(np.stack([inputs_of(features[i], readings[i]) for i in found]))
        if network is None:
            offset = SIDE // COARSE // 2
            sure = np.stack([sure_parts(pictures[i], readings[i])[offset::4, offset::4] for i in found])
            known = torch.from_numpy(sure != UNSURE)
            network = learnt(inputs[known], torch.from_numpy(sure)[known].long())
        with torch.inference_mode():
            probabilities = [network(x).softmax(2).numpy() for x in inputs]
        labels = [label(pictures[i], readings[i], p) for i, p in zip(found, probabilities, strict=True)]
        small = np.stack([cv2.resize(pictures[i], (FINE, FINE), interpolation=cv2.INTER_AREA) for i in found])
        np.savez_compressed(
            path.with_name(f"{path.stem}_labels.npz"),
            images=small,
            labels=np.stack(labels),
            seeds=file["seeds"][found],
        )
        print(f"{len(found)} of {len(pictures)} labelled")


if __name__ == "__main__":
    main()
