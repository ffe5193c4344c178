"""MaskFormer: scenes from the picture by a network of the optional package `transformers`; 171 COCO-Stuff classes.

    picture  --640², ImageNet's mean and deviation-->  queries: a class and a mask each  -->  probabilities (B, P, h, w)

A class is where the queries that are of it have their masks. Source: Cheng, Schwing, Kirillov, "Per-Pixel
Classification is Not All You Need for Semantic Segmentation", NeurIPS 2021. Only what a folder holds is read: its
config.json and its tensors; no code of it, and nothing that it names elsewhere.
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
from lelsd_core.segmenters.base import Parts
from lelsd_core.segmenters.names import groups_of

MARKER = "class_predictor.weight"
TENSORS = "model.safetensors"
PACKAGE = "transformers>=5"
SIZE = 640  # the published network's; its feature pyramid wants a multiple of 32
BACKBONES = ("resnet", "maskformer-swin", "swin")  # others may fetch a file


class MaskFormer(nn.Module):
    """Normalised picture (B, 3, H, W) → score of each class (B, classes, H/4, W/4).

    Args:
        network: transformers' `MaskFormerForInstanceSegmentation`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        queries = self.network(pixel_values=x)
        classes = queries.class_queries_logits.softmax(-1)[..., :-1]  # the last one is "nothing"
        return torch.einsum("bqc,bqhw->bchw", classes, queries.masks_queries_logits.sigmoid())


class SceneSegmenter(nn.Module):
    """Classes of a MaskFormer as parts, with the hierarchy above them as groups.

    Args:
        network: what gives the scores.
        classes: names of its channels.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, network: MaskFormer, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.normalise = network, Normalise(SIZE, **IMAGENET)
        self.parts = Parts(classes, groups_of(classes))
        self.name = self.fingerprint = ""

    def segment(self, image: Tensor, features: Mapping[str, Tensor] | None = None) -> Tensor:
        """Probabilities (B, P, 160, 160) that sum to 1 over the parts."""
        scores = self.network(self.normalise(image))
        scores = scores + torch.finfo(scores.dtype).tiny  # where no query has its mask, all classes are alike
        return scores / scores.sum(1, keepdim=True)


def build_maskformer(file: Path) -> SceneSegmenter:
    """The segmenter of a model.safetensors as transformers saves it, config.json beside it.

    Raises:
        UserError: transformers is not installed, the files are others or of another model, or two classes share a name.
    """
    config = read_config(file.with_name("config.json"))
    classes = class_names(config)
    if file.name != TENSORS:
        raise UserError(f"{file} holds a MaskFormer, which is read from {TENSORS} alone.")
    transformers = import_transformers()
    network, report = transformers.MaskFormerForInstanceSegmentation.from_pretrained(
        file.parent,
        config=transformers.MaskFormerConfig.from_dict(config),
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        raise UserError(f"{TENSORS} lacks {len(report['missing_keys'])} tensors of its config's network.")
    return SceneSegmenter(MaskFormer(network), classes)


def read_config(path: Path) -> dict[str, Any]:
    """The config of a MaskFormer. UserError if there is none, or one whose backbone transformers might fetch."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kinds = config["model_type"], (config.get("backbone_config") or {}).get("model_type")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"There is no readable config.json in {path.parent}; it belongs beside the weights.") from None
    if kinds[0] != "maskformer" or kinds[1] not in BACKBONES:
        raise UserError(
            f"{path} is of a {kinds[0]!r} on a {kinds[1]!r}; a maskformer on one of {', '.join(BACKBONES)} would do."
        )
    return config | {"backbone": None, "use_pretrained_backbone": False}


def import_transformers() -> Any:
    """The optional package. UserError if it is not installed."""
    try:
        import transformers  # seconds to import, and only this network needs it
    except ImportError:
        raise UserError(f'MaskFormer needs a package; get it with: pip install "{PACKAGE}"') from None
    return transformers


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes in the order of their channels. UserError if two are the same."""
    numbered = {int(number): " ".join(str(name).lower().split()) for number, name in config.get("id2label", {}).items()}
    names = tuple(numbered[number] for number in sorted(numbered))
    if len(set(names)) != len(names) or sorted(numbered) != list(range(len(names))):
        raise UserError("The names of the classes in config.json are not all different, or one is missing.")
    return names
