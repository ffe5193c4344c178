"""What is on this machine: found, checked once, and said plainly when it is not what it should be."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from lelsd_core.errors import UserError
from lelsd_core.weights.cache import hub_cache, local, record_file
from lelsd_core.weights.catalogue import CATALOGUE, File, HubSource
from lelsd_core.weights.hub import fetch
from tests.hub_server import Fault
from tests.toy_hub import DATA, ONE, OTHER, REVISION, SHA256, network, sentence, source


def test_an_unseen_file_is_recorded_at_its_first_use_and_checked_ever_after(serve):
    server = serve()
    path = fetch("new")
    key = f"one/weights@{REVISION}/toy.pt"
    assert json.loads(record_file().read_text())["first use"] == {key: SHA256}
    path.resolve().write_bytes(OTHER)
    assert local("new") is None, "it changed on the disk"
    assert fetch("new").read_bytes() == DATA, "so it is fetched again"
    shutil.rmtree(hub_cache() / "models--one--weights")
    server.files = {ONE: OTHER}
    words = sentence("new")
    assert f"expected {SHA256}, as at its first use; if the new one is right, delete its line in" in words
    assert server.count("GET") == 2
    record_file().write_text("{}")
    assert fetch("new").read_bytes() == OTHER


def test_a_damaged_file_in_the_cache_is_replaced(serve):
    serve()
    blob = fetch("toy").resolve()
    blob.write_bytes(DATA[:-1] + b"x")
    os.utime(blob, ns=(1, 1))
    assert local("toy") is None
    assert fetch("toy").read_bytes() == DATA


def test_a_file_is_hashed_once(serve, monkeypatch):
    serve()
    path = fetch("toy")
    monkeypatch.setattr("lelsd_core.weights.cache.sha256_of", lambda _: pytest.fail("hashed again"))
    assert local("toy") == path


def test_a_folder_of_two_files_comes_whole(serve, monkeypatch):
    files = {("one/folder", "config.json"): b"{}", ("one/folder", "pytorch_model.bin"): DATA}
    server = serve({("one/folder", "config.json"): [Fault(status=404, times=1)]}, files=files)
    folder = HubSource("one/folder", REVISION, File("pytorch_model.bin"), "A", beside=(File("config.json", bytes=2),))
    monkeypatch.setitem(CATALOGUE, "folder", network("folder", "generator", folder))
    assert "one/folder/pytorch_model.bin: it is not there (404)" in sentence("folder")
    assert server.count("GET") == 0
    path = fetch("folder")
    assert path.read_bytes() == DATA
    assert (path.parent / "config.json").read_bytes() == b"{}"


def test_a_file_that_holds_another_network_too_serves_both(serve, monkeypatch):
    serve()
    inside = network("inside", "generator", source("none/weights"), within=("toy",))
    monkeypatch.setitem(CATALOGUE, "inside", inside)
    assert local("inside") is None
    path = fetch("toy")
    assert local("inside") == fetch("inside") == path


def test_a_file_by_hand_is_found_and_checked(toys, monkeypatch):
    folder = toys / "weights"
    (folder / "new").mkdir(parents=True)
    monkeypatch.setenv("LELSD_WEIGHTS", str(folder))
    assert local("toy") is None
    (folder / "toy.pt").write_bytes(DATA)
    (folder / "new" / "toy.pt").write_bytes(OTHER)
    assert local("toy") == folder / "toy.pt"
    assert local("new") == folder / "new" / "toy.pt"
    (folder / "toy.pt").write_bytes(OTHER)
    with pytest.raises(UserError, match=r"toy.pt is not toy: its SHA-256 is .* Replace it, or remove it from"):
        local("toy")


def test_what_the_hub_does_not_have_is_got_by_hand(toys, monkeypatch):
    file = "deeplabv2_resnet101_msc-cocostuff164k-100000.pth"
    with pytest.raises(UserError, match=rf"get {file} from the releases of https://github"):
        fetch("cocostuff")
    (toys / file).write_bytes(DATA)
    monkeypatch.setenv("LELSD_WEIGHTS", str(toys))
    assert fetch("cocostuff").read_bytes() == DATA


def test_an_unknown_name_is_told_with_the_nearest(toys):
    with pytest.raises(UserError, match="no network named 'bisenett'; did you mean bisenet"):
        fetch("bisenett")
