"""Segmenters that read a generator's own features: one embedding of every pixel, and a linear reading of it.

    feature maps of some layers  --root, blur, centre, scale-->  embedding (B, C, s, s)  --linear-->  probabilities

Each pixel's numbers are its channels' roots, so that one strong unit does not drown the rest; blurred over 2×2
pixels, because a transposed convolution paints even and odd pixels differently; compared with the same picture's mean,
so that a dark picture is read like a bright one; and scaled so that every layer counts the same. Two more numbers say
where the pixel is. Clusters, few-shot heads and painted regions differ only in how the linear reading is found; that
of a painted region also has a map of where it is likely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import UserError, unknown_name
from lelsd_core.generators.base import Generator
from lelsd_core.segmenters.base import Parts
from lelsd_core.weights.safetensors import write_safetensors

SIZES = (8, 64)  # layers of these sizes say what a pixel shows; smaller ones know only the whole, larger ones texture
FIT_SEEDS = range(2_000_000, 2_000_064)  # samples that an embedding is fitted on; apart from training's and held-out
BATCH = 8
REST = "rest"  # the name of whatever was not named
PLACE = 0.7  # weight of a pixel's place against all its features


class Embedding(nn.Module):
    """Every pixel's numbers.

    Args:
        layers: layers that are read, with the number of channels of each.
        scale: (C,) what each channel is multiplied with.
        size: pixels across of the result.
    """

    def __init__(self, layers: Mapping[str, int], scale: Tensor, size: int) -> None:
        super().__init__()
        self.layers, self.size = dict(layers), size
        self.register_buffer("scale", scale.float())
        line = torch.linspace(-1, 1, size)
        place = torch.stack([line.expand(size, size), line[:, None].expand(size, size)])
        self.register_buffer("place", PLACE * place[None], persistent=False)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        maps = torch.cat([self.read(features, name) for name in self.layers], 1) * self.scale[:, None, None]
        unit = F.normalize(maps, dim=1)
        return torch.cat([unit, self.place.expand(len(unit), -1, -1, -1)], 1)  # (B, C + 2, s, s)

    def read(self, features: Mapping[str, Tensor], name: str) -> Tensor:
        """One layer (B, C, s, s) without scale. UserError if it is not there or has other channels."""
        if name not in features:
            raise UserError(f"This segmenter reads the features of {name}, which this generator does not have or keep.")
        x = features[name]
        if x.shape[1] != self.layers[name]:
            raise UserError(
                f"This segmenter reads {self.layers[name]} channels of {name}, and this generator has {x.shape[1]}; "
                "use it with the generator that it was made for."
            )
        x = x.sign() * x.abs().sqrt()
        x = F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, stride=1)
        return F.interpolate(x - x.mean((2, 3), keepdim=True), (self.size, self.size), mode="bilinear")


def fit_embedding(generator: Generator, layers: Sequence[str] = ()) -> Embedding:
    """An embedding for a generator: which layers, and the scale of each channel, from its own samples.

    Args:
        generator: whose features.
        layers: names of layers; none = the last one of each size from 8 to 64 pixels.
    """
    for name in layers:
        if name not in generator.layers:
            raise UserError(unknown_name("layer", name, generator.layers))
    chosen = [generator.layers[name] for name in layers or usual_layers(generator)]
    channels = {layer.name: layer.channels for layer in chosen}
    plain = Embedding(channels, torch.ones(sum(channels.values())), max(layer.size for layer in chosen))
    plain.to(generator.device)
    with torch.no_grad():
        made = samples(generator, FIT_SEEDS[:16], tuple(channels))
        spread = spread_of(plain, made)
    share = torch.cat([torch.full((count,), count**-0.5) for count in channels.values()]).to(spread)
    return Embedding(channels, share / spread.clamp_min(1e-6), plain.size).to(generator.device)


def spread_of(embedding: Embedding, made: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Standard deviation (C,) of every channel over some samples."""
    squares = [torch.cat([embedding.read(s, name).square().mean((0, 2, 3)) for name in embedding.layers]) for s in made]
    return torch.stack(squares).mean(0).sqrt()


def usual_layers(generator: Generator) -> tuple[str, ...]:
    """The last layer of each size from 8 to 64 pixels; the last of all layers where there is none."""
    smallest, largest = SIZES
    last = {layer.size: layer.name for layer in generator.layers.values() if smallest <= layer.size <= largest}
    return tuple(last.values()) or (list(generator.layers)[-1],)


@torch.no_grad()
def samples(generator: Generator, seeds: Sequence[int], keep: Sequence[str]) -> list[dict[str, Tensor]]:
    """Feature maps of some seeds, a few at a time."""
    space = generator.space_names[0]
    batches = [seeds[i : i + BATCH] for i in range(0, len(seeds), BATCH)]
    return [features_of(generator, generator.sample(batch), space, keep) for batch in batches]


