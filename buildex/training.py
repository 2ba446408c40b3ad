"""Train a model on dataset folders: a run folder with checkpoints, metrics and the model.

    RUN/config.toml     every setting, enough to do it again
    RUN/metrics.csv     losses and measures; RUN/curves.png draws them
    RUN/checkpoints/    last.ckpt (to go on), best.ckpt (on validation)
    RUN/model/          the best network, ready for `buildex predict --model RUN/model`; where
                        onnx is installed its graphs, too, unless they are not wanted

Runs with torch, torchvision, timm and lightning alone: nothing here knows rasters. They are
imported when training starts, because they take seconds.
"""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import buildex
from buildex.card import ModelCard, read_card
from buildex.config import Track, from_table, read_toml, silent, to_toml
from buildex.errors import ConfigError, ModelError, OutputError, TrainingError
from buildex.io.dataset import Dataset, SceneTiles
from buildex.io.output import beside, clear_beside, told_of_full_disks
from buildex.io.zoo import find_model
from buildex.nn.recipe import MAKE, TrainConfig
from buildex.nn.settings import (
    BEST,
    LAST,
    METRICS,
    PICTURE,
    TRAIN,
    VAL,
    Feeding,
    unfinished,
)

if TYPE_CHECKING:
    from buildex.nn.fitting import Fitted

Tell = Callable[[str], None]
SHELLS = ("bash", "interactive")  # jobs of SLURM whose processes Lightning starts itself
SETTINGS, CHECKPOINTS, MODEL = "config.toml", "checkpoints", "model"
# All of a run but its settings, which it is known by beside any of the last three.
WRITTEN = (PICTURE, "tensorboard", METRICS, MODEL, CHECKPOINTS)


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
        ConfigError: if devices are not there, or more than there are tiles to validate on.
        DatasetError: if a dataset cannot be used.
        OutputError: if the run exists and neither `resume` nor `overwrite` is set, or cannot be
            written.
        TrainingError: if there is nothing to learn from, or to go on from.
        ModelError: if the encoder is unknown or its weights cannot be had.
        KeyboardInterrupt: when interrupted, after a checkpoint was saved.
    """
    datasets = [Dataset.open(path) for path in config.datasets]
    scenes = _scenes(datasets, config.feeding)
    checkpoint = check_run(config)
    from buildex.nn.checkpoints import Checkpoints
    from buildex.nn.device import choose_device, hardware
    from buildex.nn.fitting import fit, new_module
    from buildex.nn.loaders import Loaders
    from buildex.nn.weights import save_model, start_from

    first = first_process(config.devices)
    if not first:
        track, tell = silent, lambda _: None
    made_on = hardware(choose_device(config.device, config.devices))
    bare = checkpoint or config.init or config.pretrained == "none"
    learning = config.learning(scenes[0].gsd)
    weights = "" if bare else config.pretrained
    module = new_module(config.network, weights, config.codec, learning, tell)
    if config.init and not checkpoint:
        start_from(module.network, find_model(config.init))
    loaders = Loaders(scenes, config.feeding)
    if 0 < len(loaders.tiles) < config.devices:
        raise ConfigError(
            f"{len(loaders.tiles)} tiles of the split `{VAL}` are too few for"
            f" {config.devices} devices",
            hint="train on fewer, or leave validation out",
        )
    ancestors = _ancestors(config, going_on=checkpoint is not None)
    if first:
        if checkpoint is None:
            prepare_run(config)
        clear_unfinished(config.output)
        write_settings(config)
    for glob in config.scene_weights:
        if not any(fnmatch(scene.name, glob) for scene in scenes):
            tell(f"no scene fits `{glob}` of the scene weights")
    if not len(loaders.tiles):
        tell(f"no dataset has tiles of the split `{VAL}`: the last network will be exported")
    checkpoints = Checkpoints(config.output / CHECKPOINTS, beside, checkpoint is not None)
    with told_of_full_disks(config.output, "make room, then go on with `--resume`"):
        fitted = fit(module, loaders, config.loop, checkpoints, track, tell)
    model = config.output / MODEL
    if first:
        provenance = {"hardware": made_on, **_provenance(config, datasets, fitted, ancestors)}
        save_model(module.network, _card(config, learning.gsd, fitted, provenance), model)
        if config.graphs:
            _write_graphs(model, tell)
    return TrainReport(config.output, model, fitted.steps, fitted.hours, fitted.best)


def _write_graphs(model: Path, tell: Tell) -> None:
    """Write a model's graphs beside its weights; where that cannot be, say why."""
    from buildex.nn.export import write_graphs
    from buildex.nn.weights import load_model

    try:
        write_graphs(*load_model(model), model)
    except ModelError as error:
        tell(f"no graphs, prediction will need torch: {error.message}; {error.hint}")


