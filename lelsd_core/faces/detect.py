"""Where faces are in a photo, each as five points: by YuNet where its file is at hand, else by what ships.

    photo --YuNet--> five points of each face
    photo --Haar cascade--> boxes --view of each--> landmark network, repeated until the view is upright --> five points

Sources: Wu et al., "YuNet: a tiny millisecond-level face detector", 2023; Viola, Jones, "Rapid object detection using
a boosted cascade of simple features", 2001.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Protocol

import cv2
import numpy as np

from lelsd_core.errors import UserError
from lelsd_core.faces.frame import Frame, magnification, project, similarity, unproject
from lelsd_core.faces.landmarks import SIZE, Landmarks
from lelsd_core.faces.photo import Photo

READING = Frame(SIZE, ((22.3, 29.7), (41.8, 29.6), (32.1, 42.0), (24.2, 52.3), (40.1, 52.1)))  # what the network learnt
BOX = (0.78, 0.5, 0.58)  # a cascade's box in that frame: width and centre, as shares
DETECTION_SIDE = 384  # photos are reduced to this for the cascade
SMALLEST_BOX = 20  # pixels of the reduced photo: the cascade's own window
QUICK = (1.2, 1)  # the cascade's step from one window size to the next, and how many windows must agree
THOROUGH = (1.1, 0)
ATTEMPTS = (  # degrees turned, until a face is found
    (0, QUICK),
    (-25, QUICK),
    (25, QUICK),
    (0, THOROUGH),
    (-50, QUICK),
    (50, QUICK),
    (-25, THOROUGH),
    (25, THOROUGH),
)
MARGIN = 0.12  # of the photo, on each side
REFINEMENTS = 4
STILL = 0.25  # pixels of the view: a refinement that moves no point further is the last
UNSURE = 3.0  # pixels: the mean spread of the network's maps on something that is no face
GIVE_UP = 1.5  # times that: a first view worse than this is dropped at once
OUT_OF_PLACE = 0.14  # of the frame: how far a face's points may be from the mean ones
YUNET_SIDES = (640, 320)  # the second one for a face that fills the photo
YUNET_SCORE = 0.7
BUSY = Lock()  # OpenCV's detectors keep their work in themselves


@dataclass(frozen=True, eq=False)
class Found:
    """A face: `frame.POINTS` (5, 2) in photo pixels, and how sure the detector is, in [0, 1]."""

    points: np.ndarray
    score: float


class Detector(Protocol):
    """Finds all faces of a photo."""

    def detect(self, photo: Photo) -> list[Found]:
        """Each face once, in any order; none is no error."""


class YuNet:
    """OpenCV's face detector.

    Args:
        path: face_detection_yunet_2023mar.onnx.

    Raises:
        UserError: the file is damaged or something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), YUNET_SCORE)
        except cv2.error:
            raise UserError(
                f"{path.name} cannot be read as a face detector by OpenCV {cv2.__version__}; it is damaged or "
                "something else: delete it and get it again."
            ) from None

    def detect(self, photo: Photo) -> list[Found]:
        """Faces that stand upright or are turned by up to about 45 degrees."""
        for side in YUNET_SIDES:
            scale = min(1.0, side / max(photo.size))
            size = tuple(max(1, round(scale * length)) for length in photo.size)
            pixels = photo.warp(np.array([[scale, 0, 0], [0, scale, 0]]), size)
            with BUSY:
                self.network.setInputSize(size)
                _, rows = self.network.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
            if rows is not None and len(rows):
                return [from_row(row, scale) for row in rows]
        return []


def from_row(row: np.ndarray, scale: float) -> Found:
    """YuNet's 15 numbers -> a face: box, the person's right eye (left in the picture), left eye, nose, mouth, score."""
    return Found(row[4:14].reshape(5, 2).astype(np.float64) / scale, float(row[14]))


