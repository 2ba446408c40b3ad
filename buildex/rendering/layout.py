"""Where everything stands in a town: roads, blocks, houses, trees. Metres; no pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity

from buildex.rendering.houses import court_house, draw_house, draw_lot, draw_shed
from buildex.rendering.shapes import Building, placement
from buildex.rendering.styles import Style, pick

MARGIN = 14.0


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


def lay_out(
    size: tuple[float, float], style: Style, density: float, rng: np.random.Generator
) -> Plan:
    """Plan a town of `size` metres, with what stands up to `MARGIN` metres outside of it."""
    plan = Plan(*size)
    region = shapely.box(-MARGIN, -MARGIN, size[0] + MARGIN, size[1] + MARGIN)
    axis = float(rng.uniform(0, math.pi / 2))
    plan.roads += _roads(region, axis, style, rng)
    beds = [r.line.buffer(r.width / 2 + 0.6) for r in plan.roads]
    blocks = shapely.get_parts(region.difference(shapely.union_all(beds)))
    for block in blocks:
        if block.area > 60:
            _fill_block(plan, block.simplify(0.5), (style, density), rng)
    _plant(plan, style, rng)
    return plan


def _roads(
    region: shapely.Polygon, axis: float, style: Style, rng: np.random.Generator
) -> list[Road]:
    """Two families of roads across the region, bent a little, some left out."""
    center = np.array(region.centroid.coords[0])
    reach = math.hypot(*np.subtract(region.bounds[2:], region.bounds[:2]))
    roads = []
    for turn in (0.0, math.pi / 2):
        position = -reach / 2 + float(rng.uniform(0, style.spacing))
        while position < reach / 2:
            angle = axis + turn + float(rng.normal(0, 0.05 + style.jitter / 3))
            along = np.array([math.cos(angle), math.sin(angle)])
            across = np.array([-along[1], along[0]])
            t = np.linspace(-reach / 2, reach / 2, 9)
            bend = np.cumsum(rng.normal(0, 6 * (0.1 + style.jitter), 9))
            points = center + (position + bend)[:, None] * across + t[:, None] * along
            if rng.random() < 0.85:
                width = float(rng.uniform(*style.road))
                paved = bool(rng.random() < 0.25 + 0.08 * (width - 3))
                roads.append(Road(shapely.LineString(_smooth(points)), width, paved))
            position += style.spacing * float(rng.uniform(0.6, 1.6))
    return roads


def _smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners cut twice (Chaikin 1974)."""
    for _ in range(2):
        a, b = points[:-1], points[1:]
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        points = np.vstack([points[:1], cut, points[-1:]])
    return points


def _fill_block(
    plan: Plan, block: shapely.Polygon, style: tuple[Style, float], rng: np.random.Generator
) -> None:
    kind = pick(style[0].blocks, rng)
    if kind == "field":
        plan.fields += [p for p in _plots(block, 500.0, rng) if p.area > 30]
        _build_plots(plan, block, style, (900.0, 0.25), rng)
        return
    if kind == "rows":
        _build_rows(plan, block, style[0], rng)
        block = block.buffer(-13)
        if block.is_empty:
            return
        kind = pick({"plots": 2, "sheds": 1}, rng)
    if kind == "compound":
        court = court_house(style[0], rng)
        _try_place(plan, block, block.centroid, court, rng)
    if kind == "sheds":
        _build_sheds(plan, block, style, rng)
    else:
        _build_plots(plan, block, style, (style[0].plot, style[0].built), rng)


