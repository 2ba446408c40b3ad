"""Cutting blocks into plots."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import shapely
from shapely import affinity

from buildex.rendering.plan import axis_of


def plots_of(
    block: shapely.Polygon, target: float, rng: np.random.Generator
) -> list[shapely.Polygon]:
    """A block cut into plots along its own axis."""
    axis = math.degrees(axis_of(block))
    center = block.centroid
    straight = affinity.rotate(block, -axis, origin=center)
    boxes = _split(straight.bounds, target, rng)
    cut = [straight.intersection(shapely.box(*b)) for b in boxes]
    whole = [affinity.rotate(c, axis, origin=center) for c in cut]
    return [p for p in whole if p.geom_type == "Polygon" and p.area > 4]


def _split(
    box: tuple[float, float, float, float], target: float, rng: np.random.Generator
) -> Iterable[tuple[float, float, float, float]]:
    x0, y0, x1, y1 = box
    if (x1 - x0) * (y1 - y0) < target * float(rng.uniform(0.8, 1.9)):
        return [box]
    share = float(rng.uniform(0.38, 0.62))
    if x1 - x0 > y1 - y0:
        middle = x0 + share * (x1 - x0)
        halves = (x0, y0, middle, y1), (middle, y0, x1, y1)
    else:
        middle = y0 + share * (y1 - y0)
        halves = (x0, y0, x1, middle), (x0, middle, x1, y1)
    return [part for half in halves for part in _split(half, target, rng)]


def extent(polygon: shapely.Polygon) -> tuple[float, float]:
    """Longer and shorter side of the smallest rectangle round a polygon."""
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(polygon))[:3]
    short, long = sorted(float(v) for v in np.hypot(*np.diff(corners, axis=0).T))
    return long, short
