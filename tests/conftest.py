"""Fixtures: the networks that ship, loaded once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import settings
from PIL import Image

os.environ["LELSD_GENERATOR"] = "digiface-64"  # of commands and pages that name none: the quick one

from lelsd_core import seeds
from lelsd_core.editor import Editor
from lelsd_core.registry import load_editor
from lelsd_core.weights.catalogue import CATALOGUE
from tests.hub_server import HubServer
from tests.toy_hub import DATA, ONE, TWO, toy_catalogue

pytest_plugins = ["tests.tiny_flagship"]
settings.register_profile("any machine", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("any machine")
EXAMPLES = Path(__file__).parents[1] / "demo" / "examples"


@pytest.fixture(scope="session")
def editor() -> Editor:
    """The whole editor of digiface-64; shared, because nothing may change it."""
    torch.manual_seed(0)
    return load_editor("digiface-64")


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """A real photo, 512 × 512: Eileen Collins, NASA, public domain."""
    return Image.open(Path(__file__).parent / "data" / "astronaut.png").convert("RGB")


@pytest.fixture
def few_held_out(monkeypatch) -> range:
    """An eighth of the held-out seeds, for tests that measure directions."""
    few = seeds.HELD_OUT[:32]
    monkeypatch.setattr(seeds, "HELD_OUT", few)
    return few


@pytest.fixture
def hub_home(tmp_path, monkeypatch) -> Path:
    """An empty cache of huggingface_hub in tmp_path/hub, and nothing about the Hub in the environment."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "LELSD_WEIGHTS", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def hub_server(hub_home, monkeypatch) -> Iterator[Callable[..., HubServer]]:
    """hub_server(files, faults, redirect=...) → a running Hub that HF_ENDPOINT names; see `HubServer`."""
    with ExitStack() as running:

        def start(files, faults=None, **options) -> HubServer:
            server = running.enter_context(HubServer(files, faults or {}, **options))
            monkeypatch.setenv("HF_ENDPOINT", server.url)
            return server

        yield start


@pytest.fixture
def toys(hub_home, monkeypatch) -> Path:
    """`hub_home` with `toy_catalogue` in the catalogue, sources that are tried again at once, and small chunks."""
    monkeypatch.setattr("lelsd_core.weights.hub.PAUSE", 0.01)
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: time.sleep(0.01)))
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 2**20)
    for name, network in toy_catalogue().items():
        monkeypatch.setitem(CATALOGUE, name, network)
    return hub_home


@pytest.fixture
def serve(toys, hub_server) -> Callable[..., HubServer]:
    """serve(faults, files, redirect=...) → a running Hub with DATA in both repositories of "toy"."""
    return lambda faults=None, files=None, **options: hub_server(files or {ONE: DATA, TWO: DATA}, faults, **options)
