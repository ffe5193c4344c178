"""Directions: moving, ranges, files, and every file that is not one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from lelsd_core.directions import Direction, clamp_amounts, load_directions, move
from lelsd_core.errors import UserError
from lelsd_core.weights.safetensors import write_safetensors


def direction(name: str = "mouth", vector=(1.0, 0.0, 0.0), **more) -> Direction:
    """A direction in three columns."""
    return Direction(name, "toy", "f" * 64, "Z", torch.tensor(vector), ("mouth",), **more)


def test_a_move_adds_amount_times_vector():
    codes = torch.zeros(2, 3)
    moved = move(codes, [direction(), direction("nose", (0.0, 1.0, 0.0))], [2.0, -1.0])
    assert moved.tolist() == [[2, -1, 0], [2, -1, 0]]
    assert codes.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_each_sample_can_have_its_own_amounts():
    moved = move(torch.zeros(2, 3), [direction()], torch.tensor([[1.0], [3.0]]))
    assert moved[:, 0].tolist() == [1, 3]


def test_no_direction_gives_the_codes_back():
    codes = torch.ones(1, 3)
    assert move(codes, [], []) is codes


@given(st.permutations([0, 1, 2]))
def test_the_order_of_directions_does_not_matter(order):
    many = [direction(str(i), tuple(float(i == j) for j in range(3))) for i in range(3)]
    amounts = [1.0, -2.0, 0.5]
    moved = move(torch.zeros(1, 3), [many[i] for i in order], [amounts[i] for i in order])
    assert moved.tolist() == [amounts]


def test_numbers_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="1 directions need as many amounts"):
        move(torch.zeros(1, 3), [direction()], [1.0, 2.0])
    with pytest.raises(ValueError, match="directions have 3 columns, codes 4"):
        move(torch.zeros(1, 4), [direction()], [1.0])


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_an_amount_always_ends_up_in_the_range(amount):
    assert -3 <= direction().clamp(amount) <= 3


def test_amounts_are_clamped_and_unknown_names_are_told_with_the_nearest():
    known = (direction("mouth"), direction("nose"))
    assert clamp_amounts(known, {"mouth": 99.0, "nose": -1.0}) == {"mouth": 3.0, "nose": -1.0}
    with pytest.raises(UserError, match=r"'mout'.*did you mean mouth"):
        clamp_amounts(known, {"mout": 1.0})


def test_a_saved_direction_comes_back_whole(tmp_path):
    kept = direction(low=-2.5, high=4.0, ends=("pale", "red"), score=0.4, area=0.02, gain=33.0, facts={"seed": 7})
    kept.save(tmp_path / "mouth.safetensors")
    again = Direction.load(tmp_path / "mouth.safetensors")
    assert torch.equal(again.vector, kept.vector)
    assert replace(again, vector=kept.vector).__dict__ == kept.__dict__
    assert again.title == "mouth: pale – red"


def test_a_file_with_the_slider_scale_of_earlier_versions_still_loads(tmp_path):
    direction(facts={"scale": [-3.0, 0.0, 3.0], "seed": 7}).save(tmp_path / "old.safetensors")
    assert Direction.load(tmp_path / "old.safetensors").facts["seed"] == 7


def test_a_direction_describes_itself_in_one_line():
    text = repr(direction(low=-2.5, high=4.0, score=0.4))
    assert all(word in text for word in ("'mouth'", "toy", "Z", "-2.5 to 4", "0.40"))
    assert "\n" not in text
    assert replace(direction(), parts="mouth").parts == ("mouth",)


BROKEN = {
    "text": b"hello",
    "empty": b"",
    "header bomb": (2**62).to_bytes(8, "little") + b"{}",
    "cut off": None,
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_file_is_told_in_one_sentence(tmp_path, case):
    path = tmp_path / "d.safetensors"
    direction().save(path)
    path.write_bytes(BROKEN[case] if BROKEN[case] is not None else path.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"d\.safetensors (is damaged or cut short|is .*, not a direction)"):
        Direction.load(path)


def test_a_missing_file_and_files_of_other_kinds_are_told(tmp_path):
    with pytest.raises(UserError, match="There is no file"):
        Direction.load(tmp_path / "gone.safetensors")
    save_file({"vector": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="safetensors file of another project"):
        Direction.load(tmp_path / "foreign.safetensors")
    write_safetensors(tmp_path / "encoder.safetensors", {"x": torch.zeros(1)}, {"kind": "encoder"})
    with pytest.raises(UserError, match="is an encoder of this project, not a direction"):
        Direction.load(tmp_path / "encoder.safetensors")


@pytest.mark.parametrize(
    "change",
    [{"vector": torch.tensor([float("nan"), 0, 0])}, {"low": 1.0}, {"high": -1.0}, {"vector": torch.zeros(1, 3)}],
)
def test_a_direction_that_makes_no_sense_is_refused(tmp_path, change):
    replace(direction(), **change).save(tmp_path / "d.safetensors")
    with pytest.raises(UserError, match="not a usable direction"):
        Direction.load(tmp_path / "d.safetensors")


def test_a_header_without_its_fields_is_refused(tmp_path):
    write_safetensors(tmp_path / "d.safetensors", {"vector": torch.zeros(3)}, {"kind": "direction", "name": "x"})
    with pytest.raises(UserError, match="not a whole direction"):
        Direction.load(tmp_path / "d.safetensors")


def test_a_folder_without_directions_is_told(tmp_path):
    with pytest.raises(UserError, match="There are no directions"):
        load_directions(tmp_path)


def test_a_direction_of_another_generator_is_refused(editor):
    mine = editor.directions[0]
    mine.check(editor.generator)
    with pytest.raises(UserError, match="was made for the generator 'toy'"):
        direction().check(editor.generator)
    with pytest.raises(UserError, match="has 3 numbers"):
        replace(mine, vector=torch.zeros(3)).check(editor.generator)
    with pytest.raises(UserError, match="space W"):
        replace(mine, space="W").check(editor.generator)
