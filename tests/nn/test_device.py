from __future__ import annotations

import pytest
import torch

from buildex.errors import ConfigError
from buildex.nn import device
from buildex.nn.device import autocast, choose_device, hardware, use_bf16

CPU = torch.device("cpu")


def with_devices(monkeypatch, cuda=False, mps=False, count=1):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_best_device_there_is(monkeypatch, cuda, mps, chosen):
    with_devices(monkeypatch, cuda, mps)
    assert choose_device().type == chosen


@pytest.mark.parametrize(
    ("name", "says"), [("cuda", "no `cuda` device here"), ("tpu9000", "unknown device `tpu9000`")]
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, name, says):
    with_devices(monkeypatch)
    with pytest.raises(ConfigError, match=says) as caught:
        choose_device(name)
    assert "cpu" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "count", "says"),
    [
        ("cuda:2", 1, "no `cuda:2` here, but 2"), ("cuda", 3, "not 3 GPUs here, but 2"),
        ("auto", 3, "not 3 GPUs"), ("cuda:1", 2, "`cuda:1` is one GPU, not 2"),
    ],
)  # fmt: skip
def test_gpus_that_are_not_there_are_refused(monkeypatch, name, count, says):
    with_devices(monkeypatch, cuda=True, count=2)
    assert choose_device("cuda:1").index == 1
    assert choose_device("cuda", 2).type == "cuda"
    with pytest.raises(ConfigError, match=says):
        choose_device(name, count)


def test_precision_is_as_asked():
    assert use_bf16(CPU, "bf16")
    assert not use_bf16(CPU, "fp32")
    assert not use_bf16(torch.device("mps"), "auto")


def test_mixed_precision_is_on_only_where_it_is_wanted():
    with autocast(CPU, bf16=True):
        assert torch.is_autocast_enabled("cpu")
    with autocast(CPU, bf16=False):
        assert not torch.is_autocast_enabled("cpu")


def test_hardware_is_said_in_words():
    assert hardware(CPU).startswith("cpu, ")


def test_memory_is_the_container_s_where_it_is_less_than_the_machine_s(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(device, "CONTAINER", limit)
    machine = device.memory()
    assert machine > 2**28
    for said, known in (("max\n", machine), ("268435456\n", 2**28), (f"{2**60}\n", machine)):
        limit.write_text(said)
        assert device.memory() == known


def test_a_machine_that_does_not_say_how_much_memory_it_has_is_taken_for_a_small_one(monkeypatch):
    monkeypatch.setattr(device.os, "sysconf", lambda name: 4096 if "SIZE" in name else -1)
    assert device.memory() == 2**33
    monkeypatch.delattr(device.os, "sysconf")
    assert device.memory() == 2**33
