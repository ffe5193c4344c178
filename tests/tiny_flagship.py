"""A Hub on loopback with a small flagship: an e4e file that holds its StyleGAN2, and a BiSeNet, filled by rule."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lelsd_core.cli import flagship
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.galleries import local as gallery
from lelsd_core.segmenters.bisenet import FaceSegmenter
from lelsd_core.weights.catalogue import CATALOGUE, File, HubSource, Network
from tests import official
from tests.data.golden import golden
from tests.hub_server import HubServer

NAME, REVISION = "tiny-ffhq-32", 40 * "a"
E4E, PARSING = ("some/e4e", "tiny_encode.pt"), ("some/parsing", "79999_iter.pth")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], bytes]:
    """An e4e file with its StyleGAN2 at 32 pixels, and a BiSeNet, as they would lie on the Hub."""
    folder = tmp_path_factory.mktemp("files")
    parsing = folder / "79999_iter.pth"
    torch.save(golden.state_dict(official.GOLDEN / "bisenet128.json"), parsing, _use_new_zipfile_serialization=False)
    return {E4E: official.small_e4e(folder).read_bytes(), PARSING: parsing.read_bytes()}


def source(place: tuple[str, str], content: bytes) -> tuple[HubSource, ...]:
    """Where a file lies, and its SHA-256."""
    return (HubSource(place[0], REVISION, File(place[1], hashlib.sha256(content).hexdigest(), len(content)), sure="A"),)


@pytest.fixture
def hub(files, hub_server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., HubServer]:
    """hub(faults) → a Hub with these files, which the catalogue names; everything is kept in tmp_path."""
    monkeypatch.setenv("LELSD_CACHE", str(tmp_path / "lelsd"))
    belongs = {"within": ("e4e-tiny",), "inverter": "e4e-tiny", "segmenter": "bisenet", "frame": "ffhq"}
    belongs["search"] = {"steps": 4, "batch": 2, "samples": 4}
    entries = {
        NAME: ("generator", E4E, {"resolution": 32, **belongs}),
        "e4e-tiny": ("inverter", E4E, {"architecture": "e4e"}),
        "bisenet": ("segmenter", PARSING, {"architecture": "bisenet"}),
    }
    for name, (kind, place, facts) in entries.items():
        sources = source(place, files[place])
        monkeypatch.setitem(CATALOGUE, name, Network(name, kind, "tiny", "of the test", sources=sources, **facts))
    return lambda faults=None: hub_server(files, faults)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget of seconds: BiSeNet sees small pictures, searches and measurements are short."""
    monkeypatch.setattr(FaceSegmenter, "size", 32)
    monkeypatch.setattr(gallery, "QUICK", DiscoverConfig(steps=3, batch=2, samples=4))
    monkeypatch.setattr(gallery, "CALIBRATION_SEEDS", range(500_000, 500_002))
    monkeypatch.setattr(gallery, "PRESENCE_SAMPLES", 4)
    monkeypatch.setattr(flagship, "SEEDS", range(500_000, 500_002))
