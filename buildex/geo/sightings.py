"""What tiles saw: one polygon per building and tile, in pixels of the working grid.

A sighting is cut where it comes near an edge of its tile that is not the mosaic's edge: the
building goes on in the next tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

from buildex.geo.boxes import PixelBox
from buildex.geo.contours import contours
from buildex.geo.footprints import Polygons, object_array, repaired, to_polygon
from buildex.geo.grouping import Grouped
from buildex.geo.tiles import Cover, TilePlace

SPECK = 400  # pixels: less without ground is a hole in the mosaic, and no end of it
REACH = 2  # pixels: what is nearer touches


@dataclass(frozen=True)
class Sightings:
    """What all tiles saw.

    Attributes:
        polygons: (N,) shapely Polygons, valid.
        scores: (N,) 0..1.
        sure: (N,) share of the vertices that are sure keypoints, 0..1.
        boxes: (N, 4) the box of the tile that saw it: x0, y0, x1, y1.
        cores: (N, 4) the part of the mosaic that this tile owns; cores divide the mosaic.
        cut: (N,) whether it touches an inner edge of that tile.
        edge: (N,) whether it touches the end of the mosaic: its frame, or nodata.
    """

    polygons: Polygons
    scores: NDArray[np.float64]
    sure: NDArray[np.float64]
    boxes: NDArray[np.float64]
    cores: NDArray[np.float64]
    cut: NDArray[np.bool_]
    edge: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.polygons)

    def take(self, kept: NDArray[np.bool_]) -> Sightings:
        """Those that are kept (N,)."""
        return Sightings(
            self.polygons[kept], self.scores[kept], self.sure[kept], self.boxes[kept],
            self.cores[kept], self.cut[kept], self.edge[kept],
        )  # fmt: skip

    @property
    def owned(self) -> NDArray[np.bool_]:
        """Whether the tile that saw it owns its centre (N,)."""
        centre = shapely.get_coordinates(shapely.centroid(self.polygons)).reshape(-1, 2)
        after = (centre >= self.cores[:, :2]).all(axis=1)
        inside: NDArray[np.bool_] = after & (centre < self.cores[:, 2:]).all(axis=1)
        return inside

    @classmethod
    def collect(cls, rows: Sequence[Sighting]) -> Sightings:
        """Many single sightings as columns."""
        return cls(
            polygons=object_array([r.polygon for r in rows]),
            scores=np.array([r.score for r in rows], dtype=np.float64),
            sure=np.array([r.sure for r in rows], dtype=np.float64),
            boxes=_corners([r.box for r in rows]),
            cores=_corners([r.core for r in rows]),
            cut=np.array([r.cut for r in rows], dtype=bool),
            edge=np.array([r.edge for r in rows], dtype=bool),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Sightings]) -> Sightings:
        """Sightings of several tiles, in their order; at least one part."""
        return cls(
            np.concatenate([p.polygons for p in parts]),
            np.concatenate([p.scores for p in parts]),
            np.concatenate([p.sure for p in parts]),
            np.concatenate([p.boxes for p in parts]),
            np.concatenate([p.cores for p in parts]),
            np.concatenate([p.cut for p in parts]),
            np.concatenate([p.edge for p in parts]),
        )


class Sighting(NamedTuple):
    """One polygon from one tile; the fields are those of `Sightings`."""

    polygon: shapely.Polygon
    score: float
    sure: float
    box: PixelBox
    core: PixelBox
    cut: bool
    edge: bool


def sightings_of(
    found: Sequence[Grouped],
    valid: NDArray[np.bool_],
    place: TilePlace,
    tiles: Cover,
    smallest: float,
    smallest_part: float = 0.0,
) -> Iterator[Sighting]:
    """The polygons of one tile, valid, inside it and its ground, in pixels of the working grid.

    A building that a strip without ground or the tile's edge divides gives a sighting for each of
    its parts that is large enough.

    Args:
        found: buildings in tile pixels.
        valid: (h, w) pixels of the tile that show ground.
        place: the tile.
        tiles: all tiles.
        smallest: area in pixels under which a polygon is no building.
        smallest_part: the same of what is not the largest part of one.
    """
    box, core = place.box, tiles.core(place.row, place.col)
    view = shapely.box(box.x0, box.y0, box.x1, box.y1)
    shown = _shown(valid)
    ended = None if shown is None else _near_nothing(shown)
    ground = None if shown is None else _ground(shown, box)
    for rings, score, sure in found:
        moved = tuple(ring + np.array([box.x0, box.y0]) for ring in rings)
        parts = _inside(repaired(to_polygon(moved))[:1], view)
        parts = parts if ground is None else _inside(parts, ground)
        largest = max((part.area for part in parts), default=0.0)
        for part in parts:
            if part.area < (smallest if part.area == largest else max(smallest, smallest_part)):
                continue
            cut = _touches_inner_edge(part.bounds, place, tiles)
            edge = _touches_frame(part.bounds, tiles) or _touches_nothing(part, ended, box)
            yield Sighting(part, score, sure, box, core, cut, edge)


def _inside(polygons: list[shapely.Polygon], region: shapely.Geometry) -> list[shapely.Polygon]:
    """What of polygons lies in a region, piece by piece; one all inside stays as it is."""
    out: list[shapely.Polygon] = []
    for polygon in polygons:
        whole = shapely.contains_properly(region, polygon)
        out += [polygon] if whole else repaired(shapely.intersection(polygon, region))
    return out


def _shown(valid: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Pixels that show ground, and a pixel around them; None where all of a tile does.

    Specks without ground are no end of it, unless they reach the tile's own end: how they go
    on is not known here.
    """
    if valid.all():
        return None
    shown: NDArray[np.bool_] = binary_dilation(valid)
    holes, _ = label(~shown, np.ones((3, 3)))
    large = np.bincount(holes.ravel()) > SPECK
    for side in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        large[side] = True
    shown |= ~large[holes]
    return None if shown.all() else shown


