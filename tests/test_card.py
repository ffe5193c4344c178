"""Tables of a gallery's card, on rows whose numbers are known."""

from __future__ import annotations

import math

from lelsd_core.evaluation.card import independence, independence_table, on_photos
from lelsd_core.evaluation.heldout import Row


def row(name: str, about: str, **motion: tuple[float, float]) -> Row:
    """A slider that moves some measures at both ends."""
    ends = {"outside": (0.01, 0.02), "identity": (0.8, 0.7)}
    return Row(name, "mouth", 0.5, 0.02, -1.0, 1.0, 49.0, (0.1, 0.1), motion=motion, about=about, **ends)


SMILE = row("smile", "smile", smile=(-4.0, 6.0), lips=(0.0, 1.0))
LIPS = row("lips", "lips", smile=(1.0, -1.0), lips=(-2.0, 2.0))
GRIN = row("grin", "smile", smile=(-3.0, 3.0), lips=(0.0, 0.0))
OTHER = row("other", "", smile=(9.0, 9.0), lips=(9.0, 9.0))


def test_each_cell_is_a_share_of_what_the_columns_own_slider_moves():
    assert independence([SMILE, OTHER, LIPS]) == [[100.0, 25.0], [-20.0, 100.0]]
    still = row("still", "smile", smile=(0.0, 0.0), lips=(0.0, 0.0))
    assert math.isnan(independence([SMILE, still])[0][1]), "it moves nothing that a share could be of"


def test_sliders_that_do_the_same_are_named():
    assert independence_table([SMILE, LIPS])[-1].endswith("each other's: none.")
    assert independence_table([SMILE, LIPS, GRIN])[-1].endswith("each other's: grin and smile.")


def test_photos_are_compared_with_samples():
    on_photo = row("smile", "smile", smile=(-2.0, 3.0), lips=(0.0, 0.0))
    lines = on_photos([SMILE, OTHER], [on_photo, OTHER])
    assert lines[2:] == ["| smile | smile | -4.0, +6.0 | -2.0, +3.0 | 0.50 | 0.010, 0.020 | 0.80, 0.70 |"]
