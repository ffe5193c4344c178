"""Points of a face: MediaPipe's face mesh with attention.

    picture (B, 3, 192, 192)  --blocks-->  features (48²)  --blocks-->  468 rough points, confidence that it is a face
                                              |
                                              +--crops around eyes and mouth, upright--> precise irises and lips

Sources: Kartynnik et al., "Real-time facial surface geometry", 2019; Grishchenko et al., "Attention mesh", 2020; the
layers of face_landmark_with_attention.tflite (Apache-2.0), of whose refinements only irises and lips are used.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.faces.blaze import blocks
from lelsd_core.faces.frame import unproject
from lelsd_core.faces.photo import Photo

SIZE = 192  # pixels of the network's pictures
MESH_POINTS = 468
NOSE = 4  # index of its tip
CROP_SCALE = 1.5  # size of a refined crop over that of its points
CROP_CELLS = 16  # features across a crop
MIRRORED = [1, 0, 2, 4, 3]  # index of each of the five points in the mirrored picture
CORNERS = [0, 10]  # indices of the mouth's corners among the points of the lips
BATCH = 8  # views
CONFIDENT = 0.95  # the network's confidence is above this for nearly all faces; many other things have 0.5


class Refinement(nn.Module):
    """Reads the points of an eye or of the mouth again, from an upright crop of the features around rough points."""

    def __init__(self, points: int, around: int) -> None:
        super().__init__()
        self.register_buffer("around", torch.zeros(around, dtype=torch.long))  # indices of those rough points
        self.register_buffer("ends", torch.zeros(2, dtype=torch.long))  # indices of the two that define "level"
        self.body = blocks(32, (32, 32, (64, 2), 64, 64, (128, 2), 128, 128, (128, 2), 128, 128), prelu=True)
        self.neck = nn.Sequential(nn.Conv2d(128, 32, 1), nn.PReLU(32), *blocks(32, (32,), prelu=True))
        self.head = nn.Conv2d(32, 2 * points, 2)

    def forward(self, features: Tensor, rough: Tensor) -> Tensor:
        """Features (B, 32, 48, 48), rough points (B, 468, 2) in [-1, 1] -> refined points (B, P, 2), likewise."""
        matrix = self.matrix(rough)
        grid = F.affine_grid(matrix, [len(features), 1, CROP_CELLS, CROP_CELLS], align_corners=False)
        inside = (grid.abs() <= 1 - 1 / features.shape[-1]).all(3)  # features outside are zero, without interpolation
        crop = F.grid_sample(features, grid, align_corners=False) * inside[:, None]
        points = self.head(self.neck(self.body(crop))).view(len(crop), -1, 2) / (2 * CROP_CELLS) - 1
        return points @ matrix[:, :, :2].mT + matrix[:, None, :, 2]

    def matrix(self, rough: Tensor) -> Tensor:
        """Rough points (B, 468, 2) -> (B, 2, 3), the crop's coordinates to the picture's, both in [-1, 1]."""
        left, right = rough[:, self.ends].unbind(1)
        across = F.normalize(right - left, dim=1)
        axes = torch.stack([across, torch.stack([-across[:, 1], across[:, 0]], 1)], 2)  # level, downwards
        upright = rough[:, self.around] @ axes
        low, high = upright.amin(1), upright.amax(1)
        middle = ((low + high) / 2)[:, None] @ axes.mT
        return torch.cat([axes * (CROP_SCALE / 2 * (high - low))[:, None], middle.mT], 2)


class FaceMesh(nn.Module):
    """Pictures (B, 3, 192, 192) in [0, 1] -> rough points (B, 468, 3), lips (B, 80, 2), irises (B, 2, 5, 2), logits.

    All points are in pixels from the left and upper edge; left before right as seen in the picture; an iris's first
    point is its centre. The sigmoid of the logits (B,) is the confidence that the picture shows a face. Names of layers
    are those of the weights file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.PReLU(16))
        self.early = blocks(16, (16, 16, (32, 2)), prelu=True)
        self.body = blocks(32, (32, 32, (64, 2), 64, 64, (128, 2), 128, 128, *2 * ((128, 2), 128, 128)), prelu=True)
        self.neck = nn.Sequential(nn.Conv2d(128, 32, 1), nn.PReLU(32), *blocks(32, (32,), prelu=True))
        self.head, self.sure = nn.Conv2d(32, 3 * MESH_POINTS, 3), nn.Conv2d(32, 1, 3)
        self.lips, self.left_iris, self.right_iris = Refinement(80, 80), Refinement(5, 71), Refinement(5, 71)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features = self.early(self.enter(F.pad(pictures, (0, 1, 0, 1))))
        summary = self.neck(self.body(features))
        rough = self.head(summary).view(len(pictures), MESH_POINTS, 3)
        flat = rough[..., :2] / (SIZE / 2) - 1
        irises = torch.stack([self.left_iris(features, flat), self.right_iris(features, flat)], 1)
        lips = self.lips(features, flat)
        return rough, (lips + 1) * (SIZE / 2), (irises + 1) * (SIZE / 2), self.sure(summary).flatten()


class Landmarks:
    """Reads the five points of `frame.POINTS` in views of faces."""

    def __init__(self, network: FaceMesh) -> None:
        self.network = network

    def read(self, photo: Photo, views: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        """Reads each view, a matrix (2, 3) from photo pixels to view pixels, and its mirror image; averages the two.

        Returns:
            For each view, points (5, 2) in the photo and the confidence, in [0, 1], that it shows a face.
        """
        readings = []
        for start in range(0, len(views), BATCH):
            batch = views[start : start + BATCH]
            pictures = pictures_of(photo, batch)
            with torch.inference_mode():
                rough, lips, irises, logits = self.network(torch.cat([pictures, pictures.flip(3)]))
            points = torch.cat([irises[:, :, 0], rough[:, NOSE, None, :2], lips[:, CORNERS]], 1)
            straight, mirrored = points.chunk(2)
            mirrored = torch.stack([SIZE - mirrored[:, MIRRORED, 0], mirrored[:, MIRRORED, 1]], 2)
            points = ((straight + mirrored) / 2).double().numpy()
            confidences = torch.stack(logits.sigmoid().chunk(2)).mean(0).double().tolist()
            readings += [(unproject(*pair), c) for *pair, c in zip(batch, points, confidences, strict=True)]
        return readings

    def mesh(self, photos: Sequence[Photo], view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All points of photos of one size, in the same view of each.

        Returns:
            Points (B, 478, 2) in the photos, the lips and, as 468 to 477, the irises refined; and the confidences (B,).
        """
        points, confidences = [], []
        for start in range(0, len(photos), BATCH):
            pictures = torch.cat([pictures_of(photo, [view]) for photo in photos[start : start + BATCH]])
            with torch.inference_mode():
                rough, lips, irises, logits = self.network(pictures)
            flat = rough[..., :2].index_copy(1, self.network.lips.around, lips)
            points.append(torch.cat([flat, irises.flatten(1, 2)], 1).double().numpy())
            confidences.append(logits.sigmoid().numpy())
        return unproject(view, np.concatenate(points).reshape(-1, 2)).reshape(len(photos), -1, 2), np.concatenate(
            confidences
        )


def pictures_of(photo: Photo, views: Sequence[np.ndarray]) -> Tensor:
    """The network's pictures (B, 3, 192, 192) in [0, 1] of some views of a photo."""
    pixels = np.stack([photo.warp(view, (SIZE, SIZE), cv2.BORDER_CONSTANT) for view in views])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255  # channels last: twice as fast
