"""Any segmenter file → a segmenter: this project's say what they are, published ones are known by their tensors' names.

file  --read as data-->  tensors and facts  --kind-->  segmenter
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from lelsd_core.errors import UserError, unknown_name
from lelsd_core.segmenters import bisenet, deeplab, maskformer
from lelsd_core.segmenters.features import build_feature_segmenter
from lelsd_core.segmenters.unet import build_parts_segmenter
from lelsd_core.weights.checkpoints import kind_of
from lelsd_core.weights.layouts import LAYOUTS, state_dict_of
from lelsd_core.weights.safetensors import check_header, facts_of, read_safetensors
from lelsd_core.weights.torchfile import RefusedError, as_user_error, is_torch_file, read_torch

Build = Callable[..., nn.Module]
EXPECTED = "a segmenter was expected: one of this project's .safetensors, BiSeNet's 79999_iter.pth, or a DeepLab .pth"


@dataclass(frozen=True)
class Published:
    """A published network.

    Args:
        about: what people call it.
        marker: the tensor it is known by.
        build: makes it of its tensors, or of its file and what lies beside it.
        folder: whether more files belong to it.
    """

    about: str
    marker: str
    build: Build
    folder: bool = False


PUBLISHED: Mapping[str, Published] = {
    "bisenet": Published("a face-BiSeNet", bisenet.MARKER, bisenet.build_bisenet),
    "deeplabv3": Published("torchvision's DeepLabV3", deeplab.MARKER_V3, deeplab.build_deeplabv3),
    "deeplabv2": Published("the COCO-Stuff DeepLabV2", deeplab.MARKER_V2, deeplab.build_deeplabv2),
    "maskformer": Published("a MaskFormer", maskformer.MARKER, maskformer.build_maskformer, folder=True),
}
METHODS: Mapping[str, Build] = {  # what the header of one of our files may say
    "parts": build_parts_segmenter,
    "features": build_feature_segmenter,
}


@dataclass(frozen=True)
class NetworkSpec:
    """A named network whose weights are published.

    Args:
        kind: key of `PUBLISHED`.
        weights: key of `catalog.CATALOG`.
        about: one sentence for people, licence included.
        options: how it is built.
    """

    kind: str
    weights: str
    about: str
    options: Mapping[str, Any] = field(default_factory=dict)


NETWORKS: Mapping[str, NetworkSpec] = {
    "bisenet": NetworkSpec(
        "bisenet", "bisenet", "14 parts of a face; code MIT, trained on CelebAMask-HQ, non-commercial."
    ),
    "bisenet-19": NetworkSpec(
        "bisenet",
        "bisenet",
        "The same, its 19 labels as they are; left and right are unreliable.",
        options={"merged": False},
    ),
    "deeplabv3": NetworkSpec(
        "deeplabv3", "deeplabv3", "20 kinds of objects, cars, horses and people among them; BSD-3."
    ),
    "deeplabv3-resnet50": NetworkSpec("deeplabv3", "deeplabv3-resnet50", "The same, a smaller network."),
    "deeplabv3-mobilenet": NetworkSpec("deeplabv3", "deeplabv3-mobilenet", "The same, a network for phones."),
    "cocostuff": NetworkSpec(
        "deeplabv2",
        "cocostuff",
        "182 things and stuffs of scenes; code MIT, COCO's pictures under their owners' terms.",
    ),
    "maskformer-cocostuff": NetworkSpec(
        "maskformer",
        "maskformer-cocostuff",
        "171 things and stuffs of scenes; needs transformers; no licence of the weights is stated.",
    ),
}


def read_segmenter(path: Path, spec: NetworkSpec | None = None) -> nn.Module:
    """The segmenter of a file, on the CPU.

    Args:
        path: any file of this project or of `PUBLISHED`.
        spec: the network that it must be, and its options; None takes whatever it is.

    Raises:
        UserError: damaged, foreign, of another kind, or tensors that do not fit together.
    """
    with as_user_error(path.name, EXPECTED):
        return read_any(path, spec)


def read_any(path: Path, spec: NetworkSpec | None) -> nn.Module:
    """Sort a file by its header, or by the names of its tensors, and build what it holds."""
    tensors, facts = read_tensors(path)
    if facts is not None:
        method = facts.get("method", "parts")
        if spec is not None:
            raise UserError(f"{path.name} holds this project's {method!r}, not {PUBLISHED[spec.kind].about}.")
        if method not in METHODS:
            raise UserError(unknown_name("kind of segmenter", method, METHODS))
        return METHODS[method](tensors, facts)
    kind = next((name for name, known in PUBLISHED.items() if known.marker in tensors), None)
    if kind is None:
        raise RefusedError(foreign(tensors))
    if spec is not None and kind != spec.kind:
        raise UserError(f"{path.name} holds {PUBLISHED[kind].about}, not {PUBLISHED[spec.kind].about}.")
    known = PUBLISHED[kind]
    if known.folder:
        return known.build(path)
    segmenter = known.build(tensors, **(spec.options if spec else {}))
    check_fit(segmenter)
    return segmenter


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Tensors of a file by name, and the facts of its header if it is one of this project's."""
    with open(path, "rb") as file:
        start = file.read(512)
        if is_torch_file(start):
            return state_dict_of(read_torch(file, path.stat().st_size))[0], None
    if start[8:9] != b"{":
        raise RefusedError(f"it is {kind_of(start)}")
    check_header(path)
    if facts_of(path) is not None:
        return read_safetensors(path, "segmenter")
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, None  # noqa: SIM118, not a dict


def foreign(tensors: Mapping[str, Tensor]) -> str:
    """What a file holds instead of a segmenter."""
    for layout in LAYOUTS:
        if layout.marker in tensors:
            return f"it holds a generator, {layout.about}"
    return f"its tensors ({', '.join(list(tensors)[:3]) or 'none'}) are those of no segmenter known here"


def check_fit(segmenter: nn.Module) -> None:
    """Run a published network once with shapes only; tensors that do not fit together raise here."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # loads a good part of torch; shipped files need it not

    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        segmenter.network(torch.zeros(1, 3, 128, 128))
