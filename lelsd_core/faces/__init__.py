"""Faces in photos: find them, bring one into a generator's frame, keep the way back."""

from lelsd_core.faces.align import AlignedFace, Candidate, FaceAligner
from lelsd_core.faces.detect import CascadeDetector, Detector, Found, YuNet
from lelsd_core.faces.frame import FfhqFrame, Frame, Nudge, SquareFrame
from lelsd_core.faces.landmarks import Landmarks, build_landmarks

__all__ = [
    "AlignedFace",
    "Candidate",
    "CascadeDetector",
    "Detector",
    "FaceAligner",
    "FfhqFrame",
    "Found",
    "Frame",
    "Landmarks",
    "Nudge",
    "SquareFrame",
    "YuNet",
    "build_landmarks",
]
