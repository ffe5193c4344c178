"""Where the eyes, the nose and the mouth are in a picture that shows one face, read by a small network.

    picture (B, 3, 64, 64)  -->  one map for each point (B, 5, 64, 64)  --mean of each map-->  points (B, 5, 2)

A map is as wide as the network is unsure, so its spread tells a face from something else. Means of maps as
coordinates: Nibali et al., "Numerical coordinate regression with convolutional neural networks", 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lelsd_core.errors import UserError
from lelsd_core.segmenters.parts import PartsNetwork

SIZE = 64  # pixels of the network's pictures
MIRRORED = [1, 0, 2, 4, 3]  # which point a point becomes in the mirror
WIDTHS = (32, 64, 128)  # channels at 32, 16 and 8 pixels


def landmark_network() -> PartsNetwork:
    """The segmenter's architecture, narrower: one map for each of the five points."""
    return PartsNetwork(5, WIDTHS)


def means(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (B, P, H, W) -> points (B, P, 2) in pixels from the edge, and the maps' spreads (B, P) in pixels."""
    maps = logits.flatten(2).softmax(2).view_as(logits)
    rows, columns = (torch.arange(size, dtype=maps.dtype, device=maps.device) + 0.5 for size in maps.shape[2:])
    across, down = maps.sum(2), maps.sum(3)
    x, y = (across * columns).sum(2), (down * rows).sum(2)
    variance = (across * (columns - x[..., None]) ** 2).sum(2) + (down * (rows - y[..., None]) ** 2).sum(2)
    return torch.stack([x, y], 2), variance.sqrt()


def build_landmarks(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> PartsNetwork:
    """The network of a `landmarks` file. UserError if its tensors do not fit."""
    network = landmark_network()
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError:
        raise UserError("These weights are landmarks of another shape than this version's.") from None
    return network.to(memory_format=torch.channels_last)


class Landmarks:
    """Reads five points in pictures of a face.

    Args:
        network: pictures (B, 3, 64, 64) in [-1, 1] -> maps (B, 5, 64, 64).
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @torch.inference_mode()
    def read(self, views: np.ndarray, mirrored: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Views (N, 64, 64, 3) uint8 -> points (N, 5, 2) in pixels and their mean spread (N,).

        Args:
            mirrored: read the mirrored views as well and take the mean: slower and steadier.
        """
        device = next(self.network.parameters()).device
        pictures = torch.from_numpy(views).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        points, spread = means(self.network(torch.cat([pictures, pictures.flip(3)]) if mirrored else pictures))
        if mirrored:
            (points, back), (spread, other) = points.chunk(2), spread.chunk(2)
            back = torch.stack([SIZE - back[:, MIRRORED, 0], back[:, MIRRORED, 1]], 2)
            points, spread = (points + back) / 2, (spread + other) / 2
        return points.cpu().double().numpy(), spread.mean(1).cpu().double().numpy()
