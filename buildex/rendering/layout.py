"""Laying out a town: its roads, the blocks between them, its trees."""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.rendering.blocks import fill_block
from buildex.rendering.plan import Plan, Road, Tree
from buildex.rendering.styles import Style, pick

MARGIN = 14.0


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
            fill_block(plan, block.simplify(0.5), (style, density), rng)
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
                marked = bool(style.marked and rng.random() < style.marked)
                line = shapely.LineString(_smooth(points))
                roads.append(Road(line, width, paved or marked, marked))
            position += style.spacing * float(rng.uniform(0.6, 1.6))
    return roads


def _smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners cut twice (Chaikin 1974)."""
    for _ in range(2):
        a, b = points[:-1], points[1:]
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        points = np.vstack([points[:1], cut, points[-1:]])
    return points


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
            reach = radius * float(rng.choice([0.35, 0.95], p=[0.2, 0.8]))
            spot = shapely.Point(x, y)
            near = roofs.query(spot, predicate="dwithin", distance=reach)
            if len(near) == 0 and not shapely.dwithin(beds, spot, radius * 0.4):
                plan.trees.append(Tree(x, y, radius, kind))
