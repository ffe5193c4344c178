"""Kind A: anything may lie beside the tensors, as train.py's Namespace does; it is inert, and the tensors load."""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lelsd_core import UserError, load_generator, load_inverter, load_segmenter
from lelsd_core.weights.pickles import Array, Unknown, read_pickled
from tests import official
from tests.data.golden import golden
from tests.field.foreign import companions, trainer

with trainer() as module:
    KINDS = tuple(companions(module))


def save(content: Any, path: Path, *, new: bool = True, protocol: int = 2) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    return path


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(("new", "protocol"), [(True, 2), (True, 5), (False, 2), (False, 4)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_tensors_are_read_and_the_object_is_inert(kind: str, new: bool, protocol: int, tmp_path: Path) -> None:
    with trainer() as module:
        content = {"before": torch.arange(3.0), "beside": companions(module)[kind], "after": torch.ones(2, 2).half()}
        path = save(content, tmp_path / "x.pt", new=new, protocol=protocol)
    found = read_pickled(path)
    assert list(found) == ["before", "beside", "after"]
    assert torch.equal(found["before"], torch.arange(3.0))
    assert torch.equal(found["after"], torch.ones(2, 2).half())


@pytest.mark.parametrize("new", [True, False])
def test_generators_encoders_and_segmenters_load_as_without(new: bool, tmp_path: Path) -> None:
    plain = load_generator(official.small_rosinality(tmp_path))
    whole = torch.load(tmp_path / "small_rosinality.pt", weights_only=True)
    faces = golden.state_dict(official.GOLDEN / "bisenet128.json")
    with trainer() as module:
        beside = companions(module)
        generator = save(whole | {"args": beside, "g_optim": beside}, tmp_path / "g.pt", new=new)
        options = beside["namespace"]
        options.encoder_type, options.dataset_type = "Encoder4Editing", "cars_encode"
        encoder = official.small_e4e(tmp_path, opts=options, new=new, more=beside)
        segmenter = save({"state_dict": faces, "epoch": beside}, tmp_path / "s.pth", new=new)
    assert load_generator(generator).fingerprint == plain.fingerprint
    assert load_inverter(encoder).view == (192, 256), "the Namespace's fields are read"
    assert "hair" in load_segmenter(segmenter).parts


@pytest.mark.parametrize("kind", ["GradualStyleEncoder", "ProgressiveBackboneEncoder", "BackboneEncoder"])
def test_the_generators_of_psp_and_restyle_files_are_read(kind: str, tmp_path: Path) -> None:
    options = argparse.Namespace(encoder_type=kind, checkpoint_path=Path("/models/psp.pt"))
    path = official.small_e4e(tmp_path, opts=options)
    plain = load_generator(official.small_rosinality(tmp_path))
    assert load_generator(path).fingerprint == plain.fingerprint
    with pytest.raises(UserError, match=f"its encoder is a {kind}, not e4e's"):
        load_inverter(path)


def test_a_lightning_checkpoint_is_a_generators_file(tmp_path: Path) -> None:
    plain = load_generator(official.small_rosinality(tmp_path))
    state = torch.load(tmp_path / "small_rosinality.pt", weights_only=True)["g_ema"]
    live = {f"generator.{name}": tensor + 1 for name, tensor in state.items()}
    averaged = {f"generator_ema.{name}": tensor for name, tensor in state.items()}
    with trainer() as module:
        beside = companions(module)
        content = {"epoch": 3, "pytorch-lightning_version": "2.1.0", "state_dict": live | averaged, "callbacks": beside}
        path = save(content | {"hyper_parameters": beside["config"], "optimizer_states": [beside]}, tmp_path / "l.ckpt")
    assert load_generator(path).fingerprint == plain.fingerprint


def test_views_of_one_storage_are_read_as_such(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    content = {"whole": whole, "row": whole[1], "turned": whole.T, "none": torch.zeros(0, 3), "number": torch.tensor(7)}
    content |= {str(kind): torch.ones(3, dtype=kind) for kind in (torch.bool, torch.bfloat16, torch.int64, torch.uint8)}
    for new in (True, False):
        found = read_pickled(save(content, tmp_path / "x.pt", new=new))
        assert found.keys() == content.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in content.items())
        assert all(found[name].dtype == tensor.dtype for name, tensor in content.items())


def test_what_is_not_used_is_never_in_memory(tmp_path: Path) -> None:
    """Peak memory of a fresh process that reads a small generator beside 64 MB of other tensors."""
    whole = torch.load(official.small_rosinality(tmp_path), weights_only=True)
    path = save(whole | {"d": {"x": torch.ones(2**24)}}, tmp_path / "x.pt")
    program = """
import resource, sys
from pathlib import Path
from lelsd_core.weights.checkpoints import read_checkpoint
read_checkpoint(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_checkpoint(Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "small_rosinality.pt"), str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 10_000  # kB


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_arrays_and_scalars_are_read_from_every_protocol(protocol: int, tmp_path: Path) -> None:
    matrix = torch.arange(12.0).reshape(3, 4).double().numpy()
    content = [matrix, matrix.T.astype(">i2"), matrix[0, 1], matrix > 3, matrix.astype(object)]
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    first, second, scalar, mask, objects = read_pickled(path)
    assert isinstance(first, Array)
    assert (first.value == matrix).all()
    assert (second.value == matrix.T).all()
    assert scalar == 1.0
    assert (mask.value == (matrix > 3)).all()
    assert objects.value is None


def test_an_unknown_object_keeps_what_the_file_says_of_it(tmp_path: Path) -> None:
    with trainer() as module:
        path = save([companions(module)[kind] for kind in ("namespace", "config", "slots")], tmp_path / "x.pt")
    namespace, config, slots = read_pickled(path)
    assert all(isinstance(each, Unknown) for each in (namespace, config, slots))
    assert namespace.name == "argparse.Namespace"
    assert namespace.state["size"] == 32
    assert config.items["lr"] == 0.002
    assert config.state["extra"] is config
    assert slots.state[1]["value"][0].state[1] == {"value": 1}
