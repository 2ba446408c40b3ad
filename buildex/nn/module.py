"""The training step: how a network learns from a batch and is judged on whole tiles."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from buildex.errors import TrainingError
from buildex.geo.grouping import polygons_of
from buildex.geo.keypoints import RoiCodec
from buildex.nn.backbone import freeze, freeze_statistics
from buildex.nn.batch import Batch
from buildex.nn.dense import dense_losses
from buildex.nn.losses import focal_loss, mask_loss, offset_loss
from buildex.nn.network import Network
from buildex.nn.rois import sample_rois
from buildex.nn.segmenter import segment
from buildex.nn.settings import Learning
from buildex.nn.unet import UNet
from buildex.nn.validation import THRESHOLDS, measures, most_counted, no_sums, tile_sums

MOST_LOST = 20  # steps in a row


class Clock:
    """How much of a training's time is over, in all its sessions.

    Args:
        seconds: in all; 0 for no end.
        now: seconds of some clock that never goes back.

    Attributes:
        done: share of the time, 0..1, when it was last asked for; the learning rate falls by it.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.now = seconds, now
        self.before = self.done = 0.0
        self._started: float | None = None

    def start(self) -> None:
        """Begin a session."""
        self._started = self.now()

    @property
    def spent(self) -> float:
        """Seconds of all sessions."""
        return self.before + (0.0 if self._started is None else self.now() - self._started)

    @property
    def share(self) -> float:
        """Share of the time that is over by now, 0..1; 0 without an end."""
        return min(1.0, self.spent / self.seconds) if self.seconds else 0.0


