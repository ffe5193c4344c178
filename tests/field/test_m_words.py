"""Kind M: a message about a file says what was given, what it is, and what would be right."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lelsd_core import Direction, UserError, load_generator, load_inverter, load_segmenter
from lelsd_core.weights.catalogue import CHECKPOINTS
from tests import official

LOADERS = {
    "generator": load_generator,
    "segmenter": load_segmenter,
    "encoder": load_inverter,
    "direction": Direction.load,
}
EXPECTED = {  # what would be right, by kind
    "generator": "a generator was expected: rosinality .pt, NVIDIA .pkl",
    "segmenter": "a segmenter was expected: one of this project's .safetensors, BiSeNet's 79999_iter.pth",
    "encoder": "an e4e file was expected, such as e4e_ffhq_encode.pt",
    "direction": "others' directions are imported with: python -m lelsd_core directions import",
}


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as whole:
        whole.writestr("notes.txt", "x")


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {  # name of a file: writes it; what it is
    "smile.npy": (lambda path: np.save(path, np.ones(512)), "a numpy array"),
    "notes.txt": (lambda path: path.write_text("hello"), "a file of an unknown kind"),
    "page.pt": (lambda path: path.write_text("<html>404</html>"), "a web page, perhaps of a failed download"),
    "model.onnx": (lambda path: path.write_bytes(b"\x08\x07" + bytes(64)), "an ONNX model"),
    "notes.zip": (archive, "archive"),
    "list.pkl": (lambda path: path.write_bytes(pickle.dumps([1, 2])), "list, no weights|pickled file"),
}


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("name", FOREIGN)
def test_what_a_file_is_and_what_would_be_right_is_said(name: str, kind: str, tmp_path: Path) -> None:
    write, what = FOREIGN[name]
    write(tmp_path / name)
    with pytest.raises(UserError, match=rf"^{name} (was refused because it )?.*({what}).*{EXPECTED[kind]}.*\.$"):
        LOADERS[kind](tmp_path / name)


def test_files_of_this_project_are_known_by_their_kind(tmp_path: Path) -> None:
    direction = CHECKPOINTS / "digiface-64" / "directions" / "mouth.safetensors"
    generator = CHECKPOINTS / "digiface-64" / "generator.safetensors"
    for kind, path, words in (
        ("generator", direction, "is a direction of this project, not a generator"),
        ("encoder", direction, "is a direction of this project, not an encoder"),
        ("direction", generator, "is a generator of this project, not a direction"),
        ("direction", tmp_path, "is a folder; a direction in safetensors format was expected"),
        ("direction", tmp_path / "no.safetensors", "There is no file .*; a direction in safetensors format"),
    ):
        with pytest.raises(UserError, match=words):
            LOADERS[kind](path)


def test_safetensors_of_other_projects_and_damaged_ones_are_told(tmp_path: Path) -> None:
    other, cut = tmp_path / "other.safetensors", tmp_path / "cut.safetensors"
    save_file({"unet.down.weight": torch.zeros(2)}, other)
    whole = (CHECKPOINTS / "digiface-64" / "directions" / "mouth.safetensors").read_bytes()
    for kind, words in (
        ("direction", "is a safetensors file of another project, not a direction of this one"),
        ("encoder", "is a safetensors file of another project, not an encoder of this one"),
        ("generator", r"its tensors \(unet.down.weight\) are those of no generator known here"),
    ):
        with pytest.raises(UserError, match=words):
            LOADERS[kind](other)
    for length in (len(whole) - 4, 200, 9):
        cut.write_bytes(whole[:length])
        for kind in ("direction", "encoder", "generator"):
            with pytest.raises(UserError, match="is damaged") as caught:
                LOADERS[kind](cut)
            assert "Error" not in str(caught.value)


def test_a_generator_is_not_taken_for_a_segmenter(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"because it holds a generator, rosinality StyleGAN2; a segmenter was expected"
    ):
        load_segmenter(official.small_rosinality(tmp_path))
