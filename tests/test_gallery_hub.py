"""Galleries to and from a Hub on loopback: what is sent, what comes back, and every refusal in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants

from lelsd_core.directions import Direction, named_apart
from lelsd_core.errors import UserError
from lelsd_core.galleries.hub import MOST_FILES, files_of, is_repository, push
from lelsd_core.galleries.shelf import read_gallery
from lelsd_core.weights.catalogue import File, HubSource, Network
from tests import hub_push
from tests.hub_push import TOKEN, Hub
from tests.toy import Painter

SOURCE = HubSource("someone/painter", "main", File("painter.pt"), "C")
PAINTER = Network(
    "painter", "generator", "Paints in six patterns", "licence of the weights", "licence of the data", sources=(SOURCE,)
)


def gallery(generator: Painter, source: str | Path) -> tuple[Direction, ...]:
    """Somebody's directions for a generator."""
    directions = named_apart(read_gallery(source).directions)
    for direction in directions:
        direction.check(generator)
    return directions


def directions() -> list[Direction]:
    """Two directions of the toy."""
    left, right = Painter().factors(0, 2)
    measured = {"score": 0.9, "area": 0.5, "gain": 9.0, "low": -2.0, "high": 4.0}
    return [
        Direction("left", "painter", "a" * 64, "Z", left, ("left",), **measured),
        Direction("far right", "painter", "a" * 64, "Z", right, ("right",)),
    ]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an empty cache and a token, and without hf_xet, whose storage is no plain HTTP."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def hub(machine: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that this machine knows."""
    with hub_push.running(Hub()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


def test_a_gallery_is_published_and_read_back_in_silence(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    files = files_of("me/painted", directions(), PAINTER)
    assert push("me/painted", files) == f"{hub.address}/me/painted/commit/{hub_push.SHA}"
    assert hub.repositories == {"me/painted": files}  # nothing but these
    found = gallery(Painter(), "me/painted")
    assert capfd.readouterr() == ("", "")
    assert {d.name: d.parts for d in found} == {"left": ("left",), "far right": ("right",)}
    for ours in directions():
        (theirs,) = (d for d in found if d.name == ours.name)
        assert torch.equal(ours.vector, theirs.vector)
        assert (ours.low, ours.high, ours.gain) == (theirs.low, theirs.high, theirs.gain)


def test_small_files_that_the_hub_takes_in_the_commit_are_published_too(machine: None, monkeypatch) -> None:
    with hub_push.running(Hub(large=())) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        files = files_of("me/painted", directions(), PAINTER)
        push("me/painted", files)
        assert hub.repositories == {"me/painted": files}
        assert not any(method == "PUT" for method, _ in hub.seen)


def test_publishing_again_renews_what_is_there(hub: Hub) -> None:
    push("me/painted", files_of("me/painted", directions(), PAINTER))
    better = [replace(directions()[0], score=0.95)]
    push("me/painted", files_of("me/painted", better, PAINTER))
    assert {d.name: d.score for d in gallery(Painter(), "me/painted")} == {"left": 0.95, "far right": None}


def test_the_card_says_what_it_is_and_whose_terms_apply() -> None:
    card = ModelCard(files_of("me/painted", directions(), PAINTER)["README.md"].decode())
    assert card.data.license == "other"
    assert card.data.base_model == "someone/painter"
    assert {"lelsd", "painter"} < set(card.data.tags)
    for words in (
        "| left | left | 0.90 | 50.0% | 9.0 | -2 to 4 |",
        "| far right | right |  |  |  | -3 to 3 |",
        "--directions me/painted",
        "a" * 64,
        "Weights: licence of the weights. Training data: licence of the data.",
    ):
        assert words in card.text


def test_what_cannot_be_published_is_told_before_anything_is_sent(machine: None) -> None:
    two = [directions()[0], replace(directions()[1], generator="other", fingerprint="b" * 64)]
    for repository, given, words in (
        ("no-owner", directions(), "named OWNER/NAME"),
        ("me/a b", directions(), "named OWNER/NAME"),
        ("me/painted", [], "no directions to publish"),
        ("me/painted", two, r"several generators \(painter, other\)"),
    ):
        with pytest.raises(UserError, match=words):
            files_of(repository, given, PAINTER)


def test_without_a_token_nothing_is_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="set HF_TOKEN, or run hf auth login"):
        push("me/painted", {"README.md": b""})
    assert hub.seen == []


def test_without_network_nothing_is_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="network is switched off"):
        push("me/painted", {"README.md": b""})
    assert hub.seen == []


