"""Train a model on dataset folders: a run folder with checkpoints, metrics and the model.

    RUN/config.toml     every setting, enough to do it again
    RUN/metrics.csv     losses and measures; RUN/curves.png draws them
    RUN/checkpoints/    last.ckpt (to go on), best.ckpt (on validation)
    RUN/model/          the best network, ready for `buildex predict --model RUN/model`

Runs with torch, torchvision, timm and lightning alone: nothing here knows rasters. They are
imported when training starts, because they take seconds.
"""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import buildex
from buildex.config import Track, silent, to_toml
from buildex.errors import ConfigError, OutputError, TrainingError
from buildex.geo.keypoints import RoiCodec
from buildex.io.dataset import Dataset, SceneTiles
from buildex.io.zoo import find_model
from buildex.nn.augment import Augment
from buildex.nn.settings import TRAIN, VAL, Feeding, Learning, Loop, NetworkSpec

if TYPE_CHECKING:
    from buildex.nn.fitting import Fitted
    from buildex.nn.weights import ModelCard

Tell = Callable[[str], None]
COUNTS = ("steps", "batch_size", "accumulate", "devices", "rois", "save_every", "log_every")
RANGES: dict[str, tuple[float, float]] = {  # least and most
    **dict.fromkeys(COUNTS, (1, math.inf)),
    "size": (96, 4096),  # level P6 of a smaller sample is one cell: oneDNN errs there in bf16
    "cells": (8, 256),
    "lr": (1e-7, 1),
    "average": (0, 0.99999),
    "frozen_stages": (0, 5),
    "scale_low": (0.1, 10),
    "scale_high": (0.1, 10),
    "workers": (0, math.inf),
}
P = TypeVar("P")


def _option(default: Any, text: str, **metadata: Any) -> Any:
    """A field with its help, which becomes a command's option."""
    return field(default=default, metadata={"help": text, **metadata})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train; `RUN/config.toml` holds the same keys."""

    datasets: tuple[Path, ...] = field(default=(), metadata={"cli": False})
    output: Path = field(default=Path("run"), metadata={"cli": False})
    resume: bool = _option(False, "Go on from the run's last checkpoint.")
    overwrite: bool = _option(False, "Delete the run folder first, if it exists.")
    name: str = _option("buildex-model", "The model's name.")
    version: str = _option("1", "The model's version.")

    model: Literal["fcos-keypoint"] = _option("fcos-keypoint", "What the network is made of.")
    encoder: str = _option("efficientnet_lite2", "The encoder's timm name.")
    pretrained: str = _option(
        "timm", "First weights of the encoder: timm (downloads), none, or a safetensors file."
    )
    init: str | None = _option(
        None, "A model of the same make, by name or folder, to start from: fine-tuning."
    )
    size: int = _option(512, "Side of a training sample in pixels, a multiple of 32.")
    cells: int = _option(56, "Cells along each side of a building's maps, an even number.")
    margin: float = _option(0.15, "How far maps reach beyond the box, as a share of its side.")
    spread: float = _option(0.025, "Width of a corner's Gaussian, as a share of the object's size.")

    steps: int = _option(20000, "Optimiser steps, rounded up to whole epochs.")
    samples_per_epoch: int = _option(2000, "Samples between two validations.")
    batch_size: int = _option(4, "Samples per step and device.")
    accumulate: int = _option(1, "Batches whose gradients make one step.")
    lr: float = _option(1e-3, "Highest learning rate of pyramid and heads.")
    encoder_lr: float = _option(0.3, "The encoder's learning rate, as a share of it.")
    weight_decay: float = _option(1e-2, "AdamW's weight decay.")
    warmup: int = _option(200, "Steps in which the learning rate rises.")
    clip: float = _option(5.0, "Longest gradient; longer ones are shortened. 0 for never.")
    average: float = _option(0.998, "Decay of the moving average of the weights; 0 for none.")
    rois: int = _option(24, "Buildings per sample from which masks and corners are learnt.")
    mask_weight: float = _option(0.2, "Weight of the mask loss.")
    polygon_weight: float = _option(1.0, "Weight of the corner losses.")
    frozen_stages: int = _option(2, "First stages of the encoder that do not learn.")
    freeze_depthwise: bool = _option(
        True, "Keep the encoder's depthwise kernels: saves a third of a step on a CPU."
    )
    freeze_norms: bool = _option(
        False, "Keep the encoder's batch-norm statistics, for batches of one or two."
    )

    scene_weights: dict[str, float] = field(
        default_factory=dict,
        metadata={"help": "How often scenes whose name fits are seen, e.g. `dhaka-*=0.2`."},
    )
    scale_low: float = _option(0.7, "Least zoom of a training sample.")
    scale_high: float = _option(1.4, "Greatest zoom.")
    turn: bool = _option(True, "Turn and mirror training samples.")
    light: float = _option(1.0, "Strength of changes of light and colour; 0 for none.")
    degrade: float = _option(1.0, "Factor on the chances of haze, blur, noise and JPEG traces.")

    monitor: Literal["score", "iou", "instance_f1"] = _option(
        "score", "Measure that chooses the best model: score is the mean of the other two."
    )
    patience: int = _option(0, "Validations without a better model before stopping; 0 for never.")
    save_every: int = _option(100, "Steps between two checkpoints.")
    log_every: int = _option(50, "Steps between two rows of losses.")
    workers: int = _option(1, "Processes that cut samples.")
    device: str = _option("auto", "auto, cpu, cuda or mps.")
    devices: int = _option(1, "Devices to train on at once.")
    precision: Literal["auto", "bf16", "fp32"] = _option(
        "auto", "auto is bf16 where the device multiplies it natively."
    )
    seed: int = _option(0, "Seed of all chance.")

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
        return NetworkSpec(architecture=self.model, encoder=self.encoder, roi_cells=self.cells // 2)

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
        chances = ("haze", "blur", "noise", "jpeg")
        return self._part(Augment, **{n: getattr(usual, n) * self.degrade for n in chances})

    def _part(self, cls: type[P], **others: Any) -> P:
        """A part's settings: those of the same name, and `others`."""
        names = {spec.name for spec in dataclasses.fields(cls)}  # type: ignore[arg-type]
        same = {name: getattr(self, name) for name in names - set(others) if hasattr(self, name)}
        return cls(**same, **others)


