"""e4e: the official encoder's rows, its file as a generator and an inverter, and one sentence for every other file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lelsd_core import UserError, load_generator, load_inverter
from lelsd_core.inversion import E4EInverter
from lelsd_core.inversion.e4e import E4EEncoder
from tests import official
from tests.bench.e4e import PlainEncoder
from tests.data.golden import golden


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official.small_e4e(tmp_path_factory.mktemp("e4e"))


@pytest.fixture(scope="module")
def inverter(path: Path) -> E4EInverter:
    return load_inverter("e4e", weights=path)


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    small = official.numbers("e4e32", "face", (1, 3, 4, 4))
    return torch.nn.functional.interpolate(0.5 * small, (32, 32), mode="bicubic").clamp(-1, 1)


def refusal(path: Path) -> str:
    """What is said about a file that is no e4e file; one sentence."""
    with pytest.raises(UserError) as caught:
        load_inverter("e4e", weights=path)
    words = str(caught.value)
    assert words.endswith(".")
    assert "\n" not in words
    return words


def test_the_encoder_puts_out_the_official_rows():
    encoder = E4EEncoder(golden.state_dict(official.GOLDEN / "e4e32.json")).eval()
    view = 0.5 * official.numbers("e4e32", "x", (1, 3, 256, 256))
    expected = official.expected("e4e32")["codes_without_latent_avg"]
    with torch.inference_mode():
        rows = encoder(view)
    assert float((rows - expected).abs().max() / expected.abs().max()) < 1e-4


def test_the_plain_network_of_the_bench_has_the_official_names():
    with torch.device("meta"):
        plain = PlainEncoder(8).state_dict()
    case = golden.json.loads((official.GOLDEN / "e4e32.json").read_text())["tensors"]
    assert {name: list(t.shape) for name, t in plain.items()} == {n: rule.get("shape", []) for n, rule in case.items()}


def test_a_file_gives_an_encoder_and_the_generator_inside(inverter, path, face):
    view = official.numbers("e4e32", "x", (2, 3, 256, 256))
    with torch.inference_mode():
        rows = inverter.network(view)
    assert rows.shape == (2, 8, 64)
    alone = load_generator(path)
    codes = inverter.encode(face).codes
    pictures = [g.synthesize(codes, "W+").image for g in (inverter.generator, alone)]
    assert torch.equal(*pictures)
    assert (inverter.generator.name, inverter.generator.fingerprint) == (alone.name, alone.fingerprint)


def test_a_first_guess_is_the_encoders_rows_around_the_mean(inverter, face):
    guess = inverter.encode(face)
    with torch.inference_mode():
        rows = inverter.network(torch.nn.functional.interpolate(face, (256, 256), mode="area"))
    mean = 0.1 * official.numbers("e4e32", "mean", (64,))
    torch.testing.assert_close(guess.codes, (rows + mean).flatten(1))
    assert guess.space == "W+"
    picture = inverter.generator.synthesize(guess.codes, "W+").image
    assert guess.l1 == pytest.approx(float((picture - face).abs().mean()))


def test_a_first_guess_can_be_had_in_s_but_not_in_a_coarser_space(inverter, face):
    first, finer = inverter.encode(face), inverter.encode(face, "S")
    assert finer.space == "S"
    assert finer.l1 == pytest.approx(first.l1, abs=1e-5)
    with pytest.raises(UserError, match=r"no space that photos can be brought to with e4e named 'W'"):
        inverter.encode(face, "W")


@pytest.mark.parametrize("space", ["W+", "S"])
def test_refining_works_in_any_space(inverter, face, space):
    start = inverter.encode(face, space)
    *_, refined = inverter.refine(face, start, steps=20)
    assert refined.space == space
    assert refined.l1 < 0.9 * start.l1


def test_another_generator_of_the_same_shape_can_be_used(path, face, tmp_path):
    other = load_generator(official.small_rosinality(tmp_path))
    inverter = load_inverter(path, other)
    assert inverter.generator is other
    assert inverter.encode(face).codes.shape == (1, 8 * 64)


def test_a_generator_of_another_shape_is_refused(path, editor):
    with pytest.raises(UserError, match=r"makes 8 rows of W.+ with 64 numbers; nv2_64 takes 10 rows with 64"):
        load_inverter(path, load_generator(official.stylegan2(path)))
    with pytest.raises(UserError, match=r"digiface-64 has no W+"):
        load_inverter(path, editor.generator)


def test_cars_are_seen_without_their_bars(tmp_path, face):
    car = load_inverter(official.small_e4e(tmp_path, opts={"dataset_type": "cars_encode"}))
    assert car.view == (192, 256)
    barred = face.clone()
    barred[..., :4, :], barred[..., 28:, :] = -1, -1
    assert torch.equal(car.encode(face).codes, car.encode(barred).codes)
    assert car.encode(face).codes.shape == (1, 8 * 64)


def test_an_old_container_without_mean_and_options_is_read(inverter, face, tmp_path):
    old = load_inverter(official.small_e4e(tmp_path, new=False, latent_avg=None, opts=None))
    assert old.view == (256, 256)
    torch.testing.assert_close(old.mean, old.generator.mean.expand(8, -1))
    shift = old.mean[0] - inverter.mean[0]
    torch.testing.assert_close(old.encode(face).codes, inverter.encode(face).codes + shift.repeat(8))


def test_a_generator_outlives_its_file(tmp_path):
    path = official.small_e4e(tmp_path)
    generator = load_generator(path)
    codes = generator.lift(generator.sample([1]), "Z", "W+")
    before = generator.synthesize(codes, "W+").image
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(before, generator.synthesize(codes, "W+").image)


@pytest.mark.parametrize("kind", ["GradualStyleEncoder", "ProgressiveBackboneEncoder"])
def test_encoders_of_psp_and_restyle_are_not_taken_for_e4e(tmp_path, kind):
    message = refusal(official.small_e4e(tmp_path, opts={"encoder_type": kind}))
    assert f"its encoder is a {kind}, not e4e's Encoder4Editing" in message


def test_files_that_are_no_e4e_files_are_refused_in_a_sentence(path, tmp_path):
    whole = torch.load(path, weights_only=True)
    state = {name: t for name, t in whole["state_dict"].items() if name != "encoder.body.5.res_layer.1.weight"}
    assert "incomplete, 'res_layer.1.weight' is missing" in refusal(
        official.small_e4e(tmp_path, "lacks.pt", state_dict=state)
    )
    state = {**whole["state_dict"], "encoder.styles.2.linear.weight": torch.zeros(64, 7)}
    assert "damaged, incomplete or foreign" in refusal(official.small_e4e(tmp_path, "misfit.pt", state_dict=state))
    assert "mean W is of another shape" in refusal(official.small_e4e(tmp_path, "m.pt", latent_avg=torch.zeros(3, 64)))
    assert "it holds a generator, rosinality StyleGAN2" in refusal(official.small_rosinality(tmp_path))
    (tmp_path / "cut.pt").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged, incomplete or foreign" in refusal(tmp_path / "cut.pt")
    (tmp_path / "page.pt").write_bytes(b"<html>not found</html>")
    assert "it is a web page" in refusal(tmp_path / "page.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    assert "its tensors (a) are those of no encoder known here" in refusal(tmp_path / "other.pt")


def test_missing_or_superfluous_arguments_raise(path, editor, hub_home, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"e4e-ffhq is not on this machine, and the network is switched off"):
        load_inverter("e4e")
    with pytest.raises(UserError, match="digiface-encoder takes no other weights; leave weights out"):
        load_inverter("digiface-encoder", editor.generator, weights=path)
    with pytest.raises(UserError, match="no inverter named 'e4'; did you mean e4e"):
        load_inverter("e4", weights=path)
    with pytest.raises(UserError, match="no inverter named 'digiface'; did you mean digiface-encoder"):
        load_inverter("digiface")
    with pytest.raises(UserError, match="give it a generator"):
        load_inverter("samples")
