"""Directions in a latent space: moving codes along them, and their files.

    codes (B, D) + Σ amount · vector (D,)  -->  moved codes (B, D)
    codes and directions of any spaces     -->  edited codes of the finest space, and those of local moves

A direction's file is safetensors: the vector, and in the header what it does and how it was found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lelsd_core.device import placed_like
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.generators.base import Generator
from lelsd_core.local import EditedCodes, LocalMove
from lelsd_core.segmenters.features import FeatureSegmenter, build_feature_segmenter
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors

NO_WORDS = ("less", "more")  # ends that nobody has named
VERSION = 3  # of the files; those of version 1 say none, and have no local moves; before version 3 no regions
REGION = "region."  # before the names of a region's tensors
FIELDS = ("name", "generator", "fingerprint", "space", "parts", "ends", "low", "high", "score", "area", "gain")


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction in a generator's latent space that changes one part."""

    name: str  # its id: "mouth", "hair-2"
    generator: str  # name of the generator it belongs to
    fingerprint: str  # of that generator's weights
    space: str  # name of the latent space
    vector: Tensor  # (D,) float32 on the CPU, 0 where it must not write; length 1, or 1 in each slot that it writes
    parts: tuple[str, ...] = ()  # the parts it changes; a single name stands for a tuple of one
    ends: tuple[str, str] = NO_WORDS  # what it does at the low and the high end: ("darker", "brighter")
    low: float = -3.0  # slider range in which the picture stays plausible; low < 0 < high
    high: float = 3.0
    score: float | None = None  # held-out localization score over both ends, in [0, 1]
    area: float | None = None  # share of the picture that the parts cover, in [0, 1]
    gain: float | None = None  # locality gain: odds of the score over odds of the area
    layers: tuple[str, ...] = ()  # it acts on these layers only: names, "coarse", "middle" or "fine"; () = on all
    local: LocalMove | None = None  # where it is let in; None = in the whole picture, a global move
    region: FeatureSegmenter | None = None  # finds the part that it changes, if that is a region of one's own
    goal: bool = False  # the vector is a code of the finest space, and any code moves towards it: 0 = stay, 1 = there
    facts: Mapping[str, Any] = field(default_factory=dict)  # how it was found: segmenter, seeds, steps, date ...

    def __post_init__(self) -> None:
        for name in ("parts", "layers"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, (value,))
        if self.local and not self.local.around and not self.local.painted:
            object.__setattr__(self, "local", replace(self.local, around=self.parts))

    def __repr__(self) -> str:
        parts = " ".join(self.parts) or "unknown"
        score = "not measured" if self.score is None else f"{self.score:.2f}"
        place = f"{self.space} of {self.generator}"
        place += f", let in at {self.local.layer}" if self.local else ""
        return f"<Direction {self.name!r} in {place}: parts {parts}, {self.low:g} to {self.high:g}, score {score}>"

    @property
    def kind(self) -> str:
        """What it changes first of all: "shape" for a local move, "look" (light and colour) for a global one."""
        return "shape" if self.local else "look"

    @property
    def personal(self) -> bool:
        """Whether it leads to the code of a photo, which stays where it is: in no file, link or recipe."""
        return self.goal and "seed" not in self.facts

    @property
    def title(self) -> str:
        """Name and ends: "eyes: darker – brighter"."""
        return f"{self.name}: {self.ends[0]} – {self.ends[1]}"

    def check(self, generator: Generator) -> None:
        """UserError unless the direction was made for this generator's weights, or those that it is a variant of."""
        if not generator.shares_codes_of(self.fingerprint) or self.space not in generator.space_names:
            raise UserError(
                f"The direction {self.name!r} was made for the generator {self.generator!r} "
                f"({self.fingerprint[:8] or 'no hash'}, space {self.space}); this one is {generator.name!r} "
                f"({generator.fingerprint[:8] or 'no hash'}, spaces {', '.join(generator.space_names)})."
            )
        generator.layer_columns(self.layers)  # checks the names
        generator.check_layers([self.local.layer] if self.local else [])
        if len(self.vector) != (width := generator.space(self.space).width):
            raise UserError(f"The direction {self.name!r} has {len(self.vector)} numbers; {self.space} has {width}.")

    def moves_like(self, other: Direction) -> bool:
        """Whether another direction makes the same moves, whatever its name and its range are."""
        places = [(each.space, each.layers, each.local) for each in (self, other)]
        return places[0] == places[1] and torch.equal(self.vector, other.vector)

    def clamp(self, amount: float) -> float:
        """The amount, limited to the slider range; NaN becomes 0."""
        return 0.0 if amount != amount else min(max(amount, self.low), self.high)

    def save(self, path: str | Path) -> None:
        """Write the direction as safetensors. UserError for a part of another face, whose code stays where it is."""
        if self.goal:
            raise UserError(f"{self.name} is a part of another face; it is not saved as a file.")
        facts = {name: getattr(self, name) for name in (*FIELDS, "layers")}
        facts |= {"facts": dict(self.facts), "kind": "direction"}
        tensors = {"vector": self.vector.float()}
        if self.local:  # others stay readable for earlier versions
            facts |= {"local": asdict(self.local), "version": 2}
        if self.region:
            region, about = self.region.content()
            tensors |= {REGION + name: tensor for name, tensor in region.items()}
            facts |= {"region": about, "version": VERSION}
        write_safetensors(path, tensors, facts)

    @classmethod
    def load(cls, path: str | Path) -> Direction:
        """Read a direction. UserError on anything that is not one, or was written by a later version."""
        tensors, facts = read_safetensors(path, "direction")
        if (version := facts.get("version", 1)) not in range(1, VERSION + 1):
            raise UserError(
                f"{Path(path).name} is a direction of version {version}; this program reads versions up to {VERSION}. "
                "Update it, or save the direction with the older one."
            )
        try:
            fields = {name: facts[name] for name in FIELDS} | {"facts": dict(facts.get("facts", {}))}
            fields["layers"] = facts.get("layers", ())  # older files have none
            fields |= {name: tuple(fields[name]) for name in ("parts", "ends", "layers")}
            fields["local"] = LocalMove.from_facts(facts["local"]) if facts.get("local") else None
            if facts.get("region"):
                region = {name.removeprefix(REGION): each for name, each in tensors.items() if name != "vector"}
                fields["region"] = build_feature_segmenter(region, facts["region"])
            direction = cls(vector=(vector := tensors["vector"].float()), **fields)
            usable = direction.low < 0 < direction.high and len(direction.ends) == 2
            usable = usable and vector.ndim == 1 and bool(vector.isfinite().all())
        except (KeyError, TypeError, ValueError) as problem:
            raise UserError(f"{Path(path).name} is not a whole direction: {problem} is missing or wrong.") from None
        except UserError as problem:
            raise UserError(f"{Path(path).name} is not a usable direction: {problem}") from None
        if not usable:
            raise UserError(f"{Path(path).name} is not a usable direction: its vector or its range makes no sense.")
        return direction


