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
from buildex.nn.fitting import Loaders, averaging, new_module
from buildex.nn.settings import Feeding, Learning, Loop
from tests.nn.made import PaintedScene, tiny_spec


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


def loaders(rank=0, world=1, epoch=0, **changes):
    feeding = Feeding(**{"size": 64, "samples": 4, "batch_size": 2, **changes})
    made = Loaders([PaintedScene()], feeding)
    step = epoch * feeding.samples // feeding.batch_size
    made.trainer = SimpleNamespace(
        global_rank=rank, world_size=world, current_epoch=epoch, global_step=step,
        accumulate_grad_batches=1, fit_loop=lightning.Trainer(logger=False).fit_loop,
    )  # fmt: skip
    return made


def test_an_epoch_has_as_many_batches_as_samples_allow():
    batches = list(loaders().train_dataloader())
    assert [batch.images.shape for batch in batches] == [(2, 3, 64, 64)] * 2


def test_processes_learn_from_different_samples():
    (first,), (second,) = (list(loaders(rank, 2).train_dataloader()) for rank in (0, 1))
    both = next(iter(loaders(batch_size=4).train_dataloader()))
    assert torch.equal(first.images, both.images[[0, 2]])
    assert torch.equal(second.images, both.images[[1, 3]])


def test_a_run_that_goes_on_begins_with_the_samples_that_are_next():
    """Workers begin before Lightning tells the sampler which epoch it is."""
    third = list(loaders(epoch=2, samples=2).train_dataloader())
    all_three = list(loaders(samples=6).train_dataloader())
    assert torch.equal(third[0].images, all_three[2].images)


def test_in_the_middle_of_an_epoch_too_and_no_number_is_used_twice():
    half = loaders(samples=4)
    half.trainer.global_step = 1
    sampler = half.train_dataloader().sampler
    assert list(sampler)[:2] == [2, 3]
    sampler.set_epoch(1)
    assert list(sampler) == [4, 5, 6, 7]  # two of the four above had been used before


def test_whole_tiles_come_one_by_one():
    (batch,) = list(loaders().val_dataloader())
    assert batch.images.shape == (1, 3, 256, 256)
    assert list(loaders(1, 2).val_dataloader()) == []


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
