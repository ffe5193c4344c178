"""The official layouts of generators' weights, and how each is renamed to this project's names.

    {official name: Tensor} + other content of the file  -->  architecture, config, {our name: Tensor}

A layout is recognised by one tensor's name. Our names are NVIDIA's for StyleGAN2 and 3, and the official ones for the
other architectures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lelsd_core.generators.base import below
from lelsd_core.weights.torchfile import RefusedError

Tensors = dict[str, Tensor]
Config = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Extra:
    """What a file holds beside its tensors."""

    mean: Tensor | None = None  # the mean W, where it is stored beside the state dict
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by module name (NVIDIA)
    folder: Path = Path()  # of the file


@dataclass(frozen=True)
class Layout:
    """One official layout: the tensor that it is recognised by, architecture, name in messages, renaming."""

    marker: str
    architecture: str
    about: str
    rename: Callable[[Tensors, Extra], tuple[Config, Tensors]]


def rosinality(tensors: Tensors, extra: Extra) -> tuple[Config, Tensors]:
    """rosinality/stylegan2-pytorch's g_ema, by its own table of names."""
    renamed = {rosinality_name(name): tensor for name, tensor in tensors.items()}
    renamed = {name: t[0] if t.ndim == 5 or name.endswith(".const") else t for name, t in renamed.items()}
    kernel = renamed["synthesis.resample_filter"]
    renamed["synthesis.resample_filter"] = kernel / 4  # theirs makes up for the inserted zeros
    if extra.mean is not None:
        renamed["mapping.w_avg"] = extra.mean.reshape(-1, extra.mean.shape[-1]).mean(dim=0)
    return {}, renamed


def rosinality_name(name: str) -> str:
    """ "convs.3.conv.modulation.bias" → "synthesis.b16.conv1.affine.bias"."""
    if name.endswith((".blur.kernel", ".upsample.kernel")):
        return "synthesis.resample_filter"
    if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", name):
        return f"mapping.fc{int(match[1]) - 1}.{match[2]}"
    if match := re.fullmatch(r"noises\.noise_(\d+)", name):
        return f"synthesis.{convolution(int(match[1]) - 1)}.noise_const"
    if name == "input.input":
        return "synthesis.b4.const"
    owner, *rest = re.sub(r"^(convs|to_rgbs)\.(\d+)", r"\1:\2", name).split(".")
    kind, _, number = owner.partition(":")
    owners = {"conv1": "b4.conv1", "to_rgb1": "b4.torgb"}
    if number:
        owners = {"convs": convolution(int(number)), "to_rgbs": f"b{8 * 2 ** int(number)}.torgb"}
    if kind not in owners:
        raise RefusedError(f"it holds a tensor named {name!r}, which a StyleGAN2 does not have")
    inside = ".".join(rest)
    names = {"conv.modulation": "affine", "conv.weight": "weight", "noise.weight": "noise_strength"}
    for theirs, ours in (names | {"activate.bias": "bias"}).items():
        inside = inside.replace(theirs, ours) if inside.startswith(theirs) else inside
    return f"synthesis.{owners[kind]}.{inside}"


def convolution(number: int) -> str:
    """Place in rosinality's list of convolutions after the first → NVIDIA's name; -1 is the first."""
    return f"b{8 * 2 ** (number // 2)}.conv{number % 2}" if number >= 0 else "b4.conv1"


def e4e(tensors: Tensors, extra: Extra) -> tuple[Config, Tensors]:
    """The decoder in a file of encoder4editing: rosinality's names behind a prefix."""
    return rosinality(below(tensors, "decoder"), extra)


def nvidia_stylegan2(tensors: Tensors, extra: Extra) -> tuple[Config, Tensors]:
    """StyleGAN2-ADA's G_ema; also that of StyleGAN3's code base in its StyleGAN2 configuration."""
    first = extra.attributes.get("synthesis.b4", {})
    if first.get("architecture", "skip") != "skip":
        raise RefusedError(f"it is a StyleGAN2 of the {first['architecture']!r} kind; only 'skip' networks can be read")
    clamp = extra.attributes.get("synthesis.b4.conv1", {}).get("conv_clamp")
    renamed = {name: tensor for name, tensor in tensors.items() if not name.endswith("resample_filter")}
    filters = [tensor for name, tensor in tensors.items() if name.endswith("resample_filter")]
    if not filters or any(not torch.equal(filters[0], other) for other in filters):
        raise RefusedError("its layers do not share one resampling filter")
    renamed["synthesis.resample_filter"] = filters[0]
    return {"clamp": None if clamp is None else float(clamp), "rate": mapping_rate(extra)}, renamed


