"""Alignment: finds the faces of a photo and brings one into a generator's frame; the inverse matrix pastes it back.

photo --Detector--> points of each face --frame--> matrix --+ nudge--> aligned face
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.faces.detect import MESH_FRAME, BlazeDetector, Detection, YuNet, distinct, shows_profile
from lelsd_core.faces.frame import AnyFrame, Nudge, SquareFrame, project, unproject
from lelsd_core.faces.landmarks import CONFIDENT, Landmarks
from lelsd_core.faces.photo import Photo, notes_on
from lelsd_core.images import to_tensor, to_uint8

VIEW = 512  # pixels of `AlignedFace.photo`
CROP = 128  # pixels of `Candidate.crop`
ALIGNED = 0.08  # of the frame: a photo whose corners an alignment would move less than this is aligned already
SQUARE = 0.02  # of the width: by how much the height of an aligned photo may differ
NO_NUDGE = Nudge()
NO_FACE = (
    "No face was found in this picture. Use a sharp photo that shows a face from the front, well lit, not covered and "
    "not too far away."
)
PROFILE_ONLY = "This picture seems to show a face in profile only. Use a photo that shows the face from the front."


@dataclass(frozen=True, eq=False)
class Candidate:
    """A face, or a whole picture, that can be aligned."""

    matrix: np.ndarray  # (2, 3), photo pixels -> frame pixels
    crop: Image.Image  # the aligned view at `CROP` pixels, for a gallery to choose from
    faces: int = 1  # number of faces in the photo
    aligned_before: bool = False  # whether the photo was aligned already, and the matrix is a plain resize
    notes: tuple[str, ...] = ()  # sentences about the face's quality


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A face in the generator's frame."""

    picture: Tensor  # (1, 3, R, R) in [-1, 1], area-resampled from the photo
    photo: Image.Image  # the same view at `VIEW` pixels, for display
    matrix: np.ndarray  # (2, 3), photo pixels -> frame pixels, with the nudge
    candidate: Candidate  # what it was cut from, without the nudge


class FaceAligner:
    """Finds and aligns faces for one frame; a frame without faces needs neither landmarks nor a detector."""

    def __init__(self, frame: AnyFrame, landmarks: Landmarks | None, detector: BlazeDetector | YuNet | None) -> None:
        self.frame, self.landmarks, self.detector = frame, landmarks, detector
        self.square = SquareFrame(frame.size) if frame.faces else frame  # takes the photo's middle as it is

    def find(self, image: Image.Image, *, aligned: bool | None = None) -> list[Candidate]:
        """All faces of a photo (RGB), the largest first. UserError if there is none.

        `aligned`: whether the photo is aligned already: True takes its middle, False detects faces, None decides.
        """
        photo = Photo(image)
        middle = self.square.middle(*photo.size)
        if aligned or not self.frame.faces:
            return [self.candidate(photo, middle, aligned_before=bool(aligned))]
        faces = distinct(self.detector.detect(photo))
        if aligned is None and self.is_aligned(photo, faces):
            return [self.candidate(photo, middle, aligned_before=True)]
        if not faces:
            raise UserError(PROFILE_ONLY if shows_profile(photo) else NO_FACE)
        return [self.candidate(photo, self.frame.matrix(f.points), f.points, faces=len(faces)) for f in faces]

    def cut(self, image: Image.Image, candidate: Candidate, nudge: Nudge = NO_NUDGE) -> AlignedFace:
        """Cuts a candidate out of its photo (RGB), with a nudge; detects nothing."""
        photo, size, border = Photo(image), self.frame.size, self.square.border
        matrix = nudge.on(candidate.matrix, size)
        view = photo.warp(matrix * (VIEW / size), (VIEW, VIEW))
        picture = to_tensor(Image.fromarray(photo.view(matrix, size)))
        if border:
            picture[:, :, :border] = picture[:, :, -border:] = -1
            view[: border * VIEW // size] = view[-(border * VIEW // size) :] = 0
        return AlignedFace(picture, Image.fromarray(view), matrix, candidate)

    def candidate(self, photo: Photo, matrix: np.ndarray, points: np.ndarray | None = None, **fields: Any) -> Candidate:
        """A candidate with its crop, its notes and other fields."""
        crop = Image.fromarray(photo.view(matrix * (CROP / self.frame.size), CROP, oversampling=2))
        notes = notes_on(photo, matrix, self.frame.size, points) if self.frame.faces else ()
        return Candidate(matrix, crop, notes=notes, **fields)

    def is_aligned(self, photo: Photo, faces: list[Detection]) -> bool:
        """Whether a photo is square and an alignment to its largest face would hardly move its corners."""
        width, height = photo.size
        if abs(width - height) > SQUARE * width:
            return False
        points = project(self.square.middle(width, height), faces[0].points) if faces else self.read(photo)
        corners = self.frame.size * np.array([(0.0, 0), (1, 0), (0, 1), (1, 1)])
        moved = np.inf if points is None else project(self.frame.matrix(points), corners)
        return bool(np.abs(moved - corners).max() < ALIGNED * self.frame.size)

    def in_place(self, picture: Tensor, tolerance: float) -> bool:
        """Whether the points of a picture (1, 3, R, R) are the frame's, up to `tolerance` as a share of its width."""
        points = self.read(Photo(to_uint8(picture)[0]))
        offset = np.inf if points is None else np.abs(points - np.array(self.frame.points)).max()
        return bool(offset < tolerance * self.frame.size)

    def read(self, photo: Photo) -> np.ndarray | None:
        """The five points (5, 2) of an aligned photo, in frame pixels; None without confidence."""
        ((points, confidence),) = self.landmarks.read(photo, [self.mesh_view(photo)])
        return project(self.square.middle(*photo.size), points) if confidence > CONFIDENT else None

    def mesh(self, pictures: Tensor) -> Tensor:
        """MediaPipe's mesh (B, 478, 2) of aligned pictures (B, 3, R, R), in their pixels; NaN without confidence."""
        photos = [Photo(pixels) for pixels in to_uint8(pictures)]
        points, confidences = self.landmarks.mesh(photos, self.mesh_view(photos[0]))
        points[confidences <= CONFIDENT] = np.nan
        return torch.from_numpy(points).float()

    def mesh_view(self, photo: Photo) -> np.ndarray:
        """The mesh's view (2, 3) of an aligned photo."""
        return MESH_FRAME.matrix(unproject(self.square.middle(*photo.size), np.array(self.frame.points)))
