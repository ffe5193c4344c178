"""Reading files: round trips, and everything that is not a generator is refused in one sentence."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lelsd_core import UserError, load_generator
from lelsd_core.__main__ import main
from lelsd_core.weights import read_safetensors
from tests import official
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


def refusal(path: Path, **options: object) -> str:
    """What `load_generator` says about a file it must refuse; one sentence."""
    with pytest.raises(UserError) as caught:
        load_generator(path, **options)
    words = str(caught.value)
    assert words.endswith(".")
    assert "\n" not in words
    return words


# ---- files that are something else, damaged, or cut short


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


# ---- hostile files: none is run, none writes anything


class Call:
    """Unpickles as a call."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.function, self.arguments


def named(module: str, name: str, *arguments: object) -> bytes:
    """A pickle that calls module.name(*arguments), written by hand so that the name need not exist here."""
    body = pickle.dumps(arguments, protocol=4)[2:-1]
    body = body[9:] if body.startswith(b"\x95") else body  # no frame
    parts = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
    return b"\x80\x04" + parts + b"\x93" + body + b"R."


def shell(mark: Path) -> str:
    return f"touch {mark}"


CALLS: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda mark: named("os", "system", shell(mark)),
    "posix.system": lambda mark: named("posix", "system", shell(mark)),
    "nt.system": lambda mark: named("nt", "system", shell(mark)),
    "subprocess.Popen": lambda mark: named("subprocess", "Popen", ["touch", str(mark)]),
    "subprocess.check_output": lambda mark: named("subprocess", "check_output", ["touch", str(mark)]),
    "builtins.eval": lambda mark: named("builtins", "eval", f"open({str(mark)!r}, 'w')"),
    "builtins.exec": lambda mark: named("builtins", "exec", f"open({str(mark)!r}, 'w')"),
    "__builtin__.eval": lambda mark: named("__builtin__", "eval", f"open({str(mark)!r}, 'w')"),
    "builtins.open": lambda mark: named("builtins", "open", str(mark), "w"),
    "io.open": lambda mark: named("io", "open", str(mark), "w"),
    "pathlib": lambda mark: named("pathlib", "Path.touch", mark),
    "dotted os": lambda mark: named("torch", "os.system", shell(mark)),
    "dotted serialization": lambda mark: named("torch", "serialization.os.system", shell(mark)),
    "dotted allowed": lambda mark: named("collections", "OrderedDict.__init__.__globals__", shell(mark)),
    "dotted numpy": lambda mark: named("numpy", "dtype.__class__", shell(mark)),
    "builtins.getattr": lambda mark: named("builtins", "getattr", {}, "pop"),
    "builtins.__import__": lambda mark: named("builtins", "__import__", "antigravity"),
    "importlib": lambda mark: named("importlib", "import_module", "antigravity"),
    "runpy": lambda mark: named("runpy", "_run_code", f"open({str(mark)!r}, 'w')", {}),
    "torch.load": lambda mark: named("torch", "load", str(mark)),
    "torch.save": lambda mark: named("torch", "save", {}, str(mark)),
    "torch.hub": lambda mark: named("torch.hub", "load", "a/b", "c"),
    "torch.jit": lambda mark: named("torch.jit", "load", str(mark)),
    "torch.utils": lambda mark: named("torch.utils.collect_env", "run", shell(mark)),
    "torch distributed": lambda mark: named("torch.distributed.rpc.internal", "_run_function", shell(mark)),
    "numpy.load": lambda mark: named("numpy", "load", str(mark), None, True),
    "numpy.savetxt": lambda mark: named("numpy", "savetxt", str(mark), [1]),
    "numpy exec": lambda mark: named("numpy.testing._private.utils", "runstring", shell(mark), {}),
    "shutil.rmtree": lambda mark: named("shutil", "rmtree", str(mark.parent / "keep")),
    "os.remove": lambda mark: named("os", "remove", str(mark.parent / "keep" / "file")),
    "ctypes": lambda mark: named("ctypes", "CDLL", "libc.so.6"),
    "socket": lambda mark: named("socket", "create_connection", ("127.0.0.1", 9)),
    "webbrowser": lambda mark: named("webbrowser", "open", "http://127.0.0.1:9"),
    "pickle.loads": lambda mark: named("pickle", "loads", named("os", "system", shell(mark))),
    "dnnlib": lambda mark: named("dnnlib.util", "open_url", "http://127.0.0.1:9"),
    "dnnlib call": lambda mark: named("dnnlib.util", "call_func_by_name", shell(mark)),
    "functools": lambda mark: named("functools", "partial", shell(mark)),
    "operator": lambda mark: named("operator", "attrgetter", "system"),
    "types code": lambda mark: named("types", "FunctionType", shell(mark)),
    "copyreg": lambda mark: named("copyreg", "_reconstructor", dict, object, None),
    "nested storage": lambda mark: named("torch.storage", "_load_from_bytes", named("os", "system", shell(mark))),
    "nested legacy": lambda mark: named(
        "torch.storage",
        "_load_from_bytes",
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03." + named("os", "system", shell(mark)) * 3,
    ),
    "old GLOBAL": lambda mark: b"cos\nsystem\n(S'" + shell(mark).encode() + b"'\ntR.",
    "INST": lambda mark: b"\x80\x02(S'" + shell(mark).encode() + b"'\nios\nsystem\n.",
    "OBJ": lambda mark: b"\x80\x02(cos\nsystem\nS'" + shell(mark).encode() + b"'\no.",
    "NEWOBJ": lambda mark: b"\x80\x02csubprocess\nPopen\nS'" + shell(mark).encode() + b"'\n\x85\x81.",
    "NEWOBJ_EX": lambda mark: b"\x80\x04csubprocess\nPopen\nS'" + shell(mark).encode() + b"'\n\x85}\x92.",
    "BUILD on a class": lambda mark: b"\x80\x02ccollections\nOrderedDict\n}S'x'\nS'y'\nsb.",
    "BUILD on a function": lambda mark: b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}S'__defaults__'\nNs\x86b.",
    "calls an instance": lambda mark: b"\x80\x02}S'" + shell(mark).encode() + b"'\n\x85R.",
    "EXT1": lambda mark: b"\x80\x02\x82\x01.",
    "PERSID": lambda mark: b"\x80\x02Pos.system\n.",
    "source code": lambda mark: named(
        "torch_utils.persistence",
        "_reconstruct_persistent_obj",
        {"type": "class", "module_src": f"open({str(mark)!r}, 'w')", "class_name": "G", "state": {}},
    ),
    "huge memo": lambda mark: b"\x80\x04Nr\xff\xff\xff\x7f.",
    "huge string": lambda mark: b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "huge frame": lambda mark: b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b".",
    "deep": lambda mark: b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".",
}


