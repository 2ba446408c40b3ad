"""Make the released model again: render towns, tile all scenes, train in two stages.

    python benchmarks/make_model.py WORK --data ../shared/data \
        --encoder ../shared/weights/efficientnet_lite2_imagenet_encoder.safetensors

Interrupted, the same command goes on where it stopped. The model comes out in
WORK/run/model; what its scores mean is measured and written into its card by
`benchmarks/calibrate.py WORK/run/model --scene ... --write`. The first stage took six minutes on a
GPU that others shared, and takes hours on two CPU cores; the second somewhat over an hour there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from buildex.cli.console import say, track
from buildex.config import from_table, read_toml
from buildex.rendering import RenderConfig, render_town, write_town
from buildex.tiling import TileConfig, tile
from buildex.training import TrainConfig, train

STYLES = ("village", "suburb", "town", "bazaar", "camp", "estate")
SEEDS = range(1000, 1036)
SIDE = 160  # metres
STAGES = {  # each starts from the weights of the one before
    "drone_lite2.toml": "first",
    "drone_lite2_second.toml": "run",
}


def main() -> None:
    """Read the arguments and do the three steps."""
    parser = argparse.ArgumentParser(description="Make the released model again.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--encoder", type=Path, required=True)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    towns = [rendered(given.work / "towns", seed) for seed in track(SEEDS, label="towns")]
    real = sorted(path.parent for path in given.data.glob("train/*/mosaic.tif"))
    datasets = [
        tiled(given.work / "train", real, "train"),
        tiled(given.work / "rendered", towns, "train"),
        tiled(given.work / "val", [given.data / "val" / "zanzibar-val"], "val"),
    ]
    beginning = {"pretrained": str(given.encoder)}
    for name, run in STAGES.items():
        trained(given.work / run, datasets, {**settings(name), **beginning})
        beginning = {"pretrained": "none", "init": str(given.work / run / "model")}


def settings(name: str) -> dict[str, Any]:
    """The settings of one stage."""
    return read_toml(Path(__file__).with_name(name))


def trained(run: Path, datasets: list[Path], chosen: dict[str, Any]) -> None:
    """Train one stage, or go on where an earlier attempt was stopped."""
    if (run / "model" / "model.toml").is_file():
        return
    table = {
        **chosen,
        "datasets": datasets,
        "output": run,
        "resume": (run / "checkpoints" / "last.ckpt").is_file(),
        "overwrite": True,
    }
    say(train(from_table(TrainConfig, table), track=track, tell=say).text())


def rendered(folder: Path, seed: int) -> Path:
    """A rendered town of a style and density that follow from its seed."""
    town = folder / f"town-{seed}"
    if not (town / "aoi.geojson").is_file():
        density = round(float(np.random.default_rng(seed).uniform(0.85, 1.6)), 2)
        style = STYLES[seed % len(STYLES)]
        config = RenderConfig(seed=seed, width=SIDE, height=SIDE, style=style, density=density)
        write_town(town, render_town(config), overwrite=True)
    return town


def tiled(out: Path, scenes: list[Path], split: str) -> Path:
    """A dataset of scene folders, all in one split."""
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
    main()
