"""Words for the ends of sliders, on a generator whose channels do what their names say, and on a real face."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lelsd_core.directions import NO_WORDS, Direction
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.evaluation.heldout import held_out
from lelsd_core.evaluation.naming import WORDS, name_ends
from lelsd_core.generators import Layer, State, Step
from lelsd_core.segmenters import Parts, Segmenter
from tests.toy import Painter

SIDE = 32
CHANNELS = {  # number of a code's column -> what the low and the high end do
    0: ("darker", "brighter"),
    1: ("greener", "redder"),
    2: ("yellower", "bluer"),
    3: ("paler", "more colourful"),
    4: ("smaller", "larger"),
    5: NO_WORDS,  # texture
}


class Blob(Painter):
    """A disc, half red, whose light, colours and size are the columns of a code, on a black ground."""

    def __init__(self) -> None:
        super().__init__()
        self.resolution, self.layers = SIDE, {"32.paint": Layer("32.paint", 3, SIDE)}
        self.steps = (Step(self.layers["32.paint"], (0,), lambda _, slots: State(self.paint(slots[0]))),)

    def paint(self, codes):
        light, red, blue, colour, size, texture = 0.05 * codes.T[..., None, None]
        place = torch.arange(SIDE) - (SIDE - 1) / 2
        disc = (place.square() + place[:, None].square()).sqrt() < 9 * (1 + size)
        halves = torch.tensor([0.1, -0.05, -0.05])[:, None, None] * place.sign()  # red beside its opposite
        base = halves * (1 + 5 * colour[:, None])
        base = base + 0.1 * texture[:, None] * (-1.0) ** torch.arange(SIDE)
        tint = torch.stack([light + red - blue / 3, light - red / 2 - blue / 3, light + 1.5 * blue], 1)
        return torch.where(disc[:, None], base + tint, torch.tensor(-1.0))


class Disc(Segmenter):
    """The disc and the ground."""

    name, parts = "disc", Parts(("disc", "ground"))

    def segment(self, image, features=None):
        disc = (image > -0.999).any(1)
        return torch.stack([disc, ~disc], 1).float()


def column(number: int, part: str = "disc", reach: float = 4.0) -> Direction:
    return Direction("d", "painter", "a" * 64, "Z", torch.eye(6)[number], (part,), low=-reach, high=reach)


@pytest.fixture(scope="module")
def blobs():
    return held_out(Blob(), Disc(), range(16))


@pytest.mark.parametrize(("number", "words"), CHANNELS.items())
def test_both_ends_are_named_after_what_the_channel_does(blobs, number, words):
    assert name_ends(blobs, column(number)) == words
    turned = replace(column(number), vector=-column(number).vector)
    assert name_ends(blobs, turned) == (words if words == NO_WORDS else words[::-1])


@pytest.mark.parametrize("number", range(6))
def test_what_is_weak_keeps_its_words(blobs, number):
    assert name_ends(blobs, column(number, reach=0.1)) == NO_WORDS
    assert name_ends(blobs, replace(column(number, reach=0.1), ends=("a", "b"))) == ("a", "b")


def test_words_are_used_from_their_least_difference_on(blobs):
    words, least = WORDS[0][:2], WORDS[0][2]
    reach = least / 0.05  # 0.05 in [-1, 1] is half of that from black to white; both ends count
    assert name_ends(blobs, column(0, reach=0.98 * reach)) == NO_WORDS
    assert name_ends(blobs, column(0, reach=1.02 * reach)) == words


def test_a_part_that_no_sample_shows_is_not_named(blobs):
    hidden = SimpleNamespace(parts=Parts(("disc", "ground", "sky")))
    samples = SimpleNamespace(rows=blobs.rows, segmenter=hidden, moved=blobs.moved)
    assert name_ends(samples, column(0, "ground")) == NO_WORDS, "the ground stays black"
    samples.moved = lambda *move: (
        blobs.moved(*move)[0],
        torch.nn.functional.pad(blobs.moved(*move)[1], (0,) * 5 + (1,)),
    )
    assert name_ends(samples, column(0, "sky")) == NO_WORDS


def test_calibration_names_ends_that_have_no_words_and_keeps_those_that_have():
    found = column(0)
    assert calibrate(Blob(), Disc(), found, range(16)).ends == ("darker", "brighter")
    given = replace(found, ends=("night", "day"))
    assert calibrate(Blob(), Disc(), given, range(16)).ends == ("night", "day")


def test_what_moves_in_a_face_is_named_if_it_is_stronger(blobs):
    class Opening:
        """Reads a mouth whose lips are as far apart as the picture is bright."""

        frame = SimpleNamespace(faces=True)

        def mesh(self, pictures):
            points = torch.zeros(len(pictures), 478, 2)
            points[:, 263, 0], points[:, 291, 0] = 100, 60
            points[:, [14, 17], 1] = 100 * (pictures.clamp(-1, 1).amax((1, 2, 3))[:, None] + 1) / 2
            return points

    mouth = SimpleNamespace(parts=Parts(("mouth", "ground")))
    samples = SimpleNamespace(rows=blobs.rows, segmenter=mouth, moved=blobs.moved)
    assert name_ends(samples, column(0, "mouth")) == ("darker", "brighter")
    assert name_ends(samples, column(0, "mouth"), aligner=Opening()) == ("closed", "open")
    assert name_ends(blobs, column(0), aligner=Opening()) == ("darker", "brighter"), "a disc does not open"
