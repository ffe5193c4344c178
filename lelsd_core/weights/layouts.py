"""The official layouts of generators' weights, and how each is renamed to this project's names.

    {official name: Tensor} + other content of the file  -->  architecture, config, {our name: Tensor}

A layout is recognised by one tensor's name, in the content of the file or one level down. Our names are NVIDIA's for
StyleGAN2 and 3, and the official ones for the other architectures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lelsd_core.errors import RefusedError, printable
from lelsd_core.weights.pickles import Array, Unknown

Tensors = dict[str, Tensor]
Config = dict[str, Any]
Attributes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Extra:
    """What a file holds beside its tensors."""

    mean: Tensor | None = None  # the mean W, where it is stored beside the state dict
    attributes: Attributes = field(default_factory=dict)  # by module name (NVIDIA)
    folder: Path = Path()  # of the file


@dataclass(frozen=True)
class Layout:
    """One official layout: architecture, name in messages, renaming."""

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
        raise RefusedError(f"it holds a tensor named {printable(name)!r}, which a StyleGAN2 does not have")
    inside = ".".join(rest)
    names = {"conv.modulation": "affine", "conv.weight": "weight", "noise.weight": "noise_strength"}
    for theirs, ours in (names | {"activate.bias": "bias"}).items():
        inside = inside.replace(theirs, ours) if inside.startswith(theirs) else inside
    return f"synthesis.{owners[kind]}.{inside}"


def convolution(number: int) -> str:
    """Place in rosinality's list of convolutions after the first → NVIDIA's name; -1 is the first."""
    return f"b{8 * 2 ** (number // 2)}.conv{number % 2}" if number >= 0 else "b4.conv1"


def nvidia_stylegan2(tensors: Tensors, extra: Extra) -> tuple[Config, Tensors]:
    """StyleGAN2-ADA's G_ema; also that of StyleGAN3's code base in its StyleGAN2 configuration."""
    first = extra.attributes.get("synthesis.b4", {})
    if first.get("architecture", "skip") != "skip":
        kind = printable(first["architecture"])
        raise RefusedError(f"it is a StyleGAN2 of the {kind!r} kind; only 'skip' networks can be read")
    clamp = extra.attributes.get("synthesis.b4.conv1", {}).get("conv_clamp")
    renamed = {name: tensor for name, tensor in tensors.items() if not name.endswith("resample_filter")}
    filters = [tensor for name, tensor in tensors.items() if name.endswith("resample_filter")]
    if not filters or any(not torch.equal(filters[0], other) for other in filters):
        raise RefusedError("its layers do not share one resampling filter")
    renamed["synthesis.resample_filter"] = filters[0]
    return {"clamp": None if clamp is None else float(clamp), "rate": mapping_rate(extra)}, renamed


def nvidia_stylegan3(tensors: Tensors, extra: Extra) -> tuple[Config, Tensors]:
    """StyleGAN3's G_ema, -t and -r alike."""
    if "synthesis.input" not in extra.attributes:
        raise RefusedError("it is a StyleGAN3 without its sizes and rates, which NVIDIA's .pkl holds")
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


LAYOUTS: Mapping[str, Layout] = {  # by the name of a tensor that only this layout has
    "conv1.conv.weight": Layout("stylegan2", "rosinality StyleGAN2", rosinality),
    "synthesis.b4.const": Layout("stylegan2", "NVIDIA StyleGAN2-ADA", nvidia_stylegan2),
    "synthesis.input.freqs": Layout("stylegan3", "NVIDIA StyleGAN3", nvidia_stylegan3),
    "g_synthesis.blocks.4x4.const": Layout("stylegan1", "StyleGAN1 in PyTorch", stylegan1),
    "generator.gen_z.bias": Layout("biggan", "Hugging Face BigGAN-deep", biggan),
    "main.0.weight": Layout("dcgan", "DCGAN of the PyTorch tutorial", dcgan),
}
AVERAGED = re.compile(r"ema|avg|average|smooth|running|shadow", re.IGNORECASE)  # in the names of averaged networks
DISCRIMINATOR = re.compile(r"(net_?)?d(_ema|_state_dict)?|.*discriminator.*", re.IGNORECASE)
MOST_MODULES = 5000  # in one network


@dataclass(frozen=True, eq=False)
class Weights:
    """Tensors of a network by name, and plain attributes by module where the file holds modules."""

    tensors: Tensors
    attributes: Attributes = field(default_factory=dict)

    def parts(self) -> dict[str, Weights]:
        """Those below each first part of their names, by that part."""
        parts: dict[str, Weights] = {}
        for kind in ("tensors", "attributes"):
            for name, value in getattr(self, kind).items():
                head, dot, rest = name.partition(".")
                if dot:
                    getattr(parts.setdefault(head, Weights({}, {})), kind)[rest] = value
        return parts


