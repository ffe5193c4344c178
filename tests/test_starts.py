"""Starts from numbers of pictures, on generators whose pictures are linear in the code, and on digiface-64."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from lelsd_core import seeds
from lelsd_core.discovery import starts
from lelsd_core.discovery.starts import NAMED, Measured, Start, named_start, ridge, scored_start, start_direction
from lelsd_core.errors import UserError
from lelsd_core.faces.measures import MEASURES, measure, see
from lelsd_core.generators import State
from lelsd_core.latents import LatentSpace, Slot
from lelsd_core.localization import resized_mask
from lelsd_core.segmenters import part_mask
from tests.toy import Halves, Painter

SPACE = LatentSpace("W+", (Slot("w0", 6), Slot("w1", 6), Slot("held", 2, movable=False)))
FEW = 128


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*numbers: int, width: int = 14) -> torch.Tensor:
    """The unit vector with equal entries at these columns."""
    return F.normalize(torch.zeros(width).index_fill(0, torch.tensor(numbers), 1.0), dim=0)


def test_the_weight_of_a_linear_score_is_found_with_its_sign():
    codes = normal(200, 14)
    for sign in (1, -1):
        start = start_direction(SPACE, codes, sign * (codes[:, 3] + codes[:, 8]) + 7)
        torch.testing.assert_close(start.vector, sign * unit(3, 8), atol=1e-3, rtol=0)
        assert start.fit > 0.999
        assert start.spread == pytest.approx(1, abs=0.15)


def test_what_stays_does_not_change_along_a_start():
    codes = normal(400, 14)
    pulled = codes[:, 3] + codes[:, 8]  # of two, one stays
    start = start_direction(SPACE, codes, pulled, torch.stack([codes[:, 8], torch.ones(400)], 1))
    torch.testing.assert_close(start.vector, unit(3), atol=1e-2, rtol=0)


def test_a_start_writes_its_slots_only():
    codes = normal(400, 14)
    score = codes[:, [3, 8, 13]].sum(1)
    everywhere, inside = (start_direction(SPACE, codes, score, slots=slots) for slots in ((), ("w1",)))
    torch.testing.assert_close(everywhere.vector, unit(3, 8), atol=0.1, rtol=0)
    assert everywhere.vector[12:].eq(0).all(), "held"
    assert inside.vector[8] > 0.95
    assert inside.vector[:6].eq(0).all()
    with pytest.raises(UserError, match="There is no slot in space W\\+ named 'w9'"):
        start_direction(SPACE, codes, score, slots=("w9",))


def test_layers_that_repeat_a_code_get_the_same_vector():
    w = normal(100, 6)
    codes = torch.cat([w, w, torch.zeros(100, 2)], 1)
    one, other, _ = SPACE.split(start_direction(SPACE, codes, w @ normal(6, seed=1)).vector)
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_samples_with_an_unknown_number_are_left_out():
    codes = normal(200, 14)
    score, stay = codes[:, 3].clone(), codes[:, 8:9].clone()
    score[:50], stay[50:80] = torch.nan, torch.inf
    expected = start_direction(SPACE, codes[80:], score[80:], stay[80:])
    torch.testing.assert_close(start_direction(SPACE, codes, score, stay).vector, expected.vector)


def test_the_fit_is_that_of_predicting_each_sample_from_all_others(monkeypatch):
    x, y = normal(40, 5).double(), normal(40, 2, seed=1).double()
    y[:, 0] += x[:, 2]
    x, y, errors = x - x.mean(0), y - y.mean(0), []
    monkeypatch.setattr(starts, "RIDGES", (0.03,))
    weights, fit = ridge(x, y)
    strength = 0.03 * x.square().sum()
    for left_out in range(40):
        rest = [i for i in range(40) if i != left_out]
        middle, mean = x[rest].mean(0), y[rest, 0].mean()
        others = x[rest] - middle
        weight = torch.linalg.solve(others.T @ others + strength * torch.eye(5), others.T @ (y[rest, 0] - mean))
        errors.append(float(y[left_out, 0] - mean - (x[left_out] - middle) @ weight))
    assert fit == pytest.approx(1 - sum(e * e for e in errors) / float(y[:, 0].square().sum()), abs=1e-6)
    torch.testing.assert_close(weights, torch.linalg.solve(x.T @ x + strength * torch.eye(5), x.T @ y).T)


CODES, UNREAD = normal(64, 14), "cannot be read from codes of W\\+"
REFUSED = {  # what is wrong -> codes, scores, what stays, and the message
    "few": (CODES[:20], CODES[:20, 0], None, "seen in 20 of 20 samples; it takes 32"),
    "unknown": (CODES, torch.full((64,), torch.nan), None, "seen in 0 of 64 samples"),
    "constant": (CODES, torch.ones(64), None, "'smile' is the same on all samples"),
    "kept": (CODES, CODES[:, 0], CODES[:, :1], "changes only together with what shall stay"),
    "unrelated": (CODES[:32].repeat(2, 1), torch.tensor([-1.0, 1.0]).repeat_interleave(32), None, UNREAD),
    "still": (torch.ones(64, 14), CODES[:, 0], None, "Samples do not vary in these slots of W\\+"),
}


@pytest.mark.parametrize(("codes", "scores", "stay", "message"), REFUSED.values(), ids=REFUSED)
def test_what_gives_no_start_is_refused_in_one_sentence(codes, scores, stay, message):
    with pytest.raises(UserError, match=message):
        start_direction(SPACE, codes, scores, stay, name="smile")


def test_any_score_of_pictures_finds_its_factor():
    painter = Painter()

    def of_pattern(number: int):
        return lambda pictures: (pictures * painter.patterns[number]).sum((1, 2, 3))

    start = scored_start(painter, of_pattern(1), "Z", stay=[of_pattern(0)], count=FEW)
    moved = [painter.synthesize(amount * start.vector[None], "Z").image for amount in (-1.0, 1.0)]
    rises = [float(of_pattern(number)(moved[1]) - of_pattern(number)(moved[0])) for number in (1, 0)]
    assert rises[0] > 0
    assert abs(rises[1]) < 0.05 * rises[0]
    assert start.ends == ("less", "more")


def aligner(faces: bool = True, points: torch.Tensor | None = None) -> SimpleNamespace:
    """An aligner that sees the same points, or no face, in each picture."""
    nothing = torch.full((478, 2), torch.nan)
    mesh = lambda pictures: (nothing if points is None else points).expand(len(pictures), -1, -1)  # noqa: E731
    return SimpleNamespace(frame=SimpleNamespace(faces=faces), mesh=mesh)


class Mouths(Halves):
    """The left half is the mouth, the right one the background."""

    parts = type(Halves.parts)(("mouth", "background"))


def test_names_and_networks_that_give_no_start_are_refused():
    with pytest.raises(UserError, match="There is no start named 'smlie'; did you mean smile"):
        named_start(Painter(), Mouths(), aligner(), "smlie", "Z")
    with pytest.raises(UserError, match="measured on faces, which painter does not make"):
        named_start(Painter(), Mouths(), aligner(faces=False), "smile", "Z")
    with pytest.raises(UserError, match="needs a segmenter that marks hair; this one marks mouth, background"):
        named_start(Painter(), Mouths(), aligner(), "fringe", "Z")
    with pytest.raises(UserError, match="There is no latent space named 'W'"):
        named_start(Painter(), Mouths(), aligner(), "smile", "W")
    with pytest.raises(UserError, match="are seen in 0 of 64 samples"):
        named_start(Painter(), Mouths(), aligner(), "smile", "Z", count=64)
    with pytest.raises(UserError, match="'smile' is the same on all samples"):
        named_start(Painter(), Mouths(), aligner(points=normal(478, 2)), "smile", "Z", count=64)


def test_all_names_are_measures_with_parts_and_keep_measures():
    for name, stay in NAMED.items():
        assert MEASURES[name].parts
        assert {*stay} <= {*MEASURES} - {name}


@pytest.fixture(scope="module")
def opening(editor) -> Start:
    return named_start(editor.generator, editor.segmenter, editor.aligner, "mouth-open", "Z", count=256)


def test_the_samples_of_a_start_serve_the_next(editor, opening, monkeypatch):
    monkeypatch.setattr(starts, "measure_samples", None)
    smile = named_start(editor.generator, editor.segmenter, editor.aligner, "smile", "Z", count=256)
    assert (smile.ends, smile.parts) == (("pouting", "smiling"), ("mouth",))
    assert abs(float(smile.vector @ opening.vector)) < 0.9
    with pytest.raises(UserError, match="Samples do not vary in these slots of S; start in another space"):
        named_start(editor.generator, editor.segmenter, editor.aligner, "smile", "S", count=256)


def test_let_in_around_the_mouth_a_start_opens_it(editor, opening):
    generator, segmenter = editor.generator, editor.segmenter
    assert opening.fit > 0.3
    assert opening.ends == ("closed", "open")
    z, finest, layer = generator.sample(seeds.CARDS[:16]), generator.space_names[-1], "16.conv"
    before = generator.synthesize(generator.lift(z, "Z", finest), finest, keep=(layer,))
    mask = part_mask(segmenter.segment(before.image), segmenter.parts, "mouth")
    mask = resized_mask(F.max_pool2d(mask, 11, 1, 5), (16, 16))

    def aperture(pictures: torch.Tensor) -> float:
        seen = see(editor.aligner, pictures, segmenter.segment(pictures), segmenter.parts)
        return float(measure(seen, ("mouth-open",)).nanmean())

    apertures = [aperture(before.image)]
    for amount in (-3.0, 3.0):
        there = generator.synthesize(z + amount * opening.vector, "Z", keep=(layer,), image=False).states[layer].x
        x = before.states[layer].x + mask * (there - before.states[layer].x)
        moved = generator.synthesize(z, "Z", resume=(layer, State(x)))
        apertures.append(aperture(moved.image))
    still, closed, opened = apertures
    assert closed < still - 0.04
    assert opened > still + 0.1


def test_measured_samples_without_a_number_are_refused(editor, tmp_path):
    measured = Measured.load(editor.measured, editor.generator)
    older = replace(measured, numbers={name: values for name, values in measured.numbers.items() if name != "glasses"})
    older.save(tmp_path / "older.safetensors", editor.generator.fingerprint)
    with pytest.raises(UserError, match=r"older.safetensors is not a whole file .*: there is no glasses"):
        Measured.load(tmp_path / "older.safetensors", editor.generator)


def test_without_steps_a_search_gives_its_starts(editor):
    config = replace(editor.config_for(("mouth",), "shape"), steps=0, start=("mouth-open",))
    progress, session = list(editor.discover(editor.random_face(0), config))[-1]
    direction = session.directions[-1]
    measured = Measured.load(editor.measured, editor.generator)
    start = named_start(editor.generator, editor.segmenter, editor.aligner, "mouth-open", "Z", measured=measured)
    assert (progress.step, progress.total) == (0, 0)
    torch.testing.assert_close(direction.vector, start.vector)
    assert direction.facts["about"] == "mouth-open"
    with pytest.raises(UserError, match="steps is 0, which leaves directions as they start; name a start for each"):
        list(editor.discover(editor.random_face(0), replace(config, start=())))
