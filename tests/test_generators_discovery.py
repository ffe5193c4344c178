"""Directions can be found in every space of every architecture, for all layers and for a group of them."""

from __future__ import annotations

import pytest
from torch import Tensor

from lelsd_core import DiscoverConfig, UserError, discover
from lelsd_core.generators import Generator
from tests.test_generators_contract import FILES, load
from tests.toy import PictureHalves


@pytest.fixture(scope="module", params=FILES)
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return load(request.param, tmp_path_factory.mktemp(request.param))


def found(generator: Generator, **options: object) -> Tensor:
    """The direction (D,) of a short discovery."""
    segmenter = PictureHalves()
    config = DiscoverConfig(parts=("left",), steps=2, batch=2, **options).check(generator, segmenter)
    *_, last = discover(generator, segmenter, config)
    return last.directions[0].vector


def test_every_space_gives_a_direction(generator: Generator) -> None:
    for space in generator.spaces:
        vector = found(generator, space=space.name)
        assert vector.shape == (space.width,)
        assert vector.isfinite().all()
        assert vector.abs().max() > 0


def test_a_group_of_layers_moves_only_its_slots(generator: Generator) -> None:
    space = generator.spaces[-1]
    for group in generator.groups:
        wanted = generator.group_slots(group, space.name)
        parts = space.split(found(generator, space=space.name, slots=(group,)))
        moved = {slot.name for slot, part in zip(space.slots, parts, strict=True) if part.abs().max() > 0}
        assert moved == set(wanted)


def test_spaces_without_layers_have_no_groups(generator: Generator) -> None:
    with pytest.raises(UserError, match="Space Z has no coarse layers"):
        found(generator, space="Z", slots=("coarse",))
