"""A visitor of a running page without a browser: the events of its components, by their ids on the page."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(happened: Callable[[], Any], seconds: float = 120) -> None:
    """Wait until something happened, at most so many seconds."""
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.1)


def send_event(client: httpx.Client, component: str, event: str, **values: Any) -> dict[str, Any]:
    """Let something happen to a component; what changed, by id.

    Args:
        client: of the page.
        component, event: its id on the page, and the event's name.
        values: other values than the page opened with, by id with _ for -.
    """
    config = client.get("/config").json()
    parts = {part["id"]: part for part in config["components"]}
    number = next(each for each, part in parts.items() if part["props"].get("elem_id") == component)
    called = next(d for d in config["dependencies"] if [number, event] in d["targets"] and d["backend_fn"])
    props = [parts[each]["props"] for each in called["inputs"]]
    data = [values.get((each.get("elem_id") or "").replace("-", "_"), each.get("value")) for each in props]
    outputs = [parts[each]["props"].get("elem_id") for each in called["outputs"]]
    job = {"data": data, "fn_index": called["id"], "session_hash": "test", "trigger_id": number}
    client.post("/gradio_api/queue/join", json=job).raise_for_status()
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "test"}) as lines:
        messages = (json.loads(line[6:]) for line in lines.iter_lines() if line.startswith("data: "))
        last = next(message for message in messages if message["msg"] == "process_completed")
    assert last["success"], last["output"]
    return dict(zip(outputs, last["output"]["data"], strict=True))


def send_photo(client: httpx.Client, path: Path) -> dict[str, Any]:
    """Upload a photo; what changed, by id."""
    uploaded = client.post("/gradio_api/upload", files={"files": (path.name, path.read_bytes())}).json()[0]
    photo = {"path": uploaded, "meta": {"_type": "gradio.FileData"}}
    return send_event(client, "upload", "input", upload=photo)
