"""Walls that face one another across a narrow gap or overlap, and the line they could share.

Facing walls run against each other, because each has its building on its left. Walls are
gathered nearest pairs first; a wall joins only if no wall of the group would have to move
farther than is allowed at either of its ends.
"""

from __future__ import annotations

import cmath
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.outlines import Flags, Index, Outlines, Points

ON_LINE = 1e-4
FIXED = 1e9


@dataclass(frozen=True, kw_only=True)
class Walls:
    """Settings; lengths in metres.

    Attributes:
        gap: walls that face each other across less than this become one.
        shift: how far either end of a wall may move to a common line, in each of two passes.
        angle: degrees between two walls that may become one.
        snap: corners on a common wall nearer to each other than this become one.
        most_change: share of a building's area that may be won or lost.
        smallest: area under which a building is dropped.
        hair: how far a corner that meets the middle of a neighbour's wall stays off it ...
        bend: ... at least; curvature of a straight wall in another CRS, at most: tan(latitude)
            over the radius of the earth, here of 70 degrees.
    """

    gap: float = 0.3
    shift: float = 0.6
    angle: float = 20.0
    snap: float = 0.3
    most_change: float = 0.15
    smallest: float = 0.0
    hair: float = 1e-5
    bend: float = 4.3e-7

    def clearance(self, along: Points, lengths: Points) -> Points:
        """How far (K,) corners stay off walls of some lengths, so far along them.

        No nearer than twice as far as the wall, whose ends alone are moved to another CRS, is
        off its place there.
        """
        return np.maximum(self.hair, self.bend * along * (lengths - along))


class Facing(NamedTuple):
    """Pairs of edges (K,) that face each other, nearest first."""

    first: Index
    second: Index


@dataclass(frozen=True)
class Lines:
    """The common line of each edge (V,) that has one.

    Attributes:
        group: (V,) which line; -1 for none.
        points: (V, 2) a point of it.
        directions: (V, 2) its direction.
    """

    group: Index
    points: Points
    directions: Points


def facing_edges(outlines: Outlines, settings: Walls) -> Facing:
    """Find edges of different polygons that could be one wall."""
    tree = shapely.STRtree(lines := outlines.edges())
    reach = max(settings.gap, 2 * settings.shift)
    i, j = tree.query(lines, predicate="dwithin", distance=reach)
    once = (i < j) & (outlines.owner[i] != outlines.owner[j])
    i, j = i[once], j[once]
    along = outlines.directions
    against = (along[i] * along[j]).sum(axis=1) < -np.cos(np.radians(settings.angle))
    i, j = i[against], j[against]
    shared, apart = side_by_side(outlines, i, j)
    length = np.minimum(outlines.lengths[i], outlines.lengths[j])
    enough = shared >= np.maximum(0.3 * length, np.minimum(settings.gap, 0.9 * length))
    near = (apart <= settings.gap) & (apart >= -2 * settings.shift)
    i, j, apart = i[enough & near], j[enough & near], apart[enough & near]
    order = np.lexsort((j, i, np.abs(apart)))
    return Facing(i[order], j[order])


def side_by_side(outlines: Outlines, i: Index, j: Index) -> tuple[Points, Points]:
    """Length (K,) over which edges lie side by side, and their distance (K,) halfway.

    The distance is negative where the two buildings overlap.
    """
    along = outlines.directions
    middle = along[i] - along[j]
    middle /= np.hypot(middle[:, 0], middle[:, 1])[:, None]
    origin = outlines.points[i]
    normal = np.stack([middle[:, 1], -middle[:, 0]], axis=1)
    t, off = [], []
    for edge in (i, j):
        for end in (edge, outlines.after[edge]):
            step = outlines.points[end] - origin
            t.append((step * middle).sum(axis=1))
            off.append((step * normal).sum(axis=1))
    low = np.maximum(np.minimum(t[0], t[1]), np.minimum(t[2], t[3]))
    high = np.minimum(np.maximum(t[0], t[1]), np.maximum(t[2], t[3]))
    at = (low + high) / 2
    first = off[0] + (off[1] - off[0]) * (at - t[0]) / _nonzero(t[1] - t[0])
    second = off[2] + (off[3] - off[2]) * (at - t[2]) / _nonzero(t[3] - t[2])
    return high - low, second - first


def _nonzero(values: Points) -> Points:
    return np.where(values == 0, 1.0, values)


