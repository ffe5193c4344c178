"""Segmenters on a generator's own features: an embedding of every pixel, and a linear classifier on it.

    feature maps of some layers  --root, blur, centre, scale-->  embedding (B, C, s, s)  --linear-->  probabilities

Clusters, linear heads and painted regions (`fitting`) differ only in how the classifier is fitted; that of a painted
region also has a prior for each place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.device import placed_like
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.generators.base import Generator
from lelsd_core.seeds import FEATURE_SEGMENTERS
from lelsd_core.segmenters.base import Parts, Segmenter
from lelsd_core.weights.safetensors import write_safetensors

BATCH = 8
REST = "rest"  # name of the part that holds all pixels of no other part
POSITION_WEIGHT = 0.7  # weight of a pixel's coordinates against the unit vector of its features


class Embedding(nn.Module):
    """Maps feature maps to one vector per pixel, of unit length, with the pixel's coordinates appended.

    Channels are square-rooted, so that a strong unit does not outweigh the others; blurred over 2×2 pixels, because
    transposed convolutions differ between even and odd pixels; centred on the picture's mean, against brightness; and
    scaled, so that every layer has the same weight. `layers` holds the channels by layer, `scale` (C,) their factors;
    `size` is the height and width of the result, in pixels.
    """

    def __init__(self, layers: Mapping[str, int], scale: Tensor, size: int) -> None:
        super().__init__()
        self.layers, self.size = dict(layers), size
        self.register_buffer("scale", scale.float())
        line = torch.linspace(-1, 1, size)
        position = torch.stack([line.expand(size, size), line[:, None].expand(size, size)])
        self.register_buffer("position", POSITION_WEIGHT * position[None], persistent=False)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        unit = F.normalize(self.maps(features) * self.scale[:, None, None], dim=1)
        return torch.cat([unit, self.position.expand(len(unit), -1, -1, -1)], 1)  # (B, C + 2, s, s)

    def maps(self, features: Mapping[str, Tensor]) -> Tensor:
        """The maps (B, C, s, s) of all layers, unscaled. UserError if a layer is missing or has other channels."""
        maps = []
        for name, channels in self.layers.items():
            if name not in features:
                raise UserError(f"This segmenter reads the features of {name}, which this generator does not have.")
            x = features[name]
            if x.shape[1] != channels:
                raise UserError(
                    f"This segmenter reads {channels} channels of {name}, and this generator has {x.shape[1]}; use it "
                    "with the generator that it was made for."
                )
            x = x.sign() * x.abs().sqrt()
            x = F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, stride=1)
            maps.append(F.interpolate(x - x.mean((2, 3), keepdim=True), (self.size, self.size), mode="bilinear"))
        return torch.cat(maps, 1)


@torch.no_grad()
def fit_embedding(generator: Generator, layers: Sequence[str] = ()) -> Embedding:
    """Fits an embedding to a generator: channels are scaled by their standard deviation over samples.

    No `layers` stands for the last layer of each size from 8 to 64 pixels, or the last of all.
    """
    for name in layers:
        if name not in generator.layers:
            raise UserError(unknown_name("layer", name, generator.layers))
    if not layers:  # layers below 8 pixels are too coarse for parts, those above 64 hold texture
        last = {layer.size: layer.name for layer in generator.layers.values() if 8 <= layer.size <= 64}
        layers = tuple(last.values()) or (list(generator.layers)[-1],)
    channels = {name: generator.layers[name].channels for name in layers}
    unscaled = Embedding(channels, torch.ones(sum(channels.values())), max(generator.layers[n].size for n in layers))
    unscaled.to(generator.device)
    samples = features_of(generator, generator.sample(FEATURE_SEGMENTERS[:16]), generator.space_names[0], layers)
    deviation = torch.stack([unscaled.maps(x).square().mean((0, 2, 3)) for x in samples]).mean(0).sqrt()
    share = placed_like(torch.cat([torch.full((count,), count**-0.5) for count in channels.values()]), deviation)
    return Embedding(channels, share / deviation.clamp_min(1e-6), unscaled.size).to(generator.device)


@torch.no_grad()
def features_of(generator: Generator, codes: Tensor, space: str, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Feature maps (B, C, h, w) of codes (N, D), by layer, in batches."""
    for batch in codes.to(generator.device).split(BATCH):
        synthesis = generator.synthesize(batch, space, keep=layers, image=False)
        yield {name: synthesis.features(name) for name in layers}


@torch.no_grad()
def labels_of(generator: Generator, segmenter: FeatureSegmenter, codes: Tensor, space: str) -> Tensor:
    """The number of the part of each place in the pictures of codes (N, D), (N, h, w)."""
    batches = features_of(generator, codes, space, segmenter.needs)
    return torch.cat([segmenter.segment(None, features).argmax(1) for features in batches])


