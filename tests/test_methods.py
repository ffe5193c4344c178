"""Methods: each finds what a toy generator is known to hold; checks and errors; every architecture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lelsd_core import UserError
from lelsd_core.directions import Direction
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.generators import Generator
from lelsd_core.methods import NAMES, candidates, ganspace, random, sefa
from lelsd_core.methods.base import METHODS, Wanted, find_directions
from tests.test_generators_contract import FILES, load
from tests.toy import Blind, Halves, Painter, PictureHalves, inside

LEFT = Wanted(parts=("left",))
PARTLESS = ("ganspace", "sefa", "random")  # methods that find candidates


@pytest.fixture
def few_candidates(monkeypatch) -> None:
    """Two candidates of each kind, compared on four samples, for networks whose answer is not known."""
    monkeypatch.setattr(ganspace, "COMPONENTS", 2)
    monkeypatch.setattr(ganspace, "SAMPLES", 32)
    monkeypatch.setattr(sefa, "VECTORS", 2)
    monkeypatch.setattr(random, "CANDIDATES", 2)
    monkeypatch.setattr(candidates, "MOST_SAMPLES", 4)


@pytest.fixture(scope="module", params=FILES)
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return load(request.param, tmp_path_factory.mktemp(request.param))


class Tilted(Painter):
    """A painter whose samples differ most in one factor of the left half, then in one of the right half."""

    spread = torch.tensor([9.0, 0.1, 3.0, 0.1, 0.1, 0.1])

    def sample(self, seeds) -> Tensor:
        return super().sample(seeds) * self.spread @ self.turn.T


def only(method: str, generator: Generator, wanted: Wanted = LEFT, segmenter=None, **more) -> Direction:
    (found,) = find_directions(method, generator, segmenter or Halves(), wanted, **more)
    return found


def test_the_names_of_the_command_line_are_those_of_the_table():
    assert tuple(METHODS) == NAMES
    assert all(name == method.name and method.title and method.source for name, method in METHODS.items())


def test_lelsd_finds_the_factors_of_the_part():
    assert inside(only("lelsd", Painter(), replace(LEFT, steps=100)).vector, 0, 1) > 0.98


def test_lelsd_as_published_searches_with_the_papers_settings():
    facts = only("lelsd-paper", Painter(), replace(LEFT, steps=4)).facts
    settings = {name: facts[name] for name in ("lr", "batch", "norm", "layers", "steps")}
    assert settings == {"lr": 0.001, "batch": 4, "norm": "free", "layers": ("8.paint",), "steps": 4}


def test_a_local_move_says_where_it_is_let_in():
    found = only("lelsd-local", Painter(), replace(LEFT, steps=4, samples=16))
    assert found.local.layer == "8.paint"
    assert found.local.around == ("left",)
    assert found.facts["steps"] == 4


def test_ganspace_takes_the_principal_component_that_is_of_the_part():
    for part, factor in (("left", 0), ("right", 2)):
        found = only("ganspace", Tilted(), Wanted(part))
        assert inside(found.vector, factor) > 0.99, part
        assert found.facts["training_score"] > 0.95


def test_ganspace_orders_components_by_their_variance():
    vectors, count = ganspace.components(Tilted(), "Z", samples=256)
    assert count == 256
    assert [inside(vector / vector.norm(), factor) > 0.99 for vector, factor in zip(vectors, (0, 2), strict=False)]


def test_sefa_finds_the_directions_that_the_weights_amplify():
    generator = Painter()
    weights = generator.entry_weights()["8.paint"]
    vectors = sefa.eigenvectors(generator)
    gains = (weights @ vectors.T).norm(dim=0)
    assert torch.allclose(vectors @ vectors.T, torch.eye(6), atol=1e-5)
    assert torch.allclose(gains, torch.linalg.svdvals(weights), atol=1e-4)
    assert only("sefa", generator).facts["training_score"] == pytest.approx(
        max(d.facts["training_score"] for d in find_directions("sefa", generator, Halves(), replace(LEFT, count=6)))
    )


def test_random_is_the_same_for_a_seed_and_better_with_more_candidates():
    few, same, many = (only("random", Painter(), replace(LEFT, samples=n)) for n in (2, 2, 64))
    assert torch.equal(few.vector, same.vector)
    assert not torch.equal(few.vector, only("random", Painter(), replace(LEFT, samples=2, seed=1)).vector)
    assert many.facts["training_score"] > few.facts["training_score"]
    assert many.facts["candidates"] == 64


@pytest.mark.parametrize("method", PARTLESS)
def test_candidates_are_given_with_the_amount_that_changes_pictures_as_wanted(method):
    found = only(method, Painter())
    samples = candidates.samples_for(Painter(), Halves(), ("left",))
    change = samples.effect(found, found.facts["amounts"][1]).change.mean()
    assert change == pytest.approx(candidates.CHANGE, rel=0.2)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_usable_directions_on_every_architecture(generator, method, few_candidates, few_held_out):
    if reason := METHODS[method].refuses(generator):
        assert generator.name in reason
        assert reason.endswith(".")
        with pytest.raises(UserError, match=generator.name):
            find_directions(method, generator, PictureHalves(), LEFT)
        return
    shares: list[float] = []
    wanted = Wanted("left", count=2, steps=2, samples=8 if method == "ganspace" else 2)
    found = find_directions(method, generator, PictureHalves(), wanted, progress=shares.append)
    assert [direction.name for direction in found] == ["left", "left-2"]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    for direction in found:
        direction.check(generator)
        assert direction.vector.norm() == pytest.approx(1, abs=1e-4)
        assert direction.parts == ("left",)
        assert direction.facts["method"] == method
        assert 0 < direction.facts["amounts"][1] < float("inf")


def test_a_group_of_layers_is_a_candidate_where_the_space_enters_it(generator):
    for space in generator.space_names[:-1]:
        groups = candidates.reaches(generator, space)
        assert groups[0] == ()
        layered = generator.lift_vectors(torch.ones(1, generator.space(space).width), space, generator.space_names[-1])
        assert (len(groups) > 1) == (layered is not None and len(generator.entry_weights()) > 1)


def test_a_found_direction_can_be_calibrated_saved_and_read(tmp_path):
    found = calibrate(Painter(), Halves(), only("sefa", Painter()), range(32))
    found.save(tmp_path / "d.safetensors")
    read = Direction.load(tmp_path / "d.safetensors")
    assert read.facts["method"] == "sefa"
    assert read.facts["source"] == "Shen, Zhou, CVPR 2021"
    assert read.low < 0 < read.high


@pytest.mark.parametrize(
    ("method", "wanted", "message"),
    [
        ("lelst", LEFT, "no method named 'lelst'; did you mean lelsd"),
        ("sefa", Wanted("lfet"), "no part named 'lfet'; did you mean left"),
        ("sefa", replace(LEFT, space="S"), "no space for SeFa named 'S'; known: Z"),
        ("random", replace(LEFT, count=7), "count is 7; Random finds at most 6 here, in Z"),
        ("random", replace(LEFT, count=0), "count is 0; it must be at least 1"),
        ("ganspace", replace(LEFT, samples=0), "samples is 0; it must be at least 1"),
        ("lelsd", replace(LEFT, steps=0), "steps is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be_found_is_refused_before_any_rendering(method, wanted, message, monkeypatch):
    monkeypatch.setattr(Painter, "synthesize", lambda *_, **__: pytest.fail("rendered"))
    with pytest.raises(UserError, match=message):
        find_directions(method, Painter(), Halves(), wanted)


@pytest.mark.parametrize("method", PARTLESS)
def test_a_part_that_no_sample_shows_is_told(method):
    with pytest.raises(UserError, match="None of 16 samples of painter shows left"):
        find_directions(method, Painter(), Blind(), LEFT)


def test_candidates_that_change_nothing_are_none():
    class Still(Painter):
        def paint(self, codes: Tensor) -> Tensor:
            return super().paint(0 * codes)

    with pytest.raises(UserError, match="Only 0 of 16 candidates change the pictures of painter enough; 1 were wanted"):
        find_directions("random", Still(), Halves(), LEFT)


def test_sefa_needs_weights_that_a_code_enters_through():
    class Closed(Painter):
        def entry_weights(self) -> dict[str, Tensor]:
            return {}

    with pytest.raises(UserError, match="SeFa needs the weights that a code enters the network through; painter has Z"):
        find_directions("sefa", Closed(), Halves(), LEFT)
