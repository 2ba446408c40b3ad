"""Train a model on dataset folders: a run folder with checkpoints, metrics and the model.

    RUN/config.toml     every setting, enough to do it again
    RUN/metrics.csv     losses and measures; RUN/curves.png draws them
    RUN/checkpoints/    last.ckpt (to go on), best.ckpt (on validation)
    RUN/model/          the best network, ready for `buildex predict --model RUN/model`

Runs with torch, torchvision, timm and lightning alone: nothing here knows rasters.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch.utils.data import DataLoader

import buildex
from buildex.config import Track, silent, to_toml
from buildex.errors import ConfigError, OutputError, TrainingError
from buildex.geo.keypoints import RoiCodec
from buildex.io.dataset import Dataset, SceneTiles
from buildex.nn.augment import Augment
from buildex.nn.batch import Batch, Crops, EpochSampler, WholeTiles, collate, scene_weight
from buildex.nn.device import choose_device, hardware, use_bf16
from buildex.nn.history import SCORES, History, Progress, SaveOnInterrupt
from buildex.nn.module import Learning, TrainingModule
from buildex.nn.network import Network, NetworkSpec
from buildex.nn.weights import ModelCard, save_model

TRAIN, VAL = "train", "val"
Tell = Callable[[str], None]


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
        True, "Keep the encoder's depthwise kernels: half of a step's time on a CPU."
    )
    freeze_norms: bool = _option(True, "Keep the encoder's batch-norm statistics.")

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
        if self.cells % 2 or self.cells < 8:
            raise ConfigError(f"cells is {self.cells}", hint="use an even number, 8 or more")
        if self.size % 32 or self.size < 64:
            raise ConfigError(f"size is {self.size}", hint="use a multiple of 32, 64 or more")
        for name in ("steps", "batch_size", "accumulate", "devices", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}", hint="use 1 or more")
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
        return RoiCodec(cells=self.cells, margin=self.margin, spread=self.spread)

    @property
    def augment(self) -> Augment:
        """How samples are changed."""
        usual, factor = Augment(), self.degrade
        return dataclasses.replace(
            usual, scale_low=self.scale_low, scale_high=self.scale_high, turn=self.turn,
            light=self.light, haze=usual.haze * factor, blur=usual.blur * factor,
            noise=usual.noise * factor, jpeg=usual.jpeg * factor,
        )  # fmt: skip

    def learning(self, gsd: float) -> Learning:
        """How the network learns, on pixels of `gsd` metres."""
        names = {spec.name for spec in dataclasses.fields(Learning)} - {"steps", "gsd"}
        same = {name: getattr(self, name) for name in names}
        return Learning(steps=self.total_steps, gsd=gsd, **same)


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
        return {**dataclasses.asdict(self), "run": str(self.run), "model": str(self.model)}


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
        KeyboardInterrupt: when interrupted, after a checkpoint was saved.
    """
    started = time.monotonic()
    datasets = [Dataset.open(path) for path in config.datasets]
    scenes = _scenes(datasets, config)
    checkpoint = prepare_run(config)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    first_weights = "" if checkpoint or config.pretrained == "none" else config.pretrained
    network = Network(config.network, first_weights).to(memory_format=torch.channels_last)
    module = TrainingModule(network, config.codec, config.learning(scenes[0].gsd))
    trainer = _trainer(config, device, track, tell)
    loaders = Loaders(config, scenes)
    if not len(loaders.tiles):
        tell(f"no dataset has tiles of the split `{VAL}`: the last network will be exported")
    _fit(trainer, module, loaders, checkpoint)
    trainer.save_checkpoint(config.output / "checkpoints" / "last.ckpt")
    hours = (time.monotonic() - started) / 3600
    return _export(config, trainer, module, _provenance(config, datasets, device, hours))


def prepare_run(config: TrainConfig) -> Path | None:
    """Make the run folder and write its `config.toml`; the checkpoint to go on from, if any.

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
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        if not config.overwrite:
            raise OutputError(
                f"`{run}` exists",
                hint="go on with `--resume`, start anew with `--overwrite`, or name another",
            )
        if not (run / "config.toml").is_file():
            raise OutputError(f"`{run}` is not a training run", hint="name another folder")
        shutil.rmtree(run)
    (run / "checkpoints").mkdir(parents=True)
    table = dataclasses.asdict(config)
    table["datasets"] = [str(path.resolve()) for path in config.datasets]
    del table["resume"], table["overwrite"], table["output"]
    (run / "config.toml").write_text(to_toml(table), encoding="utf-8")
    return None


class Loaders(lightning.LightningDataModule):
    """Batches of training crops and of whole validation tiles."""

    def __init__(self, config: TrainConfig, scenes: Sequence[SceneTiles]) -> None:
        super().__init__()
        self.config = config
        self.crops = Crops(
            scenes, TRAIN, config.size, config.augment, config.scene_weights, config.seed
        )
        self.tiles = WholeTiles(scenes, VAL)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Crops, this process's share."""
        assert self.trainer is not None
        sampler = EpochSampler(
            self.config.samples_per_epoch, self.trainer.global_rank, self.trainer.world_size
        )
        return self._loader(self.crops, sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Tiles one by one, this process's share; they may differ in size."""
        if not len(self.tiles):
            return []
        assert self.trainer is not None
        sampler = EpochSampler(len(self.tiles), self.trainer.global_rank, self.trainer.world_size)
        sampler.set_epoch = lambda epoch: None  # type: ignore[method-assign]
        return self._loader(self.tiles, sampler, batch_size=1)

    def _loader(
        self, data: Any, sampler: EpochSampler, batch_size: int = 0, drop_last: bool = False
    ) -> DataLoader[Batch]:
        workers = self.config.workers
        return DataLoader(
            data,
            batch_size=batch_size or self.config.batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=collate,
            drop_last=drop_last,
            persistent_workers=workers > 0,
        )


def _scenes(datasets: Sequence[Dataset], config: TrainConfig) -> list[SceneTiles]:
    """The scenes of all datasets, checked to be fit to learn from together."""
    scenes = [scene for dataset in datasets for scene in dataset.scenes]
    weights = config.scene_weights
    if not any(s.tiles(TRAIN) and scene_weight(s.name, weights) > 0 for s in scenes):
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


def _trainer(
    config: TrainConfig, device: torch.device, track: Track, tell: Tell
) -> lightning.Trainer:
    bf16 = use_bf16(device, config.precision)
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=config.devices,
        strategy="ddp" if config.devices > 1 else "auto",
        precision="bf16-mixed" if bf16 else "32-true",
        max_epochs=config.epochs,
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.clip or None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=config.log_every,
        logger=_loggers(config.output, tell),
        callbacks=_callbacks(config, track, tell),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=config.output,
    )


