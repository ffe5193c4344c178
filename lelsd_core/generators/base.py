"""The generator interface: latent spaces, lifts between them, and one loop over synthesis steps.

    codes (B, D)  --lift-->  codes of the finest space  --steps-->  State ... State  --finish-->  picture (B, 3, H, W)

An architecture is one file: a config, `spaces`, `layers`, `steps`, one lift for each pair of neighbouring
spaces, and `finish`. Pictures are about [-1, 1]; nothing here clamps or range-checks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core.errors import RefusedError, UserError, unknown_name
from lelsd_core.latents import LatentSpace
from lelsd_core.localization import resized_mask

LARGEST = 4096  # pixels: files that declare more are refused


@dataclass(frozen=True)
class Layer:
    """Shape of one feature map."""

    name: str  # "32.conv", "64.conv1"
    channels: int
    size: int  # height and width of the part that shows the picture, in pixels
    margin: int = 0  # border pixels outside the picture on each side (StyleGAN3)


@dataclass(frozen=True, eq=False)
class State:
    """Data passed from one synthesis step to the next."""

    x: Tensor  # feature map (B, C, H, W), margin included
    rgb: Tensor | None = None  # running picture (B, 3, h, w) where the architecture has one (StyleGAN2)


@dataclass(frozen=True, eq=False)
class Patch:
    """Feature maps of another synthesis that are let in through a soft mask: x + mask · (other − still).

    Local moves, protection and transfer of a part from a second picture differ only in what is let in, and where.
    """

    states: Mapping[str, State]  # by layer, of the synthesis that is let in; (B or 1, C, H, W)
    mask: Tensor  # (B or 1, 1, h, w) in [0, 1] over the picture, 1 where it is let in; resized to each layer
    still: Mapping[str, State] = field(default_factory=dict)  # by layer, what it differs from; none = x itself


@dataclass(frozen=True)
class Step:
    """One synthesis step: its layer, the slots of the finest space that it reads, and its function."""

    layer: Layer
    slots: tuple[int, ...]
    run: Callable[[State | None, tuple[Tensor, ...]], State]


@dataclass(frozen=True, eq=False)
class Synthesis:
    """Result of a synthesis: the picture (B, 3, H, W), None if not requested, and the states of the kept layers."""

    image: Tensor | None
    states: Mapping[str, State] = field(default_factory=dict)
    layers: Mapping[str, Layer] = field(default_factory=dict)

    def features(self, layer: str) -> Tensor:
        """Feature map (B, C, size, size) of a kept layer, float32, without margin. UserError if it was not kept."""
        if layer not in self.states:
            raise UserError(unknown_name("kept layer", layer, self.states))
        margin = self.layers[layer].margin
        x = self.states[layer].x.float()
        return x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin] if margin else x


class TunablePart(Protocol):
    """A layer whose weights can be tuned to a person (see `inversion.pivotal`)."""

    weight_shape: tuple[int, ...]  # (O, I, 3, 3) of a convolution, (3, C) of a layer that makes the picture
    bias: Tensor  # (O,) or (3,)

    def changed(self, weight: Tensor, bias: Tensor) -> nn.Module:
        """A copy of the layer with changes added to its weight and bias, differentiable in the changes."""
        ...


class Generator(nn.Module, ABC):
    """A trained generator; immutable after loading, so that all users share one.

    Attributes:
        name: registry name, or the file's.
        fingerprint: of the weights, the same from any file, see `weights.checkpoints.Checkpoint`; "" if there is none.
        sha256: of the file, by which older directions name their generator; "" if there is none.
        relatives: both of other generators whose codes and directions it shares: its base, and earlier files of it.
        classes: names of its classes, of which one was chosen; numbers where its file has no names; () if it has none.
        resolution: picture size in pixels.
        spaces: latent spaces, coarse to fine; the last one feeds the steps.
        layers: feature maps by name, in synthesis order.
        steps: the synthesis steps, one for each layer.
        curved: spaces whose lift to the next one is not affine.
        usual_truncation: a truncation that gives good pictures; None if the architecture's lifts have none.
        load_options: the fields of `weights.checkpoints.Options` that the architecture takes.
    """

    name: str = ""
    fingerprint: str = ""
    sha256: str = ""
    relatives: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    resolution: int
    spaces: tuple[LatentSpace, ...]
    layers: Mapping[str, Layer]
    steps: tuple[Step, ...]
    curved: tuple[str, ...] = ()
    usual_truncation: float | None = None
    load_options: tuple[str, ...] = ()

    @abstractmethod
    def sample(self, seeds: Sequence[int]) -> Tensor:
        """Codes (len(seeds), D) in `spaces[0]`; row i depends on seeds[i] alone, on every device."""

    @abstractmethod
    def finish(self, state: State) -> Tensor:
        """The last step's state -> picture (B, 3, H, W), about [-1, 1]."""

    @abstractmethod
    def lift_once(self, codes: Tensor, space: LatentSpace) -> Tensor:
        """Codes of `space` -> codes of the next finer space."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {self.resolution} pixels, spaces {', '.join(self.space_names)}>"

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.buffers(), next(self.parameters(), torch.empty(0))).device

    def space(self, name: str) -> LatentSpace:
        """The latent space of that name. UserError if there is none."""
        for space in self.spaces:
            if space.name == name:
                return space
        raise UserError(unknown_name("latent space", name, self.space_names))

    def has_fingerprint(self, fingerprint: str | None) -> bool:
        """Whether that is this generator's fingerprint, or the SHA-256 of its file, which once took its place."""
        return fingerprint in (self.fingerprint, self.sha256 or self.fingerprint)

    def shares_codes_of(self, fingerprint: str | None) -> bool:
        """Whether codes and directions of the generator with that fingerprint are this one's as well."""
        return self.has_fingerprint(fingerprint) or fingerprint in self.relatives

    def check_layers(self, names: Iterable[str]) -> None:
        """UserError for an unknown layer."""
        for name in names:
            if name not in self.layers:
                raise UserError(unknown_name("layer", name, self.layers))

    def entry_weights(self) -> Mapping[str, Tensor]:
        """The weights (outputs, D) that layers read a code of W through, or of Z where there is no W, by layer.

        Empty if the architecture does not tell.
        """
        return {}

    def tunable_parts(self) -> Mapping[str, TunablePart]:
        """Layers whose weights can be tuned to a person, by name; empty if the architecture does not support it."""
        return {}

    def with_parts(self, parts: Mapping[str, nn.Module]) -> Generator:
        """A generator in which some of the tunable parts are replaced; it shares all other tensors with this one."""
        raise NotImplementedError(f"{self.name} has no tunable parts")

    def running_layer(self, side: int) -> str | None:
        """The last layer whose running picture has at most `side` pixels, less than the whole; None without one."""
        return None

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Layers by "coarse", "middle" and "fine": thirds of the synthesis, for networks of any depth."""
        names = list(self.layers)
        first, second = round(len(names) / 3), round(2 * len(names) / 3)
        return {"coarse": tuple(names[:first]), "middle": tuple(names[first:second]), "fine": tuple(names[second:])}

    def group_slots(self, group: str, space: str) -> tuple[str, ...]:
        """Movable slots of a space that a group's layers read first; empty where the space has no layers (Z, W)."""
        first: dict[int, str] = {}
        for step in self.steps:
            for index in step.slots:
                first.setdefault(self.slot_of(index, space), step.layer.name)
        slots = enumerate(self.space(space).slots)
        return tuple(slot.name for i, slot in slots if slot.movable and first.get(i) in self.groups[group])

    def slots_up_to(self, layer: str, space: str) -> tuple[str, ...]:
        """Movable slots of a space that the layers up to one read; empty where the space has no layers (Z, W)."""
        steps = self.steps[: list(self.layers).index(layer) + 1]
        read = {self.slot_of(index, space) for step in steps for index in step.slots}
        return tuple(slot.name for i, slot in enumerate(self.space(space).slots) if slot.movable and i in read)

    def expand_groups(self, names: Iterable[str], space: str) -> tuple[str, ...]:
        """Slot names and patterns, each group's name replaced by its slots. UserError for a group without slots."""
        expanded: list[str] = []
        for name in names:
            inside = self.group_slots(name, space) if name in self.groups else (name,)
            if not inside:
                raise UserError(f"Space {space} has no {name} layers; choose a space with layers, or no group.")
            expanded += inside
        return tuple(expanded)

    def expand_layers(self, names: Iterable[str]) -> tuple[str, ...]:
        """Layer names, each once, with "coarse", "middle", "fine" and "all" replaced by their layers.

        UserError for an unknown name, or a group without layers.
        """
        groups = {"all": tuple(self.layers), **self.groups}
        expanded: list[str] = []
        for name in names:
            if name not in groups and name not in self.layers:
                raise UserError(unknown_name("layer", name, (*groups, *self.layers)))
            inside = groups.get(name, (name,))
            if not inside:
                raise UserError(f"{self.name} has no {name} layers, only {', '.join(self.layers)}.")
            expanded += inside
        return tuple(dict.fromkeys(expanded))

    def layer_columns(self, names: Iterable[str]) -> Tensor:
        """(D,) float32 for the finest space: 1 for the columns that some layers read, else 0.

        `names` are layers, "coarse", "middle", "fine" or "all". UserError for another name.
        """
        expanded = self.expand_layers(names)
        read = {slot for step in self.steps if step.layer.name in expanded for slot in step.slots}
        slots = enumerate(self.spaces[-1].slots)
        return torch.cat([torch.full((slot.width,), float(i in read)) for i, slot in slots])

    def slot_of(self, index: int, space: str) -> int:
        """The slot of a space that feeds slot `index` of the finest space; -1 for spaces without layers."""
        return index if space == self.spaces[-1].name else -1

    @property
    def space_names(self) -> tuple[str, ...]:
        """Names of the latent spaces, coarse to fine."""
        return tuple(space.name for space in self.spaces)

    def lift(self, codes: Tensor, source: str, target: str, *, truncation: float | None = None) -> Tensor:
        """The same pictures' codes in a finer latent space.

        Args:
            codes: (B, D) in space `source`.
            source, target: names of latent spaces; `target` is `source` or finer.
            truncation: interpolation from the mean W (0) to the code (1); None = none. StyleGANs only.

        Returns:
            (B, D') in space `target`.

        Raises:
            UserError: unknown space.
            ValueError: wrong width, a lift from fine to coarse, or no truncation in this architecture.
        """
        if truncation is not None:
            raise ValueError(f"{self.name or 'this generator'} has no truncation in its lifts.")
        first, last = (self.spaces.index(self.space(name)) for name in (source, target))
        if last < first:
            raise ValueError(f"codes cannot be lifted from {source} to {target}: {target} is coarser.")
        if codes.ndim != 2 or codes.shape[1] != self.spaces[first].width:
            raise ValueError(f"codes of {source} must be (B, {self.spaces[first].width}), got {tuple(codes.shape)}.")
        for space in self.spaces[first:last]:
            codes = self.lift_once(codes, space)
        return codes

    def sample_in(self, space: str, seeds: Sequence[int], *, truncation: float | None = None) -> Tensor:
        """Codes (len(seeds), D) of a space; those of the first are as drawn, since truncation acts on lifts from it."""
        first = self.space_names[0]
        return self.lift(self.sample(seeds), first, space, truncation=None if space == first else truncation)

    def lift_vectors(self, vectors: Tensor, source: str, target: str) -> Tensor | None:
        """What adding vectors (K, D) in space `source` adds in the finer `target`, (K, D'); None if that varies.

        It is the same for all codes where the lifts between the two spaces are affine.
        """
        names = self.space_names
        if any(name in self.curved for name in names[names.index(source) : names.index(target)]):
            return None
        lifted = self.lift(torch.cat([vectors, torch.zeros_like(vectors[:1])]), source, target)
        return lifted[:-1] - lifted[-1:]

    def synthesize(
        self,
        codes: Tensor,
        space: str,
        *,
        keep: Collection[str] = (),
        resume: tuple[str, State] | None = None,
        patches: Sequence[Patch] = (),
        image: bool = True,
    ) -> Synthesis:
        """Render codes.

        Args:
            codes: (B, D) in `space`.
            space: name of the latent space the codes live in.
            keep: layers whose states are returned.
            resume: (layer, state): start after that layer with that state; earlier slots are not read.
            patches: what is let in at some layers, the resumed one among them; see `patched`.
            image: False stops after the last kept layer.

        Returns:
            A `Synthesis`: picture (B, 3, H, W) and the kept states, differentiable in the codes.

        Raises:
            UserError: unknown layer or space.
            ValueError: wrong width, or neither a picture nor a layer is requested.
        """
        after, state = resume or (None, None)
        self.check_layers(keep if after is None else (*keep, after))
        if not image and not keep:
            raise ValueError("nothing to synthesize: no picture and no layers were asked for.")
        finest = self.spaces[-1]
        slots = finest.split(self.lift(codes, space, finest.name))
        names = list(self.layers)
        start = 0 if after is None else names.index(after) + 1
        stop = len(names) if image else max(names.index(name) for name in keep) + 1
        state = state and patched(self.layers[after], state, patches)
        states = {after: state} if after in keep else {}
        for step in self.steps[start:stop]:
            state = patched(step.layer, step.run(state, tuple(slots[i] for i in step.slots)), patches)
            if step.layer.name in keep:
                states[step.layer.name] = state
        return Synthesis(self.finish(state) if image else None, states, self.layers)

    def let_in(
        self,
        layer: str,
        codes: Tensor,
        moved: Sequence[Tensor],
        masks: Sequence[Tensor],
        before: Sequence[Patch] = (),
    ) -> list[Patch]:
        """What local moves let in at a layer; architectures override it where several cost less than one by one.

        Args:
            layer: at which they are let in.
            codes: (B, D) of the finest space, what is rendered elsewhere.
            moved: K such codes.
            masks: K soft masks (B or 1, 1, h, w) in [0, 1] over the picture.
            before: what is let in at earlier layers.
        """
        options = {"keep": (layer,), "patches": [repeated(patch, len(moved)) for patch in before], "image": False}
        states = self.synthesize(torch.cat([*moved]), self.spaces[-1].name, **options).states
        xs, rgbs = (None if t is None else t.chunk(len(moved)) for t in (states[layer].x, states[layer].rgb))
        each = [State(x, None if rgbs is None else rgbs[i]) for i, x in enumerate(xs)]
        return [Patch({layer: state}, mask) for state, mask in zip(each, masks, strict=True)]

    def preview(self, codes: Tensor, space: str, *, side: int, patches: Sequence[Patch] = ()) -> Tensor | None:
        """Small pictures (B, 3, s, s), s at most `side`, from the earlier layers; None if the architecture has none."""
        layer = self.running_layer(side)
        if layer is None:
            return None
        return self.synthesize(codes, space, keep=(layer,), patches=patches, image=False).states[layer].rgb


