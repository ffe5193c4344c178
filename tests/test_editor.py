"""The editor with the shipped model: edits are local, sessions are independent, shared models never change."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lelsd_core import read_photo, save_picture
from lelsd_core.directions import free_name
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.editor import InversionOptions
from lelsd_core.editor.renderer import Recent
from lelsd_core.errors import UserError
from lelsd_core.localization import localization_score
from lelsd_core.segmenters import part_mask


@pytest.fixture(scope="module")
def opened(editor, astronaut):
    return editor.open(astronaut)


def inside(editor, session, name: str, amount: float) -> tuple[float, float]:
    """Share of an edit's change inside its part, as seen on the unedited face, and the part's area."""
    before = editor.synthesize(session.codes, session.space)
    after = editor.edited_picture(session, {name: amount})
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
        float((editor.edited_picture(opened, {name: amount}) * mask).sum() / mask.sum())
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


def test_an_unknown_slider_raises(editor, opened):
    with pytest.raises(UserError, match=r"'mouht'.* mouth"):
        editor.render(opened, {"mouht": 1.0})


def test_the_locality_of_an_edit_agrees_with_the_score(editor, opened):
    assert editor.edit(opened, {}).locality is None
    locality = editor.edit(opened, {"hair": 3.0}).locality
    assert locality.parts == ("hair",)
    score, area = inside(editor, opened, "hair", 3.0)
    assert locality.score == pytest.approx(score, abs=0.1)
    assert locality.area == pytest.approx(area, abs=0.1)


def test_edit_and_render_give_the_same_picture(editor, opened):
    assert editor.edit(opened, {}).picture is opened.original
    amounts = {"hair": 3.0, "mouth": -2.0}
    alone, measured = (
        np.asarray(p).astype(int) for p in (editor.render(opened, amounts), editor.edit(opened, amounts).picture)
    )
    assert np.abs(alone - measured).max() <= 1, "a batch of two may round differently"


def test_a_random_face_depends_on_its_seed_alone(editor):
    one, again, other = (np.asarray(editor.random_face(seed).original) for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_random_seed_gives_a_clear_face(editor):
    random = np.random.default_rng(0)
    for _ in range(5):
        session = editor.random_face(editor.find_clear_seed(random))
        assert editor.aligner.in_place(editor.synthesize(session.codes, session.space), 0.1)


def test_a_discovery_adds_its_direction_to_a_new_session_only(editor):
    session = editor.random_face(45)
    *_, (progress, extended) = editor.discover(session, DiscoverConfig(parts=("eyes",), slots=("*.gain",), steps=3))
    assert progress.step == 3
    assert [d.name for d in extended.directions[:-1]] == [d.name for d in session.directions]
    assert extended.directions[-1].name == "eyes-2"
    assert extended.codes is session.codes


def test_a_second_discovery_sees_the_untouched_samples_of_the_first_again(editor, monkeypatch):
    seen, segment = [], editor.segmenter.segment
    monkeypatch.setattr(editor.segmenter, "segment", lambda *pictures: seen.append(1) or segment(*pictures))
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
    with pytest.raises(UserError, match="digiface-64"):
        type(editor)(editor.generator, editor.inverter, editor.segmenter, editor.aligner, [foreign])


EXAMPLE = """
from lelsd_core import load_editor, save_picture

