"""Official files in, equal pictures out; files that are something else are named in one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from lelsd_core import load_generator
from lelsd_core.__main__ import main
from lelsd_core.weights.safetensors import read_safetensors
from tests import official
from tests.hostile import refusal
from tests.test_generators_contract import FILES


@pytest.mark.parametrize("architecture", FILES)
def test_converted_files_paint_equal_pictures(architecture: str, tmp_path: Path) -> None:
    write, options = FILES[architecture]
    source, target = write(tmp_path), tmp_path / "converted.safetensors"
    assert main(["weights", "convert", str(source), str(target)]) == 0
    before, after = load_generator(source, **options), load_generator(target, **options)
    codes, space = before.sample([1, 2]), before.spaces[0].name
    assert torch.equal(before.synthesize(codes, space).image, after.synthesize(codes, space).image)
    assert before.layers == after.layers
    assert before.spaces == after.spaces


def test_a_converted_file_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "sg3.safetensors"
    assert main(["weights", "convert", str(official.stylegan3(tmp_path)), str(target), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    _, facts = read_safetensors(target, "generator")
    assert facts.items() <= told.items()
    assert facts["architecture"] == "stylegan3"
    assert facts["resolution"] == 64
    assert facts["spaces"] == {"Z": 64, "W": 64, "W+": 512, "S": told["spaces"]["S"]}
    assert facts["source_file"] == "nv3t_64.pkl"
    assert len(facts["source_sha256"]) == 64


def test_rosinality_files_round_trip(tmp_path: Path) -> None:
    source, target = official.rosinality(tmp_path), tmp_path / "ours.safetensors"
    assert main(["weights", "convert", str(source), str(target)]) == 0
    z = official.numbers("rosinality32", "z", (2, 512))
    images = [
        g.synthesize(g.lift(z, "Z", "W+", truncation=0.7), "W+").image for g in map(load_generator, (source, target))
    ]
    assert torch.equal(*images)


def test_the_generator_inside_an_e4e_file_is_read(tmp_path: Path) -> None:
    whole = torch.load(official.rosinality(tmp_path), weights_only=True)
    state = {f"decoder.{name}": tensor for name, tensor in whole["g_ema"].items()} | {"encoder.x": torch.zeros(1)}
    path = tmp_path / "e4e.pt"
    torch.save({"state_dict": state, "latent_avg": whole["latent_avg"].repeat(8, 1), "opts": {"a": None}}, path)
    inside, alone = load_generator(path), load_generator(tmp_path / "rosinality.pt")
    torch.testing.assert_close(inside.mean, alone.mean)
    assert torch.equal(*(g.synthesize(g.sample([1]), "Z").image for g in (inside, alone)))


def test_a_rosinality_file_may_lack_its_mean_and_noise(tmp_path: Path) -> None:
    state = torch.load(official.rosinality(tmp_path), weights_only=True)["g_ema"]
    path = tmp_path / "bare.pt"
    torch.save({"g_ema": {name: t for name, t in state.items() if not name.startswith("noises")}}, path)
    bare = load_generator(path)
    w = bare.lift(bare.sample(range(2000)), "Z", "W")
    assert (bare.mean - w.mean(dim=0)).abs().mean() < 0.1 * w.std()
    noises = [t for name, t in bare.named_buffers() if name.endswith(".noise")]
    assert len(noises) == 7
    again = load_generator(path)
    assert all(torch.equal(t, dict(again.named_buffers())[name]) for name, t in bare.named_buffers())


def test_stylegan1_styles_may_lie_inside_the_blocks(tmp_path: Path) -> None:
    state = torch.load(official.small_stylegan1(tmp_path), weights_only=True)
    moved = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"g_style\.style_layers\.(\d+x\d+)_(\d)\.lin\.(.*)", name)
        inside = f"g_synthesis.blocks.{found[1]}.epi{int(found[2]) + 1}.style_mod.lin.{found[3]}" if found else name
        moved[inside] = tensor
    path = tmp_path / "inside.pt"
    torch.save(moved, path)
    pictures = [
        g.synthesize(g.sample([1]), "Z").image for g in map(load_generator, (path, tmp_path / "small_stylegan1.pt"))
    ]
    assert torch.equal(*pictures)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert", "no-such.pt", "out.safetensors"], "no file or folder no-such.pt"),
        (["convert", "pyproject.toml", "out.pt"], "must end in .safetensors"),
        (["convert", "pyproject.toml", "no/such/out.safetensors"], "There is no folder"),
        (["convret"], "did you mean convert"),
    ],
)
def test_convert_says_what_is_wrong(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_convert_without_names_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["weights", "convert"])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "PNG picture"),
        (b"\xff\xd8\xff\xe0" + bytes(64), "JPEG picture"),
        (b"\x1f\x8b" + bytes(64), "gzip"),
        (b"\x89HDF\r\n" + bytes(64), "HDF5"),
        (b"\x93NUMPY" + bytes(64), "numpy array"),
        (bytes(1000), "unknown kind"),
        (b"hello", "unknown kind"),
    ],
)
def test_foreign_files_are_named(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert words in refusal(path)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("architecture", ["stylegan1", "stylegan2", "biggan", "converted"])
def test_truncated_files_are_refused(architecture: str, share: float, tmp_path: Path) -> None:
    if architecture == "converted":
        whole = tmp_path / "whole.safetensors"
        assert main(["weights", "convert", str(official.dcgan(tmp_path)), str(whole)]) == 0
    else:
        whole = FILES[architecture][0](tmp_path)
    whole = whole / "pytorch_model.bin" if whole.is_dir() else whole
    content = whole.read_bytes()
    path = tmp_path / f"cut{whole.suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    refusal(path)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    assert "holds no weights" in refusal(tmp_path)


def test_a_biggan_without_its_config_is_named(tmp_path: Path) -> None:
    folder = official.biggan(tmp_path)
    (folder / "config.json").unlink()
    assert "config.json is missing" in refusal(folder, class_index=1)


@pytest.mark.parametrize("config", ["[]", "{", "null", '{"layers": 3}', "[" * 5000])
def test_a_biggan_with_a_broken_config_is_refused(config: str, tmp_path: Path) -> None:
    folder = official.biggan(tmp_path)
    (folder / "config.json").write_text(config)
    refusal(folder, class_index=1)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    state = torch.load(official.small_stylegan1(tmp_path), weights_only=True)
    del state["g_synthesis.blocks.16x16.conv1.weight"]
    path = tmp_path / "partial.pt"
    torch.save(state, path)
    assert "conv1.weight" in refusal(path)


def test_tensors_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    state = torch.load(official.small_stylegan1(tmp_path), weights_only=True)
    state["g_synthesis.blocks.16x16.conv1.weight"] = torch.zeros(32, 16, 3, 3)
    path = tmp_path / "misfit.pt"
    torch.save(state, path)
    assert "do not fit together" in refusal(path)


def test_a_segmenters_file_is_no_generator(tmp_path: Path) -> None:
    torch.save({"cp.resnet.conv1.weight": torch.zeros(3)}, tmp_path / "79999_iter.pth")
    assert "no generator known here" in refusal(tmp_path / "79999_iter.pth")


@pytest.mark.parametrize("name", ["main.0.weight", "g_synthesis.blocks.4x4.const", "synthesis.b4.const"])
def test_absurd_sizes_are_refused_before_memory_is_taken(name: str, tmp_path: Path) -> None:
    tensors = {name: torch.zeros(1, 1, 4, 4)}
    if name.startswith("main"):
        tensors |= {f"main.{3 * i}.weight": torch.zeros(1, 1, 4, 4) for i in range(40)}
        for i in range(40):
            tensors |= {
                f"main.{3 * i + 1}.{key}": torch.ones(1) for key in ("running_mean", "running_var", "weight", "bias")
            }
    elif name.startswith("g_"):
        tensors |= {f"g_synthesis.blocks.{2**i}x{2**i}.bias": torch.zeros(1) for i in range(2, 40)}
    else:
        tensors |= {
            f"synthesis.b{2**i}.{part}": torch.zeros(4, 4)
            for i in range(2, 40)
            for part in ("conv1.affine.weight", "resample_filter")
        }
    torch.save(tensors, tmp_path / "absurd.pt")
    assert "pixels" in refusal(tmp_path / "absurd.pt")
