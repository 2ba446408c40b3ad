"""Where the time of a training step goes.

    python benchmarks/training_step.py DATASET... --device cuda --batch-size 16

DATASET are folders that `buildex tile` made. Each part is waited for, so that together they take
longer than a step does; `a step` is one that nothing waits in. Means of `--steps` steps. Needs
nothing but what `buildex train` needs.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from buildex.io.dataset import Dataset
from buildex.nn.batch import Batch, Crops, collate
from buildex.nn.device import autocast, choose_device, hardware, use_bf16
from buildex.nn.fitting import new_module
from buildex.nn.losses import focal_loss, mask_loss, offset_loss
from buildex.nn.module import TrainingModule
from buildex.nn.recipe import TrainConfig
from buildex.nn.rois import sample_rois


class Watch:
    """Adds up milliseconds by part; waits for the device only where `waits`."""

    def __init__(self, device: torch.device, waits: bool) -> None:
        self.device, self.waits = device, waits
        self.parts: Counter[str] = Counter()
        self._last = time.perf_counter()

    def lap(self, part: str = "") -> None:
        """Book the time since the last lap."""
        if self.device.type == "cuda" and (self.waits or not part):
            torch.cuda.synchronize()
        now = time.perf_counter()
        if part:
            self.parts[part] += 1000 * (now - self._last)
        self._last = now


def main() -> None:
    """Time steps on two batches in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    device, size = choose_device(given.device), given.batch_size
    config = TrainConfig(frozen_stages=1, freeze_depthwise=False)
    scenes = [scene for path in given.datasets for scene in Dataset.open(path).scenes]
    crops = Crops(scenes, config.feeding)
    batches = [collate([crops[i] for i in range(k * size, k * size + size)]) for k in range(2)]
    module = new_module(config.network, "", config.codec, config.learning(0.1)).to(device)
    learning = (p for p in module.parameters() if p.requires_grad)
    optimiser = torch.optim.AdamW(learning, lr=1e-4, fused=device.type == "cuda")
    for rounds, waits in (("warm", True), ("parts", True), ("whole", False)):
        watch = Watch(device, waits)
        watch.lap()
        started = time.perf_counter()
        for index in range(given.steps):
            step(module, batches[index % 2], optimiser, watch)
        watch.lap()
        spent = 1000 * (time.perf_counter() - started) / given.steps
        if rounds == "whole":
            print(f"{hardware(device)}, {size} samples: a step {spent:.0f} ms")
        if rounds == "parts":
            print(*(f"{k}: {v / given.steps:.1f} ms" for k, v in watch.parts.items()), sep="\n")


def step(
    module: TrainingModule, batch: Batch, optimiser: torch.optim.Optimizer, watch: Watch
) -> None:
    """One step of learning, as `TrainingModule` does it."""
    network, device = module.network, watch.device
    images, valid = batch.images.to(device), batch.valid.to(device)
    boxes = [box.to(device) for box in batch.boxes]
    watch.lap("copy")
    with autocast(device, use_bf16(device)):
        pyramid, output = network(images, valid)
        watch.lap("network")
        losses = network.detector.losses(output, boxes)
        watch.lap("box losses")
        found = network.detector.propose(output)
        watch.lap("boxes")
        rng = np.random.default_rng(0)
        truth = sample_rois(boxes, batch.shapes, found, module.codec, 24, rng)
        watch.lap("targets")
        mask, heatmap, offset = network.maps(pyramid, truth.frames)
        losses["mask"] = mask_loss(mask, truth.maps.mask)
        losses["heatmap"] = focal_loss(heatmap, truth.maps.heatmap)
        losses["offset"] = offset_loss(offset, truth.maps.offset, truth.maps.at)
        watch.lap("heads")
    optimiser.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    watch.lap("backward")
    torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
    optimiser.step()
    watch.lap("optimiser")


if __name__ == "__main__":
    main()
