"""Pivotal tuning: a small change for one person, kept apart from the generator that everybody shares."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lelsd_core import UserError, load_generator
from lelsd_core.editor import Editor, InversionOptions, Session
from lelsd_core.faces.frame import SquareFrame
from lelsd_core.generators.stylegan2 import StyleGAN2
from lelsd_core.inversion import SampleInverter
from lelsd_core.inversion.pivotal import Tuning, initial_factors, tune
from lelsd_core.registry import load_aligner
from lelsd_core.weights.safetensors import write_safetensors
from tests import official
from tests.bench.generators import random_stylegan2
from tests.toy import PictureHalves, toy_editor


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return load_generator(official.small_rosinality(tmp_path_factory.mktemp("tuned")))


def random_named(name: str) -> StyleGAN2:
    """A small random StyleGAN2 in the official widths."""
    generator = random_stylegan2(16)
    generator.name = name
    return generator


@pytest.fixture(scope="module")
def codes(generator):
    return generator.lift(generator.sample([3]), "Z", "W+")


@pytest.fixture(scope="module")
def face(generator):
    codes = generator.lift(generator.sample([4]), "Z", "W+", truncation=0.5)
    return generator.synthesize(codes, "W+").image.clamp(-1, 1)


@pytest.fixture(scope="module")
def steps(generator, face, codes) -> list[Tuning]:
    return list(tune(generator, face, codes, "W+", steps=40))


def test_the_codes_come_closer_to_the_face(generator, face, codes, steps):
    last = steps[-1]
    untouched = float((generator.synthesize(codes, "W+").image - face).abs().mean())
    assert [tuning.step for tuning in steps] == list(range(41))
    assert last.before == pytest.approx(untouched, abs=1e-5)
    assert last.l1 < 0.6 * last.before


def test_l1_is_the_error_of_the_tuned_generator(generator, face, codes, steps):
    picture = steps[-1].apply(generator).synthesize(codes, "W+").image
    assert float((picture - face).abs().mean()) == pytest.approx(steps[-1].l1, abs=1e-5)


def test_the_shared_generator_stays_as_it_is(generator, face, codes):
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    picture = generator.synthesize(codes, "W+").image
    *_, last = tune(generator, face, codes, "W+", steps=2)
    tuned = last.apply(generator)
    assert not torch.equal(tuned.synthesize(codes, "W+").image, picture)
    assert torch.equal(generator.synthesize(codes, "W+").image, picture)
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())


def test_a_tuned_generator_shares_what_it_does_not_change(generator, steps):
    tuned = dict(steps[-1].apply(generator).named_buffers())
    apart = {name for name, tensor in generator.named_buffers() if tuned[name] is not tensor}
    assert apart == {name for name in tuned if name.split(".")[-1] in ("weight", "energy", "bias") and "parts" in name}


def test_no_steps_are_no_change(generator, face, codes):
    (only,) = tune(generator, face, codes, "W+", steps=0)
    assert only.step == 0
    assert only.l1 == only.before
    torch.testing.assert_close(*(g.synthesize(codes, "W+").image for g in (generator, only.apply(generator))))


def test_no_change_is_exactly_the_generator(generator, codes):
    nothing = Tuning(initial_factors(generator), generator.name, generator.fingerprint, 0.0, 0.0)
    pictures = [g.synthesize(codes, "W+").image for g in (generator, nothing.apply(generator))]
    torch.testing.assert_close(*pictures)


def test_a_file_keeps_it(generator, codes, steps, tmp_path):
    steps[-1].save(tmp_path / "me.safetensors")
    back = Tuning.load(tmp_path / "me.safetensors")
    assert {**vars(back), "factors": 0} == {**vars(steps[-1]), "factors": 0}
    pictures = [tuning.apply(generator).synthesize(codes, "W+").image for tuning in (back, steps[-1])]
    assert torch.equal(*pictures)


def test_a_file_for_the_largest_stylegan2_is_small(tmp_path: Path):
    large = random_stylegan2(1024)
    factors = {name: factor.half() for name, factor in initial_factors(large).items()}
    Tuning(factors, "large", "", 0.0, 0.0).save(tmp_path / "large.safetensors")
    assert (tmp_path / "large.safetensors").stat().st_size < 5_000_000


def test_a_tuning_of_another_generator_is_refused(generator, steps):
    with pytest.raises(UserError, match=r"'small_rosinality'.*'other'"):
        steps[-1].apply(random_named("other"))
    foreign = replace(steps[-1], fingerprint="")
    with pytest.raises(UserError, match=r"layers .* 'other'"):
        foreign.apply(random_named("other"))


def test_only_a_stylegan2_can_be_tuned_with_a_face_of_its_size(editor, generator):
    session = editor.random_face(1)
    face = editor.synthesize(session.codes, "S")
    with pytest.raises(UserError, match=r"StyleGAN2 .* 'digiface-64'"):
        next(tune(editor.generator, face, session.codes, "S"))
    with pytest.raises(ValueError, match=r"32 pixels .* 64"):
        next(tune(generator, face, session.codes, "W+"))


def test_files_that_are_no_tunings_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"4.conv1.bias": torch.zeros(1)}, {"kind": "direction"})
    with pytest.raises(UserError, match=r"x.safetensors .* direction"):
        Tuning.load(path)
    write_safetensors(path, {"4.conv1.bias": torch.zeros(1)}, {"kind": "tuning"})
    with pytest.raises(UserError, match=r"x.safetensors .* header"):
        Tuning.load(path)
    facts = {"kind": "tuning", "generator": "g", "fingerprint": "", "before": 0.1, "l1": 0.1, "step": 1}
    write_safetensors(path, {"4.conv1.bias": torch.tensor([float("nan")])}, facts)
    with pytest.raises(UserError, match=r"x.safetensors .* finite"):
        Tuning.load(path)


@pytest.fixture(scope="module")
def small_editor(generator) -> Editor:
    """An editor of the small StyleGAN2, for pictures that do not show faces, with one direction."""
    editor = toy_editor(generator, PictureHalves())
    frame = load_aligner(SquareFrame(generator.resolution))
    return Editor(generator, SampleInverter(generator), editor.segmenter, frame, editor.directions)


@pytest.fixture(scope="module")
def sessions(small_editor, astronaut) -> list[Session]:
    return list(small_editor.invert(astronaut, InversionOptions(steps=4, tune=True)))


def test_an_inversion_ends_with_the_tuned_generator(small_editor, sessions):
    assert small_editor.can_tune
    assert [session.tuning and session.tuning.step for session in sessions] == [None] * 5 + [60, 120]
    refined, tuned = sessions[-3], sessions[-1]
    assert torch.equal(tuned.codes, refined.codes)
    assert tuned.metrics.l1 == pytest.approx(tuned.tuning.l1, abs=1e-4)
    assert tuned.metrics.l1 < 0.8 * tuned.inversion_l1, "inversion_l1 is that of the untuned generator"
    assert np.array_equal(small_editor.render(tuned, {}), tuned.original)
    alone, with_locality = (
        np.asarray(picture).astype(int)
        for picture in (small_editor.render(tuned, {"left": 2.0}), small_editor.edit(tuned, {"left": 2.0}).picture)
    )
    assert np.abs(alone - with_locality).max() <= 1


def test_threads_with_different_tunings_do_not_mix_them_up(small_editor, sessions):
    alone = [np.asarray(small_editor.render(session, {"left": 2.0})) for session in sessions[-3:]]
    assert not np.array_equal(alone[0], alone[2])
    with ThreadPoolExecutor(3) as pool:
        together = pool.map(lambda session: np.asarray(small_editor.render(session, {"left": 2.0})), sessions[-3:] * 8)
        assert all(np.array_equal(picture, alone[i % 3]) for i, picture in enumerate(together))


def test_an_editor_whose_generator_cannot_be_tuned_says_so(editor, astronaut):
    assert not editor.can_tune
    with pytest.raises(UserError, match="digiface-64"):
        next(editor.invert(astronaut, InversionOptions(tune=True)))
