"""What a training run leaves while it goes on: metrics.csv, curves.png, checkpoints, progress."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from PIL import Image, ImageDraw
from torch import Tensor

from buildex.config import Track

LOSSES = ("loss", "cls", "reg", "mask", "heatmap", "offset")
SCORES = (
    "score", "iou", "f1", "ssim", "precision", "recall", "instance_f1", "matched_iou", "polis",
    "vertex_ratio", "threshold",
)  # fmt: skip
COLUMNS = (
    "step", "epoch", "seconds", "lr", *(f"train/{n}" for n in LOSSES), *(f"val/{n}" for n in SCORES)
)  # fmt: skip
CURVES = ("train/loss", "val/iou", "val/instance_f1", "val/matched_iou")
INK = ((38, 70, 83), (231, 111, 81), (42, 157, 143), (130, 90, 160))


class History(Callback):
    """Appends rows to `metrics.csv`: mean losses every so many steps, measures per epoch.

    Args:
        folder: of the run.
        every: steps between two rows of losses.
        tell: gets a line for people with every row.
    """

    def __init__(self, folder: Path, every: int, tell: Callable[[str], None]) -> None:
        self.folder, self.every, self.tell = folder, every, tell
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._started = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, _module: Any, _out: Any, _batch: Any, _index: int
    ) -> None:
        """Add up the losses; write their mean when it is time."""
        for name in LOSSES:
            value = trainer.callback_metrics[f"train/{name}"]
            self._sums[name] = self._sums.get(name, 0) + value
        self._count += 1
        if trainer.global_step % self.every == 0:
            means = {f"train/{n}": float(v) / self._count for n, v in self._sums.items()}
            self._sums, self._count = {}, 0
            self._write(trainer, means)

    def on_validation_end(self, trainer: lightning.Trainer, _module: Any) -> None:
        """Write the measures and draw the curves anew."""
        found = trainer.callback_metrics
        self._write(trainer, {f"val/{n}": float(found[f"val/{n}"]) for n in SCORES})
        if trainer.is_global_zero:
            draw_curves(self.folder / "metrics.csv", self.folder / "curves.png")

    def _write(self, trainer: lightning.Trainer, values: dict[str, float]) -> None:
        if not trainer.is_global_zero:
            return
        rate = max(group["lr"] for group in trainer.optimizers[0].param_groups)
        row: dict[str, Any] = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "seconds": round(time.monotonic() - self._started, 1),
            "lr": f"{rate:.3g}",
            **{name: f"{value:.5g}" for name, value in values.items()},
        }
        path = self.folder / "metrics.csv"
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            if new:
                writer.writeheader()
            writer.writerow(row)
        words = " ".join(f"{name.split('/')[1]} {value:.3g}" for name, value in values.items())
        self.tell(f"step {trainer.global_step}: {words}")


class Progress(Callback):
    """Shows steps done by a `Track`."""

    def __init__(self, track: Track, steps: int) -> None:
        self.track, self.steps = track, steps
        self._bar: Iterator[int] = iter(())

    def on_train_start(self, trainer: lightning.Trainer, _module: Any) -> None:
        """Begin where the run stands."""
        left = range(trainer.global_step, self.steps)
        self._bar = iter(self.track(left, total=len(left), label="training"))
        next(self._bar, None)

    def on_train_batch_end(self, *_: Any) -> None:
        """One step on."""
        next(self._bar, None)


class SaveOnInterrupt(Callback):
    """Leaves a checkpoint when training is interrupted or fails.

    Not during validation: averaged weights stand in the network's place then, and the last
    checkpoint is only a few steps old.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_exception(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Save where the run stands."""
        if trainer.global_step > 0 and not trainer.validating:
            trainer.save_checkpoint(self.path)


def draw_curves(table: Path, picture: Path, width: int = 900, height: int = 480) -> None:
    """Draw the loss and the main measures of a `metrics.csv` over steps.

    The loss is scaled to its largest value; measures run from 0 to 1.
    """
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    frame = (40, 20, width - 20, height - 50)
    draw.rectangle(frame, outline=(200, 200, 200))
    last = max((int(row["step"]) for row in rows), default=1) or 1
    for index, (name, ink) in enumerate(zip(CURVES, INK, strict=True)):
        points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        points = [point for point in points if math.isfinite(point[1])]
        if not points:
            continue
        top = max(max(v for _, v in points), 1e-9) if name == "train/loss" else 1.0
        _draw_curve(draw, [(step / last, value / top) for step, value in points], frame, ink)
        label = f"{name} {points[-1][1]:.3f}" + (f" (top {top:.2f})" if top != 1.0 else "")
        draw.text((50 + 215 * index, height - 40), label, fill=ink)
    draw.text((50, height - 22), f"0 to {last} steps", fill=(90, 90, 90))
    beside = picture.with_suffix(".part.png")
    image.save(beside)
    beside.replace(picture)


def _draw_curve(
    draw: ImageDraw.ImageDraw,
    points: Sequence[tuple[float, float]],
    frame: tuple[int, int, int, int],
    ink: tuple[int, int, int],
) -> None:
    """A line through points, both coordinates 0..1, in a frame of pixels."""
    x0, y0, x1, y1 = frame
    places = [(x0 + x * (x1 - x0), y1 - y * (y1 - y0)) for x, y in points]
    draw.line(places, fill=ink, width=2)
    for x, y in places:
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=ink)
