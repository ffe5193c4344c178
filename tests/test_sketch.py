"""Pictures at low resolution: previews, and refinement with them; editors of generators other than the shipped one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lelsd_core.__main__ import main
from lelsd_core.directions import Direction
from lelsd_core.editor import Editor, InversionOptions
from lelsd_core.errors import UserError
from lelsd_core.faces.frame import SquareFrame
from lelsd_core.generators import Generator
from lelsd_core.images import to_pil
from lelsd_core.inversion import SampleInverter, likeness_weights
from lelsd_core.inversion.refine import LowResolution
from lelsd_core.registry import build_frame, directions_of, load_aligner, load_editor, load_generator
from lelsd_core.weights.catalogue import CATALOGUE, generator_names, generator_spec, names_of
from tests import official
from tests.toy import PictureHalves


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """A StyleGAN2 at 32 pixels, narrow, from an official file."""
    return load_generator(official.small_rosinality(tmp_path_factory.mktemp("generator")))


@pytest.fixture
def face(generator: Generator) -> torch.Tensor:
    """A picture that the generator can paint."""
    with torch.no_grad():
        return generator.synthesize(generator.lift(generator.sample([5]), "Z", "W+"), "W+").image


def editor_of(generator: Generator, preview: int) -> Editor:
    """An editor for pictures that do not show faces, with one direction, "up"."""
    vector = torch.nn.functional.normalize(torch.ones(generator.space("S").width), dim=0)
    up = Direction("up", generator.name, generator.fingerprint, "S", vector)
    networks = generator, SampleInverter(generator), PictureHalves(), load_aligner(SquareFrame(32))
    return Editor(*networks, [up], preview=preview)


def test_the_whole_picture_comes_closer_though_only_the_running_one_is_compared(generator, face) -> None:
    inverter = SampleInverter(generator)
    start = inverter.encode(face)
    *_, refined = inverter.refine(face, start, steps=25, side=16)
    with torch.no_grad():
        before, after = (generator.synthesize(c.codes, c.space).image - face for c in (start, refined))
    assert float(after.abs().mean()) < float(before.abs().mean())
    small = [float(LowResolution(generator, 16).resized(error).abs().mean()) for error in (before, after)]
    assert small[1] < 0.8 * small[0]


def test_most_steps_render_no_more_than_the_running_picture(generator, face, monkeypatch) -> None:
    inverter = SampleInverter(generator)
    start = inverter.encode(face)
    made = []
    for name, part in generator.parts.items():
        run = part.forward
        monkeypatch.setattr(part, "forward", lambda *x, n=name, run=run: made.append(n) or run(*x))
    list(inverter.refine(face, start, steps=11, side=16))  # 12 pictures
    wholes = 2  # the first, and the ninth
    assert made.count("32_torgb") == wholes
    assert made.count("16_torgb") == 12 + wholes


def test_low_resolution_is_the_full_picture_reduced_when_that_is_rendered(generator, face) -> None:
    low = LowResolution(generator, 16)
    codes = generator.lift(generator.sample([7]), "Z", "W+").requires_grad_()
    first = low.synthesize(codes, "W+").image
    whole = generator.synthesize(codes, "W+").image
    torch.testing.assert_close(first, low.resized(whole), atol=1e-5, rtol=1e-4)
    (slope,) = torch.autograd.grad(first.sum(), codes)
    running = generator.preview(codes, "W+", side=16)
    torch.testing.assert_close(slope, torch.autograd.grad(running.sum(), codes)[0])
    moved = codes.detach() + 0.1
    later = low.synthesize(moved, "W+").image - generator.preview(moved, "W+", side=16)
    torch.testing.assert_close(later, (first - running).detach(), atol=1e-5, rtol=1e-4)


def test_a_generator_without_a_running_picture_is_compared_whole(editor, face) -> None:
    with pytest.raises(ValueError, match="digiface-64 has no running picture of at most 32 pixels"):
        LowResolution(editor.generator, 32)
    picture = editor.synthesize(*editor._random_codes(1)).clone()
    start = editor.inverter.encode(picture)
    ours, theirs = (list(editor.inverter.refine(picture, start, steps=1, side=side)) for side in (32, None))
    assert [one.l1 for one in ours] == [one.l1 for one in theirs]


def test_on_a_cpu_a_large_generator_is_refined_small_and_measured_whole(generator, astronaut: Image.Image) -> None:
    editor = editor_of(generator, 16)
    assert editor.refinement_size == 16
    assert editor_of(generator, 32).refinement_size is None
    sessions = list(editor.invert(astronaut, InversionOptions(steps=8)))
    assert len(sessions) == 1 + 4  # the guess, and every quarter of so few steps
    picture = editor.aligner.cut(astronaut, *editor.aligner.find(astronaut)).picture
    for session in (sessions[0], sessions[-1]):
        error = editor.synthesize(session.codes, session.space) - picture
        assert session.inversion_l1 == pytest.approx(float(error.abs().mean()), abs=1e-5)
        assert np.array_equal(session.preview, editor.preview(session, {}))
    assert "middle" in sessions[-1].note


@pytest.mark.parametrize("preview", [16, 256])
def test_perceptual_distance_guides_codes_in_w_plus_small_or_whole(generator, astronaut, monkeypatch, preview) -> None:
    editor, distances = editor_of(generator, preview), {}
    for least in (64, 32):  # pixels from which on LPIPS takes part
        monkeypatch.setattr("lelsd_core.editor.editor.PERCEPTUAL_FROM", least)
        assert (editor.perceptual is None) == (least > generator.resolution)
        session = editor.open(astronaut, steps=12)
        assert session.space == "W+"
        distances[least] = session.metrics.lpips
    assert distances[32] < 0.9 * distances[64]


def test_a_preview_is_the_running_picture_bit_for_bit(generator: Generator) -> None:
    editor = editor_of(generator, 16)
    session = editor.random_face(3)
    codes, finest = editor.moved_codes(session, {"up": 2.0}).codes, generator.space_names[-1]
    whole = generator.synthesize(codes, finest, keep=("16.conv1",))
    preview = editor.preview(session, {"up": 2.0})
    assert np.array_equal(preview, to_pil(whole.states["16.conv1"].rgb))
    assert np.array_equal(editor.preview(session, {}), session.preview)
    assert (preview.size, session.preview.size, session.original.size) == ((16, 16), (16, 16), (32, 32))
    assert not np.array_equal(preview, session.preview)


def test_a_preview_renders_nothing_above_its_size(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = editor_of(generator, 16)
    session = editor.random_face(3)
    above = [generator.parts[name] for name in ("32_conv0", "32_conv1", "32_torgb")]
    for part in above:
        monkeypatch.setattr(part, "forward", None)
    editor.preview(session, {"up": 1.0})
    with pytest.raises(TypeError):
        editor.render(session, {"up": 1.0})


@pytest.mark.parametrize("size", [32, 64, 48, 3])
def test_a_small_generator_shows_its_whole_picture(generator: Generator, size: int) -> None:
    editor = editor_of(generator, size)
    session = editor.random_face(3)
    assert session.preview is None
    assert np.array_equal(editor.preview(session, {"up": 1.0}), editor.render(session, {"up": 1.0}))


def test_a_generator_without_a_running_picture_shows_its_whole_picture(editor: Editor) -> None:
    session = editor.random_face(3)
    assert session.preview is None
    assert np.array_equal(editor.preview(session, {"mouth": 3.0}), editor.render(session, {"mouth": 3.0}))


def test_without_face_parts_all_pixels_weigh_the_same(generator, face) -> None:
    editor = editor_of(generator, 256)
    assert likeness_weights(editor.segmenter, face) is None
    assert 0 <= editor.find_clear_seed(np.random.default_rng(0)) < 100_000


def test_random_codes_are_truncated_if_the_architecture_can(generator, editor) -> None:
    codes, space = editor_of(generator, 256)._random_codes(4)
    assert torch.equal(codes, generator.lift(generator.sample([4]), "Z", "S", truncation=0.7))
    assert space == "S"
    codes, space = editor._random_codes(4)
    assert torch.equal(codes, editor.generator.lift(editor.generator.sample([4]), "Z", space))


@pytest.mark.parametrize("name", generator_names())
def test_every_generator_names_what_there_is(name: str) -> None:
    spec = generator_spec(name)
    assert spec.segmenter is None or spec.segmenter in names_of("segmenter")
    assert spec.inverter is None or spec.inverter in names_of("inverter")
    assert spec.licence
    assert spec.data
    assert build_frame(spec, spec.resolution).size == spec.resolution
    assert bool(spec.shipped) != bool(spec.sources)


def test_what_has_no_segmenter_or_no_name_is_refused_before_anything_is_fetched(monkeypatch) -> None:
    monkeypatch.setitem(CATALOGUE, "ffhq-1024", replace(CATALOGUE["ffhq-1024"], segmenter=None))
    with pytest.raises(UserError, match="No segmenter is known"):
        load_editor("ffhq-1024")
    with pytest.raises(UserError, match="did you mean ffhq-1024"):
        load_editor("ffhq-1042")


def test_directions_of_a_generator_are_had_without_loading_it(hub_home, tmp_path: Path, editor) -> None:
    assert [d.name for d in directions_of("digiface-64")] == [d.name for d in editor.directions]
    with pytest.raises(UserError, match="There are no directions"):
        directions_of("digiface-64", tmp_path)
    with pytest.raises(UserError, match="No directions of ffhq-1024 were found on this machine"):
        directions_of("ffhq-1024")


def test_only_a_generators_own_directions_are_published(tmp_path: Path, editor, capsys) -> None:
    editor.directions[0].save(tmp_path / "x.safetensors")
    push = ["weights", "push-directions", "me/mine", "--dry-run", "--directions", str(tmp_path)]
    assert main([*push, "--json"]) == 0
    assert '"commit": null' in capsys.readouterr().out
    assert main([*push, "--generator", "ffhq-1024"]) == 1
    assert "belongs to 'digiface-64', not to 'ffhq-1024'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["weights", "push-directions"])
