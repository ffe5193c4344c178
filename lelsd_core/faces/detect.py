"""Face detection: five points of each face of a photo, by YuNet if its file is present, else by the shipped networks.

    photo, at some sizes and rotations --BlazeFace--> boxes --view of each--> landmarks --+
    photo --YuNet--> five points of each face --------------------------------------------+
                                                        --upright view--> landmarks again --> five points

Sources: Wu et al., "YuNet", 2023; those of `blaze` and `landmarks`; for profiles Viola, Jones, 2001 (a cascade).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import torch

from lelsd_core.errors import UserError
from lelsd_core.faces.blaze import BOX_SIZE, EYES, BlazeFace
from lelsd_core.faces.frame import ALIGNED_POINTS, Frame, magnification, project, rotation, similarity, unproject
from lelsd_core.faces.landmarks import CONFIDENT, SIZE, Landmarks
from lelsd_core.faces.photo import Photo

# The frame of the mesh's views: mean points of digiface-64's samples in first views, made symmetric
MESH_FRAME = Frame(SIZE, ((69.4, 65.8), (122.6, 65.8), (96.0, 98.0), (74.5, 126.5), (117.5, 126.5)))
SIDES = (128, 384)  # pixels of the photo's longer side: faces that fill it, and faces down to a fifteenth of it
FINER_SIDES = (768,)  # faces down to a thirtieth
CELL = 16  # pixels: BlazeFace needs multiples of it
ELONGATED = 3  # a photo longer than this many times its width is reduced as if it were that long
ROTATIONS = (90, -90, 180)  # degrees: tried if no face of the upright photo is clear
MAX_BOXES = 64
DISAGREEMENT_WEIGHTS = (1.5, 0.5)  # subtracted from the score per eye distance: of two readings, of box and reading
MIN_SCORE = 0.4  # after that
MIN_SCORE_FALLBACK = 0.55  # the same in rotated or enlarged photos: more attempts find more false positives
CLEAR_SCORE = 0.75  # with such a face, no rotation is tried
ROTATION_MARGIN = 0.1  # by how much a rotated photo's best score must exceed the upright one's
MIN_PROBABILITY = 0.5  # BlazeFace's, of a box
MAX_OVERLAP = 0.3  # intersection over union of two boxes, above which they show the same face
BOX_MARGIN = 1.5  # size of the first view over that of the box
MAX_OFFSET = 0.14  # of a view: how far a face's eyes and mouth may be from the frame's points
SAME_FACE = 0.8  # of the eye distance: two faces nearer than this are the same
PROFILE_SIDE, PROFILE_MIN = 384, 40  # pixels: longer side of the photo for the cascade, smallest profile in it
YUNET_SIDES = (640, 320)  # pixels of the longer side; the second for a face that fills the photo
YUNET_SCORE = 0.7


@dataclass(frozen=True, eq=False)
class Detection:
    """A detected face."""

    points: np.ndarray  # `frame.POINTS` (5, 2), in photo pixels
    score: float  # confidence of the detector in [0, 1], less `disagreement`


class BlazeDetector:
    """The detector that comes with the project: BlazeFace for boxes, the face mesh for points."""

    def __init__(self, network: BlazeFace, landmarks: Landmarks) -> None:
        self.network, self.landmarks = network, landmarks

    def detect(self, photo: Photo) -> list[Detection]:
        """Faces from the front or half turned, all those that are upright after the same rotation of the photo."""
        best = self.detect_rotated(photo, 0, SIDES, MIN_SCORE)
        to_beat = best_score(best) + ROTATION_MARGIN
        for degrees in ROTATIONS:
            if best_score(best) >= CLEAR_SCORE:
                break
            faces = self.detect_rotated(photo, degrees, SIDES, MIN_SCORE_FALLBACK)
            if best_score(faces) > to_beat:
                best, to_beat = faces, best_score(faces)
        return best or self.detect_rotated(photo, 0, FINER_SIDES, MIN_SCORE_FALLBACK)

    def detect_rotated(self, photo: Photo, degrees: float, sides: tuple[int, ...], min_score: float) -> list[Detection]:
        """Faces that are about upright after a rotation (clockwise), in the photo reduced to some longer sides."""
        results = [self.predict(photo, degrees, side) for side in sides]
        scores, predictions = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
        boxes = np.concatenate([predictions[:, 0] - predictions[:, 1] / 2, predictions[:, 1]], 1)
        kept = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), MIN_PROBABILITY, MAX_OVERLAP), dtype=int)
        scores, predictions = scores[kept[:MAX_BOXES]], predictions[kept[:MAX_BOXES]]
        first = [points for points, _ in self.landmarks.read(photo, [first_view(p) for p in predictions])]
        second = read_upright(photo, self.landmarks, first)
        faces = [
            Detection((before + after) / 2, score - disagreement(prediction, before, after))
            for score, prediction, before, after in zip(scores.tolist(), predictions, first, second, strict=True)
            if after is not None
        ]
        return [face for face in faces if face.score > min_score]

    @torch.inference_mode()
    def predict(self, photo: Photo, degrees: float, side: int) -> tuple[np.ndarray, np.ndarray]:
        """BlazeFace's probable faces in the photo at one size: scores (N,), predictions (N, 8, 2) in photo pixels."""
        matrix, (width, height) = rotated(photo.size, degrees, side)
        size = (-(-width // CELL) * CELL, -(-height // CELL) * CELL)
        picture = torch.from_numpy(photo.warp(matrix, size, cv2.BORDER_CONSTANT)).permute(2, 0, 1)[None]
        scores, predictions = self.network(picture.float() / 127.5 - 1)
        scores, predictions = scores[0].sigmoid().double().numpy(), predictions[0].double().numpy()
        distinct_eyes = (predictions[:, EYES.start] != predictions[:, EYES.stop - 1]).any(1)
        probable = (scores > MIN_PROBABILITY) & distinct_eyes
        scores, predictions = scores[probable], predictions[probable]
        in_photo = unproject(matrix, predictions.reshape(-1, 2)).reshape(predictions.shape)
        in_photo[:, BOX_SIZE] = predictions[:, BOX_SIZE] / magnification(matrix)
        return scores, in_photo


class YuNet:
    """OpenCV's face detector for approximate points, the face mesh for exact ones.

    `path` is face_detection_yunet_2023mar.onnx, UserError if it is damaged. Where YuNet finds no face, `shipped` does.
    """

    def __init__(self, path: Path, shipped: BlazeDetector) -> None:
        self.shipped, self.lock = shipped, Lock()  # OpenCV's detectors are not thread-safe
        try:
            self.network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), YUNET_SCORE)
        except cv2.error:
            raise UserError(
                f"{path.name} cannot be read as a face detector by OpenCV {cv2.__version__}; it is damaged or "
                "something else: delete it and get it again."
            ) from None

    def detect(self, photo: Photo) -> list[Detection]:
        """Faces that YuNet finds, rotated by up to about 45 degrees, or else those of the shipped detector."""
        for scale in dict.fromkeys(min(1.0, side / max(photo.size)) for side in YUNET_SIDES):
            pixels = reduced(photo, scale)
            with self.lock:
                self.network.setInputSize(pixels.shape[1::-1])
                _, rows = self.network.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
            if rows is not None and len(rows):
                # A row holds the box, right eye (left in the picture), left eye, nose, mouth corners, score
                approximate = [row[4:14].reshape(5, 2).astype(np.float64) / scale for row in rows]
                exact = read_upright(photo, self.shipped.landmarks, approximate)
                return [
                    Detection(before if points is None else points, float(row[14]))
                    for row, before, points in zip(rows, approximate, exact, strict=True)
                ]
        return self.shipped.detect(photo)


