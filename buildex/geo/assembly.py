"""Areas from lines: rings joined end to end, courtyards put into outlines, parts under outlines.

Lines are arrays (N, 2) whose ends meet exactly: in OpenStreetMap they share a node.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import Polygons

Line = NDArray[np.float64]  # (N, 2)

COVERED = 0.5  # share of its area from which a hole or a part lies in an outline


def is_ring(line: Line) -> bool:
    """Whether a line is closed and has three corners or more, so that it can bound an area."""
    return len(line) >= 4 and bool(np.all(line[0] == line[-1]))


def joined(lines: Sequence[Line]) -> tuple[list[Line], bool]:
    """Closed rings from lines in any order and direction.

    Returns:
        The rings, first point repeated at the end, and whether all lines went into one.
        Where more than two lines end in a point, it is left to chance which are joined.
    """
    rings = [line for line in lines if is_ring(line)]
    loose = [line for line in lines if len(line) >= 2 and not is_ring(line)]
    whole = len(rings) + len(loose) == len(lines)
    while loose:
        chain = loose.pop()
        while not np.array_equal(chain[0], chain[-1]):
            follower = _follower(chain[-1], loose)
            if follower is None:
                break
            chain = np.concatenate([chain, follower[1:]])
        if is_ring(chain):
            rings.append(chain)
        else:
            whole = False
    return rings, whole


def area(outers: Sequence[Line], inners: Sequence[Line]) -> shapely.Geometry | None:
    """The polygons that outlines and holes bound, as a MultiPolygon that is not repaired.

    Each hole goes to the smallest outline around it; one that lies in none is left out, and
    so is one that does not close.

    Returns:
        None where an outline is missing or does not close.
    """
    rings, whole = joined(outers)
    if not rings or not whole:
        return None
    outlines = shapely.make_valid([shapely.Polygon(ring) for ring in rings])
    sizes = shapely.area(outlines)
    holes: list[list[Line]] = [[] for _ in rings]
    for hole in joined(inners)[0]:
        yard = shapely.make_valid(shapely.Polygon(hole))
        inside = shapely.area(shapely.intersection(outlines, yard))
        around = np.flatnonzero(inside > COVERED * yard.area)
        if len(around):
            holes[around[np.argmin(sizes[around])]].append(hole)
    parts = [shapely.Polygon(ring, own) for ring, own in zip(rings, holes, strict=True)]
    return shapely.MultiPolygon(parts)


def lone_parts(parts: Polygons, outlines: Polygons) -> NDArray[np.bool_]:
    """Which parts of buildings stand alone: no outline, nor a larger part, lies over them.

    Args:
        parts: (N,) valid polygons, such as the storeys and wings of 3D mapping.
        outlines: (M,) valid polygons of whole buildings.
    """
    alone = np.zeros(len(parts), dtype=bool)
    over = shapely.STRtree(outlines)
    own = shapely.STRtree(parts)
    for number in np.argsort(-shapely.area(parts), kind="stable"):
        part = parts[number]
        above = list(outlines[over.query(part, predicate="intersects")])
        nearby = own.query(part, predicate="intersects")
        above += list(parts[nearby[alone[nearby]]])
        covered = shapely.intersection(part, shapely.union_all(above)).area if above else 0.0
        alone[number] = covered < COVERED * part.area
    return alone


def _follower(end: Line, loose: list[Line]) -> Line | None:
    """The line that goes on from a point, in that direction; taken out of the list."""
    for index, line in enumerate(loose):
        if np.array_equal(line[0], end):
            return loose.pop(index)
        if np.array_equal(line[-1], end):
            return loose.pop(index)[::-1]
    return None
