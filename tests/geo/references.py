"""Formulas for one building at a time, as plainly as they are written: what the fast ones equal."""

from __future__ import annotations

import numpy as np

from buildex.geo.measures import SQUARE_TOLERANCE
from buildex.geo.rings import Rings, boundary_distances


def polis_as_published(a: Rings, b: Rings) -> float:
    """PoLiS as the code around polygon networks computes it: for comparison with papers only.

    It divides by the number of points of the closed ring, which repeats its first, and
    looks at outlines only: a fifth too small for a rectangle.
    """
    q, r = len(a[0]), len(b[0])
    forward = boundary_distances(a[0], b[:1]).mean() * q / (q + 1)
    return 0.5 * (forward + boundary_distances(b[0], a[:1]).mean() * r / (r + 1))


def square_edges(rings: Rings, tolerance: float = SQUARE_TOLERANCE) -> tuple[int, int]:
    """How many edges of a polygon lie along its main axes, and how many it has.

    The main axes are the direction of an edge, and its perpendicular, along which the
    greatest length of edges lies within the tolerance; the longest edge's where two are equal.

    Args:
        rings: at least one ring of three points; edges of holes count.
        tolerance: largest angle to the nearer axis, in degrees.

    Returns:
        Square edges and all edges: sums of both over many buildings give a pooled share.
    """
    edges = np.concatenate([np.roll(ring, -1, axis=0) - ring for ring in rings])
    length = np.hypot(edges[:, 0], edges[:, 1])
    edges, length = edges[length > 0], length[length > 0]
    order = np.argsort(-length, kind="stable")
    angle = np.degrees(np.arctan2(edges[order, 1], edges[order, 0])) % 90.0
    apart = np.abs(angle[:, None] - angle[None])
    along = np.minimum(apart, 90.0 - apart) <= tolerance + 1e-9
    axis = int(np.argmax(along @ length[order])) if len(angle) else 0
    return (int(along[axis].sum()) if len(angle) else 0), len(angle)
