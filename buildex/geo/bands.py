"""Finish buildings while tiles still come in: from north to south, family by family.

Neighbours are finished together, because they come to share walls. A family is a chain of
neighbours; it is finished once no building that is still to come can touch it. What is
finished never changes again: it is held fixed for later neighbours. A family that has grown
`longest` from north to south is finished as far as nothing to come can touch it, and its
rest later against the finished part; so no chain of houses is held for ever.

Everything here is in ground metres of a metric CRS; tiles come from the north.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.components import components
from buildex.geo.finishing import Finished, Finishing, described, squared
from buildex.geo.footprints import Polygons, object_array
from buildex.geo.stitch import Stitched
from buildex.geo.walls import WallsResult, share_walls

Flags = NDArray[np.bool_]
Index = NDArray[np.int64]

LONGEST = 200.0  # metres from north to south that a family may have before it is cut


@dataclass(frozen=True)
class Frontier:
    """Where buildings may still come.

    Attributes:
        south: everything south of this y.
        waiting: (N,) polygons of which buildings may still become.
    """

    south: float = -math.inf
    waiting: Polygons = field(default_factory=lambda: object_array([]))

    def near(self, polygons: Polygons, distance: float) -> Flags:
        """Which polygons (M,) it comes as near to as `distance`."""
        out: Flags = shapely.bounds(polygons).reshape(-1, 4)[:, 1] <= self.south + distance
        out[_near(polygons, self.waiting, distance)] = True
        return out


@dataclass(frozen=True)
class Band:
    """Buildings that are finished.

    Attributes:
        whole: (K,) what they were before, with all that is known of them.
        finished: (K,) what they are; `kept` is 0 to K - 1.
    """

    whole: Stitched
    finished: Finished

    def __len__(self) -> int:
        return len(self.whole)


class Bands:
    """Takes buildings from north to south and gives them back finished.

    The order in which they leave is the order in which their families are finished, and
    within one call that in which they came.

    Args:
        settings: how buildings are finished.
        moved: metres by which stitching may move an outline beyond what tiles saw.
        longest: metres from north to south from which a family is cut.

    Attributes:
        open: how many buildings wait for neighbours that may still come.
    """

    def __init__(self, settings: Finishing, *, moved: float, longest: float = LONGEST) -> None:
        self._settings, self._longest = settings, longest
        walls = settings.walls
        # Two passes, each of which may move a corner three times as far as a wall.
        self._reach = max(walls.gap, 0.0) + 6 * walls.shift + walls.snap
        self._margin = self._reach + settings.regularizing.tolerance + moved
        self._pool = Stitched.concatenate([])
        self._status: NDArray[np.str_] = np.zeros(0, dtype="U11")
        self._held = object_array([])

    @property
    def open(self) -> int:
        """How many buildings wait for neighbours that may still come."""
        return len(self._pool)

    def add(self, new: Stitched, frontier: Frontier | None = None) -> Band:
        """Take buildings, give those that none to come can touch.

        Args:
            new: buildings as they were stitched, on the ground.
            frontier: where more may come; nowhere if it is not given.
        """
        frontier = frontier or Frontier()
        done = squared(new.polygons, self._settings, new.sure)
        self._pool = Stitched.concatenate([self._pool, new.take(done.origin, done.polygons)])
        self._status = np.concatenate([self._status, done.status])
        ready = self._ready(frontier)
        band = self._finished(ready)
        rest = np.flatnonzero(~ready)
        self._pool, self._status = self._pool.take(rest), self._status[rest]
        self._hold(band.finished.polygons, frontier)
        return band

    def _ready(self, frontier: Frontier) -> Flags:
        """Which buildings of the pool to finish now."""
        shapes = self._pool.polygons
        near = frontier.near(shapes, self._margin)
        tree = shapely.STRtree(shapes)
        i, j = tree.query(shapes, predicate="dwithin", distance=self._settings.walls.gap)
        family = components(len(shapes), i, j)
        count = family.max(initial=-1) + 1
        unsettled = np.zeros(count, dtype=bool)
        unsettled[family[near]] = True
        top = np.full(count, -np.inf)
        bounds = shapely.bounds(shapes).reshape(-1, 4)
        np.maximum.at(top, family, bounds[:, 3])
        bottom = np.full(count, np.inf)
        np.minimum.at(bottom, family, bounds[:, 1])
        cut = top - bottom > self._longest
        ready: Flags = ~near & (~unsettled | cut)[family]
        return ready

    def _finished(self, ready: Flags) -> Band:
        """Finish buildings of the pool, with those around them looking on."""
        chosen = np.flatnonzero(ready)
        around = _near(self._pool.polygons, self._pool.polygons[chosen], self._reach)
        held = self._held[_near(self._held, self._pool.polygons[chosen], self._reach)]
        free = np.union1d(chosen, around)
        polygons = np.concatenate([held, self._pool.polygons[free]])
        scores = np.concatenate([np.ones(len(held)), self._pool.scores[free]])
        fixed = np.arange(len(polygons)) < len(held)
        walled = share_walls(polygons, scores, self._settings.walls, fixed)
        place = np.concatenate([np.full(len(held), -1), free])[walled.kept]
        mine = (place >= 0) & ready[np.maximum(place, 0)] if len(ready) else place >= 0
        result = WallsResult(walled.polygons[mine], place[mine], walled.moved[mine])
        done = described(result, self._status, self._settings)
        whole = self._pool.take(done.kept)
        return Band(whole, Finished(done.polygons, np.arange(len(whole)), done.columns))

    def _hold(self, fresh: Polygons, frontier: Frontier) -> None:
        """Remember finished buildings that one to come, or one that waits, may be near to."""
        finished = np.concatenate([self._held, fresh])
        wanted = frontier.near(finished, self._margin)
        wanted[_near(finished, self._pool.polygons, self._reach)] = True
        self._held = finished[wanted]


def _near(polygons: Polygons, others: Polygons, distance: float) -> Index:
    """Positions of the polygons that lie within a distance of one of the others, rising."""
    if len(polygons) == 0 or len(others) == 0:
        return np.zeros(0, dtype=np.int64)
    _, found = shapely.STRtree(polygons).query(others, predicate="dwithin", distance=distance)
    return np.unique(found).astype(np.int64)