def first_process(devices: int) -> bool:
    """Whether this process writes and speaks, of those that train on so many devices together.

    Their numbers are those that Lightning takes: torchrun's, else those of SLURM's tasks, else
    those of the processes that it starts itself, one for each further device. Whatever else a
    container has set for all of them says nothing. Where each trains by itself, each is the first.
    """
    told = os.environ
    if "TORCHELASTIC_RUN_ID" in told:
        number = "RANK"
    elif "SLURM_NTASKS" in told and told.get("SLURM_JOB_NAME") not in SHELLS:
        number = "SLURM_PROCID"
    else:
        number = "LOCAL_RANK"
    return devices == 1 or not int(told.get(number) or 0)


def can_go_on(run: Path) -> bool:
    """Whether a folder holds a run that was begun."""
    return (run / CHECKPOINTS / LAST).is_file()


def check_run(config: TrainConfig) -> Path | None:
    """Whether the run can begin, touching nothing; the checkpoint to go on from, if any.

    Raises:
        OutputError: if the run exists and neither `resume` nor `overwrite` is set, or holds what
            training needs.
        TrainingError: if there is no checkpoint to go on from, or it is of another make.
        ModelError: if there is no such model to start from.
    """
    run, last = config.output, config.output / CHECKPOINTS / LAST
    if config.resume:
        if not can_go_on(run):
            raise TrainingError(
                f"`{run}` has no checkpoint to go on from",
                hint="begin it anew, without `--resume`, with `--overwrite`",
            )
        for kept in (last, last.with_name(BEST)):
            if kept.is_file() and not zipfile.is_zipfile(kept):
                raise TrainingError(
                    f"`{kept}` is damaged", hint="copy it again, or begin anew with `--overwrite`"
                )
        _check_same_make(config)
        return last
    if first_process(config.devices) and run.exists() and (not run.is_dir() or any(run.iterdir())):
        if not config.overwrite:
            raise OutputError(
                f"`{run}` exists",
                hint="go on with `--resume`, start anew with `--overwrite`, or name another",
            )
        if not _is_run(run):
            raise OutputError(f"`{run}` is not a training run", hint="name another folder")
        _check_apart(config)
    return None


def _is_run(folder: Path) -> bool:
    """Whether training wrote a folder; of a finished run its user may keep the model alone."""
    if not any((folder / name).exists() for name in (METRICS, MODEL, CHECKPOINTS)):
        return False
    try:
        settings = read_toml(folder / SETTINGS)
    except ConfigError:
        return False
    return {"datasets", "encoder", "steps"} <= settings.keys()


def _check_apart(config: TrainConfig) -> None:
    """Whether nothing that training needs is part of the run that it would overwrite.

    Raises:
        OutputError: if something is.
    """
    needed = [*config.datasets, Path(config.pretrained)]
    if config.init:
        needed.append(find_model(config.init))
    doomed = [(config.output / name).resolve() for name in (*WRITTEN, SETTINGS)]
    for path in needed:
        if any(path.resolve().is_relative_to(place) for place in doomed):
            raise OutputError(
                f"`{path}` lies in `{config.output}`, which would be overwritten",
                hint="write the new run into another folder",
            )