def _build_plots(
    plan: Plan,
    block: shapely.Polygon,
    style: tuple[Style, float],
    plot: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """One house on each plot, perhaps a shed or two behind it, a wall round it, a yard."""
    look, density = style
    for lot in _plots(block, plot[0] / density, rng):
        if rng.random() > plot[1] or lot.area < 12:
            continue
        axis = axis_of(lot)
        long, short = _extent(lot)
        house = draw_house((long * 0.9, short * 0.9), look, rng)
        placed = _try_place(plan, lot, lot.centroid, house, rng, look.jitter, axis)
        if placed is not None and rng.random() < 0.3:
            plan.yards.append(placed.polygon.buffer(float(rng.uniform(0.8, 2)), join_style="mitre"))
        for _ in range(int(rng.poisson(0.9))):
            spot = _point_in(lot, rng)
            _try_place(plan, lot, spot, draw_shed(look, rng), rng, look.jitter, axis)
        if lot.area > 150 and rng.random() < 0.45:
            plan.walls.append(lot.buffer(-0.2).exterior)


def _build_sheds(
    plan: Plan, block: shapely.Polygon, style: tuple[Style, float], rng: np.random.Generator
) -> None:
    """A quarter of small houses that stand as close as they can."""
    look, density = style
    for lot in _plots(block, 34 / density, rng):
        if rng.random() > 0.88 or lot.area < 7:
            continue
        long, short = _extent(lot)
        house = draw_house((long, short), look, rng)
        _try_place(plan, block, lot.centroid, house, rng, 0.06, axis_of(lot))


def _build_rows(plan: Plan, block: shapely.Polygon, style: Style, rng: np.random.Generator) -> None:
    """Houses wall to wall along the edges of a block."""
    corners = shapely.get_coordinates(shapely.orient_polygons(block, exterior_cw=False).exterior)
    for a, b in zip(corners[:-1], corners[1:], strict=True):
        length = math.hypot(*(b - a))
        depth = float(rng.uniform(7, 13))
        if length < 12:
            continue
        along = (b - a) / length
        inward = np.array([-along[1], along[0]])
        position = float(rng.uniform(0.5, 3))
        back = depth
        while position < length - 4:
            front = float(rng.uniform(3, 8))
            nearer = back if rng.random() < 0.5 else depth * float(rng.uniform(0.75, 1.2))
            ends = np.array([position, position + front])
            base = a + 0.3 * inward + ends[:, None] * along
            ring = np.vstack([base, (base + nearer * inward)[::-1]])
            position, back = position + front, nearer
            if rng.random() < 0.1:
                continue
            _add_lot(plan, block, ring, style, rng)


def _add_lot(
    plan: Plan,
    block: shapely.Polygon,
    ring: NDArray[np.float64],
    style: Style,
    rng: np.random.Generator,
) -> None:
    building = draw_lot(ring, style, rng)
    shape = building.polygon
    if not block.buffer(0.2).contains(shape):
        return
    near = shape.buffer(-0.02)
    if plan.fits(near, 0.0):
        plan.add(building)


def _try_place(
    plan: Plan,
    inside: shapely.Polygon,
    center: shapely.Point,
    building: Building,
    rng: np.random.Generator,
    jitter: float = 0.05,
    axis: float | None = None,
) -> Building | None:
    """Put a building down, smaller if need be; None where it does not fit at all."""
    turn = (axis_of(inside) if axis is None else axis) + float(rng.normal(0, jitter))
    turn += math.pi * int(rng.integers(2))
    middle = building.polygon.envelope.centroid
    matrix = placement(
        (center.x, center.y), turn, float(rng.normal(0, 0.015)), (middle.x, middle.y)
    )
    gap = float(rng.uniform(0.25, 0.8))
    for shrink in (1.0, 0.85, 0.7, 0.55):
        scaled = matrix.copy()
        scaled[:, :2] *= shrink
        scaled[:, 2] = [center.x, center.y] - scaled[:, :2] @ [middle.x, middle.y]
        moved = building.moved(scaled)
        shape = moved.polygon
        if shape.area < 3.5:
            return None
        if inside.contains(shape) and plan.fits(shape, gap):
            plan.add(moved)
            return moved
    return None


def _plots(
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


def _extent(polygon: shapely.Polygon) -> tuple[float, float]:
    """Longer and shorter side of the smallest rectangle round a polygon."""
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(polygon))[:3]
    short, long = sorted(float(v) for v in np.hypot(*np.diff(corners, axis=0).T))
    return long, short


def _point_in(polygon: shapely.Polygon, rng: np.random.Generator) -> shapely.Point:
    x0, y0, x1, y1 = polygon.bounds
    return shapely.Point(float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1)))


def _plant(plan: Plan, style: Style, rng: np.random.Generator) -> None:
    """Trees and bushes in clusters, off the roads; few reach over a roof."""
    hectares = (plan.width + 2 * MARGIN) * (plan.height + 2 * MARGIN) / 1e4
    count = int(rng.poisson(style.trees * hectares * rng.uniform(0.4, 1.5)))
    kinds = {"broad": 4.0, "bush": 6.0, "palm": float(rng.choice([0.3, 3])), "banana": 1.5}
    roofs = shapely.STRtree(plan.shapes)
    beds = shapely.union_all([r.line.buffer(r.width / 2) for r in plan.roads])
    shapely.prepare(beds)
    for _ in range(count):
        low, high = -np.array([MARGIN, MARGIN]), np.array([plan.width, plan.height]) + MARGIN
        heart = rng.uniform(low, high)
        for _ in range(1 + int(rng.poisson(0.9))):
            x, y = (float(v) for v in heart + rng.normal(0, 4, 2))
            kind = pick(kinds, rng)
            largest = {"broad": 5.5, "bush": 1.6, "palm": 3.4, "banana": 1.8}[kind]
            radius = largest * float(rng.uniform(0.4, 1.0))
            reach = radius * float(rng.choice([0.35, 0.95], p=[0.12, 0.88]))
            spot = shapely.Point(x, y)
            near = roofs.query(spot, predicate="dwithin", distance=reach)
            if len(near) == 0 and not shapely.dwithin(beds, spot, radius * 0.4):
                plan.trees.append(Tree(x, y, radius, kind))
