"""Metrics of an inversion: L1 and L2 error, LPIPS, and identity (similarity of face embeddings).

    face, picture (1, 3, R, R)  --MetricNetworks.measure-->  `InversionMetrics`

Nothing is downloaded: a metric whose network is missing is None, with a sentence that says how to get it. Sources:
Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (LPIPS, 2018); Zhong et al.,
"SFace" (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.evaluation.perceptual import PerceptualTarget, load_lpips
from lelsd_core.images import to_uint8

FACE_SIDE = 112  # width in pixels of SFace's input
FACE_POINTS = ((38.3, 51.7), (73.5, 51.5), (56.1, 92.3))  # left eye, right eye and mouth in SFace's input
FETCH = "python -m lelsd_core weights fetch"
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class InversionMetrics:
    """Distance between a picture and the face that it should show."""

    l1: float  # mean absolute error of pixels in [-1, 1]
    l2: float  # mean squared error of pixels in [-1, 1]
    lpips: float | None  # perceptual distance, 0 = equal; None without its backbone
    identity: float | None  # cosine of the face embeddings, in [-1, 1], 1 = the same person; None without SFace
    missing: tuple[str, ...] = ()  # for each None, a sentence that says what is missing and how to get it


@dataclass(frozen=True)
class MetricNetworks:
    """The networks of the metrics, as far as they were found on this machine.

    The points are (x, y) in pixels of left eye, right eye, nose and mouth (or both its corners) in all pictures.
    """

    backbone: Path | None = None  # weights of LPIPS's VGG16 or AlexNet, .safetensors or .pth, with torchvision's names
    sface: Path | None = None  # OpenCV's face_recognition_sface ONNX file
    points: Points | None = None  # None for pictures that do not show faces

    @torch.no_grad()
    def measure(self, before: Tensor, after: Tensor) -> InversionMetrics:
        """Compare a picture with the face that it should show, both (1, 3, R, R) in [-1, 1].

        Raises:
            ValueError: pictures of different sizes.
            UserError: a file that is not the expected network.
        """
        if before.shape != after.shape:
            raise ValueError(f"pictures differ in size: {tuple(before.shape)} and {tuple(after.shape)}")
        lpips, identity, missing = None, None, []
        if self.backbone:
            lpips = float(PerceptualTarget(load_lpips(self.backbone), before.cpu()).distance(after.cpu()))
        else:
            missing.append(f"LPIPS needs its backbone: {FETCH} lpips-vgg")
        if self.sface and self.points:
            identity = identity_similarity(before, after, self.sface, self.points)
        elif self.sface:
            missing.append("Identity needs to know where eyes and mouth are; these pictures are not of faces.")
        else:
            missing.append(f"Identity needs SFace: {FETCH} sface")
        error = after - before
        l1, l2 = float(error.abs().mean()), float(error.square().mean())
        return InversionMetrics(l1, l2, lpips, identity, tuple(missing))


def identity_similarity(before: Tensor, after: Tensor, sface: Path, points: Points) -> float:
    """Cosine of the embeddings of two faces (1, 3, R, R) in [-1, 1]; points as for `MetricNetworks`."""
    network = load_sface(sface)
    left, right, _, *mouth = points
    centred = np.float32([left, right, np.mean(mouth, axis=0)]) - 0.5  # from pixel edges to pixel centres, as in OpenCV
    matrix, _ = cv2.estimateAffinePartial2D(centred, np.float32(FACE_POINTS))
    embeddings = []
    for picture in to_uint8(torch.cat([before, after])):
        crop = cv2.warpAffine(picture[..., ::-1].copy(), matrix, (FACE_SIDE, FACE_SIDE), borderMode=cv2.BORDER_REFLECT)
        embeddings.append(network.feature(crop).copy())
    return float(network.match(*embeddings, cv2.FaceRecognizerSF_FR_COSINE))


@lru_cache(maxsize=1)
def load_sface(sface: Path) -> cv2.FaceRecognizerSF:
    """OpenCV's face recognition network. UserError for any other file."""
    try:
        network = cv2.FaceRecognizerSF.create(str(sface), "")
        network.feature(np.zeros((FACE_SIDE, FACE_SIDE, 3), np.uint8))
    except cv2.error:
        message = f"{sface.name} is not SFace's ONNX file, or is damaged; fetch it again: {FETCH} sface"
        raise UserError(message) from None
    return network