def patched(layer: Layer, state: State, patches: Sequence[Patch]) -> State:
    """The state of a layer with its patches let in, each from the same state, so that their order does not matter."""
    x, rgb = state.x, state.rgb
    for patch in patches:
        if other := patch.states.get(layer.name):
            still, mask = patch.still.get(layer.name, state), resized_mask(patch.mask, (layer.size, layer.size))
            x = x + F.pad(mask, (layer.margin,) * 4, mode="replicate").to(x.dtype) * (other.x - still.x)
            if rgb is not None:  # which may be smaller than the map
                rgb = rgb + resized_mask(patch.mask, rgb.shape[-2:]).to(rgb.dtype) * (other.rgb - still.rgb)
    return State(x, rgb)


def repeated(patch: Patch, count: int) -> Patch:
    """A patch of B pictures for a batch that holds them `count` times."""

    def rows(tensor: Tensor) -> Tensor:
        return tensor if len(tensor) == 1 else tensor.repeat(count, 1, 1, 1)

    def states(of: Mapping[str, State]) -> dict[str, State]:
        return {name: State(rows(s.x), None if s.rgb is None else rows(s.rgb)) for name, s in of.items()}

    return Patch(states(patch.states), rows(patch.mask), states(patch.still))


def check_sizes(sizes: Iterable[int]) -> None:
    """RefusedError for layer sizes, in pixels, outside 1 to `LARGEST`, before memory is allocated for them."""
    for size in sizes:
        if not 1 <= size <= LARGEST:
            raise RefusedError(f"a layer would be {size} pixels across; 1 to {LARGEST} can be")


def normal_rows(seeds: Sequence[int], width: int) -> Tensor:
    """Standard normal rows (len(seeds), width), each drawn on the CPU from its own seed."""
    return torch.stack([torch.randn(width, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds])


def below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, the prefix cut off."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in weights.items() if name.startswith(prefix + ".")}


def scaled(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """x (B, C, H, W) times gain plus shift, each (B, C), in the type of x."""
    return torch.addcmul(per_channel(shift, x), x, per_channel(gain, x))


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """(B, C) → (B, C, 1, 1) in the type of `like`."""
    return values[:, :, None, None].to(like.dtype)


def channels_last(x: Tensor) -> Tensor:
    """The same numbers with the channels innermost, where convolutions are fastest."""
    return x.contiguous(memory_format=torch.channels_last)
