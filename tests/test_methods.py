"""Methods: each finds what a toy generator is known to hold; checks and errors; every architecture."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lelsd_core import UserError
from lelsd_core.__main__ import main
from lelsd_core.directions import Direction
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.generators import Generator
from lelsd_core.methods import NAMES, candidates, ganspace, interfacegan, lowrank, random, sefa, stylespace
from lelsd_core.methods.base import METHODS, Wanted, find_directions
from lelsd_core.methods.probes import probe
from lelsd_core.seeds import TRAINING
from lelsd_core.segmenters import paint, split_by
from tests import planted
from tests.test_generators_contract import FILES, load
from tests.toy import Blind, Halves, Painter, PictureHalves, inside

LEFT = Wanted(parts=("left",))
RANKED = ("stylespace", "ganspace", "sefa", "interfacegan", "lowrank", "ganalyze", "random")  # by their scores


@pytest.fixture
def few_candidates(monkeypatch) -> None:
    """One or two candidates of each kind, compared on two samples at any change: for answers that are not known."""
    smaller = {
        candidates: {"MOST_SAMPLES": 2, "LEAST_SAMPLES": 2, "TRIES": 1, "LEAST": 0.0},
        stylespace: {"CHANNELS": 2},
        ganspace: {"COMPONENTS": 1, "SAMPLES": 32},
        sefa: {"VECTORS": 1},
        interfacegan: {"COLOURS": {"light": interfacegan.COLOURS["light"]}},
        lowrank: {"DIMENSIONS": 4, "SPREAD_SAMPLES": 32, "SHARES": (0.5,), "VECTORS": 1},
        random: {"CANDIDATES": 2},
    }
    for module, values in smaller.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)


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


def test_probes_estimate_the_squared_change_inside_and_outside(monkeypatch):
    generator, shares = Painter(), []
    probes = probe(generator, Halves(), ("left",), "Z", TRAINING[:8], 512, report=shares.append)
    jacobian = (generator.turn @ generator.patterns.flatten(1)).unflatten(1, generator.patterns.shape[1:])  # (6, ...)
    for gradients, columns in ((probes.inside, slice(0, 4)), (probes.outside, slice(4, 8))):
        wanted = jacobian[..., columns].flatten(1)
        wanted = wanted @ wanted.T
        assert torch.allclose(lowrank.gram(gradients).float(), wanted, atol=0.1 * float(wanted.max()))
    assert torch.equal(probes.area, torch.full((8,), 0.5))
    assert shares == [1.0]


def test_stylespace_finds_channels_of_the_half():
    generator = planted.planted()
    for side, channels in zip(planted.SIDES, (("0", "1"), ("2", "3")), strict=True):  # of every slot
        wanted = Wanted(side, count=4, samples=32)
        found = find_directions("stylespace", generator, PictureHalves(), wanted)
        assert all(direction.facts["channel"].endswith(channels) for direction in found)
        assert all(int((direction.vector != 0).sum()) == 1 for direction in found)
        assert all(direction.facts["overlap"] > 0.9 and direction.facts["consistency"] > 0.9 for direction in found)


def test_silent_channels_have_no_overlap():
    generator = planted.planted()
    probes = probe(generator, PictureHalves(), ("left",), "S", TRAINING[:4], 2, report=lambda share: None)
    overlaps, consistency = stylespace.channel_overlaps(probes)
    first = generator.space("S").split(overlaps)[[slot.name for slot in generator.space("S").slots].index("4.conv1")]
    assert overlaps.isfinite().all()
    assert not first[6:10].any(), "channels without a map"
    assert not consistency[overlaps == 0].any()


def test_low_rank_directions_keep_the_rest_still():
    for part, factors in (("left", (0, 1)), ("right", (2, 3))):
        found = only("lowrank", Painter(), Wanted(part))
        assert inside(found.vector, *factors) > 0.99, part


def test_a_null_space_holds_its_share_of_what_changes_the_rest():
    inside_part, outside = (
        torch.diag(torch.tensor([1.0, 3.0, 2.0, 9.0])),
        torch.diag(torch.tensor([0.0, 0.01, 4.0, 6.0])),
    )
    few, all_but_one = (lowrank.local_vectors(inside_part.double(), outside.double(), s) for s in (0.01, 0.45))
    assert few.abs().tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert all_but_one.abs().tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]


def test_the_boundary_is_across_what_the_number_follows():
    codes = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    normal = interfacegan.boundary(codes, codes @ torch.tensor([3.0, 0, -4, 0, 0]))
    assert torch.allclose(normal, torch.tensor([0.6, 0, -0.8, 0, 0]), atol=0.1)
    assert interfacegan.boundary(codes, torch.ones(400)) is None
    few = torch.where(torch.arange(400) < 31, codes[:, 0], torch.nan)
    assert interfacegan.boundary(codes, few) is None


class Brightness:
    """A score of pictures: how much there is of a painter's pattern."""

    def __init__(self, factor: int) -> None:
        self.pattern = Painter().patterns[factor]

    def __call__(self, pictures: Tensor) -> Tensor:
        return (pictures * self.pattern).mean((1, 2, 3))


