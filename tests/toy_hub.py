"""Toy files, networks of a catalogue, and what a failed download says; the fixtures `toys` and `serve` offer them."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from lelsd_core.errors import UserError
from lelsd_core.weights.cache import hub_cache, local
from lelsd_core.weights.catalogue import File, HubSource, Network
from lelsd_core.weights.hub import fetch

REVISION = 40 * "a"
DATA = random.Random(0).randbytes(3_000_000)
OTHER = random.Random(1).randbytes(len(DATA))
SHA256 = hashlib.sha256(DATA).hexdigest()
ONE, TWO = ("one/weights", "toy.pt"), ("two/weights", "toy.pt")


def source(repository: str, *, seen: bool = True, file: str = "toy.pt", revision: str = REVISION) -> HubSource:
    """A source of DATA; `seen`: its SHA-256 and size are known."""
    known = File(file, SHA256, len(DATA)) if seen else File(file)
    return HubSource(repository, revision, known, sure="A")


def network(name: str, kind: str = "segmenter", *sources: HubSource, **facts) -> Network:
    """A network of the catalogue, for a test."""
    return Network(name, kind, f"{name}, a toy", "MIT", sources=sources, **facts)


def toy_catalogue() -> dict[str, Network]:
    """ "toy" from two sources, and "new", whose SHA-256 is not known."""
    two = (source("one/weights"), source("two/weights"))
    return {
        "toy": network("toy", "segmenter", *two),
        "new": network("new", "segmenter", source("one/weights", seen=False)),
    }


def sentence(name: str, **options) -> str:
    """What `fetch` says when it fails; one sentence, and the cache has nothing half-valid."""
    with pytest.raises(UserError) as caught:
        fetch(name, **options)
    assert "\n" not in str(caught.value)
    assert local(name) is None
    return str(caught.value)


def leftovers() -> list[Path]:
    """Files in the cache that are not a whole copy of DATA, notes and locks apart."""
    files = [path for path in hub_cache().rglob("*") if path.is_file() and path.parent.name == "blobs"]
    return [path for path in files if path.read_bytes() != DATA]
