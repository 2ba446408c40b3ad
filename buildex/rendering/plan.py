"""The plan of a town: what there is and where, in metres."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import shapely

from buildex.rendering.shapes import Building

# Footprints are found by the cells of this many metres that they touch.
CELL = 10.0


@dataclass(frozen=True)
class Road:
    """A road, from edge to edge of the town; a marked one is of slabs, with lines on them."""

    line: shapely.LineString
    width: float
    paved: bool
    marked: bool = False

    def place(
        self, at: float, aside: float, lean: float = 0.0
    ) -> tuple[tuple[float, float], float]:
        """The point `at` metres along it and `aside` off its middle, and its direction there.

        The direction is in radians and turned by `lean`, and the point's side with it.
        """
        a, b = self.line.interpolate(at), self.line.interpolate(at + 1)
        angle = math.atan2(b.y - a.y, b.x - a.x) + lean
        return (a.x - math.sin(angle) * aside, a.y + math.cos(angle) * aside), angle


@dataclass(frozen=True)
class Tree:
    """A tree or bush: place and radius in metres, and its kind."""

    x: float
    y: float
    radius: float
    kind: str


@dataclass
class Plan:
    """A town while it is laid out; `buildings` keep clear of one another."""

    width: float
    height: float
    roads: list[Road] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    shapes: list[shapely.Polygon] = field(default_factory=list)
    fields: list[shapely.Polygon] = field(default_factory=list)
    tilled: list[shapely.Polygon] = field(default_factory=list)
    yards: list[shapely.Polygon] = field(default_factory=list)
    pavements: list[shapely.Polygon] = field(default_factory=list)
    lots: list[shapely.Polygon] = field(default_factory=list)
    walls: list[shapely.LineString] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    _cells: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    def fits(self, shape: shapely.Polygon, gap: float) -> bool:
        """Whether a footprint keeps `gap` metres, at most 1, from all others."""
        return not any(shapely.dwithin(other, shape, gap) for other in self._near(shape))

    def overlap(self, shape: shapely.Polygon) -> float:
        """Square metres of a footprint that others take already."""
        return float(sum(other.intersection(shape).area for other in self._near(shape)))

    def add(self, building: Building) -> None:
        """Take a building in."""
        shape = building.polygon
        shapely.prepare(shape)
        for cell in _cells(shape, 0):
            self._cells.setdefault(cell, []).append(len(self.shapes))
        self.buildings.append(building)
        self.shapes.append(shape)

    def _near(self, shape: shapely.Polygon) -> list[shapely.Polygon]:
        found = {i for cell in _cells(shape, 1) for i in self._cells.get(cell, ())}
        return [self.shapes[i] for i in sorted(found)]


def _cells(shape: shapely.Polygon, margin: float) -> Iterator[tuple[int, int]]:
    """The cells of `CELL` metres that a shape's box, widened by `margin` metres, touches."""
    x0, y0, x1, y1 = shape.bounds
    columns = range(math.floor((x0 - margin) / CELL), math.floor((x1 + margin) / CELL) + 1)
    rows = range(math.floor((y0 - margin) / CELL), math.floor((y1 + margin) / CELL) + 1)
    return product(columns, rows)


def axis_of(polygon: shapely.Polygon) -> float:
    """Direction of the longer side of the smallest rectangle round a polygon, in radians."""
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(polygon))[:3]
    sides = np.diff(corners, axis=0)
    longer = sides[int(np.argmax(np.hypot(*sides.T)))]
    return math.atan2(longer[1], longer[0])
