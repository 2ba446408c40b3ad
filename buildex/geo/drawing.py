"""Polygons on the ground drawn as masks, one piece of a grid at a time.

A pixel belongs to a polygon if its centre lies inside (`geo.rings.fill`). Memory is that of
the piece, however many polygons a layer has.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import Polygons, to_rings
from buildex.geo.grid import Grid
from buildex.geo.rings import fill


class Layer:
    """Polygons with an index; `draw` shows those that touch a grid.

    Args:
        polygons: (N,) polygons or multipolygons in the CRS of the grids to come.
    """

    def __init__(self, polygons: Polygons) -> None:
        self._polygons = polygons
        self._tree = shapely.STRtree(polygons)

    def draw(self, grid: Grid) -> NDArray[np.bool_]:
        """Pixels (height, width) whose centre lies in one of the polygons."""
        near = self._tree.query(shapely.box(*grid.bounds))
        mask = np.zeros((grid.height, grid.width), dtype=bool)
        for part in shapely.get_parts(self._polygons[near]):
            _add(part, grid, mask)
        return mask


def _add(polygon: shapely.Polygon, grid: Grid, mask: NDArray[np.bool_]) -> None:
    """Set the pixels of one polygon; only the box around it is worked on."""
    rings = [grid.to_pixel(ring) for ring in to_rings(polygon)]
    low, high = np.floor(rings[0].min(axis=0)), np.ceil(rings[0].max(axis=0))
    x0, y0 = np.maximum(low, 0).astype(int)
    x1, y1 = np.minimum(high, (grid.width, grid.height)).astype(int)
    if x0 < x1 and y0 < y1:
        moved = [ring - (x0, y0) for ring in rings]
        mask[y0:y1, x0:x1] |= fill(moved, int(y1 - y0), int(x1 - x0))
