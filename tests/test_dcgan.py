"""digiface-64's architecture: equal to the tutorial's network, and everything the generator contract promises."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from lelsd_core.generators import DCGAN, DCGANConfig
from lelsd_core.registry import load_generator


def tutorial_network(widths=(6, 8, 5, 4)) -> nn.Sequential:
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
def official() -> nn.Sequential:
    return tutorial_network()


@pytest.fixture(scope="module")
def ours(official) -> DCGAN:
    weights = {f"main.{name}": tensor for name, tensor in official.state_dict().items()}
    return DCGAN(DCGANConfig.of(weights), weights).eval()


def test_pictures_equal_the_tutorial_network(official, ours):
    codes = ours.sample([1, 2, 3])
    with torch.inference_mode():
        expected = official(codes[:, :, None, None])
        found = ours.synthesize(codes, "Z").image
    assert (found - expected).abs().max() / expected.abs().max() < 1e-5
    assert ours.resolution == expected.shape[-1] == 32


def test_a_gain_and_a_bias_act_between_batch_norm_and_relu(official, ours):
    codes = ours.lift(ours.sample([1]), "Z", "S")
    parts = list(ours.space("S").split(codes))
    names = [slot.name for slot in ours.space("S").slots]
    gain, bias = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(0))
    parts[names.index("8.gain")], parts[names.index("8.bias")] = gain, bias
    styled = nn.Sequential(*official)
    with torch.inference_mode():
        x = styled[:5](codes[:, :6, None, None])
        expected = styled[5:](x * (1 + gain[..., None, None]) + bias[..., None, None])
        found = ours.synthesize(torch.cat(parts, 1), "S").image
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_zeros_in_s_change_nothing(ours):
    codes = ours.sample([4])
    torch.testing.assert_close(
        ours.synthesize(ours.lift(codes, "Z", "S"), "S").image, ours.synthesize(codes, "Z").image
    )


def test_a_picture_depends_on_its_seed_and_not_on_its_batch(ours):
    together = ours.synthesize(ours.sample([5, 6, 7]), "Z").image
    alone = ours.synthesize(ours.sample([6]), "Z").image
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=0)
    assert not torch.allclose(together[0], together[1])


def test_synthesis_goes_on_from_any_layer(ours):
    codes = ours.lift(ours.sample([8]), "Z", "S")
    whole = ours.synthesize(codes, "S", keep=tuple(ours.layers))
    for name in ours.layers:
        resumed = ours.synthesize(codes, "S", resume=(name, whole.states[name])).image
        torch.testing.assert_close(resumed, whole.image)


def test_feature_maps_have_the_shapes_that_layers_promise_and_stop_early(ours):
    for name, layer in ours.layers.items():
        synthesis = ours.synthesize(ours.sample([1, 2]), "Z", keep=(name,), image=False)
        assert synthesis.features(name).shape == (2, layer.channels, layer.size, layer.size)
        assert synthesis.image is None


def test_every_movable_slot_gets_gradient(ours):
    codes = ours.lift(ours.sample([1]), "Z", "S").requires_grad_()
    ours.synthesize(codes, "S").image.square().sum().backward()
    for slot, gradient in zip(ours.space("S").slots, ours.space("S").split(codes.grad), strict=True):
        assert gradient.abs().max() > 0, slot.name


def test_nothing_is_clamped(ours):
    codes = 100 * ours.sample([1])
    assert ours.synthesize(codes, "Z").image.isfinite().all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g: g.lift(g.sample([1]), "S", "Z"), r"must be|coarser"),
        (lambda g: g.lift(g.sample([1]), "Z", "W"), "no latent space"),
        (lambda g: g.lift(g.sample([1])[:, :-1], "Z", "S"), r"must be \(B, 6\), got \(1, 5\)"),
        (lambda g: g.lift(g.sample([1]), "Z", "S", truncation=0.5), "no truncation"),
        (lambda g: g.synthesize(g.sample([1]), "Z", keep=("9",)), "no layer named '9'"),
        (lambda g: g.synthesize(g.sample([1]), "Z", image=False), "nothing to synthesize"),
        (lambda g: g.synthesize(g.sample([1]), "Z").features("4.conv"), "no kept layer"),
    ],
)
def test_misuse_is_told(ours, call, words):
    with pytest.raises(ValueError, match=words):
        call(ours)


def test_the_model_that_ships_renders_faces_of_64_pixels():
    generator = load_generator("digiface-64")
    assert generator.space_names == ("Z", "S")
    assert generator.space("S").width == 100 + 2 * 960
    with torch.inference_mode():
        pictures = generator.synthesize(generator.sample(range(8)), "Z").image
    assert pictures.shape == (8, 3, 64, 64)
    assert 0.3 < pictures.std() < 0.8
    assert not any(p.requires_grad for p in generator.parameters())
