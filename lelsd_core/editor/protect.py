"""Outside protection: what lies outside the edited parts stays as it was.

    masks of the parts before and after  --soft_mask-->  weight (1, 1, h, w), 1 inside, falling to 0 around it
    fine layers once more, each one's features = untouched + weight · (moved − untouched)  -->  picture

Features are blended, not pixels, so that the network paints the seam itself. It is done in the last layer of each size
from a quarter of the picture on: in coarser layers a small part has no room, and its edit would be weakened. All
architectures here lay their features out as they lay out the picture, so that one rule serves them all; where a code
shifts the whole picture (W of StyleGAN3), the untouched surroundings stay and the shift ends at the mask.
Cost on top of an edit: the fine layers of one picture.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.errors import UserError
from lelsd_core.generators.base import Generator, Layer, State, Synthesis
from lelsd_core.segmenters import Parts, Segmenter

FINE = 1 / 4  # of the picture's size: blended from there on
SURROUNDINGS = ("background", "clothes")  # what a replaced face leaves to the photo
REACH = 1 / 32  # of the mask's width: how far it grows, and then how far it falls to 0


def check_strength(strength: float) -> None:
    """UserError unless the strength of a protection is one, 0 (off) to 1 (nothing outside changes)."""
    if not 0 <= strength <= 1:
        raise UserError(f"The protection is {strength:g}; it must be from 0 (off) to 1 (full).")


def soft_mask(masks: Tensor) -> Tensor:
    """Masks (B, 1, h, w) of the same parts -> their soft union (1, 1, h, w): 1 on it, 0 from twice `REACH` away."""
    reach = max(1, round(masks.shape[-1] * REACH))
    mask = F.max_pool2d(masks.amax(0, keepdim=True), 2 * reach + 1, stride=1, padding=reach)
    for width in (reach // 2, reach - reach // 2):  # two boxes in a row: a smooth ramp
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
    """The moved picture again, untouched outside a mask.

    Args:
        both: the untouched and the moved picture (batch of 2), with the states of `protected_layers` and of `keep`.
        codes: the moved codes (1, D), in `space`.
        weight: (1, 1, h, w) in [0, 1], 1 where the edit may show.
        strength: how much of the change outside is taken back at each layer, in [0, 1].
        keep: layers whose states are wanted.

    Returns:
        A `Synthesis` of one picture.
    """
    weight = 1 - strength * (1 - weight)
    names = protected_layers(generator)

    def blend(layer: Layer, moved: State) -> State:
        return blended(row(both.states[layer.name], 0), moved, resized(weight, layer)) if layer.name in names else moved

    first = generator.layers[names[0]]
    start = blend(first, row(both.states[first.name], 1))
    made = generator.synthesize(codes, space, keep=keep, resume=(first.name, start), change=blend)
    coarse = {name: row(state, 1) for name, state in both.states.items() if name in keep}
    return Synthesis(made.image, coarse | made.states, made.layers)


def blended(untouched: State, moved: State, weight: Tensor) -> State:
    """Features, and the running picture where there is one, moved where the weight (1, 1, H, W) is 1.

    In the last layer of a size both have that size.
    """
    x = torch.lerp(untouched.x, moved.x, weight.to(moved.x.dtype))
    return State(x, None if moved.rgb is None else torch.lerp(untouched.rgb, moved.rgb, weight.to(moved.rgb.dtype)))


def resized(weight: Tensor, layer: Layer) -> Tensor:
    """The weight averaged onto a layer's grid, its outermost pixels repeated into the margin."""
    inner = F.interpolate(weight, (layer.size, layer.size), mode="bilinear", antialias=True)
    return F.pad(inner, (layer.margin,) * 4, mode="replicate")


def row(state: State, index: int) -> State:
    """One picture of a state, as a batch of one."""
    part = slice(index, index + 1)
    return State(state.x[part], None if state.rgb is None else state.rgb[part])


def face_mask(probabilities: Tensor, parts: Sequence[str], edited: Sequence[str] = ()) -> np.ndarray | None:
    """Where a face is, for replacing it in a photo: everything but the surroundings, and whatever was edited.

    Args:
        probabilities: (1, P, h, w) of the face, from `Segmenter.segment`.
        parts: the segmenter's part names.
        edited: parts, or groups of them, that were edited.

    Returns:
        (h, w) in [0, 1]; None if the segmenter knows no background.
    """
    known = Parts(parts)
    if SURROUNDINGS[0] not in tuple(known):
        return None
    behind = [known.index(name) for name in SURROUNDINGS if name in tuple(known) and name not in known.expand(edited)]
    return (1 - probabilities[0, behind].sum(0)).float().cpu().numpy()


PARTS = ("brows", "eyes", "nose", "mouth")  # that make a person; they count more in an inversion
WEIGHT = 3.0


@torch.no_grad()
def likeness_weights(segmenter: Segmenter, face: Tensor) -> Tensor | None:
    """Weights (1, 1, R, R) with mean 1 of a face (1, 3, R, R); None from a segmenter that knows no such parts."""
    wanted = [i for i, name in enumerate(segmenter.parts) if name in PARTS]
    if not wanted or segmenter.needs:
        return None
    matters = segmenter.segment(face)[:, wanted].sum(1, keepdim=True)
    weights = 1 + (WEIGHT - 1) * F.interpolate(matters, face.shape[-2:], mode="area")
    return weights / weights.mean()