def reduced(photo: Photo, scale: float) -> np.ndarray:
    """The photo (h, w, 3) at a smaller scale."""
    width, height = (max(1, round(scale * length)) for length in photo.size)
    return photo.warp(np.array([[scale, 0, 0], [0, scale, 0]]), (width, height))


def rotated(size: tuple[int, int], degrees: float, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Matrix (2, 3) that rotates a photo clockwise and reduces its longer side; width and height of the result."""
    linear = rotation(degrees)
    corners = np.array([(0, 0), (size[0], 0), (0, size[1]), size]) @ linear.T
    extent = np.ptp(corners, axis=0)
    scale = side / min(extent.max(), ELONGATED * extent.min())
    width, height = (max(1, round(scale * length)) for length in extent)
    return scale * np.column_stack([linear, -corners.min(0)]), (width, height)


def first_view(prediction: np.ndarray) -> np.ndarray:
    """Matrix (2, 3) of the view around the box of a prediction (8, 2), with level eyes."""
    (middle, box), (left, right) = prediction[:2], prediction[EYES]
    across = (right - left) / np.hypot(*(right - left))
    half = BOX_MARGIN / 2 * box.max() * across
    return similarity(np.array([middle, middle + half]), SIZE * np.array([(0.5, 0.5), (1.0, 0.5)]))


def read_upright(photo: Photo, landmarks: Landmarks, faces: list[np.ndarray]) -> list[np.ndarray | None]:
    """Reads faces of approximate points (5, 2) again in upright views; None for what is no face."""
    views = [MESH_FRAME.matrix(points) for points in faces]
    readings = []
    for view, (points, confidence) in zip(views, landmarks.read(photo, views), strict=True):
        offsets = np.abs(project(view, points) - np.array(MESH_FRAME.points))[ALIGNED_POINTS]
        readings.append(points if confidence > CONFIDENT and offsets.max() < MAX_OFFSET * SIZE else None)
    return readings


def disagreement(prediction: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Weighted distances between a prediction (8, 2) and two readings (5, 2) of a face: small only for real faces."""
    distances = [np.hypot(*offsets.T).max() for offsets in (second - first, second[:2] - prediction[EYES])]
    return float(np.dot(DISAGREEMENT_WEIGHTS, distances) / eye_distance(second))


def best_score(faces: list[Detection]) -> float:
    """The highest score, 0 if there are no faces."""
    return max((face.score for face in faces), default=0.0)


def distinct(faces: list[Detection]) -> list[Detection]:
    """Removes duplicates, keeping the higher score, and sorts by size, largest first."""
    kept: list[Detection] = []
    for face in sorted(faces, key=lambda face: -face.score):
        distances = (np.hypot(*(face.points - other.points).mean(0)) / eye_distance(other.points) for other in kept)
        if all(distance > SAME_FACE for distance in distances):
            kept.append(face)
    return sorted(kept, key=lambda face: magnification(MESH_FRAME.matrix(face.points)))


def eye_distance(points: np.ndarray) -> float:
    """Distance between the eyes of points (5, 2)."""
    return float(np.hypot(*(points[1] - points[0])))


def shows_profile(photo: Photo) -> bool:
    """Whether OpenCV's cascade finds a face in profile, in the photo or its mirror image. UserError if it has none."""
    path = Path(cv2.data.haarcascades) / "haarcascade_profileface.xml"
    cascade, smallest = cv2.CascadeClassifier(str(path)), (PROFILE_MIN, PROFILE_MIN)
    if cascade.empty():
        raise UserError(f"OpenCV {cv2.__version__} brings no {path.name}; install opencv-python-headless>=4.11,<5.")
    grey = cv2.cvtColor(reduced(photo, PROFILE_SIDE / max(photo.size)), cv2.COLOR_RGB2GRAY)
    return any(len(cascade.detectMultiScale(view, 1.1, 4, minSize=smallest)) for view in (grey, grey[:, ::-1]))
