"""Photos become codes: close to the photo, quick, and never outside what edits can bear."""

from __future__ import annotations

import pytest
import torch

from lelsd_core.errors import UserError
from lelsd_core.inversion import FaceEncoder, Inversion, Prior, build_encoder, refine
from lelsd_core.registry import load_inverter


@pytest.fixture(scope="module")
def opened(editor, astronaut):
    return editor.open(astronaut)


def test_the_astronaut_comes_back_closely(opened):
    assert opened.inversion_l1 <= 0.08


def test_the_error_that_is_told_is_the_error_of_the_picture(editor, astronaut, opened):
    face = editor.aligner.align(astronaut).picture
    picture = editor.synthesize(opened.codes, opened.space)
    assert float((picture - face).abs().mean()) == pytest.approx(opened.inversion_l1, abs=1e-5)


def test_refining_makes_it_better_than_the_encoder_alone(editor, astronaut, opened):
    first = editor.inverter.encode(editor.aligner.align(astronaut).picture)
    assert first.l1 < 0.2
    assert opened.inversion_l1 < 0.7 * first.l1


def test_the_models_own_faces_come_back(editor):
    session = editor.random_face(45)
    face = editor.synthesize(session.codes, session.space)
    start = editor.inverter.encode(face)
    *_, found = editor.inverter.refine(face, start, steps=100)
    assert found.l1 < 0.05


def test_steps_come_one_by_one_and_the_last_has_its_own_error(editor):
    face = editor.synthesize(editor.random_face(1).codes, "S")
    start = editor.inverter.encode(face)
    steps = list(editor.inverter.refine(face, start, steps=3))
    assert [found.step for found in steps] == [0, 1, 2, 3]
    assert steps[0].l1 == pytest.approx(start.l1, abs=1e-4)
    last = editor.generator.synthesize(steps[-1].codes, "S").image
    assert float((last - face).abs().mean()) == pytest.approx(steps[-1].l1, abs=1e-5)


def test_the_prior_costs_nothing_at_its_centre_and_its_weight_one_spread_away():
    prior = Prior(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 3.0]), 0.02)
    assert float(prior.cost(torch.tensor([[1.0, 2.0]]))) == 0
    assert float(prior.cost(torch.tensor([[1.5, -1.0]]))) == pytest.approx(0.02)


def test_a_face_of_another_size_is_refused(editor):
    prior = editor.inverter.prior_in("S")
    with pytest.raises(ValueError, match="must be 64 pixels wide, got 32"):
        next(refine(editor.generator, prior, torch.zeros(1, 3, 32, 32), Inversion(prior.centre[None], "S", 1.0)))


def test_weights_that_are_no_encoder_of_this_kind_are_refused():
    tensors = FaceEncoder(8).state_dict()
    assert build_encoder(tensors, {}).head.out_features == 8
    del tensors["head.weight"]
    with pytest.raises(UserError, match="encoder of another shape"):
        build_encoder(tensors, {})


def test_an_encoder_of_another_generator_is_refused(editor):
    class Other:
        name, fingerprint = "other", "b" * 64

    with pytest.raises(UserError, match="inverts for 'digiface-64', not for 'other'"):
        load_inverter("digiface-encoder", Other())
