"""Vector files: building footprints and areas, in any format and CRS that GDAL knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import geopandas
import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray

from buildex.errors import CrsError, VectorError
from buildex.geo.footprints import Footprints, repaired
from buildex.io import crs as systems
from buildex.io.portions import (
    DRIVERS,
    LAYER,
    check_output,
    layer_crs,
    placed,
    portions_of,
    to_batch,
    write_layer,
)

__all__ = [
    "DRIVERS", "RepairCounts", "check_output", "read_area", "read_footprints", "write_footprints",
]  # fmt: skip

Bounds = tuple[float, float, float, float]

OSM_LAYER = "multipolygons"
POLYGONS = ("Polygon", "MultiPolygon", "Unknown", "GeometryCollection", "CurvePolygon", "Surface")


@dataclass(frozen=True)
class RepairCounts:
    """What became of the features of a file."""

    read: int = 0
    repaired: int = 0  # invalid rings made valid
    split: int = 0  # features of several polygons; each polygon is a building
    dropped: int = 0  # no polygon, or none with an area


class _Table(NamedTuple):
    """A layer as it is in the file."""

    geometry: NDArray[np.object_]
    crs: str | None
    columns: dict[str, NDArray[Any]]


def read_footprints(
    path: str | Path,
    *,
    crs: str | None = None,
    target_crs: str | None = None,
    bbox: Bounds | None = None,
) -> tuple[Footprints, RepairCounts]:
    """Read the buildings of a vector file.

    Of OpenStreetMap files (`.osm`, `.pbf`) only areas tagged as buildings are kept. A file
    of several layers needs one named `buildings`, or `FILE|layername=NAME`.

    Args:
        path: any vector file that GDAL reads, or GeoParquet.
        crs: the CRS of a file that names none.
        target_crs: the CRS to bring the polygons to; the file's own where None.
        bbox: min x, min y, max x, max y in the target CRS: only what touches it is read.

    Raises:
        VectorError: if the file is missing, unreadable, or holds features but no polygon.
        CrsError: if it names no CRS and none is given.
    """
    table = _read(str(path), crs, target_crs, bbox)
    source = _source_crs(table.crs, crs, path)
    target = systems.named(systems.parsed(target_crs or source))
    polygons, index, counts = _polygons(table.geometry)
    if counts.read and not len(polygons):
        raise VectorError(f"`{path}` has no polygons", hint="give a layer of building polygons")
    polygons = _moved(polygons, source, target)
    columns = {name: values[index] for name, values in table.columns.items()}
    footprints = Footprints(polygons, target, columns)
    if bbox is not None:
        low_x, low_y, high_x, high_y = shapely.bounds(polygons).reshape(-1, 4).T
        near = (low_x <= bbox[2]) & (high_x >= bbox[0]) & (low_y <= bbox[3]) & (high_y >= bbox[1])
        footprints = footprints.take(near)
    return footprints, counts


def read_area(path: str | Path, target_crs: str, crs: str | None = None) -> shapely.Geometry:
    """The union of all polygons of a file: an area of interest, in `target_crs`."""
    footprints, _ = read_footprints(path, crs=crs, target_crs=target_crs)
    if not len(footprints):
        raise VectorError(f"`{path}` has no polygons", hint="give the area as a polygon")
    area: shapely.Geometry = shapely.union_all(footprints.polygons)
    return area


def write_footprints(
    path: str | Path, footprints: Footprints, *, overwrite: bool = False, layer: str = LAYER
) -> None:
    """Write buildings as GeoPackage, GeoJSON, FlatGeobuf, GeoParquet or Shapefile.

    The extension chooses. GeoJSON is written in EPSG:4326 (RFC 7946), the others in the CRS
    of the footprints. The same footprints give the same bytes.

    Raises:
        VectorError: if the extension names no format.
        OutputError: if the file exists already or its folder cannot be written.
    """
    check_output(path, overwrite)
    path = Path(path)
    target = layer_crs(path, footprints.crs)
    footprints = footprints.moved(_moved(footprints.polygons, footprints.crs, target), target)
    with placed(path) as place:
        schema = to_batch(footprints.take(np.zeros(0, dtype=np.int64))).schema
        write_layer(place, portions_of(footprints), schema, target, layer)


def _read(path: str, crs: str | None, target: str | None, bbox: Bounds | None) -> _Table:
    name, _, layer = path.partition("|layername=")
    if "://" not in name and not name.startswith("/vsi") and not Path(name).exists():
        raise VectorError(f"no file `{name}`", hint="check the path")
    try:
        if name.endswith(".parquet"):
            return _read_parquet(name)
        layer = layer or _layer(name)
        info = pyogrio.read_info(name, layer=layer)
        window = None
        if bbox is not None and (info["crs"] or crs):
            source = str(info["crs"] or crs)
            window = _bounds_in(bbox, target or source, source)
        return _read_layer(name, layer, window)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise VectorError(
            f"`{name}` cannot be read: {error}", hint="check it with `ogrinfo`"
        ) from None


def _read_layer(path: str, layer: str, bbox: Bounds | None) -> _Table:
    where = None
    if layer == OSM_LAYER and path.endswith((".osm", ".pbf")):
        where = "building IS NOT NULL AND building <> 'no'"
    meta, _, geometry, fields = pyogrio.raw.read(path, layer=layer, bbox=bbox, where=where)
    columns = dict(zip((str(name) for name in meta["fields"]), fields, strict=True))
    if geometry is None:
        raise VectorError(f"`{path}` has no geometries", hint="give a layer of building polygons")
    shapes = shapely.from_wkb(geometry, on_invalid="ignore")
    return _Table(shapes, meta["crs"], columns)


def _read_parquet(path: str) -> _Table:
    try:
        frame = geopandas.read_parquet(path)
    except (ValueError, OSError) as error:
        raise VectorError(
            f"`{path}` cannot be read: {error}", hint="give a GeoParquet file"
        ) from None
    names = [name for name in frame.columns if name != frame.geometry.name]
    columns = {str(name): frame[name].to_numpy() for name in names}
    named = None if frame.crs is None else systems.named(frame.crs)
    return _Table(np.asarray(frame.geometry.array), named, columns)


def _layer(path: str) -> str:
    """The layer that holds the buildings."""
    layers = {str(name): str(kind) for name, kind in pyogrio.list_layers(path)}
    if OSM_LAYER in layers and path.endswith((".osm", ".pbf")):
        return OSM_LAYER
    fitting = [n for n, kind in layers.items() if kind.replace(" Z", "").startswith(POLYGONS)]
    if LAYER in fitting or len(fitting) == 1:
        return LAYER if LAYER in fitting else fitting[0]
    if not fitting:
        raise VectorError(f"`{path}` has no polygons", hint="give a layer of building polygons")
    raise VectorError(
        f"`{path}` has several layers of polygons: {', '.join(fitting)}",
        hint=f"name one: `{Path(path).name}|layername={fitting[0]}`",
    )


def _source_crs(own: str | None, given: str | None, path: str | Path) -> str:
    if own is None and given is None:
        raise CrsError(
            f"`{path}` has no coordinate reference system",
            hint="write it into the file, as `ogr2ogr -a_srs EPSG:CODE` does",
        )
    return systems.named(systems.parsed(str(own or given), f"`{path}`"))


def _polygons(
    geometry: NDArray[np.object_],
) -> tuple[NDArray[np.object_], NDArray[np.int64], RepairCounts]:
    """The polygons of all features, the feature of each, and what happened to them."""
    flat = shapely.force_2d(geometry)
    parts = [repaired(shape) for shape in flat]
    index = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
    polygons = np.empty(len(index), dtype=object)
    polygons[:] = [polygon for part in parts for polygon in part]
    invalid = ~shapely.is_valid(flat) & ~shapely.is_missing(flat)
    counts = RepairCounts(
        read=len(parts),
        repaired=int(sum(bool(bad) and bool(p) for bad, p in zip(invalid, parts, strict=True))),
        split=sum(len(p) > 1 for p in parts),
        dropped=sum(not p for p in parts),
    )
    return polygons, index, counts


def _moved(polygons: NDArray[np.object_], source: str, target: str) -> NDArray[np.object_]:
    if source == target or len(polygons) == 0:
        return polygons
    moved: NDArray[np.object_] = shapely.transform(
        polygons, lambda points: systems.reprojected(points, source, target)
    )
    return moved


def _bounds_in(bbox: Bounds, source: str, target: str) -> Bounds:
    """A box in another CRS: the bounds of its border there."""
    border = shapely.segmentize(shapely.box(*bbox), max(bbox[2] - bbox[0], bbox[3] - bbox[1]) / 16)
    points = systems.reprojected(shapely.get_coordinates(border), source, target)
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
