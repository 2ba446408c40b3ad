"""Settings by name. Free of torch, and of everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Section 3.2, table 1 and equations 1 and 2 of the paper, as far as they say anything; what
# they leave open is detectron2's, on which the authors built. docs/paper.md goes through all.
PAPER: Mapping[str, Any] = {
    "model": "mask-rcnn-keypoint",
    "encoder": "resnet101",
    "size": 512,
    "pyramid_channels": 256,
    "anchor_sizes": (32, 64, 128, 256, 512),
    "anchor_strides": (8, 16, 32, 64, 128),
    "anchor_ratios": (0.5, 1.0, 2.0),
    "proposals": 256,
    "proposal_overlap": 0.5,
    "overlap": 0.5,
    "box_channels": 1024,
    "cells": 28,
    "margin": 0.0,
    "roi_channels": 256,
    "roi_scale": 1,
    "roi_convs": 4,
    "roi_norm": False,
    "mask_weight": 0.2,
    "polygon_weight": 1.0,
    "dice": 0.0,
    "heatmap_mean": "objects",
    "optimiser": "adam",
    "lr": 1e-4,
    "encoder_lr": 1.0,
    "weight_decay": 1e-7,
    "schedule": "constant",
    "warmup": 0,
    "clip": 0.0,
    "average": 0.0,
    "batch_size": 2,
    "frozen_stages": 2,
    "freeze_depthwise": False,
    "freeze_norms": True,
    "scale_low": 1.0,
    "scale_high": 1.0,
    "turn": False,
    "light": 0.0,
    "degrade": 0.0,
    "paste": 0.0,
    "lay": 0.0,
}
# A model that goes on with some buildings of the town that is to be drawn, in minutes on two cores
# (docs/decisions/0022). Weaker changes of samples than a model for all towns needs, for light and
# pixels of one mosaic are what they are; batches are too small for norms to be learnt from. Half of
# what the model knew is kept (0023).
ADAPT: Mapping[str, Any] = {
    "name": "adapted",
    "init": "drone-lite2",
    "pretrained": "none",
    "steps": 120,
    "samples_per_epoch": 80,
    "batch_size": 2,
    "lr": 6e-4,
    "warmup": 15,
    "average": 0.97,
    "init_share": 0.5,
    "mask_weight": 0.6,
    "weight_decay": 2e-2,
    "frozen_stages": 2,
    "freeze_depthwise": True,
    "freeze_norms": True,
    "scale_low": 0.85,
    "scale_high": 1.2,
    "light": 0.4,
    "degrade": 0.3,
    "paste": 0.2,
    "lay": 0.1,
    "save_every": 40,
    "log_every": 10,
}
PRESETS: Mapping[str, Mapping[str, Any]] = {"paper": PAPER, "adapt": ADAPT}
