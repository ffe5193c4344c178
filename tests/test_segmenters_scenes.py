"""Scenes by MaskFormer: what transformers itself makes of it, classes by name, and every refusal in words."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from lelsd_core import DiscoverConfig, load_editor, load_segmenter
from lelsd_core.editor import InversionOptions
from lelsd_core.errors import UserError
from lelsd_core.segmenters import part_mask
from lelsd_core.weights.catalogue import CATALOGUE, File
from tests import official

CLASSES = ("person", "tree", "Grass", "clouds", "wall-brick")
PICTURE = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A MaskFormer of the published kind, with few channels."""
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation, ResNetConfig

    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=stages)
    sizes = {"d_model": 32, "num_queries": 7, "encoder_layers": 1, "decoder_layers": 1}
    heads = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    decoder = DetrConfig(**sizes, **heads, encoder_ffn_dim=16, decoder_ffn_dim=16)
    names = {"num_labels": len(CLASSES), "id2label": dict(enumerate(CLASSES))}
    config = MaskFormerConfig(
        backbone_config=backbone, decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, **names
    )
    torch.manual_seed(0)
    network = MaskFormerForInstanceSegmentation(config).eval()
    with torch.no_grad():  # queries that differ, as a trained network's do
        for weight in (p for name, p in network.named_parameters() if p.ndim == 2):
            weight.copy_(3 * torch.randn(weight.shape) / weight.shape[1] ** 0.5)
    return network


@pytest.fixture
def folder(network: nn.Module, tmp_path: Path) -> Path:
    network.save_pretrained(tmp_path / "scenes")
    return tmp_path / "scenes"


def change_config(folder: Path, **changes: Any) -> None:
    """Write other facts into a folder's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_map_is_the_one_that_transformers_makes(network: nn.Module, folder: Path) -> None:
    from transformers import MaskFormerImageProcessor

    segmenter = load_segmenter("maskformer-cocostuff", weights=folder)
    with torch.inference_mode():
        answer = segmenter.segment(PICTURE)
        queries = network(pixel_values=segmenter.normalise(PICTURE))
    theirs = MaskFormerImageProcessor().post_process_semantic_segmentation(queries)
    assert torch.equal(answer.argmax(1), torch.stack([getattr(one, "segmentation", one) for one in theirs]))
    assert answer.shape == (2, 5, 160, 160)
    assert answer.argmax(1).unique().numel() > 1
    torch.testing.assert_close(answer.sum(1), torch.ones(2, 160, 160))
    assert not any(p.requires_grad for p in segmenter.parameters())


def test_the_picture_is_resized_and_normalised_as_transformers_does_it(folder: Path) -> None:
    from transformers import MaskFormerImageProcessor

    processor = MaskFormerImageProcessor(size={"shortest_edge": 640, "longest_edge": 2560})
    theirs = processor(images=list((PICTURE + 1) / 2), do_rescale=False, return_tensors="pt")["pixel_values"]
    ours = load_segmenter(folder).normalise(PICTURE)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def test_classes_and_groups_have_names(folder: Path) -> None:
    segmenter = load_segmenter(folder / "model.safetensors")
    assert tuple(segmenter.parts) == ("person", "tree", "grass", "clouds", "wall-brick")
    assert segmenter.parts.groups["vegetation"] == ("tree", "grass")
    with pytest.raises(UserError, match="no part named 'gras'; did you mean grass"):
        part_mask(torch.zeros(1, 5, 2, 2), segmenter.parts, ["gras"])


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r'MaskFormer needs a package; get it with: pip install "transformers>=5"'):
        load_segmenter("maskformer-cocostuff", weights=folder)


def test_folders_that_do_not_fit_are_told(folder: Path) -> None:
    for changes, said in (
        ({"id2label": {"0": "tree", "1": "tree"}}, "names of the classes in config.json are not all different"),
        (
            {"model_type": "mask2former"},
            "is of a 'mask2former' with backbone 'resnet'; a maskformer with one of resnet, ",
        ),
        ({"backbone_config": None, "backbone": "resnet50"}, "is of a 'maskformer' with backbone None"),
        ({"backbone_config": {"model_type": "timm_backbone"}}, "is of a 'maskformer' with backbone 'timm_backbone'"),
    ):
        other = shutil.copytree(folder, folder.with_name("other"), dirs_exist_ok=True)
        change_config(other, **changes)
        with pytest.raises(UserError, match=said):
            load_segmenter("maskformer-cocostuff", weights=other)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"no readable config\.json in .*scenes; it belongs beside the weights"):
        load_segmenter("maskformer-cocostuff", weights=folder)


def test_tensors_that_do_not_fit_are_told(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    fewer = {name: tensor for name, tensor in tensors.items() if "mask_embedder" not in name}
    crooked = tensors | {"class_predictor.weight": torch.zeros(6, 5)}
    for state, said in (
        (fewer, r"model\.safetensors lacks \d+ tensors"),
        (crooked, "is damaged, incomplete or foreign"),
    ):
        save_file(state, path, {"format": "pt"})
        with pytest.raises(UserError, match=said):
            load_segmenter("maskformer-cocostuff", weights=folder)


def test_a_torch_file_of_the_same_tensors_gives_the_same_network(folder: Path) -> None:
    path = folder / "model.safetensors"
    torch.save(load_file(path), folder / "pytorch_model.bin")
    ours = load_segmenter(folder)
    path.unlink()
    theirs = load_segmenter("maskformer-cocostuff", weights=folder)
    assert ours.fingerprint != theirs.fingerprint
    with torch.inference_mode():
        assert torch.equal(ours.segment(PICTURE), theirs.segment(PICTURE))


def test_a_published_generator_of_scenes_becomes_an_editor_from_the_hub(
    folder: Path, hub_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    church, scenes = CATALOGUE["lsun-church-256"], CATALOGUE["maskformer-cocostuff"]
    ((generator,), (segmenter,)) = church.sources, scenes.sources
    files = {
        (segmenter.repository, name): (folder / name).read_bytes() for name in ("pytorch_model.bin", "config.json")
    }
    files[generator.repository, generator.file.path] = official.small_rosinality(tmp_path).read_bytes()
    hub = hub_server(files)
    source = replace(generator, file=File(generator.file.path))  # without the published file's SHA-256 and size
    own = replace(church, sources=(source,), within=(), inverter=None, resolution=32)
    monkeypatch.setitem(CATALOGUE, church.name, own)
    editor = load_editor(church.name)
    assert {path.split("/resolve/")[1].split("/")[0] for _, path, _ in hub.requests} == {
        generator.revision,
        segmenter.revision,
    }
    assert (editor.generator.name, editor.segmenter.name) == (church.name, scenes.name)
    *_, session = editor.invert(Image.new("RGB", (64, 64), "teal"), InversionOptions(steps=2))
    *_, (_, found) = editor.discover(session, DiscoverConfig(parts="vegetation", steps=2, batch=1, samples=1))
    (direction,) = found.directions
    assert set(direction.parts) == {"vegetation"}
    assert editor.edit(found, {direction.name: direction.high}).locality.parts == direction.parts
