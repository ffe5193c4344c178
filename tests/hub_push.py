"""A small Hub on loopback that takes repositories: create, preupload, LFS, commit; and gives back what it took."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_mine"
OWNER = "me"
SHA = "c0ffee" * 6 + "c0ff"  # of every commit


class Hub(ThreadingHTTPServer):
    """What it holds: files by repository and name, and every request it saw.

    Args:
        large: endings of files that go through LFS, as the Hub decides for itself.
        broken: (status, words) that every commit is answered with; None = it works.
    """

    def __init__(self, large: tuple[str, ...] = (".safetensors",), broken: tuple[int, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.large, self.broken = large, broken
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.seen: list[tuple[str, str]] = []

    @property
    def address(self) -> str:
        """For `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """The hub, while it serves."""
    thread = threading.Thread(target=hub.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Hub

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        """JSON, or bytes as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        """What was sent."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def refused(self, owner: str) -> bool:
        """Whether the token may not write there; told."""
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid user token."}, 401)
        elif owner != OWNER:
            self.answer({"error": "You don't have the rights"}, 403)
        else:
            return False
        return True

    def do_POST(self) -> None:
        """Everything that writes, but the bytes of large files."""
        self.server.seen.append((self.command, self.path))
        path, body = self.path.partition("?")[0], self.body()
        if path == "/api/validate-yaml":
            front = json.loads(body)["content"].split("---\n")[1]
            self.answer({"errors": [], "warnings": []}, 200 if yaml.safe_load(front)["license"] else 400)
        elif path == "/api/repos/create":
            wanted = json.loads(body)
            if not self.refused(wanted["organization"]):
                self.create(f"{wanted['organization']}/{wanted['name']}")
        elif found := re.fullmatch(r"/api/models/(([\w-]+)/[\w.-]+)/(preupload|commit)/main", path):
            if not self.refused(found[2]):
                {"preupload": self.preupload, "commit": self.commit}[found[3]](found[1], body)
        elif found := re.fullmatch(r"/(([\w-]+)/[\w.-]+)\.git/info/lfs/objects/batch", path):
            if not self.refused(found[2]):
                self.batch(json.loads(body))
        else:
            self.answer({"error": "unknown"}, 404)

    def create(self, name: str) -> None:
        """A new repository, or 409 for one that is there."""
        there = name in self.server.repositories
        self.server.repositories.setdefault(name, {})
        self.answer({"url": f"{self.server.address}/{name}"}, 409 if there else 200)

    def preupload(self, name: str, body: bytes) -> None:
        """Which way each file goes."""
        large = self.server.large
        modes = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(large) else "regular", "shouldIgnore": False}
            for f in json.loads(body)["files"]
        ]
        self.answer({"files": modes})

    def batch(self, wanted: dict[str, Any]) -> None:
        """Where the bytes of large files go."""
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.address}/storage/{one['oid']}"}}}
            for one in wanted["objects"]
        ]
        self.answer({"transfer": "basic", "objects": objects})

    def do_PUT(self) -> None:
        """The bytes of a large file, which must be what its name says."""
        self.server.seen.append((self.command, self.path))
        body, name = self.body(), self.path.rpartition("/")[2]
        right = hashlib.sha256(body).hexdigest() == name
        if right:
            self.server.objects[name] = body
        self.answer({}, 200 if right else 422)

    def commit(self, name: str, body: bytes) -> None:
        """All files at once."""
        if self.server.broken:
            status, words = self.server.broken
            self.answer({"error": words}, status)
            return
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.server.repositories[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.repositories[name][value["path"]] = self.server.objects[value["oid"]]
        self.answer({"commitUrl": f"{self.server.address}/{name}/commit/{SHA}", "commitOid": SHA, "success": True})

    def do_GET(self) -> None:
        """What is in a repository."""
        self.server.seen.append((self.command, self.path))
        path = self.path.partition("?")[0]
        found = re.fullmatch(r"(?:/api/models)?/([\w-]+/[\w.-]+)(?:/(revision|tree|resolve)/\w+/?(.*))?", path)
        files = self.server.repositories.get(found[1]) if found else None
        if files is None:
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        elif found[2] == "tree":
            self.answer([{"type": "file", "path": n, "size": len(c), "oid": oid(c)} for n, c in files.items()])
        elif found[2] == "resolve":
            content = files[found[3]]
            self.answer(content, ETag=f'"{oid(content)}"', X_Repo_Commit=SHA)
        else:
            self.answer({"id": found[1], "sha": SHA, "siblings": siblings(files)})

    def do_HEAD(self) -> None:
        """The same without its bytes."""
        self.do_GET()


def oid(content: bytes) -> str:
    """Git's name of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def siblings(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """The files of a repository, as it lists them."""
    return [{"rfilename": name, "size": len(content)} for name, content in files.items()]
