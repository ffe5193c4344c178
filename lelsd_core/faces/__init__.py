"""Faces in photos: detection, alignment to a generator's frame, and the way back."""

from lelsd_core.faces.align import AlignedFace, Candidate, FaceAligner
from lelsd_core.faces.blaze import BlazeFace
from lelsd_core.faces.detect import BlazeDetector, Detection, YuNet
from lelsd_core.faces.frame import FfhqFrame, Frame, Nudge, SquareFrame
from lelsd_core.faces.landmarks import FaceMesh, Landmarks
