"""Edges of many polygons in flat arrays, and the nearest of them to many points.

Shape measures of a million pairs of buildings are one pass over numpy arrays here, not a
million calls. Polygon n owns the edges `first[n]` to `first[n + 1]`: of its outline and of
its holes, without those of no length, so the starts of its edges are its distinct vertices.
Work is done in pieces of bounded size, so memory does not grow with the number of points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import Polygons

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
PIECE = 1 << 16  # pairs of point and edge that are looked at in one go
POLYGON = 3  # shapely's number for a polygon of one part
SLACK = 1e-9  # of a distance: rounding never drops an edge that is as near as another


@dataclass(frozen=True)
class Edges:
    """Edges of N polygons.

    Attributes:
        start: (E, 2) where each edge begins.
        along: (E, 2) from there to its end; never zero.
        first: (N + 1,) polygon n owns edges `first[n]` to `first[n + 1]`.
    """

    start: Floats
    along: Floats
    first: Index

    def __len__(self) -> int:
        return len(self.first) - 1

    @property
    def counts(self) -> Index:
        """Edges, which is distinct vertices, of each polygon (N,)."""
        return np.diff(self.first)

    @property
    def owner(self) -> Index:
        """The polygon (E,) that each edge belongs to."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def length(self) -> Floats:
        """Length (E,) of each edge."""
        return np.asarray(np.hypot(self.along[:, 0], self.along[:, 1]))

    def take(self, index: Index) -> Edges:
        """The edges of the polygons at the given positions, in that order."""
        where, first = expanded(self.first[index], self.counts[index])
        return Edges(_rows(self.start, where), _rows(self.along, where), first)

    def grouped(self, group: Index, groups: int) -> Edges:
        """Polygons put together: `group` (N,), rising, says which of the new ones each joins."""
        ends = np.searchsorted(group, np.arange(groups + 1), side="left")
        return Edges(self.start, self.along, self.first[ends])


def edges_of(polygons: Polygons, outlines_only: bool = False) -> Edges:
    """All edges of some polygons or multipolygons.

    Args:
        polygons: (N,); an empty one has no edges.
        outlines_only: leave out the edges of holes.
    """
    points, size, owner = _rings(polygons, outlines_only)
    along = np.empty((len(points), 2), order="F")
    along[:-1] = points[1:] - points[:-1]
    real = np.asarray(along.any(axis=1))
    real[np.cumsum(size) - 1] = False  # from the end of a ring to the next
    ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(real)])
    rings = np.searchsorted(owner, np.arange(len(polygons) + 1), side="left")
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(size)])
    where = np.flatnonzero(real)
    return Edges(_rows(points, where), _rows(along, where), ends[starts[rings]])


def is_one_ring(polygons: Polygons) -> NDArray[np.bool_]:
    """Which polygons (N,) are of one part, without a hole, and not empty."""
    one = (shapely.get_type_id(polygons) == POLYGON) & ~shapely.is_empty(polygons)
    return np.asarray(one & (shapely.get_num_interior_rings(polygons) == 0))


def _rings(polygons: Polygons, outlines_only: bool) -> tuple[Floats, Index, Index]:
    """Points (M, 2) of all rings, how many each ring has, and whose it is.

    A polygon without a hole is its ring, which saves a million objects.
    """
    count = shapely.get_num_coordinates(polygons).astype(np.int64)
    if (is_one_ring(polygons) | (count == 0)).all():
        owner = np.flatnonzero(count)
        return shapely.get_coordinates(polygons), count[owner], owner
    parts, part_owner = shapely.get_parts(polygons, return_index=True)
    if outlines_only:
        rings, owner = shapely.get_exterior_ring(parts), part_owner
    else:
        rings, ring_part = shapely.get_rings(parts, return_index=True)
        owner = part_owner[ring_part]
    count = shapely.get_num_coordinates(rings).astype(np.int64)
    real = count > 0
    return shapely.get_coordinates(rings), count[real], owner[real]


def nearest(points: Floats, owner: Index, edges: Edges) -> tuple[Floats, Floats]:
    """Distance from points to the polygons they are given, and where the nearest place is.

    Args:
        points: (M, 2).
        owner: (M,) the polygon of `edges` to measure each point to; it has an edge.
        edges: what to measure to.

    Returns:
        Distances (M,), and the nearest points (M, 2) on the edges.
    """
    gaps, feet = np.empty(len(points)), np.empty((len(points), 2), order="F")
    for piece, edge, first in pieces(owner, edges):
        size = np.diff(first)
        x, y = (np.repeat(column, size) for column in points[piece].T)
        gap2, foot_x, foot_y = _feet(x, y, edges, edge)
        hit = _least(gap2, first)
        gaps[piece] = np.sqrt(gap2[hit])
        feet[piece, 0], feet[piece, 1] = foot_x[hit], foot_y[hit]
    return gaps, feet


