"""Published networks: official outputs for official layouts, names instead of numbers, and every refusal in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.models.segmentation import (
    deeplabv3_mobilenet_v3_large,
    deeplabv3_resnet50,
    deeplabv3_resnet101,
)

from lelsd_core import load_segmenter
from lelsd_core.errors import UserError
from lelsd_core.segmenters import Parts, part_mask
from lelsd_core.segmenters.bisenet import LABELS, FaceSegmenter
from lelsd_core.segmenters.coco import COCO_STUFF, HIERARCHY, OBJECTS
from lelsd_core.segmenters.deeplab import RATES, DeepLabV2, build_deeplabv2, build_deeplabv3
from tests import official
from tests.data.golden import golden

CASE = "bisenet128"


@pytest.fixture(scope="module")
def bisenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the public file is: a bare state dict in the old container."""
    path = tmp_path_factory.mktemp("bisenet") / "79999_iter.pth"
    state = golden.state_dict(official.GOLDEN / f"{CASE}.json")
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(scope="module")
def bisenet(bisenet_file: Path) -> FaceSegmenter:
    return load_segmenter("bisenet", weights=bisenet_file)


def test_bisenet_gives_the_official_logits_and_labels(bisenet: FaceSegmenter) -> None:
    logits = bisenet.network(official.numbers(CASE, "x", (1, 3, 128, 128)))
    there = official.expected(CASE)
    theirs = there["logits_every_4th"]
    assert float((logits[:, :, ::4, ::4] - theirs).abs().max() / theirs.abs().max()) < 1e-4
    assert (logits.argmax(1) == there["labels"]).float().mean() > 0.999


def test_left_and_right_are_one_part_and_groups_have_names(bisenet: FaceSegmenter, bisenet_file: Path) -> None:
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    merged = bisenet.segment(picture)
    assert merged.shape == (1, len(bisenet.parts), 512, 512)
    torch.testing.assert_close(merged.sum(1), torch.ones(1, 512, 512))
    single = load_segmenter("bisenet-19", weights=bisenet_file)
    labels = single.segment(picture)
    assert tuple(single.parts) == LABELS
    for part in ("eyes", "brows", "ears", "mouth"):
        ours = part_mask(merged, bisenet.parts, [part], soft=True)
        torch.testing.assert_close(ours, part_mask(labels, single.parts, [part], soft=True), atol=1e-5, rtol=1e-4)
    assert single.parts.expand(["lips", "upper lip"]) == ("upper lip", "lower lip")
    assert "head" in bisenet.parts
    assert set(bisenet.parts.expand(["person", "background"])) == set(bisenet.parts)


def test_a_picture_is_resized_and_normalised_as_imagenet_was(bisenet: FaceSegmenter) -> None:
    x = bisenet.normalise(torch.full((1, 3, 700, 700), -1.0))
    assert x.shape == (1, 3, 512, 512)
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]))


def test_files_are_known_without_a_name(bisenet_file: Path) -> None:
    found = load_segmenter(bisenet_file)
    assert isinstance(found, FaceSegmenter)
    assert (found.name, len(found.fingerprint)) == ("79999_iter", 64)


