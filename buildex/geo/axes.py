"""Which way buildings stand: main axes, orientation and squareness of many at once.

The main axes of a building are the direction along which the greatest length of its edges
lies, and the perpendicular to it; so an axis is an angle modulo 90 degrees. Angles here are
degrees from the x axis towards the y axis; only `orientations` words them as a bearing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.measures import SQUARE_TOLERANCE

Floats = NDArray[np.float64]
Index = NDArray[np.int64]

TURN = 1000.0  # wider than all angles of a building: keeps the sorted buildings apart


class Edges(NamedTuple):
    """Edges of many buildings: angle (E,) modulo 90, length (E,), building (E,)."""

    angle: Floats
    length: Floats
    owner: Index


def edges_of(polygons: NDArray[np.object_]) -> Edges:
    """The edges of polygons (N,), those of holes included; edges without length are left out."""
    rings, owner = shapely.get_rings(polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    vector = np.diff(points, axis=0)
    length = np.hypot(vector[:, 0], vector[:, 1])
    real = (ring[1:] == ring[:-1]) & (length > 0)
    angle = np.degrees(np.arctan2(vector[real, 1], vector[real, 0])) % 90.0
    return Edges(angle, length[real], owner[ring[1:][real]].astype(np.int64))


def off_axis(angle: Floats, axis: Floats, step: float = 90.0) -> Floats:
    """Degrees from an axis (modulo `step`) to an angle, -step / 2 to step / 2."""
    off: Floats = (angle - axis + step / 2) % step - step / 2
    return off


def main_axes(edges: Edges, count: int, tolerance: float = SQUARE_TOLERANCE) -> Floats:
    """Main axes (count,) of buildings in degrees, 0 to 90; NaN for those without edges.

    The mean direction, weighted by squared length, of the edges within `tolerance` of the
    edge that has most length beside it: the direction of a long edge is surer, by just
    that much, where all corners are equally uncertain.
    """
    seed = _seeds(edges, count, tolerance)[0]
    off = off_axis(edges.angle, seed[edges.owner])
    weight = np.where(np.abs(off) <= tolerance, edges.length**2, 0.0)
    total = np.bincount(edges.owner, weights=weight, minlength=count)
    moved = np.bincount(edges.owner, weights=weight * off, minlength=count)
    return np.asarray((seed + moved / np.where(total > 0, total, 1.0)) % 90.0)


def orientations(polygons: NDArray[np.object_]) -> Floats:
    """Bearing (N,) of each building's main axis, degrees clockwise from the y axis, 0 to below 90.

    In a ground CRS (y up) that is clockwise from grid north. NaN for an empty polygon.
    """
    bearings = -main_axes(edges_of(polygons), len(polygons)) % 90.0
    return np.asarray(bearings % 90.0)  # what is a hair below 0 has become 90


def squareness(
    polygons: NDArray[np.object_], tolerance: float = SQUARE_TOLERANCE
) -> NDArray[np.float64]:
    """Share (N,) of each building's edges that lie along its main axes; NaN without edges.

    The main axes are those of `main_axes` before they are averaged: the edge with most
    length beside it, and its perpendicular.
    """
    edges = edges_of(polygons)
    along = _seeds(edges, len(polygons), tolerance)[1]
    number = np.bincount(edges.owner, minlength=len(polygons)).astype(np.float64)
    return np.where(number > 0, along, np.nan) / np.maximum(number, 1.0)


def _seeds(edges: Edges, count: int, tolerance: float) -> tuple[Floats, Floats]:
    """For each building the edge with most length beside it: its angle, how many lie there."""
    angle, length, owner = edges
    base = owner * TURN
    key = np.concatenate([base + angle - 90.0, base + angle, base + angle + 90.0])
    order = np.argsort(key, kind="stable")
    run = np.concatenate([[0.0], np.cumsum(np.tile(length, 3)[order])])
    key = key[order]
    low = np.searchsorted(key, base + angle - tolerance - 1e-6, side="left")
    high = np.searchsorted(key, base + angle + tolerance + 1e-6, side="right")
    # Rounded, for the running sum leaves dust on lengths that are equal.
    beside = np.round(run[high] - run[low], 6)
    ranked = np.lexsort((length, beside))
    best = np.full(count, -1, dtype=np.int64)
    best[owner[ranked]] = ranked  # the last of each owner stays: the highest rank
    found = best >= 0
    seed, along = np.full(count, np.nan), np.zeros(count)
    seed[found], along[found] = angle[best[found]], (high - low)[best[found]]
    return seed, along
