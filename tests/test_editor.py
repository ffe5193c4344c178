"""The whole path on the model that ships: edits are local, sessions are apart, nothing shared is changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lelsd_core.directions import free_name
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.errors import UserError
from lelsd_core.localization import localization_score
from lelsd_core.segmenters import part_mask


@pytest.fixture(scope="module")
def opened(editor, astronaut):
    return editor.open(astronaut)


def inside(editor, session, name: str, amount: float) -> tuple[float, float]:
    """Share of an edit's change inside its part, as seen on the unedited face, and the part's area."""
    before = editor.synthesize(session.codes, session.space)
    after = editor.synthesize(*editor.moved(session, {name: amount}))
    direction = next(d for d in session.directions if d.name == name)
    mask = part_mask(editor.segmenter.segment(before), editor.segmenter.parts, direction.parts)
    return float(localization_score(before, after, mask)), float(mask.mean())


def test_sliders_at_rest_give_the_inversion_bit_for_bit(editor, opened):
    assert np.array_equal(np.asarray(editor.render(opened, {})), np.asarray(opened.original))
    zeros = {d.name: 0.0 for d in opened.directions}
    assert np.array_equal(np.asarray(editor.render(opened, zeros)), np.asarray(opened.original))


@pytest.mark.parametrize("name", ["background", "brows", "clothes", "eyes", "hair", "mouth", "nose", "skin"])
def test_every_slider_stays_local_on_a_real_photo(editor, opened, name):
    direction = next(d for d in opened.directions if d.name == name)
    for amount in (direction.low, direction.high):
        score, area = inside(editor, opened, name, amount)
        assert score > 3 * area or score > 0.6, (amount, score, area)


@pytest.mark.parametrize("name", ["background", "clothes", "hair", "mouth", "nose", "skin"])
def test_brighter_is_brighter_and_darker_is_darker_on_a_real_photo(editor, opened, name):
    direction = next(d for d in opened.directions if d.name == name)
    mask = part_mask(
        editor.segmenter.segment(editor.synthesize(opened.codes, "S")), editor.segmenter.parts, direction.parts
    )
    low, rest, high = (
        float((editor.synthesize(*editor.moved(opened, {name: amount})) * mask).sum() / mask.sum())
        for amount in (direction.low, 0.0, direction.high)
    )
    assert low < rest < high


def test_sliders_act_together_and_their_order_does_not_matter(editor, opened):
    both = editor.render(opened, {"mouth": 2.0, "hair": -2.0})
    assert np.array_equal(np.asarray(both), np.asarray(editor.render(opened, {"hair": -2.0, "mouth": 2.0})))
    assert not np.array_equal(np.asarray(both), np.asarray(editor.render(opened, {"mouth": 2.0})))


def test_amounts_beyond_the_range_end_at_it(editor, opened):
    high = next(d for d in opened.directions if d.name == "mouth").high
    assert np.array_equal(
        np.asarray(editor.render(opened, {"mouth": 1e9})), np.asarray(editor.render(opened, {"mouth": high}))
    )


def test_an_unknown_slider_is_told(editor, opened):
    with pytest.raises(UserError, match="'mouht'; did you mean mouth"):
        editor.render(opened, {"mouht": 1.0})


def test_the_truth_meter_agrees_with_the_score(editor, opened):
    assert editor.edit(opened, {}).locality is None
    told = editor.edit(opened, {"hair": 3.0}).locality
    assert told.parts == ("hair",)
    score, area = inside(editor, opened, "hair", 3.0)
    assert told.score == pytest.approx(score, abs=0.1)
    assert told.area == pytest.approx(area, abs=0.1)


def test_an_edit_with_its_meter_is_the_same_picture(editor, opened):
    assert editor.edit(opened, {}).picture is opened.original
    amounts = {"hair": 3.0, "mouth": -2.0}
    alone, metered = (
        np.asarray(p).astype(int) for p in (editor.render(opened, amounts), editor.edit(opened, amounts).picture)
    )
    assert np.abs(alone - metered).max() <= 1, "a batch of two may round differently"


def test_a_random_face_depends_on_its_seed_alone(editor):
    one, again, other = (np.asarray(editor.random_face(seed).original) for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_random_seed_gives_a_clear_face(editor):
    random = np.random.default_rng(0)
    for _ in range(5):
        session = editor.random_face(editor.find_clear_seed(random))
        assert editor.aligner.points(editor.synthesize(session.codes, session.space)) is not None


def test_a_discovery_adds_its_direction_to_a_new_session_only(editor):
    session = editor.random_face(45)
    *_, (progress, found) = editor.discover(session, DiscoverConfig(parts=("eyes",), slots=("*.gain",), steps=3))
    assert progress.step == 3
    assert [d.name for d in found.directions[:-1]] == [d.name for d in session.directions]
    assert found.directions[-1].name == "eyes-2"
    assert found.codes is session.codes


def test_a_second_discovery_sees_the_untouched_samples_of_the_first_again(editor, monkeypatch):
    seen, segment = [], editor.segmenter.segment
    monkeypatch.setattr(editor.segmenter, "segment", lambda synthesis: seen.append(1) or segment(synthesis))
    session, counts = editor.random_face(45), []
    for part in ("brows", "nose"):
        before = len(seen)
        list(editor.discover(session, DiscoverConfig(parts=(part,), slots=("*.gain",), steps=3, samples=32)))
        counts.append(len(seen) - before)
    assert counts == [6, 3], "a batch each: untouched and moved; then moved alone"


def test_names_that_are_taken_get_a_number():
    assert free_name("eyes", {"mouth"}) == "eyes"
    assert free_name("eyes", {"eyes", "eyes-2"}) == "eyes-3"
    assert free_name("Eyes", {"eyes"}) == "Eyes-2", "both may become files where case does not count"


def test_an_editor_refuses_directions_of_another_generator(editor):
    foreign = replace(editor.directions[0], fingerprint="0" * 64)
    with pytest.raises(UserError, match="was made for the generator"):
        type(editor)(editor.generator, editor.inverter, editor.segmenter, editor.aligner, [foreign])


def test_nothing_shared_changes(editor, astronaut):
    before = {name: tensor.clone() for name, tensor in editor.generator.state_dict().items()}
    session = editor.open(astronaut, steps=5)
    editor.render(session, {"mouth": 3.0})
    after = editor.generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
