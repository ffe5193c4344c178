"""A part of a second picture: on every architecture, beside all other edits, in the shell, and never in a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

from lelsd_core.__main__ import main
from lelsd_core.directions import Direction
from lelsd_core.editor import Editor
from lelsd_core.editor.session import Taking, read_recipe, read_take
from lelsd_core.errors import UserError
from lelsd_core.generators import Generator
from lelsd_core.images import to_tensor
from lelsd_core.local import EditedCodes, LocalMove, patches_of
from lelsd_core.provenance import provenance
from lelsd_core.segmenters import Parts, Segmenter
from lelsd_core.transfer import KINDS, name_of, part_named
from tests.test_generators_contract import FILES, load
from tests.test_local import local
from tests.toy import Painter, PictureHalves

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.png"
OTHER = Path(__file__).parents[1] / "demo" / "examples" / "6-made-up-2425.jpg"


class Whole(Segmenter):
    """A part that is everywhere, and one that is nowhere."""

    parts = Parts(("all", "nothing"))

    def segment(self, image, features=None):
        return torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(len(image), 2, *image.shape[-2:])


@pytest.fixture(scope="module", params=FILES)
def generator(request, tmp_path_factory) -> Generator:
    return load(request.param, tmp_path_factory.mktemp(request.param))


def both(part: str, seed: int, amount: float = 1.0) -> dict[str, float]:
    """The amounts that take a part of a made-up face whole."""
    return {name_of(part, kind, seed): amount for kind in KINDS}


@torch.inference_mode()
def test_a_part_that_is_everywhere_is_the_other_picture_and_its_shape_a_mix_of_styles(generator):
    editor, finest = Editor(generator, None, Whole(), None, []), generator.spaces[-1]
    mine, other = editor.random_face(1), editor.random_face(2)
    session = editor.take(mine, "all", other)
    shape, look = (session.directions[i].name for i in (0, 1))
    assert (shape, look) == ("all-shape-from-seed-2", "all-look-from-seed-2")
    whole = editor.edited_picture(session, {shape: 1.0, look: 1.0})
    torch.testing.assert_close(whole, editor.synthesize(other.codes, other.space), rtol=1e-3, atol=1e-4)
    still = editor.edited_picture(session, {shape: 0.0, look: 0.0})
    torch.testing.assert_close(still, editor.synthesize(mine.codes, mine.space))
    names = list(generator.layers)
    coarse = names[: names.index(editor.shape_config.local) + 1]
    columns = generator.layer_columns(coarse)
    codes = [generator.lift(each.codes, each.space, finest.name) for each in (mine, other)]
    mixed = codes[0] + columns * (codes[1] - codes[0])
    torch.testing.assert_close(
        editor.edited_picture(session, {shape: 1.0}), editor.synthesize(mixed, finest.name), rtol=1e-3, atol=1e-4
    )


@torch.inference_mode()
def test_parts_of_several_faces_come_together_in_any_order_and_the_rest_stays(generator):
    editor = Editor(generator, None, PictureHalves(), None, [])
    mine, amounts = editor.random_face(1), both("left", 2, 0.7) | both("right", 3)
    made = [editor.edited_picture(editor.with_takes(mine, names), amounts) for names in (amounts, [*amounts][::-1])]
    torch.testing.assert_close(*made, rtol=1e-3, atol=1e-4)
    one = editor.edited_picture(editor.with_takes(mine, amounts), both("left", 2))
    change = (one - editor.synthesize(mine.codes, mine.space)).abs().mean((0, 1, 2))
    size = generator.resolution
    assert change[: size // 2].mean() > 2 * change[size // 2 :].mean()
    assert editor.with_takes(mine, ["smile", "left-shape-from-nobody"]) is mine


@torch.inference_mode()
def test_moves_of_several_layers_add_up(generator):
    """By hand, where masks are whole: the second code's map, with the first one's change, goes on to its layer."""
    names, finest = list(generator.layers), generator.space_names[-1]
    first, second = names[len(names) // 3], names[-1]
    still, one, two = generator.lift(generator.sample([1, 2, 3]), generator.space_names[0], finest).split(1)
    places = [LocalMove(layer, painted=((1.0,),)) for layer in (second, first)]
    edited = EditedCodes(still, tuple(zip(places, (two, one), strict=True)))
    patches = patches_of(generator, edited, lambda place: place.mask(None))
    made = generator.synthesize(still, finest, patches=patches).image
    a, b, c = (generator.synthesize(each, finest, keep=(first,)).states[first] for each in (still, one, two))
    rgb = None if a.rgb is None else c.rgb + b.rgb - a.rgb
    resume = first, replace(a, x=c.x + b.x - a.x, rgb=rgb)
    state = generator.synthesize(two, finest, keep=(second,), resume=resume, image=False).states[second]
    wanted = generator.synthesize(still, finest, resume=(second, state)).image
    torch.testing.assert_close(made, wanted, rtol=1e-3, atol=1e-4)
    batch = EditedCodes(still.repeat(2, 1), tuple((place, codes.repeat(2, 1)) for place, codes in edited.local))
    patches = patches_of(generator, batch, lambda place: place.mask(None))
    both_rows = generator.synthesize(batch.codes, finest, patches=patches).image
    torch.testing.assert_close(both_rows, made.expand_as(both_rows), rtol=1e-3, atol=1e-4)


def test_a_mask_of_two_pictures_is_their_union_or_what_both_show():
    found, painted = torch.zeros(1, 1, 64, 64), ((1.0,) * 64,) * 32 + ((0.0,) * 64,) * 32
    found[..., :32] = 1
    exact = {"painted": painted, "dilate": 0.0, "feather": 0.0}
    either, shared = (
        LocalMove("l", ("left",), masks=how, **exact).mask(lambda _: found)[0, 0] for how in ("union", "intersection")
    )
    assert either[:29].min() > 1 - 1e-5
    assert either[:, :29].min() > 1 - 1e-5
    assert either[35:, 35:].max() < 1e-5
    assert shared[:29, :29].min() > 1 - 1e-5
    assert shared[35:].max() == shared[:, 35:].max() == 0


def test_a_taken_part_acts_beside_sliders_and_protection(editor):
    session, amounts = editor.with_takes(editor.random_face(41), both("mouth", 45)), both("mouth", 45)
    mouth, smiling = (to_tensor(editor.render(session, a)) for a in (amounts, amounts | {"smile": 2.4}))
    assert (mouth - to_tensor(session.original)).abs().max() > 0.2
    assert (smiling - mouth).abs().max() > 0.2
    half = to_tensor(editor.render(session, both("mouth", 45, 0.5)))
    assert (half - mouth).abs().mean() < (to_tensor(session.original) - mouth).abs().mean()
    plain, kept = (editor.edit(session, amounts, protect=p) for p in (0.0, 1.0))
    assert kept.locality.parts == ("mouth",)
    assert kept.locality.outside < 0.6 * plain.locality.outside


def test_a_face_that_does_not_fit_is_told(editor):
    mine = editor.random_face(8564)
    with pytest.raises(UserError, match="no part named 'moth'; did you mean mouth"):
        editor.take(mine, "moth", editor.random_face(1))
    with pytest.raises(UserError, match=r"this one is of 'blaze-256', not of 'digiface-64'\. Open both with one model"):
        editor.take(mine, "mouth", replace(editor.random_face(1), generator="blaze-256"))
    with pytest.raises(UserError, match=r"looks another way \(its nose is 3\d% of the eye distance"):
        editor.take(mine, "mouth", editor.random_face(18136))
    assert editor.take(mine, "background", editor.random_face(18136)).directions[-1].parts == ("background",)
    empty = Editor(editor.generator, None, Whole(), None, [])
    with pytest.raises(UserError, match="The other picture shows no nothing to take; choose another picture"):
        empty.take(mine, "nothing", empty.random_face(1))


def test_a_picture_without_the_background_that_is_taken_is_told(editor):
    session = editor.with_takes(editor.random_face(41), both("background", 45))
    shape = session.directions[-2]
    corner = ((0.0,) * 16,) * 15 + ((0.0,) * 15 + (1.0,),)  # where the eyes are not
    nowhere = replace(shape, local=replace(shape.local, around=("eyes",), painted=corner))
    with pytest.raises(UserError, match="shows no eyes to change; move another slider"):
        editor.render(replace(session, directions=(nowhere,)), {nowhere.name: 1.0})


def test_a_generator_of_one_layer_takes_the_shape_alone():
    editor = Editor(Painter(), None, PictureHalves(), None, [])
    session = editor.take(editor.random_face(1), "left", editor.random_face(2))
    assert [direction.name for direction in session.directions] == ["left-shape-from-seed-2"]
    made = editor.edited_picture(session, {"left-shape-from-seed-2": 1.0})
    torch.testing.assert_close(made[..., :3], to_tensor_of(editor, 2)[..., :3])
    torch.testing.assert_close(made[..., 6:], to_tensor_of(editor, 1)[..., 6:])


def to_tensor_of(editor: Editor, seed: int) -> torch.Tensor:
    """The picture of a seed."""
    session = editor.random_face(seed)
    return editor.synthesize(session.codes, session.space)


def test_a_photo_s_part_stays_out_of_recipes_files_and_metadata(editor, tmp_path):
    photo = replace(editor.random_face(45), seed=None, photo=Image.new("RGB", (8, 8)))
    session = editor.take(editor.with_takes(editor.random_face(41), both("nose", 45)), "mouth", photo)
    twice = editor.take(session, "mouth", photo)
    assert [d.name for d in twice.directions[-4:]] == [
        *("mouth-shape-from-photo", "mouth-look-from-photo"),
        *("mouth-shape-from-photo-2", "mouth-look-from-photo-2"),
    ]
    amounts = both("nose", 45, 0.5) | {"mouth-shape-from-photo": 1.0, "mouth-look-from-photo": 1.0, "smile": 1.0}
    kept = json.loads(session.recipe(amounts))
    assert kept == {"generator": "digiface-64", "amounts": both("nose", 45, 0.5) | {"smile": 1.0}}
    assert "photo" not in provenance(session, amounts)["comment"].partition("{")[2]
    for direction in session.directions[-2:]:
        with pytest.raises(UserError, match="is a part of another face; it is not saved as a file"):
            direction.save(tmp_path / "d.safetensors")
    assert not [*tmp_path.iterdir()]
    assert editor.with_takes(editor.random_face(41), kept["amounts"]).directions[-1].name == "nose-look-from-seed-45"


def test_a_face_of_unusual_truncation_has_no_seed_that_makes_it_again(tmp_path):
    generator = load("stylegan2", tmp_path)
    editor = Editor(generator, None, PictureHalves(), None, [])
    assert [editor.random_face(3, psi).seed for psi in (None, 0.7, 0.5)] == [3, 3, None]
    session = editor.take(editor.random_face(1), "left", editor.random_face(3, 0.5))
    assert session.directions[0].name == "left-shape-from-face"
    assert session.directions[0].personal


@given(some.text(), some.integers(0, 2**31 - 1), some.sampled_from(KINDS))
def test_a_name_says_which_part_it_takes_of_which_face(part, seed, kind):
    found = part_named(name_of(part or "a", kind, seed))
    assert found is None or found == (part or "a", seed)
    assert part_named(f"hair-{kind}-from-seed-{seed}") == ("hair", seed)


@pytest.mark.parametrize("name", ["smile", "hair-look", "hair-look-from-photo", "a-look-from-seed-4294967296", ""])
def test_other_names_take_nothing(name):
    assert part_named(name) is None


@pytest.mark.parametrize(
    ("text", "taking"),
    [
        ("mouth=seed:7", Taking("mouth", 7, 1.0, ("shape",))),
        ("mouth=seed:7@shape,look", Taking("mouth", 7, 1.0, KINDS)),
        ("hair=a.jpg", Taking("hair", Path("a.jpg"), 1.0, KINDS)),
        ("hair = seed:7@0.5", Taking("hair", 7, 0.5, KINDS)),
        ("hair=a.jpg@look", Taking("hair", Path("a.jpg"), 1.0, ("look",))),
        ("hair=a.jpg@look,0.25,shape", Taking("hair", Path("a.jpg"), 0.25, KINDS)),
        ("hair=me@home.jpg", Taking("hair", Path("me@home.jpg"), 1.0, KINDS)),
        ("hair=me@home.jpg@0", Taking("hair", Path("me@home.jpg"), 0.0, KINDS)),
    ],
)
def test_what_the_shell_takes(text, taking):
    assert read_take(text) == taking


@pytest.mark.parametrize(
    ("take", "words"),
    [
        ("mouth", r"--take takes PART=PHOTO or PART=seed:N such as mouth=seed:7@0.5, got 'mouth'"),
        ("=a.jpg", "takes PART=PHOTO"),
        ("mouth=@1", "no file @1"),
        ("mouth=seed:7@1.5", "the strength is 1.5; it must be from 0 to 1"),
        ("mouth=seed:x", "a seed is a whole number from 0 to 2147483647, not 'x'"),
        ("mouth=seed:99999999999", "a seed is a whole number"),
        ("moth=seed:7", "no part named 'moth'; did you mean mouth"),
        (f"moth={OTHER}", "no part named 'moth'"),
        ("mouth=gone.jpg", "no file gone.jpg"),
        (f"mouth={Path(__file__)}", "not a picture"),
    ],
)
def test_the_shell_says_what_is_wrong_with_a_part(take, words, tmp_path, capsys):
    assert main(["edit", str(ASTRONAUT), str(tmp_path / "o.png"), "--take", take]) == 1
    assert words.replace("\\", "") in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_the_shell_takes_parts_of_a_photo_and_of_a_seed_and_keeps_what_others_may_see(tmp_path, capsys):
    def edited(name: str, *more: str) -> np.ndarray:
        out = str(tmp_path / f"{name}.png")
        assert main(["edit", str(ASTRONAUT), out, "--crop", "--steps", "0", "--json", *more]) == 0
        return np.asarray(Image.open(out)).astype(int)

    saved = tmp_path / "r.json"
    takes = ["--take", f"mouth={OTHER}@0.8,shape,look", "--take", "hair=seed:45", "--set", "nose=2"]
    whole = edited("whole", *takes, "--save-recipe", str(saved))
    out = capsys.readouterr().out
    assert "taken from photos are not kept" in out
    told = json.loads(out.splitlines()[-1])["amounts"]
    photo = {"mouth-shape-from-photo": 0.8, "mouth-look-from-photo": 0.8}
    assert told == {"nose": 2} | both("hair", 45) | photo
    assert read_recipe(saved)[0] == {"nose": 2} | both("hair", 45)
    hair, shape = edited("hair", "--recipe", str(saved)), edited("shape", "--take", "hair=seed:45@shape")
    assert np.abs(whole - hair)[36:].max() > 20
    assert np.array_equal(hair, edited("same", "--take", "hair=seed:45", "--set", "nose=2"))
    assert not np.array_equal(hair, shape)
    animation = tmp_path / "a.gif"
    assert main(["edit", str(ASTRONAUT), str(animation), "--steps", "0", "--take", "hair=seed:45", "--crop"]) == 0
    assert Image.open(animation).n_frames > 1


def test_a_photo_that_a_part_is_taken_from_is_not_overwritten(tmp_path, capsys):
    (other := tmp_path / "other.png").write_bytes(ASTRONAUT.read_bytes())
    assert main(["edit", str(ASTRONAUT), str(other), "--take", f"mouth={other}"]) == 1
    assert "would be written over a photo" in capsys.readouterr().err


def test_directions_that_lead_to_a_code_are_reached_from_any_other(generator):
    """Half way, and all the way, whatever else moves; in the finest space."""
    finest = generator.spaces[-1]
    goal = generator.lift(generator.sample([2]), generator.space_names[0], finest.name)[0]
    owner = generator.name, generator.fingerprint, finest.name, goal
    towards = Direction("to", *owner, low=0.0, high=1.0, goal=True)
    editor = Editor(generator, None, PictureHalves(), None, [towards, local(generator, finest.name, local=None)])
    session = editor.random_face(1)
    start = generator.lift(session.codes, session.space, finest.name)
    torch.testing.assert_close(editor.moved_codes(session, {"to": 0.5}).codes, (start + goal) / 2)
    moved = editor.moved_codes(session, {"to": 1.0, "d": 2.0}).codes
    torch.testing.assert_close(moved, goal + 2 * editor.directions[1].vector[None], rtol=1e-4, atol=1e-4)