def test_interfacegan_follows_a_scorer():
    generator, scorer = Painter(), Brightness(0)
    found = only("interfacegan", generator, replace(LEFT, scorer=scorer))
    slope = generator.turn @ torch.stack([scorer(pattern[None])[0] for pattern in generator.patterns])
    assert float(slope @ found.vector / slope.norm()) > 0.95
    assert found.facts["number"] == "score"


def test_conditional_normals_keep_the_other_numbers(monkeypatch):
    kept = []
    monkeypatch.setattr(interfacegan, "best", lambda *args: kept.extend(args[3]) or args[3][:1])
    only("interfacegan", Painter())
    normals = {each.facts["number"]: each.vector for each in kept if "stay" not in each.facts}
    conditional = [each for each in kept if "stay" in each.facts]
    assert {each.facts["number"] for each in conditional} <= normals.keys() == {"light", "red", "blue"}
    assert conditional, "the halves always cover the same area, so that three numbers are left"
    for each in conditional:
        assert all(abs(float(each.vector @ normals[other])) < 1e-5 for other in each.facts["stay"])


def test_interfacegan_uses_the_numbers_of_faces(editor, monkeypatch):
    monkeypatch.setattr(candidates, "MOST_SAMPLES", 4)
    wanted = Wanted("mouth", samples=48, aligner=editor.aligner)
    found = only("interfacegan", editor.generator, wanted, editor.segmenter)
    assert found.facts["number"] in ("mouth-open", "mouth-width", "smile", "lips", "lip-colour")


@pytest.mark.parametrize("factor", [1, 4])
def test_ganalyze_raises_the_score_by_what_is_asked_for(factor):
    generator, scorer = Painter(), Brightness(factor)
    found = only("ganalyze", generator, replace(LEFT, scorer=scorer))
    codes = generator.sample(TRAINING[:400])
    before, after = (
        scorer(generator.synthesize(codes + amount * found.vector, "Z").image)
        for amount in (0.0, found.facts["deviation"])
    )
    assert float((after - before).mean() / before.std()) == pytest.approx(1, rel=0.1)


def test_ganalyze_has_a_direction_for_each_number_of_a_part():
    found = find_directions("ganalyze", Painter(), Halves(), replace(LEFT, count=3, steps=8))
    assert {direction.facts["score"] for direction in found} == {"light", "red", "blue"}


@pytest.mark.parametrize("method", RANKED)
def test_ranked_directions_have_the_amount_that_changes_pictures_as_wanted(method):
    if METHODS[method].refuses(Painter()):
        method = "random"
    found = only(method, Painter())
    samples = candidates.samples_for(Painter(), Halves(), ("left",))
    change = samples.effect(found, found.facts["amounts"][1]).change.mean()
    assert change == pytest.approx(candidates.CHANGE, rel=0.2)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_a_usable_direction_on_every_architecture(generator, method, few_candidates):
    if reason := METHODS[method].refuses(generator):
        assert generator.name in reason
        assert reason.endswith(".")
        with pytest.raises(UserError, match=generator.name):
            find_directions(method, generator, PictureHalves(), LEFT)
        return
    shares: list[float] = []
    wanted = Wanted("left", steps=2, samples={"ganspace": 8, "interfacegan": 32}.get(method, 4))
    found = only(method, generator, wanted, PictureHalves(), progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    found.check(generator)
    assert found.name == "left"
    assert found.vector.norm() == pytest.approx(1, abs=1e-4)
    assert found.parts == ("left",)
    assert found.facts["method"] == method
    assert 0 < found.facts["amounts"][1] < float("inf")


def test_several_directions_have_names_of_their_own():
    found = find_directions("random", Painter(), Halves(), replace(LEFT, count=3))
    assert [direction.name for direction in found] == ["left", "left-2", "left-3"]
    scores = [direction.facts["training_score"] for direction in found]
    assert scores == sorted(scores, reverse=True)


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
        ("ganalyze", replace(LEFT, count=4), "count is 4; GANalyze finds at most 3 here, in Z"),
        ("ganalyze", replace(LEFT, count=2, scorer=Brightness(0)), "count is 2; GANalyze finds at most 1 here, in Z"),
        ("stylespace", LEFT, "StyleSpace needs the channels of a style space S; painter has Z"),
    ],
)
def test_what_cannot_be_found_is_refused_before_any_rendering(method, wanted, message, monkeypatch):
    monkeypatch.setattr(Painter, "synthesize", lambda *_, **__: pytest.fail("rendered"))
    with pytest.raises(UserError, match=message):
        find_directions(method, Painter(), Halves(), wanted)


@pytest.mark.parametrize("method", RANKED)
def test_a_part_that_no_sample_shows_is_told(method):
    generator, none = Painter(), "samples of painter shows left|No number of left is seen|none has it"
    if not METHODS[method].refuses(generator):
        with pytest.raises(UserError, match=none):
            find_directions(method, generator, Blind(), LEFT)