class FeatureSegmenter(Segmenter):
    """A linear classifier on an embedding.

    Args:
        embed: the embedding.
        weight: (K, C + 2) of the classifier's K classes.
        bias: (K,), or (K, s, s) if the prior of a class depends on the place.
        parts: names of the P parts.
        made_for: name and fingerprint of the generator.
        method: how it was fitted: "clusters", "head" or "painted".
        members: classes of each part, whose probabilities are added; none = one class per part.
    """

    needs_picture = False

    def __init__(
        self,
        embed: Embedding,
        weight: Tensor,
        bias: Tensor,
        parts: Sequence[str],
        made_for: tuple[str, str],
        method: str,
        members: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        self.embed, self.parts, self.made_for, self.method = embed, Parts(parts), made_for, method
        self.members = tuple(tuple(rows) for rows in members) or tuple((i,) for i in range(len(self.parts)))
        self.register_buffer("weight", weight.float())
        self.register_buffer("bias", bias.float())
        self.needs, self.name = tuple(embed.layers), method

    def segment(self, image: Tensor | None, features: Mapping[str, Tensor] | None = None) -> Tensor:
        bias = self.bias if self.bias.ndim == 3 else self.bias[:, None, None]
        logits = torch.einsum("kc,bchw->bkhw", self.weight, self.embed(features or {})) + bias
        probabilities = F.interpolate(logits, scale_factor=2.0, mode="bilinear").softmax(1)
        return torch.stack([probabilities[:, list(rows)].sum(1) for rows in self.members], 1)

    def named(self, groups: Mapping[str, Sequence[str]]) -> FeatureSegmenter:
        """Joins parts under new names, {"hair": ("cluster 3", "cluster 7")}; all others become "rest".

        UserError for an unknown part, or one in two groups.
        """
        group_of: dict[str, str] = {}
        for name, members in groups.items():
            for part in self.parts.expand(members):
                if part in group_of:
                    raise UserError(f"{part!r} is in {group_of[part]!r} and in {name!r}; a part can be in one of them.")
                group_of[part] = name
        rows: dict[str, list[int]] = {name: [] for name in groups}
        for part, members in zip(self.parts, self.members, strict=True):
            rows.setdefault(group_of.get(part, REST), []).extend(members)
        classifier = self.embed, self.weight, self.bias
        return FeatureSegmenter(*classifier, tuple(rows), self.made_for, self.method, tuple(rows.values()))

    def equals(self, other: FeatureSegmenter) -> bool:
        """Whether another one finds the same parts."""
        tensors, facts = self.content()
        others, other_facts = other.content()
        same = all(tensors[name].shape == others[name].shape for name in tensors)
        return facts == other_facts and same and all(tensors[name].equal(others[name]) for name in tensors)

    def content(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its tensors by name, and the other facts that `build_feature_segmenter` builds it from."""
        facts = {"about": self.method, "parts": list(self.parts), "members": [list(rows) for rows in self.members]}
        facts |= {"layers": self.embed.layers, "size": self.embed.size}
        facts |= {"generator": self.made_for[0], "fingerprint": self.made_for[1]}
        return {"weight": self.weight.cpu(), "bias": self.bias.cpu(), "scale": self.embed.scale.cpu()}, facts

    def save(self, path: str | Path) -> None:
        """Writes a .safetensors file that `load_segmenter` reads."""
        tensors, facts = self.content()
        write_safetensors(path, tensors, {"kind": "segmenter", "method": "features"} | facts)


def build_feature_segmenter(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> FeatureSegmenter:
    """Builds the segmenter of a file. UserError if its tensors do not fit together."""
    layers = {str(name): int(channels) for name, channels in facts["layers"].items()}
    parts, members, size, channels = facts["parts"], facts["members"], int(facts["size"]), sum(layers.values())
    count = sum(len(rows) for rows in members)
    if sorted(row for rows in members for row in rows) != list(range(count)) or len(members) != len(parts):
        raise UserError("The segmenter's parts do not fit its rows; the file is damaged.")
    place = (size, size) if "bias" in tensors and tensors["bias"].ndim == 3 else ()
    for name, shape in {"weight": (count, channels + 2), "bias": (count, *place), "scale": (channels,)}.items():
        actual = tuple(tensors[name].shape) if name in tensors else "missing"
        if actual != shape:
            raise UserError(f"The segmenter's {name} is {actual}; {shape} was expected for its {len(parts)} parts.")
    made_for = (str(facts["generator"]), str(facts["fingerprint"]))
    embed = Embedding(layers, tensors["scale"], size)
    return FeatureSegmenter(embed, tensors["weight"], tensors["bias"], parts, made_for, str(facts["about"]), members)
