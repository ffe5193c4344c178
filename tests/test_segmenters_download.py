"""Weights that torchvision publishes, from a server on loopback: downloaded once, checked, and every failure told."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from lelsd_core import load_segmenter
from lelsd_core.errors import UserError
from lelsd_core.weights.catalogue import CATALOGUE, TorchvisionSource

NAME = "deeplabv3-mobilenet"


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()


@pytest.fixture
def server(network: torch.nn.Module) -> Iterator[SimpleNamespace]:
    """A server of one file under any path; it counts the downloads."""
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    state = SimpleNamespace(body=buffer.getvalue(), status=200, downloads=0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = state.body if state.status == 200 else b""
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                state.downloads += 1
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815, the standard library's name

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    state.host = f"http://127.0.0.1:{server.server_port}"
    state.url = f"{state.host}/deeplabv3-{hashlib.sha256(state.body).hexdigest()[:8]}.pth"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def publish(toys: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """publish(url): the catalogue names this address for the network; torch's cache is an empty folder."""

    def put(url: str) -> None:
        source = TorchvisionSource(CATALOGUE[NAME].torchvision.weights, url, 44)
        monkeypatch.setitem(CATALOGUE, NAME, replace(CATALOGUE[NAME], torchvision=source))

    return put


def test_the_published_file_is_torchvisions_network(server, publish, network, toys: Path, monkeypatch) -> None:
    publish(server.url)
    ours = load_segmenter(NAME)
    x = torch.randn(1, 3, 65, 65, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = torch.nn.functional.interpolate(ours.network(x), (65, 65), mode="bilinear")
        torch.testing.assert_close(found, network(x)["out"], atol=1e-5, rtol=1e-5)
    assert ours.fingerprint == hashlib.sha256(server.body).hexdigest()
    assert [path.name for path in (toys / "torch").rglob("*.pth")] == [server.url.rpartition("/")[2]]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    load_segmenter(NAME, weights="torchvision")
    assert server.downloads == 1, "the second time it is on this machine"


def test_torch_hub_finds_the_same_file(server, publish, toys: Path) -> None:
    publish(server.url)
    load_segmenter(NAME)
    state = torch.hub.load_state_dict_from_url(server.url, weights_only=True)
    assert len(state) > 100
    assert server.downloads == 1


def test_a_damaged_file_is_downloaded_again(server, publish, toys: Path) -> None:
    publish(server.url)
    load_segmenter(NAME)
    (path,) = (toys / "torch").rglob("*.pth")
    path.write_bytes(server.body[:-1] + b"x")
    load_segmenter(NAME)
    assert server.downloads == 2


def test_bytes_of_another_hash_are_refused_and_not_kept(server, publish, toys: Path) -> None:
    publish(f"{server.host}/deeplabv3-00000000.pth")
    with pytest.raises(UserError, match=r"deeplabv3-00000000\.pth: its SHA-256 is \w+, expected 00000000"):
        load_segmenter(NAME)
    assert not [path for path in (toys / "torch").rglob("*") if path.is_file()]


def test_a_server_that_refuses_or_does_not_answer_is_told(server, publish) -> None:
    server.status = 404
    publish(server.url)
    with pytest.raises(UserError, match=r"could not be fetched \(http.*: it is not there \(404\)\)"):
        load_segmenter(NAME)
    publish("http://127.0.0.1:9/deeplabv3-00000000.pth")
    with pytest.raises(UserError, match=r"could not be fetched \(http.*: no connection\)"):
        load_segmenter(NAME)
    assert server.downloads == 0


def test_other_networks_are_not_torchvisions() -> None:
    with pytest.raises(UserError, match="torchvision offers no weights for bisenet, only for deeplabv3, "):
        load_segmenter("bisenet", weights="torchvision")


@pytest.mark.parametrize("name", [name for name, each in CATALOGUE.items() if each.torchvision])
def test_torchvision_knows_the_same_address_and_size(name: str) -> None:
    source = CATALOGUE[name].torchvision
    weights = torchvision.models.get_weight(source.weights)
    assert weights.url == source.url
    assert source.megabytes == pytest.approx(weights.meta["_file_size"] * 2**20 / 1e6, rel=0.02)
