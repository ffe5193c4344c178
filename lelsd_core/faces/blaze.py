"""Where faces are in a picture: MediaPipe's BlazeFace for near faces.

    picture (B, 3, H, W)  --blocks-->  cells of 8 and of 16 pixels, 2 and 6 anchors in each
                                    -->  a guess for each anchor: score, box, six points

Sources: Bazarevsky et al., "BlazeFace: sub-millisecond neural face detection on mobile GPUs", 2019; the layers of
face_detection_short_range.tflite (Apache-2.0).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Channels of the blocks to the small cells, and on to the large ones; (…, 2): height and width are halved
NEAR = (24, 28, (32, 2), 36, 42, (48, 2), 56, 64, 72, 80, 88)
FAR = ((96, 2), 96, 96, 96, 96)
CELLS = ((8, 2), (16, 6))  # pixels of a cell, anchors in it
NUMBERS = 16  # of a guess: middle and size of its box, six points
BOX_SIZE = 1  # the pair of numbers that is no place
EYES = slice(2, 4)  # the pairs that are the eyes


class Block(nn.Module):
    """A 3×3 convolution in each channel, one of 1×1 across them, added to the input.

    Args:
        inputs, outputs: channels; outputs ≥ inputs, the new ones start from zero.
        stride: 2 halves height and width.
        activation: behind the sum.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activation: nn.Module) -> None:
        super().__init__()
        self.stride, self.more = stride, outputs - inputs
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1 if stride == 1 else 0, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return self.activation(F.pad(x, (0, 0, 0, 0, 0, self.more)) + self.pointwise(self.depthwise(x)))
        halved = F.pad(F.max_pool2d(x, 2), (0, 0, 0, 0, 0, self.more))
        return self.activation(halved + self.pointwise(self.depthwise(F.pad(x, (0, 1, 0, 1)))))


def blocks(inputs: int, widths: tuple[int | tuple[int, int], ...], prelu: bool = False) -> nn.Sequential:
    """Blocks one behind the other; a width (outputs, 2) halves height and width."""
    chain = []
    for width in widths:
        outputs, stride = width if isinstance(width, tuple) else (width, 1)
        chain.append(Block(inputs, outputs, stride, nn.PReLU(outputs) if prelu else nn.ReLU()))
        inputs = outputs
    return nn.Sequential(*chain)


class BlazeFace(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] -> scores (B, N) before the sigmoid, and guesses (B, N, 8, 2) in pixels.

    H and W are multiples of 16; the network learnt from 128, where N is 896 and a face is 25 pixels or more. A guess
    is a box's middle, its width and height, and six points (x, y) from the left and upper edge: the eyes, left before
    right as seen in the picture, nose tip, mouth, ears.
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
        scores = [rows(self.near_scores(near), 1), rows(self.far_scores(far), 1)]
        guesses = [rows(self.near_guesses(near), NUMBERS), rows(self.far_guesses(far), NUMBERS)]
        placed = [
            maps.unflatten(2, (8, 2)) + middles(*pictures.shape[2:], *cell).to(maps.device)
            for maps, cell in zip(guesses, CELLS, strict=True)
        ]
        return torch.cat(scores, 1)[..., 0], torch.cat(placed, 1)


def rows(maps: Tensor, numbers: int) -> Tensor:
    """Maps (B, anchors · numbers, h, w) -> (B, h · w · anchors, numbers)."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, numbers)


def middles(height: int, width: int, cell: int, anchors: int) -> Tensor:
    """What guesses are relative to (N, 8, 2): the middles of the cells, and 0 for a box's size."""
    y, x = ((torch.arange(side // cell) + 0.5) * cell for side in (height, width))
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2).repeat_interleave(anchors, 1).view(-1, 1, 2)
    return places * (torch.arange(8) != BOX_SIZE)[:, None]
