"""The paper's recipe: one training step of the official code, computed from the formulas, and its preset."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core import DiscoverConfig, UserError, discover, load_generator, localization
from lelsd_core.__main__ import main
from lelsd_core.cli import official as race
from lelsd_core.cli.discover import load_networks
from lelsd_core.cli.parser import build_parser
from lelsd_core.directions import Direction
from lelsd_core.discovery.search import SearchState
from lelsd_core.generators import Generator
from lelsd_core.localization import resized_mask
from lelsd_core.seeds import OFFICIAL, TRAINING
from lelsd_core.segmenters import Parts, Segmenter
from lelsd_core.weights.catalogue import spec_of
from tests import official
from tests.test_generators_definitions import plain_filter

PSI, ALPHA, RATE, CLOSE = 0.7, -0.6, 0.001, 1e-4
ROWS, WIDTH = 10, 64  # of W+ of the golden network


class Bright(Segmenter):
    """The bright pixels of a picture and the dark ones: binary masks that a move changes."""

    name, parts = "bright", Parts(("bright", "dark"))

    def segment(self, image: Tensor, features: object = None) -> Tensor:
        bright = image.mean(1) > 0
        return torch.stack([bright, ~bright], 1).float()


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator(official.GOLDEN / "nv2_64.pkl")


# ------------------------------------------------------------------------------------ the official step, by formulas


def plain_stylegan2(tensors: dict[str, Tensor], ws: Tensor) -> tuple[list[Tensor], Tensor]:
    """All feature maps and the picture of W+ (B, L, D), as NVIDIA's file and the paper define them."""
    x, rgb, row, maps = tensors["synthesis.b4.const"].expand(len(ws), -1, -1, -1), None, 0, []
    kernel = tensors["synthesis.b64.resample_filter"]

    def convolved(name: str, x: Tensor, w: Tensor) -> Tensor:
        part = {key.rpartition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        affine = tensors[f"{name}.affine.weight"], tensors[f"{name}.affine.bias"]
        style = w @ affine[0].T / math.sqrt(WIDTH) + affine[1]
        weight = tensors[f"{name}.weight"]
        if name.endswith("torgb"):
            weight = weight[None] * style[:, None, :, None, None] / math.sqrt(weight[0].numel())
            pixels = [F.conv2d(a[None], b) for a, b in zip(x, weight, strict=True)]
            return torch.cat(pixels) + tensors[f"{name}.bias"][:, None, None]
        weight = weight[None] * style[:, None, :, None, None]
        weight = weight / (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
        if name.endswith("conv0"):  # zeros between the pixels, a true convolution, a low-pass filter
            wide = torch.zeros(*x.shape[:2], 2 * x.shape[2] + 1, 2 * x.shape[3] + 1)
            wide[:, :, 1::2, 1::2] = x
            x = torch.cat([F.conv2d(F.pad(a[None], (1,) * 4), b.flip(2, 3)) for a, b in zip(wide, weight, strict=True)])
            x = plain_filter(4 * x, kernel, 1, 1, 1, 1)
        else:
            x = torch.cat([F.conv2d(a[None], b, padding=1) for a, b in zip(x, weight, strict=True)])
        x = x + part["noise_const"] * part["noise_strength"] + tensors[f"{name}.bias"][:, None, None]
        return F.leaky_relu(x, 0.2) * math.sqrt(2)

    for size in (4, 8, 16, 32, 64):
        for name in ("conv0", "conv1") if size > 4 else ("conv1",):
            x, row = convolved(f"synthesis.b{size}.{name}", x, ws[:, row]), row + 1
            maps.append(x)
        new = convolved(f"synthesis.b{size}.torgb", x, ws[:, row])
        rgb = new if rgb is None else new + plain_filter(rgb, kernel, 2, 1, 2, 1)
    return maps, rgb


def halved(mask: Tensor) -> Tensor:
    """A mask (B, h, h) at half its size, as `align_corners` has it: samples at equal steps from corner to corner."""
    size = mask.shape[-1] // 2
    at = torch.arange(size) * (mask.shape[-1] - 1) / (size - 1)
    low, share = at.floor().long().clamp_max(mask.shape[-1] - 2), at - at.floor().clamp_max(mask.shape[-1] - 2)
    rows = mask[:, low] * (1 - share)[:, None] + mask[:, low + 1] * share[:, None]
    return rows[..., low] * (1 - share) + rows[..., low + 1] * share


def official_score(tensors: dict[str, Tensor], w: Tensor, vector: Tensor) -> Tensor:
    """Eq. 2 of truncated samples w (B, 64) moved along a vector (10, 64): mean over samples and maps."""
    ws = (tensors["mapping.w_avg"].lerp(w, PSI))[:, None].expand(-1, ROWS, -1)
    (before, picture), (after, moved) = plain_stylegan2(tensors, ws), plain_stylegan2(tensors, ws + ALPHA * vector)
    masks = [(each.clamp(-1, 1).mean(1) > 0).float() for each in (picture, moved)]  # of the pictures as they are seen
    mask = sum(masks) / 2
    scores = []
    for old, new in zip(reversed(before), reversed(after), strict=True):
        while mask.shape[-1] > old.shape[-1]:
            mask = halved(mask)
        change = (new - old).square().mean(1)
        scores.append(((change * mask).sum((1, 2)) / (change.sum((1, 2)) + 1e-6)).mean())
    return torch.stack(scores).mean()


def official_steps(tensors: dict[str, Tensor], batches: list[Tensor], vectors: Tensor) -> tuple[list[float], Tensor]:
    """The score in each step, and K vectors (K, 10, 64) after it: step i of Adam scores vector i modulo K."""
    mean, square, told = torch.zeros_like(vectors), torch.zeros_like(vectors), []
    others = 1 - torch.eye(len(vectors))[..., None]  # the diagonal of Corr is constant
    for i, w in enumerate(batches):
        leaf = vectors.clone().requires_grad_()
        score = official_score(tensors, w, leaf[i % len(leaf)])
        cosines = F.cosine_similarity(leaf[:, None], leaf[None], dim=3)  # (K, K, 10)
        (slope,) = torch.autograd.grad(5 * (cosines * others).abs().mean() - score, leaf)
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope.square()
        size = (square / (1 - 0.999 ** (i + 1))).sqrt() + 1e-8
        vectors, told = vectors - RATE * mean / (1 - 0.9 ** (i + 1)) / size, [*told, float(score.detach())]
    return told, vectors


def test_the_formulas_make_the_official_picture() -> None:
    tensors, there = official.record(official.stylegan2(Path()))[0], official.expected("nv2_64")
    _, picture = plain_stylegan2(tensors, there["wplus"])
    assert (picture - there["image_wplus"]).abs().max() < CLOSE * there["image_wplus"].abs().max()


def start(count: int) -> Tensor:
    """(K, 10, 64): each row drawn from seed 0 and of length 1."""
    drawn = torch.randn(count, ROWS * WIDTH, generator=torch.Generator().manual_seed(0))
    return F.normalize(drawn.view(count, ROWS, WIDTH), dim=2)


@pytest.mark.parametrize("count", [1, 2])
def test_steps_of_the_preset_are_the_official_steps(count: int, generator, monkeypatch) -> None:
    monkeypatch.setattr("lelsd_core.discovery.search.draw_amounts", lambda *_: torch.full((4, 1), ALPHA))
    monkeypatch.setattr(localization, "resized_mask", lambda mask, size: race.published_mask(mask, size[0]))
    search = discover(generator, Bright(), DiscoverConfig.paper(generator, parts="bright", count=count))
    first, progress = next(search), next(search)
    w = generator.lift(generator.sample(TRAINING[:8]), "Z", "W").split(4)
    batches = w if count == 1 else [w[0], w[0]]  # ours shows a batch to all vectors; the official code draws new ones
    scores, vectors = official_steps(official.record(official.stylegan2(Path()))[0], batches, start(count))
    assert [first.score, progress.score] == pytest.approx(scores, abs=CLOSE)
    for direction, vector in zip(progress.directions, vectors, strict=True):
        assert float(direction.vector.norm()) == pytest.approx(1)
        length = direction.facts["amounts"][1]  # of a vector that is free, times the largest alpha, 1
        torch.testing.assert_close(length * direction.vector.view(ROWS, WIDTH), vector, atol=CLOSE, rtol=0)
        assert (direction.low, direction.high) == (-length, length)


def test_steps_of_the_peer_are_the_official_steps(generator, monkeypatch) -> None:
    monkeypatch.setattr(race, "draw_amounts", lambda *_: torch.full((4, 1), ALPHA))
    config = DiscoverConfig.paper(generator, parts="bright").check(generator, Bright())
    w = generator.lift(generator.sample(OFFICIAL[:8]), "Z", "W").split(4)
    _, vectors = official_steps(official.record(official.stylegan2(Path()))[0], w, start(1))
    loop = race.official_loop(generator, Bright(), config)
    _, found = next(loop), next(loop)
    torch.testing.assert_close(found.view(1, ROWS, WIDTH), vectors, atol=CLOSE, rtol=0)


def test_antialiasing_keeps_small_parts_that_the_official_resizing_loses(generator, monkeypatch) -> None:
    part = torch.zeros(1, 1, 64, 64)
    part[..., 40:43, 24:40] = 1  # 3 × 16 of 64 pixels, as lips are
    areas = [
        [float(at(part, size).mean() / part.mean()) for size in (32, 16, 8, 4)]
        for at in (lambda mask, size: resized_mask(mask, (size, size)), race.published_mask)
    ]
    assert areas[0] == pytest.approx([1, 1, 1, 1], abs=0.02), "the share of the picture stays"
    assert areas[1] == pytest.approx([0.88, 0.73, 0.42, 0.37], abs=0.01)
    monkeypatch.setattr("lelsd_core.discovery.search.draw_amounts", lambda *_: torch.full((4, 1), ALPHA))
    score = next(discover(generator, Bright(), DiscoverConfig.paper(generator, parts="bright"))).score
    w = generator.lift(generator.sample(TRAINING[:4]), "Z", "W")
    (published,), _ = official_steps(official.record(official.stylegan2(Path()))[0], [w], start(1))
    assert 0.003 < abs(score - published) < 0.02, "of large parts, little"


def test_the_learning_rate_is_halved_every_fifty_steps(generator) -> None:
    state = SearchState(
        generator, Bright(), DiscoverConfig.paper(generator, parts="bright").check(generator, Bright()), ()
    )
    rates = []
    for _ in range(state.total):
        rates.append(state.optimizer.param_groups[0]["lr"] / RATE)
        state.optimizer.step()
        state.scheduler.step()
    assert [rates[i] for i in (0, 49, 50, 99, 100, 149, 150, 199)] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


# ---------------------------------------------------------------------------------------------------- the preset


@pytest.mark.parametrize(
    ("make", "space", "psi"),
    [
        (official.stylegan2, "W+", 0.7),
        (official.stylegan3, "W+", 0.7),
        (official.small_stylegan1, "W+", 0.7),
        (official.biggan, "Z+", None),
        (official.dcgan, "S", None),
    ],
)
def test_the_preset_has_the_paper_s_space_or_the_nearest(make, space, psi, tmp_path) -> None:
    network = load_generator(make(tmp_path), **({"class_index": 0} if make is official.biggan else {}))
    config = DiscoverConfig.paper(network, parts="bright").check(network, Bright())
    assert (config.space, config.truncation, config.layers) == (space, psi, tuple(network.layers))
    assert (config.least, config.most, config.draw, config.norm) == (0, 1, "batch", "free")
    assert (config.steps, config.batch, config.lr, config.beta2) == (200, 4, 0.001, 0.999)
    assert config.samples >= 200 * 4, "no sample twice"
    assert config.check(network, Bright()) == config
    first = next(discover(network, Bright(), replace(config, batch=1, samples=2)))
    assert first.directions[0].space == space


@pytest.mark.parametrize("space", ["Z", "W", "W+", "S"])
def test_the_preset_searches_in_every_space_with_truncated_samples(space, generator) -> None:
    seen: list[Tensor] = []
    config = DiscoverConfig.paper(generator, parts="bright", space=space, batch=2, samples=2)
    twin = load_generator(official.GOLDEN / "nv2_64.pkl")
    first, *rest = twin.steps
    twin.steps = (
        replace(first, run=lambda state, slots: seen.append(slots[0].detach()) or first.run(state, slots)),
        *rest,
    )
    direction = next(discover(twin, Bright(), config)).directions[0]
    z = generator.sample(TRAINING[:2])
    untouched = generator.lift(z, "Z", "S", truncation=PSI)
    assert torch.equal(seen[0], generator.space("S").split(untouched)[0])
    assert not torch.allclose(seen[0], generator.space("S").split(generator.lift(z, "Z", "S"))[0])
    assert direction.facts["truncation"] == PSI


def test_a_move_in_z_is_truncated_after_it(generator) -> None:
    config = DiscoverConfig.paper(generator, parts="bright", space="Z").check(generator, Bright())
    codes = generator.sample([1])
    moved = race.codes_to_render(generator, config, codes + 0.5)
    assert moved[1] == "S"
    assert torch.equal(moved[0], generator.lift(codes + 0.5, "Z", "S", truncation=PSI))


def test_the_command_takes_the_preset_and_flags_override_it(tmp_path, few_held_out, capsys) -> None:
    out = tmp_path / "d.safetensors"
    start = ["discover", str(out), "--generator", str(official.GOLDEN / "nv2_64.pkl"), "--segmenter", "digiface-parts"]
    assert main([*start, "--preset", "papr"]) == 1
    assert "no preset named 'papr'; did you mean paper?" in capsys.readouterr().err
    given = ["--parts", "background", "--steps", "1", "--space", "W", "--layers", "coarse", "64.conv1"]
    assert main([*start, "--preset", "paper", *given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 1
    found = Direction.load(out)
    assert (found.space, found.facts["truncation"], found.facts["batch"]) == ("W", PSI, 4)
    assert found.facts["layers"] == ["4.conv1", "8.conv0", "8.conv1", "64.conv1"]


@pytest.mark.parametrize(
    ("flags", "space", "local"),
    [
        (["--parts", "mouth"], "Z", "8.conv"),
        (["--parts", "mouth", "brows"], "Z", "8.conv"),
        (["--parts", "mouth", "background"], "S", ""),
        (["--parts", "clothes", "--start", "gaze"], "Z", "8.conv"),
        (["--parts", "clothes", "--around", "skin"], "Z", "8.conv"),
        (["--parts", "mouth", "--space", "Z"], "Z", ""),
        (["--parts", "mouth", "--preset", "look"], "S", ""),
        (["--parts", "clothes", "--preset", "shape", "--local", "16.conv"], "Z", "16.conv"),
    ],
)
def test_the_command_looks_for_what_suits_the_parts_and_the_flags(flags, space, local) -> None:
    options = build_parser().parse_args(["discover", "d.safetensors", "--generator", "digiface-64", *flags])
    *_, config = load_networks(options, spec_of("digiface-64"), torch.device("cpu"))
    assert (config.space, config.local) == (space, local)


def test_where_there_is_no_truncation_it_is_refused(tmp_path) -> None:
    network = load_generator(official.dcgan(tmp_path))
    with pytest.raises(UserError, match="dcgan has no truncation in its lifts; leave it out"):
        DiscoverConfig(parts="bright", truncation=0.7).check(network, Bright())
