"""Where faces are in a photo, each as five points: by YuNet where its file is at hand, else by what ships.

    photo, in some sizes, turned if need be --BlazeFace--> guesses --level view of each--> landmarks --+
    photo --YuNet--> five points of each face ---------------------------------------------------------+
                                                              --upright view--> landmarks again --> five points

Sources: Wu et al., "YuNet: a tiny millisecond-level face detector", 2023; those of `blaze` and `mesh`; for profiles
Viola, Jones, "Rapid object detection using a boosted cascade of simple features", 2001.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Protocol

import cv2
import numpy as np
import torch

from lelsd_core.errors import UserError
from lelsd_core.faces.blaze import BOX_SIZE, EYES, BlazeFace
from lelsd_core.faces.frame import STEADY, Frame, magnification, project, similarity, unproject
from lelsd_core.faces.landmarks import SIZE, SURE, Landmarks
from lelsd_core.faces.photo import Photo

# Where the first views of digiface-64's samples have their points, made symmetric: how the mesh reads them best
READING = Frame(SIZE, ((69.4, 65.8), (122.6, 65.8), (96.0, 98.0), (74.5, 126.5), (117.5, 126.5)))
SIDES = (128, 384)  # pixels of the photo's longer side: faces that fill it, and faces down to a fifteenth of it
FINER = (768,)  # down to a thirtieth
CELL = 16  # pixels: sides are whole numbers of them
ELONGATED = 3  # of a photo that is longer than that many times its width, no more counts as its longer side
TURNED = (90, -90, 180)  # degrees that the photo is turned by where no face stands out
MOST = 64  # guesses that are looked at
DOUBT = (1.5, 0.5)  # what disagreements, in eye distances, take off a score: of two readings, of detector and reading
TRUSTED = 0.4  # what must remain of a score
STRICT = 0.55  # the same where it is looked for as a last resort: the more is tried, the more looks like a face
CLEAR = 0.75  # what remains of a face that stands out: nothing else is tried then
BETTER = 0.1  # by how much the photo turned must beat the photo as it is
LIKELY = 0.5  # the detector's score in [0, 1] of what may be a face
OVERLAP = 0.3  # of two guesses' boxes, from which on they are of one face: their intersection over their union
ROOM = 1.5  # the first view of a face is that much larger than its box
OUT_OF_PLACE = 0.14  # of a view: how far a face's eyes and mouth may be from the mean ones
PROFILE_SIDE = 384  # photos are reduced to this for the cascade
SMALLEST_PROFILE = 40  # pixels of the reduced photo
YUNET_SIDES = (640, 320)  # the second one for a face that fills the photo
YUNET_SCORE = 0.7
BUSY = Lock()  # OpenCV's detectors keep their work in themselves


@dataclass(frozen=True, eq=False)
class Found:
    """A face: `frame.POINTS` (5, 2) in photo pixels, and how sure the detector is, in [0, 1], less what is in doubt."""

    points: np.ndarray
    score: float


class Detector(Protocol):
    """Finds all faces of a photo."""

    def detect(self, photo: Photo) -> list[Found]:
        """Each face once, in any order; none is no error."""


class BlazeDetector:
    """BlazeFace for the place, the face mesh for the points: what ships.

    Args:
        network: finds faces.
        landmarks: reads five points in a view of one.
    """

    def __init__(self, network: BlazeFace, landmarks: Landmarks) -> None:
        self.network, self.landmarks = network, landmarks

    def detect(self, photo: Photo) -> list[Found]:
        """Faces from the front or half turned, all those that stand upright when the photo is turned one way."""
        best = self.detect_at(photo, 0, SIDES)
        to_beat = surest(best) + BETTER
        for turn in TURNED:
            if surest(best) < CLEAR:
                found = self.detect_at(photo, turn, SIDES, STRICT)
                if surest(found) > to_beat:
                    best, to_beat = found, surest(found)
        return best or self.detect_at(photo, 0, FINER, STRICT)

    def detect_at(self, photo: Photo, turn: float, sides: tuple[int, ...], least: float = TRUSTED) -> list[Found]:
        """Faces that stand upright, or nearly, when the photo is turned by degrees and reduced to some sizes."""
        scores, guesses = self.guesses(photo, turn, sides)
        first = [points for points, _ in self.landmarks.read(photo, [first_view(guess) for guess in guesses])]
        second = read_again(photo, self.landmarks, first)
        faces = [
            Found((before + points) / 2, score - doubt(guess, before, points))  # two readings err less than one
            for score, guess, before, points in zip(scores.tolist(), guesses, first, second, strict=True)
            if points is not None
        ]
        return [face for face in faces if face.score > least]

    def guesses(self, photo: Photo, turn: float, sides: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Each face of a photo, turned, once: scores (N,) and guesses (N, 8, 2), measured in the photo."""
        scores, guesses = zip(*(self.look(photo, turn, side) for side in sides), strict=True)
        scores, guesses = np.concatenate(scores), np.concatenate(guesses)
        boxes = np.concatenate([guesses[:, 0] - guesses[:, 1] / 2, guesses[:, 1]], 1)
        kept = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), LIKELY, OVERLAP), dtype=int)[:MOST]
        return scores[kept], guesses[kept]

    @torch.inference_mode()
    def look(self, photo: Photo, turn: float, side: int) -> tuple[np.ndarray, np.ndarray]:
        """What the detector says of a photo, turned and reduced so that its longer side is `side`."""
        matrix, (width, height) = turned(photo.size, turn, side)
        size = (-(-width // CELL) * CELL, -(-height // CELL) * CELL)
        picture = torch.from_numpy(photo.warp(matrix, size, cv2.BORDER_CONSTANT)).permute(2, 0, 1)[None]
        scores, guesses = self.network(picture.float() / 127.5 - 1)
        scores, guesses = scores[0].sigmoid().double().numpy(), guesses[0].double().numpy()
        likely = (scores > LIKELY) & (guesses[:, EYES.start] != guesses[:, EYES.stop - 1]).any(1)
        scores, guesses = scores[likely], guesses[likely]
        places = unproject(matrix, guesses.reshape(-1, 2)).reshape(guesses.shape)
        places[:, BOX_SIZE] = guesses[:, BOX_SIZE] / magnification(matrix)
        return scores, places


class YuNet:
    """OpenCV's face detector for the place, the face mesh for the points.

    Args:
        path: face_detection_yunet_2023mar.onnx.
        shipped: reads the points, and is asked where YuNet finds nothing.

    Raises:
        UserError: the file is damaged or something else.
    """

    def __init__(self, path: Path, shipped: BlazeDetector) -> None:
        self.shipped = shipped
        try:
            self.network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), YUNET_SCORE)
        except cv2.error:
            raise UserError(
                f"{path.name} cannot be read as a face detector by OpenCV {cv2.__version__}; it is damaged or "
                "something else: delete it and get it again."
            ) from None

    def detect(self, photo: Photo) -> list[Found]:
        """Faces that YuNet finds upright or turned by up to about 45 degrees, or else what the other one finds."""
        for scale in dict.fromkeys(min(1.0, side / max(photo.size)) for side in YUNET_SIDES):
            size = tuple(max(1, round(scale * length)) for length in photo.size)
            pixels = photo.warp(np.array([[scale, 0, 0], [0, scale, 0]]), size)
            with BUSY:
                self.network.setInputSize(size)
                _, rows = self.network.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
            if rows is not None and len(rows):
                faces = [from_row(row, scale) for row in rows]
                exact = read_again(photo, self.shipped.landmarks, [face.points for face in faces])
                return [
                    face if points is None else Found(points, face.score)
                    for face, points in zip(faces, exact, strict=True)
                ]
        return self.shipped.detect(photo)


