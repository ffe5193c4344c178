"""Events on a face that is there: sliders, views, history, cards, recipes."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from demo.callbacks import recipe_pictures
from demo.components import picture_url
from demo.face import MOST_STEPS, History
from demo.palette import Palette
from demo.views import EDITED, FACE_SIZE, PART, SWIPE, VIEWS, WHOLE, group_at, groups_of
from demo.words import group_of
from lelsd_core.errors import UserError
from tests.page_events import Visitor, chosen


@pytest.fixture
def visitor(editor) -> Visitor:
    """With a random face."""
    return Visitor(editor)


@pytest.fixture(scope="module")
def photographed(editor, astronaut) -> Visitor:
    """With the astronaut's photo."""
    visitor = Visitor(editor)
    visitor.open(astronaut)
    return visitor


def pixels(picture: Image.Image) -> np.ndarray:
    """As whole numbers that can be subtracted."""
    return np.asarray(picture).astype(int)


# ------------------------------------------------------------------------------------------------------- views


def test_detail_keeps_the_photo_and_the_models_view_does_not(photographed):
    photo = np.asarray(photographed.face.session.photo)
    show = photographed.callbacks.show
    detailed = photographed.does(show, display=(EDITED, True, False), history=History())["picture"]
    assert np.array_equal(np.asarray(detailed), photo)
    rebuilt = photographed.does(show, display=(EDITED, False, False), history=History())["picture"]
    assert not np.array_equal(np.asarray(rebuilt), photo)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_shows_a_picture_with_a_title_of_its_own(visitor, view):
    visitor.moves(mouth=50)
    updates = visitor.does(visitor.callbacks.switch_view, display=(view, True, False))
    assert "%" in updates["meter"]
    shown, hidden = (SWIPE.lower(), "picture") if view == SWIPE else ("picture", SWIPE.lower())
    assert (updates[shown]["visible"], updates[hidden]["visible"]) == (True, False)
    assert updates[shown]["label"]
    value = updates[shown]["value"]
    pictures = value if view == SWIPE else [value]
    assert [picture.size for picture in pictures] == [(FACE_SIZE, FACE_SIZE)] * len(pictures)
    assert np.array_equal(updates["start"], visitor.face.session.original.resize((FACE_SIZE,) * 2, Image.BICUBIC))


def test_the_part_is_lit_and_the_rest_is_dark(visitor):
    updates = visitor.does(visitor.callbacks.switch_view, display=(PART, True, False))
    labels = visitor.callbacks.editor().part_labels(visitor.face.session)
    inside = labels == visitor.callbacks.editor().segmenter.parts.index("mouth")
    lit = np.asarray(updates["picture"]["value"].resize(labels.shape, Image.Resampling.BOX)).mean(2)
    plain = np.asarray(visitor.face.session.original).mean(2)
    assert np.median(lit[inside] / plain[inside]) > 0.9
    assert lit[~inside].mean() < 0.6 * plain[~inside].mean()


def test_the_whole_photo_is_untouched_at_rest_and_changes_at_the_face_only(photographed):
    display = (WHOLE, True, False)
    show, face = photographed.callbacks.show, photographed.face
    rest = photographed.does(show, display=display, history=History())["picture"]
    assert np.array_equal(np.asarray(rest), np.asarray(face.detected.shown))
    sliders = [100.0] * photographed.callbacks.slider_count
    moved = photographed.does(show, display=display, sliders=sliders, history=History())["picture"]
    change = np.abs(pixels(moved) - pixels(rest)).max(2)
    assert change.max() > 8
    assert change[-40:].max() == 0, "below the frame"


def test_protection_raises_the_share_inside_the_part(visitor):
    meters = []
    for protect in (False, True):
        visitor.values["display"] = (EDITED, True, protect)
        meters.append(visitor.moves(mouth=100)["meter"])
    free, protected = (float(meter.split("**")[1].rstrip("%")) for meter in meters)
    assert protected > free


def test_likeness_is_that_of_the_recogniser(visitor):
    meter = visitor.moves(mouth=100)["meter"]
    editor, session = visitor.callbacks.editor(), visitor.face.session
    expected = editor.likeness(session, editor.render(session, visitor.amounts))
    assert f"Likeness **{expected:.2f}**" in meter


