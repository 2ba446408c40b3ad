"""Distances and angles between the outlines of paired buildings, for all pairs at once.

`a` and `b` are polygons (N,) of one metric CRS; pair n is `a[n]` and `b[n]`. Lengths come
out in the unit that goes in. `docs/metrics.md` states every definition and its source.
"""

from __future__ import annotations

import numpy as np
import shapely

from buildex.geo.edges import Edges, Floats, Index, edges_of, farthest_bound, nearest
from buildex.geo.footprints import Polygons

HAUSDORFF_TOLERANCE = 1e-3  # metres
ANGLED = 4096  # polygons whose points are held in one go
STRETCH = 2.0  # how much longer or shorter a projected piece may be (FFL)


def polis_distances(a: Polygons, b: Polygons) -> Floats:
    """PoLiS (N,) of each pair, as `measures.polis` (Avbelj, Mueller and Bamler 2015, eq. 4)."""
    edges_a, edges_b = edges_of(a), edges_of(b)
    return 0.5 * (_mean_distances(edges_a, edges_b) + _mean_distances(edges_b, edges_a))


def polis_as_published(a: Polygons, b: Polygons) -> Floats:
    """PoLiS (N,) as the code around polygon networks has it: for comparison with papers.

    It divides by the number of points of the closed ring, which repeats its first, and
    looks at outlines only: a fifth too small for a rectangle.
    """
    edges_a, edges_b = edges_of(a, outlines_only=True), edges_of(b, outlines_only=True)
    q, r = edges_a.counts, edges_b.counts
    forward = _mean_distances(edges_a, edges_b) * q / (q + 1)
    return 0.5 * (forward + _mean_distances(edges_b, edges_a) * r / (r + 1))


def _mean_distances(a: Edges, b: Edges) -> Floats:
    """Mean (N,) over the vertices of each a of the distance to the outline of its b."""
    if not len(a):
        return np.empty(0)
    gaps, _ = nearest(a.start, a.owner, b)
    return np.asarray(np.add.reduceat(gaps, a.first[:-1]) / a.counts)


def hausdorff_distances(a: Polygons, b: Polygons, tolerance: float = HAUSDORFF_TOLERANCE) -> Floats:
    """Hausdorff distance (N,) of the outlines of each pair, to within `tolerance`.

    The largest distance from any point of one outline to the other outline, not only from
    its vertices: edges are halved while a point between their ends may lie farther off
    than what is known, so the cost is that of a few more vertices.
    """
    edges_a, edges_b = edges_of(a), edges_of(b)
    one_way = _farthest(edges_a, edges_b, tolerance)
    return np.maximum(one_way, _farthest(edges_b, edges_a, tolerance))


def _farthest(a: Edges, b: Edges, tolerance: float) -> Floats:
    """Distance (N,) to the outline of b of the point of a's outline that is farthest from it."""
    if not len(a):
        return np.empty(0)
    gaps, _ = nearest(a.start, a.owner, b)
    known = np.maximum.reduceat(gaps, a.first[:-1])
    start, end, owner = a.start, a.start + a.along, a.owner
    while len(owner):
        open_ = farthest_bound(start, end, owner, b) > known[owner] + tolerance
        start, end, owner = start[open_], end[open_], owner[open_]
        middle = (start + end) / 2
        np.maximum.at(known, owner, nearest(middle, owner, b)[0])
        start, end = np.concatenate([start, middle]), np.concatenate([middle, end])
        owner = np.concatenate([owner, owner])
    return known


def max_tangent_angles(predictions: Polygons, truth: Edges, spacing: float) -> Floats:
    """Max tangent angle error (N,) in degrees (Girard et al. 2021, section 4.1 and code).

    Points are put along each edge of a prediction, no farther apart than `spacing`; each is
    projected to the nearest place of the true outlines. A stretch between two points whose
    projection is more than twice or less than half as long is left out. The answer is the
    largest angle between a stretch and its projection.

    Args:
        predictions: (N,) predicted polygons.
        truth: N sets of true edges, one for each prediction, none of them empty.
        spacing: largest distance of the points, in the unit of the polygons.

    Returns:
        Degrees, 0 to 180; NaN where no stretch is left.
    """
    edges, angles = edges_of(predictions), np.empty(len(predictions))
    for low in range(0, len(edges), ANGLED):
        some = np.arange(low, min(low + ANGLED, len(edges)))
        angles[some] = _max_tangent_angles(edges.take(some), truth.take(some), spacing)
    return angles


def _max_tangent_angles(edges: Edges, truth: Edges, spacing: float) -> Floats:
    pieces = np.ceil(edges.length / spacing).astype(np.int64)
    edge = np.repeat(np.arange(len(pieces)), pieces + 1)
    first = np.cumsum(pieces + 1) - (pieces + 1)
    t = (np.arange(len(edge)) - first[edge]) / pieces[edge]
    points = edges.start[edge] + t[:, None] * edges.along[edge]
    _, feet = nearest(points, edges.owner[edge], truth)
    within = edge[1:] == edge[:-1]
    angles = _angles(np.diff(points, axis=0)[within], np.diff(feet, axis=0)[within])
    return _largest(angles, edges.owner[edge[:-1][within]], len(edges))


def _angles(steps: Floats, projected: Floats) -> Floats:
    """Angle in degrees between steps (M, 2) and what became of them; NaN if stretched."""
    (x, y), (to_x, to_y) = steps.T, projected.T
    was, became = np.hypot(x, y), np.hypot(to_x, to_y)
    fair = (became > was / STRETCH) & (became < was * STRETCH)
    dot, cross = x * to_x + y * to_y, x * to_y - y * to_x
    return np.where(fair, np.degrees(np.arctan2(np.abs(cross), dot)), np.nan)


def _largest(values: Floats, owner: Index, count: int) -> Floats:
    """Largest value that is a number of each owner (count,); NaN where there is none."""
    known = np.isfinite(values)
    largest = np.full(count, -np.inf)
    np.maximum.at(largest, owner[known], values[known])
    return np.where(np.isfinite(largest), largest, np.nan)


def centroid_offsets(a: Polygons, b: Polygons) -> Floats:
    """From the centre of mass of each b to that of its a, (N, 2): east, north."""
    one, other = (shapely.get_coordinates(shapely.centroid(polygons)) for polygons in (a, b))
    return np.asarray(one - other)
