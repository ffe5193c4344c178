"""Identity: how alike two faces are, by a network that was trained to tell people apart.

    picture (1, 3, R, R) + where its eyes and mouth are  --similarity-->  chip  --network-->  embedding
    two embeddings  -->  likeness: 1 = equal; from a network's own `same_person` on, it takes both for one person

Figures of two networks are on different scales and never compared. Sources: King, "High quality face recognition with
deep metric learning" (dlib, 2017), its network and its chip (`get_face_chip_details`, padding 0.25); He et al., "Deep
residual learning for image recognition" (CVPR 2016); Zhong et al., "SFace" (2021), with OpenCV's chip and threshold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import UserError
from lelsd_core.faces.frame import similarity
from lelsd_core.faces.photo import Photo
from lelsd_core.images import to_uint8
from lelsd_core.weights.safetensors import load_tensors, read_safetensors

Points = Sequence[tuple[float, float]]
MEAN = (122.782, 117.001, 104.298)  # of red, green and blue in the photos that dlib's network was trained with
LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))  # channels, blocks, halved
SCALE = ".scale"  # end of the name of the factors of weights that are stored as whole numbers
FETCH = "python -m lelsd_core weights fetch sface"


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is averaged and filled up with zeros where the sizes differ."""

    def __init__(self, inputs: int, channels: int, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.first = nn.Conv2d(inputs, channels, 3, *((2, 0) if halve else (1, 1)))
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x).relu())
        if not self.halve:
            return (x + y).relu()
        x = F.avg_pool2d(x, 2)
        rows, columns = (max(a, b) for a, b in zip(x.shape[2:], y.shape[2:], strict=True))
        return sum(fill(each, y.shape[1], rows, columns) for each in (x, y)).relu()


def fill(maps: Tensor, channels: int, rows: int, columns: int) -> Tensor:
    """Maps (B, C, h, w) with zeros after the last channel, row and column up to a size."""
    return F.pad(maps, (0, columns - maps.shape[3], 0, rows - maps.shape[2], 0, channels - maps.shape[1]))


class FaceEmbedder(nn.Module):
    """dlib's face recognition network: chips (B, 3, 150, 150) in [-1, 1] -> embeddings (B, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 32, 7, 2)
        sizes = [(channels, halve and first == 0) for channels, count, halve in LEVELS for first in range(count)]
        inputs = [32, *(channels for channels, _ in sizes)]
        self.blocks = nn.Sequential(*(Block(before, *size) for before, size in zip(inputs, sizes, strict=False)))
        self.embed = nn.Linear(256, 128, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, chips: Tensor) -> Tensor:
        x = ((chips + 1) * 127.5 - self.mean) / 256
        x = F.max_pool2d(self.enter(x).relu(), 3, 2)
        return self.embed(self.blocks(x).mean((2, 3)))


class Recogniser(ABC):
    """A network that tells how alike two faces are."""

    name: str  # in the catalogue
    same_person: float  # the likeness from which on it takes two faces for one person, as published
    side: int  # width in pixels of its input
    points: Points  # left eye, right eye and mouth in it

    @abstractmethod
    def compare(self, chips: list[np.ndarray]) -> float:
        """The likeness of two chips (side, side, 3), uint8 RGB."""

    def likeness(self, before: Tensor, after: Tensor, points: Points) -> float:
        """The likeness of two faces (1, 3, R, R) in [-1, 1].

        `points`: (x, y) in pixels of left eye, right eye, nose and mouth (or both its corners) in both pictures.
        """
        left, right, _, *mouth = points
        matrix = similarity(np.array([left, right, np.mean(mouth, axis=0)]), np.array(self.points))
        pictures = to_uint8(torch.cat([before, after]))
        return self.compare([Photo(picture).warp(matrix, (self.side, self.side)) for picture in pictures])


class DlibRecogniser(Recogniser):
    """dlib's network, which ships: 1 - the distance of the embeddings; dlib takes a distance below 0.6 for one person.

    `path`: embedder.safetensors. UserError if it is another file.
    """

    name, same_person = "face-identity", 0.4
    side, points = 150, ((47.5, 46.6), (100.5, 46.6), (74.0, 103.0))

    def __init__(self, path: Path) -> None:
        tensors, _ = read_safetensors(path, self.name)
        scales = {name: tensors.pop(name) for name in list(tensors) if name.endswith(SCALE)}
        for name, scale in scales.items():
            weight = name.removesuffix(SCALE) + ".weight"
            tensors[weight] = tensors[weight] * scale
        self.network = load_tensors(FaceEmbedder(), tensors, f"a {self.name}").eval().requires_grad_(False)

    def compare(self, chips: list[np.ndarray]) -> float:
        stacked = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2)
        before, after = self.network(stacked / 127.5 - 1)
        return 1 - float((before - after).norm())


class SFaceRecogniser(Recogniser):
    """SFace, which can be fetched: the cosine of the embeddings; OpenCV takes one from 0.363 on for one person.

    `path`: face_recognition_sface_2021dec.onnx. UserError if it is another file.
    """

    name, same_person = "sface", 0.363
    side, points = 112, ((38.3, 51.7), (73.5, 51.5), (56.1, 92.3))

    def __init__(self, path: Path) -> None:
        try:
            self.network = cv2.FaceRecognizerSF.create(str(path), "")
            self.network.feature(np.zeros((self.side, self.side, 3), np.uint8))
        except cv2.error:
            raise UserError(f"{path.name} is not SFace's ONNX file, or is damaged; fetch it again: {FETCH}") from None

    def compare(self, chips: list[np.ndarray]) -> float:
        before, after = (self.network.feature(chip[..., ::-1].copy()).copy() for chip in chips)
        return float(self.network.match(before, after, cv2.FaceRecognizerSF_FR_COSINE))


@lru_cache(maxsize=2)
def load_recogniser(kind: type[Recogniser], path: Path) -> Recogniser:
    """A recogniser from its file, kept for the next call. UserError for any other file."""
    return kind(path)


SAME_PERSON = {kind.name: kind.same_person for kind in (DlibRecogniser, SFaceRecogniser)}