def downloaded(url: str) -> Image.Image:
    """The picture of a data URL."""
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


@pytest.mark.parametrize("view", VIEWS)
def test_a_download_is_what_is_seen(visitor, view):
    visitor.moves(mouth=60)
    shown = visitor.does(visitor.callbacks.switch_view, display=(view, True, False))
    saved = downloaded(visitor.does(visitor.saving.download)["download_url"])
    assert saved.format == "PNG"
    if view == SWIPE:
        before, after = shown["swipe"]["value"]
        assert np.array_equal(np.asarray(saved)[:, :FACE_SIZE], np.asarray(before))
        assert np.array_equal(np.asarray(saved)[:, -FACE_SIZE:], np.asarray(after))
    else:
        assert np.array_equal(np.asarray(saved), np.asarray(shown["picture"]["value"]))


def test_a_download_of_the_whole_photo_has_its_size(photographed):
    rest = {"display": (WHOLE, True, False), "sliders": [0.0] * photographed.callbacks.slider_count}
    made = photographed.does(photographed.saving.download, **rest)
    picture = downloaded(made["download_url"])
    assert np.array_equal(np.asarray(picture), np.asarray(photographed.face.detected.photo))
    assert "name=edited.png" in made["download_url"]
    assert picture_url(picture) != made["download_url"]


# -------------------------------------------------------------------------------------------- sliders and history


def test_a_slider_in_motion_is_a_picture_and_at_rest_a_step_that_can_be_undone(visitor):
    moving = visitor.does(visitor.callbacks.preview, sliders=[40.0] * visitor.callbacks.slider_count)
    assert set(moving) == {"picture"}
    visitor.moves(**{d.name.replace("-", "_"): 0 for d in visitor.face.session.directions})
    visitor.does(visitor.callbacks.show)  # the face as it was opened
    first = visitor.moves(mouth=50)
    assert (first["undo"]["interactive"], first["redo"]["interactive"]) == (True, False)
    visitor.moves(mouth=50, skin=-20)
    assert [step.caption for step in visitor.history.steps] == ["As it was", "Mouth 50", "Skin -20"]
    edited = visitor.amounts
    undone = visitor.does(visitor.callbacks.undo)
    assert set(visitor.amounts) == {"mouth"}
    assert undone["redo"]["interactive"]
    assert np.array_equal(np.asarray(undone["picture"]), np.asarray(first["picture"]))
    visitor.does(visitor.callbacks.redo)
    assert visitor.amounts == edited
    visitor.does(visitor.callbacks.choose_step, chosen(0))
    assert visitor.amounts == {}
    visitor.moves(nose=30)
    assert [step.caption for step in visitor.history.steps] == ["As it was", "Nose 30"], "what was undone is gone"
    visitor.does(visitor.callbacks.reset)
    assert visitor.amounts == {}
    assert visitor.history.steps[-1].caption == "As it was"


def test_a_slider_that_rests_where_it_was_makes_no_step_and_no_picture(visitor):
    visitor.moves(mouth=50)
    assert visitor.moves(mouth=50) == {}


def test_a_history_is_bounded(visitor):
    history, picture = History(), Image.new("RGB", (8, 8))
    for i in range(MOST_STEPS + 5):
        history = history.add({"mouth": i / 10}, picture, visitor.face.session.directions)
    assert len(history.steps) == MOST_STEPS
    assert history.current == {"mouth": (MOST_STEPS + 4) / 10}
    assert history.at(-3).position == 0
    assert history.at(10**6).position == MOST_STEPS - 1


@pytest.mark.parametrize("values", [(), (1e9,) * 99, (-1e9,), (float("nan"),)])
def test_hostile_slider_values_stay_in_range(visitor, values):
    amounts = visitor.face.amounts([0.0 if value != value else value for value in values])
    assert all(d.low <= amounts.get(d.name, 0.0) <= d.high for d in visitor.face.session.directions)


# --------------------------------------------------------------------------------------------- cards and recipes


