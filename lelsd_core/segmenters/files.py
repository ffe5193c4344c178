"""Reads segmenters from files: this project's say what they are, published ones are recognised by a tensor's name.

file  --read as data-->  tensors and facts  --architecture-->  builder  -->  segmenter
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from lelsd_core.errors import RefusedError, UserError, reading, unknown_name
from lelsd_core.networks import owned, run_on_shapes
from lelsd_core.segmenters import bisenet, deeplab, maskformer
from lelsd_core.segmenters.features import build_feature_segmenter
from lelsd_core.segmenters.unet import UNetSegmenter
from lelsd_core.weights.catalogue import Network
from lelsd_core.weights.layouts import describe_foreign, find_network
from lelsd_core.weights.pickles import read_pickled
from lelsd_core.weights.safetensors import is_safetensors, read_any_safetensors, read_safetensors

EXPECTED = "a segmenter was expected: one of this project's .safetensors, BiSeNet's 79999_iter.pth, or a DeepLab .pth"


class PublishedLayout(NamedTuple):
    """The public file layout of an architecture."""

    about: str  # its name in messages
    marker: str  # the tensor it is recognised by
    build: Callable[..., nn.Module]  # builds the segmenter from its tensors, and from its file where `reads_folder`
    reads_folder: bool = False  # whether the network needs the files beside its own


PUBLISHED: Mapping[str, PublishedLayout] = {  # architecture in the catalogue -> its layout
    "bisenet": PublishedLayout("a face-BiSeNet", bisenet.MARKER, bisenet.FaceSegmenter),
    "deeplabv3": PublishedLayout("torchvision's DeepLabV3", deeplab.MARKER_V3, deeplab.build_deeplabv3),
    "deeplabv2": PublishedLayout("the COCO-Stuff DeepLabV2", deeplab.MARKER_V2, deeplab.build_deeplabv2),
    "maskformer": PublishedLayout("a MaskFormer", maskformer.MARKER, maskformer.build_maskformer, reads_folder=True),
}
METHODS = {"parts": UNetSegmenter, "features": build_feature_segmenter}  # by method in this project's headers


def read_segmenter(path: Path, network: Network | None = None) -> nn.Module:
    """The segmenter of a file of this project, or in a layout of `PUBLISHED`, on the CPU.

    `network` is the one of the catalogue that it must be, with its build options; None accepts any. UserError if the
    file is damaged, foreign or of another architecture, or if its tensors do not fit together.
    """
    required = PUBLISHED.get(network.architecture) if network else None
    with reading(path.name, EXPECTED):
        content, facts = read_content(path)
        if facts is not None:
            method = facts.get("method", "parts")
            if required:
                raise UserError(f"{path.name} holds this project's {method!r}, not {required.about}.")
            if method not in METHODS:
                raise UserError(unknown_name("kind of segmenter", method, METHODS))
            return METHODS[method](content, facts)
        found = find_network(content, [layout.marker for layout in PUBLISHED.values()])
        if found is None:
            raise RefusedError(describe_foreign(content, "segmenter"))
        tensors = found.tensors
        layout = next(layout for layout in PUBLISHED.values() if layout.marker in tensors)
        if required and layout is not required:
            raise UserError(f"{path.name} holds {layout.about}, not {required.about}.")
        if layout.reads_folder:
            return owned(layout.build(tensors, path))
        segmenter = layout.build(tensors, **(network.build if network else {}))
        run_on_shapes(segmenter.network, 1, 3, 128, 128)
        return owned(segmenter)


def read_content(path: Path) -> tuple[Any, dict[str, Any] | None]:
    """What a file holds, and the facts of its header if it is one of this project's."""
    if not is_safetensors(path):
        return read_pickled(path), None
    tensors, facts = read_any_safetensors(path)
    return (tensors, None) if facts is None else read_safetensors(path, "segmenter")
