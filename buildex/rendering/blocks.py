"""Filling the blocks between roads: houses of all kinds, fields and tilled land."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import repaired, to_rings
from buildex.geo.rings import oriented
from buildex.rendering.houses import court_house, draw_house, draw_row_house, draw_shed
from buildex.rendering.plan import Plan, axis_of
from buildex.rendering.plots import SMALLEST, extent, plots_of, till
from buildex.rendering.ranges import build_ranges
from buildex.rendering.shapes import Building, placement
from buildex.rendering.styles import Style, pick

# Square metres of plots in the densest town, where most houses find room: on still smaller ones
# fewer do than there are more plots.
PLOT, SHED_PLOT = 20.0, 12.0


@dataclass(frozen=True)
class Spot:
    """Where a building is to stand: its middle, its direction, and how far it may turn off it."""

    point: shapely.Point
    axis: float
    jitter: float


def fill_block(
    plan: Plan, block: shapely.Polygon, style: tuple[Style, float], rng: np.random.Generator
) -> None:
    """Build one block over; `style` is how, and how densely."""
    kind = pick(style[0].blocks, rng)
    if kind == "field":
        plan.fields += [p for p in plots_of(block, 500.0, rng) if p.area > 30]
        _build_plots(plan, block, style, (900.0, 0.25), rng)
        return
    if kind == "tilled":
        plan.tilled += till(block, rng)
        _build_plots(plan, block, style, (500.0, 0.2), rng)
        return
    if kind == "lot":
        _build_plots(plan, block, style, (2 * style[0].plot, 0.4), rng)
        plan.lots += [part for part in repaired(block.buffer(-0.5)) if part.area > SMALLEST]
        return
    if kind == "rows":
        _build_rows(plan, block, style[0], rng)
        block = block.buffer(-13)
        if block.is_empty:
            return
        kind = pick({"plots": 2, "sheds": 1}, rng)
    if kind == "compound":
        court = court_house(style[0], rng)
        spot = Spot(block.centroid, axis_of(block), 0.05)
        placed = _try_place(plan, block, spot, court, rng)
        if placed is not None and style[0].paved and rng.random() < style[0].paved:
            plan.pavements.append(placed.polygon.minimum_rotated_rectangle)
    if kind == "ranges":
        build_ranges(plan, block, style, rng)
    elif kind == "sheds":
        _build_sheds(plan, block, style, rng)
    else:
        spare = "tilled" in style[0].blocks
        _build_plots(plan, block, style, (style[0].plot, style[0].built), rng, spare=spare)


def _build_plots(
    plan: Plan,
    block: shapely.Polygon,
    style: tuple[Style, float],
    plot: tuple[float, float],
    rng: np.random.Generator,
    *,
    spare: bool = False,
) -> None:
    """One house on each plot, perhaps a shed or two behind it, a wall round it, a yard.

    `plot` is their area and the share that is built over; of the others half are tilled where
    there is land to spare.
    """
    look, density = style
    for parcel in plots_of(block, max(plot[0] / density, PLOT), rng):
        if rng.random() > plot[1] or parcel.area < 12:
            if spare and rng.random() < 0.5:
                plan.tilled += [p for p in repaired(parcel.buffer(-0.4)) if p.area > SMALLEST]
            continue
        long, short = extent(parcel)
        house = draw_house((long * 0.9, short * 0.9), look, rng)
        spot = Spot(parcel.centroid, axis_of(parcel), look.jitter)
        placed = _try_place(plan, parcel, spot, house, rng)
        if placed is not None and rng.random() < 0.3:
            plan.yards.append(placed.polygon.buffer(float(rng.uniform(0.8, 2)), join_style="mitre"))
        for _ in range(int(rng.poisson(0.9))):
            behind = replace(spot, point=_point_in(parcel, rng))
            _try_place(plan, parcel, behind, draw_shed(look, rng), rng)
        if parcel.area > 150 and rng.random() < 0.45:
            plan.walls += [part.exterior for part in repaired(parcel.buffer(-0.2))]
        if look.paved and rng.random() < look.paved:
            plan.pavements += repaired(parcel.buffer(-0.3))


def _build_sheds(
    plan: Plan, block: shapely.Polygon, style: tuple[Style, float], rng: np.random.Generator
) -> None:
    """A quarter of small houses that stand as close as they can."""
    look, density = style
    for parcel in plots_of(block, max(34 / density, SHED_PLOT), rng):
        if rng.random() > 0.88 or parcel.area < 7:
            continue
        long, short = extent(parcel)
        house = draw_house((long, short), look, rng)
        _try_place(plan, block, Spot(parcel.centroid, axis_of(parcel), 0.06), house, rng)


def _build_rows(plan: Plan, block: shapely.Polygon, style: Style, rng: np.random.Generator) -> None:
    """Houses wall to wall along the edges of a block."""
    corners = oriented(to_rings(block))[0]
    for a, b in pairwise(np.vstack([corners, corners[:1]])):
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
            _add_row_house(plan, block, ring, style, rng)


def _add_row_house(
    plan: Plan,
    block: shapely.Polygon,
    ring: NDArray[np.float64],
    style: Style,
    rng: np.random.Generator,
) -> None:
    building = draw_row_house(ring, style, rng)
    shape = building.polygon
    if not block.buffer(0.2).contains(shape):
        return
    if plan.overlap(shape) < 1e-9:
        plan.add(building)


def _try_place(
    plan: Plan,
    inside: shapely.Polygon,
    spot: Spot,
    building: Building,
    rng: np.random.Generator,
) -> Building | None:
    """Put a building down, smaller if need be; None where it does not fit at all."""
    turn = spot.axis + float(rng.normal(0, spot.jitter)) + math.pi * int(rng.integers(2))
    middle = building.polygon.envelope.centroid
    center = spot.point.x, spot.point.y
    matrix = placement(center, turn, float(rng.normal(0, 0.015)), (middle.x, middle.y))
    gap = float(rng.uniform(0.25, 0.8))
    for shrink in (1.0, 0.85, 0.7, 0.55):
        scaled = matrix.copy()
        scaled[:, :2] *= shrink
        scaled[:, 2] = np.array(center) - scaled[:, :2] @ [middle.x, middle.y]
        moved = building.moved(scaled)
        shape = moved.polygon
        if shape.area < 3.5:
            return None
        if inside.contains(shape) and plan.fits(shape, gap):
            plan.add(moved)
            return moved
    return None


def _point_in(polygon: shapely.Polygon, rng: np.random.Generator) -> shapely.Point:
    x0, y0, x1, y1 = polygon.bounds
    return shapely.Point(float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1)))
