"""Files to scenes: everything in ground metres, in the UTM zone of the scene's centre."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.errors import VectorError
from buildex.geo.blocks import Blocks, centres
from buildex.geo.evidence import Scene
from buildex.geo.footprints import Footprints, Polygons
from buildex.io.crs import WGS84, eastward, metric, reprojected
from buildex.io.layers import read_table
from buildex.io.scene_list import SceneFiles
from buildex.io.vector import RepairCounts, buildings_of, read_area
from buildex.scoring.settings import ScoreConfig

SPARSEST = 100  # square kilometres of a scene for each that holds buildings
Onto = Callable[[Footprints], Footprints]


class ReadScene(NamedTuple):
    """A scene in ground metres.

    Attributes:
        sides: its predictions with its truth; the second predictions with it, where there are two.
        counts: what became of the features of the true layer, the first, the second.
        credit: whom the file says to thank for them, each once.
    """

    sides: tuple[Scene, ...]
    counts: tuple[RepairCounts, ...]
    credit: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the scene is called."""
        return self.sides[0].name

    def features(self, *layers: str) -> dict[str, RepairCounts]:
        """The counts by what their layers, from the true one on, are called."""
        return dict(zip(layers, self.counts, strict=False))


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
    labels = _read(files.truth)
    layers = [_read(path, every=True) for path in paths]
    crs = _metric_crs(files, [labels.buildings, *(layer.buildings for layer in layers)])
    real = _moved(labels.buildings, crs)
    truth = (real if onto is None else onto(real)).polygons
    read = [_moved(layer.buildings, crs) for layer in layers]
    drawn = [found.polygons for found in read]
    if files.aoi is None:
        area = _box_around(dict(zip(paths, drawn, strict=True)), truth, files.truth)
    else:
        area = read_area(files.aoi, crs)
        _check_seen(area, drawn, truth, files)
    sides = tuple(
        Scene(
            found.polygons, truth, area, crs, _scores(found, path, config.score_field),
            reprojected(layer.invalid, layer.buildings.crs, crs), files.name or path.stem,
        )
        for path, found, layer in zip(paths, read, layers, strict=True)
    )  # fmt: skip
    counts = labels.counts, *(layer.counts for layer in layers)
    return ReadScene(sides, counts, _credit(real))


class _Layer(NamedTuple):
    """A file as it was read, in its own CRS.

    Attributes:
        buildings: what it holds.
        counts: what became of its features.
        invalid: (N, 2) the middle of each feature that was invalid or without area.
    """

    buildings: Footprints
    counts: RepairCounts
    invalid: NDArray[np.float64]


def _read(path: Path, every: bool = False) -> _Layer:
    """A file; `every` feature of predictions is a building, whatever was joined to it."""
    table = read_table(str(path), None)
    shapes = table.geometry
    wrong = shapes[~shapely.is_valid(shapes) | (shapely.area(shapes) == 0)]
    placed = wrong[np.isfinite(shapely.bounds(wrong)).all(axis=1)]
    return _Layer(*buildings_of(table, path, every), centres(placed))


def _moved(layer: Footprints, crs: str) -> Footprints:
    """A layer in another CRS."""
    return layer.moved(
        shapely.transform(layer.polygons, lambda points: reprojected(points, layer.crs, crs)), crs
    )


def _check_seen(
    area: shapely.Geometry, drawn: Sequence[Polygons], truth: Polygons, files: SceneFiles
) -> None:
    """Make sure that an area holds something, where anything was predicted.

    Raises:
        VectorError: if all layers lie outside.
    """
    seen = (shapely.intersects(area, layer).any() for layer in (*drawn, truth))
    if any(len(layer) for layer in drawn) and not any(seen):
        raise VectorError(
            f"no building of `{files.predictions}` or `{files.truth}` lies in `{files.aoi}`",
            hint="check that they show the same place, and their coordinate systems",
        )


def _box_around(drawn: Mapping[Path, Polygons], truth: Polygons, source: Path) -> shapely.Geometry:
    """The box around all layers, where they show one place: the area, where none is given.

    Args:
        drawn: predictions by their file.
        truth: true buildings.
        source: their file.

    Raises:
        VectorError: if predictions lie apart from the truth, or nearly all of the box is empty,
            as around a sparse survey or one building far off from all others.
    """
    every = np.concatenate([truth, *drawn.values()])
    area = shapely.box(*shapely.total_bounds(every))
    for path, layer in drawn.items():
        apart = _between(layer, truth)
        if apart > 0:
            raise VectorError(
                f"`{path}` lies {apart:,.0f} m from `{source}`",
                hint="check their coordinate systems, or say with `--aoi FILE` where to look",
            )
    size, filled = area.area / 1e6, len(Blocks.around(1000.0, centres(every)))
    if size > SPARSEST * filled:
        names = ", ".join(f"`{path}`" for path in (*drawn, source))
        raise VectorError(
            f"{names} span {size:,.0f} km2, of which {filled:,} hold buildings",
            hint="say with `--aoi FILE` where to look, or remove what lies far off",
        )
    return area


def _between(one: Polygons, other: Polygons) -> float:
    """Distance of the boxes around two layers; 0 where one is empty."""
    if not len(one) or not len(other):
        return 0.0
    boxes = [shapely.box(*shapely.total_bounds(layer)) for layer in (one, other)]
    return float(boxes[0].distance(boxes[1]))


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
        scores = found.numbers(column)
    except ValueError:
        raise VectorError(
            f"column `{column}` of `{path}` holds no numbers",
            hint="name one that does with `--score-field`",
        ) from None
    return np.nan_to_num(scores, nan=-np.inf)


def _metric_crs(files: SceneFiles, layers: Sequence[Footprints]) -> str:
    """The UTM zone of the centre of the area, or of the first layer that has buildings."""
    if files.aoi is not None:
        middle = _unwrapped(np.array([read_area(files.aoi, WGS84)]))[0].centroid
        return metric(WGS84, (middle.x, middle.y))
    for layer in layers:
        if len(layer):
            west, south, east, north = shapely.total_bounds(
                _unwrapped(_moved(layer, WGS84).polygons)
            )
            return metric(WGS84, ((west + east) / 2, (south + north) / 2))
    raise VectorError(
        f"no buildings in `{files.truth}` nor in `{files.predictions}`",
        hint="check the files, or say with `--aoi FILE` where to look",
    )


def _unwrapped(polygons: Polygons) -> Polygons:
    """Polygons in degrees, on one side: those on the antimeridian run on beyond 180 degrees."""
    west, _, east, _ = shapely.total_bounds(polygons)
    if east - west <= 180:
        return polygons
    moved: Polygons = shapely.transform(polygons, partial(eastward, west=0))
    return moved
