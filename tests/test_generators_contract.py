"""The contract, on every architecture: the real classes, loaded from small files in their official formats."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lelsd_core import UserError, load_generator
from lelsd_core.generators import Generator
from lelsd_core.weights.checkpoints import use_half
from tests import official, small_blaze

FILES: dict[str, tuple[Callable[[Path], Path], dict[str, object]]] = {
    "stylegan1": (official.small_stylegan1, {}),
    "stylegan2": (official.stylegan2, {}),
    "stylegan3": (official.stylegan3, {}),
    "biggan": (official.biggan, {"class_index": 3, "truncation": 0.6}),
    "dcgan": (official.dcgan, {}),
    "blaze": (small_blaze.small, {}),
}
STYLEGANS = ("stylegan1", "stylegan2", "stylegan3", "blaze")


@pytest.fixture(scope="module", params=FILES)
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return load(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(params=FILES)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Generator:
    """A generator of the test's own, which it may change."""
    return load(request.param, tmp_path)


def load(architecture: str, folder: Path, **options: object) -> Generator:
    write, usual = FILES[architecture]
    return load_generator(write(folder), **(usual | options))


def first_codes(generator: Generator, *seeds: int) -> tuple[torch.Tensor, str]:
    return generator.sample(seeds or (1, 2)), generator.spaces[0].name


def test_every_space_paints_the_same_picture(generator: Generator) -> None:
    codes, space = first_codes(generator)
    whole = generator.synthesize(codes, space).image
    assert whole.shape == (2, 3, generator.resolution, generator.resolution)
    for finer in generator.spaces[1:]:
        lifted = generator.lift(codes, space, finer.name)
        assert lifted.shape == (2, finer.width)
        torch.testing.assert_close(generator.synthesize(lifted, finer.name).image, whole)


def test_lifting_backwards_is_refused(generator: Generator) -> None:
    last, first = generator.spaces[-1], generator.spaces[0].name
    with pytest.raises(ValueError, match="coarser"):
        generator.lift(torch.zeros(1, last.width), last.name, first)
    with pytest.raises(ValueError, match="must be"):
        generator.lift(torch.zeros(1, 1), first, last.name)


def test_features_have_the_size_their_layer_says(generator: Generator) -> None:
    codes, space = first_codes(generator)
    made = generator.synthesize(codes, space, keep=generator.layers)
    assert [step.layer.name for step in generator.steps] == list(generator.layers)
    for name, layer in generator.layers.items():
        assert made.features(name).shape == (2, layer.channels, layer.size, layer.size)
        assert made.states[name].x.shape[-1] == layer.size + 2 * layer.margin


