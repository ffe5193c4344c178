"""From a photo to an aligned face: every face, one of them in the generator's frame, and the way back.

photo --Detector--> points of each face --frame--> matrix --+ nudge--> face
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.faces.detect import READING, Detector, Found, distinct, shows_profile
from lelsd_core.faces.frame import AnyFrame, Nudge, SquareFrame, project, unproject
from lelsd_core.faces.landmarks import SURE, Landmarks
from lelsd_core.faces.photo import Photo, notes_on
from lelsd_core.images import to_uint8

VIEW = 512  # pixels of the aligned photo that people see
CROP = 128  # pixels of a candidate's picture
ALIGNED = 0.08  # of the frame: a photo whose corners an alignment would move less than this is in the frame already
STILL = Nudge()
NO_FACE = {
    False: "No face was found in this picture. Use a sharp photo that shows a face from the front, "
    "well lit, not covered and not too far away.",
    True: "This picture seems to show a face in profile only. Use a photo that shows the face from the front.",
}


@dataclass(frozen=True, eq=False)
class Candidate:
    """A face that could be taken.

    Args:
        matrix: (2, 3), photo pixels -> frame pixels, as found.
        crop: the view at `CROP` pixels, for a picker.
        faces: how many faces the photo shows.
        aligned_before: the photo was in the frame already, and the matrix is a plain resize.
        notes: sentences for people about what is not good about it.
    """

    matrix: np.ndarray
    crop: Image.Image
    faces: int = 1
    aligned_before: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A face in the generator's frame.

    Args:
        picture: (1, 3, R, R) in [-1, 1], area-resampled from the photo.
        photo: the same view at `VIEW` pixels, for people.
        matrix: (2, 3), photo pixels -> frame pixels, nudged; its inverse pastes an edit back.
        candidate: what was found, to be cut again with another nudge.
    """

    picture: Tensor
    photo: Image.Image
    matrix: np.ndarray
    candidate: Candidate

    @property
    def faces(self) -> int:
        """How many faces the photo shows."""
        return self.candidate.faces

    @property
    def aligned_before(self) -> bool:
        """Whether the photo was in the frame already and is used as it is."""
        return self.candidate.aligned_before

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for people about what is not good about the face."""
        return self.candidate.notes


class FaceAligner:
    """Finds and aligns faces for one frame.

    Args:
        frame: where the generator expects faces, or how it expects pictures without one.
        landmarks: reads the points of a picture that is nearly in the frame; None for pictures without faces.
        detector: finds faces; likewise.
    """

    def __init__(self, frame: AnyFrame, landmarks: Landmarks | None, detector: Detector | None) -> None:
        self.frame, self.landmarks, self.detector = frame, landmarks, detector

    def align(
        self, image: Image.Image, face: int = 0, *, aligned: bool | None = None, nudge: Nudge = STILL
    ) -> AlignedFace:
        """One face of a photo in the frame.

        Args:
            image: RGB.
            face: which one, counted from 0, the largest first.
            aligned: take the photo's middle as it is (True), find the face (False), or see for oneself (None).
            nudge: what a person changes about the alignment.

        Raises:
            UserError: no face was found, or fewer than asked for.
        """
        photo = Photo(np.asarray(image))
        found = self.candidates(photo, aligned)
        if not 0 <= face < len(found):
            count = "one face was" if len(found) == 1 else f"{len(found)} faces were"
            raise UserError(f"There is no face {face} in this picture: {count} found, counted from 0.")
        return self.cut_from(photo, found[face], nudge)

    def find(self, image: Image.Image, *, aligned: bool | None = None) -> list[Candidate]:
        """All faces of a photo, RGB, the largest first. UserError if there is none."""
        return self.candidates(Photo(np.asarray(image)), aligned)

    def cut(self, image: Image.Image, candidate: Candidate, nudge: Nudge = STILL) -> AlignedFace:
        """Cut a face that was found out of its photo, nudged: nothing is looked for again."""
        return self.cut_from(Photo(np.asarray(image)), candidate, nudge)

    def cut_from(self, photo: Photo, candidate: Candidate, nudge: Nudge) -> AlignedFace:
        """The same from a photo's halvings."""
        size = self.frame.size
        matrix = nudge.on(candidate.matrix, size)
        view = photo.warp(matrix * (VIEW / size), (VIEW, VIEW))
        picture = photo.to_frame(matrix, size)
        if isinstance(self.frame, SquareFrame) and self.frame.black:
            black = self.frame.black
            picture[:, :, :black] = picture[:, :, -black:] = -1
            shown = black * VIEW // size
            view[:shown] = view[-shown:] = 0
        return AlignedFace(picture, Image.fromarray(view), matrix, candidate)

    def candidates(self, photo: Photo, aligned: bool | None) -> list[Candidate]:
        """What can be taken from a photo: all of it, or each face."""
        plain = self.middle.matrix(*photo.size)
        if aligned or isinstance(self.frame, SquareFrame):
            return [self.candidate(photo, plain, aligned_before=bool(aligned))]
        found = distinct(self.detector.detect(photo))
        if aligned is None and self.already_aligned(photo, found):
            return [self.candidate(photo, plain, aligned_before=True)]
        if not found:
            raise UserError(NO_FACE[shows_profile(photo)])
        return [self.candidate(photo, self.frame.matrix(f.points), f.points, faces=len(found)) for f in found]

    def candidate(
        self,
        photo: Photo,
        matrix: np.ndarray,
        points: np.ndarray | None = None,
        *,
        faces: int = 1,
        aligned_before: bool = False,
    ) -> Candidate:
        """A candidate with its crop and its notes."""
        crop = Image.fromarray(photo.view(matrix * (CROP / self.frame.size), CROP, fine=2))
        notes = notes_on(photo, matrix, self.frame.size, points) if self.frame.faces else ()
        return Candidate(matrix, crop, faces, aligned_before, notes)

    @property
    def middle(self) -> SquareFrame:
        """The frame that takes a photo's middle as it is."""
        return self.frame if isinstance(self.frame, SquareFrame) else SquareFrame(self.frame.size)

    def already_aligned(self, photo: Photo, found: list[Found]) -> bool:
        """Whether a photo is square and an alignment to its largest face would hardly move it."""
        width, height = photo.size
        if abs(width - height) > 0.02 * width:
            return False
        plain = self.middle.matrix(width, height)
        points = project(plain, found[0].points) if found else self.read(photo)
        if points is None:
            return False
        side = self.frame.size
        corners = side * np.array([(0.0, 0), (1, 0), (0, 1), (1, 1)])
        moved = project(self.frame.matrix(points), corners)
        return bool(np.abs(moved - corners).max() < ALIGNED * side)

    def in_place(self, picture: Tensor, tolerance: float) -> bool:
        """Whether the points of a picture are where the frame has them, but for a share of its width."""
        points = self.points(picture)
        off = np.inf if points is None else np.abs(points - np.array(self.frame.points)).max()
        return bool(off < tolerance * self.frame.size)

    def points(self, picture: Tensor) -> np.ndarray | None:
        """`frame.POINTS` (5, 2) of a picture (1, 3, R, R) of the frame in its pixels, or None if they are unsure."""
        return self.read(Photo(to_uint8(picture)[0]))

    def read(self, photo: Photo) -> np.ndarray | None:
        """The points of a photo that is taken to be in the frame, in frame pixels, or None if they are unsure."""
        plain = self.middle.matrix(*photo.size)
        view = READING.matrix(unproject(plain, np.array(self.frame.points)))
        ((points, sure),) = self.landmarks.read(photo, [view])
        return project(plain, points) if sure > SURE else None
