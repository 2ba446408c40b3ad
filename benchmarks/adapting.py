"""What a corner with labels is worth in a town that a network has not seen.

    python benchmarks/adapting.py WORK --data ../shared/data --threshold .5

WORK is that of `leave_one_town_out.py`: WORK/TOWN/run/model has not seen TOWN. Of the area of the
town's first scene the square in the north-west that holds `--buildings` of its labels is learnt
from, as by `buildex tile --negatives 1` and `buildex train --preset adapt --init
WORK/TOWN/run/model`, from nothing else. In the rest, from 10 m on, both networks draw what neither
has learnt from, and are scored there; nothing of it chooses weights or threshold.
WORK/TOWN/adapted-N-NETWORK-PRESET keeps dataset, run, layers, overlays and figures; interrupted,
the same command goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from leave_one_town_out import Figures, drawn_and_scored, lines
from left_out_training import TOWNS

from buildex.cli.console import say, track
from buildex.config import from_table
from buildex.errors import BuildexError
from buildex.geo.footprints import Footprints
from buildex.io.raster import Mosaic
from buildex.io.vector import read_area, read_footprints, write_footprints
from buildex.io.zoo import digest, find_model
from buildex.nn.presets import ADAPT
from buildex.predicting import PredictConfig, open_model
from buildex.tiling import TileConfig, tile
from buildex.training import TrainConfig, can_go_on, train

GUARD = 10.0  # metres between what is learnt from and what is scored


class Areas(NamedTuple):
    """Files of the two areas of a scene."""

    taught: Path
    rest: Path


def main() -> None:
    """Adapt and score what is missing, print the table."""
    parser = argparse.ArgumentParser(description="What a town's own labels are worth.")
    parser.add_argument("work", type=Path, help="that of leave_one_town_out.py")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--towns", nargs="+", choices=list(TOWNS), default=list(TOWNS))
    parser.add_argument("--buildings", type=int, default=30, help="to learn from")
    parser.add_argument("--threshold", type=float, default=0.5, help="the same for all towns")
    parser.add_argument("--steps", type=int, help="in place of the preset's")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    print("\n".join(lines("network", {town: figures_of(town, given) for town in given.towns})))


def figures_of(town: str, given: argparse.Namespace) -> Figures:
    """Figures of the rest of a town before and after; those that are there already as they are.

    Raises:
        ModelError: if there is no network that has not seen the town.
    """
    before = find_model(str(given.work / town / "run" / "model"))
    kind = f"adapted-{given.buildings}"
    work = folder_of(given.work / town, digest(before), kind, given.steps)
    done = work / f"figures-{given.threshold:g}.json"

    def made() -> Figures:
        scene = given.data / "train" / TOWNS[town][0]
        areas = divided(scene, given.buildings, work)
        after = adapted(taught(scene, areas.taught, work / "dataset"), before, work / "run", given)
        config = PredictConfig(
            threshold=given.threshold, aoi=areas.rest, overwrite=True, restart=True
        )
        return {
            name: drawn_and_scored(
                scene, areas.rest, work / f"{name}-{given.threshold:g}.gpkg",
                open_model(str(model), given.device), config, name,
            )
            for name, model in (("before", before), ("after", after))
        }  # fmt: skip

    return kept(done, made)


def kept(done: Path, made: Callable[[], Figures]) -> Figures:
    """The figures in a file; where it is not there yet they are made and written."""
    if not done.is_file():
        done.parent.mkdir(parents=True, exist_ok=True)
        done.write_text(json.dumps(made(), indent=2), encoding="utf-8")
    found: Figures = json.loads(done.read_text(encoding="utf-8"))
    return found


def folder_of(town: Path, network: str, kind: str, steps: int | None) -> Path:
    """Where what came of a network of a town is kept: by what decides it."""
    preset = hashlib.sha256(json.dumps(dict(ADAPT), sort_keys=True).encode()).hexdigest()
    return town / f"{kind}-{network[:8]}-{preset[:4]}{f'-{steps}' if steps else ''}"


def divided(scene: Path, count: int, folder: Path) -> Areas:
    """The square in the north-west of a scene's area that holds so many buildings, and the rest.

    Raises:
        SystemExit: if there are no more buildings than that.
    """
    with Mosaic.open(str(scene / "mosaic.tif")) as mosaic:
        crs = mosaic.grid.crs
    area = read_area(scene / "aoi.geojson", crs)
    footprints, _ = read_footprints(scene / "buildings.geojson", target_crs=crs)
    middles = shapely.centroid(footprints.polygons)
    middles = middles[shapely.within(middles, area)]
    west, _, _, north = area.bounds
    sides = np.sort(np.maximum(shapely.get_x(middles) - west, north - shapely.get_y(middles)))
    if len(sides) <= count:
        raise SystemExit(f"adapting: `{scene}` has {len(sides)} buildings, {count} to learn from")
    side = float(sides[count - 1] + sides[count]) / 2
    square = shapely.box(west, north - side, west + side, north)
    around = shapely.buffer(square, GUARD, join_style="mitre")
    places = folder / "taught.geojson", folder / "rest.geojson"
    for place, part in zip(places, (area & square, area - around), strict=True):
        parts = shapely.get_parts(part)
        write_footprints(place, Footprints(parts, crs), overwrite=True)
    return Areas(*places)


def taught(scene: Path, area: Path, dataset: Path) -> Path:
    """The dataset of an area of a scene."""
    if not (dataset / "dataset.json").is_file():
        config = TileConfig(aoi=(area,), negatives=1.0, name=(scene.name,))
        tile([str(scene / "mosaic.tif")], [scene / "buildings.geojson"], dataset, config, track)
    return dataset


def adapted(dataset: Path, init: Path, run: Path, given: argparse.Namespace) -> Path:
    """The model that has learnt from a dataset; goes on with a run that was begun."""
    if (run / "model" / "model.toml").is_file():
        return run / "model"
    settings = {
        **ADAPT, "init": str(init), "datasets": [dataset], "output": run, "device": given.device,
        "graphs": False, "resume": can_go_on(run), "overwrite": True,
    }  # fmt: skip
    settings |= {"steps": given.steps} if given.steps else {}
    return train(from_table(TrainConfig, settings), track=track, tell=say).model


if __name__ == "__main__":
    try:
        main()
    except BuildexError as error:
        raise SystemExit(f"adapting: {error}") from None