def common_lines(
    outlines: Outlines, pairs: Facing, weights: Points, fixed: Flags, settings: Walls
) -> Lines:
    """Gather facing edges into walls and lay one line through each.

    A line has the mean direction of its edges (weight times length squared, as long walls
    know their direction best) and runs through the mean of their middles (weight times
    length). Walls that already are one line to a tenth of a millimetre are left alone.

    Args:
        outlines: all corners.
        pairs: edges that face each other.
        weights: (V,) how much each edge is trusted.
        fixed: (V,) edges that do not move: the line is theirs.
        settings: `shift` is how far an end of a wall may move.
    """
    gatherer = _Gatherer(outlines, np.where(fixed, FIXED, weights), settings.shift)
    for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        gatherer.join(a, b)
    group = np.full(len(outlines), -1, dtype=np.int64)
    points, directions = np.zeros((len(outlines), 2)), np.zeros((len(outlines), 2))
    for number, wall in enumerate(gatherer.walls()):
        if gatherer.strays(wall) <= ON_LINE:
            continue
        centre, along = wall.line()
        members = list(wall.edges)
        group[members] = number
        points[members] = np.array([centre.real, centre.imag]) + gatherer.origin
        directions[members] = along.real, along.imag
    return Lines(group, points, directions)


class _Wall(NamedTuple):
    """Edges on one line, with the sums that make the line; points are complex numbers."""

    edges: tuple[int, ...]
    weight: float
    middle: complex  # sum of weight times length times the middle
    twice: complex  # sum of weight times length squared times the direction squared

    def line(self) -> tuple[complex, complex]:
        """A point of the line and its direction; the square makes both ways along it one."""
        return self.middle / self.weight, cmath.sqrt(self.twice / abs(self.twice))

    def with_edges_of(self, other: _Wall) -> _Wall:
        """Both walls as one."""
        return _Wall(
            self.edges + other.edges,
            self.weight + other.weight,
            self.middle + other.middle,
            self.twice + other.twice,
        )


class _Gatherer:
    """Joins edges to walls, nearest pairs first."""

    def __init__(self, outlines: Outlines, weights: Points, shift: float) -> None:
        self.origin: NDArray[np.float64] = outlines.points[0] if len(outlines) else np.zeros(2)
        local = outlines.points - self.origin
        self._start = (local[:, 0] + 1j * local[:, 1]).tolist()
        self._end = (local[outlines.after, 0] + 1j * local[outlines.after, 1]).tolist()
        along = outlines.directions
        self._along = (along[:, 0] + 1j * along[:, 1]).tolist()
        self._length = outlines.lengths.tolist()
        self._weight = weights.tolist()
        self._owner = outlines.owner.tolist()
        self._shift = shift
        self._home: dict[int, int] = {}
        self._walls: dict[int, _Wall] = {}

    def join(self, a: int, b: int) -> None:
        """Put two edges on one wall, if that bends none of those on it too far."""
        first, second = self._home.get(a, a), self._home.get(b, b)
        if first == second:
            return
        one, two = self._walls.get(first) or self._new(a), self._walls.get(second) or self._new(b)
        both = one.with_edges_of(two)
        if self.strays(both, self._shift) > self._shift or self._folds(both):
            return
        self._walls.pop(second, None)
        self._walls[first] = both
        for edge in both.edges:
            self._home[edge] = first

    def walls(self) -> list[_Wall]:
        """Walls of two and more edges."""
        return list(self._walls.values())

    def strays(self, wall: _Wall, limit: float = np.inf) -> float:
        """How far the ends of a wall's edges lie off its line; stops at the first over `limit`."""
        centre, along = wall.line()
        turn = along.conjugate()
        worst = 0.0
        for edge in wall.edges:
            if self._weight[edge] == FIXED:
                continue
            for end in (self._start[edge], self._end[edge]):
                worst = max(worst, abs(((end - centre) * turn).imag))
            if worst > limit:
                break
        return worst

    def _folds(self, wall: _Wall) -> bool:
        """Whether two opposite walls of one building would fall together."""
        sides: dict[int, complex] = {}
        for edge in wall.edges:
            other = sides.setdefault(self._owner[edge], self._along[edge])
            if (other * self._along[edge].conjugate()).real < 0:
                return True
        return False

    def _new(self, edge: int) -> _Wall:
        weight, length = self._weight[edge], self._length[edge]
        middle = (self._start[edge] + self._end[edge]) / 2
        return _Wall(
            (edge,),
            weight * length,
            weight * length * middle,
            weight * length**2 * self._along[edge] ** 2,
        )
