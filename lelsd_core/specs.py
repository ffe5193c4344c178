"""Generators by name, and what belongs to each: the one that ships, and the published ones of the catalogue. Data only.

name  --generator_spec-->  GeneratorSpec: segmenter, inverter, directions, frame, licences, how to search
name or file  --spec_of-->  the same; of a file that somebody has, next to nothing is known
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.errors import UserError, unknown_name
from lelsd_core.faces.frame import AnyFrame, FfhqFrame, Frame, SquareFrame
from lelsd_core.weights.catalogue import CATALOG, NOT_STATED, Entry, names_of

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
USUAL = DiscoverConfig()


@dataclass(frozen=True)
class Weights:
    """A weights file that ships: its path below checkpoints/ and its SHA-256."""

    file: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return CHECKPOINTS / self.file


@dataclass(frozen=True)
class GeneratorSpec:
    """A named generator and what belongs to it.

    Args:
        segmenter, inverter: their names; None where none is known.
        frame: how its pictures are framed; None where that is not known.
        about: what it is, for people.
        licence, data: of the weights; training data and its licence.
        weights: the file that ships; None for a published one.
        directions: its gallery, a folder or OWNER/NAME on the Hub; None = it fills its own.
        repository: where it is published; "" for one that ships.
        discover: what a discovery uses unless told otherwise.
        first_seed: a made-up face worth opening with.
    """

    segmenter: str | None
    inverter: str | None
    frame: AnyFrame | None
    about: str
    licence: str
    data: str
    weights: Weights | None = None
    directions: str | Path | None = None
    repository: str = ""
    discover: DiscoverConfig = USUAL
    first_seed: int = 0


GENERATORS: Mapping[str, GeneratorSpec] = {
    "digiface-64": GeneratorSpec(
        segmenter="digiface-parts",
        inverter="digiface-encoder",
        frame=Frame(64, ((22.3, 29.7), (41.8, 29.6), (32.1, 42.0), (24.2, 52.3), (40.1, 52.1))),
        about="DCGAN for 64-pixel faces.",
        licence="MIT (© 2023 Chien Liu)",
        data="DigiFace-1M, rendered people, for non-commercial research",
        weights=Weights(
            "digiface-64/generator.safetensors", "2848cd892bbbe4bc159f8ebb8906098fa4fe56b77c482798a640071eff26a1bf"
        ),
        directions=CHECKPOINTS / "digiface-64" / "directions",
        discover=DiscoverConfig(slots=("*.gain",)),
        first_seed=307,
    ),
}
SEGMENTERS: Mapping[str, Weights] = {
    "digiface-parts": Weights(
        "digiface-64/segmenter.safetensors", "6442ffc955b9a82276586eba031e342c0d71ca06d8cc86018b066a61649fa2a6"
    )
}
INVERTERS: Mapping[str, Weights] = {
    "digiface-encoder": Weights(
        "digiface-64/encoder.safetensors", "6968d88fa21c46505f39deee7ade4f473b1e7b39dd2a1be277da1122d52ff491"
    )
}
FACES: Mapping[str, Weights] = {  # what finds them in photos
    "face-detector": Weights(
        "mediapipe-face/detector.safetensors", "3a9b2a69dd0ab720e478efc46ca13923b4d8e0a61ca85c6b91aadcc67f009141"
    ),
    "face-mesh": Weights(
        "mediapipe-face/mesh.safetensors", "e276f573b4443fafd3ede5c34ddc14df4e98029954f38af95f40a4bc90f9ba36"
    ),
}
FRAMES: Mapping[str, Callable[[int], AnyFrame]] = {  # how pictures of published generators are framed, by side
    "ffhq": FfhqFrame,
    "square": SquareFrame,
    "wide": lambda side: SquareFrame(side, rows=side * 3 // 4),
}


def shipped() -> dict[str, Weights]:
    """Every weights file that ships, by the name of its network."""
    return {**{name: spec.weights for name, spec in GENERATORS.items()}, **SEGMENTERS, **INVERTERS, **FACES}


def generator_names() -> tuple[str, ...]:
    """All generators with a name, those that ship first."""
    return (*GENERATORS, *names_of("generator"))


def generator_spec(name: str) -> GeneratorSpec:
    """What belongs to a named generator. UserError for an unknown name."""
    if name in GENERATORS:
        return GENERATORS[name]
    if name not in (names := generator_names()):
        raise UserError(unknown_name("generator", name, names))
    return published(CATALOG[name])


def spec_of(name_or_path: str | Path) -> GeneratorSpec:
    """What belongs to a generator by name, or in a file or folder. UserError if it is neither."""
    name = str(name_or_path)
    if name not in generator_names() and Path(name).exists():
        return GeneratorSpec(None, None, None, f"Read from {Path(name).name}.", NOT_STATED, NOT_STATED)
    return generator_spec(name)


def segmenter_of(name_or_path: str | Path, given: str | None = None) -> str:
    """The segmenter that is given, or the one that belongs to a generator. UserError if there is neither."""
    if segmenter := given or spec_of(name_or_path).segmenter:
        return segmenter
    raise UserError(f"No segmenter is known for what {name_or_path} paints; name one, such as with --segmenter.")


def published(entry: Entry) -> GeneratorSpec:
    """The spec of an entry of the catalogue."""
    return GeneratorSpec(
        segmenter=entry.segmenter,
        inverter=entry.inverter,
        frame=FRAMES[entry.frame](entry.resolution),
        about=f"{entry.about}.",
        licence=entry.licence,
        data=entry.data,
        directions=next(iter(entry.directions), None),
        repository=entry.sources[0].repository if entry.sources else "",
    )
