"""Inversion: close to the photo, fast, and close enough to the prior for edits to work."""

from __future__ import annotations

from copy import copy

import pytest
import torch

from lelsd_core.editor import InversionOptions
from lelsd_core.errors import UserError
from lelsd_core.inversion import (
    CLOSENESS,
    FaceEncoder,
    Inversion,
    Prior,
    SampleInverter,
    build_encoder,
    inverters,
    refine,
    sampled_prior,
)
from lelsd_core.inversion.refine import STEPS
from lelsd_core.registry import load_inverter
from tests.bench import inversion as bench


@pytest.fixture(scope="module")
def opened(editor, astronaut):
    return editor.open(astronaut)


def test_the_astronaut_comes_back_closely(opened):
    assert opened.inversion_l1 <= 0.075


def test_inversion_l1_is_the_error_of_the_picture(editor, astronaut, opened):
    face = editor.aligner.cut(astronaut, *editor.aligner.find(astronaut)).picture
    picture = editor.synthesize(opened.codes, opened.space)
    assert float((picture - face).abs().mean()) == pytest.approx(opened.inversion_l1, abs=1e-5)


def test_refining_makes_it_better_than_the_encoder_alone(editor, astronaut, opened):
    first = editor.inverter.encode(editor.aligner.cut(astronaut, *editor.aligner.find(astronaut)).picture)
    assert first.l1 < 0.2
    assert opened.inversion_l1 < 0.7 * first.l1


