"""Labels for a mosaic that has none, from what a model sees in it: self-training.

    python benchmarks/pseudo_labels.py mosaic.tif WORK/town
    buildex tile mosaic.tif --labels WORK/town/buildings.geojson --aoi WORK/town/aoi.geojson \
        --name town -o WORK/pseudo --split train --overlap 0 --negatives 1

Draws the mosaic down to low scores. What is surely a building, and looks like one, is a label
(`buildings.geojson`); what may be one is cut out of the area in which all buildings are drawn
(`aoi.geojson`), so that nobody learns it, as a building or as ground; the rest is ground
(Sirko et al. 2021 train a student on such labels). Sure is what has the chance: a model whose card
does not say what its scores mean is refused.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import shapely

from buildex.card import UNCALIBRATED, read_card
from buildex.cli.console import say, track
from buildex.errors import BuildexError, ModelError
from buildex.geo.footprints import Footprints
from buildex.geo.learnable import certain, learnable
from buildex.io.raster import Mosaic
from buildex.io.vector import read_footprints, write_footprints
from buildex.io.zoo import DEFAULT_MODEL, find_model
from buildex.predicting import PredictConfig, open_model, predict

SURE, UNSURE = 0.6, 0.2  # chances from which something is a label, and no longer ground


def main() -> None:
    """Draw, part the sure from the rest, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mosaic")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--sure", type=float, default=SURE, help="chance of a label")
    parser.add_argument("--unsure", type=float, default=UNSURE, help="chance of what is cut out")
    given = parser.parse_args()
    label(given.mosaic, given.out, given.model, given.sure, given.unsure)


def label(
    mosaic_path: str, out: Path, name: str | None, sure: float = SURE, unsure: float = UNSURE
) -> None:
    """Write the labels of a mosaic and their area into a folder.

    Args:
        mosaic_path: the mosaic.
        out: the folder; what this very network drew stays there, and is not drawn again.
        name: of the model, or its folder; None for the released one.
        sure: chance of a label.
        unsure: chance of what is cut out.

    Raises:
        ModelError: if the model's scores are no chances.
    """
    folder = find_model(name or DEFAULT_MODEL)
    if read_card(folder).calibration == UNCALIBRATED:
        raise ModelError(
            f"the card of `{folder}` does not say what its scores mean",
            hint=f"run `python benchmarks/calibrate.py {folder} --scene FOLDER --write` first",
        )
    out.mkdir(parents=True, exist_ok=True)
    model = open_model(name)
    layer = out / f"seen-{model.digest[:8]}-{model.runtime}-{model.precision}-{unsure:g}.gpkg"
    if not layer.is_file():
        config = PredictConfig(threshold=unsure)
        say(predict(mosaic_path, layer, model.segmenter, config, track=track).text())
    with Mosaic.open(mosaic_path) as mosaic:
        frame, crs = shapely.Polygon(mosaic.outline), mosaic.grid.crs
    seen, _ = read_footprints(layer, target_crs=crs)
    labels, area = parted(seen, frame, sure, unsure)
    write_footprints(out / "buildings.geojson", labels, overwrite=True)
    shapes = np.array([area], dtype=object)
    write_footprints(out / "aoi.geojson", Footprints(shapes, crs), overwrite=True)
    say(f"{len(labels)} labels of {len(seen)} buildings; {area.area / frame.area:.0%} of the area")


def parted(
    seen: Footprints, frame: shapely.Geometry, sure: float, unsure: float
) -> tuple[Footprints, shapely.Geometry]:
    """The labels, and the area in which all buildings are labelled.

    Args:
        seen: buildings with their chances, in metres.
        frame: the mosaic's outline.
        sure: chance from which one that looks like a building is a label.
        unsure: chance from which anything else is cut out.
    """
    chance = seen.numbers("score")
    good = learnable(seen.polygons, chance, sure)
    labels, doubtful = seen.take(good).polygons, seen.take(~good & (chance >= unsure)).polygons
    named = Footprints(labels, seen.crs, {"building": np.full(len(labels), "yes")})
    return named, certain(frame, labels, doubtful)


if __name__ == "__main__":
    try:
        main()
    except BuildexError as error:
        raise SystemExit(f"pseudo_labels: {error}") from None