@pytest.mark.parametrize(
    ("repository", "token", "words"),
    [
        ("me/painted", "hf_wrong", "does not know your token"),
        ("them/painted", TOKEN, "no right to write there"),
    ],
)
def test_a_push_that_is_refused_says_why(hub: Hub, monkeypatch, repository: str, token: str, words: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=words):
        push(repository, files_of(repository, directions(), PAINTER))
    assert not any(hub.repositories.values())


def test_a_hub_in_trouble_says_so(machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_push.running(Hub(broken=(500, "out of order"))) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        with pytest.raises(UserError, match=r"me/painted could not be written: its server has trouble \(500\)"):
            push("me/painted", files_of("me/painted", directions(), PAINTER))
    with pytest.raises(UserError, match="could not be written: no connection"):
        push("me/painted", files_of("me/painted", directions(), PAINTER))


def test_a_fetched_gallery_serves_without_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    push("me/painted", files_of("me/painted", directions(), PAINTER))
    gallery(Painter(), "me/painted")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    seen = len(hub.seen)
    assert len(gallery(Painter(), "me/painted")) == 2
    assert len(hub.seen) == seen
    with pytest.raises(UserError, match="no directions in me/other: it is no folder here, it was never fetched"):
        gallery(Painter(), "me/other")


def test_where_nobody_answers_a_fetched_gallery_serves_and_another_is_told_at_once(hub, monkeypatch, capfd) -> None:
    push("me/painted", files_of("me/painted", directions(), PAINTER))
    gallery(Painter(), "me/painted")
    capfd.readouterr()
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waits {seconds} s to ask again"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert len(gallery(Painter(), "me/painted")) == 2
    with pytest.raises(UserError, match=r"no directions in me/other: .* it cannot be now: no connection\.$"):
        gallery(Painter(), "me/other")
    assert capfd.readouterr() == ("", "")


def test_a_server_that_is_no_hub_is_told(machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_push.running(Hub()) as portal:
        monkeypatch.setattr(hub_push.Handler, "do_GET", lambda self: self.answer(b"<html>Please log in</html>"))
        monkeypatch.setenv("HF_ENDPOINT", portal.address)
        with pytest.raises(UserError, match="its server does not answer as the Hub does"):
            gallery(Painter(), "me/painted")


def test_only_directions_are_fetched(hub: Hub) -> None:
    push("me/painted", files_of("me/painted", directions(), PAINTER) | {"pickle.bin": b"x", "notes.txt": b"y"})
    hub.seen.clear()
    gallery(Painter(), "me/painted")
    assert {path.rpartition("/")[2] for _, path in hub.seen if "/resolve/" in path} == {
        "left.safetensors",
        "far-right.safetensors",
    }


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"README.md": b"-"}, "holds no directions"),
        (
            {"model.safetensors": bytes(2**20 + 1)},
            "no gallery of directions: it holds 1 safetensors files, the largest",
        ),
        ({f"{i}.safetensors": b"-" for i in range(MOST_FILES + 1)}, "no gallery of directions: it holds 65"),
        ({"left.safetensors": b"damaged"}, "left.safetensors"),
    ],
)
def test_a_repository_that_is_no_gallery_is_refused(hub: Hub, files: dict[str, bytes], words: str) -> None:
    hub.repositories["me/else"] = files
    with pytest.raises(UserError, match=words):
        gallery(Painter(), "me/else")


def test_directions_of_another_generator_are_refused(hub: Hub) -> None:
    push("me/painted", files_of("me/painted", directions(), PAINTER))
    other = Painter()
    other.fingerprint = "b" * 64
    with pytest.raises(UserError, match="was made for the generator 'painter'"):
        gallery(other, "me/painted")


def test_a_repository_that_is_not_there_is_told(hub: Hub) -> None:
    with pytest.raises(UserError, match=r"directions of me/nothing could not be fetched: .*404"):
        gallery(Painter(), "me/nothing")


def test_a_folder_is_a_gallery_and_names_are_kept_apart(tmp_path: Path) -> None:
    for i, direction in enumerate(directions()):
        replace(direction, name="same").save(tmp_path / f"{i}.safetensors")
    assert [d.name for d in gallery(Painter(), tmp_path)] == ["same", "same-2"]
    with pytest.raises(UserError, match="There is no folder"):
        gallery(Painter(), tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="There are no directions"):
        gallery(Painter(), tmp_path / "empty")


def test_names_of_repositories_are_not_paths() -> None:
    assert is_repository("me/painted-1.0")
    assert not any(is_repository(name) for name in ("me", "./mine", "../mine", "/me/mine", "a/b/c", "~/mine", "me/.."))
