"""Vector files: building footprints and areas, in any format and CRS that GDAL knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.errors import CrsError, VectorError
from buildex.geo.assembly import lone_parts
from buildex.geo.footprints import Footprints, Polygons, object_array, repaired
from buildex.io import crs as systems
from buildex.io import tags
from buildex.io.layer_names import parted
from buildex.io.layers import Bounds, Table, bounds_in, read_table, touching
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
    "DRIVERS", "RepairCounts", "check_output", "read_area", "read_footprints", "read_labels",
    "write_footprints",
]  # fmt: skip

INDEXED = (".gpkg", ".fgb", ".shp", ".gdb", ".parquet")  # in which a place is found quickly


@dataclass(frozen=True)
class RepairCounts:
    """What became of the features of a file."""

    read: int = 0
    repaired: int = 0  # invalid rings made valid
    split: int = 0  # features of several polygons; each polygon is a building
    dropped: int = 0  # no polygon, or none with an area: open ways, missing nodes
    no_building: int = 0  # OpenStreetMap or Overture says that they are none
    parts: int = 0  # `building:part` under a building
    doubled: int = 0  # outlines that their relation draws, too

    def text(self) -> str:
        """What was done, in one line; empty where all was taken as it was."""
        words = {
            "repaired": "repaired",
            "split": "split into several buildings",
            "dropped": "without an area dropped",
            "no_building": "tagged as no building",
            "parts": "parts of other buildings",
            "doubled": "drawn twice",
        }
        told = ", ".join(
            f"{getattr(self, spec.name)} {words[spec.name]}"
            for spec in fields(self)[1:]
            if getattr(self, spec.name)
        )
        return f"of {self.read} features {told}" if told else ""


def read_footprints(
    path: str | Path,
    *,
    crs: str | None = None,
    target_crs: str | None = None,
    bbox: Bounds | None = None,
) -> tuple[Footprints, RepairCounts]:
    """Read the buildings of a vector file.

    Of layers from OpenStreetMap or Overture only areas tagged as buildings are kept, and parts
    of buildings only where they stand alone (`docs/osm.md`). A file of several layers needs
    one named `buildings`, or `FILE|layername=NAME`.

    Args:
        path: any vector file that GDAL reads, GeoParquet, a CSV with WKT, `.osm`, `.osm.pbf`,
            or what Overpass answers.
        crs: the CRS of a file that names none.
        target_crs: the CRS to bring the polygons to; the file's own where None.
        bbox: min x, min y, max x, max y in the target CRS: only what touches it is read.

    Raises:
        VectorError: if the file is missing, unreadable, or holds features but no polygon.
        CrsError: if it names no CRS and none is given.
    """
    table = read_table(str(path), crs, [] if bbox is None else [(target_crs, bbox)])
    return _footprints(table, path, crs, target_crs, bbox)


def read_labels(
    path: str | Path, windows: Sequence[tuple[str, Bounds]], crs: str | None = None
) -> list[tuple[Footprints, RepairCounts]]:
    """Read the buildings in several places, each in its CRS, as `read_footprints` does.

    A file that must be read through to find a place is read once.

    Args:
        path: the file.
        windows: a CRS and bounds in it, for each place.
        crs: the CRS of a file that names none.
    """
    if parted(str(path))[0].endswith(INDEXED):
        return [read_footprints(path, crs=crs, target_crs=own, bbox=box) for own, box in windows]
    table = read_table(str(path), crs, windows)
    return [_footprints(table, path, crs, *window) for window in windows]


def _footprints(
    table: Table, path: str | Path, crs: str | None, target_crs: str | None, bbox: Bounds | None
) -> tuple[Footprints, RepairCounts]:
    """The buildings of a layer that touch a box of the target CRS; all where there is none."""
    source = _source_crs(table.crs, crs, path)
    target = systems.named(systems.parsed(target_crs or source))
    if bbox is not None:
        table = table.near([(target, bbox)], source)
    polygons, index, counts = _buildings(_rejoined(table, source), path, whole=bbox is None)
    columns = {name: values[index] for name, values in table.columns.items()}
    footprints = Footprints(_moved(polygons, source, target), target, columns)
    if bbox is not None:
        footprints = footprints.take(touching(footprints.polygons, [bbox]))
    return footprints, counts


def read_area(
    path: str | Path, target_crs: str, crs: str | None = None, near: Bounds | None = None
) -> shapely.Geometry:
    """The union of all polygons of a file, whatever they are: an area, in `target_crs`.

    Args:
        path: the file.
        target_crs: the CRS of the area.
        crs: the CRS of a file that names none.
        near: bounds in `target_crs`; of larger areas, such as countries, only what lies there
            counts, and it may be none.

    Raises:
        VectorError: if the file cannot be read or has no polygons.
    """
    table = read_table(str(path), crs, attributes=False)
    source = _source_crs(table.crs, crs, path)
    polygons, _, _ = _polygons(table.geometry)
    if not len(polygons):
        raise VectorError(f"`{path}` has no polygons", hint="give the area as a polygon")
    target = systems.named(systems.parsed(target_crs))
    if near is not None and source != target:
        # Straight lines of another CRS are none here: cut first, and give them points to bend.
        west, south, east, north = bounds_in(near, target, source)
        parts = shapely.intersection(polygons, shapely.box(west, south, east, north))
        polygons = shapely.segmentize(parts, max(east - west, north - south) / 64)
    area: shapely.Geometry = shapely.union_all(_moved(polygons, source, target))
    return area


def write_footprints(
    path: str | Path,
    footprints: Footprints,
    *,
    overwrite: bool = False,
    layer: str = LAYER,
    credit: str = "",
) -> None:
    """Write buildings as GeoPackage, GeoJSON, FlatGeobuf, GeoParquet or Shapefile.

    The extension chooses. GeoJSON is written in EPSG:4326 (RFC 7946), the others in the CRS
    of the footprints. The same footprints give the same bytes. A credit line stands in a
    column `credit` of every format, and in a GeoPackage in the layer's description and
    metadata, too.

    Raises:
        VectorError: if the extension names no format.
        OutputError: if the file exists already or its folder cannot be written.
    """
    check_output(path, overwrite)
    path = Path(path)
    target = layer_crs(path, footprints.crs)
    footprints = footprints.moved(_moved(footprints.polygons, footprints.crs, target), target)
    if credit:
        column = np.full(len(footprints), credit, dtype=object)
        columns = {**footprints.columns, "credit": column}
        footprints = Footprints(footprints.polygons, footprints.crs, columns)
    with placed(path) as place:
        schema = to_batch(footprints.take(np.zeros(0, dtype=np.int64))).schema
        write_layer(place, portions_of(footprints), schema, target, layer, credit)


def _source_crs(own: str | None, given: str | None, path: str | Path) -> str:
    if own is None and given is None:
        raise CrsError(
            f"`{path}` has no coordinate reference system",
            hint="write it into the file, as `ogr2ogr -a_srs EPSG:CODE` does",
        )
    return systems.named(systems.parsed(str(own or given), f"`{path}`"))


def buildings_of(
    table: Table, name: str | Path, every: bool = False
) -> tuple[Footprints, RepairCounts]:
    """The buildings of a layer in memory, in its CRS.

    Args:
        table: the layer.
        name: for errors.
        every: whether each feature is one, as in predictions, whatever its columns say.
    """
    crs = _source_crs(table.crs, None, name)
    polygons, index, counts = _buildings(_rejoined(table, crs), name, every=every)
    columns = {key: values[index] for key, values in table.columns.items()}
    return Footprints(polygons, crs, columns), counts


def _buildings(
    table: Table, path: str | Path, *, every: bool = False, whole: bool = True
) -> tuple[Polygons, NDArray[np.int64], RepairCounts]:
    """The polygons that are buildings, the feature of each, and what happened to the rest.

    A whole layer of features without a polygon is an error, a part of one is not.
    """
    kinds = None if every else tags.kinds(table.columns)
    if kinds is None:
        kinds = np.full(len(table.geometry), tags.BUILDING, dtype=np.int8)
    claims = np.flatnonzero(kinds != tags.OTHER)
    polygons, index, counts = _polygons(table.geometry[claims])
    if whole and len(claims) and not len(polygons):
        raise VectorError(f"`{path}` has no polygons", hint="give a layer of building polygons")
    index = claims[index]
    keep = kinds[index] != tags.PART
    keep[~keep] = lone_parts(polygons[~keep], polygons[keep])
    counts = replace(
        counts,
        read=len(kinds) + table.doubled,
        no_building=len(kinds) - len(claims),
        parts=int(np.count_nonzero(~keep)),
        doubled=table.doubled,
    )
    return polygons[keep], index[keep], counts


def _rejoined(table: Table, crs: str) -> Table:
    """A layer whose buildings across the 180th meridian, cut there by RFC 7946, are whole again.

    What lies east of it has longitudes beyond 180 then. Other features of several parts stay.
    """
    if not systems.in_degrees(crs):
        return table
    shapes = table.geometry.copy()
    west, _, east, _ = shapely.bounds(shapes).reshape(-1, 4).T
    for k in np.flatnonzero((west == -180) & (east == 180) & shapely.is_valid(shapes)):
        parts = shapely.get_parts(shapes[k])
        start, _, end, _ = shapely.bounds(parts).T
        beyond = (start == -180) & (end < 0)
        parts[beyond] = shapely.transform(parts[beyond], partial(systems.eastward, west=0))
        shapes[k] = shapely.union_all(parts)
    return table._replace(geometry=shapes)


def _polygons(geometry: Polygons) -> tuple[Polygons, NDArray[np.int64], RepairCounts]:
    """The polygons of all features, the feature of each, and what happened to them."""
    flat = shapely.force_2d(geometry)
    parts = [repaired(shape) for shape in flat]
    index = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
    polygons = object_array([polygon for part in parts for polygon in part])
    invalid = ~shapely.is_valid(flat) & ~shapely.is_missing(flat)
    counts = RepairCounts(
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