def test_a_card_shows_the_sliders_of_its_part_and_moves_none(visitor):
    directions = visitor.face.session.directions
    groups = groups_of(directions)
    assert len(groups) > 5
    for i, group in enumerate(groups):
        updates = visitor.does(visitor.callbacks.choose_card, chosen(i))
        shown = [d.name for d, each in zip(directions, updates["sliders"], strict=False) if each["visible"]]
        assert shown == [d.name for d in directions if group_of(d) == group]
        assert not any("value" in each for each in updates["sliders"][: len(directions)])
        assert updates["card_title"].lower() == f"### {group}"
        assert updates["cards"]["selected_index"] == i
    assert group_of(replace(directions[0], parts=("skin", "eyes", "mouth"))) == "face"


def test_a_click_on_the_face_opens_the_card_of_what_is_there(visitor, photographed):
    for each, display in ((visitor, (EDITED, True, False)), (photographed, (WHOLE, True, False))):
        editor, session = each.callbacks.editor(), each.face.session
        labels = editor.part_labels(session)
        rows, columns = np.nonzero(labels == editor.segmenter.parts.index("mouth"))
        x, y = np.median(columns) + 0.5, np.median(rows) + 0.5  # in the frame's pixels
        place = np.array([x, y]) * session.original.width / labels.shape[1]
        if display[0] == WHOLE:
            matrix = session.matrix @ each.face.detected.reduced
            place = np.linalg.solve(matrix[:, :2], place - matrix[:, 2])
        else:
            place = place * FACE_SIZE / session.original.width
        each.does(each.callbacks.choose_card, chosen(3))
        each.does(each.callbacks.click_face, chosen(list(place)), display=display)
        assert each.group == "mouth"
    outside = photographed.does(photographed.callbacks.click_face, chosen([0, 0]), display=(WHOLE, True, False))
    assert outside == {} or outside["group"] == "background"
    assert group_at(editor, photographed.face, labels, 1.5, 0.5) is None


def test_cards_have_a_picture_each_and_tell_what_is_edited_and_muted(visitor):
    visitor.does(visitor.callbacks.show)
    first = visitor.moves(mouth=50)
    assert "Mouth •" in [caption for _, caption in first["cards"]]
    assert "cards" not in visitor.moves(mouth=60), "they are the same as before"
    muted = visitor.does(visitor.callbacks.mute, group="skin")
    assert "Skin (muted)" in [caption for _, caption in muted["cards"]]
    dressed = visitor.does(visitor.callbacks.dress)
    words = [caption for _, caption in dressed["cards"]]
    assert "Mouth •" in words
    assert "Skin (muted)" in words
    assert len(words) == len(groups_of(visitor.face.session.directions))
    assert len({picture.tobytes() for picture, _ in dressed["cards"]}) == len(words)


def test_a_muted_card_has_no_effect_until_it_is_unmuted(visitor):
    shown = visitor.moves(mouth=80)["picture"]
    muted = visitor.does(visitor.callbacks.mute)
    assert muted["mute"] == "Unmute"
    assert visitor.amounts == {}
    assert np.abs(pixels(muted["picture"]) - pixels(shown)).max() > 8
    again = visitor.does(visitor.callbacks.mute)
    assert again["mute"] == "Mute"
    assert np.array_equal(np.asarray(again["picture"]), np.asarray(shown)), "the slider stayed where it was"


def test_a_card_is_reset_alone(visitor):
    visitor.moves(mouth=80, skin=30)
    visitor.does(visitor.callbacks.reset_card)
    assert set(visitor.amounts) == {"skin"}


def test_both_ends_are_shown_on_this_face_and_one_click_sets_them(visitor):
    *_, shown = visitor.steps(visitor.callbacks.show_ends)
    directions = [d for d in visitor.face.session.directions if group_of(d) == "mouth"]
    assert [words for _, words in shown["ends"]["value"]] == [word for d in directions for word in d.ends]
    visitor.does(visitor.callbacks.use_end, chosen(1))
    assert visitor.amounts == {directions[0].name: directions[0].high}
    visitor.does(visitor.callbacks.use_end, chosen(0))
    assert visitor.amounts == {directions[0].name: directions[0].low}
    visitor.does(visitor.callbacks.use_end, chosen(0))
    assert visitor.amounts == {}, "a second click takes it back"


def test_small_pictures_of_a_face_that_was_left_are_never_shown(visitor):
    for callback in (visitor.callbacks.show_ends, visitor.callbacks.dress):
        making = visitor.steps(callback)
        next(making)
        visitor.does(visitor.opening.random_face, seed=3)
        assert list(making) == []
    first, second = (visitor.steps(visitor.callbacks.show_ends) for _ in range(2))
    next(first), next(second)
    assert list(first) == [], "another card was opened"
    assert list(second)[-1]["ends"]["visible"]


