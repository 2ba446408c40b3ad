"""Every setting of a training run, flat: what the options of `buildex train` are made of.

Each setting goes to the part of the same name (see `nn.settings`). Free of torch, so that the
command's help need not wait for it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from buildex.card import Architecture, Corners, NetworkSpec
from buildex.errors import ConfigError
from buildex.geo.keypoints import RoiCodec
from buildex.nn.augment import Augment
from buildex.nn.settings import Feeding, HeatmapMean, Learning, Loop, Optimiser, Schedule

COUNTS = (
    "steps", "batch_size", "accumulate", "devices", "rois", "save_every", "log_every",
    "pyramid_channels", "roi_channels", "roi_convs", "proposals", "box_channels",
)  # fmt: skip
RANGES: dict[str, tuple[float, float]] = {  # least and most
    **dict.fromkeys(COUNTS, (1, math.inf)),
    "size": (96, 4096),  # level P6 of a smaller sample is one cell: oneDNN errs there in bf16
    "cells": (8, 256),
    "lr": (1e-7, 1),
    "average": (0, 0.99999),
    "init_share": (0, 1),
    "overlap": (0, 1),
    "paste": (0, 1),
    "lay": (0, 1),
    "proposal_overlap": (0, 1),
    "frozen_stages": (0, 5),
    "scale_low": (0.1, 10),
    "scale_high": (0.1, 10),
    **dict.fromkeys(("workers", "hours", "seed", "warmup", "patience", "clip"), (0, math.inf)),
    **dict.fromkeys(("mask_weight", "polygon_weight", "dice"), (0, 1000)),
    **dict.fromkeys(("encoder_lr", "light", "degrade"), (0, 10)),
    "weight_decay": (0, 1),
    "margin": (0, 2),
    "spread": (0.001, 1),
}
# What decides which weights there are, which of them learn how, and what a checkpoint keeps of
# the first ones: a run cannot change it.
MAKE = (
    "model", "corners", "encoder", "cells", "pyramid_channels", "roi_channels", "roi_scale",
    "roi_convs", "roi_norm", "anchor_sizes", "anchor_strides", "anchor_ratios", "box_channels",
    "frozen_stages", "freeze_depthwise", "optimiser", "init_share",
)  # fmt: skip
P = TypeVar("P")


def option(default: Any, text: str, **metadata: Any) -> Any:
    """A field with its help, which becomes a command's option."""
    return field(default=default, metadata={"help": text, **metadata})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train; `RUN/config.toml` holds the same keys."""

    datasets: tuple[Path, ...] = field(default=(), metadata={"cli": False})
    output: Path = field(default=Path("run"), metadata={"cli": False})
    resume: bool = option(False, "Go on from the run's last checkpoint.")
    overwrite: bool = option(False, "Delete what an earlier run left in the folder first.")
    name: str = option("buildex-model", "The model's name.")
    version: str = option("1", "The model's version.")

    model: Architecture = option("fcos-keypoint", "Which of the systems to train.")
    corners: Corners | None = option(
        None, "What corners are seen from, in models with keypoints; else features-and-mask."
    )
    encoder: str = option("efficientnet_lite2", "The encoder's timm name.")
    pretrained: str = option(
        "timm",
        "First weights: timm or a torchvision model's name (downloads), none, an encoder's "
        "safetensors file, or a .pkl of detectron2's model zoo.",
    )
    init: str | None = option(
        None, "A model of the same make, by name or folder, to start from: fine-tuning."
    )
    size: int = option(512, "Side of a training sample in pixels, a multiple of 32.")
    cells: int = option(56, "Cells along each side of a building's maps, an even number.")
    pyramid_channels: int = option(128, "Channels of the feature pyramid.")
    roi_channels: int = option(64, "Channels of a building's features.")
    roi_scale: int = option(2, "How many times finer maps are than a building's features: 1, 2.")
    roi_convs: int = option(3, "Convolutions of each branch.")
    roi_norm: bool = option(True, "Normalise in the branches.")
    anchor_sizes: tuple[int, ...] = option((32, 64, 128, 256, 512), "Mask R-CNN's anchors.")
    anchor_strides: tuple[int, ...] = option((8, 16, 32, 64, 128), "The levels they stand on.")
    anchor_ratios: tuple[float, ...] = option((0.5, 1.0, 2.0), "Their heights by widths.")
    proposals: int = option(256, "Most boxes that Mask R-CNN looks at, and finds, per tile.")
    proposal_overlap: float = option(0.7, "Box IoU from which the weaker proposal is dropped.")
    box_channels: int = option(256, "Width of Mask R-CNN's box head.")
    overlap: float = option(0.6, "Box IoU from which the weaker detection is dropped.")
    margin: float = option(0.15, "How far maps reach beyond the box, as a share of its side.")
    spread: float = option(0.025, "Width of a corner's Gaussian, as a share of the object's size.")

    steps: int = option(20000, "Optimiser steps, rounded up to whole epochs.")
    hours: float = option(
        0.0, "Hours after which training ends, the learning rate falling with them; 0 for never."
    )
    samples_per_epoch: int = option(2000, "Samples between two validations.")
    batch_size: int = option(4, "Samples per step and device.")
    accumulate: int = option(1, "Batches whose gradients make one step.")
    lr: float = option(1e-3, "Highest learning rate of pyramid and heads.")
    encoder_lr: float = option(0.3, "The encoder's learning rate, as a share of it.")
    optimiser: Optimiser = option("adamw", "AdamW, or Adam as in the paper.")
    weight_decay: float = option(1e-2, "The optimiser's weight decay.")
    schedule: Schedule = option("cosine", "How the learning rate goes on after its rise.")
    warmup: int = option(200, "Steps in which the learning rate rises.")
    clip: float = option(5.0, "Longest gradient; longer ones are shortened. 0 for never.")
    average: float = option(0.998, "Decay of the moving average of the weights; 0 for none.")
    init_share: float = option(
        0.0, "Share of the weights of `--init` in the moving average: what it knew is kept."
    )
    rois: int = option(24, "Buildings per sample from which masks and corners are learnt.")
    mask_weight: float = option(0.2, "Weight of the mask loss.")
    polygon_weight: float = option(1.0, "Weight of the corner losses.")
    dice: float = option(1.0, "Weight of the Dice term in the losses of masks.")
    heatmap_mean: HeatmapMean = option("corners", "What the heatmap's loss is divided by.")
    frozen_stages: int = option(2, "First stages of the encoder that do not learn.")
    freeze_depthwise: bool = option(
        True, "Keep the encoder's depthwise kernels: saves a third of a step on a CPU."
    )
    freeze_norms: bool = option(
        False, "Keep the encoder's batch-norm statistics, for batches of one or two.", undo=True
    )

    scene_weights: dict[str, float] = field(
        default_factory=dict,
        metadata={"help": "How often scenes whose name fits are seen, e.g. `dhaka-*=0.2`."},
    )
    scale_low: float = option(0.7, "Least zoom of a training sample.")
    scale_high: float = option(1.4, "Greatest zoom.")
    turn: bool = option(True, "Turn and mirror training samples.")
    light: float = option(1.0, "Strength of changes of light and colour; 0 for none.")
    degrade: float = option(
        1.0,
        "Factor on the chances of haze, blur, noise, JPEG traces, shadows and trees over roofs.",
    )
    paste: float = option(0.3, "Chance that buildings of another sample are put into one.")

    lay: float = option(0.3, "Chance that pieces of another sample's ground are put into one.")

    monitor: Literal["score", "iou", "instance_f1"] = option(
        "score", "Measure that chooses the best model: score is the mean of the other two."
    )
    patience: int = option(0, "Validations without a better model before stopping; 0 for never.")
    save_every: int = option(100, "Steps between two checkpoints.")
    log_every: int = option(50, "Steps between two rows of losses.")
    workers: int = option(1, "Processes that cut samples.")
    device: str = option("auto", "auto, cpu, cuda or mps.")
    devices: int = option(1, "Devices to train on at once.")
    precision: Literal["auto", "bf16", "fp32"] = option(
        "auto", "auto is bf16 where the device multiplies it natively."
    )
    seed: int = option(0, "Seed of all chance.")
    graphs: bool = option(True, "Write the model's ONNX graphs, too.")

    def __post_init__(self) -> None:
        if self.cells % 2:
            raise ConfigError(f"cells is {self.cells}", hint="use an even number")
        if self.size % 32:
            raise ConfigError(f"size is {self.size}", hint="use a multiple of 32")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                hint = f"use {least} or more" if most == math.inf else f"use {least} to {most}"
                raise ConfigError(f"{name} is {value}", hint=hint)
        for glob, factor in self.scene_weights.items():
            if not 0 <= factor < math.inf:
                raise ConfigError(f"the weight of `{glob}` is {factor}", hint="use 0 or more")
        if self.scale_low > self.scale_high:
            raise ConfigError(
                f"scale_low is {self.scale_low}, scale_high {self.scale_high}",
                hint="let the least zoom be the smaller one",
            )
        if self.steps_per_epoch < 1:
            raise ConfigError(
                f"an epoch of {self.samples_per_epoch} samples is less than one step",
                hint="raise `samples_per_epoch`",
            )
        if self.init_share and not (self.init and self.average and self.freeze_norms):
            raise ConfigError(
                f"init_share {self.init_share} needs `init`, `average` and `freeze_norms`",
                hint="set these, or init_share to 0",
            )
        _ = self.network  # parts that do not fit are refused here

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps between two validations."""
        return self.samples_per_epoch // (self.batch_size * self.devices * self.accumulate)

    @property
    def epochs(self) -> int:
        """Validations in all."""
        return -(-self.steps // self.steps_per_epoch)

    @property
    def total_steps(self) -> int:
        """Optimiser steps in all: whole epochs."""
        return self.epochs * self.steps_per_epoch

    @property
    def network(self) -> NetworkSpec:
        """The network's shape."""
        cells = self.cells // max(self.roi_scale, 1)
        return self._part(NetworkSpec, architecture=self.model, roi_cells=cells)

    @property
    def codec(self) -> RoiCodec:
        """How maps are drawn."""
        return self._part(RoiCodec)

    @property
    def feeding(self) -> Feeding:
        """Which samples the network gets: as many as make whole steps."""
        samples = self.steps_per_epoch * self.batch_size * self.devices * self.accumulate
        return self._part(Feeding, samples=samples, augment=self._augment)

    @property
    def loop(self) -> Loop:
        """How long and where training runs."""
        return self._part(Loop, folder=self.output, steps=self.total_steps)

    def learning(self, gsd: float) -> Learning:
        """How the network learns, on pixels of `gsd` metres."""
        return self._part(Learning, steps=self.total_steps, gsd=gsd)

    @property
    def _augment(self) -> Augment:
        usual = Augment()
        chances = ("haze", "blur", "noise", "jpeg", "shade", "overgrow")
        return self._part(Augment, **{n: getattr(usual, n) * self.degrade for n in chances})

    def _part(self, cls: type[P], **others: Any) -> P:
        """A part's settings: those of the same name, and `others`."""
        names = {spec.name for spec in dataclasses.fields(cls)}  # type: ignore[arg-type]
        same = {name: getattr(self, name) for name in names - set(others) if hasattr(self, name)}
        return cls(**same, **others)