def test_channels_that_are_nowhere_dense_are_none():
    class Whole(PictureHalves):
        def segment(self, image, features=None) -> Tensor:
            left = torch.ones(len(image), 1, *image.shape[-2:])
            return torch.cat([left, 0 * left], 1)

    with pytest.raises(UserError, match="0 channels of planted change left more than the rest; 1 were wanted"):
        find_directions("stylespace", planted.planted(), Whole(), Wanted("left", samples=4))


def test_scores_that_ganalyze_cannot_follow_are_told():
    with pytest.raises(UserError, match="follows the gradient of a score, and this scorer has none"):
        find_directions("ganalyze", Painter(), Halves(), replace(LEFT, scorer=lambda x: x.detach().mean((1, 2, 3))))
    with pytest.raises(UserError, match="The score is the same on all samples"):
        find_directions("ganalyze", Painter(), Halves(), replace(LEFT, scorer=lambda x: 0 * x.mean((1, 2, 3))))


def test_a_score_that_does_not_vary_has_no_boundary():
    with pytest.raises(UserError, match="No number of left is seen in enough of 512 samples and varies"):
        find_directions("interfacegan", Painter(), Halves(), replace(LEFT, scorer=lambda x: 0 * x.mean((1, 2, 3))))


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


def test_the_shell_finds_calibrates_and_saves_by_any_method(tmp_path, capsys, few_candidates, few_held_out):
    out = tmp_path / "channel.safetensors"
    assert main(["discover", str(out), "--parts", "hair", "--method", "stylespace", "--samples", "8", "--json"]) == 0
    printed = capsys.readouterr().out
    assert "StyleSpace: the best of 2, by the localization score on training samples" in printed
    told, direction = json.loads(printed.splitlines()[-1]), Direction.load(out)
    assert (told["method"], told["score"], told["area"]) == ("stylespace", direction.score, direction.area)
    assert (direction.name, direction.facts["method"], direction.facts["samples"]) == ("channel", "stylespace", 8)


@pytest.fixture
def uncalibrated(monkeypatch) -> None:
    """Directions are saved as they are found, with figures that nobody measured."""

    def kept(generator, segmenter, direction, **_) -> Direction:
        return replace(direction, score=0.5, area=0.1, gain=9.0, facts={**direction.facts, "interval": (0.4, 0.6)})

    monkeypatch.setattr("lelsd_core.evaluation.calibration.calibrate", kept)


@pytest.mark.parametrize(("method", "kind"), [("lelsd-local", "shape"), ("lelsd-paper", "look")])
def test_the_shell_knows_lelsds_presets_as_methods(tmp_path, uncalibrated, method, kind):
    out = tmp_path / "mouth.safetensors"
    assert main(["discover", str(out), "--parts", "mouth", "--method", method, "--steps", "2"]) == 0
    direction = Direction.load(out)
    assert (direction.kind, direction.facts["lr"]) == (kind, 0.03 if kind == "shape" else 0.001)


def test_the_shell_finds_by_any_method_in_a_region_of_ones_own(tmp_path, editor, few_candidates, uncalibrated):
    mask = torch.zeros(64, 64)
    mask[46:60, 16:34] = 1
    paint(editor.generator, editor.generator.sample([45]), "Z", mask, "chin").save(tmp_path / "chin.safetensors")
    out = tmp_path / "out.safetensors"
    assert main(["discover", str(out), "--method", "sefa", "--own", str(tmp_path / "chin.safetensors")]) == 0
    found = Direction.load(out)
    assert found.parts == ("chin",)
    assert found.region.parts[0] == "chin"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "stylspace"], "no method named 'stylspace'; did you mean stylespace"),
        (["--method", "sefa", "--lr", "0.1"], "--lr belongs to LELSD's search; --method sefa takes --parts, --count"),
        (["--method", "sefa", "--steps", "3"], "--steps belongs to LELSD's search"),
        (["--method", "random", "--against", "known.safetensors"], "--against belongs to LELSD's search"),
        (["--method", "random", "--preset", "look"], "--preset belongs to LELSD's search"),
        (
            ["--method", "lelsd-paper", "--preset", "look"],
            "lelsd-paper is a preset of its own; leave out --preset look",
        ),
        (["--method", "ganspace", "--parts", "lfet"], "no part named 'lfet'"),
        (["--method", "ganspace", "--space", "S"], "no space for GANSpace named 'S'; known: Z"),
    ],
)
def test_the_shell_refuses_what_a_method_does_not_take(tmp_path, capsys, arguments, message):
    assert main(["discover", str(tmp_path / "out.safetensors"), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def test_a_region_of_ones_own_is_a_part_that_the_direction_carries(editor, few_candidates):
    mask = torch.zeros(64, 64)
    mask[46:60, 16:34] = 1
    chin = paint(editor.generator, editor.generator.sample([45]), "Z", mask, "chin")
    found = only("sefa", editor.generator, Wanted("chin"), split_by(editor.segmenter, [chin]))
    assert found.region is chin
    assert found.parts == ("chin",)
