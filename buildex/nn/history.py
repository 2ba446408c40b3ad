"""What a training run leaves while it goes on: metrics.csv, curves.png, checkpoints, progress."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image, ImageDraw
from torch import Tensor

from buildex.config import Track
from buildex.nn.checkpoints import Checkpoints
from buildex.nn.settings import METRICS, PICTURE, unfinished

LOSSES = ("loss", "cls", "reg", "mask", "heatmap", "offset", "boundary")  # no network has all
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

    Checkpoints carry the time spent, so it adds up over sessions. A run that goes on from a
    checkpoint forgets the rows written after it.

    Args:
        folder: of the run.
        every: steps between two rows of losses.
        tell: gets a line for people with every row.
    """

    def __init__(self, folder: Path, every: int, tell: Callable[[str], None]) -> None:
        self.folder, self.every, self.tell = folder, every, tell
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._written = 0  # step of the last row of losses
        self._before = 0.0  # seconds of earlier sessions
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent, in all sessions of the run."""
        return self._before + time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting where the checkpoint stood."""
        self._before = float(state_dict["seconds"])

    def on_train_start(self, trainer: lightning.Trainer, _module: Any) -> None:
        """Forget rows beyond the step that training starts from."""
        self._written = trainer.global_step
        table = self.folder / METRICS
        if trainer.is_global_zero and table.is_file():
            rows = [row for row in read_rows(table) if int(row["step"]) <= trainer.global_step]
            beside = unfinished(table)
            _append(beside, rows)
            beside.replace(table)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, _module: Any, _out: Any, _batch: Any, _index: int
    ) -> None:
        """Add up the losses; write their mean when it is time."""
        found = trainer.callback_metrics
        for name in LOSSES:
            if f"train/{name}" in found:
                self._sums[name] = self._sums.get(name, 0) + found[f"train/{name}"]
        self._count += 1
        step = trainer.global_step
        if step % self.every == 0 and step > self._written:
            self._written = step
            means = {f"train/{n}": float(v) / self._count for n, v in self._sums.items()}
            self._sums, self._count = {}, 0
            self._write(trainer, means)

    def on_validation_end(self, trainer: lightning.Trainer, _module: Any) -> None:
        """Write the measures and draw the curves anew."""
        self._write(trainer, {f"val/{name}": value for name, value in measured(trainer).items()})
        if trainer.is_global_zero:
            draw_curves(self.folder / METRICS, self.folder / PICTURE)

    def _write(self, trainer: lightning.Trainer, values: dict[str, float]) -> None:
        if not trainer.is_global_zero:
            return
        rate = max(group["lr"] for group in trainer.optimizers[0].param_groups)
        row: dict[str, Any] = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "seconds": round(self.seconds, 1),
            "lr": f"{rate:.3g}",
            **{name: f"{value:.5g}" for name, value in values.items()},
        }
        _append(self.folder / METRICS, [row])
        words = " ".join(f"{name.split('/')[1]} {value:.3g}" for name, value in values.items())
        self.tell(f"step {trainer.global_step}: {words}")


class Progress(Callback):
    """Shows steps done by a `Track`; where the clock ends a run, how many are left is not known."""

    def __init__(self, track: Track, steps: int, hours: float = 0.0) -> None:
        self.track, self.steps, self.hours = track, steps, hours
        self._bar: Iterator[int] = iter(())
        self._shown = 0

    def on_train_start(self, trainer: lightning.Trainer, _module: Any) -> None:
        """Begin where the run stands."""
        self._shown = trainer.global_step
        left = range(trainer.global_step, self.steps)
        if self.hours:
            self._bar = iter(self.track(iter(left), label=f"training for {self.hours:g} h"))
        else:
            self._bar = iter(self.track(left, total=len(left), label="training"))
        next(self._bar, None)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """One step on, where the batch ended one."""
        if trainer.global_step > self._shown:
            self._shown = trainer.global_step
            next(self._bar, None)


