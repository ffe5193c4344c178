"""Segmenters that read a generator's own features: figures on held-out faces, files, and every refusal in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from lelsd_core import DiscoverConfig, discover, load_generator, load_segmenter
from lelsd_core.errors import UserError
from lelsd_core.generators import Generator, Synthesis
from lelsd_core.segmenters import (
    FeatureSegmenter,
    Segmenter,
    fit_clusters,
    fit_head,
    paint,
    part_mask,
    parts_like,
    region,
    segment_synthesis,
)
from lelsd_core.segmenters.fitting import k_means, place_prior
from lelsd_core.weights.safetensors import write_safetensors
from tests import official
from tests.toy import Painter

SHOWN, HELD_OUT = range(64), range(10_000, 10_064)


@dataclass(frozen=True, eq=False)
class Faces:
    """digiface-64's samples with all their features, and what the shipped segmenter says of them."""

    generator: Generator
    segmenter: Segmenter
    shown: Synthesis
    held_out: Synthesis
    labels: Tensor
    truth: Tensor

    def mask(self, truth: Tensor, part: str) -> Tensor:
        """(B, 64, 64): where a part is."""
        return truth == self.segmenter.parts.index(part)


@pytest.fixture(scope="module")
def faces() -> Faces:
    generator, segmenter = load_generator("digiface-64"), load_segmenter("digiface-parts")
    with torch.no_grad():
        made = [generator.synthesize(generator.sample(s), "Z", keep=generator.layers) for s in (SHOWN, HELD_OUT)]
        labels = [segment_synthesis(segmenter, synthesis).argmax(1) for synthesis in made]
    return Faces(generator, segmenter, *made, *labels)


@pytest.fixture(scope="module")
def clusters(faces: Faces) -> FeatureSegmenter:
    return fit_clusters(faces.generator)


@pytest.fixture(scope="module")
def head(faces: Faces) -> FeatureSegmenter:
    codes = faces.generator.sample(SHOWN[:10])
    return fit_head(faces.generator, codes, "Z", faces.labels[:10], faces.segmenter.parts)


def iou(ours: Tensor, theirs: Tensor) -> float:
    """Mean over the pictures that show the part, or where it was claimed."""
    union = (ours | theirs).sum((1, 2)).float()
    return float(((ours & theirs).sum((1, 2)) / union)[union > 0].mean())


def test_a_union_of_clusters_is_the_hair(faces: Faces, clusters: FeatureSegmenter) -> None:
    hair = faces.mask(faces.labels, "hair")[:, None]
    union = parts_like(segment_synthesis(clusters, faces.shown), clusters.parts, hair)
    named = clusters.named({"hair": union})
    found = part_mask(segment_synthesis(named, faces.held_out), named.parts, ["hair"])[:, 0] > 0
    assert iou(found, faces.mask(faces.truth, "hair")) >= 0.6
    assert named.parts == ("hair", "rest")
    assert 1 < len(union) < len(clusters.parts)


def test_ten_labelled_pictures_make_a_head(faces: Faces, head: FeatureSegmenter) -> None:
    found = segment_synthesis(head, faces.held_out).argmax(1)
    scores = [iou(found == i, faces.truth == i) for i in range(len(head.parts))]
    assert sum(scores) / len(scores) >= 0.5


@pytest.mark.parametrize(("part", "seeds", "least"), [("mouth", range(8), 7), ("hair", (0, 3, 5, 8), 4)])
def test_a_painted_region_is_found_on_other_faces(faces: Faces, part: str, seeds: range, least: int) -> None:
    scores = []
    for seed in seeds:
        painted = faces.mask(faces.labels[seed : seed + 1], part)[:, None].float()
        carried = paint(faces.generator, faces.generator.sample([seed]), "Z", painted, part)
        found = part_mask(segment_synthesis(carried, faces.held_out), carried.parts, [part])[:, 0] > 0
        scores.append(iou(found, faces.mask(faces.truth, part)))
    assert sum(score >= 0.4 for score in scores) >= least, scores


