"""Kind G: segmenters of other label sets are told, not used under wrong names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lelsd_core import UserError, load_segmenter
from tests import official
from tests.data.golden import golden


@pytest.mark.parametrize("classes", [2, 11, 25])
def test_a_bisenet_with_another_number_of_classes_is_refused(classes: int, tmp_path: Path) -> None:
    state = golden.state_dict(official.GOLDEN / "bisenet128.json")
    state["conv_out.conv_out.weight"] = state["conv_out.conv_out.weight"][:1].repeat(classes, 1, 1, 1)
    torch.save(state, tmp_path / "x.pth")
    for name in ("bisenet", "bisenet-19"):
        with pytest.raises(UserError, match=rf"it tells {classes} classes apart, and its label set \(.*\) has 19"):
            load_segmenter(name, weights=tmp_path / "x.pth")


def test_a_maskformer_whose_config_names_other_classes_is_refused(tmp_path: Path) -> None:
    names = {"0": "sky", "1": "sea", "2": "tree"}
    config = {"model_type": "maskformer", "backbone_config": {"model_type": "resnet"}, "id2label": names}
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save({"class_predictor.weight": torch.zeros(6, 4)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"it tells 5 classes apart, and its label set \(sky, sea, tree \.\.\.\) has 3"):
        load_segmenter(tmp_path)


def test_a_bisenet_for_streets_has_as_many_classes_and_other_tensors(tmp_path: Path) -> None:
    state = golden.state_dict(official.GOLDEN / "bisenet128.json") | {"sp.conv1.conv.weight": torch.zeros(64, 3, 7, 7)}
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"BiSeNet of another kind, with tensors such as sp\.conv1\.conv\.weight"):
        load_segmenter(tmp_path / "x.pth")
