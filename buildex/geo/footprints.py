"""Footprints: polygons on the ground with their attributes, in one CRS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.rings import Rings, opened

Polygons = NDArray[np.object_]  # (N,) of shapely Polygons


@dataclass(frozen=True)
class Footprints:
    """Polygons in one CRS, with one value per polygon in each column.

    Attributes:
        polygons: object array (N,) of shapely Polygons, in units of the CRS.
        crs: the coordinate reference system, as WKT or an authority code.
        columns: name to array (N,); order is the order of the layer's fields.
    """

    polygons: NDArray[np.object_]
    crs: str
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in self.columns.items():
            if len(values) != len(self.polygons):
                raise ValueError(f"column {name}: {len(values)} values, {len(self)} polygons")

    def __len__(self) -> int:
        return len(self.polygons)

    def take(self, index: NDArray[Any]) -> Footprints:
        """The footprints at the given positions, or where a mask is true."""
        columns = {name: values[index] for name, values in self.columns.items()}
        return Footprints(self.polygons[index], self.crs, columns)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A column (N,) as numbers, NaN where it says nothing.

        Raises:
            KeyError: if there is no such column.
            ValueError: if it holds something else.
        """
        try:
            return np.asarray(self.columns[column], dtype=np.float64)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def moved(self, polygons: NDArray[np.object_], crs: str) -> Footprints:
        """The same buildings with other coordinates, in another CRS."""
        return Footprints(polygons, crs, self.columns)


def to_rings(polygon: shapely.Polygon) -> Rings:
    """A shapely polygon as open rings, outline first."""
    parts = [polygon.exterior, *polygon.interiors]
    return tuple(opened(shapely.get_coordinates(part)) for part in parts)


def to_polygon(rings: Rings) -> shapely.Polygon:
    """Open rings as a shapely polygon; not repaired."""
    return shapely.Polygon(rings[0], [hole for hole in rings[1:] if len(hole) >= 3])


def repaired(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    """The valid polygons with area that a geometry holds, largest first.

    Self-crossings are resolved (`shapely.make_valid`, structure method); lines and points
    are dropped; the parts of a MultiPolygon are separate buildings.
    """
    if geometry is None or geometry.is_empty:
        return []
    if not geometry.is_valid:
        geometry = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    parts = [p for p in shapely.get_parts(geometry) if p.geom_type == "Polygon" and p.area > 0]
    nested = [p for p in shapely.get_parts(geometry) if p.geom_type not in ("Polygon",)]
    for part in nested:
        parts += [p for p in shapely.get_parts(part) if p.geom_type == "Polygon" and p.area > 0]
    return sorted(parts, key=lambda p: -p.area)


def object_array(polygons: Sequence[shapely.Polygon]) -> Polygons:
    """Polygons as an array (N,), never more than one-dimensional."""
    out: Polygons = np.empty(len(polygons), dtype=object)
    out[:] = polygons
    return out


def sound(polygons: Polygons) -> Polygons:
    """Valid polygons; an empty one where nothing is left.

    Rounding, of a move to the ground or of a mitred buffer, may cross hair-thin necks.
    """
    out = polygons.copy()
    for k in np.flatnonzero(~shapely.is_valid(polygons)):
        parts = repaired(polygons[k])
        out[k] = parts[0] if parts else shapely.Polygon()
    return out
