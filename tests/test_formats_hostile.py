"""Hostile files: none is run, none writes anything, none takes memory for what it only declares."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lelsd_core import load_generator
from lelsd_core.__main__ import main
from lelsd_core.weights.checkpoints import read_checkpoint
from lelsd_core.weights.safetensors import read_safetensors
from tests import official
from tests.hostile import BOMBS, BROKEN, CALLS, CONTAINERS, as_torch_legacy, named, refusal


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", CALLS)
def test_hostile_pickles_are_refused_and_not_run(name: str, container: str, tmp_path: Path) -> None:
    mark, keep = tmp_path / "ran", tmp_path / "keep" / "file"
    keep.parent.mkdir()
    keep.touch()
    path = tmp_path / f"model.{container}"
    path.write_bytes(CONTAINERS[container](CALLS[name](mark)))
    before = set(sys.modules)
    refusal(path)
    assert not mark.exists()
    assert {p.name for p in tmp_path.iterdir()} == {"keep", path.name}
    assert keep.exists()
    assert not {"antigravity", "webbrowser", "runpy"} & (set(sys.modules) - before)


def test_tensorflow_networks_are_named(tmp_path: Path) -> None:
    path = tmp_path / "stylegan2-ffhq-config-f.pkl"
    path.write_bytes(named("dnnlib.tflib.network", "Network"))
    assert "TensorFlow" in refusal(path)


@pytest.mark.parametrize("name", CALLS)
def test_hostile_objects_beside_a_network_are_inert(name: str, tmp_path: Path) -> None:
    """A real file's pickle goes on with one of `CALLS`, and drops what that makes; some make no object at all."""
    mark, keep, path = tmp_path / "ran", tmp_path / "keep" / "file", tmp_path / "model.pkl"
    keep.parent.mkdir()
    keep.touch()
    real = official.stylegan2(tmp_path)
    path.write_bytes(real.read_bytes()[:-1] + CALLS[name](mark)[:-1] + b"0.")
    before = set(sys.modules)
    if name in BROKEN:
        refusal(path)
    else:
        assert read_checkpoint(path).fingerprint == read_checkpoint(real).fingerprint
    assert not mark.exists()
    assert keep.exists()
    assert not {"antigravity", "webbrowser", "runpy"} & (set(sys.modules) - before)


def test_modules_that_hold_each_other_end(tmp_path: Path) -> None:
    """32 levels, each with its next level twice: 2³² modules, if they were walked one by one; and a circle."""
    inner: dict[str, object] = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    for _ in range(32):
        inner = {"_parameters": {}, "_buffers": {}, "_modules": {"a": inner, "b": inner}}
    circle: dict[str, object] = {"_parameters": {}, "_buffers": {}}
    circle["_modules"] = {"a": circle}
    for content in (inner, circle):
        torch.save(content, tmp_path / "x.pt")
        assert "more than 5000 modules" in refusal(tmp_path / "x.pt")


def test_a_real_networks_own_source_code_is_not_run(tmp_path: Path) -> None:
    """The golden file's source code is empty; here it has some, as NVIDIA's own files do."""
    mark, path = tmp_path / "ran", tmp_path / "model.pkl"
    real = official.stylegan2(tmp_path).read_bytes()
    code, empty = f"open({str(mark)!r}, 'w')\n".encode(), b"module_src\x94\x8c\x00"
    frame = struct.unpack("<Q", real[3:11])[0] + len(code)  # the pickle's first frame grows with it
    assert real.count(empty) == 1
    real = real[:3] + struct.pack("<Q", frame) + real[11:]
    path.write_bytes(real.replace(empty, empty[:-1] + bytes([len(code)]) + code))
    load_generator(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("container", ["zip.pt", "legacy.pt"])
def test_declared_sizes_are_refused_before_memory_is_taken(name: str, container: str, tmp_path: Path) -> None:
    path = tmp_path / f"bomb.{container}"
    path.write_bytes(CONTAINERS[container](BOMBS[name]))
    if container == "zip.pt":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("archive/data/0", bytes(16))
    words = refusal(path)
    assert "declared" in words or "impossible" in words


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "zip.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(10_000_000))
    assert "compressed" in refusal(path)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_script_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), str(path))
    assert "TorchScript program, not weights" in refusal(path)


@pytest.mark.parametrize("length", [2**63, 10**9, 2**22 + 1])
def test_header_bombs_are_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b'{"a":' + b"[" * 1000)
    assert "header would be" in refusal(path)


@pytest.mark.parametrize(
    "header",
    [
        b"{" + b"[" * 100_000,
        b'{"main.0.weight":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}',
        b'{"main.0.weight":{"dtype":"F32","shape":[1000000,1000000,1000000,1000000],"data_offsets":[0,4]}}',
        b'{"main.0.weight":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
        b'{"__metadata__":{"lelsd":"' + b"[" * 100_000 + b'"}}',
        b'{"__metadata__":{"lelsd":"{\\"kind\\":\\"generator\\",\\"architecture\\":\\"os.system\\"}"}}',
        b'{"__metadata__":{"lelsd":"{\\"kind\\":\\"generator\\",\\"architecture\\":[]}"}}',
        b'{"__metadata__":{"lelsd":"{\\"kind\\":\\"direction\\"}"}}',
    ],
)
def test_safetensors_with_absurd_headers_are_refused(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "absurd.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    refusal(path)


def test_a_header_with_an_absurd_config_is_refused(tmp_path: Path) -> None:
    target, absurd = tmp_path / "sg3.safetensors", tmp_path / "absurd.safetensors"
    assert main(["weights", "convert", str(official.stylegan3(tmp_path)), str(target)]) == 0
    tensors, facts = read_safetensors(target, "generator")
    for change in ({"input_size": 10**9}, {"input_size": "x"}, {"layers": 7}, {"unheard": 1}):
        told = facts | {"config": facts["config"] | change}
        save_file(tensors, absurd, {"lelsd": json.dumps(told)})
        refusal(absurd)


def test_refusing_a_bomb_takes_little_memory(tmp_path: Path) -> None:
    """Peak memory of a fresh process that is offered each bomb, over one that is not."""
    for name, content in BOMBS.items():
        (tmp_path / f"{name}.pt").write_bytes(as_torch_legacy(content))
    for name in ("huge memo", "huge string", "huge frame", "huge bytearray", "bytes by number", "an array of objects"):
        (tmp_path / f"{name}.pkl").write_bytes(CALLS[name](tmp_path / "ran"))
    code = """
import resource, sys
from pathlib import Path
from lelsd_core import UserError
from lelsd_core.weights.checkpoints import read_checkpoint
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in Path(sys.argv[1]).iterdir():
    try:
        read_checkpoint(path)
    except UserError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 50_000  # kB
