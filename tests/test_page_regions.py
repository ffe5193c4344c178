"""Events of the Discover tab: a region that is painted on one or several faces, and clusters that are clicked."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from demo.components import picture_url
from demo.regions import CLUSTERS, MOST_FACES, PAINTED, clusters_of, labels_in
from lelsd_core.errors import UserError
from lelsd_core.seeds import HELD_OUT
from tests.page_events import Visitor, chosen


@pytest.fixture
def visitor(editor) -> Visitor:
    return Visitor(editor)


def mask_of(left: int, top: int, right: int, bottom: int) -> str:
    """What the page sends when a box of its 128 pixels is painted."""
    layer = Image.new("RGBA", (128, 128))
    layer.paste((124, 58, 237, 255), (left, top, right, bottom))
    return picture_url(layer, "PNG")


CHIN = mask_of(40, 96, 88, 120)


def searched(visitor: Visitor, **values) -> dict:
    return visitor.does(visitor.discovering.discover, parts=[], steps=2, search_seed=1, **values)


def test_a_region_is_painted_found_and_becomes_a_card_of_its_own(visitor, editor, monkeypatch):
    monkeypatch.setattr("demo.discover_tab.CALIBRATION_SEEDS", HELD_OUT[:8])
    shown = visitor.does(visitor.discovering.regions.choose_where, where=PAINTED)
    assert [shown[name]["visible"] for name in ("part_panel", "paint_panel", "cluster_panel")] == [False, True, False]
    assert shown["canvas"].size == (512, 512)
    searched(visitor, mask=CHIN, region_name="  chin  ")
    assert visitor.found[0].parts == ("chin",)
    updates = visitor.does(visitor.discovering.add_slider, name="my-chin")
    direction = visitor.face.session.directions[-1]
    assert direction.region.parts[0] == "chin"
    assert 0 < direction.area < 0.2
    assert visitor.group == "chin"
    assert updates["card_title"] == "### Chin"
    pictures = [caption for _, caption in updates["cards"]]
    assert "Chin" in pictures
    moved = visitor.moves(my_chin=80)
    assert "inside chin" in moved["meter"]
    assert "inside mouth" in visitor.moves(my_chin=0, smile=50)["meter"], "other sliders are as before"
    visitor.does(visitor.callbacks.switch_view, display=("Part", True, False))
    kept = updates["kept"]
    visitor.request.query_params = {}
    visitor.does(visitor.opening.page_opened, kept=kept)
    assert visitor.face.session.directions[-1].region.equals(direction.region), "it comes back from the browser"


def test_the_same_region_is_learnt_from_several_faces(visitor):
    regions = visitor.discovering.regions
    visitor.does(regions.choose_where, where=PAINTED)
    updates = visitor.does(regions.paint_another, mask=CHIN)
    assert "One face is painted" in updates["paint_note"]
    assert (len(visitor.paintings), visitor.mask) == (2, "")
    names = "face", "where", "region_name", "mask", "paintings", "chosen_clusters"
    one = regions.region(*(visitor.values[name] for name in names))
    assert one.method == "painted", "the second face is not painted yet"
    both = regions.region(*({**visitor.values, "mask": CHIN}[name] for name in names))
    assert both.method == "head"
    assert tuple(both.parts) == ("region", "rest")


def test_clusters_are_clicked_and_joined(visitor, editor):
    *_, shown = visitor.steps(visitor.discovering.regions.find_clusters)
    assert shown["cluster_map"]["visible"]
    labels = labels_in(editor, visitor.face.session, clusters_of(editor.generator))
    side = labels.shape[0]
    mouth, top = int(labels[int(0.78 * side), side // 2]), int(labels[1, side // 2])
    assert mouth != top
    click = visitor.discovering.regions.click_cluster
    visitor.does(click, chosen([256, int(0.78 * 512)]))
    visitor.does(click, chosen([256, 12]))
    assert visitor.chosen_clusters == (mouth, top)
    visitor.does(click, chosen([256, 12]))
    assert visitor.chosen_clusters == (mouth,)
    searched(visitor, where=CLUSTERS)
    region = visitor.found[0].region
    assert visitor.found[0].parts == ("region",)
    inside = labels_in(editor, visitor.face.session, region) == 0
    assert inside[int(0.78 * side), side // 2]
    assert not (inside & (labels != mouth)).any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"where": PAINTED}, "Nothing is painted yet"),
        ({"where": PAINTED, "mask": mask_of(0, 0, 128, 128)}, "the whole picture, was painted"),
        ({"where": PAINTED, "mask": "data:image/png;base64,AAAA"}, "painted mask cannot be read"),
        ({"where": PAINTED, "mask": "x"}, "painted mask cannot be read"),
        ({"where": PAINTED, "mask": CHIN, "region_name": "mouth"}, "a part named 'mouth' already"),
        ({"where": CLUSTERS}, "Nothing is chosen yet"),
    ],
)
def test_what_is_no_region_is_refused_and_nothing_is_lost(visitor, values, message):
    visitor.does(visitor.discovering.regions.choose_where, where=PAINTED)
    steps = visitor.steps(visitor.discovering.discover, parts=[], steps=2, search_seed=1, **values)
    seen: list[dict] = []
    with pytest.raises(UserError, match=message):
        seen.extend(steps)
    assert seen[-1]["start_search"]["interactive"]
    assert visitor.found == ()


def test_a_face_of_another_model_and_too_many_faces_are_refused(visitor):
    from dataclasses import replace

    regions = visitor.discovering.regions
    visitor.does(regions.choose_where, where=PAINTED)
    (painting,) = visitor.paintings
    visitor.values["paintings"] = (replace(painting, session=replace(painting.session, generator="other")),)
    with pytest.raises(UserError, match="painted on a face of another model"):
        searched(visitor, where=PAINTED, mask=CHIN)
    done = replace(painting, mask=np.ones((4, 4), bool))
    with pytest.raises(UserError, match=f"{MOST_FACES} faces are enough"):
        visitor.does(regions.paint_another, mask="", paintings=(*[done] * MOST_FACES, painting))
