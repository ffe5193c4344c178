"""A direction of any space acts on every face of its generator, or is refused in one sentence; never ignored."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lelsd_core.directions import Direction, edited_codes
from lelsd_core.discovery.config import DiscoverConfig
from lelsd_core.editor import Editor, Session
from lelsd_core.errors import UserError
from lelsd_core.evaluation.heldout import HeldOut
from lelsd_core.generators import Generator
from lelsd_core.images import to_pil
from tests.test_generators_contract import FILES, load
from tests.toy import PictureHalves

AMOUNT = 2.0
SPACES = {
    "stylegan1": ("Z", "W", "W+", "S"),
    "stylegan2": ("Z", "W", "W+", "S"),
    "stylegan3": ("Z", "W", "W+", "S"),
    "blaze": ("Z", "W", "W+", "S"),
    "biggan": ("Z", "Z+"),
    "dcgan": ("Z", "S"),
}
LOST_Z = ("stylegan1", "stylegan2", "stylegan3")  # their mapping network cannot be undone; the others' maps are affine
PAIRS = [(name, one, other) for name, spaces in SPACES.items() for one in spaces for other in spaces]


@pytest.fixture(scope="module")
def generators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Generator]:
    return {name: load(name, tmp_path_factory.mktemp(name)) for name in FILES}


def direction_in(generator: Generator, space: str, **more: object) -> Direction:
    vector = torch.randn(generator.space(space).width, generator=torch.Generator().manual_seed(1))
    vector = F.normalize(vector, dim=0)
    return Direction("d", generator.name, generator.fingerprint, space, vector, ("left",), low=-9, high=9, **more)


def photo(generator: Generator, space: str, direction: Direction) -> tuple[Session, Tensor]:
    """A session whose codes are known in one space only, as a photo's are, and the z that it was made of."""
    z = generator.sample([5])
    codes = generator.lift(z, generator.space_names[0], space)
    return Session(codes, space, (direction,), to_pil(torch.zeros(1, 3, 8, 8))), z


def rendered(editor: Editor, session: Session, amount: float = AMOUNT) -> Tensor:
    return editor.edited_picture(session, {"d": amount})


def editor_of(generator: Generator) -> Editor:
    return Editor(generator, None, PictureHalves(), None, [])


@pytest.mark.parametrize(("name", "of", "on"), PAIRS)
def test_a_direction_changes_a_photo_as_if_its_code_were_known_or_is_refused(generators, name, of, on):
    generator = generators[name]
    direction, editor = direction_in(generator, of), editor_of(generator)
    session, z = photo(generator, on, direction)
    if name in LOST_Z and of == "Z" != on:
        with pytest.raises(UserError, match=f"'d' in Z moves a code that this face does not have.*in {on}.*W, W\\+, S"):
            editor.render(session, {"d": AMOUNT})
        return
    known = generator.lift(z, "Z", of)
    direct = generator.synthesize(known + AMOUNT * direction.vector, of).image
    assert not torch.equal(rendered(editor, session, 0.0), direct)
    torch.testing.assert_close(rendered(editor, session), direct, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "of"), [(name, space) for name, spaces in SPACES.items() for space in spaces])
def test_a_random_face_keeps_the_code_that_it_was_sampled_from(generators, name, of):
    generator = generators[name]
    direction, psi = direction_in(generator, of), generator.usual_truncation
    editor = editor_of(generator).with_directions([direction])
    session, finest = editor.random_face(5), generator.space_names[-1]
    z = generator.sample([5])
    if of == "Z":
        codes = generator.lift(z + AMOUNT * direction.vector, "Z", finest, truncation=psi)
    else:
        moved = generator.lift(z, "Z", "W+" if of == "W" else of, truncation=psi)  # StyleGAN1 truncates some rows
        vector = direction.vector[None] if of != "W" else generator.lift(direction.vector[None], "W", "W+")
        codes = generator.lift(moved + AMOUNT * vector, "W+" if of == "W" else of, finest)
    direct = generator.synthesize(codes, finest).image
    torch.testing.assert_close(rendered(editor, session), direct, rtol=1e-3, atol=1e-4)
    assert float((direct - rendered(editor, session, 0.0)).abs().max()) > 1e-4


