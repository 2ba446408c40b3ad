"""The plan of a town: what there is and where, in metres."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import shapely

from buildex.rendering.shapes import Building


@dataclass(frozen=True)
class Road:
    """A road, from edge to edge of the town."""

    line: shapely.LineString
    width: float
    paved: bool


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
    yards: list[shapely.Polygon] = field(default_factory=list)
    walls: list[shapely.LineString] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)

    def fits(self, shape: shapely.Polygon, gap: float) -> bool:
        """Whether a footprint keeps `gap` metres from all others."""
        if not self.shapes:
            return True
        return not bool(shapely.dwithin(np.array(self.shapes), shape, gap).any())

    def overlap(self, shape: shapely.Polygon) -> float:
        """Square metres of a footprint that others take already."""
        if not self.shapes:
            return 0.0
        return float(shapely.area(shapely.intersection(np.array(self.shapes), shape)).max())

    def add(self, building: Building) -> None:
        """Take a building in."""
        self.buildings.append(building)
        self.shapes.append(building.polygon)


def axis_of(polygon: shapely.Polygon) -> float:
    """Direction of the longer side of the smallest rectangle round a polygon, in radians."""
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(polygon))[:3]
    sides = np.diff(corners, axis=0)
    longer = sides[int(np.argmax(np.hypot(*sides.T)))]
    return math.atan2(longer[1], longer[0])
