"""Options of a discovery: differences, masks, norms, given directions, micro-batches, views, patience, segmenters."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lelsd_core.__main__ import main
from lelsd_core.directions import Direction
from lelsd_core.discovery.config import CHOICES, DiscoverConfig
from lelsd_core.discovery.samples import LatestSamples, Samples
from lelsd_core.discovery.search import SCHEDULES, UnitSphere, discover, draw_amounts
from lelsd_core.errors import UserError
from lelsd_core.generators import Layer, State, Step
from lelsd_core.latents import LatentSpace, Slot
from lelsd_core.localization import COMBINE, DIFFERENCES
from lelsd_core.segmenters import FeatureSegmenter, Parts, region
from lelsd_core.segmenters.bisenet import FaceSegmenter
from lelsd_core.segmenters.features import Embedding
from tests import official
from tests.bench.generators import random_stylegan2
from tests.data.golden import golden
from tests.toy import QUICK, Blind, Halves, Painter, PictureHalves, inside, last_of

GIVEN = Direction("known", "painter", "a" * 64, "Z", Painter().factors(0)[0], ("left",))


class Pair(Painter):
    """A painter with a code of two slots, three factors each, a layer for each, and a running RGB."""

    def __init__(self) -> None:
        super().__init__()
        self.turn.copy_(torch.eye(6)[[0, 2, 4, 1, 3, 5]])  # a slot holds one left, one right and one whole factor
        self.spaces = (LatentSpace("W+", (Slot("w0", 3), Slot("w1", 3))),)
        self.layers = {name: Layer(name, 3, 8) for name in ("8.first", "8.second")}
        self.steps = tuple(
            Step(layer, (i,), lambda state, slots, i=i: self.add(state, slots[0], i))
            for i, layer in enumerate(self.layers.values())
        )
        self.painted: list[str] = []

    def add(self, state: State | None, code: Tensor, i: int) -> State:
        """Paint one slot over what is there."""
        whole = torch.nn.functional.pad(code, (3 * i, 3 - 3 * i))
        painted = self.paint(whole)
        self.painted.append("graph" if painted.requires_grad else "plain")
        return State(painted, painted if state is None else state.rgb + painted)

    def finish(self, state: State) -> Tensor:
        self.painted.append("picture")
        return state.rgb


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_every_difference_finds_the_true_direction(difference):
    steps = {"cosine": 500}.get(difference, 250)
    last = last_of(replace(QUICK, difference=difference, steps=steps, most=2.0))
    assert inside(last.directions[0].vector, 0, 1) > 0.95


@pytest.mark.parametrize("change", [{"masks": m} for m in COMBINE] + [{"edges": "soft"}, {"schedule": "halving"}])
def test_every_way_to_combine_masks_finds_it(change):
    assert inside(last_of(replace(QUICK, **change)).directions[0].vector, 0, 1) > 0.95


def test_the_background_is_all_the_rest():
    assert inside(last_of(replace(QUICK, region="background")).directions[0].vector, 2, 3) > 0.95


def test_the_choices_are_the_keys_of_the_tables():
    assert CHOICES["difference"] == tuple(DIFFERENCES)
    assert CHOICES["masks"] == tuple(COMBINE)
    assert CHOICES["schedule"] == tuple(SCHEDULES)


def test_new_directions_stay_at_right_angles_to_given_ones():
    found = last_of(QUICK, against=[GIVEN]).directions[0].vector
    assert abs(float(found @ GIVEN.vector)) < 1e-5
    assert inside(found, 1) > 0.95, "the other true direction is left"
    both = [GIVEN, replace(GIVEN, vector=Painter().factors(1)[0])]
    assert last_of(replace(QUICK, steps=100), against=both).score < 0.8, "nothing truly local is left"


def test_slot_norm_gives_every_slot_length_one_and_keeps_directions_apart_within_each():
    config = replace(QUICK, norm="slot", count=2, steps=150, apart=2.0)
    first, second = (d.vector.view(2, 3) for d in last_of(config, Pair()).directions)
    torch.testing.assert_close(torch.stack([first.norm(dim=1), second.norm(dim=1)]), torch.ones(2, 2))
    assert (first * second).sum(1).abs().max() < 0.1
    whole = last_of(replace(config, norm="whole", steps=5), Pair()).directions[0].vector
    assert float(whole.norm()) == pytest.approx(1, abs=1e-5)
    only = last_of(replace(config, slots=("w1",), steps=5), Pair()).directions[0].vector
    assert only[:3].abs().max() == 0
    assert float(only.norm()) == pytest.approx(1, abs=1e-5)


def test_r_by_slot_sees_what_the_whole_does_not():
    space = Pair().spaces[0]
    units = torch.tensor([[1.0, 0, 0, 1, 0, 0], [1.0, 0, 0, -1, 0, 0]])
    values = {}
    for norm in CHOICES["norm"]:
        sphere = UnitSphere(space, replace(QUICK, norm=norm), torch.zeros(0, 6))
        values[norm] = float(sphere.correlation(sphere.project(units)))
    assert values["whole"] == pytest.approx(0, abs=1e-6)
    assert values["slot"] == pytest.approx(-0.5 * 2**0.5)


def test_directions_to_avoid_that_are_equal_or_empty_count_once_or_not_at_all():
    space = Pair().spaces[0]
    for existing, norm, count in (
        (torch.ones(3, 6), "whole", 1),
        (torch.zeros(2, 6), "whole", 0),
        (torch.zeros(0, 6), "slot", 0),
        (torch.ones(1, 6), "slot", 2),
    ):
        assert UnitSphere(space, replace(QUICK, norm=norm), existing).existing.shape == (count, 6)


def test_micro_batches_change_nothing_but_memory():
    whole, small = (last_of(replace(QUICK, steps=30, micro=micro)).directions[0].vector for micro in (0, 3))
    torch.testing.assert_close(whole, small, atol=1e-5, rtol=0)


def test_a_step_that_memory_is_too_short_for_is_made_in_smaller_batches(monkeypatch):
    sizes, render = [], Samples.render

    def short_of_memory(samples: Samples, codes: Tensor):
        if torch.is_grad_enabled():
            sizes.append(len(codes))
            if len(codes) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 12 GiB.")
        return render(samples, codes)

    expected = last_of(replace(QUICK, steps=2)).directions[0].vector
    monkeypatch.setattr(Samples, "render", short_of_memory)
    found = last_of(replace(QUICK, steps=2)).directions[0].vector
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert sizes == [4, 2, 1, 1, 1, 1, 1, 1, 1, 1], "smaller for the rest of the search"


def test_other_errors_are_not_taken_for_short_memory(monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Painter, "synthesize", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        last_of(QUICK)


def test_the_untouched_samples_are_rendered_once_for_all_directions_and_discoveries():
    painter, halves = Painter(), Halves()
    config = replace(QUICK, steps=8, count=2, samples=16).check(painter, halves)
    samples, made = Samples(painter, halves, config), []
    painter.sample, sample = lambda seeds: made.append(seeds) or sample(seeds), painter.sample
    last_of(config, painter, halves, samples=samples)
    last_of(replace(config, parts=("right",)), painter, halves, samples=samples)
    assert made == [range(f, f + 4) for f in range(1_000_000, 1_000_016, 4)]
    assert not samples.fits(painter, halves, replace(config, batch=2))


def test_the_samples_of_the_latest_discovery_are_used_again_where_they_fit():
    painter, halves, latest = Painter(), Halves(), LatestSamples()
    config = replace(QUICK, steps=8, samples=16).check(painter, halves)
    first = latest.fitting(painter, halves, config)
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(first.batch, [0] * 32))
    assert len({id(batch) for batch in batches}) == 1, "made once, whoever asks"
    other = replace(config, parts=("right",), seed=3, steps=5)
    assert latest.fitting(painter, halves, other) is first
    assert latest.fitting(painter, Halves(), config) is not first
    shared = last_of(other, painter, halves, samples=first).directions[0].vector
    assert torch.equal(shared, last_of(other, painter, halves).directions[0].vector)


def test_samples_that_memory_cannot_hold_are_made_again(monkeypatch):
    cached = last_of(replace(QUICK, steps=40)).directions[0].vector
    monkeypatch.setattr("lelsd_core.discovery.samples.MOST_CACHED", 0)
    assert torch.equal(last_of(replace(QUICK, steps=40)).directions[0].vector, cached)


def test_nothing_is_rendered_that_no_one_looks_at():
    pair, halves = Pair(), Halves()
    config = replace(QUICK, layers=("8.first",)).check(pair, halves)
    codes = torch.zeros(2, 6, requires_grad=True)
    made = Samples(pair, halves, config).render(codes)
    assert pair.painted == ["graph", "plain", "picture"], "the segmenter's picture needs no graph"
    assert made.maps[0].requires_grad
    pair.painted.clear()
    halves.needs_picture, halves.segment = False, lambda image, features: torch.ones(2, 2, 8, 8)
    Samples(pair, halves, config).render(codes)
    assert pair.painted == ["graph"], "no picture, and no layer above the scored one"


def test_a_search_can_look_at_the_running_rgb_of_a_lower_layer():
    pair = Pair()
    found = last_of(replace(QUICK, view="8.first", slots=("w0",)), pair).directions[0].vector
    assert abs(float(found[0])) > 0.95, "the left factor of the first slot"
    assert "picture" not in pair.painted
    with pytest.raises(UserError, match=r"8.paint has no running RGB"):
        last_of(replace(QUICK, view="8.paint"))


def test_weights_choose_among_maps():
    pair = Pair()
    config = replace(QUICK, layers=("8.first", "8.second"), weights=(0.0, 1.0), norm="slot", least=1.0)
    found = last_of(config, pair).directions[0].vector.view(2, 3)
    assert abs(float(found[1, 0])) > 0.95, "only the second map's slot is led to the left"


def test_samples_without_part_or_change_are_left_out_and_counted():
    blind = last_of(replace(QUICK, steps=5), segmenter=Blind())
    assert (blind.seen, blind.left_out, blind.score) == (20, 20, 0)
    still = Painter()
    still.patterns.zero_()
    last = last_of(replace(QUICK, steps=5), still)
    assert (last.left_out, last.score) == (20, 0)
    assert last.directions[0].vector.isfinite().all()
    assert last_of(replace(QUICK, steps=5)).left_out == 0


def test_patience_stops_at_the_plateau_with_the_best_directions():
    progress = list(discover(Painter(), Halves(), replace(QUICK, steps=1000, patience=2, look=20)))
    assert progress[-1].step < 500
    assert progress[-1].held_out > 0.95
    assert progress[-1].total == 1000
    assert inside(progress[-1].directions[0].vector, 0, 1) > 0.95


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"count": 7}, "count is 7.* 6 "),
        ({"difference": "l3"}, "difference .*'l3'.* l2"),
        ({"region": "back"}, "region .*'back'"),
        ({"weights": (1.0, 2.0)}, "weights are .* 1 "),
        ({"weights": (-1.0,)}, "weights .*below 0"),
        ({"view": "8.pain"}, "layer .*'8.pain'.* 8.paint"),
        ({"micro": -1}, "micro is -1"),
        ({"look": 0}, "look is 0"),
    ],
)
def test_bad_options_are_refused(change, named):
    with pytest.raises(UserError, match=named):
        last_of(replace(QUICK, **change))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (replace(GIVEN, fingerprint="b" * 64), "was made for the generator 'painter'"),
        (replace(GIVEN, vector=torch.zeros(3)), "has 3 numbers"),
    ],
)
def test_given_directions_of_another_generator_are_refused(given, words):
    with pytest.raises(UserError, match=words):
        last_of(QUICK, against=[given])


def test_more_directions_than_there_is_room_beside_given_ones_are_refused():
    with pytest.raises(UserError, match="count is 6 beside 1 given"):
        last_of(replace(QUICK, count=6), against=[GIVEN])


def test_a_part_that_never_occurs_in_64_samples_is_refused():
    with pytest.raises(UserError, match=r"64 samples of painter .*left"):
        last_of(QUICK, segmenter=Blind())


class Grouped(Halves):
    """Halves, and a name for both."""

    parts = Parts(("left", "right"), {"everything": ("left", "right")})


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        (("everythin",), "part .*'everythin'.* everything"),
        (("xyz",), "'xyz'.* everything, left, right"),
        ((), "everything, left, right"),
    ],
)
def test_groups_are_offered_beside_parts(parts: tuple[str, ...], named: str) -> None:
    with pytest.raises(UserError, match=named):
        DiscoverConfig(parts=parts).check(Painter(), Grouped())
    assert DiscoverConfig(parts=("everything",)).check(Painter(), Grouped()).parts == ("everything",)


def test_a_segmenter_of_another_generators_features_is_refused_before_anything_is_rendered() -> None:
    reader = FeatureSegmenter(
        Embedding({"8.paint": 3}, torch.ones(3), 8), torch.zeros(2, 5), torch.zeros(2), ("a", "b"), ("cars", "c"), "x"
    )
    for segmenter in (reader, region(reader, "a") | region(Halves(), "left")):
        with pytest.raises(UserError, match="reads the features of 'cars', not of 'painter'"):
            DiscoverConfig(parts=(segmenter.parts[0],)).check(Painter(), segmenter)
    reader.made_for = ("painter", Painter().fingerprint)
    assert DiscoverConfig(parts=("a",)).check(Painter(), reader).space == "Z"


def test_the_command_takes_a_network_and_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("lelsd_core.seeds.HELD_OUT", range(500_000, 500_002))
    monkeypatch.setattr(FaceSegmenter, "size", 128)
    weights, out = tmp_path / "79999_iter.pth", tmp_path / "d.safetensors"
    torch.save(golden.state_dict(official.GOLDEN / "bisenet128.json"), weights)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    start = ["discover", str(out), "--segmenter", "bisenet", "--steps", "1", "--batch", "1", "--parts", "head"]
    assert main(start) == 1
    assert "bisenet could not be fetched" in capsys.readouterr().err
    assert main([*start, "--segmenter-weights", str(tmp_path / "no.pth")]) == 1
    assert "no.pth" in capsys.readouterr().err
    assert main([*start, "--segmenter-weights", str(weights)]) == 0
    found = Direction.load(out)
    assert (found.facts["segmenter"], found.parts) == ("bisenet", ("head",))


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ("all", ("4.conv1", "8.conv0", "8.conv1")),
        ("coarse", ("4.conv1",)),
        (("fine", "middle"), ("8.conv1", "8.conv0")),
        (("8.conv0", "all"), ("8.conv0", "4.conv1", "8.conv1")),
        ((), ()),
    ],
)
def test_layers_are_named_one_by_one_or_in_groups(layers, found) -> None:
    generator = random_stylegan2(8)
    assert DiscoverConfig(parts="left", layers=layers).check(generator, PictureHalves()).layers == found
    weights = (1.0,) * (len(found) + 1 or 2) if found else (1.0, 1.0)
    with pytest.raises(UserError, match=f"{len(found) or 1} must be given"):
        DiscoverConfig(parts="left", layers=layers, weights=weights).check(generator, PictureHalves())


def test_unknown_and_empty_groups_of_layers_are_refused() -> None:
    with pytest.raises(UserError, match="layer named 'corse'; did you mean coarse"):
        DiscoverConfig(parts="left", layers="corse").check(Painter(), Halves())
    with pytest.raises(UserError, match=r"painter has no coarse layers, only 8.paint"):
        DiscoverConfig(parts="left", layers="coarse").check(Painter(), Halves())


def test_maps_below_the_slots_that_move_do_not_void_the_samples() -> None:
    config = replace(QUICK, layers=("8.first", "8.second"), slots=("w1",))
    last = last_of(config, Pair())
    assert last.left_out == 0
    assert abs(float(last.directions[0].vector[3])) > 0.95, "the left factor of the second slot"


def test_truncated_samples_lie_closer_together_and_so_do_the_fitted_amounts() -> None:
    generator = random_stylegan2(8)
    whole, half = (DiscoverConfig(parts="left", space="W+", truncation=psi) for psi in (None, 0.5))
    checked = [config.check(generator, PictureHalves()) for config in (whole, half)]
    assert checked[1].most == pytest.approx(checked[0].most / 2)
    codes = [Samples(generator, PictureHalves(), config).batch(0).codes for config in checked]
    mean = generator.mean.repeat(3 + 1)
    torch.testing.assert_close(codes[1], mean + 0.5 * (codes[0] - mean))
    assert not Samples(generator, PictureHalves(), checked[0]).fits(generator, PictureHalves(), checked[1])


def test_one_amount_is_drawn_for_a_batch_or_for_each_sample() -> None:
    random = torch.Generator().manual_seed(0)
    for draw, different in (("sample", 4), ("batch", 1)):
        amounts = draw_amounts(replace(QUICK, draw=draw), random)
        assert amounts.shape == (4, 1)
        assert len(amounts.unique()) == different


def test_amounts_from_zero_on_are_uniform_over_both_sides() -> None:
    config = replace(QUICK, least=0.0, most=2.0, batch=4000).check(Painter(), Halves())
    amounts = draw_amounts(config, torch.Generator().manual_seed(0))[:, 0]
    counts = torch.histc(amounts, 8, -2.0, 2.0)
    assert counts.sum() == 4000
    assert counts.min() > 400
    assert inside(last_of(replace(QUICK, least=0.0)).directions[0].vector, 0, 1) > 0.95


def test_free_directions_start_at_length_one_in_each_slot_and_then_grow() -> None:
    config = replace(QUICK, norm="free", lr=1e-6, steps=1)
    first = last_of(config, Pair()).directions[0]
    lengths = (first.facts["amounts"][1] / config.most * first.vector).view(2, 3).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(2), atol=1e-4, rtol=0)
    last = last_of(replace(config, lr=0.05, steps=200), Pair()).directions[0]
    length = last.facts["amounts"][1] / config.most
    assert abs(length - 2**0.5) > 0.2, "neither kept at 1 nor at the start's"
    assert float(last.vector.norm()) == pytest.approx(1, abs=1e-6), "the length went into the amounts"
    assert last.facts["amounts"][0] == pytest.approx(config.least * length)
    assert (last.low, last.high) == (-last.facts["amounts"][1], last.facts["amounts"][1])
    assert abs(float(last.vector[0])) + abs(float(last.vector[3])) > 1, "the left factors of both slots"


def test_free_directions_keep_clear_of_given_ones_and_of_each_other() -> None:
    found = last_of(replace(QUICK, norm="free"), against=[GIVEN]).directions[0].vector
    assert abs(float(found @ GIVEN.vector)) < 1e-5
    first, second = (d.vector for d in last_of(replace(QUICK, norm="free", count=2, apart=2.0)).directions)
    assert abs(float(first @ second)) < 0.1
    sphere = UnitSphere(Painter().spaces[0], replace(QUICK, norm="free"), torch.zeros(0, 6))
    assert float(sphere.correlation(3 * torch.eye(1, 6).repeat(2, 1))) == pytest.approx(-0.5 * 2**0.5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"draw": "step"}, "way to draw amounts named 'step'"),
        ({"least": 0.0, "most": 0.0}, "amounts run from 0.0 to 0.0"),
        ({"least": -1.0}, "amounts run from -1.0"),
        ({"beta2": 1.0}, "beta2 is 1.0; it must be at least 0 and below 1"),
        ({"truncation": 0.5}, "painter has no truncation"),
    ],
)
def test_bad_settings_of_samples_and_amounts_are_refused(change, named) -> None:
    with pytest.raises(UserError, match=named):
        last_of(replace(QUICK, **change))


@pytest.mark.parametrize("psi", [-0.1, 1.1, float("nan")])
def test_a_truncation_beyond_zero_to_one_is_refused(psi) -> None:
    with pytest.raises(UserError, match=r"truncation is .*; it must be from 0 to 1"):
        DiscoverConfig(parts="left", truncation=psi).check(random_stylegan2(8), PictureHalves())
