"""Every model can be had completely; one that cannot is refused before its first byte is downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lelsd_core.errors import UserError
from lelsd_core.registry import INVERTERS, SEARCH, load_editor
from lelsd_core.segmenters.files import PUBLISHED
from lelsd_core.weights import hub
from lelsd_core.weights.cache import local
from lelsd_core.weights.catalogue import CATALOGUE, File, HubSource, TorchvisionSource, generator_names, needed_by
from lelsd_core.weights.hub import DownloadProgress, ensure, missing, plan
from tests.hub_server import Fault, HubServer

ROOT = Path(__file__).parents[1]


@pytest.fixture
def published(toys: Path, hub_server, monkeypatch) -> Callable[..., HubServer]:
    """published(faults) → a Hub with a few bytes in place of every file of the whole catalogue, torchvision's too."""
    files = {}
    for name, network in list(CATALOGUE.items()):
        sources = []
        for source in network.all_sources:
            content = f"{name}, {source}".encode()
            sha256 = hashlib.sha256(content).hexdigest()
            if isinstance(source, TorchvisionSource):
                source = replace(source, url=f"HOST/torchvision/weights/resolve/main/{name}-{sha256[:8]}.pth")
                files["torchvision/weights", f"{name}-{sha256[:8]}.pth"] = content
            else:
                beside = tuple(File(file.path) for file in source.beside)
                files |= {(source.repository, file.path): b"{}" for file in beside}
                files[source.repository, source.file.path] = content
                source = HubSource(source.repository, source.revision, File(source.file.path, sha256), "A", beside)
            sources.append(source)
        on_hub = tuple(source for source in sources if isinstance(source, HubSource))
        torchvision = next((source for source in sources if isinstance(source, TorchvisionSource)), None)
        monkeypatch.setitem(CATALOGUE, name, replace(network, sources=on_hub, torchvision=torchvision))

    def start(faults=None) -> HubServer:
        server = hub_server(files, faults)
        for name, network in CATALOGUE.items():
            if network.torchvision:
                url = network.torchvision.url.replace("HOST", server.url)
                changed = replace(network, torchvision=replace(network.torchvision, url=url))
                monkeypatch.setitem(CATALOGUE, name, changed)
        return server

    return start


@pytest.mark.parametrize("name", generator_names())
def test_every_generator_can_be_completed_to_an_editor(name: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    network = CATALOGUE[name]
    assert CATALOGUE[network.segmenter].architecture in {"parts", *PUBLISHED}
    assert CATALOGUE[network.inverter or SEARCH].architecture in {SEARCH, *INVERTERS}
    for part in map(CATALOGUE.get, needed_by(name)):
        assert part.shipped or part.all_sources, f"{part.name} is not to be got by hand"
        assert not part.needs or [part.needs] in extras.values(), f"{part.needs} is installed by an extra"


@pytest.mark.parametrize("name", generator_names())
def test_every_model_is_fetched_completely(name: str, published) -> None:
    server, reports = published(), []
    parts = plan(name)
    assert server.count("GET") == 0, "a plan downloads nothing"
    assert parts == missing(name) == tuple(part for part in needed_by(name) if not CATALOGUE[part].shipped)
    ensure(name, report=reports.append)
    assert missing(name) == plan(name) == ()
    for part in (name, *CATALOGUE[name].parts):
        assert local(part).is_file()
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    asked = len(server.requests)
    ensure(name)
    assert len(server.requests) == asked


def test_a_part_that_cannot_be_had_stops_everything_before_the_first_byte(published, monkeypatch) -> None:
    segmenter = CATALOGUE["bisenet"].sources
    server = published({(source.repository, source.file.path): [Fault(status=404)] for source in segmenter})
    with pytest.raises(UserError, match="bisenet could not be fetched"):
        load_editor("ffhq-1024")
    by_hand = replace(CATALOGUE["ffhq-1024"], segmenter="cocostuff")
    monkeypatch.setitem(CATALOGUE, "ffhq-1024", by_hand)
    with pytest.raises(UserError, match=r"cocostuff cannot be downloaded from here: get deeplabv2"):
        load_editor("ffhq-1024")
    assert server.count("GET") == 0


def test_a_missing_package_is_named_before_the_first_request(published, monkeypatch) -> None:
    server = published()
    monkeypatch.setattr(
        hub, "find_spec", lambda name: None if name == "transformers" else importlib.util.find_spec(name)
    )
    with pytest.raises(UserError, match=r'maskformer-cocostuff needs an optional package; .*"transformers>=5"'):
        load_editor("lsun-church-256")
    assert plan("lsun-church-256", "deeplabv3") == ("e4e-church", "deeplabv3"), "another segmenter needs no package"
    assert not any("maskformer" in path for _, path, _ in server.requests)


def test_without_network_the_first_missing_part_is_named(published, monkeypatch) -> None:
    server = published()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in generator_names():
        if CATALOGUE[name].shipped:
            continue
        with pytest.raises(UserError, match="the network is switched off"):
            load_editor(name)
    assert server.requests == []


def test_progress_counts_the_bytes_of_all_parts(published) -> None:
    published()
    reports: list[DownloadProgress] = []
    ensure("ffhq-1024", report=reports.append)
    assert dict.fromkeys(report.name for report in reports) == {"e4e-ffhq": None, "bisenet": None}
    assert reports[-1].done == sum(local(part).stat().st_size for part in ("e4e-ffhq", "bisenet"))
