"""A gallery filled on the toy whose factors are known: searched, cached, read again, shared by processes."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lelsd_core.directions import Direction, load_directions
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.errors import UserError
from lelsd_core.galleries import local as gallery
from lelsd_core.galleries.local import GalleryProgress, fill_gallery, usual_parts
from lelsd_core.segmenters import Parts
from tests.toy import Blind, Halves, Painter

SHORT = DiscoverConfig(steps=30, batch=4, samples=16, lr=0.2)
ONE = {"look": SHORT}


def filled(folder: Path, segmenter: Halves | None = None, **options: object) -> list[GalleryProgress]:
    """The last progress of each part."""
    updates = fill_gallery(Painter(), segmenter or Halves(), folder, **{"configs": ONE, **options})
    return [item for item in updates if item.share == 1]


def test_each_part_gets_a_direction_of_its_own_and_is_kept(tmp_path: Path) -> None:
    results = filled(tmp_path)
    assert [(item.name, item.done, item.total, item.words) for item in results] == [
        ("left", 1, 2, ""),
        ("right", 2, 2, ""),
    ]
    assert all(item.direction.score > 0.9 and item.direction.low < 0 < item.direction.high for item in results)
    saved = {direction.name: direction for direction in load_directions(tmp_path)}
    for item in results:
        assert torch.equal(saved[item.name].vector, item.direction.vector)
        assert saved[item.name].parts == (item.name,)


def test_progress_is_reported_while_a_part_is_searched(tmp_path: Path) -> None:
    first = [item for item in fill_gallery(Painter(), Halves(), tmp_path, configs=ONE) if item.name == "left"]
    shares = [item.share for item in first]
    assert shares == sorted(shares)
    assert len(shares) == SHORT.steps + 1
    assert shares[-1] == 1
    assert all(item.direction is None and item.done == 0 for item in first[:-1])


def test_a_second_start_reads_and_searches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = filled(tmp_path, Blind())
    monkeypatch.setattr(gallery, "discover", None)
    monkeypatch.setattr(gallery, "check_presence", None)
    again = filled(tmp_path, Blind())
    assert [(n.name, n.words, n.direction is None) for n in again] == [
        (n.name, n.words, n.direction is None) for n in first
    ]


def test_a_part_that_never_occurs_is_left_out_with_a_word(tmp_path: Path) -> None:
    left, right = filled(tmp_path, Blind())
    assert left.direction is None
    assert "left: seen on 0 of 16 samples of painter" in left.words
    assert (tmp_path / "left.txt").read_text() == left.words + "\n"
    assert right.direction is None  # the other one is then the whole picture
    assert "whole picture of painter" in right.words


def test_a_part_that_no_move_changes_is_left_out_with_a_word(tmp_path: Path) -> None:
    still = Painter()
    still.patterns.zero_()
    *_, last = fill_gallery(still, Halves(), tmp_path, "left", {"look": replace(SHORT, steps=40)})
    assert last.direction is None
    assert "64 samples of painter" in last.words


def test_a_search_that_was_stopped_begins_again_and_finds_the_same(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole")
    stopped = fill_gallery(Painter(), Halves(), tmp_path / "cut", configs=ONE)
    for item in stopped:
        if item.name == "right" and item.share > 0.3:
            break
    stopped.close()
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["left.safetensors"]
    for ours, theirs in zip(filled(tmp_path / "cut"), whole, strict=True):
        assert torch.equal(ours.direction.vector, theirs.direction.vector)


def test_a_folder_that_cannot_be_written_costs_a_word_and_no_direction(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for item in filled(tmp_path / "file" / "below"):
        assert item.direction is not None
        assert f"{item.name} could not be saved" in item.words


def test_a_damaged_or_foreign_file_is_searched_again(tmp_path: Path) -> None:
    (first, _) = filled(tmp_path)
    (tmp_path / "left.safetensors").write_bytes(b"cut off")
    replace(first.direction, fingerprint="b" * 64).save(tmp_path / "right.safetensors")
    filled(tmp_path)
    assert torch.equal(Direction.load(tmp_path / "left.safetensors").vector, first.direction.vector)
    assert Direction.load(tmp_path / "right.safetensors").parts == ("right",)


def test_two_at_once_do_no_harm(tmp_path: Path) -> None:
    both = [threading.Thread(target=filled, args=[tmp_path]) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["left.safetensors", "right.safetensors"]
    assert [direction.name for direction in load_directions(tmp_path)] == ["left", "right"]


def test_parts_that_are_asked_for_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean left"):
        list(fill_gallery(Painter(), Halves(), tmp_path, ["lefd"], ONE))


class Many(Halves):
    """More parts than there can be sliders, in groups."""

    parts = Parts(
        [f"thing {i}" for i in range(40)], {"low": ("thing 1", "thing 2"), "high": ("thing 3",), "all": ("low", "high")}
    )


def test_the_usual_parts_end_with_the_background_and_are_groups_where_there_are_many() -> None:
    halves = Halves()
    halves.parts = Parts(("background", "hair", "mouth"))
    assert usual_parts(halves) == ("hair", "mouth", "background")
    assert usual_parts(Many()) == ("low", "high")


@pytest.mark.parametrize("nonsense", [{"space": "W"}, {"most": 0.0}])
def test_a_config_that_does_not_fit_is_refused(nonsense: dict) -> None:
    with pytest.raises(UserError, match=r"latent space .*'W'|amounts"):
        next(fill_gallery(Painter(), Halves(), Path("unused"), configs={"look": replace(SHORT, **nonsense)}))


def test_where_galleries_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, folder in (
        ("XDG_CACHE_HOME", "/x", Path("/x/lelsd")),
        ("LELSD_CACHE", "~/mine", Path.home() / "mine"),
    ):
        monkeypatch.setenv(name, value)
        assert gallery.gallery_folder("a" * 64) == folder / "directions" / ("a" * 64)


def test_each_part_gets_a_look_and_a_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = gallery.quick_configs(Painter())
    assert both["shape"].local == "8.paint"
    assert both["look"].steps + both["shape"].steps == 100, "as many as for one direction before"
    short = {kind: replace(config, steps=20, samples=16, lr=0.2) for kind, config in both.items()}
    monkeypatch.setenv("LELSD_CACHE", str(tmp_path))
    found = filled(gallery.gallery_folder(Painter().fingerprint), configs=short)
    assert [item.name for item in found] == ["left", "left-shape", "right", "right-shape"]
    assert [item.direction.kind for item in found] == ["look", "shape", "look", "shape"]
    assert found[1].direction.local.around == ("left",)
    assert [(item.done, item.total) for item in found] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    names = [direction.name for direction in gallery.cached_directions(Painter(), Halves())]
    assert names == [item.name for item in found]
