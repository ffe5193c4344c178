"""Faces in photos: find them, bring one into a generator's frame, keep the way back."""

from lelsd_core.faces.align import AlignedFace, Candidate, FaceAligner
from lelsd_core.faces.blaze import BlazeFace
from lelsd_core.faces.detect import BlazeDetector, Detector, Found, YuNet
from lelsd_core.faces.frame import FfhqFrame, Frame, Nudge, SquareFrame
from lelsd_core.faces.landmarks import FaceMesh, Landmarks

__all__ = [
    "AlignedFace",
    "BlazeDetector",
    "BlazeFace",
    "Candidate",
    "Detector",
    "FaceAligner",
    "FaceMesh",
    "FfhqFrame",
    "Found",
    "Frame",
    "Landmarks",
    "Nudge",
    "SquareFrame",
    "YuNet",
]
