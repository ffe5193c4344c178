"""The shipped segmenter and its stated quality, masks of parts, and segmenters that users bring."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lelsd_core import DiscoverConfig, discover
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import evaluate
from lelsd_core.registry import load_segmenter
from lelsd_core.segmenters import Parts, Segmenter, UNetSegmenter, adapt, part_mask, region
from lelsd_core.weights.catalogue import CHECKPOINTS
from lelsd_core.weights.safetensors import read_safetensors
from tests.toy import Painter

PARTS = ("background", "hair", "skin", "brows", "eyes", "nose", "mouth", "clothes")


def test_it_reads_a_face_where_the_frame_has_it(editor):
    session = editor.random_face(45)
    probabilities = editor.segmenter.segment(editor.synthesize(session.codes, session.space))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(1, 64, 64))
    where = {name: part_mask(probabilities, PARTS, [name])[0, 0].nonzero().float().mean(0) for name in PARTS}
    assert where["brows"][0] < where["eyes"][0] < where["nose"][0] < where["mouth"][0] < where["clothes"][0]
    assert where["hair"][0] < where["mouth"][0]


def test_masks_of_all_parts_cover_every_pixel_once(editor):
    probabilities = torch.rand(2, 8, 5, 5, generator=torch.Generator().manual_seed(0)).softmax(1)
    masks = torch.stack([part_mask(probabilities, PARTS, [name]) for name in PARTS])
    assert (masks.sum(0) == 1).all()
    assert (part_mask(probabilities, PARTS, PARTS) == 1).all()
    soft = part_mask(probabilities, PARTS, ["eyes", "brows"], soft=True)
    torch.testing.assert_close(soft, probabilities[:, 3:5].sum(1, keepdim=True))


def test_masks_carry_no_gradient():
    probabilities = torch.rand(1, 8, 4, 4, requires_grad=True)
    assert not part_mask(probabilities, PARTS, ["eyes"], soft=True).requires_grad


def test_unknown_and_missing_parts_are_refused():
    probabilities = torch.rand(1, 8, 4, 4)
    with pytest.raises(UserError, match="no part named 'eye'; did you mean eyes"):
        part_mask(probabilities, PARTS, ["eye"])
    with pytest.raises(UserError, match="No part was chosen"):
        part_mask(probabilities, PARTS, [])


def test_pictures_of_another_size_are_read_too(editor):
    assert editor.segmenter.segment(torch.zeros(2, 3, 128, 128)).shape == (2, 8, 64, 64)


def test_held_out_figures_stand_in_the_file_and_reach_what_is_promised():
    _, facts = read_safetensors(CHECKPOINTS / "digiface-64" / "segmenter.safetensors", "segmenter")
    assert tuple(facts["parts"]) == PARTS
    promised = {"eyes": 0.5, "mouth": 0.5, "skin": 0.8, "hair": 0.8, "background": 0.8}
    assert {name: facts["iou"][name] for name in promised if facts["iou"][name] < promised[name]} == {}


def test_weights_of_another_shape_and_unknown_names_are_refused():
    with pytest.raises(UserError, match="segmenter of another shape"):
        UNetSegmenter({"head.weight": torch.zeros(1)}, {"parts": PARTS})
    with pytest.raises(UserError, match="no segmenter named 'digiface-part'; did you mean digiface-parts"):
        load_segmenter("digiface-part")


class Foreign:
    """A segmenter without the base class: a plain tuple of parts, and `segment` with the picture alone."""

    parts = ("left", "right")

    def segment(self, image: torch.Tensor) -> torch.Tensor:
        left = (torch.arange(8) < 4).float().expand(len(image), 8, 8)
        return torch.stack([left, 1 - left], 1)


def test_a_foreign_segmenter_is_adapted_once():
    segmenter = adapt(Foreign())
    assert isinstance(segmenter, Segmenter)
    assert adapt(segmenter) is segmenter
    assert isinstance(segmenter.parts, Parts)
    assert (segmenter.name, segmenter.fingerprint, segmenter.needs) == ("Foreign", "", ())
    assert segmenter.needs_picture
    segmenter.check(None)  # reads no features: fits any generator
    assert part_mask(segmenter.segment(torch.zeros(1, 3, 8, 8), {}), segmenter.parts, "left").mean() == 0.5
    assert region(Foreign(), "left").parts.names == ("left", "rest")
    with pytest.raises(UserError, match="str is no segmenter"):
        adapt("bisenet")


def test_one_part_is_given_as_a_plain_string():
    probabilities = torch.rand(1, 8, 4, 4)
    assert torch.equal(part_mask(probabilities, PARTS, "eyes"), part_mask(probabilities, PARTS, ["eyes"]))
    parts = Parts(PARTS, {"face": ("eyes", "nose")})
    assert (parts.expand("face"), parts.channels("face"), parts.expand(())) == (("eyes", "nose"), [4, 5], ())


def test_a_foreign_segmenter_works_in_a_search_and_an_evaluation():
    config = DiscoverConfig(parts=("left",), steps=1, batch=2, samples=2)
    *_, last = discover(Painter(), Foreign(), config)
    direction = replace(last.directions[0], low=-1.0, high=1.0)
    assert 0 < next(evaluate(Painter(), Foreign(), [direction], range(2))).score < 1
    with pytest.raises(UserError, match="no part named 'lef'; did you mean left"):
        next(discover(Painter(), Foreign(), replace(config, parts=("lef",))))