def as_torch_zip(payload: bytes) -> bytes:
    """The payload as the pickle of a torch archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def as_torch_legacy(payload: bytes) -> bytes:
    """The payload as the pickle of an old torch file."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(part, protocol=2) for part in parts) + payload + pickle.dumps([], protocol=2)


CONTAINERS = {"pkl": bytes, "zip.pt": as_torch_zip, "legacy.pt": as_torch_legacy}


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


def test_a_hidden_call_behind_a_real_network_is_not_run(tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "model.pkl"
    real = official.stylegan2(tmp_path).read_bytes()
    path.write_bytes(CALLS["os.system"](mark)[:-1] + b"0" + real[2:])
    refusal(path)
    assert not mark.exists()


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


# ---- sizes that are declared and not there


def storage_pickle(count: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """A state dict with one tensor on a storage of `count` floats, as a torch archive's pickle says it."""

    class Writer(pickle.Pickler):
        def persistent_id(self, thing: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", count) if thing is marker else None

    marker = object()
    buffer = io.BytesIO()
    rebuilt = Call(torch._utils._rebuild_tensor_v2, marker, offset, size, stride, False, {})
    Writer(buffer, protocol=2).dump({"main.0.weight": rebuilt})
    return buffer.getvalue()


BOMBS = {
    "storage": storage_pickle(10**12, (10**12,), (1,)),
    "shape": storage_pickle(4, (10**11,), (1,)),
    "expanded": storage_pickle(4, (10**6, 10**6), (0, 0)),
    "negative": storage_pickle(4, (-1,), (1,)),
    "offset": storage_pickle(4, (4,), (1,), 10**12),
    "stride": storage_pickle(4, (2,), (2**62,)),
    "dimensions": storage_pickle(4, (1,) * 60, (1,) * 60),
}


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
    assert "compressed" in refusal(path)


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
    for name in ("huge memo", "huge string", "huge frame"):
        (tmp_path / f"{name}.pkl").write_bytes(CALLS[name](tmp_path / "ran"))
    code = """
import resource, sys
from pathlib import Path
from lelsd_core import UserError
from lelsd_core.formats import read_checkpoint
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