def test_no_steps_leave_the_encoders_guess(editor, astronaut):
    first = editor.inverter.encode(editor.aligner.cut(astronaut, *editor.aligner.find(astronaut)).picture)
    session = editor.open(astronaut, steps=0)
    assert torch.equal(session.codes, first.codes)
    assert session.metrics is session.encoder_metrics
    assert session.inversion_l1 == pytest.approx(first.l1, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_few_steps_are_better_than_none(editor, astronaut, steps):
    face = editor.aligner.cut(astronaut, *editor.aligner.find(astronaut)).picture
    start = editor.inverter.encode(face)
    *_, refined = editor.inverter.refine(face, start, steps=steps)
    assert refined.l1 < start.l1


def test_a_start_that_nothing_betters_comes_back(editor):
    session = editor.random_face(45)
    face = editor.synthesize(session.codes, session.space)
    start, nothing = Inversion(session.codes, session.space, 0.0), Prior(session.codes[0], torch.ones(1), 0.0)
    *_, refined = refine(editor.generator, nothing, face, start, steps=3)
    assert torch.equal(refined.codes, session.codes)
    assert refined.l1 < 1e-6


def test_the_models_own_faces_come_back(editor):
    session = editor.random_face(45)
    face = editor.synthesize(session.codes, session.space)
    start = editor.inverter.encode(face)
    *_, refined = editor.inverter.refine(face, start, closeness="closer to the photo", steps=240)
    assert refined.l1 < 0.025


def test_closer_to_the_photo_is_closer_and_easier_to_edit_is_nearer_to_the_prior(editor, astronaut):
    face = editor.aligner.cut(astronaut, *editor.aligner.find(astronaut)).picture
    start, prior = editor.inverter.encode(face), editor.inverter.prior_in("S")
    ends = []
    for closeness in CLOSENESS:  # as many steps for all, so that only the prior differs
        *_, refined = editor.inverter.refine(face, start, closeness=closeness, steps=120)
        ends.append(refined)
    errors, costs = [refined.l1 for refined in ends], [float(prior.cost(refined.codes)) for refined in ends]
    assert errors[0] > errors[-1]
    assert costs == sorted(costs)


def test_an_unknown_closeness_raises(editor):
    face = editor.synthesize(editor.random_face(1).codes, "S")
    with pytest.raises(UserError, match=r"'closer to photo'.* closer to the photo"):
        next(editor.inverter.refine(face, editor.inverter.encode(face), closeness="closer to photo"))


def test_edits_work_on_the_inversion_of_the_astronaut(editor, opened):
    kept = bench.kept_gains(editor, opened.codes)
    assert set(kept) == {direction.name for direction in editor.directions}
    assert min(kept.values()) >= 0.5


def test_a_bench_case_has_the_numbers_of_the_refinement(editor, astronaut):
    names = [name for name, _ in bench.variants(astronaut)]
    assert names == ["photo", "tighter", "looser", "turned 15", "turned -15", "darker", "JPEG 40"]
    photo = editor.detect(editor.random_face(45).original, aligned=True)
    case, session = bench.run_case(editor, "seed 45", photo, InversionOptions(closeness="easier to edit"))
    assert case.last == session.metrics
    assert case.last.l1 < case.first.l1
    assert 0 < case.first_s < case.seconds
    assert case.direction in {direction.name for direction in editor.directions}
    assert "seed 45" in bench.table_row(case)
    assert editor.steps_of(InversionOptions(closeness="easier to edit")) == STEPS * CLOSENESS["easier to edit"].steps


def test_a_sampled_prior_is_the_mean_and_spread_of_the_samples(editor):
    prior = sampled_prior(editor.generator, "Z")
    assert prior.centre.abs().max() < 0.06
    torch.testing.assert_close(prior.spread, torch.full_like(prior.spread, 0.8), atol=0.05, rtol=0)
    finest = sampled_prior(editor.generator, "S")  # gains and biases are 0 in every sample
    assert finest.spread[100:].unique().tolist() == pytest.approx([0.15])
    torch.testing.assert_close(finest.spread[:100], prior.spread)


@pytest.mark.parametrize("space", ["Z", "S"])
def test_a_generator_without_an_encoder_is_searched(editor, space):
    inverter = SampleInverter(editor.generator, space)
    face = editor.synthesize(editor.random_face(45).codes, "S")
    start = inverter.encode(face)
    centre = editor.synthesize(inverter.prior_in(space).centre[None], space)
    assert start.l1 <= float((centre - face).abs().mean())
    *_, refined = inverter.refine(face, start, steps=60)
    assert refined.space == space
    assert refined.l1 < 0.6 * start.l1


def test_of_a_generator_of_large_pictures_only_the_mean_code_is_tried(editor, monkeypatch):
    monkeypatch.setattr(inverters, "MAX_SAMPLED", 32)
    inverter = SampleInverter(editor.generator, "Z")
    face = editor.synthesize(editor.random_face(45).codes, "S")
    assert torch.equal(inverter.encode(face).codes[0], inverter.prior_in("Z").centre)


def test_an_encoder_brings_its_own_generator():
    inverter = load_inverter("digiface-encoder")
    assert inverter.generator.name == "digiface-64"


def test_steps_come_one_by_one_and_the_last_has_its_own_error(editor):
    face = editor.synthesize(editor.random_face(1).codes, "S")
    start = editor.inverter.encode(face)
    steps = list(editor.inverter.refine(face, start, steps=3))
    assert [refined.step for refined in steps] == [0, 1, 2, 3]
    assert steps[0].l1 == pytest.approx(start.l1, abs=1e-4)
    last = editor.generator.synthesize(steps[-1].codes, "S").image
    assert float((last - face).abs().mean()) == pytest.approx(steps[-1].l1, abs=1e-5)


def test_the_prior_costs_nothing_at_its_centre_and_its_weight_one_spread_away():
    prior = Prior(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 3.0]), 0.02)
    assert float(prior.cost(torch.tensor([[1.0, 2.0]]))) == 0
    assert float(prior.cost(torch.tensor([[1.5, -1.0]]))) == pytest.approx(0.02)


def test_a_face_of_another_size_is_refused(editor):
    prior = editor.inverter.prior_in("S")
    with pytest.raises(ValueError, match=r"64 pixels .* 32"):
        next(refine(editor.generator, prior, torch.zeros(1, 3, 32, 32), Inversion(prior.centre[None], "S", 1.0)))


def test_weights_that_are_no_encoder_of_this_kind_are_refused():
    tensors = FaceEncoder(8).state_dict()
    assert build_encoder(tensors, {}).head.out_features == 8
    del tensors["head.weight"]
    for damaged in (tensors, {}, {"centre": torch.zeros(())}):
        with pytest.raises(UserError, match="encoder"):
            build_encoder(damaged, {})


def test_an_encoder_of_another_generator_is_refused(editor):
    other = copy(editor.generator)
    other.name, other.fingerprint, other.sha256 = "other", "b" * 64, ""
    with pytest.raises(UserError, match=r"'digiface-64'.*'other'"):
        load_inverter("digiface-encoder", other)
