"""The choice of a device, half precision, and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lelsd_core.device import choose_device, describe, dtype_on, gradient
from lelsd_core.editor import Editor
from lelsd_core.errors import UserError
from lelsd_core.generators import Generator
from lelsd_core.registry import load_generator
from tests import official
from tests.toy import OnDevice, PictureHalves, toy_editor


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_the_best_device_is_chosen(monkeypatch, two_gpus):
    monkeypatch.delenv("LELSD_DEVICE", raising=False)
    assert choose_device() == choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("CPU ") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("mps")


def test_the_environment_forces_a_device_and_a_flag_wins_over_it(monkeypatch, two_gpus):
    monkeypatch.setenv("LELSD_DEVICE", "cuda:1")
    assert choose_device() == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_missing_device_raises_and_the_others_are_listed(name, no_gpu):
    with pytest.raises(UserError, match=rf"no {name} .* cpu\."):
        choose_device(name)


def test_a_gpu_number_too_high_raises(two_gpus):
    with pytest.raises(UserError, match=r"cuda:2 .*cuda:0 and cuda:1 and cpu"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", "tpu"])
def test_an_unknown_device_raises(name):
    with pytest.raises(UserError, match="There is no device named"):
        choose_device(name)


def test_devices_have_names(monkeypatch):
    facts = type("Facts", (), {"name": "NVIDIA T4", "total_memory": 15_600_000_000})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    assert describe(torch.device("cuda")) == "NVIDIA T4, 16 GB"
    assert "no GPU" in describe(torch.device("cpu"))
    assert "Apple" in describe(torch.device("mps"))


def test_half_precision_is_for_networks_that_were_trained_in_it():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert dtype_on(cuda, {"clamp": 256.0}, "auto") == "float16"
    for config in ({}, {"clamp": None}, {"clamp": math.inf}):
        assert dtype_on(cuda, config, "auto") is None
    for place in (cpu, torch.device("mps")):
        assert dtype_on(place, {"clamp": 256.0}, "auto") is None
    assert dtype_on(cuda, {}, "bfloat16") == "bfloat16"
    assert dtype_on(cuda, {"clamp": 256.0}, None) is None


def test_small_gradients_survive_half_precision_and_others_keep_their_bits():
    source = torch.tensor([1.5, -2.0], requires_grad=True)
    plain = torch.autograd.grad((source**3).sum(), source)[0]
    assert torch.equal(gradient((source**3).sum(), source), plain)
    tiny = 2.0**-27  # of a 1024-pixel picture's share in a mean; float16 ends at 2**-24
    assert torch.autograd.grad(tiny * source.half().float().sum(), source)[0].eq(0).all()
    assert gradient(tiny * source.half().float().sum(), source).eq(tiny).all()


def test_an_edit_runs_on_a_pretended_gpu_and_its_session_stays_on_the_cpu(monkeypatch):
    painter = OnDevice()
    editor = toy_editor(painter, PictureHalves())
    monkeypatch.setattr("lelsd_core.editor.editor.to_pil", lambda picture: picture)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda _: 1.0)  # a pretended tensor has no numbers to read
    monkeypatch.setattr(torch, "equal", lambda *_: False)  # or to compare
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for name, buffer in list(painter.named_buffers()):
            setattr(painter, name, mode.from_tensor(buffer).to("cuda"))
        session = editor.random_face(1)
        assert session.codes.device.type == "cpu"
        assert session.original.device.type == "cuda"
        edit = Editor.edit.__wrapped__(editor, session, {"left": 2.0})  # pretending does without inference mode
        assert edit.picture.device.type == "cuda"


@pytest.mark.parametrize(("write", "half"), [(official.stylegan3, True), (official.small_stylegan1, False)])
def test_a_pretended_gpu_loads_in_half_only_what_was_trained_in_it(write, half, tmp_path, monkeypatch):
    monkeypatch.setattr("lelsd_core.registry.frozen", lambda network, _: network.eval().requires_grad_(False))
    monkeypatch.setattr(Generator, "device", property(lambda _: torch.device("cuda")))
    generator = load_generator(write(tmp_path), "cuda", dtype="auto")
    assert (torch.float16 in {buffer.dtype for buffer in generator.buffers()}) is half
    exact = load_generator(write(tmp_path), "cuda")
    assert torch.float16 not in {buffer.dtype for buffer in exact.buffers()}
