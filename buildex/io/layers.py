"""Layers as they are in their files: what GDAL reads, GeoParquet, CSV, OpenStreetMap."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import geopandas
import numpy as np
import pandas
import pyogrio
import shapely
from numpy.typing import NDArray

from buildex.errors import VectorError
from buildex.io import crs as systems
from buildex.io import osm
from buildex.io.layer_names import parted

Bounds = tuple[float, float, float, float]

LAYERS = ("buildings", "gis_osm_buildings_a_free", "gis_osm_buildings_a_free_1")
POLYGONS = ("Polygon", "MultiPolygon", "Unknown", "GeometryCollection", "CurvePolygon", "Surface")
CSV = (".csv", ".csv.gz")
WKT_COLUMNS = ("geometry", "wkt", "geom", "the_geom")
COPYRIGHT = re.compile(r'"(?:copyright|attribution)"\s*:\s*("(?:[^"\\]|\\.)*")')
ANY_BYTES = "ISO-8859-1"  # which knows each byte, and is right for most of western Europe
CHUNK = 200_000  # rows of a table of text that are held at once


class Table(NamedTuple):
    """A layer as it is in the file.

    Attributes:
        geometry: (N,) of any kind; None where a feature has none.
        crs: None where the file names none.
        columns: by name, (N,); `credit` is whom to thank, where the file says it.
        doubled: features that the file holds twice and that were left out.
    """

    geometry: NDArray[np.object_]
    crs: str | None
    columns: dict[str, NDArray[Any]]
    doubled: int = 0


def read_table(
    path: str,
    crs: str | None,
    target: str | None,
    bbox: Bounds | None,
    *,
    attributes: bool = True,
) -> Table:
    """Read a layer.

    Args:
        path: any vector file that GDAL reads, GeoParquet, a CSV with WKT, an OpenStreetMap
            file or Overpass JSON; `FILE|layername=NAME` where there are several layers.
        crs: the CRS of a file that names none.
        target: the CRS of `bbox`; the file's own where None.
        bbox: what lies outside may be left out.
        attributes: whether columns are wanted; they may be there all the same.

    Raises:
        VectorError: if the file is missing or unreadable, or it is not clear which layer is
            meant.
    """
    name, layer = parted(path)
    if "://" not in name and not name.startswith("/vsi") and not Path(name).exists():
        raise VectorError(f"no file `{name}`", hint="check the path")
    local = not name.startswith("/vsi") and "://" not in name
    if name.endswith((*osm.PBF, ".osm")) or (
        local and (name.endswith(osm.XML) or osm.is_overpass(name))
    ):
        claims = osm.read_elements(name)
        return Table(claims.geometry, systems.WGS84, claims.columns, claims.doubled)
    if name.lower().endswith(".parquet"):
        return _parquet(name)
    if name.endswith(CSV):
        return _csv(name, crs or systems.WGS84, target, bbox)
    return _gdal(name, layer, crs, (target, bbox), None if attributes else [])


def _gdal(
    name: str,
    layer: str,
    crs: str | None,
    wanted: tuple[str | None, Bounds | None],
    fields: list[str] | None,
) -> Table:
    target, bbox = wanted
    try:
        layer = layer or _layer(name)
        info = pyogrio.read_info(name, layer=layer)
        window = None
        if bbox is not None and (info["crs"] or crs):
            source = str(info["crs"] or crs)
            window = bounds_in(bbox, target or source, source)
        how = {"layer": layer, "bbox": window, "columns": fields}
        try:
            meta, _, geometry, values = pyogrio.raw.read(name, **how)
        except UnicodeDecodeError:  # such as a `.dbf` that its `.cpg` says another encoding of
            meta, _, geometry, values = pyogrio.raw.read(name, **how, encoding=ANY_BYTES)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        said = str(error).partition("; It might help")[0]  # of drivers, which no one here names
        raise VectorError(
            f"`{name}` cannot be read: {said}", hint="check it with `ogrinfo`"
        ) from None
    if geometry is None:
        raise VectorError(f"`{name}` has no geometries", hint="give a layer of building polygons")
    columns = dict(zip((str(field) for field in meta["fields"]), values, strict=True))
    credit = _copyright(name)
    if credit and "credit" not in columns:
        columns["credit"] = np.full(len(geometry), credit, dtype=object)
    return Table(shapely.from_wkb(geometry, on_invalid="ignore"), meta["crs"], columns)


def _copyright(name: str) -> str:
    """What a GeoJSON says of whose data it holds, before its features; empty where nothing."""
    if not name.endswith((".geojson", ".json")) or not Path(name).is_file():
        return ""
    with open(name, "rb") as file:
        head = file.read(4096).decode("utf-8", "replace")
    told = COPYRIGHT.search(head.partition('"features"')[0])
    return str(json.loads(told.group(1))) if told else ""


def _parquet(path: str) -> Table:
    try:
        frame = geopandas.read_parquet(path)
    except (ValueError, OSError) as error:
        raise VectorError(
            f"`{path}` cannot be read: {error}", hint="give a GeoParquet file"
        ) from None
    names = [name for name in frame.columns if name != frame.geometry.name]
    columns = {str(name): _plain(frame[name]) for name in names}
    named = None if frame.crs is None else systems.named(frame.crs)
    return Table(np.asarray(frame.geometry.array), named, columns)


def _plain(column: pandas.Series) -> NDArray[Any]:
    """A column as numpy has it: what is missing is None, or not a number among floats."""
    if pandas.api.types.is_extension_array_dtype(column.dtype) and column.hasnans:
        column = column.astype(object).where(column.notna(), None)
    return np.asarray(column.to_numpy())


def _csv(path: str, crs: str, target: str | None, bbox: Bounds | None) -> Table:
    """A table with WKT, such as Google's Open Buildings; only a part of it is held at once."""
    window = None if bbox is None else shapely.box(*bounds_in(bbox, target or crs, crs))
    try:
        chunks = pandas.read_csv(path, chunksize=CHUNK)
        kept = [_near(chunk, path, window) for chunk in chunks]
    except (ValueError, OSError, UnicodeError, EOFError, shapely.errors.GEOSException) as error:
        raise VectorError(
            f"`{path}` cannot be read: {error}", hint="give a CSV with a column of WKT"
        ) from None
    frame = pandas.concat([rows for rows, _ in kept], ignore_index=True)
    columns = {str(name): frame[name].to_numpy() for name in frame.columns}
    return Table(np.concatenate([shapes for _, shapes in kept]), crs, columns)


