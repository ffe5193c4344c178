"""`weights list`, `fetch` and `verify`, and networks loaded by the names of published weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lelsd_core import UserError, load_generator, load_segmenter
from lelsd_core.__main__ import main
from lelsd_core.weights.cache import hub_cache, sha256_of
from lelsd_core.weights.catalogue import CATALOG, Entry, File, HubSource, needed_by
from tests import official
from tests.toy_hub import DATA, ONE, OTHER, REVISION, SHA256, TWO, source

ROOT = Path(__file__).parents[1]


def answer(capsys) -> dict:
    """The JSON object on the last line."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def only_toys(toys, monkeypatch) -> Path:
    """A catalogue of three: a generator and what belongs to it, one part of it without a copy on the Hub."""
    for name in list(CATALOG):
        monkeypatch.delitem(CATALOG, name)
    hand = Entry("segmenter", "by hand", "MIT", by_hand=("hand.pt", "https://example.org/hand.pt"))
    own = Entry("generator", "toy", "MIT", (source("two/weights"),), inverter="toy", segmenter="hand", within=("toy",))
    monkeypatch.setitem(CATALOG, "toy", Entry("inverter", "toy", "MIT", (source("one/weights"),)))
    monkeypatch.setitem(CATALOG, "hand", hand)
    monkeypatch.setitem(CATALOG, "painter", own)
    return toys


def test_names_of_the_catalogue_that_an_entry_mentions_exist():
    for name, entry in CATALOG.items():
        assert {*entry.parts, *entry.within} <= set(CATALOG), name
        assert bool(entry.sources) != bool(entry.by_hand), name
        assert (entry.kind == "generator") == (entry.resolution is not None) == (entry.frame is not None), name
        for each in entry.sources:
            assert len(each.revision) == 40 or each.file.sha256 is None, "pinned, by the revision or at first use"
            assert each.sure in ("A", "B", "C")
            assert each.file.sha256 is None or len(each.file.sha256) == 64
    assert needed_by("ffhq-1024") == ("e4e-ffhq", "bisenet")
    assert needed_by("ffhq-512") == ("bisenet", "ffhq-512")


def test_list_tells_what_there_is_and_what_is_here(only_toys, serve, capsys):
    serve()
    assert main(["weights", "fetch", "toy", "--json"]) == 0
    path = answer(capsys)["paths"]["toy"]
    assert main(["weights", "list", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    rows = {row["name"]: row for row in json.loads(last)["rows"]}
    assert list(rows) == ["toy", "hand", "painter"]
    assert (rows["toy"]["path"], rows["toy"]["sha256"], rows["toy"]["megabytes"]) == (path, SHA256, 3)
    assert rows["painter"]["path"] == path, "it is in the other's file"
    assert rows["hand"]["path"] is None
    assert rows["hand"]["by_hand"] == "hand.pt from https://example.org/hand.pt"
    assert [line.split()[:5] for line in lines[1:3]] == [
        ["toy", "inverter", "3", "here", "known"],
        ["hand", "segmenter", "?", "by", "hand"],
    ]


def test_every_entry_is_listed_with_its_licence(hub_home, capsys):
    assert main(["weights", "list", "--json"]) == 0
    rows = answer(capsys)["rows"]
    assert [row["name"] for row in rows] == list(CATALOG)
    assert all(row["licence"] and row["data"] for row in rows)
    assert {row["name"] for row in rows if not row["by_hand"] and row["sha256"] is None} == {
        *("afhq-cat-512", "biggan-deep-128", "lpips-alex", "lpips-squeeze", "maskformer-cocostuff")
    }


def test_fetch_brings_what_belongs_to_a_generator_or_it_alone(only_toys, serve, capsys):
    server = serve()
    assert main(["weights", "fetch", "painter", "--only", "--json"]) == 0
    (path,) = answer(capsys)["paths"].values()
    assert "two--weights" in path
    assert server.count("GET", "one/") == 0
    assert main(["weights", "fetch", "painter", "--json"]) == 0
    told = answer(capsys)
    before = server.count("GET")
    assert main(["weights", "fetch", "toy", "hand"]) == 1
    assert server.count("GET") == before, "nothing is fetched for a list that cannot be had"
    assert told["by_hand"] == {"hand": "hand.pt from https://example.org/hand.pt"}
    assert told["paths"]["painter"] == told["paths"]["toy"]
    assert "one--weights" in told["paths"]["painter"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fetch", "ffhq-1042"], "no published weights named 'ffhq-1042'; did you mean ffhq-1024"),
        (["verify", "bisenett"], "no weights named 'bisenett'; did you mean bisenet"),
        (["verify", "bisenet"], "bisenet is not on this machine; get it with: python -m lelsd_core weights fetch"),
        (["fetch", "deeplabv3"], "The Hub has no copy of deeplabv3 that is known"),
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


def test_piped_output_has_no_bars_and_help_and_list_need_no_torch(only_toys, serve):
    server = serve()
    program = (
        "import sys; from lelsd_core.__main__ import main\n"
        "main(['weights', 'list'])\n"
        "sys.exit(int('torch' in sys.modules or 'gradio' in sys.modules))"
    )
    environment = os.environ | {"HF_HOME": str(only_toys), "HF_ENDPOINT": server.url}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ffhq-1024" in done.stdout
    program = (
        "import sys; from lelsd_core.__main__ import main\n"
        "try: main(['weights', '--help'])\n"
        "except SystemExit: sys.exit(int('torch' in sys.modules or 'huggingface_hub' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True).returncode == 0


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
    monkeypatch.setitem(CATALOG, "both", Entry("inverter", "both", "MIT", (unseen[1],)))
    mini = Entry("generator", "mini", "MIT", (unseen[0],), within=("both",), resolution=32, frame="ffhq")
    monkeypatch.setitem(CATALOG, "mini-32", mini)
    alone = load_generator("mini-32")
    assert (alone.name, alone.resolution) == ("mini-32", 32)
    assert alone.fingerprint == sha256_of(tmp_path / "alone.pt")
    main(["weights", "fetch", "both"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shared = load_generator("mini-32")
    assert shared.fingerprint == sha256_of(tmp_path / "e4e.pt"), "the encoder's file is preferred, so that they fit"
    z = alone.sample(seeds=[1])
    pictures = [g.synthesize(g.lift(z, "Z", "W"), "W").image for g in (alone, shared)]
    torch.testing.assert_close(*pictures)


def test_a_segmenter_is_fetched_when_it_is_named_without_weights(toys, hub_server, tmp_path, monkeypatch):
    state = official.golden.state_dict(official.GOLDEN / "bisenet128.json")
    torch.save(state, tmp_path / "79999_iter.pth", _use_new_zipfile_serialization=False)
    hub_server({("one/weights", "79999_iter.pth"): (tmp_path / "79999_iter.pth").read_bytes()})
    one = HubSource("one/weights", REVISION, File("79999_iter.pth"), "A")
    monkeypatch.setitem(CATALOG, "bisenet", Entry("segmenter", "toy", "MIT", (one,)))
    fetched, given = load_segmenter("bisenet"), load_segmenter("bisenet", weights=tmp_path / "79999_iter.pth")
    assert (fetched.name, fetched.fingerprint) == (given.name, given.fingerprint)
    assert len(load_segmenter("bisenet-19").parts) == 19


def test_names_of_another_kind_are_not_taken(hub_home):
    with pytest.raises(UserError, match="no generator named 'bisenet'"):
        load_generator("bisenet")
    with pytest.raises(UserError, match="no generator named 'ffhq-1042'; did you mean ffhq-1024"):
        load_generator("ffhq-1042")
