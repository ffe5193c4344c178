"""The table of all named networks, read once from catalogue.toml. Needs neither torch nor numpy.

catalogue.toml  -->  CATALOGUE: {name: Network}  -->  the page, the command line, `doctor`, downloads and loaders
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lelsd_core.errors import UserError, unknown_name
from lelsd_core.weights import checkpoints_folder

if TYPE_CHECKING:
    from lelsd_core.discovery.config import DiscoverConfig
    from lelsd_core.generators.base import Generator

CHECKPOINTS = checkpoints_folder()


@dataclass(frozen=True)
class File:
    """One file of a repository on the Hub, of torchvision, or below checkpoints/."""

    path: str
    sha256: str | None = None  # or its first digits, where only these are published; None = recorded at the first use
    bytes: int | None = None  # exact size
    megabytes: float | None = None  # approximate size in 10⁶ bytes, where the exact one is not known

    @property
    def name(self) -> str:
        """File name without folders."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def size(self) -> int:
        """Size in bytes, exact or approximate; 0 if unknown."""
        return self.bytes or int(1e6 * (self.megabytes or 0))


@dataclass(frozen=True)
class HubSource:
    """One copy on the Hugging Face Hub."""

    repository: str  # OWNER/NAME
    revision: str  # commit
    file: File  # the weights
    sure: str  # "A", "B" or "C": how well the copy is confirmed, see catalogue.toml
    beside: tuple[File, ...] = ()  # files that the network needs in the same folder, such as config.json

    @property
    def files(self) -> tuple[File, ...]:
        """All files, the weights first."""
        return (self.file, *self.beside)

    def __str__(self) -> str:
        return f"{self.repository}/{self.file.path}"


@dataclass(frozen=True)
class TorchvisionSource:
    """Weights that torchvision publishes."""

    weights: str  # their name in torchvision
    url: str  # its end holds the start of their SHA-256
    megabytes: float

    @property
    def file(self) -> File:
        """The file as torch.hub caches it."""
        name = self.url.rpartition("/")[2]
        return File(name, sha256=name.rpartition("-")[2].removesuffix(".pth"), megabytes=self.megabytes)

    @property
    def files(self) -> tuple[File, ...]:
        """All files, as of a copy on the Hub."""
        return (self.file,)

    def __str__(self) -> str:
        return self.url


Source = HubSource | TorchvisionSource


@dataclass(frozen=True)
class Network:
    """A named network; the fields are explained at the top of catalogue.toml."""

    name: str
    kind: str
    about: str
    licence: str = "not stated"
    data: str = "not stated"
    architecture: str = ""
    shipped: File | None = None
    sources: tuple[HubSource, ...] = ()
    torchvision: TorchvisionSource | None = None
    by_hand: tuple[str, str] | None = None
    weights: str | None = None
    build: Mapping[str, Any] = field(default_factory=dict)
    within: tuple[str, ...] = ()
    needs: str | None = None
    resolution: int | None = None
    frame: str | None = None
    points: tuple[tuple[float, float], ...] = ()
    segmenter: str | None = None
    inverter: str | None = None
    directions: str | Path | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    shape: Mapping[str, Any] = field(default_factory=dict)
    shaped: tuple[str, ...] = ()
    measured: str | Path | None = None
    refinement: int | None = None
    first_seed: int = 0
    memory: float | None = None

    @property
    def all_sources(self) -> tuple[Source, ...]:
        """Where it can be downloaded, the best source first."""
        return (*self.sources, *filter(None, [self.torchvision]))

    @property
    def megabytes(self) -> float:
        """Size of the download from the first source, in 10⁶ bytes; 0 if unknown or shipped."""
        return sum(file.size for source in self.all_sources[:1] for file in source.files) / 1e6

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the networks that a generator is used with."""
        return tuple(filter(None, (self.inverter, self.segmenter)))

    @property
    def shows_faces(self) -> bool:
        """Whether a generator's pictures are aligned faces."""
        return self.frame in ("ffhq", "points")

    @property
    def discover(self) -> DiscoverConfig:
        """Settings of a discovery with this generator."""
        from lelsd_core.discovery.config import DiscoverConfig

        return DiscoverConfig(**self.search)

    def shapes(self, generator: Generator) -> DiscoverConfig:
        """Settings of a search for local moves of this generator."""
        from lelsd_core.discovery.config import DiscoverConfig

        return DiscoverConfig.shapes(generator, **self.shape)