def features_of(generator: Generator, codes: Tensor, space: str, keep: Sequence[str]) -> dict[str, Tensor]:
    """Feature maps (B, C, h, w) of codes (B, D), by layer."""
    made = generator.synthesize(codes, space, keep=keep, image=False)
    return {name: made.features(name) for name in keep}


class FeatureSegmenter(nn.Module):
    """A linear reading of an embedding.

    Args:
        embed: every pixel's numbers.
        weight: (P, C + 2) of the reading.
        bias: (P,) of the reading, or (P, s, s) where parts are likelier in some places.
        parts: names of the parts.
        made_for: name and fingerprint of the generator.
        about: what it is: "clusters", "head", "painted".
        members: rows of the reading that make up each part, their probabilities added; none = one row each.
    """

    def __init__(
        self,
        embed: Embedding,
        weight: Tensor,
        bias: Tensor,
        parts: Sequence[str],
        made_for: tuple[str, str],
        about: str,
        members: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        self.embed, self.made_for, self.about = embed, made_for, about
        self.parts = tuple(parts)
        self.members = tuple(tuple(rows) for rows in members) or tuple((i,) for i in range(len(self.parts)))
        self.register_buffer("weight", weight.float())
        self.register_buffer("bias", bias.float())
        self.needs = tuple(embed.layers)
        self.name, self.fingerprint = about, ""

    def segment(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        """Probabilities (B, P, 2s, 2s) that sum to 1 over the parts; the picture is not looked at."""
        x = self.embed(features or {})  # (B, C + 2, s, s)
        bias = self.bias if self.bias.ndim == 3 else self.bias[:, None, None]
        logits = torch.einsum("pc,bchw->bphw", self.weight, x) + bias
        answer = F.interpolate(logits, scale_factor=2.0, mode="bilinear").softmax(1)
        if len(self.parts) == len(self.weight):
            return answer
        return torch.stack([answer[:, list(rows)].sum(1) for rows in self.members], 1)

    def check(self, generator: Generator) -> None:
        """UserError if this was made for another generator."""
        name, fingerprint = self.made_for
        if fingerprint != generator.fingerprint:
            raise UserError(
                f"This segmenter reads the features of {name!r}, not of {generator.name!r}; fit one for this generator."
            )

    def named(self, groups: Mapping[str, Sequence[str]]) -> FeatureSegmenter:
        """The same with parts joined under new names, {"hair": ("cluster 3", "cluster 7")}, and all others as "rest".

        UserError for a member that is no part, or is in two groups.
        """
        used: dict[str, str] = {}
        for name, members in groups.items():
            for part in Parts(self.parts).expand(members):
                if part in used:
                    raise UserError(f"{part!r} is in {used[part]!r} and in {name!r}; a part can be in one of them.")
                used[part] = name
        joined = {name: [part for part in self.parts if used.get(part) == name] for name in groups}
        others = [part for part in self.parts if part not in used]
        joined |= {REST: joined.get(REST, []) + others} if others else {}
        rows = dict(zip(self.parts, self.members, strict=True))
        members = [[row for part in parts for row in rows[part]] for parts in joined.values()]
        return FeatureSegmenter(self.embed, self.weight, self.bias, tuple(joined), self.made_for, self.about, members)

    def save(self, path: str | Path) -> None:
        """Write a .safetensors that `load_segmenter` reads."""
        facts = {
            "kind": "segmenter",
            "method": "features",
            "about": self.about,
            "parts": list(self.parts),
            "members": self.members,
            "layers": self.embed.layers,
            "size": self.embed.size,
            "generator": self.made_for[0],
            "fingerprint": self.made_for[1],
        }
        write_safetensors(path, {"weight": self.weight, "bias": self.bias, "scale": self.embed.scale}, facts)


def build_feature_segmenter(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> FeatureSegmenter:
    """The segmenter of a file. UserError if its tensors do not fit together."""
    layers = {str(name): int(count) for name, count in facts["layers"].items()}
    parts, members, total = tuple(facts["parts"]), facts["members"], sum(layers.values())
    count = sum(len(rows) for rows in members)
    if sorted(row for rows in members for row in rows) != list(range(count)) or len(members) != len(parts):
        raise UserError("The segmenter's parts do not fit its rows; the file is damaged.")
    size = int(facts["size"])
    place = (size, size) if "bias" in tensors and tensors["bias"].ndim == 3 else ()
    expected = {"weight": (count, total + 2), "bias": (count, *place), "scale": (total,)}
    for name, shape in expected.items():
        if name not in tensors or tuple(tensors[name].shape) != shape:
            found = tuple(tensors[name].shape) if name in tensors else "missing"
            raise UserError(f"The segmenter's {name} is {found}; {shape} was expected for its {len(parts)} parts.")
    embed = Embedding(layers, tensors["scale"], size)
    made_for = (str(facts["generator"]), str(facts["fingerprint"]))
    return FeatureSegmenter(embed, tensors["weight"], tensors["bias"], parts, made_for, str(facts["about"]), members)