editor = load_editor("digiface-64")
session = editor.open("photo.jpg")
edit = editor.edit(session, {"mouth": 3, "hair": -4})
save_picture(editor.paste(session, "photo.jpg", edit), "edited.png")
"""


def test_the_six_lines_of_the_readme_edit_a_photo(tmp_path, monkeypatch, astronaut):
    monkeypatch.chdir(tmp_path)
    save_picture(astronaut, "photo.jpg")
    names: dict = {}
    exec(EXAMPLE, names)
    photo, edited = (np.asarray(read_photo(name)).astype(int) for name in ("photo.jpg", "edited.png"))
    assert edited.shape == photo.shape
    assert 0 < (edited != photo).any(2).mean() < 0.5, "the face has changed, not the rest of the photo"
    assert repr(names["editor"]).startswith("Editor(digiface-64, 64 × 64 pixels, on cpu, directions: ")
    assert repr(names["session"]).startswith("Session(digiface-64: photo, inversion L1 0.0")
    assert "random face" in repr(editor_session := names["editor"].random_face(1))
    assert "\n" not in repr(editor_session)


def test_a_photo_may_come_as_anything_that_shows_it(editor, astronaut, tmp_path):
    save_picture(astronaut, tmp_path / "photo.png")
    with open(tmp_path / "photo.png", "rb") as file:
        sources = [astronaut, tmp_path / "photo.png", str(tmp_path / "photo.png"), file, np.asarray(astronaut)]
        sources += [astronaut.convert("RGBA"), editor.detect(astronaut)]
        codes = [editor.open(source, steps=0).codes for source in sources]
    assert all(torch.equal(other, codes[0]) for other in codes)
    grey = np.asarray(astronaut.convert("L"))
    for other in (
        astronaut.convert("P"),
        astronaut.convert("CMYK"),
        grey,
        Image.fromarray(grey.astype(np.uint16) * 257),
    ):
        assert editor.detect(other).photo.mode == "RGB"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((64, 64, 3)), r"shape \(64, 64, 3\) and dtype float64 is not a photo"),
        (np.zeros((64, 64, 2), np.uint8), r"shape \(64, 64, 2\)"),
        (np.zeros((1, 3, 64, 64), np.uint8), r"shape \(1, 3, 64, 64\)"),
        (np.zeros((16, 16), np.uint8), "16×16 pixels; at least 32"),
        (torch.zeros(3, 64, 64), "A Tensor is not a photo"),
        (None, "A NoneType is not a photo"),
        ("gone.jpg", "There is no file gone.jpg"),
    ],
)
def test_what_is_not_a_photo_is_refused(editor, source, words):
    for use in (editor.open, editor.detect, lambda source: next(editor.invert(source))):
        with pytest.raises(UserError, match=words):
            use(source)


def test_the_first_session_is_the_guess_and_the_photo_is_aligned_once(editor, astronaut, monkeypatch):
    cuts, encoded = [], []
    cut, encode = editor.aligner.cut, editor.inverter.encode
    monkeypatch.setattr(editor.aligner, "cut", lambda *arguments: cuts.append(1) or cut(*arguments))
    monkeypatch.setattr(editor.inverter, "encode", lambda face: encoded.append(encode(face)) or encoded[-1])
    sessions = editor.invert(editor.detect(astronaut), InversionOptions(steps=8))
    first, *others = sessions
    assert torch.equal(first.codes, encoded[0].codes)
    assert len(others) == 4, "one every quarter of so few steps"
    assert others[-1].inversion_l1 < first.inversion_l1
    assert 0 < first.seconds < others[-1].seconds
    assert (len(cuts), len(encoded)) == (1, 1)


def test_a_random_face_has_no_photo_to_be_pasted_into(editor, astronaut):
    session = editor.random_face(1)
    with pytest.raises(UserError, match="random face has no photo"):
        editor.paste(session, astronaut, session.original, {})


def test_a_session_gets_the_directions_that_its_editor_has_found_since(editor):
    session, new = editor.random_face(1), replace(editor.directions[0], vector=-editor.directions[0].vector)
    longer = editor.with_directions([new])
    assert editor.update_session(session) is session
    assert len(editor.directions) == len(session.directions)
    updated = longer.update_session(session)
    assert [d.name for d in updated.directions[:-1]] == [d.name for d in session.directions]
    assert updated.directions[-1].name == f"{new.name}-2"


def test_nothing_shared_changes(editor, astronaut):
    before = {name: tensor.clone() for name, tensor in editor.generator.state_dict().items()}
    session = editor.open(astronaut, steps=5)
    editor.render(session, {"mouth": 3.0})
    after = editor.generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_rendered_face_is_kept_for_its_edits_and_goes_with_its_session(editor):
    session = editor.random_face(46)
    kept = weakref.ref(editor.renderer.unedited((session.codes, session.space)))
    editor.edit(session, {"hair": 2.0}, protect=1.0)
    assert kept() is editor.renderer.unedited((session.codes, session.space)), "rendered once"
    del session
    gc.collect()
    assert kept() is None


def test_only_the_latest_values_are_kept_and_only_while_their_objects_live():
    recent, made = Recent(2), []
    keys = [torch.zeros(2) for _ in range(3)]

    def value_of(key):
        return recent.get(key, lambda: made.append(key is keys[0]) or len(made), lambda number: number != 1)

    assert [value_of(keys[i]) for i in (1, 1, 2, 2)] == [1, 2, 3, 3], "the first value does not fit"
    assert value_of(keys[0]) == 4
    assert value_of(keys[2]) == 3
    assert value_of(keys[1]) == 5, "it had made room"
    keys.clear()
    gc.collect()
    assert len(recent._values) == 0


def test_the_settings_of_a_search_suit_its_parts_unless_a_preset_is_named(editor):
    assert editor.config_for(["mouth", "hair"]) == replace(editor.shape_config, parts=("mouth", "hair"))
    assert editor.config_for(["mouth", "background"]) == replace(editor.search_config, parts=("mouth", "background"))
    assert editor.config_for(["mouth"], "paper").norm == "free"
    with pytest.raises(UserError, match="no preset named 'shapes'; did you mean shape"):
        editor.config_for(["mouth"], "shapes")
