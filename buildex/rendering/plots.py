"""Cutting blocks into plots."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity

from buildex.geo.footprints import repaired
from buildex.rendering.plan import axis_of

SMALLEST = 12.0  # square metres of a tilled plot
STEP = 2.0  # metres between the points of a border that bends


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


def till(block: shapely.Polygon, rng: np.random.Generator) -> list[shapely.Polygon]:
    """A block cut into plots whose borders bend alike, with strips of grass between them.

    Args:
        block: in metres.
        rng: chance.
    """
    target = float(rng.choice([70.0, 160.0, 400.0, 900.0], p=[0.2, 0.35, 0.3, 0.15]))
    reach, length = float(rng.uniform(0, 1.8)), float(rng.uniform(22, 60))
    phase = rng.uniform(0, 2 * math.pi, 2)
    gap = float(rng.uniform(0.1, 0.9))

    def bend(points: NDArray[np.float64]) -> NDArray[np.float64]:
        waves = np.sin(points[:, ::-1] * (2 * math.pi / length) + phase)
        return np.asarray(points + reach * waves)

    found: list[shapely.Polygon] = []
    for plot in plots_of(block, target, rng):
        bent = shapely.transform(shapely.segmentize(plot, STEP), bend)
        for part in repaired(shapely.make_valid(bent).intersection(block).buffer(-gap)):
            if part.area > SMALLEST:
                found.append(part.simplify(0.05))
    return found


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
