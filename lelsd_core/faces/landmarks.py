"""Where the eyes, the nose and the mouth are in a picture that shows one face: MediaPipe's face mesh with attention.

    picture (B, 3, 192, 192)  --blocks-->  features (48²)  --blocks-->  468 rough points and how surely this is a face
                                              |
                                              +--cut out around eyes and mouth, upright--> irises and lips, exactly

Sources: Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", 2019; Grishchenko et
al., "Attention mesh: high-fidelity face mesh prediction in real-time", 2020; the layers of
face_landmark_with_attention.tflite (Apache-2.0). Of its refinements, irises and lips are kept.
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
POINTS = 468
NOSE = 4  # the tip
REGION = 1.5  # a region is that much larger than what it is around
CELLS = 16  # features across a region


class Region(nn.Module):
    """A part of the face, cut upright out of the features and read again.

    Args:
        points: how many it has.
        around: how many of the rough points it is cut out around.
    """

    def __init__(self, points: int, around: int) -> None:
        super().__init__()
        self.register_buffer("around", torch.zeros(around, dtype=torch.long))  # which of the rough points
        self.register_buffer("ends", torch.zeros(2, dtype=torch.long))  # the two that come to lie level
        self.body = blocks(32, (32, 32, (64, 2), 64, 64, (128, 2), 128, 128, (128, 2), 128, 128), prelu=True)
        self.neck = nn.Sequential(nn.Conv2d(128, 32, 1), nn.PReLU(32), *blocks(32, (32,), prelu=True))
        self.head = nn.Conv2d(32, 2 * points, 2)

    def forward(self, features: Tensor, rough: Tensor) -> Tensor:
        """Features (B, 32, 48, 48), rough points (B, 468, 2) from -1 to 1 -> its points (B, P, 2), likewise."""
        matrix = self.matrix(rough)
        grid = F.affine_grid(matrix, [len(features), 1, CELLS, CELLS], align_corners=False)
        inside = (grid.abs() <= 1 - 1 / features.shape[-1]).all(3)  # no mixing with what lies outside
        cut = F.grid_sample(features, grid, align_corners=False) * inside[:, None]
        found = self.head(self.neck(self.body(cut))).view(len(cut), -1, 2) / (2 * CELLS) - 1
        return found @ matrix[:, :, :2].mT + matrix[:, None, :, 2]

    def matrix(self, rough: Tensor) -> Tensor:
        """Rough points (B, 468, 2) -> (B, 2, 3), the region's coordinates to the picture's, both from -1 to 1."""
        left, right = rough[:, self.ends].unbind(1)
        across = F.normalize(right - left, dim=1)
        axes = torch.stack([across, torch.stack([-across[:, 1], across[:, 0]], 1)], 2)  # level, downwards
        placed = rough[:, self.around] @ axes
        low, high = placed.amin(1), placed.amax(1)
        middle = ((low + high) / 2)[:, None] @ axes.mT
        return torch.cat([axes * (REGION / 2 * (high - low))[:, None], middle.mT], 2)


class FaceMesh(nn.Module):
    """Pictures (B, 3, 192, 192) in [0, 1] -> rough points (B, 468, 3), lips (B, 80, 2), irises (B, 2, 5, 2), sureness.

    All points are in pixels from the left and upper edge; left before right as seen in the picture; an iris's first
    point is its centre. The sureness (B,) that the picture shows a face is to go through a sigmoid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.PReLU(16))
        self.early = blocks(16, (16, 16, (32, 2)), prelu=True)
        self.body = blocks(32, (32, 32, (64, 2), 64, 64, (128, 2), 128, 128, *2 * ((128, 2), 128, 128)), prelu=True)
        self.neck = nn.Sequential(nn.Conv2d(128, 32, 1), nn.PReLU(32), *blocks(32, (32,), prelu=True))
        self.head, self.sure = nn.Conv2d(32, 3 * POINTS, 3), nn.Conv2d(32, 1, 3)
        self.lips, self.left_iris, self.right_iris = Region(80, 80), Region(5, 71), Region(5, 71)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features = self.early(self.enter(F.pad(pictures, (0, 1, 0, 1))))
        summary = self.neck(self.body(features))
        rough = self.head(summary).view(len(pictures), POINTS, 3)
        flat = rough[..., :2] / (SIZE / 2) - 1
        irises = torch.stack([self.left_iris(features, flat), self.right_iris(features, flat)], 1)
        lips = self.lips(features, flat)
        return rough, (lips + 1) * (SIZE / 2), (irises + 1) * (SIZE / 2), self.sure(summary).flatten()


MIRRORED = [1, 0, 2, 4, 3]  # which point a point becomes in the mirror
CORNERS = [0, 10]  # of the mouth, among the points of the lips
BATCH = 8  # views at a time: a crowd takes no more memory than a few faces
SURE = 0.95  # the network is of nearly all faces, from 0 to 1; it says 0.5 of many other things


class Landmarks:
    """Reads five points in views of faces, `frame.POINTS`."""

    def __init__(self, network: FaceMesh) -> None:
        self.network = network

    def read(self, photo: Photo, views: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        """Matrices (2, 3), photo -> view -> for each, points (5, 2) in the photo and how surely it shows a face."""
        found = []
        for start in range(0, len(views), BATCH):
            some = views[start : start + BATCH]
            pictures = np.stack([photo.warp(view, (SIZE, SIZE), cv2.BORDER_CONSTANT) for view in some])
            found += zip(some, *self.read_views(pictures), strict=True)
        return [(unproject(view, points), float(sure)) for view, points, sure in found]

    @torch.inference_mode()
    def read_views(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views (N, 192, 192, 3) uint8 -> points (N, 5, 2) in pixels, and how surely each shows a face (N,), in [0, 1].

        The mirrored views are read as well; the means are steadier.
        """
        pictures = torch.from_numpy(views).permute(0, 3, 1, 2).float() / 255  # channels last: twice as fast
        (points, back), (sure, other) = (half.chunk(2) for half in self.five(torch.cat([pictures, pictures.flip(3)])))
        back = torch.stack([SIZE - back[:, MIRRORED, 0], back[:, MIRRORED, 1]], 2)
        return ((points + back) / 2).double().numpy(), ((sure + other) / 2).double().numpy()

    def five(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, 192, 192) in [0, 1] -> the points (B, 5, 2) and the sureness (B,)."""
        rough, lips, irises, sure = self.network(pictures)
        return torch.cat([irises[:, :, 0], rough[:, NOSE, None, :2], lips[:, CORNERS]], 1), sure.sigmoid()