def _near(
    rows: pandas.DataFrame, path: str, window: shapely.Geometry | None
) -> tuple[pandas.DataFrame, NDArray[np.object_]]:
    """The rows that touch a window, without their WKT, and their shapes."""
    name = next((n for n in rows.columns if str(n).lower() in WKT_COLUMNS), None)
    if name is None:
        raise VectorError(
            f"`{path}` has no column of WKT named {', '.join(WKT_COLUMNS)}",
            hint="give the polygons of Open Buildings, not its points",
        )
    text = rows[name].astype(object)
    shapes = shapely.from_wkt(text.where(text.notna(), None).to_numpy(dtype=object))
    rows = rows.drop(columns=name)
    if window is None:
        return rows, shapes
    near = shapely.intersects(shapes, window)
    return rows[near], shapes[near]


def _layer(path: str) -> str:
    """The layer that holds the buildings."""
    layers = {str(name): str(kind) for name, kind in pyogrio.list_layers(path)}
    fitting = [n for n, kind in layers.items() if kind.replace(" Z", "").startswith(POLYGONS)]
    known = next((name for name in LAYERS if name in fitting), None)
    if known or len(fitting) == 1:
        return known or fitting[0]
    if not fitting:
        raise VectorError(f"`{path}` has no polygons", hint="give a layer of building polygons")
    raise VectorError(
        f"`{path}` has several layers of polygons: {', '.join(fitting)}",
        hint=f"name one: `{Path(path).name}|layername={fitting[0]}`",
    )


def bounds_in(bbox: Bounds, source: str, target: str) -> Bounds:
    """A box in another CRS: the bounds of its border there."""
    border = shapely.segmentize(shapely.box(*bbox), max(bbox[2] - bbox[0], bbox[3] - bbox[1]) / 16)
    points = systems.reprojected(shapely.get_coordinates(border), source, target)
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
