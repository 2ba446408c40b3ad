"""From what tiles saw to buildings: each once, and whole, while tiles still come in.

Sightings that may be one building are kin; a family is settled when no later tile can reach
it, and only then it becomes buildings. So a mosaic of any height is stitched with the
sightings of about one row of tiles in memory. Pairs are found by an index: the work grows as
n log n. All coordinates are pixels of the mosaic's working grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.components import components
from buildex.geo.footprints import Polygons, object_array
from buildex.geo.joining import Index, agreeing, joined
from buildex.geo.sightings import Sightings

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]

KIN = 0.05  # share of the smaller of two sightings under the other from which they are kin


@dataclass(frozen=True)
class Stitched:
    """Buildings of the mosaic, or of a part of it.

    Attributes:
        polygons: (N,) in pixels of the working grid.
        scores: (N,) the best of its sightings'.
        sure: (N,) share of the vertices that are sure keypoints, of the least sure part.
        joined: (N,) whether it was put together from parts.
        edge: (N,) whether it touches the end of the mosaic.
    """

    polygons: Polygons
    scores: Values
    sure: Values
    joined: Flags
    edge: Flags

    def __len__(self) -> int:
        return len(self.polygons)

    def take(self, index: NDArray[Any], polygons: Polygons | None = None) -> Stitched:
        """The buildings at the given positions, with other polygons if they are given."""
        shapes = self.polygons[index] if polygons is None else polygons
        return Stitched(
            shapes, self.scores[index], self.sure[index], self.joined[index], self.edge[index]
        )

    @classmethod
    def concatenate(cls, parts: list[Stitched]) -> Stitched:
        """Buildings of several parts of a mosaic, in their order."""
        return cls(
            np.concatenate([object_array([]), *(p.polygons for p in parts)]),
            np.concatenate([np.zeros(0), *(p.scores for p in parts)]),
            np.concatenate([np.zeros(0), *(p.sure for p in parts)]),
            np.concatenate([np.zeros(0, dtype=bool), *(p.joined for p in parts)]),
            np.concatenate([np.zeros(0, dtype=bool), *(p.edge for p in parts)]),
        )


@dataclass(frozen=True)
class Stitching:
    """Settings.

    Attributes:
        same: IoU from which two sightings are one building; for parts, the IoU of what
            both tiles could see of them.
        inside: share of the smaller one inside the larger from which they are one.
        smallest: area in pixels under which a building is dropped.
        seam: pixels; how far an outline may move where a seam's vertices are taken out.
        larger: power of its area that a sighting's score is worth, where one of two stands for
            both: networks are surer of parts of a roof than of the roof.
    """

    same: float = 0.5
    inside: float = 0.7
    smallest: float = 100.0
    seam: float = 4.0
    larger: float = 0.4


DEFAULT = Stitching()


class Stitcher:
    """Takes sightings from north to south and gives buildings back as they are settled.

    The buildings are the same however the tiles of a row are handed in, in whatever
    portions, as long as the order of the sightings is.

    Attributes:
        open: how many sightings wait for tiles that may still see their building.
        waiting: their outlines; what comes of them lies within them and later tiles, but for
            the `seam` of the settings.
    """

    def __init__(self, settings: Stitching = DEFAULT) -> None:
        self._settings = settings
        self._waiting = Sightings.collect([])
        self._kin = _Kin.of(self._waiting, 0, settings)

    @property
    def open(self) -> int:
        """How many sightings wait for tiles that may still see their building."""
        return len(self._waiting)

    @property
    def waiting(self) -> Polygons:
        """The outlines (N,) of the sightings that wait."""
        return self._waiting.polygons

    def add(self, seen: Sightings, settled: float = math.inf) -> Stitched:
        """Take sightings, give the buildings that no later one can change.

        Args:
            seen: what further tiles saw.
            settled: no later tile reaches north of this y, in pixels.
        """
        known = Sightings.concatenate([self._waiting, seen])
        kin = self._kin.extended(_Kin.of(known, len(self._waiting), self._settings))
        families = components(len(known), kin.i, kin.j)
        reach = np.full(len(known), -np.inf)
        np.maximum.at(reach, families, shapely.bounds(known.polygons).reshape(-1, 4)[:, 3])
        ready = (reach <= settled)[families]
        self._waiting, self._kin = known.take(~ready), kin.take(~ready)
        return _buildings(known.take(ready), kin.take(ready), self._settings)

    def finish(self) -> Stitched:
        """The buildings that are still open, when all tiles have been seen."""
        return self.add(Sightings.collect([]))


class _Kin(NamedTuple):
    """Pairs of sightings that may be one building."""

    i: Index  # (P,)
    j: Index  # (P,), greater than i
    both: Values  # (P,) area of their intersection
    parts: Flags  # (P,) whether they are parts of one building

    @classmethod
    def of(cls, seen: Sightings, old: int, settings: Stitching) -> _Kin:
        """Pairs of which one at least is not among the first `old` sightings."""
        i, j = overlapping_pairs(seen.polygons, np.arange(old, len(seen)))
        both = shapely.area(shapely.intersection(seen.polygons[i], seen.polygons[j]))
        met = both > 0
        i, j, both = i[met], j[met], both[met]
        parts = agreeing(seen, i, j, both, settings.same)
        areas = shapely.area(seen.polygons)
        kin = parts | (both >= KIN * np.minimum(areas[i], areas[j]))
        return cls(i[kin], j[kin], both[kin], parts[kin])

    def extended(self, more: _Kin) -> _Kin:
        """These pairs and more."""
        return _Kin(*(np.concatenate(columns) for columns in zip(self, more, strict=True)))

    def take(self, kept: Flags) -> _Kin:
        """The pairs among the sightings that are kept, which are numbered anew."""
        number = np.cumsum(kept) - 1
        within = kept[self.i] & kept[self.j]
        i, j = number[self.i[within]], number[self.j[within]]
        return _Kin(i, j, self.both[within], self.parts[within])


def _buildings(seen: Sightings, kin: _Kin, settings: Stitching) -> Stitched:
    """The buildings of whole families."""
    group = components(len(seen), kin.i[kin.parts], kin.j[kin.parts])
    needed = np.zeros(group.max(initial=-1) + 1, dtype=bool)
    np.logical_or.at(needed, group, ~_seen_whole_elsewhere(seen, kin, settings.inside))
    seen, kin = seen.take(needed[group]), kin.take(needed[group])
    if len(seen) == 0:
        return Stitched.concatenate([])
    group = components(len(seen), kin.i[kin.parts], kin.j[kin.parts])
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    several = np.diff(starts, append=len(seen)) > 1
    polygons = seen.polygons[order[starts]]
    members = np.split(order, starts[1:])
    polygons[several] = joined(seen, [members[k] for k in np.flatnonzero(several)], settings.seam)
    scores = np.maximum.reduceat(seen.scores[order], starts)
    sure = np.minimum.reduceat(seen.sure[order], starts)
    owned = np.logical_or.reduceat(seen.owned[order], starts)
    edge = np.logical_or.reduceat(seen.edge[order], starts)
    complete = several | ~seen.cut[order[starts]]
    rivals = _rivals(polygons, several, group, kin, settings)
    areas = shapely.area(polygons)  # none where nothing was left of a building
    worth = scores * np.maximum(areas, 1.0) ** settings.larger
    # Complete ones first, then those seen by the tile that owns them, then by their worth.
    best = np.lexsort((np.arange(len(starts)), -worth, ~owned, ~complete))
    # A part that is alone goes, unless its tile owns it: the owner saw more and says no.
    usable = complete | owned
    usable &= areas >= settings.smallest
    kept = _without_doubles(best[usable[best]], *rivals)
    return Stitched(polygons, scores, sure, several, edge).take(kept)


def _seen_whole_elsewhere(seen: Sightings, kin: _Kin, inside: float) -> Flags:
    """Which cut sightings lie inside one that is whole: nobody needs them joined."""
    areas = shapely.area(seen.polygons)
    covered = np.zeros(len(seen), dtype=bool)
    for part, whole in ((kin.i, kin.j), (kin.j, kin.i)):
        within = seen.cut[part] & ~seen.cut[whole] & (kin.both >= inside * areas[part])
        covered[part[within]] = True
    return covered


def _rivals(
    polygons: Polygons, several: Flags, group: Index, kin: _Kin, settings: Stitching
) -> tuple[Index, Index]:
    """Pairs of buildings of which one stands for the other.

    What is known of sightings holds for buildings that are one sighting; the pairs of those
    that were joined are looked for anew.
    """
    i, j = group[kin.i], group[kin.j]
    known = ~several[i] & ~several[j]
    i, j, both = i[known], j[known], kin.both[known]
    a, b = overlapping_pairs(polygons, np.flatnonzero(several))
    i, j = np.concatenate([i, a]), np.concatenate([j, b])
    both = np.concatenate([both, shapely.area(shapely.intersection(polygons[a], polygons[b]))])
    areas = shapely.area(polygons)
    smaller, union = np.minimum(areas[i], areas[j]), areas[i] + areas[j] - both
    one = (both > 0) & ((both >= settings.same * union) | (both >= settings.inside * smaller))
    return i[one], j[one]


def overlapping_pairs(polygons: Polygons, asked: Index) -> tuple[Index, Index]:
    """Pairs (i < j), sorted, of which one is asked for and whose bounding boxes meet."""
    a, j = shapely.STRtree(polygons).query(polygons[asked])
    i = asked[a]
    other = i != j
    low, high = np.minimum(i[other], j[other]), np.maximum(i[other], j[other])
    codes = np.unique(low * len(polygons) + high)
    return codes // max(len(polygons), 1), codes % max(len(polygons), 1)


def _without_doubles(order: Index, i: Index, j: Index) -> Index:
    """Of those in `order`, best first, the ones that no better rival stands for; rising."""
    rivals: dict[int, list[int]] = {}
    for a, b in zip(i.tolist(), j.tolist(), strict=True):
        rivals.setdefault(a, []).append(b)
        rivals.setdefault(b, []).append(a)
    gone: set[int] = set()
    kept = []
    for k in order.tolist():
        if k not in gone:
            kept.append(k)
            gone.update(rivals.get(k, ()))
    return np.sort(np.array(kept, dtype=np.int64))
