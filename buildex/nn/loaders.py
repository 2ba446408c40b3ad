"""Batches for Lightning's loop: cut by workers, shared by processes, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Dataset

from buildex.errors import BuildexError
from buildex.nn.batch import (
    Batch,
    Crops,
    EpochSampler,
    Sample,
    Scene,
    ShareSampler,
    WholeTiles,
    collate,
)
from buildex.nn.settings import Feeding


class Loaders(lightning.LightningDataModule):
    """Batches of training crops and of whole validation tiles."""

    def __init__(self, scenes: Sequence[Scene], feeding: Feeding) -> None:
        super().__init__()
        self.feeding = feeding
        self.crops, self.tiles = Crops(scenes, feeding), WholeTiles(scenes)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Crops, this process's share."""
        sampler = EpochSampler(self.feeding.samples, *self._share())
        trainer = self.trainer
        assert trainer is not None
        together = self.feeding.batch_size * trainer.accumulate_grad_batches * trainer.world_size
        sampler.go_on(_next_epoch(trainer), trainer.global_step * together)
        if self.feeding.workers and torch.multiprocessing.get_start_method() == "fork":
            self.crops.decode(trainer.num_devices)  # once for all workers of a device
        return self._loader(self.crops, sampler, self.feeding.batch_size)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Tiles one by one, this process's share; they may differ in size."""
        if not len(self.tiles):
            return []
        return self._loader(self.tiles, ShareSampler(len(self.tiles), *self._share()), 1)

    def _share(self) -> tuple[int, int]:
        """Which process this is, of how many."""
        assert self.trainer is not None  # Lightning sets it before it asks for loaders
        return self.trainer.global_rank, self.trainer.world_size

    def _loader(self, data: Any, sampler: ShareSampler, batch_size: int) -> DataLoader[Batch]:
        return _Loader(
            _Telling(data),
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.feeding.workers,
            collate_fn=_together,
            persistent_workers=self.feeding.workers > 0,
        )


class _Telling(Dataset[Any]):
    """Samples, and what is wrong with one in its place: torch would tell of it in its own words.

    An exception of a worker reaches the user as a new one, whose message is a traceback.
    """

    def __init__(self, data: Dataset[Sample]) -> None:
        self.data = data

    def __getitem__(self, index: int) -> Sample | BuildexError:
        try:
            return self.data[index]
        except BuildexError as error:
            return error


def _together(samples: Sequence[Any]) -> Batch | BuildexError:
    """A batch, or what is wrong with the first of its samples that could not be had."""
    wrong = (sample for sample in samples if isinstance(sample, BuildexError))
    return next(wrong, None) or collate(samples)


class _Loader(DataLoader[Any]):
    """Raises what is wrong where the user's process takes the batch."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        return map(_sound, super().__iter__())


def _sound(batch: Batch | BuildexError) -> Batch:
    if isinstance(batch, BuildexError):
        raise batch
    return batch


def _next_epoch(trainer: lightning.Trainer) -> int:
    """The epoch from which samples are needed: a checkpoint may stand at the last batch of one."""
    at = trainer.fit_loop.epoch_progress.current
    ended = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and at.ready > at.completed
    return trainer.current_epoch + int(ended)
