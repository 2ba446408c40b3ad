"""Everything that is decided before the first tensor: shape of a network, samples, learning, loop.

Free of torch, so that a command's help need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, NamedTuple

from buildex.errors import ConfigError
from buildex.nn.augment import Augment

Architecture = Literal["fcos-keypoint", "mask-rcnn", "mask-rcnn-keypoint", "center-mask", "unet"]
Corners = Literal["mask-only", "features", "features-and-mask"]
Optimiser = Literal["adamw", "adam"]
Schedule = Literal["cosine", "constant"]
HeatmapMean = Literal["corners", "objects"]
Monitor = Literal["score", "iou", "instance_f1"]
Precision = Literal["auto", "bf16", "fp32"]
TRAIN, VAL = "train", "val"  # splits of a dataset
STRIDES = (4, 8, 16, 32, 64, 128)  # of the pyramid's levels, P2 to P7


class Parts(NamedTuple):
    """What a system is put together from."""

    detector: Literal["fcos", "rcnn", ""]  # none: a network that answers for every pixel
    attention: bool  # CenterMask's, in the mask branch
    keypoints: bool  # whether a keypoint branch may stand beside the mask


PARTS: dict[Architecture, Parts] = {
    "fcos-keypoint": Parts("fcos", attention=False, keypoints=True),
    "mask-rcnn": Parts("rcnn", attention=False, keypoints=False),
    "mask-rcnn-keypoint": Parts("rcnn", attention=False, keypoints=True),
    "center-mask": Parts("fcos", attention=True, keypoints=False),
    "unet": Parts("", attention=False, keypoints=False),
}


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What decides the network's tensors: a weight file fits exactly one.

    Attributes:
        architecture: which parts are joined, see `PARTS`.
        corners: what the keypoint branch sees (the paper's three scenarios, its table 4);
            with `mask-only` there is no such branch. None, for the architecture's own, is
            filled in.
        encoder: the encoder's timm name.
        pyramid_channels: channels of every pyramid level.
        detector_convs: 3x3 convolutions in each tower of FCOS.
        anchor_sizes: sides of Mask R-CNN's anchors in pixels, one for each stride.
        anchor_strides: of the levels that they stand on, each twice the one before.
        anchor_ratios: heights by widths of the anchors.
        proposals: boxes per image that go on to Mask R-CNN's box head.
        proposal_overlap: box IoU above which the weaker of two proposals is dropped.
        box_channels: width of Mask R-CNN's box head.
        roi_channels: channels of a frame's features.
        roi_cells: cells along the side of a frame's features.
        roi_scale: how many times as many cells the maps have, along each side.
        roi_convs: 3x3 convolutions of each branch.
        roi_norm: whether these are normalised by groups of channels.
        decoder_channels: of U-Net's decoder at strides 16, 8, 4, 2 and 1.
        score: detections below it are dropped.
        overlap: box IoU above which the weaker of two detections is dropped.
        detections: kept per image.

    Raises:
        ConfigError: for parts that do not fit together.
    """

    architecture: Architecture = "fcos-keypoint"
    corners: Corners | None = None
    encoder: str = "efficientnet_lite2"
    pyramid_channels: int = 128
    detector_convs: int = 4
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    anchor_strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    proposals: int = 256
    proposal_overlap: float = 0.7
    box_channels: int = 256
    roi_channels: int = 64
    roi_cells: int = 28
    roi_scale: int = 2
    roi_convs: int = 3
    roi_norm: bool = True
    decoder_channels: tuple[int, ...] = (128, 96, 64, 32, 16)
    score: float = 0.05
    overlap: float = 0.6
    detections: int = 256

    def __post_init__(self) -> None:
        own: Corners = "features-and-mask" if self.parts.keypoints else "mask-only"
        object.__setattr__(self, "corners", self.corners or own)
        if self.corners != "mask-only" and not self.parts.keypoints:
            raise ConfigError(
                f"`{self.architecture}` has no keypoints, so corners cannot be `{self.corners}`",
                hint="use `mask-rcnn-keypoint` or `fcos-keypoint`, or leave `corners` out",
            )
        self._check_channels()
        if self.parts.detector == "rcnn":
            self._check_anchors()

    @property
    def parts(self) -> Parts:
        """What the system is put together from."""
        return PARTS[self.architecture]

    @property
    def top_stride(self) -> int:
        """Stride of the last level of the pyramid that something looks at."""
        return self.anchor_strides[-1] if self.parts.detector == "rcnn" else STRIDES[-1]

    def _check_channels(self) -> None:
        if self.parts.detector == "fcos" and self.pyramid_channels % 32:
            raise ConfigError(
                f"pyramid_channels is {self.pyramid_channels}",
                hint="FCOS normalises 32 groups of them: use a multiple of 32",
            )
        if self.roi_scale not in (1, 2):
            raise ConfigError(f"roi_scale is {self.roi_scale}", hint="use 1 or 2")
        if self.roi_channels < 2 or not in_groups(self.roi_channels, self.roi_channels // 2):
            raise ConfigError(f"roi_channels is {self.roi_channels}", hint="use a multiple of 16")
        if len(self.decoder_channels) != 5 or not in_groups(*self.decoder_channels):
            raise ConfigError(
                f"decoder_channels is {list(self.decoder_channels)}",
                hint="use five multiples of 8, for strides 16, 8, 4, 2 and 1",
            )

    def _check_anchors(self) -> None:
        strides, sizes = self.anchor_strides, self.anchor_sizes
        runs = {STRIDES[i:j] for i in range(len(STRIDES)) for j in range(i + 1, len(STRIDES) + 1)}
        if strides not in runs:
            raise ConfigError(
                f"anchor_strides is {list(strides)}",
                hint=f"use some of {', '.join(map(str, STRIDES))} that follow one another",
            )
        if len(sizes) != len(strides):
            raise ConfigError(
                f"there are {len(sizes)} anchor_sizes for {len(strides)} anchor_strides",
                hint="give one size for each stride",
            )
        if not self.anchor_ratios or min(*self.anchor_ratios, *sizes) <= 0:
            raise ConfigError(
                f"anchors are of sizes {list(sizes)} and ratios {list(self.anchor_ratios)}",
                hint="use numbers above 0",
            )


def in_groups(*channels: int) -> bool:
    """Whether group norm can normalise so many channels by eights, see `heads.conv_stack`."""
    return all(count > 0 and count % max(1, count // 8) == 0 for count in channels)


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
        steps: optimiser steps in all: the learning rate ends there.
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
        epochs: validations in all.
        steps: optimiser steps in all.
        accumulate: batches whose gradients make one step.
        clip: longest gradient; 0 for any.
        average: decay of the moving average of the weights; 0 for none.
        monitor: the measure that chooses the best network.
        patience: validations without a better one before stopping; 0 for never.
        save_every: steps between two checkpoints.
        log_every: steps between two rows of losses.
        device: auto, cpu, cuda or mps.
        devices: how many to train on at once.
        precision: auto is bf16 where the device multiplies it natively.
    """

    folder: Path
    epochs: int
    steps: int
    accumulate: int = 1
    clip: float = 5.0
    average: float = 0.998
    monitor: Monitor = "score"
    patience: int = 0
    save_every: int = 100
    log_every: int = 50
    device: str = "auto"
    devices: int = 1
    precision: Precision = "auto"
