"""Kind F: models with classes in the shell: `--class`, kept by `convert`, and their names for a chooser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lelsd_core import UserError, load_generator
from lelsd_core.__main__ import main
from lelsd_core.registry import classes_of
from tests import official


def conditional(folder: Path) -> Path:
    """A StyleGAN2 of five classes."""
    tensors, attributes = official.record(official.stylegan2(folder))
    random = torch.Generator().manual_seed(0)
    first = tensors["mapping.fc0.weight"]
    more = {
        "mapping.embed.weight": torch.randn(len(first), 5, generator=random),
        "mapping.embed.bias": torch.zeros(len(first)),
        "mapping.fc0.weight": torch.cat([first, torch.randn(first.shape, generator=random)], 1),
    }
    return official.nvidia(folder / "conditional.pkl", tensors | more, attributes)


def named(folder: Path) -> Path:
    """A BigGAN of ten classes, whose config names them."""
    path = official.biggan(folder)
    config = json.loads((path / "config.json").read_text())
    names = {str(number): f"kind {number}" for number in range(10)}
    (path / "config.json").write_text(json.dumps(config | {"id2label": names}))
    return path


def picture(path: Path, **options: object) -> torch.Tensor:
    generator = load_generator(path, **options)
    return generator.synthesize(generator.sample([1]), "Z").image


@pytest.mark.parametrize(("write", "choice"), [(conditional, "3"), (named, "3"), (named, "Kind 3")])
def test_convert_keeps_the_class(write, choice: str, tmp_path: Path) -> None:
    source, target = write(tmp_path), tmp_path / "one.safetensors"
    assert main(["weights", "convert", str(source), str(target), "--class", choice]) == 0
    kept = picture(target)
    assert torch.equal(kept, picture(source, class_index=3))
    assert torch.equal(picture(target, class_index=2), picture(source, class_index=2)), "another can still be chosen"
    assert not torch.equal(kept, picture(target, class_index=2))


def test_a_search_uses_the_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["discover", str(tmp_path / "out.safetensors"), "--generator", str(conditional(tmp_path))]
    arguments += ["--segmenter", "digiface-parts", "--parts", "hair", "--steps", "1", "--samples", "2", "--batch", "2"]
    assert main(arguments) == 1
    assert "This model has 5 classes; choose one by its number, 0 to 4, or its name: --class" in capsys.readouterr().err
    assert main([*arguments, "--class", "7"]) == 1
    assert "There is no class '7'; this model has classes 0 to 4" in capsys.readouterr().err


def test_the_names_of_classes_are_known_before_one_is_chosen(tmp_path: Path) -> None:
    assert classes_of(conditional(tmp_path)) == ("0", "1", "2", "3", "4")
    assert classes_of(named(tmp_path))[9] == "kind 9"
    assert classes_of("digiface-64") == ()
    assert load_generator(conditional(tmp_path), class_index=1).classes == ("0", "1", "2", "3", "4")
    with pytest.raises(UserError, match="This dcgan has no classes; leave the class out"):
        load_generator("digiface-64", class_index=1)
