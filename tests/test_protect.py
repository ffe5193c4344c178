"""Outside protection: what is outside the edited parts stays, what is inside is edited, on every architecture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lelsd_core.editor.renderer import (
    REACH,
    Renderer,
    blend_outside,
    check_strength,
    face_mask,
    free_region,
    protected_layers,
)
from lelsd_core.errors import UserError
from lelsd_core.generators import Generator, Synthesis
from lelsd_core.images import to_tensor
from lelsd_core.local import EditedCodes
from lelsd_core.segmenters import Parts, part_mask
from tests.test_generators_contract import FILES, load
from tests.toy import PictureHalves

NAMES = ("background", "brows", "clothes", "eyes", "hair", "mouth", "nose", "skin")


@pytest.fixture(scope="module")
def face(editor):
    return editor.random_face(47)


def difference(editor, session, picture) -> Tensor:
    """(1, 1, 64, 64): how far each pixel is from the unedited picture, in grey levels."""
    return (to_tensor(picture) - to_tensor(session.original)).abs().amax(1, keepdim=True) * 127.5


def edited_region(editor, session, amounts) -> Tensor:
    """The soft mask of what these amounts edit: where the untouched and the plainly edited picture show the parts."""
    pictures = [session.original, editor.render(session, amounts)]  # local moves are only in the picture
    both = torch.cat([to_tensor(picture) for picture in pictures])
    parts = [part for d in session.directions if amounts.get(d.name) for part in d.parts]
    return free_region(part_mask(editor.segmenter.segment(both), editor.segmenter.parts, parts))


def grown(mask: Tensor, pixels: int) -> Tensor:
    """True where the mask is above 0 within some pixels."""
    return F.max_pool2d(mask, 2 * pixels + 1, 1, pixels) > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("end", ["low", "high"])
def test_full_protection_leaves_the_outside_as_it_was(editor, face, name, end):
    amounts = {name: getattr(next(d for d in face.directions if d.name == name), end)}
    plain, kept = editor.edit(face, amounts), editor.edit(face, amounts, protect=1.0)
    region = edited_region(editor, face, amounts)
    before, after = (difference(editor, face, edit.picture) for edit in (plain, kept))
    assert after[~grown(region, 3)].max() <= 1, "a grey level: another batch may round differently"
    inside = region == 1
    assert after[inside].mean() > 0.7 * before[inside].mean(), "the edit itself stays"
    assert kept.locality.score > plain.locality.score
    assert kept.locality.score > 0.65


def test_protection_takes_most_of_the_change_outside_away(editor, face):
    outside = {0.0: 0.0, 0.5: 0.0, 1.0: 0.0}
    for direction in face.directions:
        amounts = {direction.name: direction.high}
        region = edited_region(editor, face, amounts)
        for strength in outside:
            change = difference(editor, face, editor.render(face, amounts, protect=strength))
            outside[strength] += float((change.square() * (region < 0.5)).sum())
    assert outside[1.0] < 0.1 * outside[0.0]
    assert outside[1.0] < outside[0.5] < outside[0.0]


def test_the_seam_is_not_steeper_than_the_edit_without_protection(editor, face):
    for direction in face.directions:
        amounts = {direction.name: direction.high}
        steps = []
        for strength in (0.0, 1.0):
            change = to_tensor(editor.render(face, amounts, protect=strength)) - to_tensor(face.original)
            steps.append(max(float(change.diff(dim=dim).abs().max()) for dim in (2, 3)))
        assert steps[1] <= 1.35 * steps[0], direction.name


def test_several_parts_are_edited_together_and_the_rest_stays(editor, face):
    amounts = {"mouth": 4.0, "hair": -4.0}
    after = difference(editor, face, editor.render(face, amounts, protect=1.0))
    assert after[~grown(edited_region(editor, face, amounts), 3)].max() <= 1
    for name in amounts:
        assert after[edited_region(editor, face, {name: amounts[name]}) == 1].mean() > 5, name


def test_nothing_moved_is_the_original_whatever_the_protection(editor, face):
    assert editor.edit(face, {}, protect=1.0).picture is face.original
    assert np.array_equal(np.asarray(editor.render(face, {"mouth": 0.0}, protect=1.0)), np.asarray(face.original))


@pytest.mark.parametrize("strength", [2.0, -0.1, float("nan")])
def test_a_strength_out_of_range_raises(editor, face, strength):
    with pytest.raises(UserError, match=r"protection .* 0 .* 1"):
        editor.render(face, {"mouth": 1.0}, protect=strength)
    with pytest.raises(UserError, match=f"{strength:g}"):
        check_strength(strength)


@given(st.integers(8, 80), st.integers(0, 2**32 - 1))
def test_a_soft_mask_is_whole_on_the_parts_and_gone_a_little_further(size, seed):
    masks = (torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(seed)) > 0.995).float()
    soft, union = free_region(masks), masks.amax(0, keepdim=True)
    reach = max(1, round(size * REACH))
    assert soft.shape == union.shape
    assert soft.min() >= 0
    assert soft.max() <= 1 + 1e-6
    assert (soft[union > 0] > 1 - 1e-6).all()
    assert (soft[~grown(union, 2 * reach)] == 0).all()


@pytest.fixture(scope="module", params=FILES)
def generator(request, tmp_path_factory) -> Generator:
    return load(request.param, tmp_path_factory.mktemp(request.param))


def moved_pair(generator: Generator) -> tuple[Synthesis, Synthesis, Tensor]:
    """An untouched and a moved picture with all states, and the moved codes."""
    space = generator.space_names[-1]
    untouched = generator.lift(generator.sample([1]), generator.space_names[0], space)
    step = torch.randn(untouched.shape[1], generator=torch.Generator().manual_seed(0)) * untouched.std()
    moved = untouched + 0.5 * step * generator.space(space).column_mask()
    before, after = (generator.synthesize(codes, space, keep=generator.layers) for codes in (untouched, moved))
    return before, after, moved


@torch.inference_mode()
def test_every_architecture_keeps_what_is_outside_the_mask(generator):
    *pair, codes = moved_pair(generator)
    before, after = (synthesis.image for synthesis in pair)
    size = generator.resolution
    weight = torch.zeros(1, 1, size, size)
    weight[..., : size // 2] = 1
    picture = blend_outside(generator, *pair, codes, weight).image
    reach = size // 8  # the last convolution, and the coarsest blended grid
    edge = size // 2
    scale = (after - before).abs().max()
    assert (picture - before)[..., edge + reach :].abs().max() < 1e-4 * scale
    assert (picture - before)[..., : edge - reach].abs().mean() > 0.3 * (after - before)[
        ..., : edge - reach
    ].abs().mean()


@torch.inference_mode()
def test_a_whole_mask_is_the_moved_picture_and_an_empty_one_the_untouched(generator):
    *pair, codes = moved_pair(generator)
    size = generator.resolution
    for weight, wanted in zip((torch.zeros(1, 1, size, size), torch.ones(1, 1, size, size)), pair, strict=True):
        made = blend_outside(generator, *pair, codes, weight, keep=generator.layers)
        torch.testing.assert_close(made.image, wanted.image, rtol=1e-4, atol=1e-4)
        assert made.states.keys() == generator.layers.keys()
        assert {len(state.x) for state in made.states.values()} == {1}
    off = blend_outside(generator, *pair, codes, torch.zeros(1, 1, size, size), strength=0.0)
    torch.testing.assert_close(off.image, pair[1].image, rtol=1e-4, atol=1e-4)


def test_protected_layers_are_the_last_ones_of_the_fine_sizes(generator):
    names = protected_layers(generator)
    sizes = [generator.layers[name].size for name in names]
    assert sizes == sorted(set(sizes))
    assert min(sizes) >= generator.resolution / 4
    assert names[-1] == list(generator.layers)[-1]


def test_a_replaced_face_leaves_the_surroundings_unless_they_were_edited():
    parts = Parts(("background", "skin", "clothes"))
    seen = F.one_hot(torch.tensor([[[0, 1, 2]]]), 3).permute(0, 3, 1, 2).float()  # one row: each part once
    assert face_mask(seen, parts).tolist() == [[0, 1, 0]]
    assert face_mask(seen, parts, ("background",)).tolist() == [[1, 1, 0]]
    assert face_mask(seen, Parts(("wall", "skin", "clothes"))) is None


@torch.inference_mode()
def test_an_edit_renders_only_the_layers_behind_the_first_changed_one(generator, monkeypatch):
    """On every architecture, for a change of each slot: the picture of a full run, and no layer more than needed."""
    space, rendered = generator.spaces[-1], []
    codes = generator.lift(generator.sample([1]), generator.space_names[0], space.name)
    renderer = Renderer(generator, PictureHalves(), 256)
    unedited = renderer.unedited((codes, space.name))
    assert renderer.unedited((codes, space.name)) is unedited, "rendered once"
    steps, runs = generator.steps, [step.run for step in generator.steps]

    def counted(index: int):
        return lambda *arguments: (rendered.append(index), runs[index](*arguments))[1]

    noted = tuple(replace(step, run=counted(i)) for i, step in enumerate(steps))
    for index in range(len(space.slots)):
        moved = torch.cat([slot + 0.3 * (i == index) for i, slot in enumerate(space.split(codes))], 1)
        whole = generator.synthesize(moved, space.name).image
        monkeypatch.setattr(generator, "steps", noted)
        rendered.clear()
        picture = renderer.edited((codes, space.name), EditedCodes(moved))
        monkeypatch.setattr(generator, "steps", steps)
        first = next((i for i, step in enumerate(steps) if index in step.slots), len(steps) - 1)
        assert rendered == list(range(first, len(steps)))
        assert torch.equal(picture, whole)
