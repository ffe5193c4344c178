"""`weights list`, `fetch` and `verify`, and networks loaded by the names of published weights."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lelsd_core import UserError, load_generator, load_segmenter
from lelsd_core.__main__ import main
from lelsd_core.weights.cache import hub_cache, sha256_of
from lelsd_core.weights.catalogue import CATALOGUE, File, HubSource, needed_by
from tests import official
from tests.toy_hub import DATA, ONE, OTHER, REVISION, SHA256, TWO, network, source

ROOT = Path(__file__).parents[1]


def answer(capsys) -> dict:
    """The JSON object on the last line."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def only_toys(toys, monkeypatch) -> Path:
    """A catalogue of what ships and three more: a generator, its encoder, and a segmenter that is got by hand."""
    for name in [name for name, each in CATALOGUE.items() if not each.shipped]:
        monkeypatch.delitem(CATALOGUE, name)
    belongs = {"inverter": "toy", "segmenter": "hand", "within": ("toy",)}
    for each in (
        network("toy", "inverter", source("one/weights")),
        network("hand", by_hand=("hand.pt", "https://example.org/hand.pt")),
        network("painter", "generator", source("two/weights"), **belongs),
    ):
        monkeypatch.setitem(CATALOGUE, each.name, each)
    return toys


def test_the_catalogue_is_consistent():
    for name, each in CATALOGUE.items():
        assert {*each.parts, *each.within, *filter(None, [each.weights])} <= set(CATALOGUE), name
        places = [each.shipped, each.sources, each.torchvision, each.by_hand, each.weights]
        assert sum(map(bool, places)) == (name != "samples"), name
        assert (each.kind == "generator") == (each.resolution is not None) == (each.frame is not None), name
        assert (each.frame == "points") == (len(each.points) == 5), name
        assert not each.segmenter or CATALOGUE[each.segmenter].kind == "segmenter"
        assert not each.inverter or CATALOGUE[each.inverter].kind == "inverter"
        for copy in each.sources:
            assert re.fullmatch("[0-9a-f]{40}", copy.revision), "pinned"
            assert copy.sure in ("A", "B", "C")
            assert copy.file.sha256 is None or len(copy.file.sha256) == 64
        each.discover  # noqa: B018, its fields exist
    assert needed_by("ffhq-1024") == ("e4e-ffhq", "bisenet")
    assert needed_by("ffhq-512") == ("bisenet", "ffhq-512")
    assert needed_by("ffhq-512", "bisenet-19") == ("bisenet", "ffhq-512")


