"""MaskFormer: scenes, 171 COCO-Stuff classes, by a network of the optional package `transformers`.

    picture  --640², ImageNet's mean and deviation-->  queries: a class and a mask each  -->  probabilities (B, P, h, w)

The score of a class at a pixel is the sum over queries of class probability × mask. Source: Cheng, Schwing, Kirillov,
"Per-Pixel Classification is Not All You Need for Semantic Segmentation", NeurIPS 2021. Only the config.json beside the
tensors is read; transformers opens no file and downloads nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lelsd_core.errors import UserError
from lelsd_core.networks import IMAGENET, Normalise
from lelsd_core.segmenters.base import Segmenter, check_labels
from lelsd_core.segmenters.coco import ClassSegmenter

MARKER = "class_predictor.weight"  # a tensor that only this layout has
SIZE = 640  # the published network's; its feature pyramid needs a multiple of 32
BACKBONES = ("resnet", "maskformer-swin", "swin")  # transformers may download a file for others


class MaskFormer(nn.Module):
    """Normalised picture (B, 3, H, W) → logits (B, classes, H/4, W/4), by transformers' network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        queries = self.network(pixel_values=x)
        classes = queries.class_queries_logits.softmax(-1)[..., :-1]  # the last class is "no object"
        scores = torch.einsum("bqc,bqhw->bchw", classes, queries.masks_queries_logits.sigmoid())
        return (scores + torch.finfo(scores.dtype).tiny).log()


def build_maskformer(tensors: Mapping[str, Tensor], file: Path) -> Segmenter:
    """Builds the segmenter of tensors as transformers names them, with config.json beside their file.

    UserError if transformers is not installed, the files are of another model, or two classes share a name.
    """
    config, classes = read_config(file.with_name("config.json"))
    check_labels(len(tensors[MARKER]) - 1, classes)  # one more is "no object"
    try:
        import transformers  # seconds to import, and only this network needs it
    except ImportError:
        raise UserError('MaskFormer needs a package; get it with: pip install "transformers>=5"') from None
    network, report = transformers.MaskFormerForInstanceSegmentation.from_pretrained(
        None,
        config=transformers.MaskFormerConfig.from_dict(config),
        state_dict=dict(tensors),
        output_loading_info=True,
    )
    if report["missing_keys"]:
        raise UserError(f"{file.name} lacks {len(report['missing_keys'])} tensors of its config's network.")
    return ClassSegmenter(MaskFormer(network), Normalise(SIZE, **IMAGENET), classes)


def read_config(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A MaskFormer's config and the names of its classes. UserError if transformers might download its backbone."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        model, backbone = config["model_type"], (config.get("backbone_config") or {}).get("model_type")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"There is no readable config.json in {path.parent}; it belongs beside the weights.") from None
    if model != "maskformer" or backbone not in BACKBONES:
        raise UserError(
            f"{path} is of a {model!r} with backbone {backbone!r}; a maskformer with one of {', '.join(BACKBONES)} "
            "was expected."
        )
    names = {int(number): " ".join(str(name).lower().split()) for number, name in config.get("id2label", {}).items()}
    if len(set(names.values())) != len(names) or sorted(names) != list(range(len(names))):
        raise UserError("The names of the classes in config.json are not all different, or one is missing.")
    config |= {"backbone": None, "use_pretrained_backbone": False}
    return config, tuple(names[number] for number in range(len(names)))
