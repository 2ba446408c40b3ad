"""Painting open ground where people park and play: lorry parks, and courts on old concrete.

Both have what roofs have, straight edges and colours, on ground that houses stand beside.
"""

from __future__ import annotations

import math

import numpy as np
import shapely

from buildex.geo.footprints import to_rings
from buildex.geo.rings import Ring
from buildex.rendering.cars import is_taken
from buildex.rendering.clutter import box_ring
from buildex.rendering.lorries import Frame, draw_vehicle, paint_vehicle
from buildex.rendering.noise import smoothstep
from buildex.rendering.pavements import pave
from buildex.rendering.plan import Plan, Road, axis_of
from buildex.rendering.roofs import Kit
from buildex.rendering.shapes import Color

PAINTS: tuple[Color, ...] = (
    (0.62, 0.28, 0.22), (0.26, 0.46, 0.36), (0.26, 0.40, 0.60), (0.75, 0.68, 0.40),
)  # fmt: skip
COURT = (28.0, 15.0)  # metres of a basketball court (FIBA 2022)
EACH = 70.0  # square metres of a lot for a vehicle on its own that is tried
APART = 45.0  # metres of a road between vehicles beside it


def paint_lots(kit: Kit, plan: Plan) -> None:
    """Courts where there is room, else vehicles in rows and one by one, on earth or paved."""
    for lot in plan.lots:
        if kit.rng.random() < 0.5:
            pave(kit, lot)
        court = _court_in(kit, plan, lot) if kit.rng.random() < 0.35 else None
        if court is not None:
            _paint_court(kit, court)
            continue
        for _ in range(int(kit.rng.poisson(lot.area / EACH / 4))):
            _paint_row(kit, plan, lot)
        for _ in range(int(kit.rng.poisson(lot.area / EACH))):
            at = kit.rng.uniform(lot.bounds[:2], lot.bounds[2:])
            _park(kit, plan, lot, (at, float(kit.rng.uniform(0, 2 * math.pi))))
    for road in plan.roads if plan.lots else ():
        for _ in range(int(kit.rng.poisson(road.line.length / APART))):
            _park(kit, plan, None, _beside(kit, road))


def _paint_row(kit: Kit, plan: Plan, lot: shapely.Polygon) -> None:
    """Two to eight vehicles side by side."""
    turn = axis_of(lot) + math.pi / 2 * int(kit.rng.integers(4)) + float(kit.rng.normal(0, 0.2))
    across = np.array([-math.sin(turn), math.cos(turn)])
    first = kit.rng.uniform(lot.bounds[:2], lot.bounds[2:])
    gap = float(kit.rng.uniform(2.7, 3.8))
    for place in range(int(kit.rng.integers(2, 9))):
        lean = turn + math.pi * int(kit.rng.random() < 0.2) + float(kit.rng.normal(0, 0.05))
        _park(kit, plan, lot, (first + place * gap * across, lean))


def _beside(kit: Kit, road: Road) -> tuple[Ring, float]:
    """A place along the edge of a road, and its direction."""
    at = kit.rng.uniform(0, road.line.length - 1)
    a, b = road.line.interpolate(at), road.line.interpolate(at + 1)
    angle = math.atan2(b.y - a.y, b.x - a.x) + float(kit.rng.normal(0, 0.1))
    side = float(kit.rng.choice([-1, 1])) * (road.width / 2 + float(kit.rng.uniform(-1.5, 2)))
    return np.array([a.x - math.sin(angle) * side, a.y + math.cos(angle) * side]), angle


def _park(kit: Kit, plan: Plan, lot: shapely.Polygon | None, place: tuple[Ring, float]) -> None:
    """A vehicle at a place and angle, if nothing stands there and it is in the lot."""
    kind, length, width = draw_vehicle(kit.rng)
    center = float(place[0][0]), float(place[0][1])
    ground = shapely.Polygon(box_ring(center, (length, width), place[1]))
    inside = lot is None or lot.contains(ground)
    if inside and plan.fits(ground, 0.4) and not is_taken(kit, ground):
        paint_vehicle(kit, kind, Frame(center, place[1], length, width))


def _court_in(kit: Kit, plan: Plan, lot: shapely.Polygon) -> Frame | None:
    """A court's frame in the middle of a lot, whole or half; None without room."""
    center = lot.centroid.x, lot.centroid.y
    for share in (1.0, 0.5):
        size = (COURT[0] * share * float(kit.rng.uniform(0.85, 1)), COURT[1])
        ground = shapely.Polygon(box_ring(center, size, axis_of(lot)))
        if lot.buffer(1).contains(ground) and plan.fits(ground, 0.6):
            return Frame(center, axis_of(lot), *size)
    return None


def _paint_court(kit: Kit, court: Frame) -> None:
    """Old concrete, with what is left of the paint in the keys, the circle and the lines."""
    margin = float(kit.rng.uniform(0.5, 3))
    half = court.width / 2 + margin
    slab = court.box((-margin, court.length + margin), (-half, half))
    pave(kit, shapely.Polygon(slab))
    key, circle = PAINTS[kit.rng.integers(len(PAINTS))], PAINTS[kit.rng.integers(len(PAINTS))]
    left = float(kit.rng.uniform(0.2, 0.95))  # of the paint
    if kit.rng.random() < 0.3:
        field = court.box((0, court.length), (-court.width / 2, court.width / 2))
        _faded(kit, shapely.Polygon(field), PAINTS[kit.rng.integers(len(PAINTS))], left)
    for start in (0.0, court.length - 5.8):
        _faded(kit, shapely.Polygon(court.box((start, start + 5.8), (-2.45, 2.45))), key, left)
    middle = shapely.Point(court.center).buffer(1.8)
    _faded(kit, middle, circle, left)
    edge = shapely.Polygon(court.box((0, court.length), (-court.width / 2, court.width / 2)))
    across = shapely.LineString([*court.box((court.length / 2,) * 2, (-half, half))[[0, 2]]])
    for line in (edge.exterior, middle.exterior, across.intersection(edge)):
        _faded(kit, line.buffer(0.06, cap_style="flat"), (0.88, 0.88, 0.84), left)


def _faded(kit: Kit, shape: shapely.Polygon, color: Color, left: float) -> None:
    """Paint that has come off in places."""
    patch = kit.canvas.patch(shape.bounds)
    if patch is None or shape.is_empty:
        return
    worn = smoothstep(1.1 - left, 1.5 - left, 0.5 + kit.bank.take("patch", patch.shape, kit.rng))
    patch.blend(color, patch.coverage(to_rings(shape)) * worn * (0.4 + 0.6 * left))
