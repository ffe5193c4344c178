"""Face parsing: BiSeNet with 19 labels, as published by zllrunning/face-parsing.PyTorch.

    picture  --512², ImageNet's mean and deviation-->  ResNet-18 at 1/8, 1/16, 1/32  -->  logits (B, 19, 512, 512)

Source: Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", ECCV 2018. The two
auxiliary heads, which serve the training only, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import RefusedError, printable
from lelsd_core.networks import IMAGENET, Normalise, fold
from lelsd_core.segmenters.base import Parts, Segmenter, check_labels

MARKER = "cp.resnet.conv1.weight"  # a tensor that only this layout has
LAST = "conv_out.conv_out.weight"  # (labels, 256, 1, 1)
PLACES = ("cp.", "ffm.", "conv_out.", "conv_out16.", "conv_out32.")  # where its tensors are; others have a spatial path
LABELS = (
    *("background", "skin", "left brow", "right brow", "left eye", "right eye", "glasses", "left ear", "right ear"),
    *("earrings", "nose", "inner mouth", "upper lip", "lower lip", "neck", "necklace", "clothes", "hair", "hat"),
)
JOINED: Mapping[str, tuple[str, ...]] = {  # left and right are unreliable in the published weights
    "brows": ("left brow", "right brow"),
    "eyes": ("left eye", "right eye"),
    "ears": ("left ear", "right ear"),
    "mouth": ("inner mouth", "upper lip", "lower lip"),
}
GROUPS: Mapping[str, tuple[str, ...]] = {
    "face": ("skin", "brows", "eyes", "glasses", "nose", "mouth"),
    "head": ("face", "ears", "earrings", "hair", "hat"),
    "person": ("head", "neck", "necklace", "clothes"),
    "jewellery": ("earrings", "necklace"),
}
SINGLE_GROUPS = {"lips": ("upper lip", "lower lip"), **JOINED, **GROUPS}  # for the 19 labels as they are


class BasicBlock(nn.Module):
    """ResNet block: two 3×3 convolutions and a shortcut."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str, stride: int) -> None:
        super().__init__()
        self.first = fold(tensors, f"{name}.conv1", f"{name}.bn1", stride=stride)
        self.second = fold(tensors, f"{name}.conv2", f"{name}.bn2")
        down = f"{name}.downsample"
        self.shortcut = fold(tensors, f"{down}.0", f"{down}.1", stride=stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.second(self.first(x).relu_()) + self.shortcut(x)).relu_()


class Attention(nn.Module):
    """Attention refinement: a convolution, its channels weighted by a function of their means over the picture."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        self.conv = fold(tensors, f"{name}.conv.conv", f"{name}.conv.bn")
        self.weight = fold(tensors, f"{name}.conv_atten", f"{name}.bn_atten")

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu_()
        return x * self.weight(x.mean((2, 3), keepdim=True)).sigmoid()


class BiSeNet(nn.Module):
    """Normalised picture (B, 3, H, W) → logits (B, labels, H, W), built from the published state dict."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()

        def unit(name: str) -> nn.Conv2d:
            return fold(tensors, f"{name}.conv", f"{name}.bn")

        self.stem = fold(tensors, "cp.resnet.conv1", "cp.resnet.bn1", stride=2)
        self.stages = nn.ModuleList()
        for name, stride in (("layer1", 1), ("layer2", 2), ("layer3", 2), ("layer4", 2)):
            first = BasicBlock(tensors, f"cp.resnet.{name}.0", stride)
            self.stages.append(nn.Sequential(first, BasicBlock(tensors, f"cp.resnet.{name}.1", 1)))
        self.attend16, self.attend32 = Attention(tensors, "cp.arm16"), Attention(tensors, "cp.arm32")
        self.head16, self.head32 = unit("cp.conv_head16"), unit("cp.conv_head32")
        self.mean, self.fuse = unit("cp.conv_avg"), unit("ffm.convblk")
        self.squeeze, self.excite = fold(tensors, "ffm.conv1"), fold(tensors, "ffm.conv2")
        self.out, self.classify = unit("conv_out.conv"), fold(tensors, "conv_out.conv_out")

    def forward(self, x: Tensor) -> Tensor:
        stage1, stage2, stage3, stage4 = self.stages
        x8 = stage2(stage1(F.max_pool2d(self.stem(x).relu_(), 3, 2, 1)))  # (B, 128, H/8, W/8)
        x16 = stage3(x8)
        x32 = stage4(x16)
        deep = self.attend32(x32) + self.mean(x32.mean((2, 3), keepdim=True)).relu_()
        deep = self.head32(F.interpolate(deep, x16.shape[-2:])).relu_()
        deep = self.head16(F.interpolate(self.attend16(x16) + deep, x8.shape[-2:])).relu_()
        fused = self.fuse(torch.cat([x8, deep], 1)).relu_()  # (B, 256, H/8, W/8)
        weight = self.excite(self.squeeze(fused.mean((2, 3), keepdim=True)).relu_()).sigmoid()
        logits = self.classify(self.out(fused + fused * weight).relu_())
        return F.interpolate(logits, x.shape[-2:], mode="bilinear", align_corners=True)


class FaceSegmenter(Segmenter):
    """Segmenter of faces aligned as FFHQ's, from a published state dict.

    `merged` joins the labels of left and right, and those of the mouth, by adding their probabilities.
    """

    size = 512

    def __init__(self, tensors: Mapping[str, Tensor], *, merged: bool = True) -> None:
        super().__init__()
        check_labels(len(tensors[LAST]), LABELS)
        if others := [name for name in tensors if not name.startswith(PLACES)]:
            raise RefusedError(f"it is a BiSeNet of another kind, with tensors such as {printable(others[0])}")
        part_of = {label: part for part, labels in JOINED.items() for label in labels} if merged else {}
        channels: dict[str, list[int]] = {}  # by part
        for channel, label in enumerate(LABELS):
            channels.setdefault(part_of.get(label, label), []).append(channel)
        self.network, self.parts = BiSeNet(tensors), Parts(channels, GROUPS if merged else SINGLE_GROUPS)
        self.normalise, self.channels = Normalise(self.size, **IMAGENET), list(channels.values())

    def segment(self, image: Tensor, features: Mapping[str, Tensor] | None = None) -> Tensor:
        labels = self.network(self.normalise(image)).softmax(1)  # (B, 19, 512, 512)
        return torch.stack([labels[:, channels].sum(1) for channels in self.channels], 1)
