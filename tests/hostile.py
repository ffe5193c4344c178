"""Files that would run, write or take something if they were believed."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lelsd_core import UserError, load_generator


def refusal(path: Path, **options: object) -> str:
    """What `load_generator` says about a file it must refuse; one sentence."""
    with pytest.raises(UserError) as caught:
        load_generator(path, **options)
    words = str(caught.value)
    assert words.endswith(".")
    assert "\n" not in words
    return words


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
    "huge bytearray": lambda mark: b"\x80\x05\x96" + struct.pack("<Q", 2**36) + b"x.",
    "long line": lambda mark: b"\x80\x02c" + b"x" * 2**20,
    "getattr of a module": lambda mark: b"\x80\x04cbuiltins\ngetattr\n(cos\n__dict__\nX\x06\0\0\0system\x86tR.",
    "SETITEM on a function": lambda mark: b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nK\x01K\x02s.",
    "APPEND to a function": lambda mark: b"\x80\x02ccollections\nOrderedDict\nK\x01a.",
    "a stand-in is called": lambda mark: b"\x80\x02cos\nsystem\n)R(S'" + shell(mark).encode() + b"'\ntR.",
    "a dtype is called": lambda mark: b"\x80\x02ctorch\nFloatStorage\n)R.",
    "an array of objects": lambda mark: named("numpy", "ndarray", (2**40,)),
    "a dtype of objects": lambda mark: named("numpy", "dtype", "O8", False, True),
    "bytes by number": lambda mark: named("builtins", "bytes", 2**40),
    "a range": lambda mark: named("builtins", "list", range(3)),
    "deep": lambda mark: b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".",
}


BROKEN = (  # of these, the pickle itself cannot be followed to its end
    *("nested legacy", "copyreg", "huge string", "huge frame", "huge bytearray", "long line"),
    *("SETITEM on a function", "APPEND to a function"),
)


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