def load_directions(path: str | Path) -> tuple[Direction, ...]:
    """All directions of a folder, by file name, or the one of a file. UserError if there are none or one is damaged."""
    paths = [Path(path)] if Path(path).is_file() else sorted(Path(path).glob("*.safetensors"))
    if not paths:
        raise UserError(f"There are no directions (*.safetensors) in {path}.")
    return tuple(Direction.load(path) for path in paths)


def regions_in(directions: Iterable[Direction]) -> tuple[FeatureSegmenter, ...]:
    """The regions of some directions, each object once."""
    return tuple(dict.fromkeys(each.region for each in directions if each.region))


def free_name(name: str, taken: Collection[str]) -> str:
    """The name itself, or the first of name-2, name-3 ... that is not taken; upper and lower case are the same."""
    number, candidate, taken = 2, name, {other.casefold() for other in taken}
    while candidate.casefold() in taken:
        number, candidate = number + 1, f"{name}-{number}"
    return candidate


def in_plain_words(name: str) -> str:
    """A name as people read it: "brows-height" as "Brows height"."""
    return name[:1].upper() + name[1:].replace("-", " ")


def group_of(direction: Direction) -> str:
    """The group of sliders that a direction belongs to: its first part, or "face" if it changes most of them."""
    return "face" if {"eyes", "mouth"} <= {*direction.parts} else direction.parts[0] if direction.parts else "other"


def named_apart(directions: Iterable[Direction]) -> tuple[Direction, ...]:
    """The directions with unique names: a name that is taken gets a number."""
    unique: dict[str, Direction] = {}
    for direction in directions:
        name = free_name(direction.name, unique)
        unique[name] = direction if name == direction.name else replace(direction, name=name)
    return tuple(unique.values())


def clamp_amounts(directions: Sequence[Direction], amounts: Mapping[str, float]) -> dict[str, float]:
    """Amounts by direction name, each limited to its slider range. UserError for an unknown name."""
    by_name = {direction.name: direction for direction in directions}
    for name in amounts:
        if name not in by_name:
            raise UserError(unknown_name("direction", name, by_name))
    return {name: by_name[name].clamp(float(amount)) for name, amount in amounts.items()}


def limited(directions: Iterable[Direction], layers: Mapping[str, str | Sequence[str]]) -> tuple[Direction, ...]:
    """The directions, those that are named with other `Direction.layers`. UserError for an unknown name."""
    by_name = {direction.name: direction for direction in directions}
    for name, only in layers.items():
        if name not in by_name:
            raise UserError(unknown_name("direction", name, by_name))
        by_name[name] = replace(by_name[name], layers=only if isinstance(only, str) else tuple(only))
    return tuple(by_name.values())