def _near_nothing(shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels near one without ground; `shown` has a pixel around the ground, too."""
    near: NDArray[np.bool_] = binary_dilation(~shown, iterations=REACH + 1)
    return near


def _ground(shown: NDArray[np.bool_], box: PixelBox) -> shapely.Geometry:
    """What of a tile is ground: a network guesses how a roof goes on in what is black.

    Nobody has seen that. An outline in a hole is ground again.
    """
    rings = [shapely.LinearRing(ring) for ring in contours(shown.astype(np.float64))]
    ground = shapely.build_area(shapely.GeometryCollection(rings))
    moved = shapely.affinity.translate(shapely.simplify(ground, 1.0), box.x0, box.y0)
    shapely.prepare(moved)
    return moved


def _touches_nothing(
    polygon: shapely.Polygon, ended: NDArray[np.bool_] | None, box: PixelBox
) -> bool:
    if ended is None:
        return False
    points = shapely.get_coordinates(shapely.segmentize(polygon, 1.0)) - (box.x0, box.y0)
    col, row = np.clip(points.astype(np.int64), 0, np.array(ended.shape)[::-1] - 1).T
    return bool(ended[row, col].any())


def _corners(boxes: Sequence[PixelBox]) -> NDArray[np.float64]:
    table = [(box.x0, box.y0, box.x1, box.y1) for box in boxes]
    return np.array(table, dtype=np.float64).reshape(-1, 4)


def _touches_frame(bounds: tuple[float, float, float, float], tiles: Cover) -> bool:
    """Whether a polygon comes near one of the four sides of the grid."""
    inner = min(bounds[0], bounds[1], tiles.width - bounds[2], tiles.height - bounds[3])
    return inner < REACH


def _touches_inner_edge(
    bounds: tuple[float, float, float, float], place: TilePlace, tiles: Cover
) -> bool:
    """Whether a polygon comes near a tile edge that is not the grid's."""
    box = place.box
    return bool(
        (place.col > 0 and bounds[0] - box.x0 < REACH)
        or (place.row > 0 and bounds[1] - box.y0 < REACH)
        or (place.col < tiles.cols - 1 and box.x1 - bounds[2] < REACH)
        or (place.row < tiles.rows - 1 and box.y1 - bounds[3] < REACH)
    )