def test_the_place_of_a_small_region_says_more_than_that_of_a_large_one() -> None:
    small, large = torch.zeros(2, 32, 32).unbind()
    small[20:24, 14:18], large[4:28, 4:28] = 1, 1
    near, wide = place_prior(small), place_prior(large)
    assert near.flatten().argmax() in (small.flatten() > 0).nonzero()
    assert near.max() - near.min() > 2 * (wide.max() - wide.min())
    torch.testing.assert_close(near[20:24, 14:18], near[20:24, 14:18].flip(0, 1))


def test_a_file_reads_back_the_same(faces: Faces, clusters: FeatureSegmenter, tmp_path: Path) -> None:
    named = clusters.named({"a": ("cluster 2", "cluster 5"), "b": ("cluster 1",)})
    named.save(tmp_path / "mine.safetensors")
    again = load_segmenter(tmp_path / "mine.safetensors", generator=faces.generator)
    assert (again.name, again.parts, again.needs) == ("mine", ("a", "b", "rest"), named.needs)
    some = faces.generator.synthesize(faces.generator.sample([1]), "Z", keep=again.needs)
    torch.testing.assert_close(segment_synthesis(again, some), segment_synthesis(named, some))
    torch.testing.assert_close(segment_synthesis(again, some).sum(1), torch.ones(1, 64, 64))


def test_a_painted_region_reads_back_with_its_place(faces: Faces, tmp_path: Path) -> None:
    mask = faces.mask(faces.labels[:1], "mouth").float()
    painted = paint(faces.generator, faces.generator.sample([0]), "Z", mask, "lips")
    painted.save(tmp_path / "lips.safetensors")
    again = load_segmenter(tmp_path / "lips.safetensors", generator=faces.generator)
    torch.testing.assert_close(segment_synthesis(again, faces.held_out), segment_synthesis(painted, faces.held_out))


def test_directions_are_discovered_with_parts_that_were_learnt(faces: Faces, head: FeatureSegmenter) -> None:
    for segmenter in (head, region(head, "hair") | region(faces.segmenter, "brows")):
        config = DiscoverConfig(parts=(segmenter.parts[0],), slots=("*.gain",), steps=1, batch=2)
        assert [0 < step.score < 1 for step in discover(faces.generator, segmenter, config)] == [True]


def test_k_means_finds_what_lies_together() -> None:
    random = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    points = (middles.repeat(50, 1) + 0.1 * torch.randn(150, 2, generator=random))[torch.randperm(150)]
    found = k_means(points, 3, random)
    assert torch.cdist(middles, found).min(1).values.max() < 0.1
    assert torch.isfinite(k_means(torch.zeros(8, 2), 3, random)).all()


def test_the_parts_under_a_mask_are_named() -> None:
    answer = torch.eye(4)[torch.tensor([[0, 0, 1], [2, 2, 1], [3, 3, 3]])].permute(2, 0, 1)[None]
    mask = torch.tensor([[[[1.0, 1, 0], [1, 1, 0], [0, 0, 0]]]])
    assert set(parts_like(answer, ("a", "b", "c", "d"), mask)) == {"a", "c"}


@pytest.mark.parametrize(
    "make", [official.small_stylegan1, official.biggan, official.dcgan, official.stylegan2, official.stylegan3]
)
def test_every_architecture_has_clusters(make, tmp_path: Path) -> None:
    options = {"class_index": 3} if make is official.biggan else {}
    generator = load_generator(make(tmp_path), **options)
    segmenter = fit_clusters(generator, 4, seeds=range(8))
    made = generator.synthesize(generator.sample([1]), generator.space_names[0], keep=segmenter.needs)
    answer = segment_synthesis(segmenter, made)
    assert answer.shape[:2] == (1, 4)
    torch.testing.assert_close(answer.sum(1), torch.ones_like(answer[:, 0]))
    assert answer.argmax(1).unique().numel() > 1


