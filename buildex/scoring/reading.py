"""Files to scenes: everything in ground metres, in the UTM zone of the scene's centre."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.errors import VectorError
from buildex.geo.evidence import Scene
from buildex.geo.footprints import Footprints, Polygons
from buildex.io.crs import WGS84, metric
from buildex.io.scene_list import SceneFiles
from buildex.io.vector import RepairCounts, read_area, read_footprints
from buildex.scoring.settings import ScoreConfig

Onto = Callable[[Footprints], Footprints]


class ReadScene(NamedTuple):
    """A scene in ground metres.

    Attributes:
        first: its predictions and its truth.
        second: the second predictions and the same truth, where there are two.
        labels: what became of the features of the file of true buildings.
        credit: whom the file says to thank for them, each once.
    """

    first: Scene
    second: Scene | None
    labels: RepairCounts
    credit: tuple[str, ...] = ()


def read_scene(files: SceneFiles, config: ScoreConfig, onto: Onto | None = None) -> ReadScene:
    """Read a scene's predictions, and the second ones where there are two, with its truth.

    Args:
        files: vector files in any CRS. Without an area it is the box around all layers, in
            which false positives far from truth count.
        config: the column that ranks predictions.
        onto: moves the true buildings onto the imagery, where they lie off it.

    Raises:
        VectorError: if a file cannot be used, or all that was predicted and is true lies
            outside the area; empty ground of which nothing was predicted is a scene, too.
    """
    paths = [path for path in (files.predictions, files.compare) if path is not None]
    crs = _metric_crs(files.truth, paths, files.aoi)
    real, labels = read_footprints(files.truth, target_crs=crs)
    truth = (real if onto is None else onto(real)).polygons
    read = [read_footprints(path, target_crs=crs) for path in paths]
    drawn = np.concatenate([found.polygons for found, _ in read])
    every = np.concatenate([truth, drawn])
    aoi = files.aoi
    area = shapely.box(*shapely.total_bounds(every)) if aoi is None else read_area(aoi, crs)
    if len(drawn) and not shapely.intersects(area, every).any():
        raise VectorError(
            f"no building of `{files.predictions}` or `{files.truth}` lies in `{aoi}`",
            hint="check that they show the same place, and their coordinate systems",
        )
    if aoi is None:
        _check_same_place(truth, read[0][0].polygons, files)
    scenes = [
        Scene(
            found.polygons, truth, area, crs, _scores(found, path, config.score_field),
            mended.repaired + mended.dropped, files.name or path.stem,
        )
        for path, (found, mended) in zip(paths, read, strict=True)
    ]  # fmt: skip
    second = scenes[1] if len(scenes) > 1 else None
    return ReadScene(scenes[0], second, labels, _credit(real))


def _check_same_place(truth: Polygons, predictions: Polygons, files: SceneFiles) -> None:
    """Without an area, layers of two places would span all the ground between them.

    Raises:
        VectorError: if their boxes do not touch.
    """
    if not len(truth) or not len(predictions):
        return
    boxes = [shapely.box(*shapely.total_bounds(layer)) for layer in (truth, predictions)]
    apart = float(boxes[0].distance(boxes[1]))
    if apart > 0:
        raise VectorError(
            f"`{files.predictions}` lies {apart:,.0f} m from `{files.truth}`",
            hint="check their coordinate systems, or say with `--aoi FILE` where to look",
        )


def _credit(labels: Footprints) -> tuple[str, ...]:
    """The lines of the column `credit`, which `buildex osm` and OpenStreetMap's files fill."""
    lines = labels.columns.get("credit", np.empty(0, dtype=object)).tolist()
    return tuple(dict.fromkeys(line for line in lines if isinstance(line, str) and line))


def _scores(found: Footprints, path: Path, column: str) -> NDArray[np.float64] | None:
    """What ranks the predictions; None where the file has no such column."""
    if column not in found.columns:
        if column != ScoreConfig().score_field and len(found):
            raise VectorError(
                f"`{path}` has no column `{column}`",
                hint=f"columns are {', '.join(found.columns) or 'none'}",
            )
        return None
    try:
        scores = np.asarray(found.columns[column], dtype=np.float64)
    except (TypeError, ValueError):
        raise VectorError(
            f"column `{column}` of `{path}` holds no numbers",
            hint="name one that does with `--score-field`",
        ) from None
    return np.nan_to_num(scores, nan=-np.inf)


def _metric_crs(truth: Path, predictions: list[Path], aoi: Path | None) -> str:
    """The UTM zone of the centre of the area, or of the first layer that has buildings."""
    if aoi is not None:
        middle = read_area(aoi, WGS84).centroid
        return metric(WGS84, (middle.x, middle.y))
    for path in (truth, *predictions):
        polygons = read_footprints(path, target_crs=WGS84)[0].polygons
        if len(polygons):
            west, south, east, north = shapely.total_bounds(polygons)
            return metric(WGS84, ((west + east) / 2, (south + north) / 2))
    raise VectorError(
        f"no buildings in `{truth}` nor in `{predictions[0]}`",
        hint="check the files, or say with `--aoi FILE` where to look",
    )