def test_a_part_that_the_face_does_not_show_is_pictured_as_it_is(visitor, monkeypatch):
    def nothing(*_, **__):
        raise UserError("This picture shows no hair to change.")

    monkeypatch.setattr(visitor.callbacks.editor(), "render", nothing)
    *_, shown = visitor.steps(visitor.callbacks.show_ends)
    assert {picture.tobytes() for picture, _ in shown["ends"]["value"]} == {shown["ends"]["value"][0][0].tobytes()}


def test_a_recipe_sets_all_sliders_and_shows_the_edit(visitor):
    recipes = visitor.callbacks.editor().recipes
    assert len(recipes) >= 6
    pictures = recipe_pictures(visitor.callbacks.editor())
    assert [words.lower().replace(" ", "-") for _, words in pictures] == list(recipes)
    for i, recipe in enumerate(recipes.values()):
        updates = visitor.does(visitor.callbacks.use_recipe, chosen(i))
        assert visitor.amounts.keys() == recipe.amounts.keys()
        ranges = {d.name: max(d.high, -d.low) for d in visitor.face.session.directions}
        assert all(abs(visitor.amounts[name] - recipe.amounts[name]) <= ranges[name] / 100 for name in recipe.amounts)
        assert len(updates["sliders"]) == visitor.callbacks.slider_count
        assert visitor.history.steps[-1].caption == pictures[i][1]
        assert "%" in updates["meter"]


def test_the_looks_of_a_card_act_on_some_layers_only(visitor):
    opened = visitor.does(
        visitor.callbacks.choose_card, chosen(groups_of(visitor.face.session.directions).index("skin"))
    )
    assert opened["layers"]["visible"]
    everywhere = pixels(visitor.moves(skin=100)["picture"])
    limited = visitor.does(visitor.callbacks.choose_layers, layers="fine")
    assert np.abs(pixels(limited["picture"]) - everywhere).max() > 8
    by_name = {direction.name: direction for direction in visitor.face.session.directions}
    assert (by_name["skin"].layers, by_name["light"].layers) == (("fine",), ()), "a shape is let in at its own layer"
    assert limited["kept"]["found"] == []
    assert visitor.does(visitor.opening.model_status)["model_info"], "and no slider comes twice"
    assert len(visitor.face.session.directions) == len(by_name)
    back = visitor.does(visitor.callbacks.choose_layers, layers="all")
    assert np.array_equal(pixels(back["picture"]), everywhere)
    shapes_alone = visitor.face.with_session(replace(visitor.face.session, directions=[by_name["smile"]]))
    assert not visitor.callbacks.open_card(shapes_alone, "mouth")["layers"]["visible"]


def test_a_grid_moves_two_sliders_and_a_click_uses_one_of_its_pictures(visitor):
    palette = Palette(visitor.callbacks)
    offered = visitor.does(palette.offer, palette_x="mouth", palette_y=None)
    assert (offered["palette_x"]["value"], offered["palette_y"]["value"]) == ("mouth", "background")
    visitor.moves(nose=40)
    rows = list(visitor.steps(palette.draw, palette_y="skin"))
    assert [len(row["palette"]["value"]) for row in rows] == [5, 10, 15, 20, 25]
    visitor.does(palette.choose, chosen(4))
    high = {direction.name: direction.high for direction in visitor.face.session.directions}
    assert visitor.amounts == {"mouth": high["mouth"], "skin": high["skin"], "nose": pytest.approx(0.4 * high["nose"])}
    visitor.does(palette.choose, chosen(12))
    assert set(visitor.amounts) == {"nose"}, "the middle is the face without both"
    with pytest.raises(UserError, match="two different sliders"):
        list(visitor.steps(palette.draw, palette_y="mouth"))


def test_edits_wait_for_each_other_and_only_the_newest_of_a_visitor_is_rendered(visitor):
    lane = visitor.callbacks.pictures
    with lane.ticket("other"), lane.ticket("test", newest=True) as old, lane.ticket("test", newest=True) as new:
        assert old.dropped
        assert (new.dropped, new.place) == (False, 1)
