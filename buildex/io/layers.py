"""Layers as they are in their files: what GDAL reads, GeoParquet, CSV, OpenStreetMap."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import geopandas
import numpy as np
import pandas
import pyarrow.parquet
import pyogrio
import shapely
from numpy.typing import NDArray

from buildex.errors import VectorError
from buildex.io import crs as systems
from buildex.io import osm
from buildex.io.layer_names import parted

Bounds = tuple[float, float, float, float]
Window = tuple[str | None, Bounds]  # a box and its CRS; the file's own where None

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

    def near(self, windows: Sequence[Window], crs: str | None) -> Table:
        """The features that may touch a window; all where there are none, or no CRS is known."""
        if not windows or crs is None:
            return self
        kept = touching(self.geometry, boxes_in(windows, crs))
        columns = {name: values[kept] for name, values in self.columns.items()}
        return Table(self.geometry[kept], self.crs, columns, self.doubled)


def read_table(
    path: str, crs: str | None, windows: Sequence[Window] = (), *, attributes: bool = True
) -> Table:
    """Read a layer.

    Args:
        path: any vector file that GDAL reads, GeoParquet, a CSV with WKT, an OpenStreetMap
            file or Overpass JSON; `FILE|layername=NAME` where there are several layers.
        crs: the CRS of a file that names none.
        windows: what touches none of these is left out; where there are none, nothing is.
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
        claims = osm.read_elements(name, around(boxes_in(windows, systems.WGS84)))
        table = Table(claims.geometry, systems.WGS84, claims.columns, claims.doubled)
        return table.near(windows, systems.WGS84)
    if name.lower().endswith(".parquet"):
        return _parquet(name, crs, windows)
    if name.endswith(CSV):
        return _csv(name, crs or systems.WGS84, windows)
    if local and ("!" in name or ";" in Path(name).name):
        raise VectorError(
            f"`{name}` has a `!` or `;` in its path, which GDAL takes for something else",
            hint="rename it, or call it by a path without",
        )
    return _gdal(name, layer, crs, windows, None if attributes else [])


def _gdal(
    name: str, layer: str, crs: str | None, windows: Sequence[Window], fields: list[str] | None
) -> Table:
    try:
        layer = layer or _layer(name)
        info = pyogrio.read_info(name, layer=layer)
        source = info["crs"] or crs
        box = around(boxes_in(windows, source)) if source else None
        how = {"layer": layer, "bbox": box, "columns": fields}
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
    table = Table(shapely.from_wkb(geometry, on_invalid="ignore"), meta["crs"], columns)
    return table.near(windows, source)


def _copyright(name: str) -> str:
    """What a GeoJSON says of whose data it holds, before its features; empty where nothing."""
    if not name.endswith((".geojson", ".json")) or not Path(name).is_file():
        return ""
    with open(name, "rb") as file:
        head = file.read(4096).decode("utf-8", "replace")
    told = COPYRIGHT.search(head.partition('"features"')[0])
    return str(json.loads(told.group(1))) if told else ""


def _parquet(path: str, crs: str | None, windows: Sequence[Window]) -> Table:
    try:
        frame = geopandas.read_parquet(path, bbox=_told_box(path, windows))
    except (ValueError, OSError) as error:
        raise VectorError(
            f"`{path}` cannot be read: {error}", hint="give a GeoParquet file"
        ) from None
    names = [name for name in frame.columns if name != frame.geometry.name]
    columns = {str(name): _plain(frame[name]) for name in names}
    own = None if frame.crs is None else systems.named(frame.crs)
    return Table(np.asarray(frame.geometry.array), own, columns).near(windows, own or crs)


def _told_box(path: str, windows: Sequence[Window]) -> Bounds | None:
    """The box to ask a GeoParquet file for, where it tells of each row where that lies."""
    if not windows or not Path(path).is_file():
        return None
    about = json.loads((pyarrow.parquet.read_metadata(path).metadata or {}).get(b"geo", "{}"))
    column = about.get("columns", {}).get(about.get("primary_column"), {})
    crs = column.get("crs", systems.WGS84)  # where none is named that is the standard's
    if "covering" not in column or crs is None:
        return None
    named = crs if isinstance(crs, str) else json.dumps(crs)
    return around(boxes_in(windows, systems.named(systems.parsed(named, f"`{path}`"))))


def _plain(column: pandas.Series) -> NDArray[Any]:
    """A column as numpy has it: what is missing is None, or not a number among floats."""
    if pandas.api.types.is_extension_array_dtype(column.dtype) and column.hasnans:
        column = column.astype(object).where(column.notna(), None)
    return np.asarray(column.to_numpy())


def _csv(path: str, crs: str, windows: Sequence[Window]) -> Table:
    """A table with WKT, such as Google's Open Buildings; only a part of it is held at once."""
    try:
        chunks = pandas.read_csv(path, chunksize=CHUNK)
        kept = [_of_rows(rows, path, crs).near(windows, crs) for rows in chunks]
    except (ValueError, OSError, UnicodeError, EOFError, shapely.errors.GEOSException) as error:
        raise VectorError(
            f"`{path}` cannot be read: {error}", hint="give a CSV with a column of WKT"
        ) from None
    columns = {name: np.concatenate([c.columns[name] for c in kept]) for name in kept[0].columns}
    return Table(np.concatenate([chunk.geometry for chunk in kept]), crs, columns)


def _of_rows(rows: pandas.DataFrame, path: str, crs: str) -> Table:
    """Some rows of a table with WKT."""
    name = next((n for n in rows.columns if str(n).lower() in WKT_COLUMNS), None)
    if name is None:
        raise VectorError(
            f"`{path}` has no column of WKT named {', '.join(WKT_COLUMNS)}",
            hint="give the polygons of Open Buildings, not its points",
        )
    text = rows[name].astype(object)
    shapes = shapely.from_wkt(text.where(text.notna(), None).to_numpy(dtype=object))
    columns = {str(n): rows[n].to_numpy() for n in rows.columns if n != name}
    return Table(shapes, crs, columns)


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


def touching(geometry: NDArray[np.object_], boxes: Sequence[Bounds]) -> NDArray[np.bool_]:
    """Which shapes' bounds (N,) touch one of some boxes; what has no place touches none."""
    west, south, east, north = shapely.bounds(geometry).reshape(-1, 4).T
    found = np.zeros(len(geometry), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        found |= (west <= x1) & (east >= x0) & (south <= y1) & (north >= y0)
    return found


def boxes_in(windows: Sequence[Window], crs: str) -> list[Bounds]:
    """Windows as boxes in another CRS, a thousandth larger: there their sides are bent."""
    boxes = []
    for source, bbox in windows:
        west, south, east, north = bounds_in(bbox, source or crs, crs)
        margin = max(east - west, north - south) / 1000
        boxes.append((west - margin, south - margin, east + margin, north + margin))
    return boxes


def around(boxes: Sequence[Bounds]) -> Bounds | None:
    """The box around some boxes; None around none."""
    if not boxes:
        return None
    west, south, east, north = zip(*boxes, strict=True)
    return min(west), min(south), max(east), max(north)


def bounds_in(bbox: Bounds, source: str, target: str) -> Bounds:
    """A box in another CRS: the bounds of its border there."""
    border = shapely.segmentize(shapely.box(*bbox), max(bbox[2] - bbox[0], bbox[3] - bbox[1]) / 16)
    points = systems.reprojected(shapely.get_coordinates(border), source, target)
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
