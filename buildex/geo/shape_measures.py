"""Distances and angles between the outlines of paired buildings, for all pairs at once.

`a` and `b` are polygons (N,) of one metric CRS; pair n is `a[n]` and `b[n]`. Lengths come
out in the unit that goes in. `docs/metrics.md` states every definition and its source.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.edges import (
    Edges,
    Floats,
    Index,
    edges_of,
    farthest_bound,
    nearest,
    within_reach,
)
from buildex.geo.footprints import Polygons

HAUSDORFF_TOLERANCE = 1e-3  # metres
ANGLED = 512  # polygons whose points are held in one go
RUN = 10  # points in a row for which near edges are looked up together
STRETCH = 2.0  # how much longer or shorter a projected piece may be (FFL)


def outline_distances(a: Edges, b: Edges) -> tuple[Floats, Floats]:
    """PoLiS and Hausdorff distance (N,) of each pair, of which the vertices are looked at once.

    The Hausdorff distance, to within `HAUSDORFF_TOLERANCE`, is the largest distance from any
    point of one outline to the other outline, not only from its vertices: edges are halved
    while a point between their ends may lie farther off than what is known, so the cost is
    that of a few more vertices.
    """
    forth, back = _vertex_gaps(a, b), _vertex_gaps(b, a)
    polis = 0.5 * (_mean_gaps(forth, a) + _mean_gaps(back, b))
    return polis, np.maximum(_farthest(a, b, forth), _farthest(b, a, back))


def polis_distances(a: Polygons, b: Polygons) -> Floats:
    """PoLiS (N,) of each pair, as `measures.polis` (Avbelj, Mueller and Bamler 2015, eq. 4)."""
    edges_a, edges_b = edges_of(a), edges_of(b)
    forth, back = _vertex_gaps(edges_a, edges_b), _vertex_gaps(edges_b, edges_a)
    return 0.5 * (_mean_gaps(forth, edges_a) + _mean_gaps(back, edges_b))


def polis_as_published(a: Polygons, b: Polygons) -> Floats:
    """PoLiS (N,) as the code around polygon networks has it: for comparison with papers.

    It divides by the number of points of the closed ring, which repeats its first, and
    looks at outlines only: a fifth too small for a rectangle.
    """
    edges_a, edges_b = edges_of(a, outlines_only=True), edges_of(b, outlines_only=True)
    q, r = edges_a.counts, edges_b.counts
    forth, back = _vertex_gaps(edges_a, edges_b), _vertex_gaps(edges_b, edges_a)
    forward = _mean_gaps(forth, edges_a) * q / (q + 1)
    return 0.5 * (forward + _mean_gaps(back, edges_b) * r / (r + 1))


def _vertex_gaps(a: Edges, b: Edges) -> Floats:
    """Distance of each vertex of each a to the outline of its b, one after the other."""
    return nearest(a.start, a.owner, b)[0]


def _mean_gaps(gaps: Floats, a: Edges) -> Floats:
    """Mean (N,) over the vertices of each a."""
    return np.asarray(np.add.reduceat(gaps, a.first[:-1]) / a.counts) if len(a) else np.empty(0)


def _farthest(a: Edges, b: Edges, gaps: Floats) -> Floats:
    """Distance (N,) to the outline of b of the point of a's outline that is farthest from it.

    `gaps` are those of its vertices.
    """
    if not len(a):
        return np.empty(0)
    known = np.maximum.reduceat(gaps, a.first[:-1])
    start, end, owner = a.start, a.start + a.along, a.owner
    while len(owner):
        open_ = farthest_bound(start, end, owner, b) > known[owner] + HAUSDORFF_TOLERANCE
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
        Degrees, 0 to 90, for going to the nearest place of a set never turns a stretch back;
        NaN where no stretch is left.
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
    points = np.empty((len(edge), 2), order="F")
    for axis in (0, 1):
        points[:, axis] = edges.start[:, axis].take(edge) + t * edges.along[:, axis].take(edge)
    points, edge, feet = _projected(points, edge, edges.owner, truth)
    within = np.flatnonzero(edge[1:] == edge[:-1])
    steps = [points[within + 1, axis] - points[within, axis] for axis in (0, 1)]
    became = [feet[within + 1, axis] - feet[within, axis] for axis in (0, 1)]
    turns = _turns((steps[0], steps[1]), (became[0], became[1]))
    return _degrees(_largest(turns, edges.owner[edge[within]], len(edges)))


def _projected(
    points: Floats, edge: Index, owner: Index, truth: Edges
) -> tuple[Floats, Index, Floats]:
    """The nearest places on the true outlines of points (M, 2) along edges (M,), in their order.

    Runs of neighbouring points are looked at first: few true edges are near to any of a run.
    Where it is one, and the run falls between its ends, all stretches of the run are turned
    alike: only the first and the last point stay. Returns points, edges, places.
    """
    starts = np.flatnonzero(np.diff(edge, prepend=-1))
    place = np.arange(len(edge)) - np.repeat(starts, np.diff(starts, append=len(edge)))
    begin = np.flatnonzero(place % RUN == 0)
    size = np.diff(begin, append=len(edge))
    end = begin + size - 1
    one, other = points[begin], points[end]
    reach = np.hypot(*(other - one).T) / 2
    near = within_reach((one + other) / 2, reach, owner[edge[begin]], truth)
    alike = np.flatnonzero(near.counts == 1)
    alike = alike[_between(one[alike], near.take(alike)) & _between(other[alike], near.take(alike))]
    stays = np.ones(len(begin), dtype=bool)
    stays[alike] = False
    stays = np.repeat(stays, size)
    stays[begin] = stays[end] = True
    points, edge = points[stays], edge[stays]
    run = np.repeat(np.arange(len(begin)), size)[stays]
    return points, edge, nearest(points, run, near)[1]


def _between(points: Floats, edges: Edges) -> NDArray[np.bool_]:
    """Whether points (N, 2) fall between the ends of the one edge that each has."""
    t = ((points - edges.start) * edges.along).sum(axis=1)
    return np.asarray((t >= 0) & (t <= (edges.along**2).sum(axis=1)))


def _turns(steps: tuple[Floats, Floats], became: tuple[Floats, Floats]) -> Floats:
    """How far steps (M,) were turned; NaN if stretched or shrunk.

    A number that grows with the angle, 0 at 0 and 1 at 90 degrees, without the arc tangent
    of each of millions of steps.
    """
    (x, y), (to_x, to_y) = steps, became
    was2, became2 = x * x + y * y, to_x * to_x + to_y * to_y
    limit = STRETCH * STRETCH
    fair = (became2 > was2 / limit) & (became2 < was2 * limit)
    # Below 0 only by rounding: the nearest places on a set are a monotone map.
    dot, cross = np.maximum(x * to_x + y * to_y, 0.0), np.abs(x * to_y - y * to_x)
    return np.where(fair, cross / np.where(fair, cross + dot, 1.0), np.nan)


def _degrees(turns: Floats) -> Floats:
    """The angles of `_turns` in degrees."""
    return np.degrees(np.arctan2(turns, 1.0 - turns))


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
