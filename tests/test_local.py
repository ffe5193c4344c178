"""Local moves: the formula on every architecture, their masks, their files, and their place beside all other edits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lelsd_core.directions import Direction, edited_codes
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.discovery.search import discover
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError
from lelsd_core.evaluation.calibration import calibrate
from lelsd_core.generators import Generator
from lelsd_core.generators.base import Patch, State
from lelsd_core.generators.dcgan import DCGAN, mixed_convolution, taps_of
from lelsd_core.images import to_tensor
from lelsd_core.local import LocalMove, soft_mask
from lelsd_core.registry import load_generator
from lelsd_core.seeds import HELD_OUT
from lelsd_core.segmenters import part_mask
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors
from tests.test_generators_contract import FILES, load
from tests.toy import QUICK, Blind, Halves, Painter, PictureHalves

HALF = 0.5 + 1e-6  # of the frame: the right half


@pytest.fixture(scope="module", params=FILES)
def generator(request, tmp_path_factory) -> Generator:
    return load(request.param, tmp_path_factory.mktemp(request.param))


def layer_of(generator: Generator) -> str:
    """The last layer of at most half the picture's size."""
    return [name for name, layer in generator.layers.items() if layer.size <= generator.resolution // 2][-1]


def local(generator: Generator, space: str | None = None, name: str = "d", seed: int = 1, **more) -> Direction:
    """A local move around the left half."""
    space = space or generator.space_names[0]
    vector = torch.randn(generator.space(space).width, generator=torch.Generator().manual_seed(seed))
    vector = F.normalize(vector * generator.space(space).column_mask(), dim=0)
    more = {"parts": ("left",), "local": LocalMove(layer_of(generator))} | more
    return Direction(name, generator.name, generator.fingerprint, space, vector, low=-9.0, high=9.0, **more)


def blended(generator: Generator, before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
    """The picture by the formula, with codes of the finest space, and a mask over the picture."""
    layer, finest = generator.layers[layer_of(generator)], generator.space_names[-1]
    r, moved = (generator.synthesize(codes, finest, keep=(layer.name,)).states[layer.name] for codes in (before, after))
    mask = F.interpolate(mask, (layer.size, layer.size), mode="bilinear", antialias=True)
    x = r.x + F.pad(mask, (layer.margin,) * 4, mode="replicate") * (moved.x - r.x)
    rgb = None if r.rgb is None else r.rgb + mask * (moved.rgb - r.rgb)
    return generator.synthesize(before, finest, resume=(layer.name, State(x, rgb))).image


@torch.inference_mode()
def test_a_local_move_is_the_formula_in_every_space_of_every_architecture(generator):
    editor = Editor(generator, None, PictureHalves(), None, [])
    z, (first, *_, finest) = generator.sample([5]), generator.space_names
    mask = part_mask(PictureHalves().segment(torch.zeros(1, 3, *(generator.resolution,) * 2)), Halves.parts, "left")
    whole = LocalMove(layer_of(generator), painted=((1.0,),))  # DCGAN blends before its ReLU: the same where M is 1
    for space in generator.space_names:
        direction = local(generator, space, **({"local": whole} if isinstance(generator, DCGAN) else {}))
        session = replace(editor.with_directions([direction]).random_face(5), truncation=None)
        still = generator.lift(z, first, finest)
        session = replace(session, codes=still, space=finest)
        start = generator.lift(z, first, space)
        after = generator.lift(start + 2.0 * direction.vector, space, finest)
        wanted = blended(generator, still, after, direction.local.mask(lambda _: mask))
        made = editor.edited_picture(session, {"d": 2.0})
        torch.testing.assert_close(made, wanted, rtol=1e-3, atol=1e-4)
        assert (made - generator.synthesize(still, finest).image).abs().max() > 1e-4, space


@pytest.mark.parametrize("count", [1, 3])
def test_maps_that_are_mixed_before_a_convolution_are_as_if_mixed_behind_it(count):
    random = torch.Generator().manual_seed(0)
    sizes = (2, 5, 4, 3), (count, 2, 5, 4, 3), (count, 2, 1, 8, 6), (5, 7, 4, 4)
    still, changes, masks, weight = (torch.randn(size, generator=random) for size in sizes)

    def convolved(x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, weight, stride=2, padding=1)

    wanted = convolved(still) + sum(mask * convolved(change) for mask, change in zip(masks, changes, strict=True))
    torch.testing.assert_close(mixed_convolution(still, changes, masks, taps_of(weight)), wanted, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_local_moves_work_in_half_precision():
    plain, half = (load_generator("digiface-64", dtype=dtype) for dtype in (None, "bfloat16"))
    codes, finest = plain.lift(plain.sample([1, 2]), "Z", "S"), "S"
    place = LocalMove.in_box("8.conv", (0.2, 0.6, 0.8, 1.0))
    mask = place.mask(lambda _: torch.ones(1, 1, 64, 64))
    made = []
    for network in (plain, half):
        patches = network.let_in("8.conv", codes[:1], [codes[1:]], [mask])
        made.append(network.synthesize(codes[:1], finest, patches=patches).image)
    changed = (made[0] - plain.synthesize(codes[:1], finest).image).abs().mean()
    assert (made[1] - made[0]).abs().mean() < 0.1 * changed


@torch.inference_mode()
def test_nothing_changes_outside_but_what_later_layers_carry_there(generator):
    """Three pixels of the blended map bound what convolutions reach, but for StyleGAN1, whose norms see all of a map.

    StyleGAN3's low-pass filters fade out, further than three pixels.
    """
    spread = {"StyleGAN1": 0.3, "StyleGAN3": 0.15}.get(type(generator).__name__, 0.02)
    place = LocalMove(layer_of(generator), dilate=0.0, feather=0.0)
    editor = Editor(generator, None, PictureHalves(), None, [local(generator, local=place)])
    session, size = editor.random_face(5), generator.resolution
    change = editor.edited_picture(session, {"d": 4.0}) - editor.edited_picture(session, {})
    layer = generator.layers[place.layer]
    reach = 3 * size // layer.size
    left, right = change[..., : size // 2].abs(), change[..., size // 2 + reach :].abs()
    assert left.max() > 1e-4
    assert right.numel() == 0 or right.max() < spread * left.max()


def test_local_and_global_moves_act_together_in_any_order(generator):
    finest = generator.space_names[-1]
    right = local(generator, name="right", seed=2, parts=("right",), local=LocalMove(layer_of(generator)))
    many = [
        local(generator),
        right,
        local(generator, finest, "global", 3, local=None),
        local(generator, name="e", seed=4),
    ]
    codes = generator.lift(generator.sample([1, 2]), generator.space_names[0], finest)
    origin = {"sampled": generator.sample([1, 2])}
    amounts = torch.tensor([[1.0, -2.0, 3.0, 0.5], [0.5, 1.0, 0.0, 1.0]])
    once = edited_codes(generator, codes, finest, many, amounts, **origin)
    again = edited_codes(generator, codes, finest, many[::-1], amounts.flip(1), **origin)
    torch.testing.assert_close(once.codes, again.codes)
    assert len(once.local) == 2, "two moves of one place add up in the code"
    by_place = dict(again.local)
    for place, moved in once.local:
        torch.testing.assert_close(moved, by_place[place])
    alone = edited_codes(generator, codes, finest, many[2:3], amounts[:, 2:3])
    torch.testing.assert_close(once.codes, alone.codes)
    both = edited_codes(generator, codes, finest, [many[0], many[3]], amounts[:, [0, 3]], **origin).local[0][1]
    torch.testing.assert_close(dict(once.local)[many[0].local] - once.codes, both - codes, rtol=1e-3, atol=1e-4)


@torch.inference_mode()
def test_patches_add_up_and_one_of_a_second_picture_transfers_a_part(generator):
    finest, name = generator.space_names[-1], layer_of(generator)
    codes = generator.lift(generator.sample([1, 2, 3]), generator.space_names[0], finest)
    states = [generator.synthesize(each, finest, keep=(name,)).states[name] for each in codes.split(1)]
    size = generator.resolution
    left = torch.arange(size)[None, None, None].expand(1, 1, size, size).lt(size // 2).float()

    def feature(*patches: Patch) -> Tensor:
        return generator.synthesize(codes[:1], finest, keep=(name,), patches=patches).states[name].x

    one, two = Patch({name: states[1]}, left), Patch({name: states[2]}, 1 - left)
    torch.testing.assert_close(feature(one, two), feature(two, one))
    torch.testing.assert_close(feature(one, two) - feature(two), feature(one) - feature(), rtol=1e-3, atol=1e-4)
    whole = generator.synthesize(codes[:1], finest, patches=[Patch({name: states[1]}, torch.ones(1, 1, size, size))])
    wanted = generator.synthesize(codes[:1], finest, resume=(name, states[1])).image
    torch.testing.assert_close(whole.image, wanted, rtol=1e-3, atol=1e-4)


@torch.inference_mode()
def test_only_the_layers_up_to_the_blend_are_run_again(generator, monkeypatch):
    editor, rendered = Editor(generator, None, PictureHalves(), None, [local(generator)]), []
    session, runs = editor.random_face(5), [step.run for step in generator.steps]
    blend = list(generator.layers).index(layer_of(generator))

    def counted(index: int):
        return lambda *arguments: (rendered.append(index), runs[index](*arguments))[1]

    monkeypatch.setattr(generator, "steps", tuple(replace(s, run=counted(i)) for i, s in enumerate(generator.steps)))
    editor.edited_picture(session, {"d": 1.0})
    last = blend - isinstance(generator, DCGAN)  # whose blended layer is made from what is before it
    assert rendered == [*range(last + 1), *range(blend + 1, len(runs))]


def test_protection_and_a_local_move_leave_the_rest_alone(editor):
    mouth = shipped(editor)
    session = editor.with_directions([mouth]).random_face(47)
    plain, kept = (editor.edit(session, {mouth.name: 3.0}, protect=p) for p in (0.0, 1.0))
    assert kept.locality.score > 2 * plain.locality.score
    change = (to_tensor(kept.picture) - to_tensor(session.original)).abs().amax(1)[0] * 127.5
    assert change[:24].max() <= 1, "hair and brows"
    assert change.max() > 20


def shipped(editor: Editor, around: tuple[str, ...] = (), parts: tuple[str, ...] = ("mouth",)) -> Direction:
    """A local move of the model that ships, in a random direction."""
    vector = F.normalize(torch.randn(100, generator=torch.Generator().manual_seed(3)), dim=0)
    generator = editor.generator
    place = LocalMove("8.conv", around)
    return Direction("m", generator.name, generator.fingerprint, "Z", vector, parts, low=-4.0, high=4.0, local=place)


def test_a_part_that_the_picture_does_not_show_is_told(tmp_path):
    painter = Painter()
    place = LocalMove("8.paint")
    direction = Direction("d", "painter", "a" * 64, "Z", painter.factors(0)[0], ("left",), local=place)
    editor = Editor(painter, None, Blind(), None, [direction])
    session = editor.random_face(1)
    with pytest.raises(UserError, match="shows no left to change; move another slider"):
        editor.render(session, {"d": 1.0})
    assert np.array_equal(editor.render(session, {}), session.original), "nothing is lost"


@given(st.integers(8, 70), st.floats(0, 0.3), st.floats(0, 0.3))
def test_a_soft_mask_is_whole_up_to_its_dilation_and_gone_behind_its_feather(size, dilate, feather):
    masks = torch.zeros(1, 1, size, size)
    masks[..., size // 2, size // 2] = 1
    soft = soft_mask(masks, dilate, feather)[0, 0, size // 2]
    distance = (torch.arange(size) - size // 2).abs()
    assert soft.min() >= 0
    assert soft.max() <= 1 + 1e-6
    assert (soft[distance <= int(size * dilate) - 1] > 1 - 1e-5).all()
    assert (soft[distance > size * (dilate + feather) + 4] < 1e-6).all()
    assert (soft[size // 2 :].diff() <= 1e-6).all(), "it falls"


def test_a_box_covers_what_it_says():
    rows = torch.tensor(LocalMove.in_box("8.conv", (0.25, 0.5, 0.75, 1.0)).painted)
    assert rows.shape == (64, 64)
    assert rows[32:, 16:48].min() == 1
    assert rows.sum() == 32 * 32


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LocalMove("l", painted=((0.0, 0.0),)), "region is empty; paint"),
        (lambda: LocalMove("l", painted=((0.0, 2.0),)), "numbers from 0 to 1"),
        (lambda: LocalMove("l", painted=((0.0,), (1.0, 1.0))), "rows of one length"),
        (lambda: LocalMove("l", dilate=-0.1), "dilate is -0.1; it must be from 0 to 1"),
        (lambda: LocalMove("l", feather=3), "feather is 3;"),
        (lambda: LocalMove.in_box("l", (0.5, 0.5, 0.25, 1)), "box is 0.5 0.5 0.25 1; it takes left, top, right"),
        (lambda: LocalMove.in_box("l", (0, 0, 64, 64)), "in shares of the frame"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_a_file_carries_the_place_and_older_and_newer_ones_are_known(tmp_path, generator):
    path = tmp_path / "d.safetensors"
    for place in (LocalMove("16.conv", ("left",), 0.1, 0.2), LocalMove.in_box("8.conv", (0, 0, 0.5, 1))):
        local(generator, local=place).save(path)
        assert Direction.load(path).local == place
        assert Direction.load(path).kind == "shape"
    tensors, facts = read_safetensors(path, "direction")
    write_safetensors(path, tensors, facts | {"version": 4})
    with pytest.raises(UserError, match=r"of version 4; this program reads versions up to 3\. Update it"):
        Direction.load(path)
    for broken in ({"layer": "x"}, {**facts["local"], "dilate": 9}, {**facts["local"], "painted": [[0]]}, 5):
        write_safetensors(path, tensors, facts | {"local": broken})
        with pytest.raises(UserError, match=r"is not a (whole|usable) direction"):
            Direction.load(path)
    local(generator, local=None).save(path)
    assert "version" not in read_safetensors(path, "direction")[1], "earlier programs read it"
    assert Direction.load(path).kind == "look"


def test_a_layer_that_the_generator_lacks_is_told(generator):
    with pytest.raises(UserError, match=r"no layer named '7\.nothing'"):
        local(generator, local=LocalMove("7.nothing")).check(generator)


SEARCH = {"parts": ("mouth",), "steps": 30, "batch": 4, "samples": 32, "least": 1.0, "most": 4.0}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"local": "9.conv"}, "no layer named '9.conv'.*8.conv"),
        ({"around": ("hair",)}, "A local move needs a layer; choose one of 4.conv, 8.conv"),
        ({"box": (0, 0, 1, 1)}, "needs a layer"),
        ({"local": "8.conv", "around": ("ear",)}, "ear"),
        ({"local": "8.conv", "around": ("hair",), "box": (0, 0, 1, 1)}, "give one of them"),
        ({"local": "8.conv", "painted": ((0.0, 0.0), (0.0, 0.0))}, "region is empty"),
        ({"local": "16.conv", "layers": ("8.conv",)}, "read at 8.conv, before the local move is let in at 16.conv"),
        ({"local": "8.conv", "compare": "colours"}, "thing to keep apart"),
    ],
)
def test_searches_that_cannot_be_are_refused(editor, fields, words):
    config = DiscoverConfig(**SEARCH | {"space": "Z"} | fields)
    with pytest.raises(UserError, match=words):
        config.check(editor.generator, editor.segmenter)


def test_a_search_finds_a_local_move_that_is_measured_and_used_like_any_other(editor, astronaut, tmp_path):
    generator, segmenter = editor.generator, editor.segmenter
    config = DiscoverConfig.shapes(generator, **SEARCH)
    scores = [progress.score for progress in discover(generator, segmenter, config)]
    assert np.mean(scores[-5:]) > np.mean(scores[:5]) + 0.05
    *_, last = discover(generator, segmenter, config)
    found = last.directions[0]
    assert (found.local.layer, found.local.around, found.space) == ("8.conv", ("mouth",), "Z")
    calibrated = calibrate(generator, segmenter, found, HELD_OUT[:16])
    assert calibrated.gain > 8
    calibrated.save(tmp_path / "m.safetensors")
    again = Direction.load(tmp_path / "m.safetensors")
    with_it = editor.with_directions([replace(again, name="shape")])
    session = with_it.open(astronaut, steps=20)
    edit = editor.edit(session, {"shape": again.high})
    assert edit.locality.score > 5 * edit.locality.area


class Twins(Painter):
    """A painter whose last factor paints just what its first one does, on the left."""

    def __init__(self) -> None:
        super().__init__()
        self.patterns = torch.cat([self.patterns[:5], self.patterns[:1]])


def test_directions_that_do_the_same_leave_each_other_only_where_changes_are_compared():
    twins = Twins()
    starts, varied = list(twins.factors(0, 5)), {}
    for compare in ("vectors", "changes"):
        config = replace(QUICK, count=2, compare=compare, hold=0.0, apart=1.0)
        *_, last = discover(twins, Halves(), config, starts=starts)
        changes = [twins.paint(direction.vector[None]).flatten() for direction in last.directions]
        varied[compare] = float(F.cosine_similarity(*changes, dim=0).abs())
        assert last.score > 0.95
    assert varied["vectors"] > 0.99, "at right angles, and yet the same"
    assert varied["changes"] < 0.3


def test_a_search_starts_where_it_is_told_and_is_held_there(editor):
    generator, segmenter = editor.generator, editor.segmenter
    start = F.normalize(torch.randn(100, generator=torch.Generator().manual_seed(7)), dim=0)
    near = []
    for hold in (0.0, 5.0):
        config = DiscoverConfig.shapes(generator, **SEARCH | {"steps": 10, "hold": hold})
        *_, last = discover(generator, segmenter, config, starts=[start])
        near.append(float(last.directions[0].vector @ start))
    assert near[1] > near[0] > 0.3
    with pytest.raises(UserError, match=r"starts are \[\(3,\)\]; at most 1 can be given, each \(100,\)"):
        next(discover(generator, segmenter, config, starts=[torch.ones(3)]))
