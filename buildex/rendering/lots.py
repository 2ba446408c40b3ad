"""Painting open ground where people park and play: lorry parks, and courts on old concrete.

Both have what roofs have, straight edges and colours, on ground that houses stand beside.
"""

from __future__ import annotations

import math

import numpy as np
import shapely

from buildex.geo.footprints import to_rings
from buildex.rendering.clutter import box_ring, stands_on
from buildex.rendering.lorries import Frame, draw_vehicle, paint_vehicle
from buildex.rendering.noise import smoothstep
from buildex.rendering.pavements import pave
from buildex.rendering.plan import Plan, Road, axis_of
from buildex.rendering.roofs import Kit
from buildex.rendering.shapes import Color

PAINTS: tuple[Color, ...] = (
    (0.62, 0.28, 0.22), (0.26, 0.46, 0.36), (0.26, 0.40, 0.60), (0.75, 0.68, 0.40),
)  # fmt: skip
LINES: Color = (0.88, 0.88, 0.84)
PAVED = 0.5  # share of the lots
COURTS = 0.35  # share of the lots that have one, if there is room
COURT = (28.0, 15.0)  # metres of a basketball court, its key and its circle (FIBA 2022)
KEY, CIRCLE = (5.8, 4.9), 1.8
HALF = 14.0  # metres of half a court: one key and no circle
EACH = 70.0  # square metres of a lot for a vehicle on its own that is tried
ROW = 280.0  # and for a row of them
APART = 45.0  # metres of a road between vehicles beside it


def pave_lots(kit: Kit, plan: Plan) -> None:
    """Concrete or asphalt under some of the lots: the ground of all else that stands there."""
    for lot in plan.lots:
        if kit.rng.random() < PAVED:
            pave(kit, lot)


def paint_lots(kit: Kit, plan: Plan) -> None:
    """Courts where there is room, else vehicles in rows and one by one; some beside roads."""
    for lot in plan.lots:
        court = _court_in(kit, plan, lot) if kit.rng.random() < COURTS else None
        if court is not None:
            _paint_court(kit, *court)
            continue
        for _ in range(int(kit.rng.poisson(lot.area / ROW))):
            _paint_row(kit, plan, lot)
        for _ in range(int(kit.rng.poisson(lot.area / EACH))):
            _park(kit, plan, _point_in(kit, lot), float(kit.rng.uniform(0, 2 * math.pi)), lot)
    for road in plan.roads if plan.lots else ():
        for _ in range(int(kit.rng.poisson(road.line.length / APART))):
            _park(kit, plan, *_beside(kit, road))


def _point_in(kit: Kit, lot: shapely.Polygon) -> tuple[float, float]:
    """A point of a lot's box."""
    x, y = kit.rng.uniform(lot.bounds[:2], lot.bounds[2:])
    return float(x), float(y)


def _paint_row(kit: Kit, plan: Plan, lot: shapely.Polygon) -> None:
    """Up to eight vehicles side by side, as many as there is room for."""
    turn = axis_of(lot) + math.pi / 2 * int(kit.rng.integers(4)) + float(kit.rng.normal(0, 0.2))
    x, y = _point_in(kit, lot)
    gap = float(kit.rng.uniform(2.7, 3.8))
    for place in range(int(kit.rng.integers(2, 9))):
        lean = turn + math.pi * int(kit.rng.random() < 0.2) + float(kit.rng.normal(0, 0.05))
        aside = place * gap
        at = x - math.sin(turn) * aside, y + math.cos(turn) * aside
        _park(kit, plan, at, lean, lot)


def _beside(kit: Kit, road: Road) -> tuple[tuple[float, float], float]:
    """A place along the edge of a road, and its direction."""
    at = float(kit.rng.uniform(0, max(road.line.length - 1, 0)))
    side = float(kit.rng.choice([-1, 1])) * (road.width / 2 + float(kit.rng.uniform(-1.5, 2)))
    return road.place(at, side, float(kit.rng.normal(0, 0.1)))


def _park(
    kit: Kit, plan: Plan, center: tuple[float, float], angle: float,
    lot: shapely.Polygon | None = None,
) -> None:  # fmt: skip
    """A vehicle at a place, if nothing stands there and it is in the lot."""
    kind, length, width = draw_vehicle(kit.rng)
    ground = shapely.Polygon(box_ring(center, (length, width), angle))
    inside = lot is None or lot.contains(ground)
    if inside and plan.fits(ground, 0.4) and not stands_on(kit, ground):
        paint_vehicle(kit, kind, Frame(center, angle, length, width))


def _court_in(kit: Kit, plan: Plan, lot: shapely.Polygon) -> tuple[Frame, float] | None:
    """A court in the middle of a lot, whole or half, and its margin; None without room."""
    center, turn = (lot.centroid.x, lot.centroid.y), axis_of(lot)
    margin = float(kit.rng.uniform(0.5, 3))
    for length in (COURT[0], HALF):
        court = Frame(center, turn, length, COURT[1])
        slab = _slab(court, margin)
        if lot.contains(slab) and plan.fits(slab, 0.6):
            return court, margin
    return None


def _slab(court: Frame, margin: float) -> shapely.Polygon:
    """The concrete on which a court is painted."""
    half = court.width / 2 + margin
    return shapely.Polygon(court.box((-margin, court.length + margin), (-half, half)))


def _paint_court(kit: Kit, court: Frame, margin: float) -> None:
    """Old concrete, with what is left of the paint in the keys, the circle and the lines."""
    pave(kit, _slab(court, margin))
    left = float(kit.rng.uniform(0.2, 0.95))  # of the paint
    field, key, circle = (PAINTS[kit.rng.integers(len(PAINTS))] for _ in range(3))
    ground = _slab(court, 0.0)
    if kit.rng.random() < 0.3:
        _faded(kit, ground, field, left)
    lines = [ground.exterior]
    whole = court.length > HALF
    for start in (0.0, court.length - KEY[0]) if whole else (0.0,):
        _faded(kit, _across(court, (start, start + KEY[0]), KEY[1]), key, left)
    if whole:
        middle = shapely.Point(court.center).buffer(CIRCLE)
        _faded(kit, middle, circle, left)
        halfway = _across(court, (court.length / 2 - 0.05, court.length / 2 + 0.05), court.width)
        lines += [middle.exterior, halfway.exterior]
    for line in lines:
        _faded(kit, line.buffer(0.06, cap_style="flat"), LINES, left)


def _across(court: Frame, along: tuple[float, float], wide: float) -> shapely.Polygon:
    return shapely.Polygon(court.box(along, (-wide / 2, wide / 2)))


def _faded(kit: Kit, shape: shapely.Polygon, color: Color, left: float) -> None:
    """Paint that has come off in places."""
    patch = kit.canvas.patch(shape.bounds)
    if patch is None:
        return
    grain = kit.bank.take("patch", patch.shape, kit.rng) + np.float32(0.5)
    worn = smoothstep(1.1 - left, 1.5 - left, grain)
    patch.blend(color, patch.coverage(to_rings(shape)) * worn * (0.4 + 0.6 * left))
