"""Weights that torchvision offers, from a server on loopback: asked for, checked, kept; and what can go wrong."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from lelsd_core.segmenters.torchvision_weights import OFFERED
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from lelsd_core import load_segmenter
from lelsd_core.errors import UserError

NAME = "deeplabv3-mobilenet"


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()


@pytest.fixture
def server(network: torch.nn.Module) -> Iterator[SimpleNamespace]:
    """A server of one file, any path; it counts who asked."""
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    state = SimpleNamespace(body=buffer.getvalue(), status=200, asked=0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            body = state.body if state.status == 200 else b""
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.host = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What makes torchvision offer a URL; its cache is an empty folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def put(url: str) -> None:
        monkeypatch.setattr(torchvision.models, "get_weight", lambda _: SimpleNamespace(url=url))

    return put


def named(server: SimpleNamespace) -> str:
    """The server's file under a name with the start of its SHA-256, as torchvision's are."""
    return f"{server.host}/deeplabv3-{hashlib.sha256(server.body).hexdigest()[:8]}.pth"


def test_torchvisions_own_download_is_its_network(server, offer, network, tmp_path: Path) -> None:
    offer(named(server))
    ours = load_segmenter(NAME, weights="torchvision")
    x = torch.randn(1, 3, 65, 65, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours.network(x), network(x)["out"], atol=1e-5, rtol=1e-5)
    assert ours.fingerprint == hashlib.sha256(server.body).hexdigest()
    assert [path.name for path in tmp_path.rglob("*.pth")] == [named(server).rpartition("/")[2]]
    load_segmenter(NAME, weights="torchvision")
    assert server.asked == 1, "the second time it is there"


def test_bytes_of_another_hash_are_refused_and_not_kept(server, offer, tmp_path: Path) -> None:
    offer(f"{server.host}/deeplabv3-00000000.pth")
    with pytest.raises(UserError, match=r"could not be downloaded \(invalid hash.*; get it from http.* in another way"):
        load_segmenter(NAME, weights="torchvision")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_server_that_says_no_or_is_not_there_is_told(server, offer) -> None:
    server.status = 404
    offer(named(server))
    with pytest.raises(UserError, match=r"could not be downloaded \(HTTP Error 404: Not Found\); get it from http"):
        load_segmenter(NAME, weights="torchvision")
    offer("http://127.0.0.1:9/deeplabv3-00000000.pth")
    with pytest.raises(UserError, match=r"could not be downloaded \(.*refused.*\); get it from http"):
        load_segmenter(NAME, weights="torchvision")


def test_nothing_is_downloaded_unasked(server, offer) -> None:
    offer(named(server))
    with pytest.raises(UserError, match="Or give torchvision as weights to download it"):
        load_segmenter(NAME)
    with pytest.raises(UserError, match="torchvision offers no weights for bisenet, only for deeplabv3, "):
        load_segmenter("bisenet", weights="torchvision")
    assert server.asked == 0


@pytest.mark.parametrize("name", OFFERED)
def test_torchvision_knows_the_weights_and_the_refusal_names_the_same_file(name: str) -> None:
    url = torchvision.models.get_weight(OFFERED[name]).url
    with pytest.raises(UserError, match=url):
        load_segmenter(name)
