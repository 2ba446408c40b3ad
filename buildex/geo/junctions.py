"""Where walls meet.

Corners follow their moved walls, near corners become one, and a corner on a neighbour's
wall is made exact.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from buildex.geo.footprints import Polygons
from buildex.geo.outlines import Flags, Index, Outlines, Points, outlines_of, rebuilt
from buildex.geo.wall_lines import Lines, Walls

STRAIGHT = 0.35  # sine of the angle under which two walls have no crossing to go to
STIFF = 1e6  # how much more a joined corner cares for its wall's line than for its old place


def moved_corners(outlines: Outlines, lines: Lines, reach: float) -> Points:
    """Corners (V, 2) after their walls have moved to the common lines.

    A corner goes to where the lines of its two edges cross, so walls move parallel to
    themselves. On a straight stretch, or where the crossing is farther than `reach`, it
    goes to the nearest point of the line instead.
    """
    into, out = outlines.before, np.arange(len(outlines))
    on = lines.group >= 0
    centre = np.where(on[:, None], lines.points, outlines.points)
    along = np.where(on[:, None], lines.directions, outlines.directions)
    p = outlines.points
    to_first = _foot(p, centre[into], along[into])
    to_second = _foot(p, centre[out], along[out])
    both, one = on[into] & on[out], on[into]
    target = np.where(both[:, None], (to_first + to_second) / 2, 0.0)
    target = np.where((one & ~both)[:, None], to_first, target)
    target = np.where((on[out] & ~both)[:, None], to_second, target)
    crossing, sine = _crossings(centre, along, into, out)
    far = np.hypot(*(crossing - p).T) > reach
    same = both & (lines.group[into] == lines.group[out])
    use = (np.abs(sine) > STRAIGHT) & ~far & ~same
    target = np.where(use[:, None], crossing, target)
    target = np.where(same[:, None], to_first, target)
    return np.where((on[into] | on[out])[:, None], target, p)


def _foot(p: Points, centre: Points, along: Points) -> Points:
    foot: Points = centre + ((p - centre) * along).sum(axis=1)[:, None] * along
    return foot


def _crossings(centre: Points, along: Points, i: Index, j: Index) -> tuple[Points, Points]:
    """Where lines i and j cross (V, 2), and the sine of their angle (V,)."""
    d, e = along[i], along[j]
    sine = d[:, 0] * e[:, 1] - d[:, 1] * e[:, 0]
    gap = centre[j] - centre[i]
    t = (gap[:, 0] * e[:, 1] - gap[:, 1] * e[:, 0]) / np.where(sine == 0, 1.0, sine)
    return centre[i] + t[:, None] * d, sine


def joined_corners(
    outlines: Outlines, points: Points, lines: Lines, weights: Points, snap: float
) -> Points:
    """Make one point of corners of different buildings that lie near each other on one line.

    The point stays on the lines of all walls that meet there, where they meet nearby.

    Args:
        outlines: where the corners belong.
        points: (V, 2) where they are now.
        lines: the common lines.
        weights: (V,) how much each corner is trusted; infinite for one that must not move.
        snap: distance from which corners are one; none of a joined set are farther apart, and
            at most one of them must not move.
    """
    still = np.isinf(weights)
    sets = _corner_sets(outlines, points, lines, still, snap)
    if not sets:
        return points
    name = np.repeat(np.arange(len(sets)), [len(members) for members in sets])
    corner = np.concatenate([np.array(members) for members in sets])
    held = still[corner]
    w = np.where(held, 1.0, weights[corner])
    sums = [np.bincount(name, w * points[corner, axis]) for axis in (0, 1)]
    mean: Points = (np.stack(sums, axis=1) / np.bincount(name, w)[:, None]).astype(np.float64)
    place = _on_their_lines(outlines, lines, (name, corner), mean)
    place = np.where((np.hypot(*(place - mean).T) <= snap)[:, None], place, mean)
    place[name[held]] = points[corner[held]]
    out = points.copy()
    out[corner] = place[name]
    return out


def _on_their_lines(
    outlines: Outlines, lines: Lines, sets: tuple[Index, Index], mean: Points
) -> Points:
    """The points (S, 2) nearest to the means that lie on all lines of a set of corners."""
    name, corner = sets
    matrix = np.tile(np.eye(2), (len(mean), 1, 1))
    right = np.zeros_like(mean)
    for edge in (corner, outlines.before[corner]):
        on = lines.group[edge] >= 0
        k, e = name[on], edge[on]
        normal = np.stack([-lines.directions[e, 1], lines.directions[e, 0]], axis=1)
        off = ((lines.points[e] - mean[k]) * normal).sum(axis=1)
        np.add.at(matrix, k, STIFF * normal[:, :, None] * normal[:, None, :])
        np.add.at(right, k, STIFF * off[:, None] * normal)
    step = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    return mean + np.asarray(step, dtype=np.float64)


def _corner_sets(
    outlines: Outlines, points: Points, lines: Lines, still: Flags, snap: float
) -> list[list[int]]:
    """Sets of corners of different buildings, nearest first, none wider than `snap`."""
    into, out = lines.group[outlines.before], lines.group
    ends = np.flatnonzero((into >= 0) | (out >= 0))
    ends = ends[into[ends] != out[ends]]
    if len(ends) < 2:
        return []
    local = points - points[0]
    pairs = ends[cKDTree(local[ends]).query_pairs(snap, output_type="ndarray").reshape(-1, 2)]
    i, j = pairs.min(axis=1), pairs.max(axis=1)
    shared = np.zeros(len(i), dtype=bool)
    for a in (into, out):
        for b in (into, out):
            shared |= (a[i] == b[j]) & (a[i] >= 0)
    good = shared & (outlines.owner[i] != outlines.owner[j])
    i, j = i[good], j[good]
    order = np.lexsort((j, i, np.hypot(*(points[i] - points[j]).T)))
    # All corners that stay count as of one owner, for two of an owner never become one.
    owner = np.where(still, -1, outlines.owner)
    return _gathered(i[order].tolist(), j[order].tolist(), local, owner, snap)


def _gathered(
    first: list[int], second: list[int], points: Points, owner: Index, snap: float
) -> list[list[int]]:
    home: dict[int, list[int]] = {}
    for a, b in zip(first, second, strict=True):
        one, two = home.get(a, [a]), home.get(b, [b])
        if one is two or {owner[k] for k in one} & {owner[k] for k in two}:
            continue
        both = one + two
        if len(both) > 2 and np.ptp(points[both], axis=0).max() > snap:
            continue
        for k in both:
            home[k] = both
    return list({id(members): members for members in home.values()}.values())


def exact_junctions(polygons: Polygons, settings: Walls, loose: Flags) -> tuple[Polygons, Flags]:
    """Make corners on a neighbour's wall exact, so that no rounding lets the two overlap.

    Such a corner is set back by `settings.clearance`.

    Args:
        polygons: (N,), which may overlap by a hair.
        settings: `hair` and `bend`.
        loose: (N,) polygons that were changed; junctions of two others stay as they are.

    Returns:
        Polygons (N,), and which of them were changed here (N,).
    """
    outlines = outlines_of(polygons)
    corner, edge = _junctions(outlines, settings)
    busy = loose[outlines.owner[corner]] | loose[outlines.owner[edge]]
    corner, edge = corner[busy], edge[busy]
    if len(corner) == 0:
        return polygons, np.zeros(len(polygons), dtype=bool)
    return _set_back(polygons, outlines, (corner, edge), settings)


def _junctions(outlines: Outlines, settings: Walls) -> tuple[Index, Index]:
    """Corners that lie on edges of other polygons but on none of their corners, in order."""
    tree, lengths = shapely.STRtree(shapely.points(outlines.points)), outlines.lengths
    most = settings.clearance(lengths / 2, lengths)
    edge, corner = tree.query(outlines.edges(), predicate="dwithin", distance=most)
    other = outlines.owner[corner] != outlines.owner[edge]
    corner, edge = corner[other], edge[other]
    p = outlines.points
    at_end = (p[corner] == p[edge]).all(axis=1) | (p[corner] == p[outlines.after[edge]]).all(axis=1)
    # A corner of both may lie a rounding error off the edge before it, too.
    place = np.unique(p, axis=0, return_inverse=True)[1].reshape(-1)
    key = place[corner] * len(outlines) + outlines.owner[edge]
    met = np.unique(key[at_end])
    use = ~np.isin(key, met)
    corner, edge = corner[use], edge[use]
    order = np.lexsort((edge, corner))
    return corner[order], edge[order]


def _set_back(
    polygons: Polygons, outlines: Outlines, junctions: tuple[Index, Index], settings: Walls
) -> tuple[Polygons, Flags]:
    """Move corners away from walls until they are just outside; corners at one place alike."""
    along, p = outlines.directions, outlines.points
    corners, edges = junctions
    step = ((p[corners] - p[edges]) * along[edges]).sum(axis=1)
    need = settings.clearance(np.abs(step), outlines.lengths[edges])
    moved: dict[tuple[float, float], NDArray[np.float64]] = {}
    for corner, edge, far in zip(corners.tolist(), edges.tolist(), need.tolist(), strict=True):
        place = (float(p[corner, 0]), float(p[corner, 1]))
        now = moved.get(place, p[corner])
        outward = np.array([along[edge, 1], -along[edge, 0]])
        short = far - float((now - p[edge]) @ outward)
        moved[place] = now + max(short, 0.0) * outward
    points = p.copy()
    for corner in corners.tolist():
        points[corner] = moved[float(p[corner, 0]), float(p[corner, 1])]
    return _replaced(polygons, outlines, points, outlines.owner[(points != p).any(axis=1)])


def _replaced(
    polygons: Polygons, outlines: Outlines, points: Points, owners: Index
) -> tuple[Polygons, Flags]:
    """The polygons with the owners' corners moved; one that would become invalid is left."""
    out, changed = polygons.copy(), np.zeros(len(polygons), dtype=bool)
    changed[owners] = True
    shapes = rebuilt(outlines, points, np.ones(len(outlines), dtype=bool), changed)
    good = shapely.is_valid(shapes)
    changed[np.flatnonzero(changed)[~good]] = False
    out[changed] = shapes[good]
    return out, changed
