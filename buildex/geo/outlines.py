"""Many polygons as flat arrays of corners, so that whole towns are moved at once.

Edge k runs from corner k to corner `after[k]` of the same ring. Its side is +1 where the
building lies to its left (x to the right, y up) and -1 where it lies to its right, so an
edge taken times its side always has its building on the left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import Polygons, object_array

Points = NDArray[np.float64]
Index = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Outlines:
    """The corners of N polygons.

    Attributes:
        points: (V, 2).
        before: (V,) the corner before each one on its ring.
        after: (V,) the corner after it.
        ring: (V,) which ring it is on; the rings of a polygon follow one another, outline first.
        owner: (V,) which polygon it belongs to.
        side: (V,) on which side of the edge that starts here its building lies.
    """

    points: Points
    before: Index
    after: Index
    ring: Index
    owner: Index
    side: Points

    def __len__(self) -> int:
        return len(self.points)

    @property
    def directions(self) -> Points:
        """Unit vectors (V, 2) along the edges, the building on the left; 0 for an edge of none."""
        step = (self.points[self.after] - self.points) * self.side[:, None]
        return step / np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-300)[:, None]

    @property
    def lengths(self) -> Points:
        """Lengths (V,) of the edges."""
        step = self.points[self.after] - self.points
        return np.hypot(step[:, 0], step[:, 1])

    def edges(self) -> Polygons:
        """The edges (V,) as linestrings."""
        lines: Polygons = shapely.linestrings(
            np.stack([self.points, self.points[self.after]], axis=1)
        )
        return lines


def outlines_of(polygons: Polygons) -> Outlines:
    """The corners of polygons (N,), the closing points left out."""
    rings, ring_owner = shapely.get_rings(polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    counts = shapely.get_num_coordinates(rings)
    last = np.cumsum(counts) - 1
    inner = np.ones(len(points), dtype=bool)
    inner[last] = False
    points, ring = points[inner], ring[inner]
    first = np.cumsum(counts - 1) - (counts - 1)
    here = np.arange(len(points))
    after, before = here + 1, here - 1
    after[first + counts - 2] = first
    before[first] = first + counts - 2
    hole = np.diff(ring_owner, prepend=-1) == 0
    side = np.where(shapely.is_ccw(rings) != hole, 1.0, -1.0)
    return Outlines(points, before, after, ring, ring_owner[ring], side[ring])


def rebuilt(outlines: Outlines, points: Points, keep: Flags, chosen: Flags) -> Polygons:
    """Polygons from moved corners.

    Args:
        outlines: where the corners belong.
        points: (V, 2) where they are now; one that falls on the corner before it is left out.
        keep: (V,) corners to use.
        chosen: (N,) whether to build each polygon.

    Returns:
        The K chosen polygons, not repaired; a hole of fewer than three corners is left out,
        and a polygon whose outline has fewer is None.
    """
    use = np.flatnonzero(keep & chosen[outlines.owner])
    if len(use) == 0:
        return object_array([None] * int(chosen.sum()))
    ring = outlines.ring[use]
    first = np.flatnonzero(np.diff(ring, prepend=-1))
    last = np.append(first[1:], len(use)) - 1
    previous = np.arange(len(use)) - 1
    previous[first] = last
    use = use[(points[use] != points[use[previous]]).any(axis=1)]
    use = use[np.bincount(outlines.ring[use], minlength=1)[outlines.ring[use]] >= 3]
    shell = outlines.ring[np.searchsorted(outlines.owner, outlines.owner[use])]
    whole = np.unique(outlines.owner[use[outlines.ring[use] == shell]])
    use = use[np.isin(outlines.owner[use], whole)]
    rings, number = np.unique(outlines.ring[use], return_inverse=True)
    owner = outlines.owner[np.searchsorted(outlines.ring, rings)]
    lines = shapely.linearrings(points[use], indices=number)
    out = object_array([None] * len(chosen))
    if len(whole):
        out[whole] = shapely.polygons(lines, indices=np.searchsorted(whole, owner))
    return out[chosen]