@pytest.mark.parametrize("build", [deeplabv3_resnet101, deeplabv3_resnet50, deeplabv3_mobilenet_v3_large])
def test_deeplabv3_is_torchvisions(build, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = build(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()
    torch.save(theirs.state_dict(), tmp_path / "deeplab.pth")
    ours = load_segmenter("deeplabv3", weights=tmp_path / "deeplab.pth")
    x = torch.randn(1, 3, 65, 65)
    with torch.inference_mode():
        expected = theirs(x)["out"]
        found = F.interpolate(ours.network(x), x.shape[-2:], mode="bilinear")
    largest = float(expected.abs().max())  # far above 1 for a hundred layers without training
    torch.testing.assert_close(found / largest, expected / largest, atol=1e-5, rtol=0)
    assert tuple(ours.parts) == OBJECTS
    assert not any(p.requires_grad for p in ours.parameters())


def small_deeplabv2(classes: int = 182) -> dict[str, Tensor]:
    """The public layout with few channels and two blocks in each stage."""
    generator, state = torch.Generator().manual_seed(0), {}

    def unit(name: str, inputs: int, outputs: int, size: int) -> None:
        weight = torch.randn(outputs, inputs, size, size, generator=generator)
        state[f"base.{name}.conv.weight"] = weight * (2 / (inputs * size**2)) ** 0.5
        for what in ("weight", "bias", "running_mean", "running_var"):
            state[f"base.{name}.bn.{what}"] = 0.5 + torch.rand(outputs, generator=generator)

    unit("layer1.conv1", 3, 8, 7)
    inputs = 8
    for layer, width in ((2, 4), (3, 8), (4, 8), (5, 8)):
        for block in ("block1", "block2"):
            name = f"layer{layer}.{block}"
            unit(f"{name}.reduce", inputs, width, 1)
            unit(f"{name}.conv3x3", width, width, 3)
            unit(f"{name}.increase", width, 4 * width, 1)
            if block == "block1":
                unit(f"{name}.shortcut", inputs, 4 * width, 1)
            inputs = 4 * width
    for i in range(4):
        state[f"base.aspp.c{i}.weight"] = torch.randn(classes, inputs, 3, 3, generator=generator) * 0.05
        state[f"base.aspp.c{i}.bias"] = torch.randn(classes, generator=generator)
    return state


def plain_deeplabv2(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """One scale, written down from the public code's definition without folding."""

    def unit(name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = state[f"base.{name}.conv.weight"]
        x = F.conv2d(x, weight, None, stride, dilation * (weight.shape[-1] // 2), dilation)
        norm = [state[f"base.{name}.bn.{what}"] for what in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *norm)

    x = F.max_pool2d(unit("layer1.conv1", x, 2).relu(), 3, 2, 1, ceil_mode=True)
    for layer, stride, dilation in ((2, 1, 1), (3, 2, 1), (4, 1, 2), (5, 1, 4)):
        for block in (1, 2):
            name, step = f"layer{layer}.block{block}", stride if block == 1 else 1
            h = unit(f"{name}.conv3x3", unit(f"{name}.reduce", x, step).relu(), dilation=dilation).relu()
            h = unit(f"{name}.increase", h)
            x = (h + (unit(f"{name}.shortcut", x, step) if block == 1 else x)).relu()
    branches = [(state[f"base.aspp.c{i}.weight"], state[f"base.aspp.c{i}.bias"], rate) for i, rate in enumerate(RATES)]
    return sum(F.conv2d(x, w, b, padding=rate, dilation=rate) for w, b, rate in branches)


def test_deeplabv2_looks_at_three_scales_and_takes_the_largest() -> None:
    state, x = small_deeplabv2(), torch.randn(1, 3, 129, 129, generator=torch.Generator().manual_seed(1))
    scales = [plain_deeplabv2(state, x)]
    for scale in (0.5, 0.75):
        small = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
        scales.append(F.interpolate(plain_deeplabv2(state, small), scales[0].shape[-2:], mode="bilinear"))
    torch.testing.assert_close(DeepLabV2(state)(x), torch.stack(scales).amax(0), atol=1e-4, rtol=1e-4)


def test_coco_stuff_is_asked_for_by_name_and_blue_comes_first(tmp_path: Path) -> None:
    torch.save(small_deeplabv2(), tmp_path / "stuff.pth")
    segmenter = load_segmenter("cocostuff", weights=tmp_path / "stuff.pth")
    red = torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    expected = torch.tensor([-104.008, -116.669, 255 - 122.675])
    torch.testing.assert_close(segmenter.normalise(red)[0, :, 0, 0], expected, atol=1e-3, rtol=0)
    answer = segmenter.segment(red)
    assert answer.shape == (1, 182, 128, 128)
    picked = part_mask(answer, segmenter.parts, ["vegetation"], soft=True)
    wanted = [COCO_STUFF.index(name) for name in HIERARCHY["vegetation"]]
    torch.testing.assert_close(picked[:, 0], answer[:, wanted].sum(1))
    with pytest.raises(UserError, match="no part named 'vegetatoin'; did you mean vegetation"):
        part_mask(answer, segmenter.parts, ["vegetatoin"])


def test_a_long_list_of_names_is_cut_short() -> None:
    with pytest.raises(UserError, match=r"known: vehicle, animal, .* and \d+ more"):
        part_mask(torch.zeros(1, 182, 2, 2), Parts(COCO_STUFF, HIERARCHY), ["xyzxyz"])


def test_the_hierarchy_names_only_what_there_is() -> None:
    assert len(COCO_STUFF) == len(set(COCO_STUFF)) == 182
    assert not set(HIERARCHY) & set(COCO_STUFF)
    known = {*COCO_STUFF, *HIERARCHY}
    assert all(member in known for members in HIERARCHY.values() for member in members)
    assert (COCO_STUFF[0], COCO_STUFF[2], COCO_STUFF[168], COCO_STUFF[181]) == ("person", "car", "tree", "wood")
    assert set(OBJECTS) - {"background"} <= set(COCO_STUFF)


def on_a_pretended_gpu(network: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """The network with tensors that only say their shapes, on "cuda"."""
    for module in network.modules():
        for table in (module._parameters, module._buffers):
            table.update({name: mode.from_tensor(t).to("cuda") for name, t in table.items() if t is not None})
    return network


def networks(bisenet_file: Path) -> Iterator[nn.Module]:
    yield load_segmenter("digiface-parts")
    yield load_segmenter("bisenet", weights=bisenet_file)
    yield build_deeplabv3(deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None).state_dict())
    yield build_deeplabv2(small_deeplabv2())


def test_every_network_runs_on_a_pretended_gpu(bisenet_file: Path) -> None:
    for segmenter in networks(bisenet_file):
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            answer = on_a_pretended_gpu(segmenter, mode).segment(torch.zeros(2, 3, 96, 96, device="cuda"))
        assert answer.device.type == "cuda"
        assert answer.shape[:2] == (2, len(segmenter.parts))
