from __future__ import annotations

import torch

from buildex.geo.keypoints import RoiCodec
from buildex.io.output import beside
from buildex.nn import fitting
from buildex.nn.checkpoints import Checkpoints
from buildex.nn.fitting import new_module
from buildex.nn.settings import Learning, Loop
from tests.nn.made import tiny_spec


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