@dataclass(frozen=True)
class TrainReport:
    """What came out of a training run."""

    run: Path
    model: Path
    steps: int
    hours: float
    best: dict[str, float]

    def text(self) -> str:
        """For people."""
        shown = ", ".join(f"{name} {value:.3f}" for name, value in self.best.items())
        return (
            f"trained {self.steps} steps in {self.hours:.2f} h; model in {self.model}\n"
            f"best on validation: {shown or 'there was none'}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        best = {name: None if math.isnan(value) else value for name, value in self.best.items()}
        return {
            "run": str(self.run), "model": str(self.model), "steps": self.steps,
            "hours": self.hours, "best": best,
        }  # fmt: skip


def train(
    config: TrainConfig, *, track: Track = silent, tell: Tell = lambda _: None
) -> TrainReport:
    """Train a network and export the best one.

    Args:
        config: every setting; `datasets` and `output` among them.
        track: shows progress.
        tell: gets lines for people.

    Raises:
        DatasetError: if a dataset cannot be used.
        OutputError: if the run exists and neither `resume` nor `overwrite` is set.
        TrainingError: if there is nothing to learn from, or to go on from.
        ModelError: if the encoder is unknown or its weights cannot be had.
        KeyboardInterrupt: when interrupted, after a checkpoint was saved.
    """
    datasets = [Dataset.open(path) for path in config.datasets]
    scenes = _scenes(datasets, config.feeding)
    checkpoint = check_run(config)
    from buildex.nn.device import choose_device, hardware
    from buildex.nn.fitting import Loaders, fit, new_module
    from buildex.nn.weights import save_model, start_from

    if not first_process():
        track, tell = silent, lambda _: None
    made_on = hardware(choose_device(config.device))
    bare = checkpoint or config.init or config.pretrained == "none"
    learning = config.learning(scenes[0].gsd)
    module = new_module(config.network, "" if bare else config.pretrained, config.codec, learning)
    if config.init and not checkpoint:
        start_from(module.network, find_model(config.init))
    loaders = Loaders(scenes, config.feeding)
    if checkpoint is None and first_process():
        prepare_run(config)
    if not len(loaders.tiles):
        tell(f"no dataset has tiles of the split `{VAL}`: the last network will be exported")
    fitted = fit(module, loaders, config.loop, checkpoint, track, tell)
    model = config.output / "model"
    if first_process():
        provenance = {"hardware": made_on, **_provenance(config, datasets, fitted)}
        save_model(module.network, _card(config, learning.gsd, fitted, provenance), model)
    return TrainReport(config.output, model, fitted.steps, fitted.hours, fitted.best)


def first_process() -> bool:
    """Whether the user started this process; Lightning starts one more for each further device."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def check_run(config: TrainConfig) -> Path | None:
    """Whether the run can begin, touching nothing; the checkpoint to go on from, if any.

    Raises:
        OutputError: if the run exists and neither `resume` nor `overwrite` is set.
        TrainingError: if there is no checkpoint to go on from.
    """
    run, last = config.output, config.output / "checkpoints" / "last.ckpt"
    if config.resume:
        if not last.is_file():
            raise TrainingError(
                f"`{run}` has no checkpoint to go on from", hint="train without `--resume`"
            )
        return last
    if first_process() and run.exists() and (not run.is_dir() or any(run.iterdir())):
        if not config.overwrite:
            raise OutputError(
                f"`{run}` exists",
                hint="go on with `--resume`, start anew with `--overwrite`, or name another",
            )
        if not (run / "config.toml").is_file():
            raise OutputError(f"`{run}` is not a training run", hint="name another folder")
    return None


def prepare_run(config: TrainConfig) -> None:
    """Make the run folder, in the place of an old one, and write its `config.toml`."""
    run = config.output
    if run.exists():
        shutil.rmtree(run)
    (run / "checkpoints").mkdir(parents=True)
    table = dataclasses.asdict(config)
    table["datasets"] = [str(path.resolve()) for path in config.datasets]
    del table["resume"], table["overwrite"], table["output"]
    (run / "config.toml").write_text(to_toml(table), encoding="utf-8")


def _scenes(datasets: Sequence[Dataset], feeding: Feeding) -> list[SceneTiles]:
    """The scenes of all datasets, checked to be fit to learn from together."""
    scenes = [scene for dataset in datasets for scene in dataset.scenes]
    if not any(scene.tiles(TRAIN) and feeding.weight(scene.name) > 0 for scene in scenes):
        raise TrainingError(
            f"no dataset has tiles of the split `{TRAIN}`",
            hint="make one with `buildex tile`, and leave a scene with a weight above 0",
        )
    sizes = sorted({round(scene.gsd, 4) for scene in scenes})
    if len(sizes) > 1:
        raise TrainingError(
            f"the datasets have pixels of {', '.join(f'{s} m' for s in sizes)}",
            hint="tile them with one `--gsd`",
        )
    return scenes


def _card(config: TrainConfig, gsd: float, fitted: Fitted, provenance: dict[str, Any]) -> ModelCard:
    """What the model folder says beside the weights."""
    from buildex.nn.weights import ModelCard

    return ModelCard(
        name=config.name, version=config.version, gsd=gsd, size=config.size,
        network=config.network, codec=config.codec, score=fitted.best.get("threshold", 0.5),
        provenance=provenance, validation=fitted.best,
    )  # fmt: skip


def _provenance(config: TrainConfig, datasets: Sequence[Dataset], fitted: Fitted) -> dict[str, Any]:
    return {
        "buildex": buildex.__version__,
        "commit": _commit(),
        "seed": config.seed,
        "hours": round(fitted.hours, 3),
        "steps": fitted.steps,
        "torch": version("torch"),
        "encoder_weights": Path(config.pretrained).name,
        "init": "" if config.init is None else Path(config.init).name,
        "datasets": [dataset.fingerprint for dataset in datasets],
        "scenes": sorted({scene.name for dataset in datasets for scene in dataset.scenes}),
    }


def _commit() -> str:
    """The commit of the code, where it is a clone; empty where not."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