def _least(values: Floats, first: Index) -> Index:
    """Where the least value of each range first[n] .. first[n + 1] stands; the first of equals."""
    if len(values) == len(first) - 1:
        return np.arange(len(values))
    best = np.minimum.reduceat(values, first[:-1])
    hits = np.flatnonzero(values == np.repeat(best, np.diff(first)))
    which = np.searchsorted(first, hits, side="right") - 1
    return np.asarray(hits[np.flatnonzero(np.diff(which, prepend=-1))])


def within_reach(middle: Floats, reach: Floats, owner: Index, edges: Edges) -> Edges:
    """The edges that may be the nearest to some point of a disc: all others are farther.

    Args:
        middle: (M, 2) of the discs.
        reach: (M,) their radius.
        owner: (M,) the polygon of `edges` that each belongs to; it has an edge.
        edges: of the polygons.

    Returns:
        Those of each disc, in their order: M polygons.
    """
    kept, counts = [], np.empty(len(middle), dtype=np.int64)
    for piece, edge, first in pieces(owner, edges):
        size = np.diff(first)
        x, y = (np.repeat(column, size) for column in middle[piece].T)
        gap = np.sqrt(_feet(x, y, edges, edge)[0])
        most = np.minimum.reduceat(gap, first[:-1]) * (1 + SLACK) + 2 * reach[piece] + SLACK
        near = gap <= np.repeat(most, size)
        counts[piece] = np.add.reduceat(near, first[:-1], dtype=np.int64)
        kept.append(edge[near])
    where = np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)
    ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    return Edges(_rows(edges.start, where), _rows(edges.along, where), ends)


def farthest_bound(a: Floats, b: Floats, owner: Index, edges: Edges) -> Floats:
    """No point of the segments from a to b (S, 2) is farther from its polygon than this (S,).

    The distance to one edge is convex along a segment, so it is largest at an end.
    """
    bounds = np.empty(len(a))
    for piece, edge, first in pieces(owner, edges):
        size = np.diff(first)
        at_a, at_b = (
            _feet(np.repeat(ends[piece, 0], size), np.repeat(ends[piece, 1], size), edges, edge)[0]
            for ends in (a, b)
        )
        bounds[piece] = np.sqrt(np.minimum.reduceat(np.maximum(at_a, at_b), first[:-1]))
    return bounds


def _feet(x: Floats, y: Floats, edges: Edges, edge: Index) -> tuple[Floats, Floats, Floats]:
    """Squared distance of points (K,) to edges (K,), one to one, and the nearest x and y there.

    Columns and not rows of points: numpy is several times as fast with them.
    """
    start_x, start_y = edges.start[:, 0].take(edge), edges.start[:, 1].take(edge)
    along_x, along_y = edges.along[:, 0].take(edge), edges.along[:, 1].take(edge)
    t = (x - start_x) * along_x + (y - start_y) * along_y
    t /= along_x * along_x + along_y * along_y
    np.clip(t, 0.0, 1.0, out=t)
    foot_x, foot_y = start_x + t * along_x, start_y + t * along_y
    gap_x, gap_y = x - foot_x, y - foot_y
    return gap_x * gap_x + gap_y * gap_y, foot_x, foot_y


def pieces(owner: Index, edges: Edges) -> Iterator[tuple[slice, Index, Index]]:
    """Slices of the points; the edges each point is measured to; where each point's begin."""
    size = edges.counts[owner]
    total = np.cumsum(size)
    low = 0
    while low < len(owner):
        done = total[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(total, done + PIECE, side="right")))
        edge, first = expanded(edges.first[owner[low:high]], size[low:high])
        yield slice(low, high), edge, first
        low = high


def expanded(start: Index, size: Index) -> tuple[Index, Index]:
    """The ranges start .. start + size one after the other, and where each begins (N + 1,)."""
    first = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(size)])
    return np.repeat(start - first[:-1], size) + np.arange(first[-1]), first


def _rows(columns: Floats, where: Index) -> Floats:
    """Rows of points, each column in one stretch of memory."""
    out = np.empty((len(where), 2), order="F")
    out[:, 0], out[:, 1] = columns[:, 0].take(where), columns[:, 1].take(where)
    return out