class TrainingModule(lightning.LightningModule):
    """A network, its losses, its optimiser and its validation.

    Args:
        network: learns.
        codec: draws its targets.
        learning: how.
    """

    def __init__(self, network: Network | UNet, codec: RoiCodec, learning: Learning) -> None:
        super().__init__()
        self.network, self.codec, self.learning = network, codec, learning
        freeze(network.backbone.encoder, learning.frozen_stages, learning.freeze_depthwise)
        self._sums = no_sums()
        self._lost = 0  # steps in a row whose gradient was no number
        self.clock = Clock(learning.hours * 3600)
        self.train()  # Lightning takes the modes of all parts as they are

    def train(self, mode: bool = True) -> TrainingModule:
        """Training mode; batch norms stay in evaluation mode where that is asked for."""
        super().train(mode)
        if mode and self.learning.freeze_norms:
            freeze_statistics(self.network)
        return self

    def on_train_start(self) -> None:
        """Start the clock; a run whose time was over before does not go on."""
        self._set_rates()
        self.clock.start()
        self._heed_clock()

    def on_train_batch_end(self, *_: object) -> None:
        """End training when the time is over."""
        self._heed_clock()

    def _heed_clock(self) -> None:
        """Look at the clock, the first process's for all: their learning rates must not differ."""
        if self.clock.seconds:
            self.clock.done = self.trainer.strategy.broadcast(self.clock.share)
            self.trainer.should_stop |= self.clock.done >= 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the time spent."""
        checkpoint["spent"] = self.clock.spent

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the time that is left."""
        self.clock.before = float(checkpoint.get("spent", 0.0))
        self.clock.done = self.clock.share

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """The loss of a batch; its parts are logged as `train/...`."""
        losses = self.losses(batch)
        total = torch.stack(list(losses.values())).sum()
        parts = {f"train/{name}": value.detach() for name, value in losses.items()}
        parts["train/loss"] = total.detach()
        self.log_dict(parts, batch_size=len(batch.images))
        return total

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted parts of the loss (see `nn.losses`); they add up to L."""
        if isinstance(self.network, UNet):
            return dense_losses(self.network, batch, self.learning.dice)
        return self._roi_losses(self.network, batch)

    def _roi_losses(self, network: Network, batch: Batch) -> dict[str, Tensor]:
        learning, weight = self.learning, self.learning.polygon_weight
        pyramid, output = network(batch.images, batch.valid)
        losses: dict[str, Tensor] = network.detector.losses(output, batch.boxes)
        found = network.detector.propose(output)
        rng = np.random.default_rng((learning.seed, self.global_step, self.global_rank))
        truth = sample_rois(batch.boxes, batch.shapes, found, self.codec, learning.rois, rng)
        mask, heatmap, offset = network.maps(pyramid, truth.frames)
        losses["mask"] = learning.mask_weight * mask_loss(mask, truth.maps.mask, learning.dice)
        if heatmap is not None and offset is not None:
            count = len(heatmap) if learning.heatmap_mean == "objects" else None
            losses["heatmap"] = weight * focal_loss(heatmap, truth.maps.heatmap, count=count)
            losses["offset"] = weight * offset_loss(offset, truth.maps.offset, truth.maps.at)
        return losses

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Shorten a gradient that is too long; leave out a step whose gradient is no number.

        One such step would leave no weight a number. Half precision makes them, now and then.

        Raises:
            TrainingError: if it happens `MOST_LOST` times in a row.
        """
        longest = gradient_clip_val or math.inf
        length = nn.utils.clip_grad_norm_(self.parameters(), longest)
        if torch.isfinite(length):
            self._lost = 0
            return
        optimizer.zero_grad()
        self._lost += 1
        if self._lost >= MOST_LOST:
            raise TrainingError(
                f"the gradient was no number {self._lost} times in a row",
                hint="go on with `--resume` and a lower `--lr`, or with `--precision fp32`",
            )

    def on_validation_epoch_start(self) -> None:
        """Forget the tiles of the last validation."""
        self._sums = no_sums()

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Draw the polygons of some tiles and compare them with the truth."""
        lowest, most = min(THRESHOLDS), max(most_counted(len(shapes)) for shapes in batch.shapes)
        answers = segment(self.network, batch.images, batch.valid, self.codec, lowest, most)
        for maps, shapes, valid in zip(answers, batch.shapes, batch.valid, strict=True):
            grouped = polygons_of(maps, self.codec, score=lowest)
            found = [(building.rings, building.score) for building in grouped]
            truth = [shape.rings for shape in shapes]
            self._sums += tile_sums(found, truth, valid.cpu().numpy(), self.learning.gsd)

    def on_validation_epoch_end(self) -> None:
        """Log the measures of all tiles, of all processes, as `val/...`."""
        sums = torch.from_numpy(self._sums.astype(np.float32)).to(self.device)
        whole = self.trainer.strategy.reduce(sums, reduce_op="sum").cpu().numpy()
        for name, value in measures(whole.astype(np.float64)).items():
            self.log(f"val/{name}", value, rank_zero_only=False)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW or Adam; the learning rate rises, then stays or falls along half a cosine."""
        learning = self.learning
        optimiser = AdamW if learning.optimiser == "adamw" else Adam
        fused = self.device.type == "cuda"  # else hundreds of small kernels a step
        optimizer = optimiser(self._groups(), lr=learning.lr, fused=fused)

        def factor(step: int) -> float:
            rise = min(1.0, (step + 1) / learning.warmup) if learning.warmup else 1.0
            if learning.schedule == "constant" or step < learning.warmup:
                return rise
            rest = max(1, learning.steps - learning.warmup)
            done = min(1.0, max((step - learning.warmup) / rest, self.clock.done))
            return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))

        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
        }

    def _set_rates(self) -> None:
        """Learn as fast as is asked for now: a checkpoint brings its own rates."""
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LambdaLR)  # as configured below
        groups = scheduler.optimizer.param_groups
        for group, wanted in zip(groups, self._groups(), strict=True):
            group |= {"initial_lr": wanted["lr"], "weight_decay": wanted["weight_decay"]}
        scheduler.base_lrs = [group["initial_lr"] for group in groups]
        for group, factor in zip(groups, scheduler.lr_lambdas, strict=True):
            group["lr"] = group["initial_lr"] * factor(scheduler.last_epoch)

    def _groups(self) -> list[dict[str, object]]:
        """Parameters by part (encoder or not) and by whether they decay (matrices do)."""
        encoder = set(self.network.backbone.encoder.parameters())
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for parameter in self.parameters():
            if parameter.requires_grad:
                key = (parameter in encoder, parameter.ndim > 1)
                groups.setdefault(key, []).append(parameter)
        learning = self.learning
        return [
            {
                "params": parameters,
                "lr": learning.lr * (learning.encoder_lr if of_encoder else 1.0),
                "weight_decay": learning.weight_decay if decays else 0.0,
            }
            for (of_encoder, decays), parameters in groups.items()
        ]