def test_reading_features_runs_on_a_pretended_gpu(head: FeatureSegmenter, faces: Faces) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for module in [copy := FeatureSegmenter(head.embed, head.weight, head.bias, head.parts, head.made_for, "head")]:
            module.embed = type(head.embed)(head.embed.layers, head.embed.scale, head.embed.size)
            for part in copy.modules():
                part._buffers.update({k: mode.from_tensor(t).to("cuda") for k, t in part._buffers.items()})
        states = {
            name: type(state)(mode.from_tensor(state.x[:2]).to("cuda")) for name, state in faces.shown.states.items()
        }
        assert segment_synthesis(copy, Synthesis(None, states, faces.shown.layers)).device.type == "cuda"


def test_parts_that_change_their_order_keep_their_pixels(faces: Faces, head: FeatureSegmenter) -> None:
    names = head.parts[::-1]
    reversed_head = head.named({name: (name,) for name in names})
    assert tuple(reversed_head.parts) == names
    torch.testing.assert_close(
        segment_synthesis(reversed_head, faces.held_out), segment_synthesis(head, faces.held_out).flip(1)
    )


def test_another_generators_segmenter_is_refused(clusters: FeatureSegmenter, tmp_path: Path) -> None:
    clusters.save(tmp_path / "mine.safetensors")
    with pytest.raises(UserError, match="reads the features of 'digiface-64', not of 'painter'"):
        load_segmenter(tmp_path / "mine.safetensors", generator=Painter())

    with pytest.raises(UserError, match=r"reads the features of 8\.conv, which this generator does not have"):
        clusters.segment(None, {})


def test_a_layer_with_other_channels_is_refused(clusters: FeatureSegmenter, faces: Faces) -> None:
    narrow = {name: type(s)(s.x[:, :3]) for name, s in faces.shown.states.items()}
    with pytest.raises(UserError, match=r"reads 256 channels of 8\.conv, and this generator has 3"):
        segment_synthesis(clusters, Synthesis(None, narrow, faces.shown.layers))


def test_bad_examples_are_refused(faces: Faces) -> None:
    generator, codes = faces.generator, faces.generator.sample([1, 2])
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    for wrong, parts, said in (
        (labels[:1], ("a", "b"), r"Labels are \(1, 8, 8\) for 2 pictures"),
        (labels, ("a",), "two or more different names"),
        (labels + 5, ("a", "b"), "Labels run from 5 to 5, but the 2 parts are 0 to 1"),
    ):
        with pytest.raises(UserError, match=said):
            fit_head(generator, codes, "Z", wrong, parts)
    with pytest.raises(UserError, match=r"no layer named '8\.con'; did you mean 8\.conv"):
        fit_head(generator, codes, "Z", labels, ("a", "b"), layers=["8.con"])
    with pytest.raises(UserError, match="Nothing, or the whole picture, was painted"):
        paint(generator, codes[:1], "Z", torch.zeros(64, 64))
    with pytest.raises(UserError, match="for 2 pictures was given; one of each"):
        paint(generator, codes, "Z", torch.ones(64, 64))
    for count in (1, 201):
        with pytest.raises(UserError, match=f"{count} clusters were asked for; 2 to 200 can be"):
            fit_clusters(generator, count)


def test_bad_names_are_refused(clusters: FeatureSegmenter) -> None:
    with pytest.raises(UserError, match="no part named 'cluster 61'; did you mean cluster"):
        clusters.named({"hair": ("cluster 61",)})
    with pytest.raises(UserError, match="'cluster 1' is in 'hair' and in 'hat'"):
        clusters.named({"hair": ("cluster 1",), "hat": ("cluster 1",)})


def test_a_damaged_file_is_refused(clusters: FeatureSegmenter, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    clusters.save(path)
    from lelsd_core.weights.safetensors import read_safetensors

    tensors, facts = read_safetensors(path, "segmenter")
    for change, said in (
        ({"members": [[0]]}, "parts do not fit its rows"),
        ({"layers": {"8.conv": 3}}, r"weight is \(60, 450\); \(60, 5\) was expected"),
        ({"method": "feature"}, "no kind of segmenter named 'feature'; did you mean features"),
        ({"layers": None}, "is damaged, incomplete or foreign"),
    ):
        write_safetensors(path, tensors, facts | change)
        with pytest.raises(UserError, match=said):
            load_segmenter(path)
