"""Base class of the StyleGANs: Z → W → W+ → S, the mapping network, and truncation about the mean W.

    z (B, Z)  --mapping-->  w (B, D)  --once for each layer-->  W+ (B, L·D)  --affine maps-->  S (B, sum of widths)

Sources: Karras, Laine, Aila, "A Style-Based Generator Architecture for GANs" (CVPR 2019), appendix B; Wu, Lischinski,
Shechtman, "StyleSpace Analysis" (CVPR 2021) for S: the output of each affine map, toRGB included, in synthesis order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.device import placed_like
from lelsd_core.errors import RefusedError
from lelsd_core.generators.base import Generator, normal_rows
from lelsd_core.latents import LatentSpace, Slot

MEAN_SAMPLES = 10_000  # for the mean W of a file that does not store it
SLOPE = 0.2
SQRT2 = 2**0.5


class MappingNetwork(nn.Module):
    """z (B, Z) → w (B, D): normalise, then dense layers with leaky ReLUs, every constant folded into the weights.

    Args:
        weights: "fc0.weight", "fc0.bias", ..., and for a conditional model "embed.weight", "embed.bias".
        rate: learning-rate multiplier, by which the stored weights are scaled.
        label: weights (classes,) of the classes of a conditional model; their embedding is folded into the first bias.
    """

    def __init__(self, weights: Mapping[str, Tensor], rate: float, label: Tensor | None = None) -> None:
        super().__init__()
        self.depth = next(i for i in count() if f"fc{i}.weight" not in weights)
        if not self.depth:
            raise RefusedError("it lacks its mapping network")
        for i in range(self.depth):
            weight, bias = weights[f"fc{i}.weight"].float(), weights[f"fc{i}.bias"].float()
            weight, bias = weight * (SQRT2 * rate / weight.shape[1] ** 0.5), bias * (SQRT2 * rate)
            if i == 0 and label is not None:
                embedding = weights["embed.weight"].float() / len(label) ** 0.5 @ label + weights["embed.bias"].float()
                weight, extra = weight[:, : -len(embedding)], weight[:, -len(embedding) :]
                bias = bias + extra @ unit_moment(embedding)
            self.register_buffer(f"weight{i}", weight.contiguous())
            self.register_buffer(f"bias{i}", bias)

    def forward(self, z: Tensor) -> Tensor:
        x = unit_moment(z)
        for i in range(self.depth):
            x = F.leaky_relu(F.linear(x, getattr(self, f"weight{i}"), getattr(self, f"bias{i}")), SLOPE)
        return x


class StyleGenerator(Generator):
    """A generator with spaces Z, W, W+ and S; subclasses add the synthesis steps.

    Args:
        mapping: its mapping network.
        mean: mean of W (D,); drawn from seeded samples if None.
        styles: for each slot of S, by name in synthesis order, weight (C, D) and bias (C,) of its affine map, as stored
            under equalised learning rate.
        rows: for each slot of S, the row of W+ it is made from.
        held: names of slots of S that edits do not move.
    """

    curved = ("Z",)
    usual_truncation = 0.7
    truncated_rows: int | None = None  # number of rows of W+ that are truncated; None = all

    def __init__(
        self,
        mapping: MappingNetwork,
        mean: Tensor | None,
        styles: Mapping[str, tuple[Tensor, Tensor]],
        rows: Sequence[int],
        held: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.mapping, self.rows = mapping, tuple(rows)
        z_width = mapping.weight0.shape[1]
        if mean is None:
            z = torch.randn(MEAN_SAMPLES, z_width, generator=torch.Generator().manual_seed(0))
            mean = mapping(placed_like(z, mapping.weight0)).mean(dim=0)
        self.register_buffer("mean", mean.float().reshape(-1))
        for i, (weight, bias) in enumerate(styles.values()):
            self.register_buffer(f"affine_weight{i}", weight.float() * (1 / weight.shape[1] ** 0.5))
            self.register_buffer(f"affine_bias{i}", bias.float())
        width = len(self.mean)
        self.spaces = (
            LatentSpace("Z", (Slot("z", z_width),)),
            LatentSpace("W", (Slot("w", width),)),
            LatentSpace("W+", tuple(Slot(f"w{i}", width) for i in range(max(rows) + 1))),
            LatentSpace("S", tuple(Slot(name, len(bias), name not in held) for name, (_, bias) in styles.items())),
        )

    def sample(self, seeds: Sequence[int]) -> Tensor:
        return normal_rows(seeds, self.spaces[0].width).to(self.device)

    def lift(self, codes: Tensor, source: str, target: str, *, truncation: float | None = None) -> Tensor:
        if truncation is None:
            return super().lift(codes, source, target)
        where = target if target in ("Z", "W") else "W+"
        if where == "Z" or source == "S":
            raise ValueError(f"truncation pulls codes of W and W+, not a lift from {source} to {target}.")
        codes = self.truncate(super().lift(codes, source, where), truncation)
        return super().lift(codes, where, target)

    def truncate(self, codes: Tensor, amount: float) -> Tensor:
        """Codes of W (B, D) or W+ (B, L·D) interpolated from the mean W (amount 0) to themselves (amount 1)."""
        rows = codes.unflatten(1, (-1, len(self.mean)))  # (B, 1 or L, D)
        reached = rows[:, : self.truncated_rows]
        return torch.cat([self.mean.lerp(reached, amount), rows[:, reached.shape[1] :]], 1).flatten(1)

    def lift_once(self, codes: Tensor, space: LatentSpace) -> Tensor:
        if space.name == "Z":
            return self.mapping(codes)
        if space.name == "W":
            return codes.repeat(1, len(self.spaces[2].slots))
        rows = space.split(codes)
        styles = [
            F.linear(rows[row], getattr(self, f"affine_weight{i}"), getattr(self, f"affine_bias{i}"))
            for i, row in enumerate(self.rows)
        ]
        return torch.cat(styles, dim=1)

    def entry_weights(self) -> dict[str, Tensor]:
        """The affine maps, but those of slots that are not moved, and of toRGB, which colours the whole picture."""
        width, finest = self.space("W").width, self.spaces[-1]
        affine = finest.split(self.lift_vectors(torch.eye(width, device=self.device), "W", finest.name))  # (D, C) each
        read = [slot.movable and not slot.name.endswith("torgb") for slot in finest.slots]
        own = {step.layer.name: [affine[i] for i in step.slots if read[i]] for step in self.steps}
        return {name: torch.cat(weights, 1).T for name, weights in own.items() if weights}

    def slot_of(self, index: int, space: str) -> int:
        return self.rows[index] if space == "W+" else super().slot_of(index, space)


def unit_moment(x: Tensor) -> Tensor:
    """Rows (..., D), each divided by its root mean square."""
    return x * (x.square().mean(dim=-1, keepdim=True) + 1e-8).rsqrt()


def fixed_noise(mode: str, stored: Tensor | None, size: int, number: int, seed: int = 0) -> Tensor | None:
    """Noise (1, 1, size, size) of the network's layer `number`, or None if it is off.

    Args:
        mode: "stored" (from seed 0 if the file has none), "random" (from `seed`) or "off".
        stored: the file's noise, of any shape with size² numbers; None if it has none.
        size: height and width, in pixels.
        number: index of the layer; each layer's noise differs.
        seed: of random noise.
    """
    if mode == "off":
        return None
    if mode == "stored" and stored is not None:
        return stored.float().reshape(1, 1, size, size)
    generator = torch.Generator().manual_seed((seed if mode == "random" else 0) * 1000 + number)
    return torch.randn(1, 1, size, size, generator=generator)