def _check_same_make(config: TrainConfig) -> None:
    """Whether a run that goes on is asked for the network and optimiser that it began with.

    Raises:
        TrainingError: if not.
    """
    settings = config.output / SETTINGS
    if not settings.is_file():
        return
    begun = from_table(TrainConfig, read_toml(settings), f"`{settings}`")
    for name in MAKE:
        was, now = (getattr(one.network, name, getattr(one, name)) for one in (begun, config))
        if was != now:
            raise TrainingError(
                f"`{config.output}` was begun with {name} = {was}, and is to go on with {now}",
                hint="leave that setting as it was, or train anew, with `--init` from its model",
            )


def prepare_run(config: TrainConfig) -> None:
    """Make the run folder; of an old one goes what training wrote, and nothing else.

    Its settings stay until `write_settings`: where something cannot be removed, it is a run still.

    Raises:
        OutputError: if it cannot be made.
    """
    run = config.output
    try:
        for place in (run / name for name in WRITTEN):
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
        (run / CHECKPOINTS).mkdir(parents=True)
    except OSError as error:
        raise OutputError(
            f"`{run}` cannot be made: {error.strerror}", hint="write elsewhere"
        ) from None


def clear_unfinished(run: Path) -> None:
    """Remove what a killed process left of writing a run's files; nobody may write there now.

    Raises:
        OutputError: if something cannot be removed.
    """
    for place in (unfinished(run / name) for name in (METRICS, PICTURE)):
        try:
            place.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"`{place}` cannot be removed: {error.strerror}", hint="remove it yourself"
            ) from None
    for place in (run / SETTINGS, run / CHECKPOINTS / LAST, run / CHECKPOINTS / BEST):
        clear_beside(place)


def write_settings(config: TrainConfig) -> None:
    """Write the `config.toml` of a run: what it is trained with from now on."""
    table = dataclasses.asdict(config)
    table["datasets"] = [str(path.resolve()) for path in config.datasets]
    if config.init and Path(config.init).is_dir():
        table["init"] = str(Path(config.init).resolve())
    del table["resume"], table["overwrite"], table["output"]
    with beside(config.output / SETTINGS) as place:
        place.write_text(to_toml(table), encoding="utf-8")


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
    return ModelCard(
        name=config.name, version=config.version, gsd=gsd, size=config.size,
        network=config.network, codec=config.codec, score=fitted.best.get("threshold", 0.5),
        provenance=provenance, validation=fitted.best,
    )  # fmt: skip


def _provenance(
    config: TrainConfig,
    datasets: Sequence[Dataset],
    fitted: Fitted,
    ancestors: Mapping[str, str],
) -> dict[str, Any]:
    return {
        "buildex": buildex.__version__,
        "commit": _commit(),
        "seed": config.seed,
        "hours": round(fitted.hours, 3),
        "steps": fitted.steps,
        "torch": version("torch"),
        **ancestors,
        "datasets": [dataset.fingerprint for dataset in datasets],
        "scenes": sorted({scene.name for dataset in datasets for scene in dataset.scenes}),
    }


def _ancestors(config: TrainConfig, going_on: bool) -> dict[str, str]:
    """Where the first weights came from: a model has its encoder's from its own beginning.

    A run that goes on needs its first model no more: where it is gone, its name is what is known.
    """
    if config.init is None:
        return {"encoder_weights": Path(config.pretrained).name, "init": ""}
    try:
        card = read_card(find_model(config.init))
    except ModelError:
        if not going_on:
            raise
        return {"encoder_weights": "", "init": config.init}
    encoder = str(card.provenance.get("encoder_weights", ""))
    return {"encoder_weights": encoder, "init": f"{card.name} version {card.version}"}


def _commit() -> str:
    """The commit of the code, where it is a clone; empty where not."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
