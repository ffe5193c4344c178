"""A small Hugging Face Hub on loopback, that misbehaves on purpose.

    with HubServer({("someone/repo", "file.pt"): data}, {("someone/repo", "file.pt"): [Fault(status=404)]}) as hub:
        ...  # hub.url goes to HF_ENDPOINT; hub.requests is what came in

It answers HEAD and GET of /REPOSITORY/resolve/REVISION/FILE like the Hub: headers at once, bytes from a second host
after a redirect (large files), Range with 206. A revision that is no commit stands for one that never changes.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import unquote

COMMIT = "c0ffee" + 34 * "0"  # what every other revision stands for
PIECE = 2**16  # bytes sent at once
ERRORS = {404: "EntryNotFound", 403: "GatedRepo"}
Key = tuple[str, str]  # repository, file


@dataclass
class Fault:
    """One way to misbehave.

    Args:
        status: an answer instead of the file.
        retry_after: seconds that the answer asks to wait.
        cut: close the connection after so many bytes of the answer's body.
        pause: seconds before each piece of the body.
        gate: what must be set before the body is sent.
        body: other bytes than announced.
        no_range: send everything, whatever was asked for.
        size: another size than is true, announced.
        method: only for HEAD or only for GET.
        after: so many requests go well first.
        times: so often, then well again; None: always.
    """

    status: int | None = None
    retry_after: int | None = None
    cut: int | None = None
    pause: float = 0.0
    gate: threading.Event | None = None
    body: bytes | None = None
    no_range: bool = False
    size: int | None = None
    method: str | None = None
    after: int = 0
    times: int | None = None


@dataclass
class HubServer:
    """The server; a context manager.

    Args:
        files: (repository, file) → bytes.
        faults: (repository, file) → what goes wrong with it; the first that applies does.
        redirect: bytes come from another host, as those of large files do.
    """

    files: Mapping[Key, bytes]
    faults: Mapping[Key, Sequence[Fault]] = field(default_factory=dict)
    redirect: bool = False

    def __post_init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers in lower case
        self.guard = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()

    def count(self, method: str, part: str = "") -> int:
        """How many requests of a method came for a path with this part."""
        return sum(m == method and part in path for m, path, _ in self.requests)

    def fault(self, key: Key, method: str) -> Fault:
        """What goes wrong this time."""
        with self.guard:
            for fault in self.faults.get(key, ()):
                if fault.method not in (None, method) or fault.times == 0:
                    continue
                fault.after -= 1
                if fault.after < 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return Fault()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""

    def do_HEAD(self) -> None:
        """Metadata."""
        self.answer()

    def do_GET(self) -> None:
        """Bytes."""
        self.answer()

    def answer(self) -> None:
        """Find the file and what goes wrong with it, and send it."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append((self.command, self.path, headers))
        found = re.fullmatch(r"(/cdn)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", unquote(self.path.split("?")[0]))
        key = (found[2], found[4]) if found else ("", "")
        sends_on = self.hub.redirect and found and not found[1]
        fault = Fault() if sends_on and self.command == "GET" else self.hub.fault(key, self.command)
        status = fault.status or (200 if key in self.hub.files else 404)
        if status >= 400:
            return self.refuse(status, fault)
        data, revision = self.hub.files[key], found[3]
        self.linked = {
            "X-Repo-Commit": revision if re.fullmatch("[0-9a-f]{40}", revision) else COMMIT,
            "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Linked-Size": str(fault.size or len(data)),
        }
        if sends_on:
            place = f"http://localhost:{self.server.server_port}/cdn{self.path}"  # another host than 127.0.0.1
            return self.head(302, {**self.linked, "Location": place, "Content-Length": "0"})
        return self.send(data, fault)

    def send(self, data: bytes, fault: Fault) -> None:
        """The file, or the rest of it, as well or as badly as the fault wants."""
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        partly = bool(self.headers.get("Range")) and not fault.no_range
        body = (fault.body or data)[start if partly else 0 :]
        headers = {**self.linked, "ETag": self.linked["X-Linked-Etag"], "Accept-Ranges": "bytes"}
        headers["Content-Length"] = str(fault.size or len(body)) if self.command == "HEAD" else str(len(body))
        if partly:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.head(206 if partly else 200, headers)
        if self.command == "HEAD":
            return
        if fault.gate:
            fault.gate.wait(60)
        for place in range(0, len(body), PIECE):
            if fault.cut is not None and place >= fault.cut:
                self.close_connection = True
                self.connection.close()
                return
            time.sleep(fault.pause)
            self.wfile.write(body[place : place + PIECE])

    def refuse(self, status: int, fault: Fault) -> None:
        """An error, with the headers that the Hub adds."""
        headers = {"Content-Length": "0"}
        headers |= {"X-Error-Code": ERRORS[status]} if status in ERRORS else {}
        headers |= {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
        self.head(status, headers)

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Status line and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