def moved_parts(directions: Sequence[Direction], amounts: Mapping[str, float]) -> tuple[str, ...]:
    """The parts of all directions with an amount other than 0, each once."""
    moved = [direction for direction in directions if amounts.get(direction.name)]
    return tuple(dict.fromkeys(part for direction in moved for part in direction.parts))


def move(codes: Tensor, directions: Sequence[Direction], amounts: Sequence[float] | Tensor) -> Tensor:
    """Codes moved along directions, whose order does not matter.

    Args:
        codes: (B, D).
        directions: K directions of the codes' space.
        amounts: how far along each: K numbers, or (B, K).

    Returns:
        (B, D), the codes themselves if there are no directions.

    Raises:
        ValueError: the numbers of directions and amounts, or the widths, differ.
    """
    steps = torch.as_tensor(amounts, dtype=codes.dtype, device=codes.device)
    if steps.shape[-1:] != (len(directions),):
        raise ValueError(f"{len(directions)} directions need as many amounts, got {tuple(steps.shape)}")
    if not directions:
        return codes
    vectors = placed_like(torch.stack([direction.vector for direction in directions]), codes)
    if vectors.shape[1] != codes.shape[1]:
        raise ValueError(f"directions have {vectors.shape[1]} columns, codes {codes.shape[1]}")
    return codes + steps @ vectors


def edited_codes(
    generator: Generator,
    codes: Tensor,
    space: str,
    directions: Sequence[Direction],
    amounts: Sequence[float] | Tensor,
    *,
    sampled: Tensor | None = None,
    truncation: float | None = None,
) -> EditedCodes:
    """Codes of any space, moved along directions of any spaces, whose order does not matter.

    Each direction adds to the finest codes what its vector becomes there, in the columns that its layers read. Where
    that depends on the code, as behind StyleGAN's mapping network, a code of the direction's own space is moved. If the
    vector is a goal, it adds the way from the unmoved code to it.
    Local moves of one place start from the codes that all global moves lead to, and add up there.

    Args:
        generator: which the codes and directions belong to.
        codes: (B, D) in `space`.
        directions: K directions.
        amounts: how far along each: K numbers, or (B, K).
        sampled: (B, D') in the coarsest space, what the codes were lifted from; None = unknown.
        truncation: of that lift.

    Returns:
        Codes (B, D'') in the finest space.

    Raises:
        UserError: see `check_reach`.
    """
    finest, steps = generator.space_names[-1], torch.as_tensor(amounts, dtype=codes.dtype, device=codes.device)
    result = generator.lift(codes, space, finest)
    local: dict[LocalMove, Tensor] = {}
    still = result
    groups: dict[tuple[str, tuple[str, ...], LocalMove | None, bool], list[int]] = {}
    for i, direction in enumerate(directions):
        groups.setdefault((direction.space, direction.layers, direction.local, direction.goal), []).append(i)
    for (source, layers, place, goal), chosen in groups.items():
        group = [directions[i] for i in chosen]
        check_reach(generator, source, space, sampled is not None, f"The direction {group[0].name!r}")
        known = not goal and sampled is not None and source == generator.space_names[0]
        vectors = placed_like(torch.stack([direction.vector for direction in group]), codes)
        change = None if known else generator.lift_vectors(vectors, source, finest)
        if change is not None:
            change = steps[..., chosen] @ change
            change = change - steps[..., chosen].sum(-1, keepdim=True) * still if goal else change
        else:
            start, psi = (placed_like(sampled, codes), truncation) if known else (codes, None)
            both = torch.cat([start, move(start, group, steps[..., chosen])])
            before, after = generator.lift(both, source, finest, truncation=psi).chunk(2)
            change = after - before
        change = change * placed_like(generator.layer_columns(layers), change) if layers else change
        if place is None:
            result = result + change
        else:
            local[place] = local[place] + change if place in local else change
    return EditedCodes(result, tuple((place, result + change) for place, change in local.items()))


def check_reach(
    generator: Generator, source: str, space: str, sampled: bool = False, what: str = "A direction"
) -> None:
    """UserError if directions of a space move a code that a face does not have.

    Args:
        generator: of both.
        source: space of the directions.
        space: of the face's codes.
        sampled: whether the code of the coarsest space is known that they were lifted from.
        what: the direction, as the error names it.
    """
    names = generator.space_names
    usable = [name for i, name in enumerate(names) if not set(names[i:]) & set(generator.curved)]
    if source not in (*usable, space, *names[:sampled]):
        raise UserError(
            f"{what} in {source} moves a code that this face does not have: it was inverted in {space}. Random faces "
            f"have one; for photos use directions in {', '.join(usable)}."
        )