class SaveOnInterrupt(Callback):
    """Leaves a checkpoint when training is interrupted or fails.

    Not during validation: averaged weights stand in the network's place then, so there is one
    from before it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Save before a validation, in which averaged weights take the network's place."""
        if trainer.is_last_batch:
            trainer.save_checkpoint(self.path)

    def on_exception(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Save where the run stands."""
        if trainer.global_step > 0 and not trainer.validating:
            trainer.save_checkpoint(self.path)


class Owed(Callback):
    """Makes up for what an interrupt at the end of an epoch cost, when the run goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: lightning.Trainer, _module: Any) -> None:
        """Validate where an epoch had ended and its measures are not in the table.

        An epoch whose batches were all done is begun anew: Lightning would end it at once, and
        so all that follow.
        """
        loop = trainer.fit_loop.epoch_loop
        ended = bool(loop.batch_progress.is_last_batch)
        owed = ended and last_validated(self.folder) != trainer.global_step
        if trainer.strategy.broadcast(owed):  # the first process writes the table
            loop.val_loop.restarting = False  # with the first tile, wherever it was left
            trainer.validating = True
            loop.val_loop.run()
            trainer.training = True
        if ended:
            for progress in (loop.batch_progress, loop.scheduler_progress):
                progress.reset_on_run()
            loop.automatic_optimization.optim_progress.reset_on_run()
            loop.val_loop.batch_progress.total.reset()
            loop.reset_restart_stage()


def averaged(
    trainer: lightning.Trainer, module: lightning.LightningModule, averaging: Callback | None
) -> dict[str, Any]:
    """The state of a network in training, with its averaged weights where there are any."""
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    if averaging is not None:
        averaging.on_save_checkpoint(trainer, module, checkpoint)
    state: dict[str, Any] = checkpoint["state_dict"]
    return state


def last_validated(folder: Path) -> int:
    """The step of the last validation in a run's `metrics.csv`; 0 before the first."""
    table = folder / METRICS
    rows = read_rows(table) if table.is_file() else []
    return max((int(row["step"]) for row in rows if row[f"val/{SCORES[0]}"]), default=0)


class KeepBest(Callback):
    """Keeps the network of the best validation, as it was validated, and its measures.

    Lightning's own keeper, asked for weights alone, leaves out what other callbacks do to a
    checkpoint: it would keep the weights of the moment where averaged ones were validated.

    Args:
        checkpoints: where the file lies: `state_dict`, `measures`. One that is there already is
            of the same run, and stays until there is a better one.
        monitor: the measure that has to be high.
        averaging: puts averaged weights into a checkpoint, where there are any.

    Attributes:
        merit: the measure of the kept one; None where none is.
    """

    def __init__(
        self, checkpoints: Checkpoints, monitor: str, averaging: Callback | None = None
    ) -> None:
        self.checkpoints, self.monitor, self.averaging = checkpoints, monitor, averaging
        self.merit: float | None = None

    def kept(self) -> dict[str, Any]:
        """The file."""
        best = self.checkpoints.best
        kept: dict[str, Any] = torch.load(best, map_location="cpu", weights_only=True)
        return kept

    def on_fit_start(self, _trainer: lightning.Trainer, _module: Any) -> None:
        """See how good the kept one is."""
        there = self.checkpoints.best.is_file()
        if there and "measures" in (kept := self.kept()):  # else of an older version
            self.merit = self._merit_of(kept["measures"])

    def on_validation_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        """Keep what was validated if nothing before was better."""
        measures = measured(trainer)
        merit = self._merit_of(measures)
        if self.merit is not None and merit < self.merit:
            return
        self.merit = merit
        if trainer.is_global_zero:
            kept = {"state_dict": averaged(trainer, module, self.averaging), "measures": measures}
            self.checkpoints.save_checkpoint(kept, self.checkpoints.best)

    def _merit_of(self, measures: Mapping[str, float]) -> float:
        value = measures[self.monitor]
        return -math.inf if math.isnan(value) else value


def read_rows(table: Path) -> list[dict[str, str]]:
    """The rows of a `metrics.csv`; what a row does not say is empty."""
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measured(trainer: lightning.Trainer) -> dict[str, float]:
    """The measures of the last validation, to the five digits that `metrics.csv` has."""
    found = trainer.callback_metrics
    return {name: float(f"{float(found[f'val/{name}']):.5g}") for name in SCORES}


def _append(table: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows to a table, which begins with the columns' names."""
    new = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def draw_curves(table: Path, picture: Path, width: int = 900, height: int = 480) -> None:
    """Draw the loss and the main measures of a `metrics.csv` over steps.

    The loss is scaled to its largest value; measures run from 0 to 1.
    """
    rows = read_rows(table)
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
    beside = unfinished(picture)
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
