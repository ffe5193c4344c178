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
from lelsd_core.directions import Direction
from lelsd_core.generators import Generator
from lelsd_core.localization import resized_mask
from lelsd_core.seeds import OFFICIAL, TRAINING
from lelsd_core.segmenters import Parts, Segmenter
from tests import official
from tests.test_generators_definitions import plain_filter, record

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
    mask = ((picture.mean(1) > 0).float() + (moved.mean(1) > 0).float()) / 2
    scores = []
    for old, new in zip(reversed(before), reversed(after), strict=True):
        while mask.shape[-1] > old.shape[-1]:
            mask = halved(mask)
        change = (new - old).square().mean(1)
        scores.append(((change * mask).sum((1, 2)) / (change.sum((1, 2)) + 1e-6)).mean())
    return torch.stack(scores).mean()


def official_step(tensors: dict[str, Tensor], w: Tensor, vectors: Tensor) -> tuple[float, Tensor]:
    """The score of the first of K vectors (K, 10, 64), and all of them after one step of Adam."""
    vectors = vectors.clone().requires_grad_()
    score = official_score(tensors, w, vectors[0])
    cosines = F.cosine_similarity(vectors[:, None], vectors[None], dim=3)  # (K, K, 10)
    others = 1 - torch.eye(len(vectors))[..., None]  # the diagonal is constant
    loss = -score + 5 * (cosines * others).abs().mean()
    (slope,) = torch.autograd.grad(loss, vectors)
    return float(score.detach()), (vectors - RATE * slope / (slope.abs() + 1e-8)).detach()


def test_the_formulas_make_the_official_picture() -> None:
    tensors, there = record(official.stylegan2(Path()))[0], official.expected("nv2_64")
    _, picture = plain_stylegan2(tensors, there["wplus"])
    assert (picture - there["image_wplus"]).abs().max() < CLOSE * there["image_wplus"].abs().max()


def start(count: int) -> Tensor:
    """(K, 10, 64): each row drawn from seed 0 and of length 1."""
    drawn = torch.randn(count, ROWS * WIDTH, generator=torch.Generator().manual_seed(0))
    return F.normalize(drawn.view(count, ROWS, WIDTH), dim=2)


@pytest.mark.parametrize("count", [1, 2])
def test_a_step_of_the_preset_is_the_official_step(count: int, generator, monkeypatch) -> None:
    monkeypatch.setattr("lelsd_core.discovery.search.draw_amounts", lambda *_: torch.full((4, 1), ALPHA))
    monkeypatch.setattr(localization, "resized_mask", lambda mask, size: race.published_mask(mask, size[0]))
    progress = next(discover(generator, Bright(), DiscoverConfig.paper(generator, parts="bright", count=count)))
    w = generator.lift(generator.sample(TRAINING[:4]), "Z", "W")
    score, vectors = official_step(record(official.stylegan2(Path()))[0], w, start(count))
    assert progress.score == pytest.approx(score, abs=CLOSE)
    for direction, vector in zip(progress.directions, vectors, strict=True):
        assert float(direction.vector.norm()) == pytest.approx(1)
        length = direction.facts["amounts"][1]  # of a vector that is free, times the largest alpha, 1
        torch.testing.assert_close(length * direction.vector.view(ROWS, WIDTH), vector, atol=CLOSE, rtol=0)
        assert (direction.low, direction.high) == (-length, length)


def test_a_step_of_the_peer_is_the_official_step(generator, monkeypatch) -> None:
    monkeypatch.setattr(race, "draw_amounts", lambda *_: torch.full((4, 1), ALPHA))
    config = DiscoverConfig.paper(generator, parts="bright").check(generator, Bright())
    w = generator.lift(generator.sample(OFFICIAL[:4]), "Z", "W")
    _, vectors = official_step(record(official.stylegan2(Path()))[0], w, start(1))
    found = next(race.official_loop(generator, Bright(), config))
    torch.testing.assert_close(found.view(1, ROWS, WIDTH), vectors, atol=CLOSE, rtol=0)