def read_catalogue() -> dict[str, Network]:
    """All networks by name."""
    table = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
    revisions = table.pop("revisions")
    rows = {name: table.get(row.pop("like", None), {}) | row for name, row in table.items()}
    return {name: read_network(name, as_tuples(row), revisions) for name, row in rows.items()}


def as_tuples(value: Any) -> Any:
    """A value of a TOML file with tuples in place of its lists."""
    if isinstance(value, dict):
        return {key: as_tuples(item) for key, item in value.items()}
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def read_network(name: str, row: dict[str, Any], revisions: Mapping[str, str]) -> Network:
    """One table of catalogue.toml."""

    def read_file(facts: dict[str, Any]) -> File:
        return File(facts.pop("file"), **facts)

    def read_source(facts: dict[str, Any]) -> HubSource:
        repository, sure = facts.pop("repository"), facts.pop("sure")
        beside = tuple(map(read_file, facts.pop("beside", ())))
        return HubSource(repository, revisions[repository], read_file(facts), sure, beside)

    row |= {"sources": tuple(map(read_source, row.get("sources", ()))), "search": row.pop("discover", {})}
    if "shipped" in row:
        row["shipped"] = read_file(row["shipped"])
        for name_of_path in {"directions", "measured"} & row.keys():
            row[name_of_path] = CHECKPOINTS / row[name_of_path]
    if "torchvision" in row:
        row["torchvision"] = TorchvisionSource(**row["torchvision"])
    return Network(name, **row)


CATALOGUE = read_catalogue()


def find_network(name: str | Path, kind: str | None = None) -> Network:
    """The network of a name. UserError with the nearest names if there is none, or it is of another kind."""
    network = CATALOGUE.get(str(name))
    if network is None or kind not in (None, network.kind):
        raise UserError(unknown_name(kind or "network", name, names_of(kind) if kind else CATALOGUE))
    return network


def names_of(kind: str) -> tuple[str, ...]:
    """Names of all networks of a kind."""
    return tuple(name for name, network in CATALOGUE.items() if network.kind == kind)


def generator_names() -> tuple[str, ...]:
    """Names of all generators, the shipped ones first."""
    return names_of("generator")


def generator_spec(name: str) -> Network:
    """A generator by name. UserError if there is none."""
    return find_network(name, "generator")


def spec_of(name_or_path: str | Path) -> Network:
    """A generator by name, or what is known of one in a file or folder. UserError if it is neither."""
    name, path = str(name_or_path), Path(name_or_path)
    if name not in generator_names() and path.exists():
        return Network(name, "generator", f"Read from {path.name}.")
    return generator_spec(name)


def segmenter_of(name_or_path: str | Path, requested: str | None = None) -> str:
    """The requested segmenter, or the one of the catalogue for a generator. UserError if there is neither."""
    if segmenter := requested or spec_of(name_or_path).segmenter:
        return segmenter
    raise UserError(
        f"No segmenter is known for the pictures of {name_or_path}; name one, for example with --segmenter."
    )


def needed_by(name: str, segmenter: str | None = None) -> tuple[str, ...]:
    """Names of the networks whose files a network is used with: its encoder, its segmenter and itself.

    Args:
        name: of any network of the catalogue.
        segmenter: another segmenter than the catalogue's, by name or file.

    Returns:
        The network last, unless the file of another of them holds it.
    """
    network = find_network(name)
    parts = (network.inverter, segmenter or network.segmenter)
    names = [CATALOGUE[part].weights or part for part in parts if part in CATALOGUE]
    own = [] if set(names) & set(network.within) else [network.weights or name]
    return tuple(dict.fromkeys(names + own))
