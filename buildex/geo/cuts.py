"""Overlaps that are left are cut off the building with the lower score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely

from buildex.geo.footprints import Polygons, repaired, to_rings
from buildex.geo.junctions import exact_junctions
from buildex.geo.outlines import Flags, Index, Points
from buildex.geo.rings import segment_distances, turning_angles
from buildex.geo.wall_lines import Walls

NOTHING = 1e-12  # area of an overlap that is rounding, in squared units
MOST_LOST = 0.5
ROUNDS = 6
CRUMB = 10.0  # hairs; an edge shorter than this is none
SPIKE = 5.0  # degrees; a sharper corner is none


def pairs_that_meet(polygons: Polygons) -> tuple[Index, Index]:
    """Index pairs (i < j) of polygons that touch or overlap, sorted."""
    if len(polygons) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    i, j = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    once = i < j
    i, j = i[once], j[once]
    order = np.lexsort((j, i))
    return i[order].astype(np.int64), j[order].astype(np.int64)


def without_doubles(polygons: Polygons, rank: Index) -> Index:
    """Positions of polygons that do not lie to more than half inside better ones, rising.

    Args:
        polygons: (N,) valid.
        rank: (N,) a lower one is better.
    """
    i, j = pairs_that_meet(polygons)
    shared = shapely.area(shapely.intersection(polygons[i], polygons[j]))
    better, worse = np.where(rank[i] < rank[j], (i, j), (j, i))
    areas = shapely.area(polygons)
    doubtful = np.bincount(worse, shared, len(polygons)) > MOST_LOST * areas
    gone = np.zeros(len(polygons), dtype=bool)
    rivals: dict[int, list[int]] = {}
    for a, b in zip(better.tolist(), worse.tolist(), strict=True):
        rivals.setdefault(b, []).append(a)
    for index in sorted(np.flatnonzero(doubtful).tolist(), key=rank.__getitem__):
        winners = [polygons[k] for k in rivals[index] if not gone[k]]
        left = shapely.difference(polygons[index], shapely.union_all(winners)).area
        gone[index] = left < (1 - MOST_LOST) * areas[index]
    return np.flatnonzero(~gone)


class Crowd(NamedTuple):
    """Polygons that may overlap.

    Attributes:
        polygons: (N,) valid.
        originals: (N,) the polygons before they were moved.
        fixed: (N,) those that no neighbour may push.
        held: (N,) those that stay bit for bit; the best of all, and apart from each other.
    """

    polygons: Polygons
    originals: Polygons
    fixed: Flags
    held: Flags


def separated(crowd: Crowd, order: Index, settings: Walls) -> Polygons:
    """Take overlaps out: first by moving single corners, then by cutting the lower scores.

    Args:
        crowd: the polygons.
        order: (N,) their positions, best first.
        settings: how far corners may move and how junctions are made exact.

    Returns:
        Polygons (N,); None for one that lost more than half of what it was.
    """
    out = crowd.polygons.copy()
    loose = np.array([a is not b for a, b in zip(out, crowd.originals, strict=True)], dtype=bool)
    rank = np.empty(len(out), dtype=np.int64)
    rank[order] = np.arange(len(out))
    here = np.arange(len(out))
    for attempt in range(ROUNDS):
        shapes, changed = exact_junctions(out[here], settings, loose[here])
        changed &= ~crowd.held[here]
        out[here[changed]], loose[here[changed]] = shapes[changed], True
        i, j = (here[index] for index in _overlaps(out[here]))
        both_held = crowd.held[i] & crowd.held[j]
        i, j = i[~both_held], j[~both_held]
        if len(i) == 0:
            break
        loose[i] = loose[j] = True
        better, worse = np.where(rank[i] < rank[j], (i, j), (j, i))
        turn = np.lexsort((rank[better], rank[worse]))
        pairs = list(zip(better[turn].tolist(), worse[turn].tolist(), strict=True))
        if attempt == 0:
            pairs = [pair for pair in pairs if not _withdrawn(out, pair, crowd.fixed, settings)]
        _cut(out, pairs, settings, apart=attempt >= ROUNDS - 2)
        busy = np.union1d(i, j)
        left = shapely.area(out[busy]) >= (1 - MOST_LOST) * shapely.area(crowd.originals[busy])
        out[busy[~left]] = None
        here = _around(out, busy[left], 2 * settings.hair)
    return out


def _around(out: Polygons, changed: Index, distance: float) -> Index:
    """Polygons within a distance of one of those that were changed, which are, too; rising."""
    there = np.flatnonzero(~shapely.is_missing(out))
    _, near = shapely.STRtree(out[there]).query(
        out[changed], predicate="dwithin", distance=distance
    )
    around: Index = there[np.unique(near)].astype(np.int64)
    return around


def _overlaps(polygons: Polygons) -> tuple[Index, Index]:
    i, j = pairs_that_meet(polygons)
    shared = shapely.area(shapely.intersection(polygons[i], polygons[j])) > NOTHING
    return i[shared], j[shared]


def _withdrawn(out: Polygons, pair: tuple[int, int], fixed: Flags, settings: Walls) -> bool:
    """Whether an overlap could be taken out by moving corners: they are replaced in `out`.

    The worse one's corners draw back, else the better one's, else those of both.
    """
    better, worse = pair
    a, b = out[better], out[worse]
    a_back = a if fixed[better] else _drawn_back(a, b, settings.shift)
    b_back = b if fixed[worse] else _drawn_back(b, a, settings.shift)
    for one, two in ((a, b_back), (a_back, b), (a_back, b_back)):
        if one is None or two is None or (one is a and two is b):
            continue
        if shapely.area(shapely.intersection(one, two)) <= settings.hair * two.length:
            out[better], out[worse] = one, two
            return True
    return False


def _drawn_back(
    polygon: shapely.Polygon, other: shapely.Polygon, reach: float
) -> shapely.Polygon | None:
    """A polygon whose corners inside another are moved to its outline; None if that is far."""
    points = shapely.get_coordinates(polygon)
    inside = shapely.contains_xy(other, points)
    if not inside.any():
        return polygon
    ways = shapely.shortest_line(shapely.points(points[inside]), other.boundary)
    if shapely.length(ways).max() > reach:
        return None
    points[inside] = shapely.get_coordinates(shapely.get_point(ways, 1))
    moved = shapely.transform(polygon, lambda _: points)
    return moved if moved.is_valid else None


def _cut(out: Polygons, pairs: list[tuple[int, int]], settings: Walls, apart: bool) -> None:
    """Cut the worse of each pair by the better, if need be with some hairs between them."""
    for better, worse in pairs:
        winner, loser = out[better], out[worse]
        if winner is None or loser is None:
            continue
        knife = winner.buffer(2 * CRUMB * settings.hair, join_style="mitre") if apart else winner
        parts = repaired(shapely.difference(loser, knife))
        if not parts:
            out[worse] = None
        else:
            out[worse] = tidied(parts[0], loser, settings.hair)


def tidied(polygon: shapely.Polygon, before: shapely.Polygon, hair: float) -> shapely.Polygon:
    """A polygon without the spikes, crumbs and straight points that a cut has made.

    Args:
        polygon: what was left by a cut.
        before: the polygon that was cut; its own points stay, unless they are spikes.
        hair: how far a point may lie from the straight line past it.
    """
    known = {tuple(point) for point in shapely.get_coordinates(before).tolist()}
    rings = [_tidy_ring(ring, known, hair) for ring in to_rings(polygon)]
    if len(rings[0]) < 3:
        return polygon
    tidy = shapely.Polygon(rings[0], [hole for hole in rings[1:] if len(hole) >= 3])
    return tidy if tidy.is_valid else polygon


def _tidy_ring(ring: Points, known: set[tuple[float, ...]], hair: float) -> Points:
    while len(ring) > 3:
        turn = turning_angles(ring)
        fresh = np.array([tuple(point) not in known for point in ring.tolist()], dtype=bool)
        sag = np.array(
            [
                segment_distances(ring[k : k + 1], ring[k - 1], ring[(k + 1) % len(ring)])[0]
                for k in range(len(ring))
            ]
        )
        step = np.hypot(*(ring - np.roll(ring, 1, axis=0)).T)
        useless = (turn > 180 - SPIKE) | (fresh & (sag <= hair)) | (step <= CRUMB * hair)
        if not useless.any():
            break
        crumb = np.where(step <= CRUMB * hair, 1e4, 0.0)
        worst = int(np.argmax(np.where(useless, 1 + crumb + turn, 0.0)))
        ring = np.delete(ring, worst, axis=0)
    return ring
