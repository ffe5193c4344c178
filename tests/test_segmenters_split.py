"""Regions of one's own: parts stay as they were, and directions carry the region from the search to the edit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lelsd_core.directions import Direction, regions_in
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.search import discover
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError
from lelsd_core.segmenters import paint, part_mask, regions_of, segment_synthesis, split_by

EDIT = {"steps": 2, "batch": 2, "samples": 4, "least": 1.0, "most": 3.0}


@pytest.fixture(scope="module")
def region(editor):
    """The left half of the chin, painted on a face."""
    mask = torch.zeros(64, 64)
    mask[46:60, 16:34] = 1
    return painted(editor, mask)


def painted(editor: Editor, mask: torch.Tensor, name: str = "left chin"):
    session = editor.random_face(45)
    return paint(editor.generator, session.codes, session.space, mask, name)


@pytest.fixture(scope="module")
def synthesis(editor, region):
    generator = editor.generator
    return generator.synthesize(generator.sample([45, 46]), "Z", keep=generator.layers)


def masks(segmenter, synthesis, *parts: str) -> torch.Tensor:
    return part_mask(segment_synthesis(segmenter, synthesis), segmenter.parts, parts)


def test_parts_stay_exactly_as_they_were(editor, region, synthesis):
    segmenter = split_by(editor.segmenter, [region])
    for part in editor.segmenter.parts:
        assert torch.equal(masks(segmenter, synthesis, part), masks(editor.segmenter, synthesis, part)), part
    assert segmenter.parts.names == (*editor.segmenter.parts, "left chin")
    total = segment_synthesis(segmenter, synthesis).sum(1)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


def test_the_region_is_where_it_was_painted(editor, region, synthesis):
    mask = masks(split_by(editor.segmenter, [region]), synthesis, "left chin")
    rows, columns = mask[0, 0].nonzero().float().mean(0) / mask.shape[-1]
    assert 0.6 < rows < 1
    assert 0.2 < columns < 0.6


def test_two_regions_may_overlap(editor, region, synthesis):
    mask = torch.zeros(64, 64)
    mask[46:60, 10:50] = 1
    chin = painted(editor, mask, "chin")
    both, one = split_by(editor.segmenter, [region, chin]), split_by(editor.segmenter, [region])
    assert torch.equal(masks(both, synthesis, "left chin"), masks(one, synthesis, "left chin"))
    assert torch.equal(masks(both, synthesis, "skin"), masks(editor.segmenter, synthesis, "skin"))
    overlap = masks(both, synthesis, "left chin") * masks(both, synthesis, "chin")
    assert overlap.any()


def test_a_region_is_known_once_and_by_one_name_only(editor, region):
    segmenter = split_by(editor.segmenter, [region])
    assert split_by(segmenter, [region]) is segmenter
    assert regions_of(segmenter) == (region,)
    mask = torch.zeros(64, 64)
    mask[10:20, 20:40] = 1
    with pytest.raises(UserError, match="Two different regions are named 'left chin'"):
        split_by(segmenter, [painted(editor, mask)])
    with pytest.raises(UserError, match="a part named 'mouth' already"):
        split_by(editor.segmenter, [painted(editor, mask, "mouth")])


def found(editor: Editor, region, **options) -> Direction:
    config = DiscoverConfig(("left chin",), **EDIT, **options)
    *_, last = discover(editor.generator, split_by(editor.segmenter, [region]), config)
    return last.directions[0]


def test_a_direction_keeps_its_region_in_its_file(editor, region, tmp_path):
    direction = found(editor, region)
    assert direction.region is region
    direction.save(tmp_path / "chin.safetensors")
    again = Direction.load(tmp_path / "chin.safetensors")
    assert again.region.equals(region)
    assert again.moves_like(direction)
    assert again.parts == direction.parts == ("left chin",)


def test_a_damaged_region_is_told(editor, region, tmp_path):
    direction = found(editor, region)
    region.weight, kept = region.weight[:, 1:], region.weight
    try:
        direction.save(tmp_path / "chin.safetensors")
    finally:
        region.weight = kept
    with pytest.raises(UserError, match="weight"):
        Direction.load(tmp_path / "chin.safetensors")


@pytest.mark.parametrize("options", [{}, {"space": "Z", "local": "16.conv"}])
def test_an_edit_is_measured_in_the_region_and_others_are_as_before(editor, region, options):
    direction = replace(found(editor, region, **options), name="chin")
    session = editor.random_face(45).with_directions([direction])
    knowing = editor.knowing(regions_in(session.directions))
    assert knowing is not editor
    assert knowing.knowing([region]) is knowing
    assert editor.knowing(()) is editor
    locality = knowing.edit(session, {"chin": direction.high}).locality
    assert locality.parts == ("left chin",)
    assert 0 < locality.area < 0.2
    both = [each.edit(editor.random_face(45), {"smile": 2.0}) for each in (editor, knowing)]
    assert both[0].locality == both[1].locality
    assert both[0].picture.tobytes() == both[1].picture.tobytes()


def test_an_editor_with_such_a_direction_knows_its_region(editor, region):
    knowing = editor.with_directions([replace(found(editor, region), name="chin")])
    assert "left chin" in knowing.segmenter.parts
    calibrated = knowing.calibrate(knowing.directions[-1], range(10_000, 10_008))
    assert calibrated.region is region
    assert calibrated.area < 0.2
