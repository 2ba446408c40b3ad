"""Runs: stretches of an outline that one straight wall replaces. Many outlines at once.

Outlines lie one after another in flat arrays. A run goes from one breakpoint, a point of
the outline, to the next breakpoint of the same ring, around its seam if need be. Merging
two runs is taking a breakpoint away; a line is fitted to all that the run passes, not to
its ends, so noise averages out and area is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
Flags = NDArray[np.bool_]

PARALLEL = 0.2  # sine of the angle under which two lines meet too far away to be a corner

# Places on an edge and their weights (Gauss and Legendre): how roundness is integrated.
SAMPLES = ((0.5 - 0.15**0.5, 5 / 18), (0.5, 8 / 18), (0.5 + 0.15**0.5, 5 / 18))
OPEN, CORNER, INNER = 0, 1, 2  # a breakpoint if the outline turns there; always; never


class Outlines(NamedTuple):
    """Rings (K) of buildings, each without its closing point, around an origin of their own."""

    points: Floats  # (V, 2)
    ring: Index  # (V,) ring of each point, rising
    building: Index  # (K,) building of each ring, rising
    name: Index  # (K,) number of each ring among all, rising
    mark: Index  # (V,) of each point: `OPEN`, `CORNER` or `INNER`

    def take(self, rings: Flags) -> Outlines:
        """The rings where a mask (K,) is true, numbered anew."""
        points = rings[self.ring]
        number = np.cumsum(rings) - 1
        return Outlines(
            self.points[points],
            number[self.ring[points]],
            self.building[rings],
            self.name[rings],
            self.mark[points],
        )


class Runs(NamedTuple):
    """Runs (R), in the order of their outlines' points."""

    at: Index  # (R,) index of the point where the run starts
    ring: Index  # (R,) its ring
    moments: Floats  # (6, R) integrals along the run of 1, x, y, xx, xy, yy


def following(ring: Index) -> Index:
    """Index (R,) of the item after each in its ring, the first one after the last."""
    after = np.arange(1, len(ring) + 1)
    last = np.append(np.flatnonzero(ring[1:] != ring[:-1]), len(ring) - 1)[: len(ring)]
    after[last] = np.append(0, last[:-1] + 1)[: len(ring)]
    return after


def preceding(ring: Index) -> Index:
    """Index (R,) of the item before each in its ring, the last one before the first."""
    before = np.empty(len(ring), dtype=np.int64)
    before[following(ring)] = np.arange(len(ring))
    return before


def run_of_points(outlines: Outlines, runs: Runs) -> Index:
    """Run (V,) in which the edge that starts at each point lies; every ring has a run."""
    rings = len(outlines.building)
    run = np.searchsorted(runs.at, np.arange(len(outlines.ring)), side="right") - 1
    before_first = run < np.searchsorted(runs.ring, np.arange(rings))[outlines.ring]
    last = np.searchsorted(runs.ring, np.arange(rings), side="right") - 1
    return np.where(before_first, last[outlines.ring], run)


def breakpoints(outlines: Outlines, tolerance: float) -> Index:
    """Points at which outlines turn (Douglas and Peucker 1973), or that are marked corners.

    The points carry their index as a third coordinate through shapely's simplification.
    """
    index = np.arange(len(outlines.ring), dtype=np.float64)
    with_index = np.column_stack([outlines.points, index])
    rings = shapely.linearrings(with_index, indices=outlines.ring)
    simple = shapely.simplify(rings, tolerance, preserve_topology=False)
    kept = shapely.get_coordinates(simple, include_z=True)[:, 2]
    turns = np.zeros(len(index), dtype=bool)
    turns[kept.astype(np.int64)] = True
    return np.flatnonzero((turns & (outlines.mark == OPEN)) | (outlines.mark == CORNER))


def cut(outlines: Outlines, at: Index) -> Runs:
    """Cut outlines at breakpoints (R,), at least one in each ring, and integrate along them."""
    runs = Runs(at, outlines.ring[at], np.zeros((6, len(at))))
    run = run_of_points(outlines, runs)
    start = outlines.points
    end = start[following(outlines.ring)]
    (mx, my), (dx, dy) = ((start + end) / 2).T, (end - start).T
    length = np.hypot(dx, dy)
    integrands = (
        length,
        length * mx,
        length * my,
        length * (mx * mx + dx * dx / 12),
        length * (mx * my + dx * dy / 12),
        length * (my * my + dy * dy / 12),
    )
    sums = [np.bincount(run, weights=values, minlength=len(at)) for values in integrands]
    return runs._replace(moments=np.array(sums))


def merged(runs: Runs, keep: Flags, counted: Flags) -> Runs:
    """Take away the breakpoints where `keep` (R,) is false: such a run joins the one before.

    The line of the joined run is not drawn by parts where `counted` (R,) is false: by
    steps and chamfers between walls. At least one breakpoint stays in each ring.
    """
    at, ring = runs.at[keep], runs.ring[keep]
    target = np.cumsum(keep) - 1
    first = np.searchsorted(ring, runs.ring)
    last = np.searchsorted(ring, runs.ring, side="right") - 1
    target = np.where(target < first, last, target)
    sums = [np.bincount(target, weights=m * counted, minlength=len(at)) for m in runs.moments]
    return Runs(at, ring, np.array(sums))