def networks_in(content: Any) -> Iterator[Weights]:
    """What may be networks in a file's content: itself, what its keys hold, and what these hold below a prefix.

    Averaged networks come before others of the same level, and discriminators are left out.
    """
    inside = fields_of(content)
    for value in (content, *(inside[key] for key in likeliest(inside))):
        whole = weights_of(value)
        yield whole
        parts = whole.parts()
        yield from (parts[name] for name in likeliest(parts))


def likeliest(names: Iterable[Any]) -> list[Any]:
    """The names, without discriminators, those of averaged networks first."""
    kept = [name for name in names if not DISCRIMINATOR.fullmatch(str(name))]
    return sorted(kept, key=lambda name: not AVERAGED.search(str(name)))


def fields_of(value: Any) -> Mapping[Any, Any]:
    """What a dict, or an object of an unknown class, holds by name."""
    if isinstance(value, Unknown):
        return {**value.items, **(value.state if isinstance(value.state, Mapping) else {})}
    return value if isinstance(value, Mapping) else {}


def weights_of(value: Any) -> Weights:
    """Tensors of a state dict, or of a module with all modules in it, without the prefix of parallel training."""
    tensors: Tensors = {}
    attributes: dict[str, Mapping[str, Any]] = {}
    pending = [("", fields_of(value))]
    while pending:
        prefix, found = pending.pop()
        if "_modules" not in found:
            numbers = found
        else:
            numbers = {**found["_parameters"], **found["_buffers"]}
            plain = {name: value for name, value in found.items() if not str(name).startswith("_")}
            plain = {name: value.value if isinstance(value, Array) else value for name, value in plain.items()}
            attributes[prefix.removesuffix(".")] = plain
            pending += [(f"{prefix}{name}.", fields_of(inner)) for name, inner in found["_modules"].items()]
            if len(attributes) + len(pending) > MOST_MODULES:
                raise RefusedError(f"it holds more than {MOST_MODULES} modules in one network")
        tensors |= {prefix + str(name): tensor for name, tensor in numbers.items() if is_plain(tensor)}
    return Weights({name.removeprefix("module."): tensor for name, tensor in tensors.items()}, attributes)


def is_plain(value: Any) -> bool:
    """Whether it is a tensor of real numbers."""
    return isinstance(value, Tensor) and not value.is_complex()


def find_network(content: Any, markers: Collection[str]) -> Weights | None:
    """The first of `networks_in` that has one of these tensors; None if none has."""
    return next((weights for weights in networks_in(content) if not weights.tensors.keys().isdisjoint(markers)), None)


def find_generator(content: Any, folder: Path) -> tuple[Layout, Config, Tensors]:
    """The layout of the generator in a file's content, its config and its tensors by our names.

    Args:
        content: from `read_pickled`, or a dict of tensors.
        folder: of the file.

    Raises:
        RefusedError: there is none.
    """
    found = find_network(content, LAYOUTS.keys())
    if found is None:
        raise RefusedError(describe_foreign(content, "generator"))
    layout = next(layout for marker, layout in LAYOUTS.items() if marker in found.tensors)
    mean = fields_of(content).get("latent_avg")
    extra = Extra(mean if isinstance(mean, Tensor) else None, found.attributes, folder)
    return layout, *layout.rename(found.tensors, extra)


def describe_foreign(content: Any, expected: str) -> str:
    """What a file holds instead of the expected "generator", "segmenter" or "encoder"."""
    if found := find_network(content, LAYOUTS.keys()):
        about = next(layout.about for marker, layout in LAYOUTS.items() if marker in found.tensors)
        return f"it holds a generator, {about}"
    objects = content if isinstance(content, tuple | list) else (content,)
    if any(isinstance(each, Unknown) and each.name.startswith("dnnlib.tflib.") for each in objects):
        return "it is a TensorFlow network of NVIDIA's, which its legacy.py turns into a PyTorch one"
    fields = fields_of(content)
    if tensors := [name for name, value in fields.items() if isinstance(value, Tensor)]:
        return f"its tensors ({listed(tensors)}) are those of no {expected} known here"
    if fields:
        return f"what it holds ({listed(fields)}) is no {expected} known here"
    kind = content.name if isinstance(content, Unknown) else type(content).__name__
    return f"it holds a {printable(kind)}, no weights"


def listed(names: Iterable[Any]) -> str:
    """The first names of a file's content, in print."""
    names = [printable(name) for name in names]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
