"""The five points that faces are aligned by, read in views of a photo with one face each.

photo and matrices of views (192, 192)  --FaceMesh, plain and mirrored-->  irises, nose tip, mouth corners
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from lelsd_core.faces.frame import unproject
from lelsd_core.faces.mesh import NOSE, SIZE, FaceMesh
from lelsd_core.faces.photo import Photo

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
