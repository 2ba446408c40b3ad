"""The loop around the training step, on Lightning: callbacks, averaged weights, what is kept.

A run leaves `checkpoints/last.ckpt` (to go on), `checkpoints/best.ckpt` (on validation),
`metrics.csv` and `curves.png` (see `nn.history`) in its folder.
"""

from __future__ import annotations

import importlib.util
import logging
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from buildex.card import NetworkSpec
from buildex.config import Track
from buildex.geo.keypoints import RoiCodec
from buildex.nn.averages import averaging
from buildex.nn.checkpoints import Checkpoints
from buildex.nn.device import choose_device, use_bf16
from buildex.nn.history import (
    History,
    KeepBest,
    Owed,
    Progress,
    SaveOnInterrupt,
    averaged,
    last_validated,
)
from buildex.nn.loaders import Loaders
from buildex.nn.module import TrainingModule
from buildex.nn.network import new_network
from buildex.nn.pretrained import adopt, of_encoder
from buildex.nn.settings import Learning, Loop

Tell = Callable[[str], None]
HARMLESS = (  # what Lightning warns of and nobody here need know
    r".*isinstance\(treespec, LeafSpec\)",  # a quarrel between Lightning and torch
    "Checkpoint directory .* exists and is not empty",  # that is where the run goes on
    "You're resuming from a checkpoint that ended before",  # `EpochSampler` knows what is next
    "Total length of `list` across ranks is zero",  # no validation: told in better words
    "Found .* in eval mode at the start of training",  # batch norms, where they are frozen
    "The number of training batches .* is smaller than the logging interval",  # a short epoch
    "The dirpath has changed from",  # of a run that was moved
    "Please add the following callbacks",  # averaging, of a run that goes on without
    "The checkpoint was not created with WeightAveraging",  # one that goes on with
    "It is recommended to use `self.log",  # the measures are of all processes already
)


class Fitted(NamedTuple):
    """What came out of a training loop, of all its sessions."""

    steps: int
    hours: float
    best: dict[str, float]  # measures of the best validation; empty where there was none


def new_module(
    spec: NetworkSpec, pretrained: str, codec: RoiCodec, learning: Learning,
    tell: Tell = lambda _: None,
) -> TrainingModule:  # fmt: skip
    """A network that has learnt nothing yet, ready to.

    Args:
        spec: its shape.
        pretrained: its first weights: the encoder's, see `backbone.create_encoder`, or those
            of more parts, see `pretrained.adopt`.
        codec: draws its targets.
        learning: how it learns; its seed decides the first weights.
        tell: hears which parts were taken.

    Raises:
        ModelError: for an unknown encoder or weights that cannot be had.
    """
    torch.manual_seed(learning.seed)
    network = new_network(spec, pretrained if of_encoder(pretrained) else "")
    if not of_encoder(pretrained):
        tell(f"from {Path(pretrained).name}: {', '.join(adopt(network, pretrained))}")
    return TrainingModule(network.to(memory_format=torch.channels_last), codec, learning)


def fit(
    module: TrainingModule, loaders: Loaders, loop: Loop, checkpoints: Checkpoints,
    track: Track, tell: Tell,
) -> Fitted:  # fmt: skip
    """Train; the module holds the best weights at the end, or the last without validation.

    Args:
        module: learns.
        loaders: feed it.
        loop: how long, where, and what is left in the run folder.
        checkpoints: where they lie, and how they are written.
        track: shows progress.
        tell: gets lines for people.

    Raises:
        ConfigError: if the device is not there.
        OutputError: if a checkpoint cannot be written.
        KeyboardInterrupt: when interrupted, after a checkpoint was saved.
    """
    history = History(loop.folder, loop.log_every, tell)
    average = averaging(loop.average, loop.init_share) if loop.average > 0 else None
    keeper = KeepBest(checkpoints, loop.monitor, average)
    validated = len(loaders.tiles) > 0
    callbacks = _callbacks(loop, track, average, checkpoints, keeper if validated else None)
    trainer = _trainer(loop, [history, *callbacks], tell, checkpoints)
    start = checkpoints.start
    _run(
        trainer,
        lambda: trainer.fit(module, datamodule=loaders, ckpt_path=start, weights_only=True),
    )
    trainer.save_checkpoint(checkpoints.last)
    if validated and (keeper.merit is None or last_validated(loop.folder) != trainer.global_step):
        _run(trainer, lambda: trainer.validate(module, datamodule=loaders, verbose=False))
    trainer.strategy.barrier()  # the first process writes what all read
    kept = keeper.kept() if validated else {"state_dict": averaged(trainer, module, average)}
    module.load_state_dict(kept["state_dict"], strict=True)
    return Fitted(trainer.global_step, history.seconds / 3600, kept.get("measures", {}))


def _run(trainer: lightning.Trainer, loop: Callable[[], object]) -> None:
    """Run one of Lightning's loops; an interrupt comes out as KeyboardInterrupt."""
    with warnings.catch_warnings():
        for message in HARMLESS:
            warnings.filterwarnings("ignore", message)
        try:
            loop()
        except SystemExit:
            if not trainer.interrupted:
                raise
    if trainer.interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt


def _trainer(
    loop: Loop, callbacks: list[Callback], tell: Tell, checkpoints: Checkpoints
) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    device = choose_device(loop.device)
    bf16 = use_bf16(device, loop.precision)
    one_gpu = device.type == "cuda" and device.index is not None and loop.devices == 1
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index] if one_gpu else loop.devices,
        strategy="ddp" if loop.devices > 1 else "auto",
        precision="bf16-mixed" if bf16 else "32-true",
        max_epochs=-1,
        max_steps=loop.steps,
        accumulate_grad_batches=loop.accumulate,
        gradient_clip_val=loop.clip or None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=loop.log_every,
        logger=_loggers(loop.folder, tell),
        callbacks=callbacks,
        plugins=[checkpoints],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=loop.folder,
    )


def _loggers(run: Path, tell: Tell) -> list[Logger]:
    """TensorBoard where it is installed; `metrics.csv` is written in any case."""
    if any(importlib.util.find_spec(name) for name in ("tensorboard", "tensorboardX")):
        return [TensorBoardLogger(run, name="", version="tensorboard")]
    tell("tensorboard is not installed: losses go to metrics.csv only")
    return []


def _callbacks(
    loop: Loop, track: Track, average: Callback | None, checkpoints: Checkpoints,
    keeper: KeepBest | None,
) -> list[Callback]:  # fmt: skip
    """Progress, checkpoints, averaging and, where something is validated, the best network."""
    last = checkpoints.last
    average_first = [] if average is None else [average]  # what follows shows or saves it
    callbacks: list[Callback] = [
        *average_first,
        Progress(track, loop.steps, loop.hours),
        ModelCheckpoint(
            last.parent, last.stem, every_n_train_steps=loop.save_every, save_top_k=1,
            enable_version_counter=False,
        ),
        SaveOnInterrupt(last),
    ]  # fmt: skip
    if keeper is not None:
        callbacks += [keeper, Owed(loop.folder)]
    if keeper is not None and loop.patience > 0:
        monitor = f"val/{loop.monitor}"
        callbacks.append(
            EarlyStopping(
                monitor, mode="max", patience=loop.patience, check_finite=False,
                check_on_train_epoch_end=False,
            )
        )  # fmt: skip
    return callbacks
