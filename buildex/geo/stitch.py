"""From what tiles saw to buildings: each once, and whole.

All coordinates are pixels of the mosaic's working grid. Pairs are found by an index, so the
work grows as n log n.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import Polygons, object_array, repaired, to_polygon, to_rings
from buildex.geo.rings import Ring, segment_distances
from buildex.geo.sightings import Sightings

Index = NDArray[np.int64]

ON_LINE = 0.01  # pixels: a vertex so near to a line between cores was made there


@dataclass(frozen=True)
class Stitched:
    """Buildings of the whole mosaic.

    Attributes:
        polygons: (N,) in pixels of the working grid.
        scores: (N,) the best of its sightings'.
        joined: (N,) whether it was put together from parts.
        edge: (N,) whether it touches the end of the mosaic.
    """

    polygons: Polygons
    scores: NDArray[np.float64]
    joined: NDArray[np.bool_]
    edge: NDArray[np.bool_]

    def take(self, index: NDArray[Any], polygons: Polygons | None = None) -> Stitched:
        """The buildings at the given positions, with other polygons if they are given."""
        shapes = self.polygons[index] if polygons is None else polygons
        return Stitched(shapes, self.scores[index], self.joined[index], self.edge[index])


@dataclass(frozen=True)
class Stitching:
    """Settings.

    Attributes:
        same: IoU from which two sightings are one building; for parts, the IoU of what
            both tiles could see of them.
        inside: share of the smaller one inside the larger from which they are one.
        smallest: area in pixels under which a building is dropped.
        seam: pixels; how far an outline may move where a seam's vertices are taken out.
    """

    same: float = 0.5
    inside: float = 0.7
    smallest: float = 100.0
    seam: float = 4.0


DEFAULT = Stitching()


def stitch(seen: Sightings, settings: Stitching = DEFAULT) -> Stitched:
    """Join parts and drop doubles; buildings may still overlap, see `geo.walls`."""
    owned = seen.owned
    polygons, rows = [], []
    for members in _parts_of_one(seen, settings):
        whole = _joined(seen, members, settings)
        if whole is None or whole.area < settings.smallest:
            continue
        complete = len(members) > 1 or not seen.cut[members[0]]
        rank = (~np.bool_(complete), ~owned[members].any(), -seen.scores[members].max())
        polygons.append(whole)
        rows.append((*rank, len(members) > 1, seen.edge[members].any()))
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    all_of_them = Stitched(
        object_array(polygons), -table[:, 2], table[:, 3].astype(bool), table[:, 4].astype(bool)
    )
    # Complete ones first, then those seen by the tile that owns them, then by score.
    order = np.lexsort((np.arange(len(table)), table[:, 2], table[:, 1], table[:, 0]))
    return all_of_them.take(_without_doubles(all_of_them.polygons, order, settings))


def overlapping_pairs(polygons: Polygons) -> tuple[Index, Index]:
    """Index pairs (i < j) of polygons whose interiors may meet, sorted."""
    if len(polygons) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    tree = shapely.STRtree(polygons)
    i, j = tree.query(polygons, predicate="intersects")
    once = i < j
    i, j = i[once], j[once]
    order = np.lexsort((j, i))
    return i[order].astype(np.int64), j[order].astype(np.int64)


def _parts_of_one(seen: Sightings, settings: Stitching) -> list[Index]:
    """Sightings grouped by building: cut parts that agree where both tiles could see."""
    parent = list(range(len(seen)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for i, j in _cut_pairs(seen):
        if _agree(seen, i, j, settings.same):
            parent[root(j)] = root(i)
    groups: dict[int, list[int]] = {}
    for k in range(len(seen)):
        groups.setdefault(root(k), []).append(k)
    return [np.array(members, dtype=np.int64) for members in groups.values()]


def _cut_pairs(seen: Sightings) -> Iterator[tuple[int, int]]:
    cut = np.flatnonzero(seen.cut)
    i, j = overlapping_pairs(seen.polygons[cut])
    for a, b in zip(cut[i].tolist(), cut[j].tolist(), strict=True):
        if (seen.boxes[a] != seen.boxes[b]).any():
            yield a, b


def _agree(seen: Sightings, i: int, j: int, same: float) -> bool:
    """Whether two parts match in the area that both of their tiles cover."""
    low = np.maximum(seen.boxes[i, :2], seen.boxes[j, :2])
    high = np.minimum(seen.boxes[i, 2:], seen.boxes[j, 2:])
    if (high <= low).any():
        return False
    zone = shapely.box(*low, *high)
    a, b = (
        shapely.intersection(seen.polygons[i], zone),
        shapely.intersection(seen.polygons[j], zone),
    )
    union = shapely.union(a, b).area
    return bool(union > 0 and shapely.intersection(a, b).area / union >= same)


def _joined(seen: Sightings, members: Index, settings: Stitching) -> shapely.Polygon | None:
    """One building of its parts: each tile says what lies in its core.

    Where no member's core reaches, as beside a tile that missed the building, the parts are
    united as they are. Cores meet in lines, and only there the joining makes vertices.
    """
    if len(members) == 1:
        return seen.polygons[members[0]]
    cores = shapely.box(*seen.cores[members].T)
    own = shapely.intersection(seen.polygons[members], cores)
    rest = shapely.difference(shapely.union_all(seen.polygons[members]), shapely.union_all(cores))
    parts = repaired(shapely.union_all([*own, rest]))
    if not parts:
        return None
    lines = seen.cores[members]
    lines_x, lines_y = np.unique(lines[:, [0, 2]]), np.unique(lines[:, [1, 3]])
    rings = [
        _without_seam(ring, lines_x, lines_y, settings.seam)
        for ring in to_rings(parts[0])
        if shapely.Polygon(ring).area > 4 * settings.seam**2
    ]
    mended = to_polygon(tuple(rings)) if rings else parts[0]
    return mended if mended.is_valid else parts[0]


def _without_seam(ring: Ring, lines_x: Ring, lines_y: Ring, most: float) -> Ring:
    """Take out the vertices on lines between cores, but for those a wall of `most` needs."""
    while len(ring) > 4:
        made = np.abs(ring[:, :1] - lines_x).min(axis=1) <= ON_LINE
        made |= np.abs(ring[:, 1:] - lines_y).min(axis=1) <= ON_LINE
        if not made.any():
            break
        before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
        need = np.full(len(ring), np.inf)
        for k in np.flatnonzero(made):
            need[k] = segment_distances(ring[k : k + 1], before[k], after[k])[0]
        least = int(np.argmin(need))
        if need[least] > most:
            break
        ring = np.delete(ring, least, axis=0)
    return ring


def _without_doubles(polygons: Polygons, order: Index, settings: Stitching) -> Index:
    """Positions of the polygons that no better one already stands for, in the given order."""
    i, j = overlapping_pairs(polygons)
    both = shapely.area(shapely.intersection(polygons[i], polygons[j]))
    areas = shapely.area(polygons)
    smaller = np.minimum(areas[i], areas[j])
    iou = both / np.maximum(areas[i] + areas[j] - both, 1e-12)
    one = (iou >= settings.same) | (both >= settings.inside * np.maximum(smaller, 1e-12))
    rivals: dict[int, list[int]] = {}
    for a, b in zip(i[one].tolist(), j[one].tolist(), strict=True):
        rivals.setdefault(a, []).append(b)
        rivals.setdefault(b, []).append(a)
    gone = np.zeros(len(polygons), dtype=bool)
    done = np.zeros(len(polygons), dtype=bool)
    for k in order.tolist():
        if gone[k]:
            continue
        done[k] = True
        for other in rivals.get(k, ()):
            if not done[other]:
                gone[other] = True
    return np.flatnonzero(~gone)
