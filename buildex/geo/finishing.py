"""From stitched outlines to footprints: square them up, let neighbours share walls, describe.

Everything here is in ground metres of a metric CRS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.axes import orientations, squareness
from buildex.geo.footprints import Polygons, object_array, repaired, sound
from buildex.geo.regularize import Regularizing, regularize
from buildex.geo.walls import Walls, WallsResult, share_walls

Values = NDArray[np.float64]
Index = NDArray[np.int64]

SURE = 0.7  # share of sure corners from which an outline is left nearly as it is
SPUR = 0.003  # share of a building's area from which a narrow part is taken off


@dataclass(frozen=True)
class Finishing:
    """Settings; lengths in metres, areas in square metres.

    Attributes:
        regularizing: how outlines are squared up.
        surest: largest deviation of outlines of whose corners `SURE` or more are sure keypoints.
        walls: how neighbours come to share one wall; its `smallest` drops what is too small.
        narrowest: what is narrower is no building, nor a part of one.
        smallest_part: a part that something narrower held to its building goes with it, but is a
            building from this area on: nobody has seen it as one, so it is more than a hut.
        smallest_hole: a hole smaller than this is a light well or a dark spot of the roof, and
            filled: mappers draw courtyards alone.
    """

    regularizing: Regularizing = field(default_factory=Regularizing)
    surest: float = 0.1
    walls: Walls = field(default_factory=Walls)
    narrowest: float = 0.5
    smallest_part: float = 10.0
    smallest_hole: float = 10.0


@dataclass(frozen=True)
class Squared:
    """Outlines by themselves: K of N, as one may fall apart where it is too narrow.

    Attributes:
        polygons: (K,) valid polygons.
        origin: (K,) which of the given ones they come from, rising.
        status: (K,) what squaring did, see `geo.regularize.Regularized.status`.
    """

    polygons: Polygons
    origin: Index
    status: NDArray[np.str_]


@dataclass(frozen=True)
class Finished:
    """Valid polygons (K,) that do not overlap.

    Attributes:
        polygons: (K,), outlines counter-clockwise.
        kept: (K,) which of the given ones they come from, rising.
        columns: what can be said of each from its shape: `area_m2`, `n_vertices`,
            `orientation` (bearing of the main axis, 0 to 89.9 degrees clockwise from grid
            north), `squareness` (share of edges along the main axes), `regularized` (see
            `geo.regularize.Regularized.status`).
    """

    polygons: Polygons
    kept: Index
    columns: Mapping[str, NDArray[Any]]


def finish(
    polygons: Polygons, scores: Values, settings: Finishing, sure: Values | None = None
) -> Finished:
    """Regularize, share walls, remove overlaps, describe.

    Args:
        polygons: (N,) valid polygons; they may overlap.
        scores: (N,); what overlaps goes to the higher one.
        settings: how.
        sure: (N,) share of each one's vertices that are sure keypoints; 0 if not given.
    """
    alone = squared(polygons, settings, sure)
    walled = share_walls(alone.polygons, scores[alone.origin], settings.walls)
    done = described(walled, alone.status, settings)
    return replace(done, kept=alone.origin[done.kept])


def squared(polygons: Polygons, settings: Finishing, sure: Values | None = None) -> Squared:
    """Regularize, each by itself; those of sure corners more gently: a step in them is a step.

    Args:
        polygons: (N,) valid polygons.
        settings: how.
        sure: (N,) share of each one's vertices that are sure keypoints; 0 if not given.
    """
    usual = settings.regularizing
    polygons = without_holes(polygons, settings.smallest_hole)
    polygons, origin = without_spurs(polygons, settings.narrowest, settings.smallest_part)
    gentle = np.zeros(len(origin), dtype=bool)
    if sure is not None and settings.surest < usual.tolerance:
        gentle = sure[origin] >= SURE
    out, status = polygons.copy(), np.empty(len(origin), dtype="U11")
    for mine, how in ((~gentle, usual), (gentle, replace(usual, tolerance=settings.surest))):
        done = regularize(polygons[mine], how)
        out[mine], status[mine] = done.polygons, done.status
    return Squared(out, origin, status)


def described(walled: WallsResult, status: NDArray[np.str_], settings: Finishing) -> Finished:
    """What came of sharing walls, without what is too narrow, and what can be said of it.

    Args:
        walled: buildings that do not overlap.
        status: (N,) what squaring did to each of those that were given.
        settings: how narrow is too narrow.
    """
    wide = ~shapely.is_empty(shapely.buffer(walled.polygons, -settings.narrowest / 2))
    kept = walled.kept[wide]
    shapes = object_array([shapely.orient_polygons(p) for p in walled.polygons[wide]])
    columns = {
        "area_m2": np.round(shapely.area(shapes), 2),
        "n_vertices": vertex_counts(shapes),
        "orientation": np.round(orientations(shapes), 1) % 90.0,  # 89.96 is 0, too
        "squareness": np.round(squareness(shapes), 3),
        "regularized": status[kept].astype(object),
    }
    return Finished(shapes, kept, columns)


def without_holes(polygons: Polygons, smallest: float) -> Polygons:
    """Polygons whose holes smaller than `smallest` (area) are filled; others stay as they are."""
    out = polygons.copy()
    for k in np.flatnonzero(shapely.get_num_interior_rings(polygons)):
        outline = shapely.get_exterior_ring(polygons[k])
        holes = [shapely.Polygon(ring) for ring in polygons[k].interiors]
        kept = [hole.exterior for hole in holes if hole.area >= smallest]
        out[k] = shapely.Polygon(outline, kept)
    return out


def without_spurs(
    polygons: Polygons, narrowest: float, smallest_part: float
) -> tuple[Polygons, Index]:
    """Polygons without the parts that are narrower than `narrowest`; others stay as they are.

    Morphological opening with mitred corners, which gives a polygon back whose walls are
    all farther apart. One that is narrow throughout stays.

    Args:
        polygons: (N,) polygons.
        narrowest: width.
        smallest_part: area from which not only the largest part of one that falls apart stays.

    Returns:
        Polygons (K,), and which of the given ones each comes from (K,), rising.
    """
    polygons = sound(polygons)
    style = {"join_style": "mitre", "mitre_limit": 8.0}
    eroded = shapely.buffer(polygons, -narrowest / 2, **style)
    opened = shapely.buffer(eroded, narrowest / 2, **style)
    opened = shapely.make_valid(opened, method="structure", keep_collapsed=False)
    wide = shapely.intersection(opened, polygons)
    lost = shapely.area(polygons) - shapely.area(wide) > SPUR * shapely.area(polygons)
    out = [[polygon] for polygon in polygons]
    for k in np.flatnonzero(lost):
        first, *others = repaired(wide[k]) or out[k]
        out[k] = [first, *(part for part in others if part.area >= smallest_part)]
    origin = np.array([k for k, parts in enumerate(out) for _ in parts], dtype=np.int64)
    return object_array([part for parts in out for part in parts]), origin


def vertex_counts(polygons: Polygons) -> NDArray[np.int64]:
    """Vertices (N,) of all rings; a ring's closing point is none."""
    rings = 1 + shapely.get_num_interior_rings(polygons)
    counts: NDArray[np.int64] = (shapely.get_num_coordinates(polygons) - rings).astype(np.int64)
    return counts
