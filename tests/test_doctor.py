"""`doctor`: what works here, what is missing, how to get it; with a Hub on loopback that answers badly or never."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants

from lelsd_core import device
from lelsd_core.__main__ import main
from lelsd_core.cli import doctor
from lelsd_core.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def loopback(monkeypatch) -> Iterator[SimpleNamespace]:
    """A Hub on loopback: answers with a status after some seconds, and notes what it was asked."""
    hub = SimpleNamespace(status=200, seconds=0.0, asked=[])

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            hub.asked.append(self.path)
            time.sleep(hub.seconds)
            self.send_response(hub.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield hub
    server.shutdown()
    server.server_close()


def test_the_hub_is_asked_for_nothing_but_its_headers(loopback):
    check = doctor.check_hub()
    assert not check.remedy
    assert constants.ENDPOINT in check.what
    assert loopback.asked == ["/"] or loopback.asked == [""]


def test_any_answer_but_a_broken_one_means_that_the_hub_is_there(loopback):
    loopback.status = 404
    assert not doctor.check_hub().remedy
    loopback.status = 503
    assert "it answers 503" in doctor.check_hub().remedy


def test_a_hub_that_hangs_is_not_waited_for(loopback, monkeypatch):
    monkeypatch.setattr(doctor, "TIMEOUT", 0.1)
    loopback.seconds = 1.0
    assert doctor.check_hub().remedy.startswith(("no answer within 0.1 s", "timed out"))


def test_a_hub_that_is_not_there_is_told_with_the_way_out(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    check = doctor.check_hub()
    assert "cannot be reached at http://127.0.0.1:1" in check.what
    assert "HF_ENDPOINT" in check.remedy


def test_offline_means_that_nobody_is_asked(loopback, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in doctor.check_hub().what
    assert loopback.asked == []


def test_the_lines_and_the_json_say_the_same_and_all_is_well_here(loopback, capsys):
    assert main(["doctor", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    assert 9 <= len(lines) <= 14
    assert len(lines) == len(told["ready"]) + len(told["missing"])
    assert any("digiface-64 is whole" in words for words in told["ready"])
    for missing in told["missing"]:
        assert missing.keys() == {"what", "how"}
        assert f"  –  {missing['what']}: {missing['how']}" in lines


@pytest.mark.parametrize("problem", [UserError("generator.safetensors is damaged"), RuntimeError("no kernel\nat all")])
def test_a_shipped_model_that_fails_is_exit_code_1_with_the_json(problem, loopback, monkeypatch, capsys):
    def fails(*_):
        raise problem

    monkeypatch.setattr(doctor, "load_editor", fails)
    monkeypatch.setattr(doctor, "check_searches", lambda _: [])
    assert main(["doctor", "--json"]) == 1
    missing = json.loads(capsys.readouterr().out.splitlines()[-1])["missing"]
    assert str(problem).partition("\n")[0] in [entry["what"] for entry in missing]


def test_a_device_that_is_not_there_is_one_sentence(capsys):
    assert main(["doctor", "--device", "gpu"]) == 1
    assert "There is no device named 'gpu'" in capsys.readouterr().err


def test_little_room_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    check = doctor.check_disk(tmp_path / "not" / "there" / "yet")
    assert "1.0 GB free" in check.what
    assert "HF_HUB_CACHE" in check.remedy
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e11))
    assert not doctor.check_disk(tmp_path).remedy
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert "cannot be written to" in doctor.check_disk(tmp_path).remedy


def test_little_memory_is_reported(monkeypatch, tmp_path):
    assert doctor.check_memory().what.startswith("Memory: ")
    monkeypatch.setattr(device, "MEMORY", tmp_path / "meminfo")
    assert not doctor.check_memory().remedy, "not known on this system"
    for available, little in ((1_000_000, True), (6_000_000, False)):
        device.MEMORY.write_text(f"MemTotal: 8000000 kB\nMemAvailable: {available} kB\n")
        assert bool(doctor.check_memory().remedy) == little
        assert "of 8.2 GB" in doctor.check_memory().what


def remedies(monkeypatch) -> dict[str, str]:
    """What each check names -> its remedy, with the shipped model's checks left out for speed."""
    monkeypatch.setattr(doctor, "check_shipped_model", lambda _: doctor.Check("shipped"))
    monkeypatch.setattr(doctor, "check_searches", lambda _: [])
    return {check.what: check.remedy for check in doctor.run_checks(CPU)}


def test_large_models_want_a_gpu(loopback, monkeypatch):
    assert "takes seconds" in remedies(monkeypatch)["Models of 1024 pixels (FFHQ) while a slider moves"]


def test_missing_packages_come_with_their_install_command(loopback, monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    monkeypatch.delenv("SPACE_ID", raising=False)
    commands = [remedy for remedy in remedies(monkeypatch).values() if remedy.startswith("pip")]
    assert commands == ["pip install ray", "pip install transformers"]
    monkeypatch.setenv("SPACE_ID", "me/page")
    assert "pip install spaces" in remedies(monkeypatch).values()


def test_the_networks_that_measure_a_likeness_are_checked(monkeypatch):
    check = doctor.check_metrics()
    assert "lpips-alex and face-identity" in check.what
    assert not check.remedy
    monkeypatch.setattr(doctor, "faults_of", lambda name: [f"{name} is damaged."])
    assert doctor.check_metrics().remedy == "lpips-alex is damaged. face-identity is damaged."


def test_missing_weights_come_with_the_command_that_fetches_them(loopback, hub_home, monkeypatch):
    checks = remedies(monkeypatch)
    commands = [remedy for remedy in checks.values() if "weights fetch" in remedy]
    assert commands[0] == "python -m lelsd_core weights fetch ffhq-1024"
    assert "yunet" in commands[1]
    monkeypatch.setattr(doctor, "missing", lambda name: ())
    assert not any("weights fetch" in remedy for remedy in remedies(monkeypatch).values())
