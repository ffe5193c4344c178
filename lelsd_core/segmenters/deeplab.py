"""DeepLab: objects (version 3, torchvision's networks) and scenes (version 2, COCO-Stuff) from the picture.

    picture  --size, mean and scale of the network-->  logits at 1/8  --enlarged to 1/4-->  probabilities (B, P, h, w)

Sources: Chen et al., "DeepLab", PAMI 2018, in the public layout of kazuto1011/deeplab-pytorch; Chen et al., "Rethinking
Atrous Convolution for Semantic Image Segmentation", 2017, in torchvision's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import UserError
from lelsd_core.networks import IMAGENET, Normalise, fold
from lelsd_core.segmenters.base import Parts
from lelsd_core.segmenters.names import COCO_STUFF, OBJECTS, groups_of

MARKER_V2, MARKER_V3 = "base.layer1.conv1.conv.weight", "classifier.4.weight"
RATES = (6, 12, 18, 24)  # dilations of version 2's four last convolutions
SCALES = (0.5, 0.75)  # at which version 2 looks again
CAFFE = {"mean": (0.481078, 0.457525, 0.407875), "std": (1 / 255,) * 3}  # 122.675, 116.669, 104.008 of 255
BACKBONES = {23: "deeplabv3_resnet101", 6: "deeplabv3_resnet50"}  # by the blocks of the third stage


class Coarse(Protocol):
    """A network that also gives its logits as small as they are made."""

    def coarse(self, x: Tensor) -> Tensor:
        """Normalised picture (B, 3, H, W) → logits (B, classes, H/8, W/8)."""
        ...


class DeepLabV3(nn.Module):
    """torchvision's DeepLabV3: normalised picture (B, 3, H, W) → logits (B, classes, H, W).

    Args:
        tensors: torchvision's state dict; its auxiliary classifier, which served the training, is left out.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        from torchvision.models import segmentation  # a second to import, and only this network needs it

        blocks = {name.split(".")[2] for name in tensors if name.startswith("backbone.layer3.")}
        mobile = "backbone.0.0.weight" in tensors
        build = "deeplabv3_mobilenet_v3_large" if mobile else BACKBONES.get(len(blocks))
        if build is None:
            raise ValueError(f"its ResNet has {len(blocks)} blocks in the third stage; 6 or 23 were expected")
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("aux_classifier.")}
        classes = len(tensors[MARKER_V3])
        with torch.device("meta"):  # no random numbers drawn for weights that are there already
            network = getattr(segmentation, build)(weights=None, weights_backbone=None, num_classes=classes)
        network.load_state_dict(kept, assign=True)
        self.network = network.to(memory_format=torch.channels_last).eval()

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.coarse(x), x.shape[-2:], mode="bilinear", align_corners=False)

    def coarse(self, x: Tensor) -> Tensor:
        """Logits (B, classes, H/8, W/8), before they are enlarged."""
        return self.network.classifier(self.network.backbone(x)["out"])


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 and a shortcut; Caffe's kind, whose first convolution has the stride."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str, stride: int, dilation: int) -> None:
        super().__init__()

        def unit(part: str, **sizes: int) -> nn.Conv2d:
            return fold(tensors, f"{name}.{part}.conv", f"{name}.{part}.bn", **sizes)

        self.reduce, self.middle = unit("reduce", stride=stride), unit("conv3x3", dilation=dilation)
        self.increase = unit("increase")
        first = f"{name}.shortcut.conv.weight" in tensors
        self.shortcut = unit("shortcut", stride=stride) if first else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.increase(self.middle(self.reduce(x).relu_()).relu_()) + self.shortcut(x)).relu_()


class DeepLabV2(nn.Module):
    """DeepLabV2 at three scales: normalised picture (B, 3, H, W) → logits (B, classes, H/8, W/8).

    Args:
        tensors: the public state dict, under `base.`; the numbers of blocks and channels are read off it.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stem = fold(tensors, "base.layer1.conv1.conv", "base.layer1.conv1.bn", stride=2)
        blocks: list[Bottleneck] = []
        for layer, stride, dilation in ((2, 1, 1), (3, 2, 1), (4, 1, 2), (5, 1, 4)):
            prefix = f"base.layer{layer}.block"
            count = len({name.split(".")[2] for name in tensors if name.startswith(prefix)})
            blocks += [
                Bottleneck(tensors, f"{prefix}{i + 1}", stride if i == 0 else 1, dilation) for i in range(max(1, count))
            ]
        self.blocks = nn.Sequential(*blocks)
        self.pyramid = nn.ModuleList(fold(tensors, f"base.aspp.c{i}", dilation=rate) for i, rate in enumerate(RATES))

    def forward(self, x: Tensor) -> Tensor:
        best = self.coarse_once(x)
        for scale in SCALES:
            smaller = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
            again = F.interpolate(self.coarse_once(smaller), best.shape[-2:], mode="bilinear", align_corners=False)
            best = torch.maximum(best, again)
        return best

    coarse = forward  # this network's logits stay small

    def coarse_once(self, x: Tensor) -> Tensor:
        """Logits of one scale."""
        x = self.blocks(F.max_pool2d(self.stem(x).relu_(), 3, 2, 1, ceil_mode=True))
        return sum(branch(x) for branch in self.pyramid)


class ClassSegmenter(nn.Module):
    """Classes of a DeepLab as parts, with the hierarchy above them as groups.

    Args:
        network: normalised picture → logits.
        normalise: [-1, 1] → what the network was trained on.
        classes: names of its channels.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, network: Coarse, normalise: Normalise, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.normalise = network, normalise
        self.parts = Parts(classes, groups_of(classes))
        self.name = self.fingerprint = ""

    def segment(self, image: Tensor, features: Mapping[str, Tensor] | None = None) -> Tensor:
        """Probabilities (B, P, h, w) at a quarter of the network's size: 182 classes at full size fill 200 MB each."""
        size = self.normalise.size // 4
        logits = self.network.coarse(self.normalise(image))
        return F.interpolate(logits, (size, size), mode="bilinear", align_corners=False).softmax(1)


def build_deeplabv3(tensors: Mapping[str, Tensor]) -> ClassSegmenter:
    """The segmenter of a torchvision file: cars, horses, people and 17 other kinds of objects."""
    network = DeepLabV3(tensors)
    check_classes(len(tensors[MARKER_V3]), OBJECTS)
    return ClassSegmenter(network, Normalise(520, **IMAGENET), OBJECTS)


def build_deeplabv2(tensors: Mapping[str, Tensor]) -> ClassSegmenter:
    """The segmenter of the public COCO-Stuff file: 182 things and stuffs."""
    network = DeepLabV2(tensors)
    check_classes(len(tensors["base.aspp.c0.weight"]), COCO_STUFF)
    return ClassSegmenter(network, Normalise(513, **CAFFE, flip=True), COCO_STUFF)


def check_classes(found: int, expected: tuple[str, ...]) -> None:
    """UserError if a file has another number of classes than there are names for."""
    if found != len(expected):
        raise UserError(f"These weights tell {found} classes apart; a file with {len(expected)} was expected.")
