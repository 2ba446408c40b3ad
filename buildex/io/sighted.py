"""What tiles saw, as an Arrow table: compact, and exact to the last bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from buildex.geo.sightings import Sightings


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
    shapes = table.column("polygon").to_numpy(zero_copy_only=False)
    return Sightings(
        polygons=np.asarray(shapely.from_wkb(shapes), dtype=object),
        scores=np.array(table.column("score"), dtype=np.float64),
        sure=np.array(table.column("sure"), dtype=np.float64),
        boxes=_table(table.column("box")),
        cores=_table(table.column("core")),
        cut=np.array(table.column("cut"), dtype=bool),
        edge=np.array(table.column("edge"), dtype=bool),
    )


def _fours(boxes: NDArray[np.float64]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4)


def _table(column: pa.Array) -> NDArray[np.float64]:
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.array(flat, dtype=np.float64).reshape(-1, 4)
