"""Networks against slow versions written from the papers' definitions, where no golden case reaches."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lelsd_core import UserError, load_generator
from lelsd_core.generators import DCGAN
from lelsd_core.generators.biggan import statistic
from lelsd_core.generators.stylegan1 import StyleGAN1
from lelsd_core.weights.classes import class_names, class_number, class_weights
from tests import official
from tests.bench.generators import passes, random_stylegan2

Record = tuple[dict[str, Tensor], dict[str, dict[str, Any]]]
IMAGENET = class_names(1000, {})


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(theirs.abs().max()))


# ---- StyleGAN2: its plain formulation, clamps, classes


def test_styles_on_activations_equal_styles_on_weights() -> None:
    network = random_stylegan2(32)
    ours, plain = passes(network, network.lift(network.sample([0, 1]), "Z", "S"))
    close(ours(), plain())


def test_clamped_networks_are_clamped(tmp_path: Path) -> None:
    tensors, attributes = official.record(official.stylegan2(tmp_path))
    attributes["synthesis.b4.conv1"]["conv_clamp"] = 0.5
    clamped = load_generator(official.nvidia(tmp_path / "clamped.pkl", tensors, attributes))
    made = clamped.synthesize(clamped.sample([0]), "Z", keep=clamped.layers)
    assert all(0.49 < made.features(name).abs().max() <= 0.5 for name in clamped.layers)


def test_other_kinds_of_stylegan2_are_named(tmp_path: Path) -> None:
    tensors, attributes = official.record(official.stylegan2(tmp_path))
    attributes["synthesis.b4"]["architecture"] = "resnet"
    with pytest.raises(UserError, match="'resnet' kind"):
        load_generator(official.nvidia(tmp_path / "resnet.pkl", tensors, attributes))


@pytest.mark.parametrize("case", ["nv2_64", "nv3t_64"])
def test_a_class_is_chosen_when_a_conditional_network_is_loaded(case: str, tmp_path: Path) -> None:
    tensors, attributes = official.record(official.GOLDEN / f"{case}.pkl")
    generator = torch.Generator().manual_seed(0)
    tensors["mapping.embed.weight"] = torch.randn(64, 5, generator=generator)
    tensors["mapping.embed.bias"] = torch.randn(64, generator=generator)
    tensors["mapping.fc0.weight"] = 100 * torch.randn(64, 128, generator=generator)
    path = official.nvidia(tmp_path / "conditional.pkl", tensors, attributes)

    z = official.expected(case)["z"]
    chosen = load_generator(path, class_index=3)
    embedded = tensors["mapping.embed.weight"][:, 3] / math.sqrt(5) + tensors["mapping.embed.bias"]
    x = torch.cat(
        [z / z.square().mean(1, keepdim=True).sqrt(), (embedded / embedded.square().mean().sqrt()).expand(2, 64)], 1
    )
    for i in range(2):
        weight, bias = tensors[f"mapping.fc{i}.weight"], tensors[f"mapping.fc{i}.bias"]
        x = F.leaky_relu(x @ weight.T * (0.01 / math.sqrt(weight.shape[1])) + 0.01 * bias, 0.2) * math.sqrt(2)
    close(chosen.lift(z, "Z", "W"), x)
    with pytest.raises(UserError, match="has 5 classes; choose one"):
        load_generator(path)
    with pytest.raises(UserError, match="no class 5"):
        load_generator(path, class_index=5)


# ---- StyleGAN3, -t and -r


def plain_stylegan3(tensors: dict[str, Tensor], attributes: dict[str, dict[str, Any]], ws: Tensor) -> Tensor:
    """The picture of W+ (B, L, D), step by step as the paper has it."""
    x = plain_input(tensors, attributes["synthesis.input"], ws[:, 0])
    for row, name in enumerate(attributes["synthesis"]["layer_names"], start=1):
        part = {n.split(".", 2)[2]: t for n, t in tensors.items() if n.startswith(f"synthesis.{name}.")}
        x = plain_layer(part, attributes[f"synthesis.{name}"], x, ws[:, row])
    return x * attributes["synthesis"]["output_scale"]


def plain_input(tensors: dict[str, Tensor], facts: dict[str, Any], w: Tensor) -> Tensor:
    get = {n.removeprefix("synthesis.input."): t for n, t in tensors.items() if n.startswith("synthesis.input.")}
    pictures = []
    size, rate = int(np.ravel(facts["size"])[0]), facts["sampling_rate"]
    for row in w:
        t = get["affine.weight"] @ row / math.sqrt(len(row)) + get["affine.bias"]
        t = t / t[:2].norm()
        turn = torch.tensor([[t[0], -t[1], 0], [t[1], t[0], 0], [0, 0, 1]])
        shift = torch.tensor([[1, 0, -t[2]], [0, 1, -t[3]], [0, 0, 1]])
        whole = turn @ shift @ get["transform"]
        phases = get["phases"] + get["freqs"] @ whole[:2, 2]
        freqs = get["freqs"] @ whole[:2, :2]
        amplitudes = (1 - (freqs.norm(dim=1) - facts["bandwidth"]) / (rate / 2 - facts["bandwidth"])).clamp(0, 1)
        line = (torch.arange(size) + 0.5 - size / 2) / rate
        plane = torch.stack([line.expand(size, size), line[:, None].expand(size, size)])  # x, y
        waves = torch.sin(2 * math.pi * (torch.einsum("ci,ihw->chw", freqs, plane) + phases[:, None, None]))
        weight = get["weight"] / math.sqrt(len(freqs))
        pictures.append(torch.einsum("oc,chw->ohw", weight, waves * amplitudes[:, None, None]))
    return torch.stack(pictures)


def plain_layer(part: dict[str, Tensor], facts: dict[str, Any], x: Tensor, w: Tensor) -> Tensor:
    style = w @ part["affine.weight"].T / math.sqrt(w.shape[1]) + part["affine.bias"]
    weight, demodulates = part["weight"], not facts["is_torgb"]
    if not demodulates:
        style = style / math.sqrt(weight[0].numel())
    weight = weight[None] * style[:, None, :, None, None]
    if demodulates:
        weight = weight / weight.square().sum((2, 3, 4), keepdim=True).sqrt()
    weight = weight / part["magnitude_ema"].sqrt()
    x = torch.cat([F.conv2d(a[None], b, padding=weight.shape[-1] - 1) for a, b in zip(x, weight, strict=True)])
    x = x + part["bias"][:, None, None]
    low, high = facts["padding"][:2]
    x = plain_filter(x, part.get("up_filter"), facts["up_factor"], 1, low, high)
    x = (F.leaky_relu(x, 0.2) * math.sqrt(2) if demodulates else x).clamp(-facts["conv_clamp"], facts["conv_clamp"])
    return plain_filter(x, part.get("down_filter"), 1, facts["down_factor"], 0, 0)


def plain_filter(x: Tensor, kernel: Tensor | None, up: int, down: int, low: int, high: int) -> Tensor:
    """Zeros between the pixels, padding, a convolution with the kernel, and every `down`-th pixel of that."""
    wide = torch.zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
    wide[:, :, ::up, ::up] = x * up**2
    wide = F.pad(wide, (low, high, low, high))
    if kernel is not None:
        kernel = torch.outer(kernel, kernel) if kernel.ndim == 1 else kernel
        wide = F.conv2d(wide.flatten(0, 1)[:, None], kernel.flip(0, 1)[None, None])[:, 0].unflatten(0, x.shape[:2])
    return wide[:, :, ::down, ::down]


def rotation_equivariant(tensors: dict[str, Tensor], attributes: dict[str, dict[str, Any]]) -> Record:
    """The network in its -r shape: 1×1 convolutions, and filters that are not separable but in the critical layers."""
    generator, tensors = torch.Generator().manual_seed(0), dict(tensors)
    for name in attributes["synthesis"]["layer_names"]:
        facts, part = attributes[f"synthesis.{name}"], f"synthesis.{name}."
        if facts["is_torgb"]:
            continue
        tensors[part + "weight"] = tensors[part + "weight"][:, :, 1:2, 1:2]
        total = facts["padding"][0] + facts["padding"][1] + 2 * facts["up_factor"]  # a kernel of 1 adds no border
        low = (total + facts["up_factor"]) // 2
        facts["padding"] = [low, total - low]
        if not facts["is_critically_sampled"]:
            tensors[part + "down_filter"] = torch.rand(12, 12, generator=generator) / 72
    return tensors, attributes


@pytest.mark.parametrize("kind", ["t", "r", "turned"])
def test_stylegan3_equals_its_definition(kind: str, tmp_path: Path) -> None:
    tensors, attributes = official.record(official.stylegan3(tmp_path))
    if kind == "r":
        tensors, attributes = rotation_equivariant(tensors, attributes)
    if kind == "turned":
        tensors["synthesis.input.transform"] = torch.tensor([[0.6, -0.8, 0.1], [0.8, 0.6, -0.2], [0.0, 0.0, 1.0]])
    network = load_generator(official.nvidia(tmp_path / "sg3.pkl", tensors, attributes))
    ws = official.expected("nv3t_64")["wplus"]
    theirs = plain_stylegan3(tensors, attributes, ws)
    close(network.synthesize(ws.flatten(1), "W+").image, theirs)
    if kind == "t":
        close(theirs, official.expected("nv3t_64")["image_wplus"])


# ---- StyleGAN1 above 64 pixels, and with more layers than truncation reaches


def stylegan1_weights(resolution: int) -> dict[str, Tensor]:
    """A StyleGAN1 of 8 channels."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    weights = {f"g_mapping.dense{i}.weight": 100 * draw(8, 8) for i in range(8)}
    weights |= {f"g_mapping.dense{i}.bias": draw(8) for i in range(8)} | {"truncation.avg_latent": draw(8)}
    weights |= {"g_synthesis.torgb.weight": draw(3, 8, 1, 1), "g_synthesis.torgb.bias": draw(3)}
    size = 4
    while size <= resolution:
        block = f"g_synthesis.blocks.{size}x{size}."
        first, second = ("", "conv.") if size == 4 else ("conv0_up.", "conv1.")
        weights |= {block + "const": draw(1, 8, 4, 4)} if size == 4 else {block + first + "weight": draw(8, 8, 3, 3)}
        weights |= {block + first + "bias": draw(8), block + second + "bias": draw(8)}
        weights[block + second + "weight"] = draw(8, 8, 3, 3)
        if size > 4:
            weights[block + "conv0_up.intermediate.kernel"] = torch.tensor([[[[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]]]) / 16
        for i in range(2):
            weights[block + f"epi{i + 1}.top_epi.noise.weight"] = draw(8)
            style = f"g_style.style_layers.{size}x{size}_{i}.lin."
            weights |= {style + "weight": draw(16, 8), style + "bias": draw(16)}
        size *= 2
    return weights


def plain_stylegan1(weights: dict[str, Tensor], ws: Tensor) -> Tensor:
    """The picture of W+ (B, L, D), without noise."""
    x, gain = weights["g_synthesis.blocks.4x4.const"], math.sqrt(2 / (8 * 9))
    for row in range(ws.shape[1]):
        size, half = 4 * 2 ** (row // 2), row % 2
        block = f"g_synthesis.blocks.{size}x{size}."
        name = block + (("", "conv.") if size == 4 else ("conv0_up.", "conv1."))[half]
        weight = weights[name + "weight"] * gain if name != block else None
        if half == 0 and size > 4:
            if size >= 128:  # as the official network does: here the kernel is turned over
                weight = weight.flip(2, 3)
            x = F.conv2d(F.interpolate(x, scale_factor=2), weight, padding=1)
            blur = weights[block + "conv0_up.intermediate.kernel"].expand(8, 1, 3, 3)
            x = F.conv2d(x, blur, padding=1, groups=8)
        elif weight is not None:
            x = F.conv2d(x, weight, padding=1)
        x = F.leaky_relu(x + weights[name + "bias"][:, None, None], 0.2)
        x = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        lin = f"g_style.style_layers.{size}x{size}_{half}.lin."
        style = ws[:, row] @ weights[lin + "weight"].T / math.sqrt(8) + weights[lin + "bias"]
        scale, shift = style[:, :, None, None].chunk(2, dim=1)
        x = x * (1 + scale) + shift
    return F.conv2d(x, weights["g_synthesis.torgb.weight"] / math.sqrt(8), weights["g_synthesis.torgb.bias"])


@pytest.mark.parametrize("resolution", [64, 128, 256])
def test_stylegan1_equals_its_definition_at_every_size(resolution: int) -> None:
    weights = stylegan1_weights(resolution)
    network = StyleGAN1(weights, noise="off")
    ws = torch.randn(2, 2 * (int(math.log2(resolution)) - 1), 8, generator=torch.Generator().manual_seed(1))
    close(network.synthesize(ws.flatten(1), "W+").image, plain_stylegan1(weights, ws))


def test_stylegan1_truncates_its_first_eight_rows() -> None:
    network = StyleGAN1(stylegan1_weights(64))
    codes = network.sample([1])
    pulled, free = (network.lift(codes, "Z", "W+", truncation=t).view(10, 8) for t in (0.0, None))
    assert torch.equal(pulled[:8], network.mean.expand(8, 8))
    assert torch.equal(pulled[8:], free[8:])


# ---- BigGAN


@pytest.mark.parametrize(("truncation", "row"), [(1.0, 50), (0.5, 25), (0.0, 0), (0.04, 2)])
def test_batch_statistics_are_stored_in_steps_of_a_fiftieth(truncation: float, row: int) -> None:
    stored = torch.arange(51.0)[:, None]
    assert statistic(stored, truncation).item() == pytest.approx(row)


def test_between_two_steps_the_official_shares_are_used() -> None:
    """The official code gives the lower step the upper one's share: 0.03 is half-way, 0.025 is not."""
    stored = torch.arange(51.0)[:, None]
    assert statistic(stored, 0.03).item() == pytest.approx(1.5)
    assert statistic(stored, 0.025).item() == pytest.approx(1 * 0.25 + 2 * 0.75)


def test_a_biggan_may_have_its_attention_anywhere(tmp_path: Path) -> None:
    network = load_generator(official.biggan(tmp_path), class_index=0)
    codes = network.lift(network.sample([0]), "Z", "Z+")
    before = network.synthesize(codes, "Z+", keep=("16.block3",), image=False).features("16.block3")
    again = network.attention(before)
    assert again.shape == before.shape
    assert not torch.equal(again, before)


# ---- DCGAN


def tutorial_network(widths: tuple[int, ...] = (6, 8, 5, 4)) -> nn.Sequential:
    """The tutorial's layers with random weights and statistics: z of widths[0], pictures of 16 pixels."""
    torch.manual_seed(0)
    modules: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        norm = nn.BatchNorm2d(outputs)
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            nn.init.normal_(tensor)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        stride, padding = (2, 1) if i else (1, 0)
        modules += [nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False), norm, nn.ReLU()]
    modules += [nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*modules).eval()


@pytest.fixture(scope="module")
def tutorial() -> nn.Sequential:
    return tutorial_network()


@pytest.fixture(scope="module")
def dcgan(tutorial: nn.Sequential) -> DCGAN:
    weights = {f"main.{name}": tensor for name, tensor in tutorial.state_dict().items()}
    return DCGAN(weights).eval()


def test_dcgans_pictures_equal_the_tutorial_network(tutorial: nn.Sequential, dcgan: DCGAN) -> None:
    codes = dcgan.sample([1, 2, 3])
    with torch.inference_mode():
        expected = tutorial(codes[:, :, None, None])
        ours = dcgan.synthesize(codes, "Z").image
    assert (ours - expected).abs().max() / expected.abs().max() < 1e-5
    assert dcgan.resolution == expected.shape[-1] == 32


def test_a_gain_and_a_bias_act_between_batch_norm_and_relu(tutorial: nn.Sequential, dcgan: DCGAN) -> None:
    codes = dcgan.lift(dcgan.sample([1]), "Z", "S")
    parts = list(dcgan.space("S").split(codes))
    names = [slot.name for slot in dcgan.space("S").slots]
    gain, bias = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(0))
    parts[names.index("8.gain")], parts[names.index("8.bias")] = gain, bias
    with torch.inference_mode():
        x = tutorial[:5](codes[:, :6, None, None])
        expected = tutorial[5:](x * (1 + gain[..., None, None]) + bias[..., None, None])
        ours = dcgan.synthesize(torch.cat(parts, 1), "S").image
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_the_shipped_dcgan_renders_faces_of_64_pixels() -> None:
    generator = load_generator("digiface-64")
    assert generator.space_names == ("Z", "S")
    assert generator.space("S").width == 100 + 2 * 960
    with torch.inference_mode():
        pictures = generator.synthesize(generator.sample(range(8)), "Z").image
    assert pictures.shape == (8, 3, 64, 64)
    assert 0.3 < pictures.std() < 0.8


# ---- classes by name


def test_classes_have_imagenets_names_where_there_are_a_thousand() -> None:
    assert class_number("golden retriever", IMAGENET) == 207
    assert class_number("Golden Retriever", IMAGENET) == 207
    assert class_number("1", IMAGENET) == 1
    assert class_number("dog", class_names(3, {"0": "cat", "2": "dog"})) == 2
    with pytest.raises(UserError, match="golden retriever"):
        class_number("goldn retriever", IMAGENET)


def test_shares_of_classes_sum_to_one() -> None:
    weights = class_weights({"tench": 1, 207: 3}, IMAGENET)
    assert weights[0] == 0.25
    assert weights[207] == 0.75
    assert weights.sum() == 1
    with pytest.raises(UserError, match="must be positive"):
        class_weights({1: -1.0}, class_names(10, {}))