def _loggers(run: Path, tell: Tell) -> list[Logger]:
    """TensorBoard where it is installed; `metrics.csv` is written in any case."""
    if any(importlib.util.find_spec(name) for name in ("tensorboard", "tensorboardX")):
        return [TensorBoardLogger(run, name="", version="tensorboard")]
    tell("tensorboard is not installed: losses go to metrics.csv only")
    return []


def _callbacks(config: TrainConfig, track: Track, tell: Tell) -> list[Callback]:
    folder = config.output / "checkpoints"
    best = f"val/{config.monitor}"
    callbacks: list[Callback] = [
        History(config.output, config.log_every, tell),
        Progress(track, config.total_steps),
        ModelCheckpoint(
            folder, "best", monitor=best, mode="max", save_top_k=1, save_weights_only=True,
            auto_insert_metric_name=False, enable_version_counter=False,
        ),
        ModelCheckpoint(
            folder, "last", every_n_train_steps=config.save_every, save_top_k=1,
            enable_version_counter=False,
        ),
        SaveOnInterrupt(folder / "last.ckpt"),
    ]  # fmt: skip
    if config.average > 0:
        callbacks.append(averaging(config.average))
    if config.patience > 0:
        callbacks.append(EarlyStopping(best, mode="max", patience=config.patience))
    return callbacks


def averaging(decay: float) -> WeightAveraging:
    """A moving average of the weights, used for validation and export.

    Its decay grows with the steps n as (1 + n) / (10 + n) up to `decay`, so that the random
    weights of the beginning are soon forgotten.
    """

    def move(average: torch.Tensor, now: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        return average + (now - average) * (1 - keep)

    return WeightAveraging(use_buffers=False, avg_fn=move)


def _fit(
    trainer: lightning.Trainer, module: TrainingModule, loaders: Loaders, checkpoint: Path | None
) -> None:
    """Run Lightning's loop; an interrupt comes out as KeyboardInterrupt."""
    try:
        trainer.fit(module, datamodule=loaders, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        if not trainer.interrupted:
            raise
    if trainer.interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt


def _export(
    config: TrainConfig, trainer: lightning.Trainer, module: TrainingModule,
    provenance: dict[str, Any],
) -> TrainReport:  # fmt: skip
    """Write the best network, or the last where nothing was validated, as a model folder."""
    best = config.output / "checkpoints" / "best.ckpt"
    found: dict[str, float] = {}
    if best.is_file():
        saved = torch.load(best, map_location="cpu", weights_only=True)
        module.load_state_dict(saved["state_dict"], strict=True)
        found = best_measures(config.output / "metrics.csv", config.monitor)
    card = ModelCard(
        name=config.name, version=config.version, gsd=module.learning.gsd, size=config.size,
        network=config.network, codec=config.codec, score=found.get("threshold", 0.5),
        provenance={**provenance, "steps": trainer.global_step}, validation=found,
    )  # fmt: skip
    folder = config.output / "model"
    if trainer.is_global_zero:
        save_model(module.network, card, folder)
    return TrainReport(config.output, folder, trainer.global_step, provenance["hours"], found)


def best_measures(table: Path, monitor: str) -> dict[str, float]:
    """The measures of the best validation in a `metrics.csv`."""
    import csv

    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[f"val/{monitor}"]]
    best = max(rows, key=lambda row: float(row[f"val/{monitor}"]))
    return {name: float(best[f"val/{name}"]) for name in SCORES}


def _provenance(
    config: TrainConfig, datasets: Sequence[Dataset], device: torch.device, hours: float
) -> dict[str, Any]:
    return {
        "buildex": buildex.__version__,
        "commit": _commit(),
        "seed": config.seed,
        "hardware": hardware(device),
        "hours": round(hours, 3),
        "torch": torch.__version__,
        "encoder_weights": Path(config.pretrained).name,
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
