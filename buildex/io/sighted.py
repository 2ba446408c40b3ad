"""What tiles saw, as an Arrow table: compact, and exact to the last bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from buildex.geo.sightings import Sightings

NUMBERS = ("score", "sure")
FLAGS = ("cut", "edge")


def to_table(seen: Sightings) -> pa.RecordBatch:
    """Sightings as columns; the tile and its core as four numbers each."""
    columns = {
        "polygon": pa.array(shapely.to_wkb(seen.polygons), type=pa.binary()),
        "score": pa.array(seen.scores),
        "sure": pa.array(seen.sure),
        "box": _fours(seen.boxes),
        "core": _fours(seen.cores),
        "cut": pa.array(seen.cut),
        "edge": pa.array(seen.edge),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def from_table(table: pa.RecordBatch) -> Sightings:
    """What `to_table` was given."""
    numbers = [np.array(table.column(name).to_numpy(zero_copy_only=False)) for name in NUMBERS]
    boxes, cores = (_table(table.column(name)) for name in ("box", "core"))
    flags = [np.array(table.column(name).to_numpy(zero_copy_only=False)) for name in FLAGS]
    shapes = table.column("polygon").to_numpy(zero_copy_only=False)
    polygons = np.asarray(shapely.from_wkb(shapes), dtype=object)
    return Sightings(polygons, *numbers, boxes, cores, *(f.astype(bool) for f in flags))


def _fours(boxes: NDArray[np.float64]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4)


def _table(column: pa.Array) -> NDArray[np.float64]:
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.array(flat, dtype=np.float64).reshape(-1, 4)
