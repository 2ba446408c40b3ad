from __future__ import annotations

from types import SimpleNamespace

import lightning
import pytest
import torch

from buildex.errors import DatasetError
from buildex.nn.loaders import Loaders
from buildex.nn.settings import Feeding
from tests.nn.made import PaintedScene


def loaders(rank=0, world=1, epoch=0, **changes):
    feeding = Feeding(**{"size": 64, "samples": 4, "batch_size": 2, **changes})
    made = Loaders([PaintedScene()], feeding)
    step = epoch * feeding.samples // feeding.batch_size
    made.trainer = SimpleNamespace(
        global_rank=rank, world_size=world, current_epoch=epoch, global_step=step,
        accumulate_grad_batches=1, num_devices=world,
        fit_loop=lightning.Trainer(logger=False).fit_loop,
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


class Damaged(PaintedScene):
    """A scene of which a tile cannot be read."""

    def read(self, box, split):
        raise DatasetError("`tile.png` cannot be read: truncated", hint="make the dataset again")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_tile_is_told_in_the_same_words_by_a_worker(split, workers):
    made = loaders(workers=workers)
    for data in (made.crops, made.tiles):
        data.scenes = [Damaged()]
    with pytest.raises(DatasetError) as caught:
        next(iter(getattr(made, f"{split}_dataloader")()))
    assert str(caught.value) == "`tile.png` cannot be read: truncated; make the dataset again"
    assert caught.value.hint == "make the dataset again"
