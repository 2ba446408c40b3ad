"""Layers of buildings, written in portions: as large as a disk, never as a whole in memory.

Portions are Arrow record batches with one column of WKB named `geometry`. GDAL pulls them
one after the other; GeoParquet is written by pyarrow. The same portions give the same bytes,
others the same features.
"""

from __future__ import annotations

import json
import struct
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pyogrio
import pyproj
import shapely

from buildex.errors import OutputError, VectorError
from buildex.geo.footprints import Footprints
from buildex.io import crs as systems
from buildex.io import output

LAYER = "buildings"
GEOMETRY = "geometry"
DRIVERS = {
    ".gpkg": "GPKG",
    ".geojson": "GeoJSON",
    ".fgb": "FlatGeobuf",
    ".parquet": "Parquet",
    ".shp": "ESRI Shapefile",
}
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "GeoJSON": {"RFC7946": "YES", "COORDINATE_PRECISION": "10"},
    "ESRI Shapefile": {"DBF_DATE_LAST_UPDATE": "1970-01-01"},
}
SIDECARS = (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".shp.xml")
ROWS = 4096  # buildings that are handed over at once


def check_output(path: str | Path, overwrite: bool = False) -> None:
    """Make sure, before the work, that a layer can be written.

    Raises:
        VectorError: if the extension names no format.
        OutputError: if the file, or one that belongs to it, exists already or its folder
            cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in DRIVERS:
        raise VectorError(
            f"`{path.name}` names no known vector format",
            hint=f"use one of the extensions {', '.join(DRIVERS)}",
        )
    if path.suffix.lower() != ".parquet":  # which GDAL does not write
        output.check_named(path)
    for file in (path, *_sidecars(path)):
        output.check_file(file, overwrite)


def layer_crs(path: str | Path, crs: str) -> str:
    """The CRS in which a layer is written: EPSG:4326 for GeoJSON (RFC 7946), else the given.

    And EPSG:4326 where the format would not keep the given one. GDAL takes some systems without
    a code for others that have one: UTM in feet for UTM in metres, thousands of kilometres off. A
    Shapefile cannot say how a CRS with TOWGS84 is shifted, by hundreds of metres.
    """
    suffix = Path(path).suffix.lower()
    return crs if suffix != ".geojson" and _keeps(suffix, crs) else systems.WGS84


@lru_cache(maxsize=32)
def _keeps(suffix: str, crs: str) -> bool:
    """Whether a format gives a CRS back as it was written, as a layer without buildings tells."""
    if suffix == ".parquet" or systems.coded(crs):
        return True
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{LAYER}{suffix}")
        try:
            pyogrio.raw.write(
                path,
                geometry=np.zeros(0, dtype=object),
                field_data=[],
                fields=[],
                driver=DRIVERS[suffix],
                geometry_type="Polygon",
                crs=crs,
            )
            found = pyogrio.read_info(path)["crs"]
        except RuntimeError:
            return False
    return found is not None and systems.alike(crs, found)


def to_batch(footprints: Footprints) -> pa.RecordBatch:
    """Buildings as a portion of a layer."""
    arrays = [pa.array(values) for values in footprints.columns.values()]
    arrays = [a.cast(pa.string()) if a.type == pa.null() else a for a in arrays]
    shapes = pa.array(shapely.to_wkb(footprints.polygons), type=pa.binary())
    return pa.RecordBatch.from_arrays([*arrays, shapes], [*footprints.columns, GEOMETRY])


def write_layer(
    path: Path,
    portions: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    crs: str,
    layer: str = LAYER,
    credit: str = "",
) -> None:
    """Write portions of buildings as one layer; the path's extension chooses the format.

    Args:
        path: where to; nothing is moved from here, see `io.output.beside`.
        portions: as `to_batch` makes them, all of one schema.
        schema: theirs.
        crs: the CRS of their coordinates, see `layer_crs`.
        layer: name of the layer where the format has names.
        credit: whom to thank for the data; a GeoPackage says it of its layer.

    Raises:
        OutputError: if it cannot be written.
    """
    driver = DRIVERS[path.suffix.lower()]
    if driver == "Parquet":
        _write_parquet(path, portions, schema, crs)
        return
    place = path.with_suffix(path.suffix.lower())  # where GDAL writes a Shapefile in any case
    options: dict[str, Any] = dict(OPTIONS.get(driver, {}))
    if driver == "GPKG" and credit:
        told = {"DESCRIPTION": credit}
        options |= {"layer_options": told, "layer_metadata": {"CREDIT": credit}}
    counted = _Counted(portions)
    reader = pa.RecordBatchReader.from_batches(schema, counted)
    try:
        with _timeless(), warnings.catch_warnings():
            # A Shapefile's names have ten letters; GDAL says so of each that it cuts.
            warnings.filterwarnings("ignore", "Normalized/laundered field name")
            pyogrio.write_arrow(
                reader,
                str(place),
                driver=driver,
                layer=path.stem if driver == "ESRI Shapefile" else layer,
                geometry_name=GEOMETRY,
                geometry_type="Polygon",
                crs=crs,
                encoding="UTF-8",
                **options,
            )
    except (RuntimeError, pa.ArrowException) as error:
        raise OutputError(
            f"`{path.name}` cannot be written: {error}", hint="make room on the disk"
        ) from error
    if not _whole(place, counted.rows):
        raise OutputError(
            f"`{path.name}` could not be written to its end", hint="make room on the disk"
        )
    place.rename(path)


class _Counted:
    """Portions, and how many buildings have been taken from them."""

    def __init__(self, portions: Iterable[pa.RecordBatch]) -> None:
        self._portions, self.rows = portions, 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._portions:
            self.rows += batch.num_rows
            yield batch


def _whole(path: Path, rows: int) -> bool:
    """Whether a layer can be read to its end: GDAL is silent on disks that fill up at the last."""
    try:
        with pyogrio.open_arrow(path, use_pyarrow=True) as (_, reader):
            found = sum(batch.num_rows for batch in reader)
    except (RuntimeError, LookupError, pa.ArrowException):
        return False
    table = path.with_suffix(".dbf")
    return found == rows and (path.suffix != ".shp" or _dbf_size(table) <= table.stat().st_size)


def _dbf_size(path: Path) -> int:
    """Bytes that a dBase table says it has: its head, and records of one length."""
    with path.open("rb") as file:
        head = file.read(12)
    count, first, each = struct.unpack("<IHH", head[4:12])
    return int(first + count * each)


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """Where to write a layer so that it appears at `path` when it is complete, over an older."""
    with output.beside(path) as place:
        yield place
        for old in _sidecars(path):
            if not (place.parent / old.name).exists():
                old.unlink(missing_ok=True)


def _sidecars(path: Path) -> list[Path]:
    """The files that may belong to a layer beside its own."""
    shapefile = DRIVERS[path.suffix.lower()] == "ESRI Shapefile"
    return [path.with_suffix(suffix) for suffix in SIDECARS] if shapefile else []


def portions_of(footprints: Footprints) -> Iterator[pa.RecordBatch]:
    """Buildings in memory as portions."""
    for start in range(0, len(footprints), ROWS):
        yield to_batch(footprints.take(np.arange(start, min(start + ROWS, len(footprints)))))


def _write_parquet(
    path: Path, portions: Iterable[pa.RecordBatch], schema: pa.Schema, crs: str
) -> None:
    """GeoParquet 1.0; its bounding box is known only at the end."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for batch in portions:
            writer.write_batch(batch)
            bounds = shapely.bounds(shapely.from_wkb(batch.column(GEOMETRY).to_numpy(False)))
            low = np.minimum(low, bounds[:, :2].min(axis=0, initial=np.inf))
            high = np.maximum(high, bounds[:, 2:].max(axis=0, initial=-np.inf))
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": ["Polygon"],
            "crs": pyproj.CRS.from_user_input(crs).to_json_dict(),
        }
        if np.isfinite(low).all():
            column["bbox"] = [*low.tolist(), *high.tolist()]
        geo = {"version": "1.0.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
        writer.add_key_value_metadata({"geo": json.dumps(geo)})


@contextmanager
def _timeless() -> Iterator[None]:
    """Files written here carry the same date whenever they are written."""
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
