"""Golden cases: what the official networks print for weights that are filled by rule.

A case is two small files: `NAME.json` (tensor names, shapes and the rule that fills each one) and `NAME.npz`
(what the official code returned for those weights, float32 on a CPU). So parity with a public checkpoint
format is tested without the checkpoint: `state_dict("NAME.json")` makes a state dict with exactly the public
names and shapes, the project's loader must take it as if it had been downloaded, and the outputs must agree.

    state_dict(path) -> {name: Tensor}      values(name, shape, seed) -> ndarray, standard normal
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch


def values(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Standard normal float32 numbers that depend only on (name, shape, seed)."""
    return np.random.default_rng([zlib.crc32(name.encode()), seed]).standard_normal(shape, dtype=np.float32)


def state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """The state dict of one golden case, in the official order of its keys."""
    case = json.loads(Path(path).read_text())
    out: dict[str, torch.Tensor] = {}
    for name, rule in case["tensors"].items():
        if "literal" in rule:
            out[name] = torch.tensor(rule["literal"], dtype=getattr(torch, rule["dtype"]))
            continue
        x = values(name, tuple(rule["shape"]), case["seed"])
        x = np.abs(x) if rule.get("abs") else x
        x = np.asarray(x * np.float32(rule["scale"]) + np.float32(rule["offset"]), dtype=np.float32)
        out[name] = torch.from_numpy(x).to(getattr(torch, rule["dtype"]))
    for name in [n for n in out if n.endswith("weight_orig")]:  # spectral norm: vectors that fit the weight
        weight = out[name].reshape(len(out[name]), -1)
        v = torch.nn.functional.normalize(weight.sum(0), dim=0)
        out[name.removesuffix("orig") + "v"] = v
        out[name.removesuffix("orig") + "u"] = torch.nn.functional.normalize(weight @ v, dim=0)
    return out
