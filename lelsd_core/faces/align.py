"""From a photo to an aligned face: find faces, bring one into the model's frame, keep the way back.

    photo --Haar cascade--> boxes --first crop--> parts --eyes, nose, mouth to the frame's points, repeated--> face

Nothing is downloaded: OpenCV brings the cascade, and the segmenter that ships tells where eyes and mouth are.
Sources: Viola, Jones, "Rapid object detection using a boosted cascade of simple features", 2001; Umeyama,
"Least-squares estimation of transformation parameters between two point patterns", 1991.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.image import to_tensor

DETECTION_SIDE = 640  # photos are reduced to this for the cascade
TURNS = (0, -25, 25, -50, 50)  # degrees tried until a face is found
MARGIN = 0.25  # of the photo, on each side
REFINEMENTS = 4
VIEW = 512  # pixels of the aligned photo that people see
NAMES = ("left eye", "right eye", "nose", "mouth")  # left and right as seen in the picture


@dataclass(frozen=True)
class Frame:
    """Where a generator's faces are: picture size and the mean points of `NAMES`, in pixels from the top left edge.

    Args:
        size: width and height.
        points: (x, y) of left eye, right eye, nose and mouth: centres of the segmenter's parts.
        box: width of a Haar face box over the frame's width, and its centre in the frame's units.
    """

    size: int
    points: tuple[tuple[float, float], ...]
    box: tuple[float, float, float] = (0.78, 0.5, 0.58)


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A face in the model's frame.

    Args:
        picture: (1, 3, R, R) in [-1, 1], area-resampled from the photo.
        photo: the same view at `VIEW` pixels, for people.
        matrix: (2, 3), photo pixels -> frame pixels; its inverse pastes an edit back.
        faces: how many faces the photo shows.
        aligned_before: the photo was in the frame already and is used as it is.
    """

    picture: Tensor
    photo: Image.Image
    matrix: np.ndarray
    faces: int = 1
    aligned_before: bool = False


ReadParts = Callable[[Tensor], Tensor]  # picture (1, 3, R, R) -> part probabilities (1, P, R, R)


class FaceAligner:
    """Finds and aligns faces for one frame.

    Args:
        frame: where the generator expects faces.
        parts: the segmenter's part names; must hold eyes, nose and mouth.
        read_parts: picture in the frame -> probabilities of the parts.
    """

    def __init__(self, frame: Frame, parts: tuple[str, ...], read_parts: ReadParts) -> None:
        self.frame, self.parts, self.read_parts = frame, parts, read_parts
        self.target = np.array(frame.points)

    def align(self, image: Image.Image) -> AlignedFace:
        """The largest face of a photo, RGB, in the frame.

        Raises:
            UserError: no face was found.
        """
        photo = Photo(np.asarray(image))
        if (matrix := self.already_aligned(photo)) is not None:
            return self.face(photo, matrix, faces=1, aligned_before=True)
        for turn in TURNS:
            found = [matrix for box in find_boxes(photo, turn) if (matrix := self.refine(photo, box)) is not None]
            if found:
                largest = min(found, key=magnification)
                return self.face(photo, largest, faces=len(distinct(found, self.frame.size)))
        raise UserError(
            "No face was found in this picture. Use a photo that shows one face from the front, "
            "well lit and not covered."
        )

    def already_aligned(self, photo: Photo) -> np.ndarray | None:
        """The plain resize to the frame, if the photo is square and its face is where the frame expects it."""
        width, height = photo.size
        if abs(width - height) > 0.02 * width:
            return None
        matrix = np.array([[self.frame.size / width, 0, 0], [0, self.frame.size / height, 0]], dtype=float)
        return matrix if self.in_place(photo.to_frame(matrix, self.frame.size), 0.06) else None

    def refine(self, photo: Photo, box: np.ndarray) -> np.ndarray | None:
        """Box corners (3, 2) in the photo -> matrix that brings eyes, nose and mouth to their points, or None."""
        width, x, y = self.frame.box
        half = width / 2
        corners = self.frame.size * np.array([(x - half, y - half), (x + half, y - half), (x - half, y + half)])
        matrix = similarity(box, corners)
        for _ in range(REFINEMENTS):
            points = self.points(photo.to_frame(matrix, self.frame.size))
            if points is None:
                return None
            matrix = similarity(unproject(matrix, points), self.target)
        return matrix if self.in_place(photo.to_frame(matrix, self.frame.size), 0.12) else None

    def in_place(self, picture: Tensor, tolerance: float) -> bool:
        """Whether eyes, nose and mouth of a picture are where the frame has them, but for a share of its width."""
        points = self.points(picture)
        return points is not None and bool(np.abs(points - self.target).max() < tolerance * self.frame.size)

    def points(self, picture: Tensor) -> np.ndarray | None:
        """Centres (4, 2) of eyes, nose and mouth in a picture of the frame, or None if one is missing."""
        probabilities = self.read_parts(picture)[0].square()  # sure pixels count more
        eyes, nose, mouth = (probabilities[self.parts.index(name)] for name in ("eyes", "nose", "mouth"))
        middle = centre(nose)
        if middle is None:
            return None
        left, right = eyes.clone(), eyes.clone()
        split = round(float(middle[0]))
        left[:, split:], right[:, :split] = 0, 0
        found = [centre(left), centre(right), middle, centre(mouth)]
        return None if any(point is None for point in found) else np.stack(found)

    def face(self, photo: Photo, matrix: np.ndarray, *, faces: int, aligned_before: bool = False) -> AlignedFace:
        """Cut the face out of the photo."""
        view = photo.warp(matrix * (VIEW / self.frame.size), (VIEW, VIEW))
        picture = photo.to_frame(matrix, self.frame.size)
        return AlignedFace(picture, Image.fromarray(view), matrix, faces, aligned_before)


