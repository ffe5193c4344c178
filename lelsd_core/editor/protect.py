"""Outside protection: what lies outside the edited parts stays as it was.

    masks of the parts before and after the edit  --soft_mask-->  weight (1, 1, h, w): 1 inside, falling to 0 outside
    fine layers again, each with features = unedited + weight · (edited − unedited)  -->  picture

Features are blended instead of pixels, so that the network itself renders the seam. In layers coarser than a quarter of
the picture, a small part would cover too few pixels. The cost is one pass through the fine layers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator, Layer, State, Synthesis
from lelsd_core.segmenters import Parts

FINE = 1 / 4  # layers of at least this share of the picture's size are blended
REACH = 1 / 32  # share of the mask's width by which the mask is dilated, and over which it then falls to 0
SURROUNDINGS = ("background", "clothes")  # parts of the photo that stay when the face is replaced


def check_strength(strength: float) -> None:
    """UserError unless the strength of the protection lies between 0 (off) and 1 (nothing outside changes)."""
    if not 0 <= strength <= 1:
        raise UserError(f"The protection is {strength:g}; it must be from 0 (off) to 1 (full).")


def soft_mask(masks: Tensor) -> Tensor:
    """Masks (B, 1, h, w) -> their dilated and blurred union (1, 1, h, w): 1 on it, 0 from twice `REACH` away."""
    reach = max(1, round(masks.shape[-1] * REACH))
    mask = F.max_pool2d(masks.amax(0, keepdim=True), 2 * reach + 1, stride=1, padding=reach)
    for width in (reach // 2, reach - reach // 2):  # two box filters in a row give a smooth ramp
        mask = F.avg_pool2d(F.pad(mask, (width,) * 4, mode="replicate"), 2 * width + 1, stride=1)
    return mask


def protected_layers(generator: Generator) -> tuple[str, ...]:
    """The last layer of each size from `FINE` of the picture's size on."""
    last = {layer.size: layer.name for layer in generator.layers.values()}
    return tuple(name for size, name in last.items() if size >= FINE * generator.resolution)


def blend_outside(
    generator: Generator,
    both: Synthesis,
    codes: Tensor,
    space: str,
    weight: Tensor,
    *,
    strength: float = 1.0,
    keep: Collection[str] = (),
) -> Synthesis:
    """Render edited codes again with the unedited features outside a mask; one picture.

    Args:
        generator: renders the codes.
        both: the unedited and the edited picture (batch of 2), with the states of `protected_layers` and of `keep`.
        codes: the edited codes (1, D).
        space: latent space of the codes.
        weight: (1, 1, h, w) in [0, 1], 1 where the edit may show.
        strength: share of the change outside the mask that is removed in each layer, in [0, 1].
        keep: layers whose states are returned.
    """
    weight = 1 - strength * (1 - weight)
    names = protected_layers(generator)

    def blend(layer: Layer, edited: State) -> State:
        if layer.name not in names:
            return edited
        unedited = row(both.states[layer.name], 0)
        mask = F.interpolate(weight, (layer.size, layer.size), mode="bilinear", antialias=True)
        mask = F.pad(mask, (layer.margin,) * 4, mode="replicate")
        x = torch.lerp(unedited.x, edited.x, mask.to(edited.x.dtype))
        return State(x, None if edited.rgb is None else torch.lerp(unedited.rgb, edited.rgb, mask.to(edited.rgb.dtype)))

    first = generator.layers[names[0]]
    start = blend(first, row(both.states[first.name], 1))
    result = generator.synthesize(codes, space, keep=keep, resume=(first.name, start), change=blend)
    coarse = {name: row(state, 1) for name, state in both.states.items() if name in keep}
    return Synthesis(result.image, coarse | result.states, result.layers)


def row(state: State, index: int) -> State:
    """One picture of a batch, as a batch of one."""
    rows = slice(index, index + 1)
    return State(state.x[rows], None if state.rgb is None else state.rgb[rows])


def face_mask(probabilities: Tensor, parts: Parts, edited: Sequence[str] = ()) -> np.ndarray | None:
    """The region that replaces a face in a photo: everything but background and clothes, plus all edited parts.

    Args:
        probabilities: (1, P, h, w) of the face, from `Segmenter.segment`.
        parts: the segmenter's part names.
        edited: parts, or groups of parts, that were edited.

    Returns:
        (h, w) in [0, 1]; None if the segmenter has no background.
    """
    if SURROUNDINGS[0] not in tuple(parts):
        return None
    outside = [parts.index(name) for name in SURROUNDINGS if name in tuple(parts) and name not in parts.expand(edited)]
    return (1 - probabilities[0, outside].sum(0)).float().cpu().numpy()
