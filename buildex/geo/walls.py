"""Neighbours share their walls: no overlap, no sliver between them, and no more vertices.

Facing walls (`wall_lines`) move to one line, corners follow and meet (`junctions`); what
overlaps then is cut off the building with the lower score (`cuts`). Lengths are in metres.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.components import components
from buildex.geo.cuts import SPIKE, Crowd, pairs_that_meet, separated, without_doubles
from buildex.geo.footprints import Polygons
from buildex.geo.junctions import joined_corners, moved_corners
from buildex.geo.outlines import Flags, Index, outlines_of, rebuilt
from buildex.geo.wall_lines import Walls, common_lines, facing_edges

__all__ = ["Walls", "WallsResult", "share_walls"]

DEFAULT = Walls()
PASSES = 2  # the second closes gaps that the first has made narrow
ROUNDS = 3  # after these, the neighbours of a spoilt building keep their shapes, too
PATIENCE = 12  # after these, so does its whole row


@dataclass(frozen=True)
class WallsResult:
    """What came of N polygons.

    Attributes:
        polygons: (K,) valid polygons, none of which overlap.
        kept: (K,) which of the given ones they are, rising.
        moved: (K,) whether it differs from the given one.
    """

    polygons: Polygons
    kept: Index
    moved: Flags


def share_walls(
    polygons: NDArray[np.object_],
    scores: NDArray[np.float64],
    settings: Walls = DEFAULT,
    held: Flags | None = None,
) -> WallsResult:
    """Let neighbours share one wall where they face each other across a gap or an overlap.

    Buildings that would change by more than `settings.most_change` keep their shape and
    their neighbours come to them. An overlap that is left goes to the higher score; a
    building that loses more than half of itself to better ones is dropped. A building with
    no neighbour within `settings.gap` comes back as it was, bit for bit. The same input
    gives the same output; of equal scores the earlier building goes first.

    Args:
        polygons: (N,) valid shapely Polygons, in metres.
        scores: (N,) above 0.
        settings: how far to go.
        held: (N,) those that are finished: they come back bit for bit, the others come to
            them, and no score is better. They do not overlap one another.
    """
    if held is None:
        held = np.zeros(len(polygons), dtype=bool)
    rank = np.empty(len(polygons), dtype=np.int64)
    rank[np.lexsort((np.arange(len(polygons)), -scores, ~held))] = np.arange(len(polygons))
    big = np.flatnonzero(held | (shapely.area(polygons) >= max(settings.smallest, 1e-300)))
    alive = big[without_doubles(polygons[big], rank[big])]
    out = _in_rounds(polygons[alive], scores[alive], held[alive], settings)
    large = np.array([p is not None and p.area >= settings.smallest for p in out], dtype=bool)
    kept = alive[large]
    moved = np.array([p is not polygons[k] for p, k in zip(out[large], kept, strict=True)])
    return WallsResult(out[large], kept, moved.astype(bool))


def _in_rounds(
    polygons: Polygons, scores: NDArray[np.float64], held: Flags, settings: Walls
) -> Polygons:
    """Share walls; a row in which a building is spoilt is done again with that one fixed."""
    near = _neighbours(polygons, settings.gap)
    rows = components(len(polygons), *near)
    count = int(rows.max(initial=-1)) + 1
    out = polygons.copy()
    fixed = held.copy()
    busy = np.bincount(rows, ~held, minlength=count) > 0
    todo = np.flatnonzero((np.bincount(rows, minlength=count)[rows] > 1) & busy[rows])
    for attempt in itertools.count():
        if len(todo) == 0:
            break
        out[todo], lost = _once(polygons[todo], scores[todo], (fixed[todo], held[todo]), settings)
        spoilt = _intruders(out, polygons, near)
        spoilt[todo] |= lost
        spoilt &= ~fixed
        again = np.isin(rows, rows[spoilt])
        todo = np.flatnonzero(again)
        if attempt >= PATIENCE:
            spoilt |= again
        elif attempt >= ROUNDS:
            spoilt[near[1][spoilt[near[0]]]] = True
        fixed |= spoilt
    return out


def _neighbours(polygons: Polygons, distance: float) -> tuple[Index, Index]:
    """Pairs (i, j) and (j, i) within a distance of each other, and (i, i)."""
    tree = shapely.STRtree(polygons)
    i, j = tree.query(polygons, predicate="dwithin", distance=distance)
    return i.astype(np.int64), j.astype(np.int64)


def _intruders(out: Polygons, originals: Polygons, near: tuple[Index, Index]) -> Flags:
    """Moved polygons (N,) that now meet one that was no neighbour."""
    i, j = pairs_that_meet(out)
    strange = ~np.isin(i * len(out) + j, near[0] * len(out) + near[1])
    moved = np.array([a is not b for a, b in zip(out, originals, strict=True)], dtype=bool)
    met = np.zeros(len(out), dtype=bool)
    met[i[strange]] = met[j[strange]] = True
    return np.asarray(met & moved)


def _once(
    polygons: Polygons, scores: NDArray[np.float64], still: tuple[Flags, Flags], settings: Walls
) -> tuple[Polygons, Flags]:
    """One round: the polygons, None where one is lost, and those not fixed that it spoilt.

    `still` says which are fixed, so that no neighbour pushes them, and which of these are
    held, so that none cuts them either.
    """
    fixed, held = still
    out, broken = polygons.copy(), np.zeros(len(polygons), dtype=bool)
    for _ in range(PASSES):
        here = np.flatnonzero(~shapely.is_missing(out))
        stiff = (fixed | broken)[here]
        shapes, new = _moved(out[here], scores[here], stiff, settings)
        broken[here] |= new
        order = np.lexsort((here, -scores[here], ~held[here]))
        crowd = Crowd(shapes, polygons[here], stiff, held[here])
        out[here] = separated(crowd, order, settings)
    change = np.abs(shapely.area(out) - shapely.area(polygons))
    spoilt = ~(change <= settings.most_change * shapely.area(polygons))
    spoilt |= broken | (_spiked(out) & ~_spiked(polygons))
    return out, spoilt & ~fixed


def _spiked(polygons: Polygons) -> Flags:
    """Polygons (N,) with a corner that is hardly more than a line."""
    here = np.flatnonzero(~shapely.is_missing(polygons))
    outlines = outlines_of(polygons[here])
    along = outlines.directions * outlines.side[:, None]
    back = (along * along[outlines.before]).sum(axis=1) < -np.cos(np.radians(SPIKE))
    spiked = np.zeros(len(polygons), dtype=bool)
    spiked[here[outlines.owner[back]]] = True
    return spiked


def _moved(
    polygons: Polygons, scores: NDArray[np.float64], fixed: Flags, settings: Walls
) -> tuple[Polygons, Flags]:
    """Polygons with their walls on the common lines, and which could not follow."""
    outlines = outlines_of(polygons)
    still = fixed[outlines.owner]
    weights = np.maximum(scores, 1e-3)[outlines.owner]
    lines = common_lines(outlines, facing_edges(outlines, settings), weights, still, settings)
    points = moved_corners(outlines, lines, 3 * settings.shift)
    points[still] = outlines.points[still]
    points = joined_corners(
        outlines, points, lines, np.where(still, np.inf, weights), settings.snap
    )
    into, out = lines.group[outlines.before], lines.group
    keep = ~((into >= 0) & (into == out)) | still
    touched = np.zeros(len(polygons), dtype=bool)
    touched[outlines.owner[(points != outlines.points).any(axis=1)]] = True
    shapes = rebuilt(outlines, points, keep, touched)
    good = shapely.is_valid(shapes)
    result, broken = polygons.copy(), np.zeros(len(polygons), dtype=bool)
    places = np.flatnonzero(touched)
    result[places[good]] = shapes[good]
    broken[places[~good]] = True
    return result, broken
