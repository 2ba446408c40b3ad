from __future__ import annotations

from types import SimpleNamespace

import lightning
import pytest
import torch
from torch import nn

from buildex.geo.keypoints import RoiCodec
from buildex.io.output import beside
from buildex.nn import fitting
from buildex.nn.checkpoints import Checkpoints
from buildex.nn.fitting import averaging, new_module
from buildex.nn.settings import Learning, Loop
from tests.nn.made import tiny_spec


class Weight(lightning.LightningModule):
    """One number that learns."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))


def averages(decay, values):
    """What the average of a weight is after each of its values."""
    callback, model = averaging(decay), Weight()
    callback.setup(None, model, "fit")
    found = []
    for step, value in enumerate(values, start=1):
        model.value.data.fill_(value)
        callback.on_train_batch_end(SimpleNamespace(global_step=step), model, None, None, 0)
        found.append(callback._average_model.module.value.item())
    return found


def test_the_average_begins_with_the_first_weights_and_forgets_them_soon():
    found = averages(0.9, [1.0, *[0.0] * 60])
    assert found[0] == 1
    assert found[1] == pytest.approx(2 / 11)  # keeps (1 + n) / (10 + n) of what it was, n = 1
    assert found[2] == pytest.approx(2 / 11 * 3 / 12)


def test_the_average_never_keeps_more_than_its_decay():
    found = averages(0.5, [1.0, *[0.0] * 20])
    assert found[-1] == pytest.approx(found[-2] / 2)


def test_first_weights_follow_from_the_seed():
    def first(seed):
        module = new_module(tiny_spec(), "", RoiCodec(cells=16), Learning(steps=1, seed=seed))
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_a_gpu_by_number_is_the_one_that_learns(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(fitting, "choose_device", lambda name: torch.device(name))
    monkeypatch.setattr(fitting, "use_bf16", lambda *_: False)
    monkeypatch.setattr(fitting.lightning, "Trainer", lambda **settings: given.update(settings))
    for name, devices in (("cuda:1", [1]), ("cuda", 1), ("cpu", 1)):
        fitting._trainer(
            Loop(folder=tmp_path, steps=1, device=name), [], lambda _: None,
            Checkpoints(tmp_path, beside),
        )  # fmt: skip
        assert given["devices"] == devices
        assert isinstance(given["plugins"][0], Checkpoints)  # and not Lightning's own way
