"""What is known of published weights: a file, a copy of it on the Hub, and the entry that has a name."""

from __future__ import annotations

from dataclasses import dataclass

NOT_STATED = "not stated"


@dataclass(frozen=True)
class File:
    """One file of a repository.

    Args:
        path: in the repository.
        sha256: None where nobody has seen it.
        bytes: None where only `megabytes` is known.
        megabytes: about; for people, and for the check of the disk.
    """

    path: str
    sha256: str | None = None
    bytes: int | None = None
    megabytes: float | None = None

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def size(self) -> int:
        """Bytes, exactly if known, otherwise about; 0 if not even that is known."""
        return self.bytes or int(1e6 * (self.megabytes or 0))


@dataclass(frozen=True)
class Source:
    """One copy on the Hub: a repository at a revision, the file that is loaded, and those that must lie beside it."""

    repository: str
    revision: str
    file: File
    sure: str
    beside: tuple[File, ...] = ()

    @property
    def files(self) -> tuple[File, ...]:
        """All files, the one that is loaded first."""
        return (self.file, *self.beside)

    def __str__(self) -> str:
        return f"{self.repository}/{self.file.path}"


@dataclass(frozen=True)
class Entry:
    """Published weights with a name.

    Args:
        kind: "generator", "inverter", "segmenter", "perceptual" (LPIPS), "detector" or "recogniser".
        about: what it is, for people.
        sources: copies on the Hub, best first; the files may differ, what they hold does not.
        licence, data: licence of the weights; training data and its licence.
        within: entries whose file holds this network too; such a file is used first if it is here.
        by_hand: file and address, where the Hub has no copy that is known.
        resolution: width and height of a generator's pictures.
        frame: how its pictures are framed: "ffhq" (faces, aligned as FFHQ's), "square", "wide" (square with a
            black bar above and below), or None for no generator.
        inverter, segmenter: names of the entries that belong to a generator.
        directions: Hub repositories of its published directions.
        memory: GB that a measurement found; None: three times the file.
    """

    kind: str
    about: str
    licence: str
    sources: tuple[Source, ...] = ()
    data: str = NOT_STATED
    within: tuple[str, ...] = ()
    by_hand: tuple[str, str] | None = None
    resolution: int | None = None
    frame: str | None = None
    inverter: str | None = None
    segmenter: str | None = None
    directions: tuple[str, ...] = ()
    memory: float | None = None

    @property
    def megabytes(self) -> float:
        """Size of what the first source downloads, 10⁶ bytes; 0 if unknown."""
        return sum(file.size for file in self.sources[0].files) / 1e6 if self.sources else 0.0

    @property
    def memory_gb(self) -> float | None:
        """Memory that loading and running it takes, in GB: measured, or three times the file; None if unknown."""
        return self.memory or (max(0.1, round(3 * self.megabytes / 1000, 1)) if self.megabytes else None)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the entries that a generator is used with."""
        return tuple(name for name in (self.inverter, self.segmenter) if name)