def test_dcgans_z_moves_under_gains_that_an_inversion_has_changed(generators):
    generator = generators["dcgan"]
    session, z = photo(generator, "S", direction_in(generator, "Z"))
    changed = session.codes + 0.3 * generator.space("S").column_mask()  # all gains and biases
    direct = torch.cat([z + AMOUNT * session.directions[0].vector, changed[:, z.shape[1] :]], 1)
    moved = editor_of(generator).moved_codes(replace(session, codes=changed), {"d": AMOUNT}).codes
    torch.testing.assert_close(moved, direct)


def test_directions_of_several_spaces_add_up_in_any_order(generators):
    generator = generators["stylegan2"]
    several = [replace(direction_in(generator, space), name=space) for space in ("W", "W+", "S")]
    codes = generator.lift(generator.sample([1, 2]), "Z", "W+")
    amounts = torch.tensor([[1.0, -2.0, 3.0], [0.5, 1.0, 0.0]])  # of two codes
    once = edited_codes(generator, codes, "W+", several, amounts).codes
    torch.testing.assert_close(edited_codes(generator, codes, "W+", several[::-1], amounts.flip(1)).codes, once)
    parts = sum(edited_codes(generator, codes, "W+", [d], amounts[:, [i]]).codes for i, d in enumerate(several))
    torch.testing.assert_close(parts - 2 * generator.lift(codes, "W+", "S"), once, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", ["coarse", "middle", "fine", ("coarse", "fine"), "all"])
def test_a_direction_of_w_acts_on_the_rows_of_its_layers_alone(generators, layers):
    generator = generators["stylegan2"]
    direction = direction_in(generator, "W", layers=layers)
    direction.check(generator)
    session, z = photo(generator, "W+", direction)
    names = [layers] if isinstance(layers, str) else layers
    chosen = {layer for name in names for layer in {**generator.groups, "all": generator.layers}[name]}
    styles = generator.lift(session.codes, "W+", "S")
    moved = generator.lift(generator.lift(z, "Z", "W") + AMOUNT * direction.vector, "W", "S")
    expected = [
        after if any(i in step.slots and step.layer.name in chosen for step in generator.steps) else before
        for i, (before, after) in enumerate(
            zip(generator.spaces[-1].split(styles), generator.spaces[-1].split(moved), strict=True)
        )
    ]
    torch.testing.assert_close(
        editor_of(generator).moved_codes(session, {"d": AMOUNT}).codes, torch.cat(expected, 1), rtol=1e-4, atol=1e-5
    )


def test_a_session_limits_a_slider_to_layers_and_the_limit_is_saved(generators, tmp_path):
    generator = generators["stylegan2"]
    session, _ = photo(generator, "W+", direction_in(generator, "W+"))
    limited, editor = session.with_layers({"d": "coarse"}), editor_of(generator)
    changed = editor.moved_codes(limited, {"d": AMOUNT}).codes - editor.moved_codes(session, {}).codes
    read = generator.layer_columns(["coarse"]).bool()
    assert bool(changed[0, read].abs().sum() > 0)
    assert not changed[0, ~read].any()
    limited.directions[0].save(tmp_path / "d.safetensors")
    assert Direction.load(tmp_path / "d.safetensors").layers == ("coarse",)
    with pytest.raises(UserError, match="no direction named 'e'"):
        session.with_layers({"e": "coarse"})
    with pytest.raises(UserError, match=r"no layer named 'thick'.*coarse"):
        replace(limited.directions[0], layers="thick").check(generator)


def test_held_out_samples_measure_directions_of_all_spaces(generators):
    generator = generators["stylegan2"]
    samples = HeldOut(generator, PictureHalves(), "Z", generator.sample([1, 2, 3]))
    for space in generator.space_names:
        direction = direction_in(generator, space)
        codes = generator.lift(samples.codes, "Z", space)
        direct = generator.synthesize(codes + AMOUNT * direction.vector, space).image
        change = (direct - samples.pictures).square().mean((1, 2, 3)).sqrt()
        torch.testing.assert_close(samples.effect(direction, AMOUNT).change, change, rtol=1e-3, atol=1e-5)


def test_a_search_whose_directions_could_not_be_used_on_the_face_is_refused_before_it_starts(generators):
    generator = generators["stylegan2"]
    session, _ = photo(generator, "W+", direction_in(generator, "W+"))
    with pytest.raises(UserError, match="directions in W, W\\+, S"):
        next(editor_of(generator).discover(session, DiscoverConfig(parts="left", space="Z")))
