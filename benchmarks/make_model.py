"""Make the released model again: render towns, tile all scenes, train in four stages.

    python benchmarks/make_model.py WORK --data ../shared/data \
        --encoder ../shared/weights/efficientnet_lite2_imagenet_encoder.safetensors

Interrupted, the same command goes on where it stopped. The model comes out in
WORK/fourth/model; what its scores mean is measured and written into its card by
`benchmarks/calibrate.py WORK/fourth/model --scene ... --write`. The first stage took six minutes on
a GPU that others shared, the second somewhat over an hour on two CPU cores, the third six minutes
on a GPU by itself, the fourth nine on one that others shared; where there is none, the first takes
hours, the third a day, the fourth half of one.

`--further` goes on with stages that were tried and not released: from the second
(docs/decisions/0015) on what its network, calibrated on validation, sees in a town without labels,
and on towns with yards in passing (WORK/yards-run/model); from the third (docs/decisions/0018) on
terraces (WORK/terraces-run/model).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from calibrate import fitted, write

from buildex.card import UNCALIBRATED, read_card
from buildex.cli.console import say, track
from buildex.config import from_table, read_toml
from buildex.errors import BuildexError
from buildex.predicting import PredictConfig, open_model, predict
from buildex.rendering import RenderConfig, render_town, write_town
from buildex.rendering.styles import USUAL
from buildex.tiling import TileConfig, tile
from buildex.training import TrainConfig, can_go_on, train

SIDE = 160  # metres of a rendered town
SELF = "banepa-town"  # has no labels
LABELLER = "second"  # the run whose network labels it
SURE, UNSURE = 0.6, 0.2  # chances from which something there is a label, and no longer ground
VALIDATION = "val/zanzibar-val"


class Towns(NamedTuple):
    """Rendered towns: the dataset that holds them, what their names begin with, which they are."""

    dataset: str
    kind: str
    seeds: range
    styles: Sequence[str]


RENDERED = (
    Towns("rendered", "town", range(1000, 1036), USUAL),
    Towns("yards", "yards", range(1036, 1054), ("barracks", "barracks", "walled")),
    Towns("terraces", "terraces", range(1054, 1072), ("terraces",)),
    Towns("roadsides", "roadsides", range(1072, 1090), ("roadside",)),
)


class Stage(NamedTuple):
    """A training that starts from the weights of the one before."""

    settings: str
    run: str
    datasets: tuple[str, ...]


BASIC = ("train", "rendered", "val")
WITH_YARDS = ("train", "rendered", "yards")
STAGES = (
    Stage("drone_lite2.toml", "first", BASIC),
    Stage("drone_lite2_second.toml", "second", BASIC),
    Stage("drone_lite2_third.toml", "third", WITH_YARDS),
    Stage("drone_lite2_fourth.toml", "fourth", (*WITH_YARDS, "terraces", "roadsides")),
)
FURTHER = {  # by the run that they go on from
    LABELLER: (
        Stage("self_training.toml", "self-run", ("train", "rendered", "pseudo", "val")),
        Stage("yards.toml", "yards-run", ("train", "rendered", "yards", "pseudo", "val")),
    ),
    "third": (Stage("terraces.toml", "terraces-run", (*WITH_YARDS, "terraces")),),
}


def main() -> None:
    """Read the arguments and do all steps."""
    parser = argparse.ArgumentParser(description="Make the released model again.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--further", action="store_true", help="more stages")
    given = parser.parse_args()
    work: Path = given.work
    work.mkdir(parents=True, exist_ok=True)
    real = sorted(path.parent for path in given.data.glob("train/*/mosaic.tif"))
    tiled(work / "train", real, "train")
    for towns in RENDERED:
        seeds = track(towns.seeds, label=towns.dataset)
        drawn = [rendered(work / "towns", seed, towns.styles, towns.kind) for seed in seeds]
        tiled(work / towns.dataset, drawn, "train")
    tiled(work / "val", [given.data / VALIDATION], "val")
    beginning = {"pretrained": str(given.encoder)}
    for stage in STAGES:
        beginning = trained(work, stage, beginning)
    if given.further:
        label_town(work, given.data)
        for run, stages in FURTHER.items():
            beginning = begun_with(work / run)
            for stage in stages:
                beginning = trained(work, stage, beginning)


def label_town(work: Path, data: Path) -> None:
    """A dataset of a town without labels, of what is likely to the network of a stage."""
    mosaic, layer = data / "unlabelled" / SELF / "mosaic.tif", work / f"{SELF}.gpkg"
    if (work / "pseudo" / "dataset.json").is_file():
        return
    model = work / LABELLER / "model"
    if read_card(model).calibration == UNCALIBRATED:
        write(model, *fitted(model, data / VALIDATION))
    if not layer.is_file():
        sees, config = open_model(str(model)).segmenter, PredictConfig(threshold=UNSURE)
        say(predict(str(mosaic), layer, sees, config, track=track).text())
    cut = TileConfig(overlap=0, negatives=1.0, name=(SELF,), sure=SURE)
    say(tile([mosaic], [layer], work / "pseudo", cut, track).text())


def settings(name: str) -> dict[str, Any]:
    """The settings of one stage."""
    return read_toml(Path(__file__).with_name(name))


def trained(work: Path, stage: Stage, beginning: dict[str, Any]) -> dict[str, Any]:
    """Train one stage, or go on where an earlier attempt was stopped; how the next one begins."""
    run = work / stage.run
    if not (run / "model" / "model.toml").is_file():
        table = {
            **settings(stage.settings),
            **beginning,
            "datasets": [work / name for name in stage.datasets],
            "output": run,
            "resume": can_go_on(run),
            "overwrite": True,
        }
        say(train(from_table(TrainConfig, table), track=track, tell=say).text())
    return begun_with(run)


def begun_with(run: Path) -> dict[str, Any]:
    """How a training begins that goes on from a run's network."""
    return {"pretrained": "none", "init": str(run / "model")}


def rendered(folder: Path, seed: int, styles: Sequence[str], kind: str) -> Path:
    """A rendered town of a style and density that follow from its seed."""
    town = folder / f"{kind}-{seed}"
    if not (town / "aoi.geojson").is_file():
        density = round(float(np.random.default_rng(seed).uniform(0.85, 1.6)), 2)
        style = styles[seed % len(styles)]
        config = RenderConfig(seed=seed, width=SIDE, height=SIDE, style=style, density=density)
        write_town(town, render_town(config), overwrite=True)
    return town


def tiled(out: Path, scenes: Sequence[Path], split: str) -> Path:
    """A dataset of scenes, folders of a mosaic, its labels and their area, all in one split."""
    if not (out / "dataset.json").is_file():
        config = TileConfig(
            overlap=0,
            split=split,
            negatives=1.0,
            aoi=tuple(scene / "aoi.geojson" for scene in scenes),
            name=tuple(scene.name for scene in scenes),
        )
        mosaics = [scene / "mosaic.tif" for scene in scenes]
        labels = [scene / "buildings.geojson" for scene in scenes]
        say(tile(mosaics, labels, out, config, track).text())
    return out


if __name__ == "__main__":
    try:
        main()
    except BuildexError as error:
        raise SystemExit(f"make_model: {error}") from None
