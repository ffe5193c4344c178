"""Files in the official formats, written from the golden cases' rules as if they had been downloaded."""

from __future__ import annotations

import json
import pickle
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lelsd_core.weights.layouts import find_network
from lelsd_core.weights.pickles import read_pickled
from tests.data.golden import golden

GOLDEN = Path(__file__).parent / "data" / "golden"


def expected(case: str) -> dict[str, Tensor]:
    """What the official network put out."""
    return {name: torch.from_numpy(array) for name, array in np.load(GOLDEN / f"{case}.npz").items()}


def numbers(case: str, name: str, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers of a case that are not stored but drawn by rule."""
    return torch.from_numpy(golden.values(name, shape, json.loads((GOLDEN / f"{case}.json").read_text())["seed"]))


def rosinality(folder: Path) -> Path:
    """A rosinality .pt: StyleGAN2 at 32 pixels."""
    mean = 0.1 * numbers("rosinality32", "latent_avg", (512,))
    path = folder / "rosinality.pt"
    torch.save({"g_ema": golden.state_dict(GOLDEN / "rosinality32.json"), "latent_avg": mean}, path)
    return path


NARROW = {512: 64, 256: 32, 128: 16, 64: 8}  # channels of a network with an eighth of the official width


def narrow(folder: Path, case: str) -> dict[str, Tensor]:
    """A golden case's state dict, filled by the same rules, with an eighth of the channels."""
    told, path = json.loads((GOLDEN / f"{case}.json").read_text()), folder / f"narrow_{case}.json"
    for rule in told["tensors"].values():
        if "shape" in rule:
            rule["shape"] = [NARROW.get(size, size) for size in rule["shape"]]
    path.write_text(json.dumps(told))
    return golden.state_dict(path)


def small_rosinality(folder: Path) -> Path:
    """The same layout with 64 channels instead of 512."""
    path = folder / "small_rosinality.pt"
    torch.save({"g_ema": narrow(folder, "rosinality32"), "latent_avg": torch.zeros(64)}, path)
    return path


def small_e4e(folder: Path, name: str = "e4e.pt", *, new: bool = True, **changes: Any) -> Path:
    """A file of encoder4editing with an eighth of the channels: encoder, StyleGAN2 at 32 pixels, mean W, options.

    `new`: the container; `changes`: other values for its three entries, None for none at all.
    """
    state = {f"encoder.{name}": tensor for name, tensor in narrow(folder, "e4e32").items()}
    state |= {f"decoder.{name}": tensor for name, tensor in narrow(folder, "rosinality32").items()}
    mean = 0.1 * numbers("e4e32", "mean", (64,)).repeat(8, 1)
    options = {"encoder_type": "Encoder4Editing", "dataset_type": "ffhq_encode", "stylegan_size": 32}
    content = {"state_dict": state, "latent_avg": mean, "opts": options} | changes
    there = {key: value for key, value in content.items() if value is not None}
    torch.save(there, folder / name, _use_new_zipfile_serialization=new)
    return folder / name


def stylegan1(folder: Path) -> Path:
    """A StyleGAN1 .pt at 32 pixels."""
    path = folder / "stylegan1.pt"
    torch.save(golden.state_dict(GOLDEN / "stylegan1_32.json"), path)
    return path


def small_stylegan1(folder: Path) -> Path:
    """The same layout with 32 channels instead of 512."""
    path, case = folder / "small_stylegan1.pt", folder / "small_stylegan1.json"
    case.write_text((GOLDEN / "stylegan1_32.json").read_text().replace("1024", "64").replace("512", "32"))
    torch.save(golden.state_dict(case), path)
    return path


def biggan(folder: Path) -> Path:
    """A BigGAN-deep folder at 64 pixels, in the old container as the public files are."""
    path = folder / "biggan"
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(json.loads((GOLDEN / "biggan64.json").read_text())["config"]))
    state = golden.state_dict(GOLDEN / "biggan64.json")
    torch.save(state, path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    return path


def dcgan(folder: Path) -> Path:
    """A DCGAN of the PyTorch tutorial at 32 pixels."""
    path = folder / "dcgan.pth"
    widths, state = (16, 32, 16, 8, 3), {}
    for i, (before, after) in enumerate(pairwise(widths)):
        generator = torch.Generator().manual_seed(i)
        state[f"main.{3 * i}.weight"] = torch.randn(before, after, 4, 4, generator=generator) * 0.2
        if i < 3:
            norm = torch.nn.BatchNorm2d(after).state_dict()
            state |= {f"main.{3 * i + 1}.{name}": tensor for name, tensor in norm.items()}
    torch.save({"netG_state_dict": state}, path)
    return path


def stylegan2(_: Path) -> Path:
    """NVIDIA's StyleGAN2-ADA .pkl at 64 pixels."""
    return GOLDEN / "nv2_64.pkl"


def stylegan3(_: Path) -> Path:
    """NVIDIA's StyleGAN3-t .pkl at 64 pixels."""
    return GOLDEN / "nv3t_64.pkl"


def nvidia(
    path: Path,
    tensors: dict[str, Tensor],
    attributes: dict[str, dict[str, Any]],
    *,
    beside: dict[str, Any] | None = None,
    protocol: int = 4,
) -> Path:
    """A .pkl as NVIDIA's code writes it: modules as persistent objects, by the names that code has.

    `beside`: other entries than the G_ema.
    """
    home = ModuleType("torch_utils.persistence")
    home._reconstruct_persistent_obj = Module  # pickled by reference, and the reference is what the format is
    before = Module.__module__, Module.__qualname__
    Module.__module__, Module.__qualname__ = home.__name__, "_reconstruct_persistent_obj"
    sys.modules["torch_utils"], sys.modules[home.__name__] = ModuleType("torch_utils"), home
    try:
        content = {**(beside or {"G": None, "D": None}), "G_ema": Module.tree(tensors, attributes, "")}
        path.write_bytes(pickle.dumps(content, protocol))
    finally:
        del sys.modules["torch_utils"], sys.modules[home.__name__]
        Module.__module__, Module.__qualname__ = before
    return path


def record(path: Path) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Tensors and attributes of the G_ema in an NVIDIA .pkl."""
    found = find_network(read_pickled(path), ["mapping.w_avg"])
    return found.tensors, dict(found.attributes)


class Module:
    """Pickles as a call of the persistent objects' constructor on a record."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta = meta

    def __reduce__(self) -> tuple[type[Module], tuple[dict[str, Any]]]:
        return Module, (self.meta,)

    @classmethod
    def tree(cls, tensors: dict[str, Tensor], attributes: dict[str, dict[str, Any]], prefix: str) -> Module:
        """The module of that prefix and those below it."""
        below = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        own = {name: tensor for name, tensor in below.items() if "." not in name}
        inner = dict.fromkeys(name.split(".")[0] for name in below if "." in name)
        state = {
            **attributes.get(prefix.removesuffix("."), {}),
            "_parameters": {},
            "_buffers": own,
            "_modules": {name: cls.tree(tensors, attributes, f"{prefix}{name}.") for name in inner},
        }
        return cls({"type": "class", "version": 6, "module_src": "", "class_name": "Module", "state": state})
