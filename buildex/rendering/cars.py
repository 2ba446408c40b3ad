"""Painting cars: beside roads, and in rows where a yard is paved."""

from __future__ import annotations

import math

import numpy as np
import shapely

from buildex.rendering.clutter import box_ring, paint_object, stands_on
from buildex.rendering.plan import Plan, Road, axis_of
from buildex.rendering.roofs import Kit
from buildex.rendering.shapes import Color

CARS: tuple[Color, ...] = (
    (0.92, 0.92, 0.92), (0.80, 0.82, 0.84), (0.15, 0.16, 0.18), (0.65, 0.12, 0.14),
    (0.20, 0.30, 0.50), (0.88, 0.80, 0.55),
)  # fmt: skip


def paint_cars(kit: Kit, plan: Plan) -> None:
    """Cars along the wider roads, and in rows on paved yards."""
    for road in plan.roads:
        if road.width < 3.5:
            continue
        for _ in range(int(kit.rng.poisson(road.line.length / 45))):
            center, angle = _roadside(kit, road)
            place = shapely.Polygon(box_ring(center, (5.0, 1.9), angle))
            if not (plan.lots and stands_on(kit, place)):  # lorries stand beside roads there
                _paint_car(kit, center, angle)
    for yard in plan.pavements:
        _park(kit, plan, yard)


def _roadside(kit: Kit, road: Road) -> tuple[tuple[float, float], float]:
    """A place beside a road, and its direction."""
    at = float(kit.rng.uniform(0, max(road.line.length - 1, 0)))
    lean = float(kit.rng.normal(0, 0.06))
    side = float(kit.rng.choice([-1, 1])) * (road.width / 2 - 1.0)
    return road.place(at, side, lean)


def _park(kit: Kit, plan: Plan, yard: shapely.Polygon) -> None:
    """Cars side by side in a yard, a few or a full row, clear of buildings."""
    full = float(kit.rng.beta(0.6, 1.2))
    turn = axis_of(yard) + math.pi / 2 * int(kit.rng.integers(2))
    across = np.array([-math.sin(turn), math.cos(turn)])
    along = np.array([math.cos(turn), math.sin(turn)])
    middle = np.array(yard.centroid.coords[0])
    reach = math.hypot(*np.subtract(yard.bounds[2:], yard.bounds[:2])) / 2
    for row in np.arange(-reach, reach, float(kit.rng.uniform(8, 14))):
        for slot in np.arange(-reach, reach, 2.6):
            x, y = middle + row * along + (slot + float(kit.rng.normal(0, 0.15))) * across
            place = shapely.Polygon(box_ring((x, y), (5.2, 2.2), turn))
            free = yard.contains(place) and plan.fits(place, 0.4) and not _taken(kit, place)
            if kit.rng.random() < full and free:
                _paint_car(kit, (float(x), float(y)), turn + float(kit.rng.normal(0, 0.05)))


def _taken(kit: Kit, place: shapely.Polygon) -> bool:
    """Whether something stands there or close by, in the box around it."""
    patch = kit.canvas.patch(place.bounds)
    return patch is not None and bool((patch.height > 0.3).any())


def _paint_car(kit: Kit, center: tuple[float, float], angle: float) -> None:
    length, width = float(kit.rng.uniform(3.6, 5)), float(kit.rng.uniform(1.6, 1.85))
    color = CARS[kit.rng.integers(len(CARS))]
    paint_object(kit, box_ring(center, (length, width), angle), color, 0.9)
    glass = (0.18, 0.20, 0.23)
    paint_object(kit, box_ring(center, (length * 0.52, width * 0.84), angle), glass, 0.3)
    paint_object(kit, box_ring(center, (length * 0.34, width * 0.84), angle), color, 0.2)