class CascadeDetector:
    """OpenCV's cascade for the place, the landmark network that ships for the points.

    Args:
        landmarks: reads five points in a view.
    """

    def __init__(self, landmarks: Landmarks) -> None:
        self.landmarks = landmarks

    def detect(self, photo: Photo) -> list[Found]:
        """Faces from the front or half turned; heads may be tilted."""
        for turn, effort in ATTEMPTS:
            found = self.refine(photo, [box_to_view(box) for box in find_boxes(photo, turn, effort)])
            if found:
                return found
        return []

    def refine(self, photo: Photo, views: list[np.ndarray]) -> list[Found]:
        """Matrices (2, 3) of first views -> the faces among them, read again and again until they stand still."""
        for _ in range(REFINEMENTS):
            points, spreads = self.read(photo, views)
            sure = [i for i, spread in enumerate(spreads) if spread < GIVE_UP * UNSURE]
            turned = [READING.matrix(points[i]) for i in sure]
            moves = [
                np.abs(project(new, points[i]) - project(views[i], points[i]))
                for new, i in zip(turned, sure, strict=True)
            ]
            views = turned
            if np.max(moves, initial=0.0) < STILL:
                break
        return [
            Found(points, float(np.clip(1 - spread / (2 * UNSURE), 0, 1)))
            for view, points, spread in zip(views, *self.read(photo, views, mirrored=True), strict=True)
            if spread < UNSURE and in_place(project(view, points))
        ]

    def read(
        self, photo: Photo, views: list[np.ndarray], mirrored: bool = False
    ) -> tuple[list[np.ndarray], list[float]]:
        """Points (5, 2) in the photo for each view, and how unsure each is."""
        if not views:
            return [], []
        pictures = np.stack([photo.view(view, SIZE, fine=2) for view in views])
        seen, spreads = self.landmarks.read(pictures, mirrored)
        return [unproject(view, points) for view, points in zip(views, seen, strict=True)], list(spreads)


def in_place(points: np.ndarray) -> bool:
    """Whether the points (5, 2) of a view are about where a face has them."""
    return bool(np.abs(points - np.array(READING.points)).max() < OUT_OF_PLACE * SIZE)


def box_to_view(box: np.ndarray) -> np.ndarray:
    """Corners (3, 2) of a cascade's box in a photo -> the matrix (2, 3) of the view that shows its face."""
    width, x, y = BOX
    half = width / 2
    return similarity(box, SIZE * np.array([(x - half, y - half), (x + half, y - half), (x - half, y + half)]))


def shows_profile(photo: Photo) -> bool:
    """Whether OpenCV's cascade for profiles finds something in a photo or its mirror image."""
    scale = DETECTION_SIDE / max(photo.size)
    size = tuple(max(1, round(scale * side)) for side in photo.size)
    grey = cv2.cvtColor(photo.warp(np.array([[scale, 0, 0], [0, scale, 0]]), size), cv2.COLOR_RGB2GRAY)
    smallest = (2 * SMALLEST_BOX, 2 * SMALLEST_BOX)
    with BUSY:
        return any(
            len(cascade("profileface").detectMultiScale(side, 1.1, 4, minSize=smallest))
            for side in (grey, grey[:, ::-1])
        )


@cache
def cascade(name: str = "frontalface_alt2") -> cv2.CascadeClassifier:
    """One of OpenCV's cascades. UserError if this OpenCV brings none."""
    path = Path(cv2.data.haarcascades) / f"haarcascade_{name}.xml"
    found = cv2.CascadeClassifier(str(path))
    if found.empty():
        raise UserError(f"OpenCV {cv2.__version__} brings no {path.name}; install opencv-python-headless>=4.11,<5.")
    return found


def find_boxes(photo: Photo, turn: float, effort: tuple[float, int]) -> Iterator[np.ndarray]:
    """Corners (3, 2) in the photo, top left, top right, bottom left, of each box the cascade finds."""
    width, height = photo.size
    scale = DETECTION_SIDE / max(width, height)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1.0)
    matrix[:, 2] += MARGIN * np.array([width, height])  # so that faces at the border fit the cascade's window
    matrix *= scale
    size = tuple(round((1 + 2 * MARGIN) * scale * side) for side in (width, height))
    grey = cv2.cvtColor(photo.warp(matrix, size, cv2.BORDER_REPLICATE), cv2.COLOR_RGB2GRAY)
    grey = cv2.createCLAHE(2.0, (8, 8)).apply(grey)  # faces in the shade
    with BUSY:
        boxes = cascade().detectMultiScale(grey, *effort, minSize=(SMALLEST_BOX, SMALLEST_BOX))
    for x, y, w, h in boxes:
        yield unproject(matrix, np.array([(x, y), (x + w, y), (x, y + h)], dtype=float))


def distinct(faces: list[Found]) -> list[Found]:
    """Each face once, the surest of those that lie on each other, in the order of their size, largest first."""
    kept: list[Found] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(np.hypot(*(face.points - other.points).mean(0)) > 0.8 * eye_distance(other) for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: magnification(READING.matrix(face.points)))


def eye_distance(face: Found) -> float:
    """Photo pixels between the eyes."""
    return float(np.hypot(*(face.points[1] - face.points[0])))