def test_features_can_be_differentiated(generator: Generator) -> None:
    codes, space = first_codes(generator)
    codes = codes.requires_grad_()
    made = generator.synthesize(codes, space, keep=generator.layers, image=False)
    for name in generator.layers:
        (gradient,) = torch.autograd.grad(made.features(name).square().mean(), codes, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_resume_from_any_layer_repeats_the_full_run(generator: Generator) -> None:
    codes, space = first_codes(generator)
    full = generator.synthesize(codes, space, keep=generator.layers)
    for layer, state in full.states.items():
        again = generator.synthesize(codes, space, resume=(layer, state))
        torch.testing.assert_close(again.image, full.image, rtol=0, atol=0)


def test_a_picture_depends_on_its_seed_and_not_on_its_batch(generator: Generator) -> None:
    torch.manual_seed(5)
    codes, space = first_codes(generator, 3, 1, 2)
    together = generator.synthesize(codes, space).image
    torch.manual_seed(6)
    alone_codes, _ = first_codes(generator, 1)
    alone = generator.synthesize(alone_codes, space).image
    assert torch.equal(alone_codes[0], codes[1])
    torch.testing.assert_close(alone[0], together[1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_gradient_reaches_every_slot(generator: Generator) -> None:
    codes, first = first_codes(generator)
    for space in generator.spaces:
        lifted = generator.lift(codes, first, space.name).detach().requires_grad_()
        generator.synthesize(lifted, space.name).image.square().mean().backward()
        for slot, gradient in zip(space.slots, space.split(lifted.grad), strict=True):
            assert gradient.isfinite().all()
            assert gradient.abs().sum() > 0, f"{space.name}: {slot.name}"


def test_synthesis_stops_after_the_last_kept_layer(generator: Generator) -> None:
    codes, space = first_codes(generator)
    names = list(generator.layers)
    early = generator.synthesize(codes, space, keep=names[:2], image=False)
    full = generator.synthesize(codes, space, keep=names[:2])
    assert early.image is None
    assert list(early.states) == names[:2]
    assert torch.equal(early.features(names[1]), full.features(names[1]))
    with pytest.raises(ValueError, match="nothing to synthesize"):
        generator.synthesize(codes, space, image=False)


def test_layers_and_movable_slots_fall_into_three_groups(generator: Generator) -> None:
    groups = generator.groups
    assert [name for names in groups.values() for name in names] == list(generator.layers)
    assert all(groups.values())
    for space in generator.spaces:
        slots = [name for group in groups for name in generator.group_slots(group, space.name)]
        assert len(slots) == len(set(slots))
    assert set(slots) == {slot.name for slot in generator.spaces[-1].slots if slot.movable}


def test_nothing_changes_in_a_generator_while_it_paints(generator: Generator) -> None:
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    codes, space = first_codes(generator)
    generator.synthesize(codes.requires_grad_(), space).image.sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())
    assert not any(p.requires_grad for p in generator.parameters())
    assert not generator.training


def test_every_network_runs_forward_and_backward_on_a_pretended_gpu(fresh: Generator) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for module in fresh.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, mode.from_tensor(buffer).to("cuda"))
        for space in fresh.spaces:
            codes = torch.randn(2, space.width, device="cuda", requires_grad=True)
            made = fresh.synthesize(codes, space.name, keep=fresh.layers)
            gradient = gradient_by_hand(made.image.square().mean(), codes)
            assert gradient.device.type == made.image.device.type == "cuda"
            assert gradient.shape == codes.shape
        assert fresh.sample([1]).device.type == "cuda"


def gradient_by_hand(output: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """The gradient by calling each node of the graph; autograd's own engine asks the real, missing GPU for streams."""
    waiting: Counter[object] = Counter()
    found, stack = {output.grad_fn}, [output.grad_fn]
    while stack:
        for node, _ in stack.pop().next_functions:
            waiting[node] += 1
            if node is not None and node not in found:
                found.add(node)
                stack.append(node)
    ready = [(output.grad_fn, {0: torch.ones_like(output)})]
    given: dict[object, dict[int, torch.Tensor]] = defaultdict(dict)
    while ready:
        node, gradients = ready.pop()
        if hasattr(node, "variable"):
            assert node.variable is source
            return gradients[0]
        made = node(*(gradients.get(i) for i in range(len(node._input_metadata))))
        for (behind, place), gradient in zip(
            node.next_functions, made if type(made) is tuple else (made,), strict=True
        ):
            if gradient is not None and behind is not None:
                meant = behind._input_metadata[place]
                assert gradient.device.type == meant.device.type
                gradient = gradient.sum_to_size(meant.shape).to(meant.dtype)
                known = given[behind].get(place)
                given[behind][place] = gradient if known is None else known + gradient
            waiting[behind] -= 1
            if behind is not None and not waiting[behind]:
                ready.append((behind, given[behind]))
    raise AssertionError("no gradient reached the codes")


def test_nothing_is_clamped(generator: Generator) -> None:
    codes, space = first_codes(generator)
    assert generator.synthesize(100 * codes, space).image.isfinite().all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g: g.lift(g.sample([1]), "Z", "Y"), "no latent space"),
        (lambda g: g.synthesize(g.sample([1]), "Z", keep=("9",)), "no layer named '9'"),
        (lambda g: g.synthesize(g.sample([1]), "Z").features(next(iter(g.layers))), "no kept layer"),
    ],
)
def test_unknown_spaces_and_layers_are_refused(generator: Generator, call: Callable, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(generator)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_paints_nearly_the_same_picture(fresh: Generator, dtype: str) -> None:
    codes, space = first_codes(fresh)
    exact = fresh.synthesize(codes, space).image
    use_half(fresh, dtype)
    codes = codes.requires_grad_()
    made = fresh.synthesize(codes, space, keep=fresh.layers)
    assert made.image.dtype == torch.float32
    assert {state.x.dtype for state in made.states.values()} >= {getattr(torch, dtype)}
    made.image.mean().backward()
    difference = (made.image - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert difference < (0.1 if dtype == "bfloat16" else 0.02)


def test_half_precision_is_off_on_the_cpu(tmp_path: Path) -> None:
    generator = load("dcgan", tmp_path, dtype="float16")
    assert {buffer.dtype for buffer in generator.buffers()} == {torch.float32}


@pytest.mark.parametrize("architecture", STYLEGANS)
def test_truncation_pulls_towards_the_mean(architecture: str, tmp_path: Path) -> None:
    generator = load(architecture, tmp_path)
    codes, _ = first_codes(generator)
    whole, none = (generator.lift(codes, "Z", "W", truncation=amount) for amount in (1.0, 0.0))
    torch.testing.assert_close(whole, generator.lift(codes, "Z", "W"))
    torch.testing.assert_close(none, generator.mean.expand_as(none))
    by_w = generator.lift(generator.lift(codes, "Z", "W", truncation=0.5), "W", "S")
    torch.testing.assert_close(generator.lift(codes, "Z", "S", truncation=0.5), by_w)
    from_w = generator.lift(generator.lift(codes, "Z", "W"), "W", "W+", truncation=0.5)
    torch.testing.assert_close(generator.lift(codes, "Z", "W+", truncation=0.5), from_w)


@pytest.mark.parametrize("architecture", ["biggan", "dcgan"])
def test_families_without_truncation_say_so(architecture: str, tmp_path: Path) -> None:
    generator = load(architecture, tmp_path)
    codes, space = first_codes(generator)
    with pytest.raises(ValueError, match="no truncation"):
        generator.lift(codes, space, generator.spaces[-1].name, truncation=0.7)


def test_running_pictures_grow_to_the_whole_one(tmp_path: Path) -> None:
    generator = load("stylegan2", tmp_path)
    codes, space = first_codes(generator)
    made = generator.synthesize(codes, space, keep=generator.layers)
    sizes = [made.states[f"{size}.conv1"].rgb.shape[-1] for size in (4, 8, 16, 32, 64)]
    assert sizes == [4, 8, 16, 32, 64]
    assert torch.equal(made.states["64.conv1"].rgb, made.image)
    preview = generator.synthesize(codes, space, keep=("16.conv1",), image=False).states["16.conv1"].rgb
    assert torch.equal(preview, made.states["16.conv1"].rgb)


@pytest.mark.parametrize("architecture", ["stylegan1", "stylegan2"])
def test_noise_is_stored_off_or_random_by_seed(architecture: str, tmp_path: Path) -> None:
    def picture(**options: object) -> torch.Tensor:
        generator = load(architecture, tmp_path, **options)
        return generator.synthesize(*first_codes(generator, 1)).image

    stored, off, random = picture(), picture(noise="off"), picture(noise="random", noise_seed=3)
    assert torch.equal(random, picture(noise="random", noise_seed=3))
    assert not torch.equal(random, picture(noise="random", noise_seed=4))
    assert not torch.equal(stored, off)
    with pytest.raises(UserError, match="no noise named 'on'"):
        picture(noise="on")


def test_samples_of_a_biggan_stay_within_twice_the_truncation(tmp_path: Path) -> None:
    codes = load("biggan", tmp_path, truncation=0.5).sample(range(200))
    assert codes.abs().max() < 1
    assert codes.std() == pytest.approx(0.5 * 0.88, rel=0.03)  # of N(0, 1) cut off at ±2


def test_classes_of_a_biggan_can_be_mixed(tmp_path: Path) -> None:
    one, other, both = (load("biggan", tmp_path, class_index=c) for c in (3, "7", {3: 0.5, 7: 0.5}))
    torch.testing.assert_close(both.first_bias, (one.first_bias + other.first_bias) / 2)


@pytest.mark.parametrize(
    ("architecture", "options", "words"),
    [
        ("biggan", {"class_index": None}, "has 10 classes; choose one"),
        ("biggan", {"class_index": 10}, "no class 10"),
        ("biggan", {"class_index": -1}, "no class -1"),
        ("biggan", {"class_index": "cat"}, "no class 'cat'"),
        ("biggan", {"class_index": {}}, "must be positive"),
        ("biggan", {"truncation": 1.5}, "between 0 and 1"),
        ("biggan", {"noise": "off"}, "takes no noise"),
        ("stylegan2", {"class_index": 1}, "has no classes"),
        ("stylegan2", {"truncation": 0.5}, "takes no truncation"),
        ("stylegan3", {"noise": "off"}, "takes no noise"),
        ("dcgan", {"dtype": "int8"}, "no dtype named 'int8'"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    architecture: str, options: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        load(architecture, tmp_path, **options)
