"""What is no segmenter, or not the one that was named, is told in one sentence; regions combine as sets do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lelsd_core import load_segmenter
from lelsd_core.errors import UserError
from lelsd_core.segmenters import FeatureSegmenter, Parts, combine, part_mask, region
from lelsd_core.segmenters.features import Embedding
from lelsd_core.weights.catalogue import CHECKPOINTS
from tests import official
from tests.test_segmenters_networks import small_deeplabv2
from tests.toy import Halves

PICTURE = torch.zeros(1, 3, 8, 8)


class Rows(Halves):
    """Top and bottom half."""

    parts = Parts(("top", "bottom"), {"all": ("top", "bottom")})

    def segment(self, image: Tensor, features: object = None) -> Tensor:
        """(B, 2, 4, 4): coarser than `Halves`."""
        return super().segment(image).transpose(2, 3)[..., ::2, ::2]


def areas(*regions: object) -> list[float]:
    """Share of the picture that each covers."""
    return [float(part_mask(r.segment(PICTURE), r.parts, [r.parts[0]]).mean()) for r in regions]


def test_regions_are_sets() -> None:
    left, top = region(Halves(), "left"), region(Rows(), "top")
    assert areas(left, left | top, left & top, left - top, top - left) == [0.5, 0.75, 0.25, 0.25, 0.25]
    assert areas(region(Rows(), "all") - (left | top)) == [0.25]
    both = left | top
    assert both.parts == ("(left or top)", "rest")
    torch.testing.assert_close(both.segment(PICTURE).sum(1), torch.ones(1, 8, 8))
    assert combine("minus", left, top, name="corner").parts[0] == "corner"


def test_regions_know_what_they_need_and_refuse_what_does_not_fit() -> None:
    def reader(fingerprint: str, layer: str) -> FeatureSegmenter:
        embed = Embedding({layer: 1}, torch.ones(1), 8)
        return FeatureSegmenter(embed, torch.zeros(2, 3), torch.zeros(2), ("a", "b"), (fingerprint, fingerprint), "x")

    first, second = region(reader("one", "8.a"), "a"), region(reader("one", "8.b"), "b")
    assert (first | second | region(Halves(), "left")).needs == ("8.a", "8.b")
    with pytest.raises(UserError, match="features of different generators, one and two"):
        _ = first & region(reader("two", "8.a"), "a")
    with pytest.raises(UserError, match="no way to combine regions named 'unoin'; did you mean union"):
        combine("unoin", first, second)
    with pytest.raises(UserError, match="no part named 'tpo'; did you mean top"):
        region(Rows(), "tpo")
    with pytest.raises(UserError, match="No part was chosen; choose at least one of all, top, bottom"):
        region(Rows())


def test_groups_may_name_groups() -> None:
    parts = Parts(("a", "b", "c"), {"ab": ("a", "b"), "abc": ("ab", "c", "a")})
    assert parts.expand(["abc"]) == ("a", "b", "c")
    assert "abc" in parts
    assert "abcd" not in parts
    assert list(parts) == ["a", "b", "c"]


def test_a_network_without_its_weights_says_where_they_are(hub_home, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"bisenet is not on this machine.* put 79999_iter\.pth into the folder"):
        load_segmenter("bisenet-19")
    with pytest.raises(UserError, match=r"get deeplabv2_.*\.pth from the releases of https://github\.com/kazuto1011"):
        load_segmenter("cocostuff")
    with pytest.raises(UserError, match="no segmenter named 'bisent'; did you mean bisenet"):
        load_segmenter("bisent", weights="x.pth")
    with pytest.raises(UserError, match="no segmenter named 'cocostuf'; did you mean cocostuff"):
        load_segmenter("cocostuf")
    with pytest.raises(UserError, match="digiface-parts takes no other weights; leave weights out"):
        load_segmenter("digiface-parts", weights="x.pth")


def test_files_of_another_kind_are_named(tmp_path: Path) -> None:
    torch.save(small_deeplabv2(), tmp_path / "stuff.pth")
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    for path, said in (
        (tmp_path / "stuff.pth", "stuff.pth holds the COCO-Stuff DeepLabV2, not a face-BiSeNet"),
        (official.rosinality(tmp_path), "it holds a generator, rosinality StyleGAN2; a segmenter was expected"),
        (CHECKPOINTS / "digiface-64/segmenter.safetensors", "holds this project's 'parts', not a face-BiSeNet"),
        (CHECKPOINTS / "digiface-64/generator.safetensors", "is a generator of this project, not a segmenter"),
        (tmp_path / "page.pth", "it is a web page, perhaps of a failed download; a segmenter was expected"),
        (tmp_path / "other.pth", r"its tensors \(fc\.weight\) are those of no segmenter known here"),
        (tmp_path / "missing.pth", "There is no segmenter named"),
    ):
        with pytest.raises(UserError, match=said):
            load_segmenter("bisenet", weights=path)


def test_tensors_that_do_not_fit_are_told(tmp_path: Path) -> None:
    state = small_deeplabv2()
    broken = {name: tensor for name, tensor in state.items() if "layer4.block2.increase" not in name}
    crooked = state | {"base.layer3.block1.conv3x3.conv.weight": torch.zeros(8, 5, 3, 3)}
    for tensors, said in (
        (broken, r"stuff.pth is incomplete, '.*' is missing"),
        (crooked, "is damaged, incomplete or foreign"),
        (
            small_deeplabv2(classes=21),
            "it tells 21 classes apart, and its label set \\(person, bicycle, car ...\\) has 182",
        ),
    ):
        torch.save(tensors, tmp_path / "stuff.pth")
        with pytest.raises(UserError, match=said):
            load_segmenter("cocostuff", weights=tmp_path / "stuff.pth")
