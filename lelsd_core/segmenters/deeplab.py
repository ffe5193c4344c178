"""DeepLab: objects (version 3, torchvision's networks) and scenes (version 2, COCO-Stuff) from the picture.

    picture  --size, mean and scale of the network-->  logits at 1/8  --enlarged to 1/4-->  probabilities (B, P, h, w)

Sources: Chen et al., "DeepLab", PAMI 2018, in the public layout of kazuto1011/deeplab-pytorch; Chen et al., "Rethinking
Atrous Convolution for Semantic Image Segmentation", 2017, in torchvision's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import RefusedError
from lelsd_core.networks import IMAGENET, Normalise, fold
from lelsd_core.segmenters.base import Segmenter, check_labels
from lelsd_core.segmenters.coco import COCO_STUFF, OBJECTS, ClassSegmenter

MARKER_V2, MARKER_V3 = "base.layer1.conv1.conv.weight", "classifier.4.weight"  # tensors that only these layouts have
RATES = (6, 12, 18, 24)  # dilations of version 2's four last convolutions
SCALES = (0.5, 0.75)  # at which version 2 also reads the picture
CAFFE = {"mean": (0.481078, 0.457525, 0.407875), "std": (1 / 255,) * 3}  # 122.675, 116.669, 104.008 of 255
BACKBONES = {23: "deeplabv3_resnet101", 6: "deeplabv3_resnet50"}  # by the number of blocks in the third stage


class DeepLabV3(nn.Module):
    """torchvision's DeepLabV3: normalised picture (B, 3, H, W) → logits (B, classes, H/8, W/8).

    It is built from torchvision's state dict; the auxiliary classifier, which serves the training only, is left out.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        from torchvision.models import segmentation  # slow to import, and only this network needs it

        blocks = {name.split(".")[2] for name in tensors if name.startswith("backbone.layer3.")}
        mobile = "backbone.0.0.weight" in tensors
        name = "deeplabv3_mobilenet_v3_large" if mobile else BACKBONES.get(len(blocks))
        if name is None:
            raise RefusedError(f"its ResNet has {len(blocks)} blocks in the third stage; 6 or 23 were expected")
        state = {name: tensor for name, tensor in tensors.items() if not name.startswith("aux_classifier.")}
        with torch.device("meta"):  # skips the random initialisation
            build_network, classes = getattr(segmentation, name), len(tensors[MARKER_V3])
            network = build_network(weights=None, weights_backbone=None, num_classes=classes)
        network.load_state_dict(state, assign=True)
        self.network = network.to(memory_format=torch.channels_last).eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.network.classifier(self.network.backbone(x)["out"])


class Bottleneck(nn.Module):
    """ResNet bottleneck: 1×1, 3×3, 1×1 and a shortcut; as in Caffe, the first convolution has the stride."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str, stride: int, dilation: int) -> None:
        super().__init__()

        def unit(part: str, **sizes: int) -> nn.Conv2d:
            return fold(tensors, f"{name}.{part}.conv", f"{name}.{part}.bn", **sizes)

        self.reduce, self.middle = unit("reduce", stride=stride), unit("conv3x3", dilation=dilation)
        self.increase = unit("increase")
        projected = f"{name}.shortcut.conv.weight" in tensors
        self.shortcut = unit("shortcut", stride=stride) if projected else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.increase(self.middle(self.reduce(x).relu_()).relu_()) + self.shortcut(x)).relu_()


class DeepLabV2(nn.Module):
    """DeepLabV2 at three scales, of any depth and width: picture (B, 3, H, W) → logits (B, classes, H/8, W/8)."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stem = fold(tensors, "base.layer1.conv1.conv", "base.layer1.conv1.bn", stride=2)
        self.blocks = nn.Sequential()
        for layer, stride, dilation in ((2, 1, 1), (3, 2, 1), (4, 1, 2), (5, 1, 4)):
            prefix = f"base.layer{layer}.block"
            count = len({name.split(".")[2] for name in tensors if name.startswith(prefix)})
            for i in range(max(1, count)):
                self.blocks.append(Bottleneck(tensors, f"{prefix}{i + 1}", stride if i == 0 else 1, dilation))
        self.pyramid = nn.ModuleList(fold(tensors, f"base.aspp.c{i}", dilation=rate) for i, rate in enumerate(RATES))

    def forward(self, x: Tensor) -> Tensor:
        logits = self.one_scale(x)
        for scale in SCALES:
            smaller = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
            other = F.interpolate(self.one_scale(smaller), logits.shape[-2:], mode="bilinear", align_corners=False)
            logits = torch.maximum(logits, other)
        return logits

    def one_scale(self, x: Tensor) -> Tensor:
        """Logits (B, classes, H/8, W/8) of the picture at one scale."""
        x = self.blocks(F.max_pool2d(self.stem(x).relu_(), 3, 2, 1, ceil_mode=True))
        return sum(branch(x) for branch in self.pyramid)


def build_deeplabv3(tensors: Mapping[str, Tensor]) -> Segmenter:
    """Builds the segmenter of a torchvision file, with 20 kinds of objects."""
    return build(DeepLabV3(tensors), tensors[MARKER_V3], Normalise(520, **IMAGENET), OBJECTS)


def build_deeplabv2(tensors: Mapping[str, Tensor]) -> Segmenter:
    """Builds the segmenter of the public COCO-Stuff file, with 182 classes of scenes."""
    last = tensors["base.aspp.c0.weight"]
    return build(DeepLabV2(tensors), last, Normalise(513, **CAFFE, flip=True), COCO_STUFF)


def build(network: nn.Module, last: Tensor, normalise: Normalise, classes: tuple[str, ...]) -> Segmenter:
    """The segmenter. RefusedError if the weight of the last layer has another number of outputs than class names."""
    check_labels(len(last), classes)
    return ClassSegmenter(network, normalise, classes)