def from_row(row: np.ndarray, scale: float) -> Found:
    """YuNet's 15 numbers -> a face: box, the person's right eye (left in the picture), left eye, nose, mouth, score."""
    return Found(row[4:14].reshape(5, 2).astype(np.float64) / scale, float(row[14]))


def read_again(photo: Photo, landmarks: Landmarks, faces: list[np.ndarray]) -> list[np.ndarray | None]:
    """Points (5, 2) of faces, about -> the same exactly, from upright views; None for what proves to be no face."""
    views = [READING.matrix(points) for points in faces]
    return [
        points if sure > SURE and in_place(project(view, points)) else None
        for view, (points, sure) in zip(views, landmarks.read(photo, views), strict=True)
    ]


def doubt(guess: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """How far a guess (8, 2) and two readings (5, 2) of a face disagree: for real faces hardly, elsewhere far."""
    eyes = np.hypot(*(second[1] - second[0]))
    readings, detector = second - first, second[:2] - guess[EYES]
    worst = [np.hypot(*off.T).max() for off in (readings, detector)]
    return float(np.dot(DOUBT, worst) / eyes)


def surest(faces: list[Found]) -> float:
    """The highest score of faces, 0 for none."""
    return max((face.score for face in faces), default=0.0)


def in_place(points: np.ndarray) -> bool:
    """Whether eyes and mouth of a view's points (5, 2) are about where a face has them."""
    return bool(np.abs(points - np.array(READING.points))[STEADY].max() < OUT_OF_PLACE * SIZE)


def first_view(guess: np.ndarray) -> np.ndarray:
    """A guess (8, 2) -> the matrix (2, 3) of the view around its box that puts its eyes level."""
    (middle, box), (left, right) = guess[:2], guess[EYES]
    across = (right - left) / np.hypot(*(right - left))
    half = ROOM / 2 * box.max() * across
    return similarity(np.array([middle, middle + half]), SIZE * np.array([(0.5, 0.5), (1.0, 0.5)]))


def turned(size: tuple[int, int], turn: float, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Width and height of a photo -> the matrix (2, 3) that turns and reduces it, width and height then.

    Args:
        size: width and height.
        turn: degrees, clockwise.
        side: pixels of the longer side then, or more for a photo that is `ELONGATED`.
    """
    angle = np.radians(turn)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([(0, 0), (size[0], 0), (0, size[1]), size]) @ linear.T
    low, across = corners.min(0), np.ptp(corners, axis=0)
    scale = side / min(across.max(), ELONGATED * across.min())
    return scale * np.column_stack([linear, -low]), tuple(max(1, round(scale * length)) for length in across)


def shows_profile(photo: Photo) -> bool:
    """Whether OpenCV's cascade for profiles finds something in a photo or its mirror image."""
    scale = PROFILE_SIDE / max(photo.size)
    size = tuple(max(1, round(scale * side)) for side in photo.size)
    grey = cv2.cvtColor(photo.warp(np.array([[scale, 0, 0], [0, scale, 0]]), size), cv2.COLOR_RGB2GRAY)
    with BUSY:
        return any(
            len(cascade().detectMultiScale(side, 1.1, 4, minSize=(SMALLEST_PROFILE, SMALLEST_PROFILE)))
            for side in (grey, grey[:, ::-1])
        )


@cache
def cascade() -> cv2.CascadeClassifier:
    """OpenCV's cascade for profiles. UserError if this OpenCV brings none."""
    path = Path(cv2.data.haarcascades) / "haarcascade_profileface.xml"
    found = cv2.CascadeClassifier(str(path))
    if found.empty():
        raise UserError(f"OpenCV {cv2.__version__} brings no {path.name}; install opencv-python-headless>=4.11,<5.")
    return found


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