def centres(runs: Runs) -> Floats:
    """Centres of mass (R, 2) of the runs."""
    return np.asarray((runs.moments[1:3] / np.maximum(runs.moments[0], 1e-300)).T)


def scatter(runs: Runs) -> Floats:
    """Second moments (3, R) xx, xy, yy of the runs about their own centres."""
    length, x, y, xx, xy, yy = runs.moments
    length = np.maximum(length, 1e-300)
    return np.array([xx - x * x / length, xy - x * y / length, yy - y * y / length])


def chords(runs: Runs, points: Floats) -> Floats:
    """Vectors (R, 2) from each run's start to its end."""
    place = points[runs.at]
    return np.asarray(place[following(runs.ring)] - place)


def angles(runs: Runs, chord: Floats) -> Floats:
    """Direction (R,) of each run in degrees, in its sense of going.

    The principal axis of all that the run passes where it is long and thin, the chord
    where it is not.
    """
    xx, xy, yy = scatter(runs)
    straight = np.degrees(np.arctan2(chord[:, 1], chord[:, 0]))
    principal = np.degrees(np.arctan2(2 * xy, xx - yy)) / 2
    against = np.abs((principal - straight + 180) % 360 - 180) > 90
    spread, size = np.hypot(xx - yy, 2 * xy), xx + yy
    thin = spread > 0.8 * size
    return np.asarray(np.where(thin, principal + 180 * against, straight) % 360)


class Corners(NamedTuple):
    """Where the lines of neighbouring runs meet, for each breakpoint.

    The two points differ only where parallel walls need a step between them.
    """

    end: Floats  # (R, 2) where the wall of the run before ends
    start: Floats  # (R, 2) where the run's own wall starts


def corners(
    runs: Runs, place: Floats, direction: Floats, fixed: Flags, tolerance: float
) -> Corners:
    """Cross the lines of neighbouring runs.

    Args:
        runs: the runs; their lines pass through their centres.
        place: (R, 2) their breakpoints.
        direction: (R, 2) unit vectors of the lines.
        fixed: (R,) lines that may not be turned: those along an axis.
        tolerance: distance from its breakpoint beyond which a free line's crossing is no
            corner; the breakpoint's foot on the fixed line, or between two free ones, is.
    """
    before = preceding(runs.ring)
    centre = centres(runs)
    feet = centre + direction * ((place - centre) * direction).sum(axis=1)[:, None]
    along = direction[before]
    feet_before = centre[before] + along * ((place - centre[before]) * along).sum(axis=1)[:, None]
    sine = cross(along, direction)
    steep = np.abs(sine) >= PARALLEL
    t = cross(centre - centre[before], direction) / np.where(steep, sine, 1.0)
    crossing = centre[before] + t[:, None] * along
    near = np.hypot(*(crossing - place).T) <= tolerance
    both = fixed & fixed[before]
    only_this, only_before = fixed & ~both, fixed[before] & ~both
    meet = np.where(only_this[:, None], feet, (feet + feet_before) / 2)
    meet = np.where(only_before[:, None], feet_before, meet)
    meet = np.where((steep & (near | both))[:, None], crossing, meet)
    step = (both & ~steep)[:, None]
    return Corners(np.where(step, feet_before, meet), np.where(step, feet, meet))


def cross(a: Floats, b: Floats) -> Floats:
    """Cross products (N,) of vectors (N, 2): above 0 where b is to the left of a, y up."""
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def roundness(outlines: Outlines) -> Floats:
    """How far (K,) each outline with area is from an ellipse, as a share of its radius: 0 is round.

    The outline is scaled and sheared so that its second moments are those of a circle; the
    result is the root mean square, along the outline, of its distance from that circle,
    in radii. A square has 0.11, an octagon 0.02, an ellipse of 2:1 0.056 (the whitened
    outline of an ellipse is not quite a circle).
    """
    rings = np.arange(len(outlines.building))
    whole = cut(outlines, np.searchsorted(outlines.ring, rings))
    length = whole.moments[0]
    xx, xy, yy = scatter(whole) / length
    slant, rest = xy / xx, np.maximum(yy - xy * xy / xx, 1e-300)
    ring, after = outlines.ring, following(outlines.ring)
    x, y = (outlines.points - centres(whole)[ring]).T
    # In u and v the outline's second moments are 1/2, 0, 1/2: those of a circle of radius 1.
    u, v = x / np.sqrt(2 * xx)[ring], (y - slant[ring] * x) / np.sqrt(2 * rest)[ring]
    weight = np.hypot(x[after] - x, y[after] - y)
    du, dv = u[after] - u, v[after] - v
    total = np.zeros(len(rings))
    for t, share in SAMPLES:
        off = np.hypot(u + t * du, v + t * dv) - 1
        total += np.bincount(ring, weights=share * weight * off * off, minlength=len(rings))
    return np.asarray(np.sqrt(total / length))


def gaps(points: Floats, start: Floats, end: Floats) -> tuple[Floats, Floats]:
    """Distances (N,) from points to segments, one to one, and where on them (N,), 0 to 1."""
    (x, y), (dx, dy) = (points - start).T, (end - start).T
    length2 = dx * dx + dy * dy
    share = np.clip((x * dx + y * dy) / np.where(length2 > 0, length2, 1.0), 0.0, 1.0)
    return np.asarray(np.hypot(x - share * dx, y - share * dy)), share
