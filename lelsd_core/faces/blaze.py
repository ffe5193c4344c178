"""BlazeFace: MediaPipe's detector of near faces.

    picture (B, 3, H, W)  --blocks-->  cells of 8 and of 16 pixels, with 2 and 6 anchors each
                                    -->  a prediction for each anchor: score, box, six points

Sources: Bazarevsky et al., "BlazeFace: sub-millisecond neural face detection on mobile GPUs", 2019; the layers of
face_detection_short_range.tflite (Apache-2.0).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Output channels of the blocks up to the small cells, and up to the large ones; (…, 2): stride 2
NEAR = (24, 28, (32, 2), 36, 42, (48, 2), 56, 64, 72, 80, 88)
FAR = ((96, 2), 96, 96, 96, 96)
CELLS = ((8, 2), (16, 6))  # pixels of a cell, number of its anchors
NUMBERS = 16  # of a prediction: middle and size of its box, six points
BOX_SIZE = 1  # index of the box's size among the 8 pairs of numbers; all other pairs are positions
EYES = slice(2, 4)  # indices of the eyes among them


class Block(nn.Module):
    """Residual block: a depthwise 3×3 convolution and a pointwise one; the shortcut of additional channels is zero."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: nn.Module) -> None:
        super().__init__()
        self.stride, self.new_channels, self.activation = stride, outputs - inputs, activation
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1 if stride == 1 else 0, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.stride == 2:
            shortcut, x = F.max_pool2d(x, 2), F.pad(x, (0, 1, 0, 1))
        return self.activation(F.pad(shortcut, (0, 0, 0, 0, 0, self.new_channels)) + self.pointwise(self.depthwise(x)))


def blocks(inputs: int, widths: tuple[int | tuple[int, int], ...], prelu: bool = False) -> nn.Sequential:
    """A sequence of blocks by their output channels; (channels, 2) has stride 2."""
    chain = []
    for width in widths:
        outputs, stride = width if isinstance(width, tuple) else (width, 1)
        chain.append(Block(inputs, outputs, stride, nn.PReLU(outputs) if prelu else nn.ReLU()))
        inputs = outputs
    return nn.Sequential(*chain)


class BlazeFace(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] -> scores (B, N) before the sigmoid, and predictions (B, N, 8, 2) in pixels.

    H and W are multiples of 16; the training size is 128, where N is 896 and a face has 25 pixels or more. A prediction
    is a box's middle, its width and height, and six points (x, y) from the left and upper edge: the eyes, left before
    right as seen in the picture, nose tip, mouth, ears. Names of layers are those of the weights file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 24, 5, 2)
        self.near, self.far = blocks(24, NEAR), blocks(88, FAR)
        (_, near), (_, far) = CELLS
        self.near_scores, self.near_guesses = nn.Conv2d(88, near, 1), nn.Conv2d(88, NUMBERS * near, 1)
        self.far_scores, self.far_guesses = nn.Conv2d(96, far, 1), nn.Conv2d(96, NUMBERS * far, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        near = self.near(F.relu(self.enter(F.pad(pictures, (1, 2, 1, 2)))))
        far = self.far(near)
        scores, predictions = [], []
        for score_maps, maps, (cell, anchors) in (
            (self.near_scores(near), self.near_guesses(near), CELLS[0]),
            (self.far_scores(far), self.far_guesses(far), CELLS[1]),
        ):
            offsets = maps.permute(0, 2, 3, 1).reshape(len(maps), -1, 8, 2)  # (B, h · w · anchors, 8, 2)
            predictions.append(offsets + anchor_positions(*pictures.shape[2:], cell, anchors).to(maps.device))
            scores.append(score_maps.permute(0, 2, 3, 1).flatten(1))
        return torch.cat(scores, 1), torch.cat(predictions, 1)


def anchor_positions(height: int, width: int, cell: int, anchors: int) -> Tensor:
    """The origin of each number of a prediction (N, 8, 2): the cell's middle, or 0 for a box's size."""
    y, x = ((torch.arange(side // cell) + 0.5) * cell for side in (height, width))
    middles = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2).repeat_interleave(anchors, 1).view(-1, 1, 2)
    return middles * (torch.arange(8) != BOX_SIZE)[:, None]
