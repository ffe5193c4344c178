"""Face-BiSeNet: 19 labels of a face from the picture, as published by zllrunning/face-parsing.PyTorch.

    picture  --512², ImageNet's mean and deviation-->  ResNet-18 at 1/8, 1/16, 1/32  -->  logits (B, 19, 512, 512)

Source: Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", ECCV 2018. Only the
output that is used is built; the two auxiliary heads served its training. Nothing is ever downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.networks import IMAGENET, Normalise, fold
from lelsd_core.segmenters.base import Parts

MARKER = "cp.resnet.conv1.weight"
LABELS = (
    *("background", "skin", "left brow", "right brow", "left eye", "right eye", "glasses", "left ear", "right ear"),
    *("earrings", "nose", "inner mouth", "upper lip", "lower lip", "neck", "necklace", "clothes", "hair", "hat"),
)
MERGED: Mapping[str, tuple[str, ...]] = {  # left and right are unreliable in the published weights
    "background": ("background",),
    "skin": ("skin",),
    "brows": ("left brow", "right brow"),
    "eyes": ("left eye", "right eye"),
    "glasses": ("glasses",),
    "ears": ("left ear", "right ear"),
    "earrings": ("earrings",),
    "nose": ("nose",),
    "mouth": ("inner mouth", "upper lip", "lower lip"),
    "neck": ("neck",),
    "necklace": ("necklace",),
    "clothes": ("clothes",),
    "hair": ("hair",),
    "hat": ("hat",),
}
GROUPS: Mapping[str, tuple[str, ...]] = {
    "face": ("skin", "brows", "eyes", "glasses", "nose", "mouth"),
    "head": ("face", "ears", "earrings", "hair", "hat"),
    "person": ("head", "neck", "necklace", "clothes"),
    "jewellery": ("earrings", "necklace"),
}
SINGLE_GROUPS = {"lips": ("upper lip", "lower lip"), **{k: v for k, v in MERGED.items() if len(v) > 1}, **GROUPS}


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str, stride: int) -> None:
        super().__init__()
        self.first = fold(tensors, f"{name}.conv1", f"{name}.bn1", stride=stride)
        self.second = fold(tensors, f"{name}.conv2", f"{name}.bn2")
        down = f"{name}.downsample"
        self.shortcut = fold(tensors, f"{down}.0", f"{down}.1", stride=stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.second(self.first(x).relu_()) + self.shortcut(x)).relu_()


class Attention(nn.Module):
    """A convolution whose channels are weighed by their own means over the picture."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        self.conv = fold(tensors, f"{name}.conv.conv", f"{name}.conv.bn")
        self.weigh = fold(tensors, f"{name}.conv_atten", f"{name}.bn_atten")

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu_()
        return x * self.weigh(x.mean((2, 3), keepdim=True)).sigmoid()


class BiSeNet(nn.Module):
    """Normalised picture (B, 3, H, W) → logits (B, labels, H, W). Built from the published state dict.

    KeyError or RuntimeError if tensors are missing or do not fit.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()

        def unit(name: str) -> nn.Conv2d:
            return fold(tensors, f"{name}.conv", f"{name}.bn")

        self.stem = fold(tensors, "cp.resnet.conv1", "cp.resnet.bn1", stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(BasicBlock(tensors, f"cp.resnet.layer{i}.{j}", 2 if i > 1 and j == 0 else 1) for j in (0, 1))
            )
            for i in (1, 2, 3, 4)
        )
        self.attend16, self.attend32 = Attention(tensors, "cp.arm16"), Attention(tensors, "cp.arm32")
        self.head16, self.head32 = unit("cp.conv_head16"), unit("cp.conv_head32")
        self.mean = unit("cp.conv_avg")
        self.fuse = unit("ffm.convblk")
        self.squeeze, self.excite = fold(tensors, "ffm.conv1"), fold(tensors, "ffm.conv2")
        self.out, self.classify = unit("conv_out.conv"), fold(tensors, "conv_out.conv_out")

    def forward(self, x: Tensor) -> Tensor:
        eighth = self.coarse(x)
        return F.interpolate(eighth, x.shape[-2:], mode="bilinear", align_corners=True)

    def coarse(self, x: Tensor) -> Tensor:
        """Logits (B, labels, H/8, W/8), before they are enlarged."""
        one, two, three, four = self.stages
        x8 = two(one(F.max_pool2d(self.stem(x).relu_(), 3, 2, 1)))
        x16 = three(x8)
        x32 = four(x16)
        deep = self.attend32(x32) + self.mean(x32.mean((2, 3), keepdim=True)).relu_()
        deep = self.head32(F.interpolate(deep, x16.shape[-2:])).relu_()
        deep = self.head16(F.interpolate(self.attend16(x16) + deep, x8.shape[-2:])).relu_()
        fused = self.fuse(torch.cat([x8, deep], 1)).relu_()  # (B, 256, H/8, W/8)
        weight = self.excite(self.squeeze(fused.mean((2, 3), keepdim=True)).relu_()).sigmoid()
        return self.classify(self.out(fused + fused * weight).relu_())


class FaceSegmenter(nn.Module):
    """Parts of aligned faces, as FFHQ has them, read from the picture.

    Args:
        network: normalised picture → logits of `LABELS`.
        merge: labels that make up each part; their probabilities are added.
        groups: names for several parts at once.
    """

    needs: tuple[str, ...] = ()
    size = 512

    def __init__(
        self, network: BiSeNet, merge: Mapping[str, tuple[str, ...]], groups: Mapping[str, tuple[str, ...]]
    ) -> None:
        super().__init__()
        self.network, self.parts = network, Parts(merge, groups)
        self.normalise = Normalise(self.size, **IMAGENET)
        self.merge = [[LABELS.index(label) for label in labels] for labels in merge.values()]
        self.name = self.fingerprint = ""

    def segment(self, image: Tensor, features: Mapping[str, Tensor] | None = None) -> Tensor:
        """Probabilities (B, P, 512, 512) that sum to 1 over the parts."""
        labels = self.network(self.normalise(image)).softmax(1)
        return torch.stack([labels[:, row].sum(1) for row in self.merge], 1)


def build_bisenet(tensors: Mapping[str, Tensor], *, merged: bool = True) -> FaceSegmenter:
    """The segmenter of a published file; `merged`: left and right, and the parts of the mouth, as one part each."""
    merge = MERGED if merged else {label: (label,) for label in LABELS}
    return FaceSegmenter(BiSeNet(tensors), merge, GROUPS if merged else SINGLE_GROUPS)
