"""How true an inversion is: errors of its pixels, LPIPS, and whether a face network takes it for the same person.

    face, picture (1, 3, R, R)  --measure-->  `InversionMetrics`, with a sentence for each number that cannot be had

Nothing is downloaded and nothing is made up: a number whose network is not there is None. Sources: Zhang et al., "The
Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (LPIPS, 2018); Zhong et al., "SFace" (2021).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from lelsd_core.errors import UserError
from lelsd_core.images import to_uint8
from lelsd_core.weights.layouts import state_dict_of
from lelsd_core.weights.torchfile import as_user_error, is_torch_file, read_torch

LARGEST = 256  # pixels across that LPIPS sees
FACE_SIDE = 112  # pixels across that SFace sees
FACE_POINTS = ((38.3, 51.7), (73.5, 51.5), (56.1, 92.3))  # where it expects left eye, right eye and mouth
FEATURES = "features."
EXPECTED = "the weights of torchvision's VGG16 or AlexNet were expected, .safetensors or .pth"
FETCH = "python -m lelsd_core weights fetch"
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class InversionMetrics:
    """How far a picture is from the face that it should show.

    Args:
        l1, l2: mean absolute and mean squared error in [-1, 1] units.
        lpips: perceptual distance, 0 = the same; None without its backbone.
        identity: cosine of the two faces' embeddings, 1 = the same; None without SFace.
        missing: for each None, what is missing and how to get it.
    """

    l1: float
    l2: float
    lpips: float | None
    identity: float | None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetricNetworks:
    """`measure` with the networks that are on this machine, and the frame's points: left and right eye, nose, mouth.

    Args:
        backbone, sface, points: as for `measure`; a frame that gives both mouth corners means the middle of them.
    """

    backbone: Path | None = None
    sface: Path | None = None
    points: Points | None = None

    def __call__(self, before: Tensor, after: Tensor) -> InversionMetrics:
        points = self.points
        if points is not None and len(points) == 5:
            points = (*points[:3], tuple(np.mean(points[3:], axis=0)))
        return measure(before, after, backbone=self.backbone, sface=self.sface, points=points)


def measure(
    before: Tensor,
    after: Tensor,
    *,
    backbone: Path | None = None,
    sface: Path | None = None,
    points: Points | None = None,
) -> InversionMetrics:
    """Compare a picture with the face that it should show.

    Args:
        before, after: (1, 3, R, R) in [-1, 1].
        backbone: weights of LPIPS's VGG16 or AlexNet, .safetensors or .pth, with torchvision's names.
        sface: OpenCV's face_recognition_sface ONNX file.
        points: where the faces' eyes and mouth are, as a frame's points: left eye, right eye, nose, mouth, in pixels.

    Raises:
        ValueError: pictures of different sizes.
        UserError: a file that is not what it should be.
    """
    if before.shape != after.shape:
        raise ValueError(f"pictures differ in size: {tuple(before.shape)} and {tuple(after.shape)}")
    error = after - before
    missing = []
    if backbone is None:
        missing.append(f"LPIPS needs its backbone: {FETCH} lpips-vgg")
    if sface is None:
        missing.append(f"Identity needs SFace: {FETCH} sface")
    elif points is None:
        missing.append("Identity needs to know where eyes and mouth are; these pictures have no frame.")
    return InversionMetrics(
        float(error.abs().mean()),
        float(error.square().mean()),
        None if backbone is None else perceptual(before, after, backbone),
        None if sface is None or points is None else identity(before, after, sface, points),
        tuple(missing),
    )


@torch.no_grad()
def perceptual(before: Tensor, after: Tensor, backbone: Path) -> float:
    """LPIPS of two pictures (1, 3, R, R) in [-1, 1], area-resampled to at most `LARGEST` pixels."""
    network = load_lpips(backbone)
    side = min(before.shape[-1], LARGEST)
    small = (F.interpolate(picture.cpu(), (side, side), mode="area") for picture in (before, after))
    return float(network(*small))


def read_backbone(path: Path) -> dict[str, Tensor]:
    """The convolutions of a classifier by torchvision's names, "features.0.weight". UserError for another file."""
    with as_user_error(path.name, EXPECTED):
        with open(path, "rb") as file:
            if is_torch_file(file.read(512)):
                whole = state_dict_of(read_torch(file, path.stat().st_size, mapped=path))[0]
                return {name: tensor.float().clone() for name, tensor in whole.items() if name.startswith(FEATURES)}
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(FEATURES)]  # noqa: SIM118, not a dict
            return {name: file.get_tensor(name).float() for name in names}


@lru_cache(maxsize=1)
def load_lpips(backbone: Path) -> nn.Module:
    """LPIPS with its published heads on a backbone's weights. UserError if the file is not one of its backbones."""
    import lpips  # takes a second

    tensors = read_backbone(backbone)
    kind = "vgg" if sum(tensor.ndim == 4 for tensor in tensors.values()) == 13 else "alex"
    with warnings.catch_warnings(), torch.device("meta"):  # no random numbers drawn for weights that are there already
        warnings.simplefilter("ignore")  # torchvision's, about arguments that lpips still uses
        network = lpips.LPIPS(net=kind, pnet_rand=True, pretrained=False, verbose=False)
    heads = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{kind}.pth"
    network.load_state_dict(torch.load(heads, map_location="cpu", weights_only=True), strict=False, assign=True)
    wanted = {name: FEATURES + name.split(".", 1)[1] for name in network.net.state_dict()}
    try:
        network.net.load_state_dict({name: tensors[theirs] for name, theirs in wanted.items()}, assign=True)
    except (KeyError, RuntimeError):
        raise UserError(f"{backbone.name} is no backbone of LPIPS; {EXPECTED}.") from None
    return network.requires_grad_(False)


def identity(before: Tensor, after: Tensor, sface: Path, points: Points) -> float:
    """Cosine, in [-1, 1], of the embeddings of two faces (1, 3, R, R) whose points are known."""
    network = load_sface(sface)
    left, right, _, mouth = points
    here = np.float32([left, right, mouth]) - 0.5  # a frame measures from pixel edges, OpenCV from pixel centres
    matrix, _ = cv2.estimateAffinePartial2D(here, np.float32(FACE_POINTS))
    embeddings = []
    for picture in to_uint8(torch.cat([before, after])):
        crop = cv2.warpAffine(picture[..., ::-1].copy(), matrix, (FACE_SIDE, FACE_SIDE), borderMode=cv2.BORDER_REFLECT)
        embeddings.append(network.feature(crop).copy())
    return float(network.match(*embeddings, cv2.FaceRecognizerSF_FR_COSINE))


@lru_cache(maxsize=1)
def load_sface(sface: Path) -> cv2.FaceRecognizerSF:
    """OpenCV's face recogniser. UserError if the file is not its network."""
    try:
        network = cv2.FaceRecognizerSF.create(str(sface), "")
        network.feature(np.zeros((FACE_SIDE, FACE_SIDE, 3), np.uint8))
    except cv2.error:
        raise UserError(
            f"{sface.name} is not SFace's ONNX file, or is damaged; fetch it again: {FETCH} sface"
        ) from None
    return network
