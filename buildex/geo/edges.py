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
        where, first = _expanded(self.first[index], self.counts[index])
        return Edges(self.start[where], self.along[where], first)

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
    parts, part_owner = shapely.get_parts(polygons, return_index=True)
    if outlines_only:
        rings, ring_owner = shapely.get_exterior_ring(parts), part_owner
    else:
        rings, ring_part = shapely.get_rings(parts, return_index=True)
        ring_owner = part_owner[ring_part]
    points, ring = shapely.get_coordinates(rings, return_index=True)
    along = points[1:] - points[:-1]
    real = (ring[1:] == ring[:-1]) & along.any(axis=1)
    owner = ring_owner[ring[:-1][real]]
    first = np.searchsorted(owner, np.arange(len(polygons) + 1), side="left")
    return Edges(points[:-1][real], along[real], first)


def nearest(points: Floats, owner: Index, edges: Edges) -> tuple[Floats, Floats]:
    """Distance from points to the polygons they are given, and where the nearest place is.

    Args:
        points: (M, 2).
        owner: (M,) the polygon of `edges` to measure each point to; it has an edge.
        edges: what to measure to.

    Returns:
        Distances (M,), and the nearest points (M, 2) on the edges.
    """
    gaps, feet = np.empty(len(points)), np.empty((len(points), 2))
    for piece, edge, first in _pieces(owner, edges):
        size = np.diff(first)
        x, y = (np.repeat(column, size) for column in points[piece].T)
        gap2, foot_x, foot_y = _feet(x, y, edges, edge)
        best = np.minimum.reduceat(gap2, first[:-1])
        hits = np.flatnonzero(gap2 == np.repeat(best, size))
        which = np.searchsorted(first, hits, side="right") - 1
        hit = hits[np.flatnonzero(np.diff(which, prepend=-1))]
        gaps[piece] = np.sqrt(best)
        feet[piece, 0], feet[piece, 1] = foot_x[hit], foot_y[hit]
    return gaps, feet


def farthest_bound(a: Floats, b: Floats, owner: Index, edges: Edges) -> Floats:
    """No point of the segments from a to b (S, 2) is farther from its polygon than this (S,).

    The distance to one edge is convex along a segment, so it is largest at an end.
    """
    bounds = np.empty(len(a))
    for piece, edge, first in _pieces(owner, edges):
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
    start_x, start_y = edges.start[:, 0][edge], edges.start[:, 1][edge]
    along_x, along_y = edges.along[:, 0][edge], edges.along[:, 1][edge]
    t = (x - start_x) * along_x + (y - start_y) * along_y
    t /= along_x * along_x + along_y * along_y
    np.clip(t, 0.0, 1.0, out=t)
    foot_x, foot_y = start_x + t * along_x, start_y + t * along_y
    gap_x, gap_y = x - foot_x, y - foot_y
    return gap_x * gap_x + gap_y * gap_y, foot_x, foot_y


def _pieces(owner: Index, edges: Edges) -> Iterator[tuple[slice, Index, Index]]:
    """Slices of the points; the edges each point is measured to; where each point's begin."""
    size = edges.counts[owner]
    total = np.cumsum(size)
    low = 0
    while low < len(owner):
        done = total[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(total, done + PIECE, side="right")))
        edge, first = _expanded(edges.first[owner[low:high]], size[low:high])
        yield slice(low, high), edge, first
        low = high


def _expanded(start: Index, size: Index) -> tuple[Index, Index]:
    """The ranges start .. start + size one after the other, and where each begins (N + 1,)."""
    first = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(size)])
    return np.repeat(start - first[:-1], size) + np.arange(first[-1]), first
