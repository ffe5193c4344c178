"""A gallery filled on the toy whose factors are known: found, kept, read again, shared, never in the way."""

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
from lelsd_core.galleries.local import GalleryProgress, fill_gallery, fitted, usual_parts
from lelsd_core.segmenters import Parts
from tests.bench.generators import random_stylegan2
from tests.toy import Blind, Halves, Painter

SHORT = DiscoverConfig(steps=30, batch=4, samples=16, lr=0.2)


def filled(folder: Path, segmenter: Halves | None = None, **options: object) -> list[GalleryProgress]:
    """The last news of each part."""
    news = fill_gallery(Painter(), segmenter or Halves(), folder, **{"config": SHORT, **options})
    return [item for item in news if item.share == 1]


def test_each_part_gets_a_direction_of_its_own_and_is_kept(tmp_path: Path) -> None:
    news = filled(tmp_path)
    told = [(item.part, item.done, item.total, item.words) for item in news]
    assert told == [("left", 1, 2, ""), ("right", 2, 2, "")]
    assert all(item.direction.score > 0.9 and item.direction.low < 0 < item.direction.high for item in news)
    saved = {direction.name: direction for direction in load_directions(tmp_path)}
    for item in news:
        assert torch.equal(saved[item.part].vector, item.direction.vector)
        assert saved[item.part].parts == (item.part,)


def test_news_come_while_a_part_is_searched(tmp_path: Path) -> None:
    first = [item for item in fill_gallery(Painter(), Halves(), tmp_path, config=SHORT) if item.part == "left"]
    shares = [item.share for item in first]
    assert shares == sorted(shares)
    assert len(shares) == SHORT.steps + 1
    assert shares[-1] == 1
    assert all(item.direction is None and item.done == 0 for item in first[:-1])


def test_a_second_start_reads_and_searches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = filled(tmp_path, Blind())
    monkeypatch.setattr(gallery, "discover", None)
    monkeypatch.setattr(gallery, "unseen", None)
    again = filled(tmp_path, Blind())
    assert [(n.part, n.words, n.direction is None) for n in again] == [
        (n.part, n.words, n.direction is None) for n in first
    ]


def test_a_part_that_never_occurs_is_left_out_with_a_word(tmp_path: Path) -> None:
    left, right = filled(tmp_path, Blind())
    assert left.direction is None
    assert left.words == "left: seen on 0 of 16 samples of painter, too few to learn from."
    assert (tmp_path / "left.txt").read_text() == left.words + "\n"
    assert right.direction is None  # the other one is then the whole picture
    assert "covers nearly the whole picture of painter" in right.words


def test_a_part_that_no_move_changes_is_left_out_with_a_word(tmp_path: Path) -> None:
    still = Painter()
    still.patterns.zero_()
    news = [
        item for item in fill_gallery(still, Halves(), tmp_path, ["left"], replace(SHORT, steps=40)) if item.share == 1
    ]
    assert news[0].direction is None
    assert "None of the first" in news[0].words


def test_a_search_that_was_stopped_begins_again_and_finds_the_same(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole")
    stopped = fill_gallery(Painter(), Halves(), tmp_path / "cut", config=SHORT)
    for item in stopped:
        if item.part == "right" and item.share > 0.3:
            break
    stopped.close()
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["left.safetensors"]
    for ours, theirs in zip(filled(tmp_path / "cut"), whole, strict=True):
        assert torch.equal(ours.direction.vector, theirs.direction.vector)


def test_a_folder_that_cannot_be_written_costs_a_word_and_no_direction(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for item in filled(tmp_path / "file" / "below"):
        assert item.direction is not None
        assert f"{item.part} could not be saved" in item.words


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
        list(fill_gallery(Painter(), Halves(), tmp_path, ["lefd"], SHORT))


class Many(Halves):
    """More parts than there can be sliders, in groups."""

    parts = Parts(
        [f"thing {i}" for i in range(40)], {"low": ("thing 1", "thing 2"), "high": ("thing 3",), "all": ("low", "high")}
    )


def test_the_usual_parts_end_with_the_background_and_are_groups_where_there_are_many() -> None:
    halves = Halves()
    halves.parts = ("background", "hair", "mouth")
    assert usual_parts(halves) == ("hair", "mouth", "background")
    assert usual_parts(Many()) == ("low", "high")


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_amounts_are_stretched_to_the_distance_between_codes(scale: float) -> None:
    class Wide(Painter):
        def sample(self, seeds):
            return scale * super().sample(seeds)

    config = fitted(SHORT, Wide())
    assert config.most == pytest.approx(scale * fitted(SHORT, Painter()).most)
    assert config.least / config.most == pytest.approx(SHORT.least / SHORT.most)
    distance = 12**0.5  # of two standard normal draws in six columns, about
    assert fitted(SHORT, Painter()).most == pytest.approx(gallery.REACH * distance, rel=0.15)


def test_styles_that_feed_a_to_rgb_stay_as_they_are() -> None:
    generator = random_stylegan2(8)
    config = fitted(SHORT, generator)
    names = {slot.name for slot in generator.space("S").slots}
    assert names - set(config.slots) == {name for name in names if name.endswith("torgb")}


def test_where_samples_do_not_differ_amounts_stay(editor) -> None:
    config = fitted(replace(SHORT, slots=("*.gain",)), editor.generator)  # z is carried, gains are the same for all
    assert (config.least, config.most) == (SHORT.least, SHORT.most)


@pytest.mark.parametrize("nonsense", [{"space": "W"}, {"most": 0.0}])
def test_a_config_that_makes_no_sense_is_left_to_its_check(nonsense: dict) -> None:
    config = replace(SHORT, **nonsense)
    assert fitted(config, Painter()) is config
    with pytest.raises(UserError, match=r"no latent space named 'W'|amounts run from"):
        next(fill_gallery(Painter(), Halves(), Path("unused"), config=config))


def test_a_large_picture_is_searched_in_small_batches(editor) -> None:
    large = Painter()
    large.resolution = 1024
    assert fitted(SHORT, large).micro == 1
    assert fitted(SHORT, Painter()).micro == 0


def test_where_galleries_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, folder in (
        ("XDG_CACHE_HOME", "/x", Path("/x/lelsd")),
        ("LELSD_CACHE", "~/mine", Path.gallery_folder() / "mine"),
    ):
        monkeypatch.setenv(name, value)
        assert gallery.gallery_folder("a" * 64) == folder / "directions" / ("a" * 64)
