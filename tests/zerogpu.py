"""`app.py` on a ZeroGPU Space: the real `spaces` package, a device API on loopback, and a card made of CPU memory.

The package runs as it is, up to the forked process that is given a card: there, moving a tensor to CUDA copies it. All
else is its own: the emulation until the launch, the weights packed to disk and unpacked in the process, the pickled
arguments and results, its requests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx

from tests.page_client import free_port, wait_for

ROOT = Path(__file__).parents[1]
CARD = """
import mmap, runpy, sys
import spaces.zero.torch as zero
import torch

def keep(function):
    return lambda *arguments, device=None, **options: function(*arguments, **options)

def aligned(self):
    return torch.frombuffer(mmap.mmap(-1, self.nbytes), dtype=self.dtype).view(self.shape).copy_(self)

def unpatch(leave=zero.unpatch):
    leave()
    torch.Tensor.cuda = lambda self, **_: self.clone()
    torch.Tensor.pin_memory = aligned
    torch.tensor, torch.empty, torch.cuda.synchronize = keep(torch.tensor), keep(torch.empty), lambda: None

zero.unpatch = unpatch
sys.argv = ["app.py", *sys.argv[1:]]
runpy.run_path("app.py", run_name="__main__")
"""
ANSWERS = {"/schedule": {"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}}


class DeviceApi(BaseHTTPRequestHandler):
    """Lends the card to everybody; the server's `calls` are the paths that were asked for."""

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        self.server.calls.append(path)
        body = json.dumps(ANSWERS.get(path, {})).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def device_api() -> Iterator[tuple[str, list[str]]]:
    """Address of a running device API, and the paths that it was asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), DeviceApi)
    server.calls = []
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", server.calls
    server.shutdown()
    server.server_close()


def space_environment(home: Path, api: str) -> dict[str, str]:
    """The environment of a Space with a lent GPU and an empty home, from which the Hub cannot be reached."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LELSD_"))}
    places = {"HOME": str(home), "HF_HOME": str(home / "hf"), "XDG_CACHE_HOME": str(home / "cache")}
    space = {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": api, "SPACE_ID": "me/space"}
    return kept | places | space | {"HF_ENDPOINT": "http://127.0.0.1:9"}


@contextmanager
def space(home: Path, *arguments: str) -> Iterator[SimpleNamespace]:
    """The running page of a Space: its client, log, and calls of the device API."""
    log = home / "log"
    with device_api() as (api, calls), log.open("w") as file:
        environment = space_environment(home, api) | {"GRADIO_SERVER_PORT": str(free_port())}
        url = f"http://127.0.0.1:{environment['GRADIO_SERVER_PORT']}"
        command = [sys.executable, "-c", CARD, "--host", "127.0.0.1", *arguments]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            wait_for(lambda: process.poll() is not None or "Running on local URL" in log.read_text(), 300)
            with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
                yield SimpleNamespace(client=client, log=log, calls=calls, home=home)
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # the page, and the processes that it forked
            process.wait()


def run_emulated(code: str, home: Path) -> str:
    """What a program prints in whose main thread CUDA is emulated."""
    environment = space_environment(home, "http://127.0.0.1:9")
    command = [sys.executable, "-c", f"import spaces\n{code}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
