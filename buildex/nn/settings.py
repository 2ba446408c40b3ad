"""Everything that is decided before the first tensor: samples, learning, loop.

Free of torch, so that a command's help need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from buildex.nn.augment import Augment

Optimiser = Literal["adamw", "adam"]
Schedule = Literal["cosine", "constant"]
HeatmapMean = Literal["corners", "objects"]
Monitor = Literal["score", "iou", "instance_f1"]
Precision = Literal["auto", "bf16", "fp32"]
TRAIN, VAL = "train", "val"  # splits of a dataset
METRICS, PICTURE = "metrics.csv", "curves.png"  # the table of a run, and its picture
LAST, BEST = "last.ckpt", "best.ckpt"  # checkpoints of a run: to go on from, best on validation


def unfinished(path: Path) -> Path:
    """Where the table or the picture of a run is written until it takes its place."""
    return path.with_suffix(f".part{path.suffix}")


@dataclass(frozen=True, kw_only=True)
class Feeding:
    """Which samples a network gets.

    Attributes:
        size: side of a sample in pixels.
        samples: of one epoch, of all processes together.
        batch_size: samples per batch and process.
        workers: processes that cut samples; 0 for none but the one that learns.
        augment: how much samples are changed.
        scene_weights: glob of scene names to a factor on how often they are seen.
        seed: of all chance.
    """

    size: int
    samples: int
    batch_size: int = 4
    workers: int = 0
    augment: Augment = field(default_factory=Augment)
    scene_weights: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def weight(self, scene: str) -> float:
        """The factor of a scene: that of the first glob its name fits, else 1."""
        fitting = (factor for glob, factor in self.scene_weights.items() if fnmatch(scene, glob))
        return next(fitting, 1.0)


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a network learns.

    Attributes:
        steps: optimiser steps in all: the learning rate ends there ...
        hours: ... or, if that comes first, after so much time; 0 for never.
        lr: learning rate of pyramid and heads, at its highest.
        encoder_lr: the encoder's, as a share of it.
        optimiser: AdamW, or the paper's Adam, whose decay is part of the gradient.
        weight_decay: its weight decay; not for biases and norms.
        schedule: how the learning rate falls after its rise, if it does.
        warmup: steps in which the learning rate rises.
        rois: frames per image that the RoI heads learn from.
        mask_weight: lambda_mask of the paper.
        polygon_weight: lambda_polygon of the paper.
        dice: weight of the Dice term in the losses of masks; the paper has none.
        heatmap_mean: what the corner heatmap's loss is divided by: corners, as in Law and
            Deng, or the paper's "number of objects".
        frozen_stages: encoder stages (of strides 2, 4, ...) that do not learn.
        freeze_depthwise: whether the encoder's depthwise kernels do not learn.
        freeze_norms: whether batch norms keep their running statistics.
        gsd: metres per pixel.
        seed: of all chance.
    """

    steps: int
    hours: float = 0.0
    lr: float = 1e-3
    encoder_lr: float = 0.3
    optimiser: Optimiser = "adamw"
    weight_decay: float = 1e-2
    schedule: Schedule = "cosine"
    warmup: int = 200
    rois: int = 24
    mask_weight: float = 0.2
    polygon_weight: float = 1.0
    dice: float = 1.0
    heatmap_mean: HeatmapMean = "corners"
    frozen_stages: int = 2
    freeze_depthwise: bool = True
    freeze_norms: bool = False
    gsd: float = 0.1
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Loop:
    """How long and where training runs, and what it leaves in the run folder.

    Attributes:
        folder: of the run.
        steps: optimiser steps in all.
        hours: time after which training ends, if that comes first; 0 for never.
        accumulate: batches whose gradients make one step.
        clip: longest gradient; 0 for any.
        average: decay of the moving average of the weights; 0 for none.
        init_share: share of the first weights in that average.
        monitor: the measure that chooses the best network.
        patience: validations without a better one before stopping; 0 for never.
        save_every: steps between two checkpoints.
        log_every: steps between two rows of losses.
        device: auto, cpu, cuda or mps.
        devices: how many to train on at once.
        precision: auto is bf16 where the device multiplies it natively.
    """

    folder: Path
    steps: int
    hours: float = 0.0
    accumulate: int = 1
    clip: float = 5.0
    average: float = 0.998
    init_share: float = 0.0
    monitor: Monitor = "score"
    patience: int = 0
    save_every: int = 100
    log_every: int = 50
    device: str = "auto"
    devices: int = 1
    precision: Precision = "auto"