def nvidia_stylegan3(tensors: Tensors, extra: Extra) -> tuple[Config, Tensors]:
    """StyleGAN3's G_ema, -t and -r alike."""
    network, inputs = extra.attributes["synthesis"], extra.attributes["synthesis.input"]
    layers = {name: extra.attributes[f"synthesis.{name}"] for name in network["layer_names"]}
    sizes = {"size": "out_size", "rate": "out_sampling_rate", "up": "up_factor", "down": "down_factor"}
    config = {
        "input_size": first_of(inputs["size"]),
        "input_rate": float(inputs["sampling_rate"]),
        "bandwidth": float(inputs["bandwidth"]),
        "layers": [
            {"name": name, **{ours: first_of(layer[theirs]) for ours, theirs in sizes.items()}}
            for name, layer in layers.items()
        ],
        "output_scale": float(network["output_scale"]),
        "clamp": float(next(iter(layers.values()))["conv_clamp"] or "inf"),
        "rate": mapping_rate(extra),
    }
    return config, tensors


def mapping_rate(extra: Extra) -> float:
    """The mapping network's learning-rate multiplier, as its biases are scaled."""
    return float(extra.attributes.get("mapping.fc0", {}).get("bias_gain", 0.01))


def first_of(numbers: Any) -> int:
    """A size that may come as [52, 52]."""
    return int(np.ravel(numbers)[0])


def stylegan1(tensors: Tensors, _: Extra) -> tuple[Config, Tensors]:
    """The PyTorch port of StyleGAN, with the styles outside or inside its blocks."""
    renamed = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"g_synthesis\.blocks\.(\d+x\d+)\.epi([12])\.style_mod\.lin\.(.*)", name):
            name = f"g_style.style_layers.{match[1]}_{int(match[2]) - 1}.lin.{match[3]}"
        renamed[name] = tensor
    return {}, renamed


def biggan(tensors: Tensors, extra: Extra) -> tuple[Config, Tensors]:
    """Hugging Face's BigGAN-deep, whose sizes are in the config.json beside it."""
    path = extra.folder / "config.json"
    if not path.is_file():
        raise RefusedError("it is a BigGAN, and its config.json is missing beside it")
    facts = json.loads(path.read_text(encoding="utf-8"))
    config = {name: facts[name] for name in ("z_dim", "layers", "attention_layer_position", "eps", "channel_width")}
    names = facts.get("id2label")
    return config | ({"class_names": names} if isinstance(names, dict) else {}), tensors


def dcgan(tensors: Tensors, _: Extra) -> tuple[Config, Tensors]:
    """The DCGAN of the PyTorch tutorial."""
    return {}, {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


LAYOUTS: tuple[Layout, ...] = (
    Layout("conv1.conv.weight", "stylegan2", "rosinality StyleGAN2", rosinality),
    Layout("decoder.conv1.conv.weight", "stylegan2", "the StyleGAN2 inside an e4e file", e4e),
    Layout("synthesis.b4.const", "stylegan2", "NVIDIA StyleGAN2-ADA", nvidia_stylegan2),
    Layout("synthesis.input.freqs", "stylegan3", "NVIDIA StyleGAN3", nvidia_stylegan3),
    Layout("g_synthesis.blocks.4x4.const", "stylegan1", "StyleGAN1 in PyTorch", stylegan1),
    Layout("generator.gen_z.bias", "biggan", "Hugging Face BigGAN-deep", biggan),
    Layout("main.0.weight", "dcgan", "DCGAN of the PyTorch tutorial", dcgan),
)
STARTS = {  # how files that hold no weights begin, and what they are
    b"": "an empty file",
    b"<": "a web page, perhaps of a failed download",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"\x89HDF": "a Keras or HDF5 file",
    b"\x93NUMPY": "a numpy array",
    b"GGUF": "a language model",
    b"\x08": "an ONNX model",
}
WRAPPERS = ("g_ema", "netG_state_dict", "state_dict")  # keys that may hold the state dict, in order


def state_dict_of(content: Any) -> tuple[Tensors, Tensor | None]:
    """The state dict in what a torch file holds, and the mean W beside it."""
    if not isinstance(content, Mapping):
        raise RefusedError(f"it holds a {type(content).__name__}, no tensors by name")
    mean = content.get("latent_avg")
    inside = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    tensors = {str(name).removeprefix("module."): t for name, t in inside.items() if isinstance(t, Tensor)}
    if any(t.layout != torch.strided or t.device.type != "cpu" or t.is_complex() for t in tensors.values()):
        raise RefusedError("its tensors are not plain arrays of numbers")
    return tensors, mean if isinstance(mean, Tensor) else None


def describe_start(start: bytes) -> str:
    """What kind of file starts with these bytes, if it holds no weights."""
    kinds = (kind for magic, kind in STARTS.items() if (start.startswith(magic) if magic else not start))
    return next(kinds, "a file of an unknown kind")


def describe_foreign(tensors: Mapping[str, Tensor], expected: str) -> str:
    """What a file's tensors are instead of the expected "generator", "segmenter" or "encoder"."""
    for layout in LAYOUTS:
        if layout.marker in tensors:
            return f"it holds a generator, {layout.about}"
    return f"its tensors ({', '.join(list(tensors)[:3]) or 'none'}) are those of no {expected} known here"
