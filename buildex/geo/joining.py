"""Parts of one building that several tiles saw cut, put together again.

All coordinates are pixels of the mosaic's working grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import Polygons, repaired, to_polygon, to_rings
from buildex.geo.rings import Ring, signed_area
from buildex.geo.sightings import Sightings

Index = NDArray[np.int64]

ON_LINE = 0.01  # pixels: a vertex so near to a line between cores was made there


def agreeing(
    seen: Sightings, i: Index, j: Index, both: NDArray[np.float64], same: float
) -> NDArray[np.bool_]:
    """Which pairs of sightings are parts of one building.

    Both must be cut, by different tiles, and match in the zone that both of these tiles cover.
    A piece there of one that does not meet the other says nothing of it: one tile may see the
    arms of a building joined by what lies beyond the other's end.

    Args:
        seen: the sightings.
        i: (P,) their positions in it.
        j: (P,) of their partners.
        both: (P,) area of their intersection, which lies in that zone.
        same: IoU in the zone from which they match.
    """
    agree: NDArray[np.bool_] = (
        seen.cut[i] & seen.cut[j] & (seen.boxes[i] != seen.boxes[j]).any(axis=1)
    )
    low = np.maximum(seen.boxes[i, :2], seen.boxes[j, :2])
    high = np.minimum(seen.boxes[i, 2:], seen.boxes[j, 2:])
    agree &= (high > low).all(axis=1)
    asked = np.flatnonzero(agree)
    zones = shapely.box(*low[asked].T, *high[asked].T)
    a, b = (shapely.intersection(seen.polygons[k[asked]], zones) for k in (i, j))
    union = _met(a, b) + _met(b, a) - both[asked]
    agree[asked] = (union > 0) & (both[asked] >= same * union)
    return agree


def _met(shapes: NDArray[np.object_], others: NDArray[np.object_]) -> NDArray[np.float64]:
    """Area (P,) of those pieces of shapes (P,) that share ground with the other one (P,)."""
    pieces, pair = shapely.get_parts(shapes, return_index=True)
    shared = shapely.area(shapely.intersection(pieces, others[pair])) > 0
    areas = np.where(shared, shapely.area(pieces), 0.0)
    return np.bincount(pair, areas, len(shapes)).astype(np.float64)


def joined(seen: Sightings, groups: Sequence[Index], seam: float) -> Polygons:
    """Buildings of their parts: each tile says what lies in its core.

    Where no member's core reaches, as beside a tile that missed the building, the parts are
    united as they are. Cores meet in lines, and only there the joining makes vertices.

    Args:
        seen: the sightings.
        groups: (G,) for each building the positions of its parts, two or more.
        seam: pixels; how far an outline may move where a seam's vertices are taken out.

    Returns:
        (G,) buildings; None where nothing with area is left.
    """
    out = np.full(len(groups), None, dtype=object)
    sizes = np.array([len(members) for members in groups], dtype=np.int64)
    for size in np.unique(sizes):
        which = np.flatnonzero(sizes == size).tolist()
        members = np.stack([groups[k] for k in which])
        for k, rows, whole in zip(which, members, _united(seen, members), strict=True):
            out[k] = _mended(whole, seen.cores[rows], seam)
    return out


def _united(seen: Sightings, members: Index) -> Polygons:
    """What the tiles say of buildings of k parts each (G, k), as geometries (G,)."""
    parts = seen.polygons[members]
    cores = shapely.box(*np.moveaxis(seen.cores[members], -1, 0))
    own = shapely.intersection(parts, cores)
    rest = shapely.difference(shapely.union_all(parts, axis=1), shapely.union_all(cores, axis=1))
    return np.asarray(shapely.union_all(np.column_stack([own, rest]), axis=1))


def _mended(whole: shapely.Geometry, cores: Ring, seam: float) -> shapely.Polygon | None:
    """The largest polygon of a joined building, without what the seams (of cores (k, 4)) made."""
    parts = repaired(whole)
    if not parts:
        return None
    lines_x, lines_y = np.unique(cores[:, [0, 2]]), np.unique(cores[:, [1, 3]])
    rings = [
        _without_seam(ring, lines_x, lines_y, seam)
        for ring in to_rings(parts[0])
        if abs(signed_area(ring)) > 4 * seam**2
    ]
    mended = to_polygon(tuple(rings)) if rings else parts[0]
    return mended if mended.is_valid else parts[0]


def _without_seam(ring: Ring, lines_x: Ring, lines_y: Ring, most: float) -> Ring:
    """Take out the vertices on lines between cores, but for those a wall of `most` needs."""
    while len(ring) > 4:
        made = np.abs(ring[:, :1] - lines_x).min(axis=1) <= ON_LINE
        made |= np.abs(ring[:, 1:] - lines_y).min(axis=1) <= ON_LINE
        at = np.flatnonzero(made)
        if len(at) == 0:
            break
        need = _heights(ring[at], ring[at - 1], ring[(at + 1) % len(ring)])
        least = int(np.argmin(need))
        if need[least] > most:
            break
        ring = np.delete(ring, at[least], axis=0)
    return ring


def _heights(points: Ring, starts: Ring, ends: Ring) -> NDArray[np.float64]:
    """Distance (K,) of points (K, 2) from the segment (K, 2) to (K, 2) beside each."""
    along = ends - starts
    share = ((points - starts) * along).sum(axis=1) / np.maximum((along**2).sum(axis=1), 1e-12)
    nearest = starts + along * share.clip(0, 1)[:, None]
    distance: NDArray[np.float64] = np.hypot(*(points - nearest).T)
    return distance
