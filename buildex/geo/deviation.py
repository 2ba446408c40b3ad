"""How far outlines and the walls that replace them are apart: a bound that always holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from buildex.geo.runs import (
    Corners,
    Floats,
    Index,
    Outlines,
    Runs,
    following,
    gaps,
    preceding,
    run_of_points,
)


def deviations(outlines: Outlines, runs: Runs, walls: Corners) -> Floats:
    """How far (R,) each run and its wall are apart at most: a bound that is never too small.

    Follow the outline from b, its point nearest to the wall's start, to b', its point
    nearest to the wall's end. No point of that stretch is farther from the wall than its
    farthest vertex, for the distance to a segment is convex. And no point of the wall is
    farther from the stretch than that vertex is, or than b from the start or b' from the
    end: the feet of the stretch's points on the wall have no gaps between the feet of b
    and b'. The greatest of the three so bounds the Hausdorff distance both ways, and the
    Frechet distance with it.
    """
    after = following(runs.ring)
    run = run_of_points(outlines, runs)
    slid = _slid(outlines, runs, run, (walls.start + walls.end) / 2)
    size = np.bincount(outlines.ring)
    place = (np.arange(len(run)) - runs.at[run]) % size[outlines.ring]
    seen = np.where(place < slid.into[run], preceding(runs.ring)[run], run)
    seen = np.where(place > slid.out[run], after[run], seen)
    start, end = walls.start, walls.end[after]
    gap = gaps(outlines.points, start[seen], end[seen])[0]
    worst = np.maximum(
        np.hypot(*(slid.point - walls.start).T), np.hypot(*(slid.point - walls.end)[after].T)
    )
    np.maximum.at(worst, seen, gap)
    return np.asarray(worst)


class _Slid(NamedTuple):
    """Breakpoints moved along the outline to the corners' nearest points."""

    point: Floats  # (R, 2)
    into: Floats  # (R,) place in its own run, in points from its start; 0 or more
    out: Floats  # (R,) place of the run's end in it, infinite where it is not in the run


def _slid(outlines: Outlines, runs: Runs, run: Index, corner: Floats) -> _Slid:
    before, after = preceding(runs.ring), following(runs.ring)
    points = outlines.points
    ends = points[following(outlines.ring)]
    size = np.bincount(outlines.ring)[outlines.ring]
    place = (np.arange(len(run)) - runs.at[run]) % size
    own = _nearest(points, ends, run, corner[run], len(runs.at))
    last = _nearest(points, ends, run, corner[after[run]], len(runs.at))
    # Of the run's own edges and of those of the run before, the nearer one holds b.
    ahead = own.gap <= last.gap[before]
    into = np.where(ahead, place[own.edge] + own.share, 0.0)
    out = np.where(ahead[after], np.inf, place[last.edge] + last.share)
    point = np.where(ahead[:, None], own.point, last.point[before])
    # Out of order along the outline: such breakpoints stay where they were.
    crossed = into > out
    reset = crossed | crossed[before]
    point = np.where(reset[:, None], points[runs.at], point)
    return _Slid(point, np.where(reset, 0.0, into), np.where(reset[after], np.inf, out))


class _Nearest(NamedTuple):
    """For each run the point of its stretch nearest to a target."""

    gap: Floats  # (R,)
    edge: Index  # (R,)
    share: Floats  # (R,) place on the edge, 0 to 1
    point: Floats  # (R, 2)


def _nearest(start: Floats, end: Floats, run: Index, target: Floats, count: int) -> _Nearest:
    gap, share = gaps(target, start, end)
    best = np.full(count, np.inf)
    np.minimum.at(best, run, gap)
    edge = np.zeros(count, dtype=np.int64)
    hit = np.flatnonzero(gap == best[run])
    edge[run[hit]] = hit
    share = share[edge]
    return _Nearest(best, edge, share, start[edge] + share[:, None] * (end - start)[edge])
