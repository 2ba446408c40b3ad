"""Polygons on the ground drawn as masks, one piece of a grid at a time.

A pixel belongs to a polygon if its centre lies inside, as in `geo.rings.fill`. Memory is
that of the piece, however many polygons a layer has, and all polygons of a piece are drawn
in one pass.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import Polygons
from buildex.geo.grid import Grid

POLYGON = 3  # shapely's number of the type


class Layer:
    """Polygons with an index; `draw` shows those that touch a grid.

    Args:
        polygons: (N,) valid polygons or multipolygons in the CRS of the grids to come.
    """

    def __init__(self, polygons: Polygons) -> None:
        parts = shapely.get_parts(polygons)
        self.polygons: Polygons = parts[shapely.get_type_id(parts) == POLYGON]
        self._tree = shapely.STRtree(self.polygons)
        self._start, self._end, self._sign, owner = _walls(self.polygons)
        self._first = np.searchsorted(owner, np.arange(len(self.polygons) + 1))

    def near(self, bounds: tuple[float, float, float, float], margin: float = 0.0) -> Polygons:
        """The polygons whose boxes touch some bounds, widened by a margin."""
        x0, y0, x1, y1 = bounds
        box = shapely.box(x0 - margin, y0 - margin, x1 + margin, y1 + margin)
        found: Polygons = self.polygons[self._tree.query(box)]
        return found

    def touch(self, boxes: Polygons) -> NDArray[np.bool_]:
        """Whether `draw` could show something in each of some boxes (N,)."""
        found = np.zeros(len(boxes), dtype=bool)
        found[self._tree.query(boxes)[0]] = True
        return found

    def draw(self, grid: Grid) -> NDArray[np.bool_]:
        """Pixels (height, width) whose centre lies in one of the polygons.

        Each edge adds its direction to all pixels to its right in the rows whose centre
        line it crosses: the sum is the number of polygons that a pixel lies in.
        """
        near = np.sort(self._tree.query(shapely.box(*grid.bounds)))
        size = self._first[near + 1] - self._first[near]
        edge = np.repeat(self._first[near] - (np.cumsum(size) - size), size)
        edge += np.arange(len(edge))
        start, end = grid.to_pixel(self._start[edge]), grid.to_pixel(self._end[edge])
        low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
        top = np.clip(np.ceil(low - 0.5), 0, grid.height).astype(np.int64)
        count = np.clip(np.ceil(high - 0.5), 0, grid.height).astype(np.int64) - top
        which = np.repeat(np.arange(len(edge)), count)
        row = np.arange(len(which)) - np.repeat(np.cumsum(count) - count - top, count)
        step = (end - start)[which]
        x = start[which, 0] + (row + 0.5 - start[which, 1]) / step[:, 1] * step[:, 0]
        column = np.clip(np.ceil(x - 0.5), 0, grid.width).astype(np.int64)
        turn = self._sign[edge[which]] * np.sign(step[:, 1]).astype(np.int16)
        turns = np.zeros((grid.height, grid.width + 1), dtype=np.int16)  # the smallest is fastest
        np.add.at(turns, (row, column), turn)
        within = np.cumsum(turns[:, :-1], axis=1, dtype=np.int16)
        return np.asarray(within != 0)


def _walls(
    polygons: Polygons,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int16], NDArray[np.int64]]:
    """Start and end (E, 2) of all edges, a sign that lets all outlines turn one way, owners."""
    rings, owner = shapely.get_rings(polygons, return_index=True)
    hole = np.diff(owner, prepend=-1) == 0
    sign = np.where(shapely.is_ccw(rings) == hole, -1, 1).astype(np.int16)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    same = ring[1:] == ring[:-1]
    ring = ring[:-1][same]
    return points[:-1][same], points[1:][same], sign[ring], owner[ring]