def test_list_tells_what_there_is_and_what_is_here(only_toys, serve, capsys):
    serve()
    assert main(["weights", "fetch", "toy", "--json"]) == 0
    path = answer(capsys)["paths"]["toy"]
    assert main(["weights", "list", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    rows = {row["name"]: row for row in json.loads(last)["rows"]}
    assert list(rows)[-3:] == ["toy", "hand", "painter"]
    assert rows["digiface-64"]["path"].endswith("generator.safetensors")
    assert (rows["toy"]["path"], rows["toy"]["sha256"], rows["toy"]["megabytes"]) == (path, SHA256, 3)
    assert rows["painter"]["path"] == path, "it is in the other's file"
    assert rows["hand"]["path"] is None
    assert rows["hand"]["by_hand"] == "hand.pt from https://example.org/hand.pt"
    assert [line.split()[:5] for line in lines[-3:-1]] == [
        ["toy", "inverter", "3", "here", "known"],
        ["hand", "segmenter", "?", "by", "hand"],
    ]


def test_every_network_is_listed_with_its_licence(hub_home, capsys):
    assert main(["weights", "list", "--json"]) == 0
    rows = answer(capsys)["rows"]
    assert {row["name"] for row in rows} == set(CATALOGUE) - {"samples", "e4e", "bisenet-19"}, "those with a file"
    assert all(row["licence"] and row["data"] for row in rows)
    assert {row["name"] for row in rows if not row["by_hand"] and row["sha256"] is None} == {
        *("afhq-cat-512", "biggan-deep-128", "lpips-squeeze", "maskformer-cocostuff")
    }


def test_fetch_brings_what_belongs_to_a_generator_or_it_alone(only_toys, serve, capsys, monkeypatch):
    server = serve()
    assert main(["weights", "fetch", "painter", "--only", "--json"]) == 0
    (path,) = answer(capsys)["paths"].values()
    assert "two--weights" in path
    assert server.count("GET", "one/") == 0
    before = len(server.requests)
    assert main(["weights", "fetch", "toy", "painter"]) == 1
    assert "get hand.pt from https://example.org/hand.pt" in capsys.readouterr().err
    assert server.count("GET", "one/") == 0, "nothing is downloaded for a list that cannot be had"
    assert len(server.requests) == before + 1
    (only_toys / "hand.pt").write_bytes(b"by hand")
    monkeypatch.setenv("LELSD_WEIGHTS", str(only_toys))
    assert main(["weights", "fetch", "painter", "--json"]) == 0
    paths = answer(capsys)["paths"]
    assert paths["painter"] == paths["toy"]
    assert "one--weights" in paths["painter"]
    assert paths["hand"] == str(only_toys / "hand.pt")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fetch", "ffhq-1042"], "no network named 'ffhq-1042'; did you mean ffhq-1024"),
        (["verify", "bisenett"], "no network named 'bisenett'; did you mean bisenet"),
        (["verify", "bisenet"], "bisenet is not on this machine; get it with: python -m lelsd_core weights fetch"),
        (["fetch", "cocostuff"], "cocostuff cannot be downloaded from here"),
        (["fetch", "yunet"], "yunet is not on this machine, and the network is switched off"),
        (["lits"], "no action of weights named 'lits'; did you mean list"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(arguments, words, hub_home, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["weights", *arguments]) == 1
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["fetch"], ["list", "bisenet"]])
def test_names_too_many_or_too_few_are_usage_errors(arguments):
    with pytest.raises(SystemExit) as caught:
        main(["weights", *arguments])
    assert caught.value.code == 2


def test_verify_hashes_what_ships_and_what_is_here_and_names_what_is_damaged(only_toys, serve, capsys):
    serve()
    main(["weights", "fetch", "toy"])
    assert main(["weights", "verify", "--json"]) == 0
    rows = {row["name"]: row["sha256"] for row in answer(capsys)["rows"]}
    assert set(rows) >= {"digiface-64", "digiface-parts", "digiface-encoder", "toy", "painter"}
    assert rows["toy"] == SHA256
    (blob,) = (hub_cache() / "models--one--weights" / "blobs").iterdir()
    times = blob.stat().st_atime_ns, blob.stat().st_mtime_ns
    blob.write_bytes(OTHER)
    os.utime(blob, ns=times)  # as a disk that rots would leave it
    assert main(["weights", "verify", "toy"]) == 1
    assert "toy.pt: its SHA-256 is" in capsys.readouterr().err
    main(["weights", "list"])
    assert "damaged" in capsys.readouterr().out
    assert main(["weights", "fetch", "toy", "--json"]) == 0
    assert Path(answer(capsys)["paths"]["toy"]).read_bytes() == DATA


def test_verify_names_what_ships_and_is_damaged(hub_home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lelsd_core.weights.catalogue.CHECKPOINTS", tmp_path)
    (tmp_path / "digiface-64").mkdir()
    (tmp_path / "digiface-64" / "generator.safetensors").write_bytes(DATA)
    assert main(["weights", "verify", "digiface-64"]) == 1
    assert "generator.safetensors of digiface-64 is damaged: its SHA-256 is" in capsys.readouterr().err


def test_a_list_needs_no_torch(hub_home):
    program = (
        "import sys; from argparse import Namespace; from lelsd_core.cli.weights import list_weights\n"
        "list_weights(Namespace(names=[]))\n"
        "sys.exit(int('torch' in sys.modules or 'gradio' in sys.modules))"
    )
    environment = os.environ | {"HF_HOME": str(hub_home)}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ffhq-1024" in done.stdout


def test_a_download_shows_a_bar_on_a_terminal_and_nothing_when_piped(only_toys, serve, capsys, monkeypatch):
    serve()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["weights", "fetch", "painter", "--only"]) == 0
    assert "toy.pt: 100%" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert main(["weights", "fetch", "toy"]) == 0
    assert capsys.readouterr().err == ""


def narrow(tensor: torch.Tensor) -> torch.Tensor:
    """16 of 512 channels, so that the file is small."""
    return tensor[tuple(slice(16 if size == 512 else size) for size in tensor.shape)].clone()


def test_a_generator_is_loaded_by_the_name_of_published_weights(toys, hub_server, tmp_path, monkeypatch):
    whole = torch.load(official.rosinality(tmp_path), weights_only=True)
    small, mean = {name: narrow(tensor) for name, tensor in whole["g_ema"].items()}, narrow(whole["latent_avg"])
    torch.save({"g_ema": small, "latent_avg": mean}, tmp_path / "alone.pt")
    inside = {f"decoder.{name}": tensor for name, tensor in small.items()}
    torch.save({"state_dict": inside, "latent_avg": mean.repeat(8, 1)}, tmp_path / "e4e.pt")
    files = {ONE: (tmp_path / "alone.pt").read_bytes(), TWO: (tmp_path / "e4e.pt").read_bytes()}
    hub_server(files)
    unseen = [HubSource(repository, REVISION, File("toy.pt"), "A") for repository in ("one/weights", "two/weights")]
    monkeypatch.setitem(CATALOGUE, "both", network("both", "inverter", unseen[1]))
    mini = network("mini-32", "generator", unseen[0], within=("both",), resolution=32, frame="ffhq")
    monkeypatch.setitem(CATALOGUE, "mini-32", mini)
    alone = load_generator("mini-32")
    assert (alone.name, alone.resolution) == ("mini-32", 32)
    assert alone.sha256 == sha256_of(tmp_path / "alone.pt")
    main(["weights", "fetch", "both"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shared = load_generator("mini-32")
    assert shared.sha256 == sha256_of(tmp_path / "e4e.pt"), "the encoder's file is preferred, so that they fit"
    assert shared.fingerprint == alone.fingerprint, "directions of one fit the other"
    z = alone.sample(seeds=[1])
    pictures = [g.synthesize(g.lift(z, "Z", "W"), "W").image for g in (alone, shared)]
    torch.testing.assert_close(*pictures)


def test_a_segmenter_is_fetched_when_it_is_named_without_weights(toys, hub_server, tmp_path, monkeypatch):
    state = official.golden.state_dict(official.GOLDEN / "bisenet128.json")
    torch.save(state, tmp_path / "79999_iter.pth", _use_new_zipfile_serialization=False)
    hub_server({("one/weights", "79999_iter.pth"): (tmp_path / "79999_iter.pth").read_bytes()})
    one = HubSource("one/weights", REVISION, File("79999_iter.pth"), "A")
    monkeypatch.setitem(CATALOGUE, "bisenet", network("bisenet", "segmenter", one, architecture="bisenet"))
    fetched, given = load_segmenter("bisenet"), load_segmenter("bisenet", weights=tmp_path / "79999_iter.pth")
    assert (fetched.name, fetched.fingerprint) == (given.name, given.fingerprint)
    assert len(load_segmenter("bisenet-19").parts) == 19


def test_names_of_another_kind_are_not_taken(hub_home):
    with pytest.raises(UserError, match="no generator named 'bisenet'"):
        load_generator("bisenet")
    with pytest.raises(UserError, match="no generator named 'ffhq-1042'; did you mean ffhq-1024"):
        load_generator("ffhq-1042")