def centre(weight: Tensor) -> np.ndarray | None:
    """Centre (x, y) of a map (H, W) of weights, pixels from the edge; None if the map is as good as empty."""
    total = float(weight.sum())
    if total < 2.0:
        return None
    rows, columns = (torch.arange(size, dtype=weight.dtype) + 0.5 for size in weight.shape)
    return np.array([float((weight.sum(0) * columns).sum()), float((weight.sum(1) * rows).sum())]) / total


@cache
def cascade() -> cv2.CascadeClassifier:
    """OpenCV's frontal-face cascade. UserError if this OpenCV brings none."""
    path = Path(cv2.data.haarcascades) / "haarcascade_frontalface_alt2.xml"
    found = cv2.CascadeClassifier(str(path))
    if found.empty():
        raise UserError(f"OpenCV {cv2.__version__} brings no {path.name}; install opencv-python-headless>=4.11,<5.")
    return found


def find_boxes(photo: Photo, turn: float = 0) -> Iterator[np.ndarray]:
    """Corners (3, 2) in the photo, top left, top right, bottom left, of each box the cascade finds, largest first."""
    width, height = photo.size
    scale = DETECTION_SIDE / max(width, height)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1.0)
    matrix[:, 2] += MARGIN * np.array([width, height])  # so that faces at the border fit the cascade's window
    matrix *= scale
    size = tuple(round((1 + 2 * MARGIN) * scale * side) for side in (width, height))
    grey = cv2.cvtColor(photo.warp(matrix, size, cv2.BORDER_REPLICATE), cv2.COLOR_RGB2GRAY)
    boxes = cascade().detectMultiScale(grey, 1.1, 3, minSize=(32, 32))
    for x, y, w, h in sorted(boxes, key=lambda box: -box[2]):
        yield unproject(matrix, np.array([(x, y), (x + w, y), (x, y + h)], dtype=float))


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The shift, turn and scale (2, 3) that brings points (N, 2) closest to others in the least-squares sense."""
    (x, y), (u, v) = (source - source.mean(0)).T, (target - target.mean(0)).T
    norm = (x * x + y * y).sum()
    cos, sin = (x * u + y * v).sum() / norm, (x * v - y * u).sum() / norm
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, target.mean(0) - linear @ source.mean(0)])


def unproject(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) of the frame, taken back through a matrix (2, 3)."""
    return np.linalg.solve(matrix[:, :2], (points - matrix[:, 2]).T).T


def magnification(matrix: np.ndarray) -> float:
    """Frame pixels per photo pixel: the smaller, the larger the face in the photo."""
    return float(np.hypot(*matrix[0, :2]))


def distinct(matrices: list[np.ndarray], size: int) -> list[np.ndarray]:
    """One matrix for each face: boxes that led to the same place count once."""
    kept: list[np.ndarray] = []
    for matrix in matrices:
        middle = unproject(matrix, np.array([[size / 2, size / 2]]))[0]
        apart = [
            np.hypot(*(unproject(other, np.array([[size / 2, size / 2]]))[0] - middle)) * magnification(other)
            for other in kept
        ]
        if all(distance > 0.4 * size for distance in apart):
            kept.append(matrix)
    return kept


class Photo:
    """A photo and its halvings, made as they are needed: a view never skips pixels and never reads too many."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.levels = [pixels]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.levels[0].shape[1], self.levels[0].shape[0]

    def level(self, number: int) -> np.ndarray:
        """The photo halved `number` times."""
        while len(self.levels) <= number:
            self.levels.append(cv2.resize(self.levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        return self.levels[number]

    def warp(self, matrix: np.ndarray, size: tuple[int, int], border: int = cv2.BORDER_REFLECT) -> np.ndarray:
        """The part that `matrix` (2, 3) maps to (width, height); the photo's edge is mirrored outwards.

        Coordinates are measured from pixel edges; OpenCV measures from pixel centres.
        """
        number = max(0, min(round(-np.log2(magnification(matrix))), int(np.log2(min(self.size))) - 3))
        linear = matrix[:, :2] * 2**number
        shift = matrix[:, 2] + 0.5 * linear.sum(1) - 0.5
        flags = cv2.INTER_CUBIC if magnification(linear) > 0.9 else cv2.INTER_LINEAR
        return cv2.warpAffine(
            self.level(number), np.column_stack([linear, shift]), size, flags=flags, borderMode=border
        )

    def to_frame(self, matrix: np.ndarray, size: int) -> Tensor:
        """The part that `matrix` maps to the frame, area-resampled: (1, 3, size, size) in [-1, 1]."""
        fine = self.warp(matrix * 4, (4 * size, 4 * size))
        return to_tensor(Image.fromarray(cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)))
