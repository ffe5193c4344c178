"""Metrics of an inversion: L1 and L2 error, LPIPS, and identity (likeness of two faces to a network for that).

    face, picture (1, 3, R, R)  --MetricNetworks.measure-->  `InversionMetrics`

Both networks ship, so that nothing is downloaded. See perceptual.py and identity.py for what they measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lelsd_core.evaluation.identity import DlibRecogniser, Points, Recogniser, SFaceRecogniser, load_recogniser
from lelsd_core.evaluation.perceptual import PerceptualTarget, load_lpips
from lelsd_core.weights.cache import local

if TYPE_CHECKING:
    from lpips import LPIPS

NO_FACES = "Identity needs to know where eyes and mouth are; these pictures are not of faces."


@dataclass(frozen=True)
class InversionMetrics:
    """Distance between a picture and the face that it should show."""

    l1: float  # mean absolute error of pixels in [-1, 1]
    l2: float  # mean squared error of pixels in [-1, 1]
    lpips: float  # perceptual distance, 0 = equal
    identity: float | None  # likeness of the faces, 1 = equal; None for pictures that do not show faces
    identity_network: str | None = None  # whose likeness that is: "face-identity" or "sface", each on its own scale
    missing: tuple[str, ...] = ()  # for each None, a sentence that says what is missing


@dataclass(frozen=True)
class MetricNetworks:
    """The networks of the metrics.

    The points are (x, y) in pixels of left eye, right eye, nose and mouth (or both its corners) in all pictures.
    """

    backbone: Path | None = None  # of LPIPS, for `load_lpips`; None = AlexNet, which ships
    sface: Path | None = None  # OpenCV's face_recognition_sface ONNX file; None = dlib's network, which ships
    points: Points | None = None  # None for pictures that do not show faces

    def perceptual(self, device: str | torch.device = "cpu") -> LPIPS:
        """The network of LPIPS. UserError for a file that is not one, or a shipped one that is missing or damaged."""
        return load_lpips(self.backbone or local("lpips-alex"), device)

    @torch.no_grad()
    def measure(self, before: Tensor, after: Tensor) -> InversionMetrics:
        """Compare a picture with the face that it should show, both (1, 3, R, R) in [-1, 1].

        Raises:
            ValueError: pictures of different sizes.
            UserError: a file that is not the expected network, or a shipped one that is missing or damaged.
        """
        if before.shape != after.shape:
            raise ValueError(f"pictures differ in size: {tuple(before.shape)} and {tuple(after.shape)}")
        error = after - before
        l1, l2 = float(error.abs().mean()), float(error.square().mean())
        lpips = float(PerceptualTarget(self.perceptual(), before.cpu()).distance(after.cpu()))
        if not self.points:
            return InversionMetrics(l1, l2, lpips, None, missing=(NO_FACES,))
        return InversionMetrics(l1, l2, lpips, self.likeness(before, after), self.recogniser.name)

    @property
    def recogniser(self) -> type[Recogniser]:
        """The kind of network that compares faces."""
        return SFaceRecogniser if self.sface else DlibRecogniser

    @torch.no_grad()
    def likeness(self, before: Tensor, after: Tensor) -> float | None:
        """Likeness of two faces (1, 3, R, R) in [-1, 1], 1 = equal; None for pictures that do not show faces."""
        if not self.points:
            return None
        path = self.sface or local(DlibRecogniser.name)
        return load_recogniser(self.recogniser, path).likeness(before, after, self.points)
